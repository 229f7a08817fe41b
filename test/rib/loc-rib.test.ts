import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Prefix, parsePrefix } from '../../src/ip/prefix.ts'
import { type Candidate, decide } from '../../src/rib/decision.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'

const one = parsePrefix('192.0.2.1/32') as Prefix
const two = parsePrefix('192.0.2.2/32') as Prefix
const routes = (med?: number) => [{ neighbors: ['65000/10.0.0.1'], attributes: med === undefined ? {} : { med } }]

test('saying the same again is no change, other attributes and other neighbors are', () => {
  const rib = new LocRib()
  assert.equal(rib.set(one, routes(), 1), true)
  assert.equal(rib.set(one, routes(), 2), false)
  assert.equal(rib.get(one)?.since, 1)
  assert.equal(rib.set(one, routes(0), 3), true)
  assert.equal(rib.set(one, [{ neighbors: [], attributes: { med: 0 } }], 4), true)
})

test('no routes remove a prefix, once', () => {
  const rib = new LocRib()
  rib.set(one, routes(), 1)
  assert.equal(rib.set(one, [], 2), true)
  assert.equal(rib.set(one, [], 3), false)
  assert.equal(rib.size, 0)
})

test('prefixes with equal routes share one list', () => {
  const rib = new LocRib()
  rib.set(one, routes(7), 1)
  rib.set(two, routes(7), 1)
  assert.equal(rib.get(one)?.routes, rib.get(two)?.routes)
})

test('lists of neighbors are told apart, also where an interface has a comma in its name', () => {
  const rib = new LocRib()
  const to = (...neighbors: readonly string[]) => [{ neighbors, attributes: {} }]
  rib.set(one, to('65000/::%a', '65000/::%b'), 1)
  rib.set(two, to('65000/::%a,65000/::%b'), 1)
  assert.deepEqual(rib.get(two)?.routes, to('65000/::%a,65000/::%b'))
})

test('one list said for many prefixes is the list of those that had an equal one before, whatever came between', () => {
  const list = fc.constantFrom(...[1, 2, 3].map((med) => routes(med)), routes(1))
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(one, two), list), { maxLength: 12 }), (said) => {
      const [rib, plain] = [new LocRib(), new LocRib()]
      // Of the other one each list is told once alone.
      for (const [prefix, each] of said)
        assert.equal(rib.set(prefix, each, 1), plain.set(prefix, structuredClone(each), 1))
      for (const prefix of [one, two]) assert.deepEqual(rib.get(prefix), plain.get(prefix))
      const [a, b] = [rib.get(one)?.routes, rib.get(two)?.routes]
      if (a !== undefined && b !== undefined && a[0]?.attributes.med === b[0]?.attributes.med) assert.equal(a, b)
    }),
  )
})

test('a list that is said on and on while others pile up and are swept stays one list', () => {
  const rib = new LocRib()
  const said = routes(7)
  rib.set(one, said, 1)
  for (let med = 10; med < 5_000; med++) {
    rib.set(two, routes(med), med)
    rib.set(two, said, med)
  }
  assert.equal(rib.set(two, routes(7), 9), false)
  assert.equal(rib.get(one)?.routes, rib.get(two)?.routes)
})

test('lists that nothing uses any more do not pile up', () => {
  const rib = new LocRib()
  for (let med = 0; med < 5_000; med++) rib.set(one, routes(med), med)
  rib.set(two, routes(4_999), 0)
  assert.equal(rib.get(two)?.routes, rib.get(one)?.routes)
})

const candidate = (peer: string, med = 0): Candidate => ({
  peer,
  attributes: { med, asPath: [] },
  isExternal: true,
  bgpId: 1,
  peerAddress: 1,
  pathId: 0,
})

test('a full Loc-RIB refuses another prefix, not another path of one that it has, and says when there is room', () => {
  const rib = new LocRib({ maxImported: 1 })
  let room = 0
  rib.onRoom = () => room++
  assert.equal(rib.setImported(one, 'a', [candidate('a')]), true)
  assert.equal(rib.setImported(two, 'a', [candidate('a')]), false)
  assert.equal(rib.setImported(one, 'b', [candidate('b')]), true)
  assert.deepEqual([rib.hasRoom, room], [false, 0])
  assert.equal(rib.setImported(two, 'a', []), true, 'what was refused can be withdrawn')
  rib.setImported(one, 'a', [])
  assert.deepEqual([rib.hasRoom, room], [false, 0])
  rib.setImported(one, 'b', [])
  assert.deepEqual([rib.hasRoom, room], [true, 1])
})

test('what each peer offers last is what is decided among, whatever it offered before', () => {
  const offer = fc.record({
    prefix: fc.constantFrom(one, two),
    peer: fc.constantFrom('a', 'b', 'c'),
    med: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
  })
  fc.assert(
    fc.property(fc.array(offer, { maxLength: 40 }), (offers) => {
      const rib = new LocRib()
      const last = new Map<string, Candidate>()
      for (const { prefix, peer, med } of offers) {
        const candidates = med === undefined ? [] : [candidate(peer, med)]
        rib.setImported(prefix, peer, candidates)
        last.delete(`${prefix} ${peer}`)
        for (const each of candidates) last.set(`${prefix} ${peer}`, each)
      }
      for (const prefix of [one, two]) {
        const all = ['a', 'b', 'c'].flatMap((peer) => last.get(`${prefix} ${peer}`) ?? [])
        assert.deepEqual(rib.decision(prefix)?.best, decide(all)?.best)
        for (const peer of ['a', 'b', 'c']) assert.equal(rib.isOffered(prefix, peer), last.has(`${prefix} ${peer}`))
      }
    }),
  )
})
