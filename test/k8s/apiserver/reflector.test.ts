import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { systemClock } from '../../../src/clock/system-clock.ts'
import { Turn } from '../../../src/clock/turn.ts'
import { Reflector } from '../../../src/k8s/apiserver/reflector.ts'
import { connectTransport, type Transport } from '../../../src/k8s/apiserver/transport.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, type Request, status } from './fake-server.ts'

const path = '/api/v1/services'
const pingMs = 500

/** What a reader of the events believes to be there, and everything that was said on the way. */
class View {
  readonly objects = new Map<string, unknown>()
  readonly removed: string[] = []
  relists = 0
}

let server: FakeApiServer
let transport: Transport
let view: View
let reflector: Reflector
let running: Promise<void>

beforeEach(async () => {
  server = new FakeApiServer()
  transport = connectTransport(await server.start(), pingMs)
  view = new View()
})

afterEach(async () => {
  reflector.stop()
  await running
  await transport.close()
  await server.stop()
})

function begin(places = [{ apiVersion: 'v1', path }]): void {
  reflector = new Reflector({
    resource: { kind: 'Service', places },
    transport,
    clock: systemClock,
    turn: new Turn(systemClock, 3),
    random: () => 0.5,
    events: {
      upsert: ({ name }, object) => void view.objects.set(name, object['spec']),
      remove: ({ name }) => {
        view.objects.delete(name)
        view.removed.push(name)
      },
      relistBegins: () => void view.relists++,
      relistEnds: () => undefined,
      changed: () => undefined,
      stateChanged: () => undefined,
    },
  })
  running = reflector.run()
}

const isSynced = (): Promise<unknown> => waitFor('the kind was read', () => reflector.state.isSynced)
const isWatched = (): Promise<unknown> => waitFor('it is watched', () => server.watches(path) > 0)
const has = (name: string): Promise<unknown> => waitFor(`${name} is there`, () => view.objects.has(name))

/** The next request that `isMeant` picks is dealt with by `fault`, once. */
function once(fault: (request: Request) => void, isMeant: (request: Request) => boolean = () => true): void {
  server.fault = (request) => {
    if (!isMeant(request)) return false
    server.fault = () => false
    fault(request)
    return true
  }
}

const isList = ({ query }: Request): boolean => !query.has('watch')
const isWatch = ({ query }: Request): boolean => query.has('watch')

test('a list of many pages is delivered whole, without what nobody reads, and a watch follows it', async () => {
  for (let n = 0; n < 2_501; n++) server.put(path, `s${n}`, { n })
  begin()
  await isSynced()
  assert.equal(view.objects.size, 2_501)
  assert.equal(server.lists(path), 3)
  await isWatched()
  server.put(path, 'later')
  await has('later')
  server.delete(path, 's7')
  await waitFor('the deleted one is gone', () => !view.objects.has('s7'))
  assert.equal(view.relists, 1)
  assert.equal(server.sessions.size, 1, 'one connection for all')
})

test('a watch that ends goes on from the last version, without a list', async () => {
  server.put(path, 'a')
  begin()
  await isWatched()
  server.put(path, 'b')
  await has('b')
  server.endWatches()
  await waitFor('the second watch', () => server.requests.filter(({ query }) => query.has('watch')).length === 2)
  await isWatched()
  server.put(path, 'c')
  await has('c')
  assert.equal(view.relists, 1)
  assert.deepEqual(view.removed, [])
})

test('a bookmark moves the version from which the watch goes on', async () => {
  server.put(path, 'a')
  begin()
  await isWatched()
  server.put(path, 'b')
  await has('b')
  server.setVersion(777)
  server.say(path, `${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '777' } } })}\n`)
  server.endWatches()
  const versions = (): readonly (string | null)[] =>
    server.requests.filter(({ query }) => query.has('watch')).map(({ query }) => query.get('resourceVersion'))
  await waitFor('the second watch', () => versions().length === 2)
  assert.equal(versions()[1], '777')
})

for (const [what, expire] of [
  ['as the status of a watch', () => server.endWatches()],
  [
    'as an ERROR event',
    () =>
      server.say(
        path,
        `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old' } })}\n`,
      ),
  ],
] as const) {
  test(`410 ${what} leads to a list, and only what it does not have goes`, async () => {
    for (const name of ['a', 'b', 'c']) server.put(path, name)
    begin()
    await isWatched()
    server.forget(path, 'b')
    server.compactedAt = 1_000
    expire()
    await waitFor('b is gone', () => view.removed.length > 0)
    assert.deepEqual(view.removed, ['b'])
    assert.deepEqual([...view.objects.keys()].sort(), ['a', 'c'])
  })
}

test('an answer that is cut, or is no JSON, takes nothing away and is asked for again', async () => {
  for (const name of ['a', 'b']) server.put(path, name)
  begin()
  await isWatched()
  const bad = [
    '{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"na',
    '<html>busy</html>',
    '',
    '{"items":[]}',
    'null',
  ]
  for (const text of bad) {
    const asked = server.lists(path)
    once(({ stream }) => {
      stream.respond({ ':status': 200 })
      stream.end(text)
    }, isList)
    reflector.relist()
    await waitFor('it is asked again', () => server.lists(path) >= asked + 2)
    await isWatched()
  }
  assert.deepEqual(view.removed, [])
  server.say(path, 'garbage\n')
  server.put(path, 'c')
  await has('c')
  assert.deepEqual(view.removed, [])
})

test('a list that is suddenly empty is asked for once more before it is believed', async () => {
  for (const name of ['a', 'b']) server.put(path, name)
  begin()
  await isWatched()
  once(({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.end('{"metadata":{"resourceVersion":"900"},"items":[]}')
  }, isList)
  reflector.relist()
  await waitFor('the second list', () => server.lists(path) === 3)
  await isWatched()
  assert.deepEqual(view.removed, [])
})

test('an answer octet by octet is an answer', async () => {
  server.put(path, 'a', { text: 'ä' })
  once(({ stream }) => {
    const item = { metadata: { name: 'a', uid: 'u', resourceVersion: '1' }, spec: { text: 'ä' } }
    const text = Buffer.from(JSON.stringify({ metadata: { resourceVersion: '5' }, items: [item] }))
    stream.respond({ ':status': 200 })
    for (const octet of text) stream.write(Uint8Array.of(octet))
    stream.end()
  }, isList)
  begin()
  await has('a')
  assert.deepEqual(view.objects.get('a'), { text: 'ä' })
})

test('a server that goes away politely (GOAWAY) costs no list', async () => {
  server.put(path, 'a')
  begin()
  await isWatched()
  for (const session of server.sessions) session.goaway()
  server.endWatches()
  await waitFor('another watch', () => server.requests.filter(({ query }) => query.has('watch')).length === 2)
  await isWatched()
  server.put(path, 'b')
  await has('b')
  assert.equal(view.relists, 1)
})

test('a connection whose other end is silently gone is found by pings, and nothing is lost', async () => {
  server.put(path, 'a')
  begin()
  await isWatched()
  server.silence()
  await waitFor('another watch', () => server.requests.filter(({ query }) => query.has('watch')).length === 2)
  server.put(path, 'b')
  await has('b')
  assert.deepEqual(view.removed, [])
})

test('429 and 503 are waited for as long as the server asks', async () => {
  server.put(path, 'a')
  let at = 0
  once(({ stream }) => {
    at = performance.now()
    status(stream, 429, 'too many requests', { 'retry-after': '1' })
  })
  begin()
  await has('a')
  assert.ok(performance.now() - at >= 990)
})

test('401 asks for fresh credentials, 403 is said and removes nothing', async () => {
  server.put(path, 'a')
  begin()
  await isWatched()
  once(({ stream }) => status(stream, 401, 'Unauthorized'), isWatch)
  server.endWatches()
  await waitFor('fresh credentials', () => server.renewals === 1)
  await isWatched()
  once(({ stream }) => status(stream, 403, 'services is forbidden'), isWatch)
  server.endWatches()
  await waitFor('it is said', () => reflector.state.problem === 'Service: services is forbidden')
  await isWatched()
  await waitFor('it is over', () => reflector.state.problem === undefined)
  assert.deepEqual(view.removed, [])
})

test('403 at the first list is not "there is nothing"', async () => {
  server.serve(path)
  server.fault = ({ stream }) => {
    status(stream, 403, 'forbidden')
    return true
  }
  begin()
  await waitFor('it is said', () => reflector.state.problem !== undefined)
  assert.equal(reflector.state.isSynced, false)
})

test('a kind that is not installed counts as read; of several versions the one that is there is used', async () => {
  begin([
    { apiVersion: 'cilium.io/v2', path: '/new' },
    { apiVersion: 'cilium.io/v2alpha1', path: '/old' },
  ])
  await isSynced()
  server.put('/old', 'pool')
  reflector.relist()
  await has('pool')
})

test('another uid under the same name is another object, an equal version is not delivered again', async () => {
  server.put(path, 'a', { n: 1 })
  begin()
  await isWatched()
  server.put(path, 'a', { uid: 'second', n: 2 })
  await waitFor('the new one', () => view.removed.length === 1)
  assert.deepEqual(view.objects.get('a'), { n: 2 })
  view.objects.clear()
  const before = view.relists
  reflector.relist()
  await waitFor('the list', () => view.relists > before && server.watches(path) > 0)
  assert.equal(view.objects.size, 0)
})
