/** What a server, or what stands before it, may do wrong: nothing is lost by it, and nothing else suffers. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { constants } from 'node:http2'
import { waitFor } from '../../wait.ts'
import { type Request, status } from './fake-server.ts'
import { fasterClock, isList, isWatch, path, ReflectorWorld } from './reflector-world.ts'

let world: ReflectorWorld

beforeEach(async () => {
  world = await ReflectorWorld.start()
})

afterEach(() => world.end())

const isPage = (request: Request): boolean => request.query.has('continue')
const event = (type: string, metadata: object, spec: object = {}): string =>
  `${JSON.stringify({ type, object: { metadata: { namespace: 'default', ...metadata }, spec } })}\n`

function says(stream: Request['stream'], code: number, how: 'write' | 'end', text = ''): void {
  stream.respond({ ':status': code })
  stream[how](text)
}

function fill(count: number): void {
  for (let n = 0; n < count; n++) world.server.put(path, `s${n}`)
}

for (const [what, fault] of [
  ['is answered 500', ({ stream }: Request) => status(stream, 500, 'etcdserver: leader changed')],
  ['loses its connection', ({ stream }: Request) => stream.session?.destroy()],
  ['is reset', ({ stream }: Request) => stream.close(constants.NGHTTP2_INTERNAL_ERROR)],
  ['is cut', ({ stream }: Request) => says(stream, 200, 'end', '{"metadata":{},"items":[{')],
] as const) {
  test(`a second page that ${what} leaves nothing out`, async () => {
    fill(1_201)
    world.once(fault, isPage)
    const reflector = world.begin()
    await waitFor('the kind was read', () => reflector.state.isSynced)
    assert.equal(world.objects.size, 1_201)
    await world.isWatched()
    assert.deepEqual(world.removed, [])
  })
}

test('a continue token that expires, again and again, ends in a list of one piece', async () => {
  fill(1_201)
  world.server.fault = (request) => {
    if (isPage(request)) status(request.stream, 410, 'The provided continue parameter is too old')
    return isPage(request)
  }
  const reflector = world.begin()
  await waitFor('the kind was read', () => reflector.state.isSynced)
  assert.equal(world.objects.size, 1_201)
  assert.ok(world.server.lists(path) <= 4)
})

test('a server that forgot a page, and has no answer in one piece, is asked for pages again', async () => {
  fill(1_201)
  let forgotten = 0
  world.server.fault = (request) => {
    const { query, stream } = request
    if (isPage(request) && forgotten++ === 0) status(stream, 410, 'The provided continue parameter is too old')
    else if (isList(request) && !query.has('limit')) status(stream, 504, 'Timeout: request did not complete')
    else return false
    return true
  }
  const reflector = world.begin()
  await waitFor('the kind was read', () => reflector.state.isSynced)
  assert.equal(world.objects.size, 1_201)
})

test('of megabytes of words that refuse a list, or end a watch, the first thousand are told', async () => {
  const words = 'no '.repeat(600_000)
  const told = (problem: string | undefined): boolean => problem?.includes('no no no') === true
  world.server.put(path, 'a')
  world.server.fault = ({ stream }) => {
    status(stream, 500, words)
    return true
  }
  const reflector = world.begin()
  await waitFor('the refusal is told', () => told(reflector.state.problem))
  assert.ok((reflector.state.problem?.length ?? 0) < 1_100)
  world.server.fault = () => false
  await world.isWatched()
  world.server.fault = (request) => {
    if (isWatch(request))
      says(request.stream, 200, 'end', event('ERROR', {}).replace('"spec"', `"message":"${words}","spec"`))
    return isWatch(request)
  }
  world.server.endWatches()
  await waitFor('the error is told', () => told(reflector.state.problem))
  assert.ok((reflector.state.problem?.length ?? 0) < 1_100)
})

test('pages that never end are no list: it is said, and what was read before stays', async () => {
  fill(3)
  const reflector = world.begin(undefined, fasterClock(20))
  await world.isWatched()
  const pageOf = (next: string): string =>
    JSON.stringify({ kind: 'List', metadata: { resourceVersion: '900', continue: next }, items: [] })
  world.server.fault = ({ query, stream }) => {
    if (query.get('watch') === '1') return false
    says(stream, 200, 'end', pageOf('again'))
    return true
  }
  reflector.relist()
  await waitFor('it is said', () => /a list without an end/.test(reflector.state.problem ?? ''))
  assert.deepEqual(world.removed, [])
  assert.equal(world.objects.size, 3)
  world.server.fault = () => false
  await waitFor('it is mended', () => reflector.state.problem === undefined)
  assert.deepEqual(world.removed, [])
})

test('a 200 without a list is no list, however often it is said', async () => {
  fill(3)
  const reflector = world.begin(undefined, fasterClock(20))
  await world.isWatched()
  const body = JSON.stringify({ kind: 'Status', status: 'Success', metadata: { resourceVersion: '900' } })
  let answers = 0
  world.server.fault = (request) => {
    if (!isList(request)) return false
    answers++
    request.stream.respond({ ':status': 200 })
    request.stream.end(body)
    return true
  }
  reflector.relist()
  await waitFor('some answers', () => answers >= 4)
  assert.deepEqual(world.removed, [])
  assert.match(reflector.state.problem ?? '', /no list/)
})

for (const [what, begin] of [
  ['list', ({ stream }: Request) => says(stream, 200, 'write', '{"metadata":{"resourceV')],
  ['reason of an error', ({ stream }: Request) => says(stream, 500, 'write', '{"message":"')],
] as const) {
  test(`a ${what} that does not go on, over a connection that lives, is asked for again`, async () => {
    fill(2)
    world.once(begin, isList)
    const reflector = world.begin(undefined, fasterClock(100))
    await waitFor('it is said', () => world.problems.some((problem) => /did not go on for 30 s/.test(problem)))
    await waitFor('the kind was read', () => reflector.state.isSynced)
    assert.equal(world.objects.size, 2)
  })
}

test('a list of one octet now and then is given up, and asked for again', async () => {
  fill(2)
  let drip: NodeJS.Timeout | undefined
  world.once(({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.write('{"metadata":{"resourceVersion":"5"},"items":[')
    drip = setInterval(() => stream.write(' '), 20)
    stream.on('close', () => clearInterval(drip))
  }, isList)
  const reflector = world.begin(undefined, fasterClock(100))
  await waitFor('it is said', () => world.problems.some((problem) => /not complete after 180 s/.test(problem)))
  await waitFor('the kind was read', () => reflector.state.isSynced)
  assert.equal(world.objects.size, 2)
})

for (const [what, fault, isMeant] of [
  ['answers 410 to every watch', ({ stream }: Request) => status(stream, 410, 'too old'), isWatch],
  ['answers 410 to everything', ({ stream }: Request) => status(stream, 410, 'too old'), () => true],
  ['ends every watch at once', ({ stream }: Request) => says(stream, 200, 'end', ''), isWatch],
  ['resets every stream', ({ stream }: Request) => stream.close(constants.NGHTTP2_REFUSED_STREAM), () => true],
  ['says nothing but 404', ({ stream }: Request) => status(stream, 404, 'not found'), () => true],
  ['closes every connection', ({ stream }: Request) => stream.session?.destroy(), () => true],
  ['wants fresh credentials each time', ({ stream }: Request) => status(stream, 401, 'Unauthorized'), () => true],
  [
    'sends an old bookmark first',
    ({ stream }: Request) => says(stream, 200, 'write', event('BOOKMARK', { resourceVersion: '5' })),
    isWatch,
  ],
] as const) {
  test(`a server that ${what} is not stormed`, async () => {
    fill(1)
    world.server.fault = (request) => {
      if (!isMeant(request)) return false
      fault(request)
      return true
    }
    world.begin()
    const began = performance.now()
    await waitFor('two seconds', () => performance.now() - began > 2_000)
    // Waits of 0.5, 1 and 2 s, each with a list, or a look and a watch, and a first try anew at once.
    assert.ok(world.server.requests.length <= 12, `${world.server.requests.length} requests`)
  })
}

test('a watch that says again what it said before, or what was deleted, changes nothing', async () => {
  world.server.put(path, 'a', { n: 1 })
  world.begin()
  await world.isWatched()
  world.server.put(path, 'a', { n: 2 })
  await waitFor('the new version', () => JSON.stringify(world.objects.get('a')) === '{"n":2}')
  world.server.put(path, 'b')
  await world.has('b')
  world.server.delete(path, 'b')
  await waitFor('its end', () => !world.objects.has('b'))
  const before = world.delivered.length
  for (const line of [
    event('MODIFIED', { name: 'a', uid: 'uid-a', resourceVersion: '101' }, { n: 1 }),
    event('DELETED', { name: 'a', uid: 'uid-a', resourceVersion: '102' }),
    event('ADDED', { name: 'b', uid: 'uid-b', resourceVersion: '103' }),
  ]) {
    await world.isWatched()
    const asked = world.watchesAsked.length
    world.server.say(path, line)
    await waitFor('it is watched from a list', () => world.watchesAsked.length > asked)
  }
  assert.deepEqual(world.removed, ['b'])
  assert.deepEqual(world.objects.get('a'), { n: 2 })
  assert.equal(world.delivered.length, before)
})

test('an event that is no object is passed by a list, and those after it arrive', async () => {
  fill(1)
  world.begin(undefined, fasterClock(20))
  await world.isWatched()
  // As from a proxy's memory: at the beginning of every watch from this version.
  world.server.fault = (request) => {
    if (request.query.get('resourceVersion') !== '101' || !isWatch(request)) return false
    request.stream.respond({ ':status': 200 })
    request.stream.write('{"type":"ADDED","object":{"metadata":{}}}\n')
    return true
  }
  world.server.endWatches()
  await waitFor('some watches', () => world.watchesAsked.filter((version) => version === '101').length >= 3)
  world.server.put(path, 'later')
  await world.has('later')
  assert.deepEqual(world.removed, [])
})

test('an item of a list that is no object hides none of the others, and is said', async () => {
  const item = { metadata: { name: 'a', uid: 'u', resourceVersion: '1' } }
  const items = [{}, item, null, { metadata: { name: 7 } }, 'x', { metadata: { name: '' } }]
  world.once(({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.end(JSON.stringify({ metadata: { resourceVersion: '5' }, items }))
  }, isList)
  world.server.serve(path)
  const reflector = world.begin()
  await world.isWatched()
  assert.deepEqual([...world.objects.keys()], ['a'])
  assert.match(reflector.state.problem ?? '', /are no objects/)
})

test('a key that stands twice counts by its last value, as the API server reads it', async () => {
  world.server.serve(path)
  world.once(({ stream }) => {
    stream.respond({ ':status': 200 })
    const object = '{"metadata":{"name":"x","name":"a","resourceVersion":"1"},"spec":{"n":1},"spec":{"n":2}}'
    stream.end(`{"metadata":{"resourceVersion":"5"},"items":[${object}]}`)
  }, isList)
  world.begin()
  await world.has('a')
  assert.deepEqual(world.objects.get('a'), { n: 2 })
})

test('an object of 1.5 MB, and one of a thousand levels, are objects', async () => {
  const text = 'x'.repeat(1_500_000)
  const deep = JSON.parse(`${'['.repeat(1_000)}${']'.repeat(1_000)}`) as unknown
  world.server.put(path, 'large', { text })
  world.begin()
  await world.has('large')
  await world.isWatched()
  world.server.put(path, 'large-too', { text })
  world.server.put(path, 'deep', { deep })
  await world.has('deep')
  assert.deepEqual(world.objects.get('large-too'), { text })
})

test('a stream that is reset, and credentials that are refused, end no other stream', async () => {
  fill(1)
  world.server.put('/other', 'x')
  world.begin()
  const other = world.begin([{ apiVersion: 'v1', path: '/other' }])
  await world.isWatched()
  await world.isWatched('/other')
  let resets = 0
  world.server.fault = (request) => {
    if (request.path !== '/other') return false
    resets++
    if (resets % 2 === 0) request.stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    else status(request.stream, 401, 'Unauthorized')
    return true
  }
  other.relist()
  await waitFor('some resets', () => resets >= 4)
  const asked = world.server.requests.filter((request) => request.path === path && isWatch(request)).length
  assert.equal(asked, 1)
  world.server.put(path, 'later')
  await world.has('later')
})

test('fresh credentials are asked for once for all that were refused together, and used', async () => {
  const seen = new Set<unknown>()
  world.server.fault = ({ headers, stream }) => {
    seen.add(headers['authorization'])
    if (headers['authorization'] !== 'Bearer test-0') return false
    status(stream, 401, 'Unauthorized')
    return true
  }
  for (const at of [path, '/b', '/c', '/d']) {
    world.server.put(at, at.slice(1))
    world.begin([{ apiVersion: 'v1', path: at }])
  }
  for (const at of [path, '/b', '/c', '/d']) await world.isWatched(at)
  assert.equal(world.server.renewals, 1)
  assert.deepEqual([...seen], ['Bearer test-0', 'Bearer test-1'])
})

test('a kind that goes for a moment takes nothing away; one that changes its version stays in force', async () => {
  const places = [
    { apiVersion: 'cilium.io/v2', path: '/new' },
    { apiVersion: 'cilium.io/v2alpha1', path: '/old' },
  ]
  world.server.put('/new', 'pool', { n: 1 })
  world.begin(places, fasterClock(20))
  await world.isWatched('/new')
  world.server.unserve('/new')
  await waitFor('it is said', () => world.problems.some((problem) => /no such kind/.test(problem)))
  world.server.put('/new', 'pool', { n: 1 })
  await world.isWatched('/new')
  world.server.put('/old', 'pool', { n: 2 })
  world.server.unserve('/new')
  await world.isWatched('/old')
  assert.deepEqual(world.objects.get('pool'), { n: 2 })
  assert.deepEqual(world.removed, [])
  world.server.unserve('/old')
  await waitFor('it is gone for good', () => world.removed.length === 1)
})
