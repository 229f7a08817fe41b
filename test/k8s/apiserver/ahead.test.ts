/** Pages that are asked for while the one before is read: what the list has is the same, and what is left over ends. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { waitFor } from '../../wait.ts'
import { type Request, status } from './fake-server.ts'
import { isList, path, ReflectorWorld } from './reflector-world.ts'

let world: ReflectorWorld

beforeEach(async () => {
  world = await ReflectorWorld.start()
})

afterEach(() => world.end())

const from = ({ query }: Pick<Request, 'query'>): string | null => query.get('continue')
const pagesAsked = (): readonly (string | null)[] => world.server.requests.filter(isList).map(from)
const object = (name: string): string =>
  JSON.stringify({ metadata: { name, namespace: 'default', uid: `uid-${name}`, resourceVersion: '50' }, spec: {} })
const head = (next: string): string =>
  `{"kind":"List","metadata":{"resourceVersion":"99","continue":"${next}"},"items":[`
const isRead = (is: { readonly state: { readonly isSynced: boolean } }): Promise<unknown> =>
  waitFor('the kind was read', () => is.state.isSynced)

/** The first list alone: by its pages. */
function answerPages(answers: Readonly<Record<string, (stream: Request['stream']) => void>>): void {
  const left = new Map(Object.entries(answers))
  world.server.serve(path)
  world.server.fault = (request) => {
    const answer = isList(request) ? left.get(from(request) ?? 'first') : undefined
    left.delete(from(request) ?? 'first')
    if (answer !== undefined) request.stream.respond({ ':status': 200 })
    answer?.(request.stream)
    return answer !== undefined
  }
}

test('the next page is asked for when its name is known, and read after the one before', async () => {
  let first: Request['stream'] | undefined
  answerPages({
    first: (stream) => {
      first = stream
      stream.write(`${head('two')}${object('a')},`)
    },
    two: (stream) => stream.end(`${head('')}${object('c')}]}`),
  })
  const reflector = world.begin()
  await waitFor('the second page is asked for', () => pagesAsked().includes('two'))
  await world.has('a')
  assert.ok(!world.objects.has('c'), 'a page is read before the one before it has ended')
  first?.end(`${object('b')}]}`)
  await isRead(reflector)
  assert.deepEqual(world.log, ['+a 50', '+b 50', '+c 50'])
  assert.deepEqual(pagesAsked(), [null, 'two'])
})

test('a list that names its next page behind its items is read in pages as well', async () => {
  answerPages({
    first: (stream) =>
      stream.end(`{"kind":"List","items":[${object('a')}],"metadata":{"continue":"two","resourceVersion":"99"}}`),
    two: (stream) => stream.end(`${head('')}${object('b')}]}`),
  })
  await isRead(world.begin())
  assert.deepEqual(world.log, ['+a 50', '+b 50'])
  assert.deepEqual(pagesAsked(), [null, 'two'])
})

test('a page that ends early ends the request for the next one, and the list begins anew', async () => {
  let ahead: Promise<unknown> | undefined
  let first: Request['stream'] | undefined
  answerPages({
    first: (stream) => {
      first = stream
      stream.write(`${head('two')}${object('a')},`)
    },
    // Its answer does not end.
    two: (stream) => {
      ahead = new Promise((resolve) => stream.on('close', resolve))
      stream.write(head(''))
    },
  })
  world.server.put(path, 'a')
  world.server.put(path, 'b')
  const reflector = world.begin()
  await waitFor('the second page is asked for', () => ahead !== undefined)
  first?.end()
  await ahead
  await isRead(reflector)
  assert.deepEqual([...world.objects.keys()].sort(), ['a', 'b'])
  assert.deepEqual(world.removed, [])
})

test('a page that cannot be had, asked for ahead, costs nothing of the page that is read', async () => {
  let first: Request['stream'] | undefined
  let isRefused = false
  answerPages({
    first: (stream) => {
      first = stream
      stream.write(`${head('two')}${object('a')},`)
    },
  })
  const { fault } = world.server
  world.server.fault = (request) => {
    if (from(request) !== 'two') return fault(request)
    isRefused = true
    status(request.stream, 410, 'The provided continue parameter is too old')
    return true
  }
  for (const name of ['a', 'b', 'c']) world.server.put(path, name)
  const reflector = world.begin()
  await waitFor('the second page is refused', () => isRefused)
  first?.end(`${object('b')}]}`)
  await world.has('b')
  await isRead(reflector)
  assert.deepEqual([...world.objects.keys()].sort(), ['a', 'b', 'c'])
  assert.deepEqual(world.removed, [])
})

test('the first page is a small one, so that reading begins soon, and a long list has few of them', async () => {
  world.server.serve(path)
  for (let i = 0; i < 4_600; i++) world.server.put(path, `s${i}`)
  await isRead(world.begin())
  const limits = world.server.requests.filter(isList).map(({ query }) => query.get('limit'))
  assert.deepEqual(limits, ['500', '2000', '2000', '2000'])
  assert.equal(world.objects.size, 4_600)
})
