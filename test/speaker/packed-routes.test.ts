/** Routes as they go to the thread of the speaker: the same come out, and few objects are copied. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import fc from 'fast-check'
import { type PackedRoutes, packRoutes, unpackRoutes } from '../../src/speaker/packed-routes.ts'
import type { PrefixRoutes } from '../../src/speaker/protocol.ts'

/** As the other thread has it. */
function sent(packed: PackedRoutes): PackedRoutes {
  const { port1, port2 } = new MessageChannel()
  port1.postMessage(packed)
  const { message } = receiveMessageOnPort(port2) ?? {}
  port1.close()
  return message
}

const lists = [
  [],
  [{ neighbors: ['a', 'b'], attributes: { communities: [7] } }],
  [
    { neighbors: ['a'], attributes: {} },
    { neighbors: ['b'], attributes: { med: 3 } },
  ],
] as const

const entries: fc.Arbitrary<readonly PrefixRoutes[]> = fc.array(
  fc
    .record({
      prefix: fc.oneof(
        fc.ipV4().map((address) => `${address}/32`),
        fc.ipV6().map((address) => `${address}/128`),
      ),
      routes: fc.constantFrom(...lists),
      mark: fc.option(fc.nat({ max: 2 ** 22 }), { nil: undefined }),
    })
    .map(({ mark, ...rest }) => (mark === undefined ? rest : { ...rest, mark })),
  { maxLength: 40 },
)

test('what goes over comes out as it was said, in its order, a prefix that is there twice too', () => {
  fc.assert(
    fc.property(entries, (all) => {
      assert.deepEqual(unpackRoutes(sent(packRoutes(all))), { type: 'routes', prefixes: all })
    }),
  )
})

test('thousands of prefixes that are heard alike are one text, one list of marks and one list of routes', () => {
  const routes = lists[1]
  const all = Array.from({ length: 6_000 }, (_, i) => ({ prefix: `10.1.${i >> 8}.${i & 255}/32`, routes, mark: i }))
  const { prefixes, marks, runs } = packRoutes(all)
  assert.deepEqual([prefixes.split('\n').length, marks.length, runs.length], [6_000, 6_000, 1])
  // One list of them is one list there as well: it is looked up once, and not compared.
  const there = unpackRoutes(sent(packRoutes(all))).prefixes
  assert.equal(new Set(there.map((entry) => entry.routes)).size, 1)
})

test('withdrawals are one run, whatever lists say nothing', () => {
  const all = Array.from({ length: 10 }, (_, i) => ({ prefix: `10.0.0.${i}/32`, routes: [] }))
  assert.equal(packRoutes(all).runs.length, 1)
  assert.deepEqual(unpackRoutes(packRoutes([])), { type: 'routes', prefixes: [] })
})

test('a mark is asked for once for each prefix, in their order', () => {
  const asked: string[] = []
  const all = ['192.0.2.1/32', '192.0.2.2/32'].map((prefix) => ({ prefix, routes: lists[1] }))
  const packed = packRoutes(all, ({ prefix }) => asked.push(prefix))
  assert.deepEqual(asked, ['192.0.2.1/32', '192.0.2.2/32'])
  assert.deepEqual([...packed.marks], [1, 2])
})
