/** A server that is behind what it said before: a slow replica, a proxy's memory, a restore from a backup. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Delivered, isOlder } from '../../../src/k8s/apiserver/delivered.ts'
import { waitFor } from '../../wait.ts'
import type { Request } from './fake-server.ts'
import { fasterClock, isList, path, ReflectorWorld } from './reflector-world.ts'

let world: ReflectorWorld

beforeEach(async () => {
  world = await ReflectorWorld.start()
})

afterEach(() => world.end())

const restored = (problem: string | undefined): boolean => /went back in time/.test(problem ?? '')
/** Not the look before a watch goes on. */
const isWholeList = (request: Request): boolean => isList(request) && request.query.get('limit') !== '1'
const bookmark = (resourceVersion: string): string =>
  `${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion } } })}\n`

test('a list is asked for not older than what was seen, and an older one is not taken', async () => {
  world.server.put(path, 'a', { n: 1 })
  world.server.put(path, 'b')
  const reflector = world.begin(undefined, fasterClock(10))
  await world.isWatched()
  world.server.put(path, 'a', { n: 2 })
  await waitFor('the new version', () => JSON.stringify(world.objects.get('a')) === '{"n":2}')
  const old = {
    metadata: { resourceVersion: '101' },
    items: [{ metadata: { name: 'a', namespace: 'default', uid: 'uid-a', resourceVersion: '101' }, spec: { n: 1 } }],
  }
  let answers = 0
  world.server.fault = (request) => {
    if (!isList(request) || answers >= 3) return false
    answers++
    assert.equal(request.query.get('resourceVersion'), '103')
    assert.equal(request.query.get('resourceVersionMatch'), 'NotOlderThan')
    request.stream.respond({ ':status': 200 })
    request.stream.end(JSON.stringify(old))
    return true
  }
  const asked = world.watchesAsked.length
  reflector.relist()
  await waitFor('it is watched again', () => world.watchesAsked.length > asked)
  assert.equal(answers, 3)
  assert.deepEqual(world.objects.get('a'), { n: 2 })
  assert.deepEqual(world.removed, [])
})

/** Objects a and b; then the server has only a, which is noticed by `notice`. */
async function restore(
  factor: number,
  notice = (): void => world.server.endWatches(),
): Promise<ReturnType<ReflectorWorld['begin']>> {
  world.server.put(path, 'a', { n: 1 })
  const reflector = world.begin(undefined, fasterClock(factor))
  await world.isWatched()
  world.server.setVersion(500)
  world.server.put(path, 'b')
  await world.has('b')
  world.server.setVersion(101)
  notice()
  await waitFor('it is told', () => restored(reflector.state.problem))
  return reflector
}

test('a server restored from a backup takes nothing away: what it has no more is held, told, and watched for', async () => {
  const reflector = await restore(200)
  assert.deepEqual([world.removed, reflector.unconfirmed, reflector.size], [[], 1, 2])
  await world.isWatched()
  world.server.put(path, 'c')
  await world.has('c')
  world.server.put(path, 'b', { n: 3 })
  await waitFor('it was put there again', () => reflector.unconfirmed === 0)
  assert.deepEqual([world.removed, world.objects.get('b')], [[], { n: 3 }])
})

test('a bookmark of a version that is past is noticed as well', async () => {
  const reflector = await restore(200, () => world.server.say(path, bookmark('101')))
  assert.deepEqual([world.removed, reflector.unconfirmed], [[], 1])
})

test('a past that was written anew shows in a list that is newer, and takes nothing away either', async () => {
  world.server.put(path, 'a', { n: 1 })
  const reflector = world.begin(undefined, fasterClock(20))
  await world.isWatched()
  world.server.put(path, 'a', { n: 2 })
  world.server.put(path, 'b')
  await world.has('b')
  const a = { metadata: { name: 'a', namespace: 'default', uid: 'uid-a', resourceVersion: '101' }, spec: { n: 1 } }
  world.once(({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.end(JSON.stringify({ metadata: { resourceVersion: '104' }, items: [a] }))
  }, isWholeList)
  world.server.compactedAt = 104
  world.server.setVersion(104)
  world.server.endWatches()
  await waitFor('it is told', () => restored(reflector.state.problem))
  assert.deepEqual([world.objects.get('a'), world.removed, reflector.unconfirmed], [{ n: 1 }, [], 1])
})

test('what a server lacks that was behind for a while, and is not any more, is held', async () => {
  world.server.put(path, 'a')
  const reflector = world.begin(undefined, fasterClock(20))
  await world.isWatched()
  world.server.setVersion(200)
  world.server.put(path, 'b')
  await world.has('b')
  world.server.setVersion(101)
  world.server.endWatches()
  await waitFor('some tries', () => world.server.lists(path) >= 6)
  world.server.setVersion(300)
  await waitFor('it is told', () => restored(reflector.state.problem))
  assert.deepEqual([world.removed, reflector.unconfirmed], [[], 1])
})

test('what a restored server does not have for ten minutes is gone', async () => {
  const reflector = await restore(400)
  await waitFor('it is gone', () => world.removed.length === 1)
  assert.deepEqual(world.removed, ['b'])
  await waitFor('nothing is told any more', () => reflector.state.problem === undefined)
})

test('what a restored server does not have is gone when all is asked to be read again', async () => {
  const reflector = await restore(200)
  reflector.relist()
  await waitFor('it is gone', () => world.removed.length === 1)
  assert.deepEqual([world.removed, reflector.unconfirmed], [['b'], 0])
})

test('what is held stays over further lists, and goes when the server says that it was deleted', () => {
  const removed: string[] = []
  const delivered = new Delivered('Service', { upsert: () => undefined, remove: ({ name }) => void removed.push(name) })
  const object = (name: string, resourceVersion: string): object => ({
    metadata: { name, namespace: 'default', uid: 'u', resourceVersion },
  })
  delivered.upsert(object('a', '10'), 'v1')
  delivered.upsert(object('b', '11'), 'v1')
  delivered.mayGoBack = true
  delivered.sweep(new Set(['default/a']))
  delivered.mayGoBack = false
  delivered.sweep(new Set(['default/a']))
  assert.deepEqual([removed, delivered.held], [[], 1])
  delivered.remove(object('b', '5'))
  assert.deepEqual([removed, delivered.held, delivered.size], [['b'], 0, 1])
})

test('versions are compared as numbers of any length, and not at all where they are none', () => {
  assert.ok(isOlder('9', '10') && isOlder('18446744073709551615', '18446744073709551616') && !isOlder('10', '9'))
  assert.ok(!isOlder('7', '7') && !isOlder('', '7') && !isOlder('0', '7') && !isOlder('a1', 'b2'))
})
