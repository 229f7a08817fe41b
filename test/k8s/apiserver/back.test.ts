/** A server that is back after hours: what one kind finds out, the others do not wait for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../../src/clock/clock.ts'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { apiServerSource } from '../../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, type Request, status } from './fake-server.ts'

const paths = ['/api/v1/services', '/api/v1/namespaces', '/apis/discovery.k8s.io/v1/endpointslices']
/** Between two tries, with a chance of one half: each is over at once. */
const shortMs: readonly number[] = [500, 1_000, 2_000, 4_000, 8_000, 16_000]
const longestMs = 30_000

/** The longest waits are over when a test says so. */
class HeldClock {
  readonly held = new Set<() => void>()
  readonly clock: Clock = {
    ...systemClock,
    after: (ms, action) => {
      if (ms !== longestMs) return systemClock.after(shortMs.includes(ms) ? 0 : ms, action)
      const end = (): void => {
        this.held.delete(end)
        action()
      }
      this.held.add(end)
      return { cancel: () => void this.held.delete(end) }
    },
  }
}

const ways: Readonly<Record<string, (request: Request) => void>> = {
  'ended every connection': ({ stream }) => stream.destroy(),
  'is short of time (429), and asked to wait for a second': ({ stream }) => {
    stream.respond({ ':status': 429, 'retry-after': '1' })
    stream.end('{"message":"storage is (re)initializing"}')
  },
  'said 503': ({ stream }) => status(stream, 503, 'etcdserver: no leader'),
}

for (const [what, answer] of Object.entries(ways))
  test(`a server that ${what} is read again of all kinds as soon as one of them had an answer`, async (t) => {
    const server = new FakeApiServer()
    const { held, clock } = new HeldClock()
    const transport = connectTransport(await server.start())
    const source = apiServerSource({ transport, clock, random: () => 0.5, nodeName: 'node1' })
    t.after(async () => {
      await source.stop()
      await server.stop()
    })
    for (const path of paths) server.serve(path)
    await source.start({ upsert: () => {}, remove: () => {}, problems: () => {}, flush: () => {}, synced: () => {} })
    const watched = (): number =>
      new Set(server.requests.filter(({ query }) => query.has('watch')).map(({ path }) => path)).size
    await waitFor('all are watched', () => watched() === paths.length)
    server.fault = (request) => {
      answer(request)
      return true
    }
    server.endWatches()
    await waitFor('each waits as long as any does', () => held.size === paths.length)
    assert.equal(source.state.isReachable, false)
    server.fault = () => false
    const [first] = held
    first?.()
    await waitFor('all are read', () => source.state.isReachable)
    assert.equal(held.size, 0)
  })

test('kinds that a server asks to wait for the same time do not come again in one moment, nor before it', async (t) => {
  const server = new FakeApiServer()
  const transport = connectTransport(await server.start())
  const waits: number[] = []
  const clock: Clock = {
    ...systemClock,
    after: (ms, action) => {
      if (ms >= 4_000 && ms <= 6_000) waits.push(ms)
      return systemClock.after(ms, action)
    },
  }
  let drawn = 0
  const random = (): number => (drawn++ % 17) / 17
  const source = apiServerSource({ transport, clock, random, nodeName: 'node1' })
  t.after(async () => {
    await source.stop()
    await server.stop()
  })
  for (const path of paths) server.serve(path)
  server.fault = ({ stream, path }) => {
    if (!paths.includes(path)) return false
    stream.respond({ ':status': 429, 'retry-after': '4' })
    stream.end('Too many requests, please try again later.')
    return true
  }
  await source.start({ upsert: () => {}, remove: () => {}, problems: () => {}, flush: () => {}, synced: () => {} })
  await waitFor('each was asked to wait', () => waits.length >= paths.length)
  assert.equal(new Set(waits).size, waits.length, waits.join())
  assert.match(source.state.ofKind('Service').problem ?? '', /429, too many requests/)
})
