import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { PrefixRoutes } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Link, missing, SpeakerProcess } from './link.ts'

const skip = missing('gobgpd', 'gobgp', 'ip')
const deadline = { deadlineMs: 25_000, everyMs: 200 }

const configuration = `[global.config]
  as = 65013
  router-id = "10.90.0.2"
  local-address-list = ["10.90.0.2"]
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.90.0.1"
    peer-as = 65001
    auth-password = "s3cret"
  [neighbors.transport.config]
    passive-mode = true
  [neighbors.timers.config]
    hold-time = 9
    keepalive-interval = 3
    idle-hold-time-after-reset = 1
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 60
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true
`

const neighbor: Neighbor = {
  id: '65001/10.90.0.2',
  source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
  virtualRouter: 'rack0',
  localAsn: 65_001,
  peerAsn: 65_013,
  peerAddress: '10.90.0.2',
  peerPort: 179,
  routerId: '10.90.0.1',
  families: ['ipv4-unicast'],
  holdTimeSec: 9,
  keepaliveSec: 3,
  connectRetrySec: 1,
  multihopTtl: 1,
  passive: false,
  sourceAddress: '10.90.0.1',
  gracefulRestart: { restartTimeSec: 60, notification: false },
  password: 's3cret',
}
const to = (prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes => ({ prefix, routes: [{ neighbors: [neighbor.id], attributes }] })

interface Attribute {
  readonly type: number
  readonly nexthop?: string
  readonly communities?: readonly number[]
  readonly as_paths?: readonly { readonly asns: readonly number[] }[]
}
interface Path {
  readonly stale?: boolean
  readonly attrs: readonly Attribute[]
}

test('Herald and GoBGP', { skip }, async (t) => {
  const link = new Link('gobgp')
  t.after(() => link.close())
  const file = join(link.directory, 'gobgpd.toml')
  writeFileSync(file, configuration)
  let log = ''
  const gobgpd = link.spawn('router', 'gobgpd', '-f', file, '-l', 'debug', '--api-hosts', '127.0.0.1:50051', '--pprof-disable')
  for (const stream of [gobgpd.stdout, gobgpd.stderr]) stream?.on('data', (chunk: Buffer) => (log += chunk.toString()))
  // An empty answer when gobgp fails, as it does until gobgpd listens and for a prefix that is not there.
  const gobgp = (command: string): string => link.router('sh', '-c', `gobgp ${command} 2>/dev/null || true`)
  const paths = (): Readonly<Record<string, readonly Path[]>> => JSON.parse(gobgp('-j neighbor 10.90.0.1 adj-in').trim() || '{}')
  const path = (prefix: string): Path | undefined => paths()[prefix]?.[0]
  const isUp = (): boolean => /BGP state = ESTABLISHED/i.test(gobgp('neighbor 10.90.0.1'))
  const start = (isRestart: boolean): SpeakerProcess => {
    const speaker = new SpeakerProcess(link, { listen: { host: '::', port: 179 }, isRestart, isForwardingPreserved: isRestart })
    speaker.post({ type: 'configure', neighbors: [neighbor] })
    return speaker
  }
  await waitFor('gobgpd', () => gobgp('global').includes('65013'), deadline)
  gobgp('global rib add 10.13.0.0/24')
  let speaker = start(false)

  await t.test('a session with TCP-MD5 comes up (RFC 2385)', async () => {
    await waitFor('the session', isUp, deadline)
  })

  await t.test('a route arrives with next hop, path and communities', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32', { communities: [65_000 * 65_536 + 100] }), to('192.0.2.2/32')] }, { type: 'synced' })
    await waitFor('both routes', () => path('192.0.2.1/32') !== undefined && path('192.0.2.2/32') !== undefined, deadline)
    const attributes = path('192.0.2.1/32')?.attrs ?? []
    assert.equal(attributes.find(({ type }) => type === 3)?.nexthop, '10.90.0.1')
    assert.deepEqual(attributes.find(({ type }) => type === 8)?.communities, [65_000 * 65_536 + 100])
    assert.deepEqual(attributes.find(({ type }) => type === 2)?.as_paths?.map(({ asns }) => asns), [[65_001]])
  })

  await t.test('a withdrawn route is gone and the other stays', async () => {
    speaker.post({ type: 'routes', prefixes: [{ prefix: '192.0.2.2/32', routes: [] }] })
    await waitFor('withdrawn', () => path('192.0.2.2/32') === undefined, deadline)
    assert.notEqual(path('192.0.2.1/32'), undefined)
  })

  await t.test('a route of GoBGP is seen as received', async () => {
    const route = await waitFor('the route', async () => (await speaker.received()).find(({ prefix }) => prefix === '10.13.0.0/24'), deadline)
    assert.deepEqual([route.peer, route.nextHop, route.asPath], [neighbor.id, '10.90.0.2', '65013'])
  })

  await t.test('routes of a killed speaker stay as stale and come back (RFC 4724 4.2)', async () => {
    await speaker.kill()
    await waitFor('the session lost', () => !isUp(), deadline)
    await waitFor('a stale route', () => path('192.0.2.1/32')?.stale === true, deadline)
    speaker = start(true)
    await waitFor('the session again', isUp, deadline)
    assert.notEqual(path('192.0.2.1/32'), undefined)
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32')] }, { type: 'synced' })
    await waitFor('no longer stale', () => path('192.0.2.1/32') !== undefined && path('192.0.2.1/32')?.stale !== true, deadline)
  })

  await t.test('a stop ends with a Cease that GoBGP logs, and the routes are gone (RFC 9003)', async () => {
    await speaker.stop('shutdown', 'node is drained')
    await waitFor('the session lost', () => !isUp(), deadline)
    await waitFor('no routes', () => path('192.0.2.1/32') === undefined, deadline)
    await waitFor('the text in the log', () => log.includes('node is drained'), deadline)
    assert.equal(speaker.stderr, '')
  })

  await t.test('a reset by GoBGP shows its Cease and its text (RFC 9003)', async () => {
    speaker = start(false)
    await waitFor('the session', isUp, deadline)
    gobgp('neighbor 10.90.0.1 reset --reason=maintenance')
    const reset = await waitFor('the reset', async () => (await speaker.peers()).find(({ lastReset }) => lastReset?.code === 6)?.lastReset, deadline)
    assert.deepEqual([reset.direction, reset.subcode], ['received', 4])
    assert.match(reset.text, /maintenance/)
  })
})
