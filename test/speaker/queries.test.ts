/** What is asked of the speaker costs a bounded piece of work at a time, however much it holds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serialize } from 'node:v8'
import { formatPrefix, type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { maxRoutesPerAnswer, maxStepsPerAnswer } from '../../src/speaker/page.ts'
import type { QueryAnswer, RoutesQuery } from '../../src/speaker/protocol.ts'
import { maxPeersPerAnswer, maxWalks } from '../../src/speaker/queries.ts'
import { addPath, codec, Held, parsed, table } from './held.ts'
import { hostRoutes, neighborOf } from './pair.ts'

test('every table is listed completely, and no answer looks at more than a bounded part of it', () => {
  const held = new Held(2)
  const prefixes = hostRoutes(20_000)
  held.want(prefixes)
  held.send(0, 1)
  held.receive(1, prefixes.map(parsed))
  for (const name of ['available', 'advertised', 'received'] as const) {
    held.steps.length = 0
    const pages = held.pages(table(name))
    const all = pages.flat()
    assert.equal(all.length, prefixes.length, name)
    assert.equal(new Set(all).size, prefixes.length, name)
    assert.ok(Math.max(...pages.map((page) => page.length)) <= maxRoutesPerAnswer, name)
    assert.ok(Math.max(...held.steps) <= maxStepsPerAnswer, name)
  }
})

test('what shows nothing is passed in bounded steps too: another family, strangers, a peer that was sent nothing', () => {
  const held = new Held(2)
  held.want(hostRoutes(30_000))
  held.send(0, 1)
  const isNothing = (query: RoutesQuery): void => {
    held.steps.length = 0
    assert.deepEqual(held.pages(query).flat(), [])
    assert.ok(held.steps.length > 1 && Math.max(...held.steps) <= maxStepsPerAnswer, JSON.stringify(held.steps))
  }
  isNothing({ ...table('available'), family: 'ipv6-unicast' })
  isNothing({ ...table('advertised'), family: 'ipv6-unicast' })
  isNothing(table('advertised', '192.0.2.2'))
  held.want(hostRoutes(30_000), ['65001/198.51.100.9'])
  isNothing(table('available'))
})

test('a table of which hardly anything is left is passed in bounded steps', () => {
  const held = new Held(1)
  const prefixes = Array.from({ length: 40_000 }, (_, i) => prefixOf(i * 256, 24))
  held.receive(0, prefixes)
  const { adjRibIn } = held.peer(0)
  const gone = { type: 'update', withdrawn: prefixes.slice(1), attributes: {}, nlri: [] } as const
  adjRibIn.apply({ message: gone, problems: [], block: new Uint8Array() }, codec, 1)
  assert.deepEqual(held.pages(table('received')).flat(), [formatPrefix(prefixes[0] as Prefix)])
  assert.ok(held.steps.length > 1 && Math.max(...held.steps) <= maxStepsPerAnswer)
})

test('what was there all along is listed while the table grows to several times its size', () => {
  const held = new Held(1)
  const before = Array.from({ length: 3_000 }, (_, i) => prefixOf(i * 256, 24))
  held.receive(0, before)
  const seen = new Set<string>()
  let from: number | undefined
  let pages = 0
  do {
    const { routes = [], next } = held.ask({ ...table('received'), ...(from === undefined ? {} : { from }) })
    for (const route of routes) seen.add(route.prefix)
    from = next
    // Grows by a thousand a page, up to fifteen times what it was.
    const first = 3_000 + 1_000 * pages++
    if (pages <= 42)
      held.receive(
        0,
        Array.from({ length: 1_000 }, (_, i) => prefixOf((first + i) * 256, 24)),
      )
  } while (from !== undefined)
  assert.deepEqual(
    before.map(formatPrefix).filter((prefix) => !seen.has(prefix)),
    [],
  )
})

test('a session that ends in the middle of a walk ends the walk, and shows nothing of who takes its place', () => {
  const held = new Held(2)
  held.want(hostRoutes(1_000))
  held.send(0)
  const first = held.ask(table('advertised', '192.0.2.1'))
  assert.equal(first.routes?.length, maxRoutesPerAnswer)
  held.peer(0).group = undefined
  const second = held.ask({ ...table('advertised', '192.0.2.1'), from: first.next ?? 0 })
  assert.deepEqual(second, { routes: [] })
})

test('a walk goes on once, for the question that began it; the oldest of too many is forgotten', () => {
  const held = new Held(1)
  held.want(hostRoutes(1_000))
  const begin = (): number => held.ask(table('available')).next ?? assert.fail('no next')
  const on = (from: number, query = table('available')): boolean => held.ask({ ...query, from }).isExpired !== true
  const first = begin()
  assert.equal(on(first, table('received')), false, 'another question')
  const second = begin()
  assert.deepEqual([on(second), on(second)], [true, false])
  const oldest = begin()
  for (let i = 0; i < maxWalks; i++) begin()
  assert.equal(on(oldest), false)
})

test('a page has at most as many routes as were asked for', () => {
  const held = new Held(1)
  held.want(hostRoutes(10))
  const first = held.ask({ ...table('available'), limit: 3 })
  assert.equal(first.routes?.length, 3)
  assert.equal(held.ask({ ...table('available'), limit: 9, from: first.next ?? 0 }).routes?.length, 7)
})

test('an answer has a bounded number of octets, however much comes with each route', () => {
  const held = new Held(2)
  const prefixes = Array.from({ length: 300 }, (_, i) => prefixOf(i * 256, 24))
  for (const [i, prefix] of prefixes.entries())
    held.receive(
      0,
      [prefix],
      Array.from({ length: 10_000 }, (_, at) => i * 65_536 + at),
    )
  held.want(
    hostRoutes(3_000),
    [held.peer(1).neighbor.id],
    Array.from({ length: 5_000 }, (_, at) => 65_001 * 65_536 + at),
  )
  held.send(1)
  held.receive(
    1,
    prefixes.slice(0, 1),
    Array.from({ length: 10_000 }, (_, at) => at),
    [1, 2, 3, 4, 5],
  )
  const paths = held.ask({ what: 'paths', prefix: formatPrefix(prefixes[0] as Prefix) })
  assert.deepEqual([paths.routes?.length, paths.next === undefined], [1, false])
  // 40 kB each, and 60 kB as text.
  for (const [name, most] of [
    ['received', 80_000],
    ['advertised', 70_000],
    ['available', 70_000],
  ] as const) {
    const { packed, routes = [], next } = held.queries.answer(table(name))
    assert.ok(next !== undefined && routes.length + (packed?.runs[0]?.count ?? 0) > 0, name)
    const octets = packed?.octets.length ?? serialize(routes).length / routes.length
    assert.ok(routes.length <= 1 && octets < most, `${name}: ${routes.length} routes, ${octets} octets`)
  }
  assert.equal(held.pages(table('received')).flat().length, prefixes.length + 5)
})

test('what an answer is as text is bounded too where all routes share one large set', () => {
  const held = new Held(2)
  const prefixes = Array.from({ length: 100 }, (_, i) => prefixOf(i * 256, 24))
  const communities = Array.from({ length: 7_000 }, (_, at) => at)
  held.receive(0, prefixes, communities)
  held.receive(
    1,
    prefixes.slice(0, 1),
    communities,
    Array.from({ length: 64 }, (_, i) => i + 1),
  )
  held.want(hostRoutes(100), [held.peer(1).neighbor.id], communities)
  held.send(1)
  for (const [what, query] of [
    ...(['received', 'advertised', 'available'] as const).map((name) => [name, table(name)] as const),
    ['paths', { what: 'paths', prefix: formatPrefix(prefixes[0] as Prefix) }] as const,
  ]) {
    const { routes = [], next } = held.ask(query)
    assert.ok(next !== undefined && routes.length > 0 && JSON.stringify(routes).length < 200_000, what)
  }
  assert.equal(held.pages(table('received')).flat().length, prefixes.length + 64)
})

test('a page goes on from one peer to the next, each with what its own session made of the paths', () => {
  const held = new Held(3)
  const of = (i: number): readonly Prefix[] => Array.from({ length: 10 }, (_, at) => prefixOf((i * 10 + at) * 256, 24))
  held.receive(0, of(0))
  held.receive(2, of(1), [7])
  const { routes = [] } = held.ask(table('received'))
  const shown = routes.map(({ peer, prefix, communities }) => [peer, prefix, communities.join()].join(' ')).sort()
  const expected = [0, 1].flatMap((i) =>
    of(i).map((prefix) => [held.peer(i * 2).neighbor.id, formatPrefix(prefix), i === 0 ? '' : '0:7'].join(' ')),
  )
  assert.deepEqual(shown, expected.sort())
})

test('what lies at one place is told as it is, though pages end in the middle of it', () => {
  const held = new Held(1)
  // All paths of a prefix are found at its place.
  held.receive(0, [prefixOf(0, 24)], [], [1, 2, 3, 4])
  const first = held.ask({ ...table('received'), limit: 1 })
  const [shown] = (first.routes ?? []).map(({ pathId }) => pathId)
  const [gone = 0, changed = 0, same = 0] = [1, 2, 3, 4].filter((id) => id !== shown)
  const withdrawal = {
    type: 'update',
    withdrawn: [prefixOf(0, 24)],
    withdrawnPathIds: [gone],
    attributes: {},
    nlri: [],
  } as const
  held.peer(0).adjRibIn.apply({ message: withdrawal, problems: [], block: new Uint8Array() }, addPath, 1)
  held.receive(0, [prefixOf(0, 24)], [7], [changed])
  // The table is made larger in between.
  held.receive(0, hostRoutes(5_000).map(parsed))
  const { routes = [] } = held.ask({ ...table('received'), from: first.next ?? 0 })
  const told = routes.filter(({ prefix }) => prefix === '0.0.0.0/24')
  assert.deepEqual(Object.fromEntries(told.map(({ pathId, communities }) => [pathId, communities.join()])), {
    [changed]: '0:7',
    [same]: '',
  })
})

test('walks that wait keep nothing of what a peer has sent, however many paths and attributes are at one place', () => {
  const held = new Held(1)
  const [paths, walks] = [64, 32]
  for (let id = 1; id <= paths; id++)
    held.receive(
      0,
      [prefixOf(0, 24)],
      Array.from({ length: 16_000 }, (_, at) => id * 65_536 + at),
      [id],
    )
  const { arrayBuffers: before } = process.memoryUsage()
  const begun = Array.from({ length: walks }, () => held.queries.answer({ ...table('received'), limit: 1 }).next)
  const { arrayBuffers: after } = process.memoryUsage()
  assert.ok(begun.every((next) => next !== undefined))
  // All that is at the place are 4 MB for each walk; an answer and what it was made in are some 200 kB, uncollected.
  assert.ok((after - before) / walks < 1_000_000, `${(after - before) / walks} octets a walk`)
})

test('peers are told some at a time', () => {
  const held = new Held(maxPeersPerAnswer * 2 + 1)
  const ids: string[] = []
  let from: number | undefined = 0
  while (from !== undefined) {
    const { peers = [], next }: QueryAnswer = held.ask({ what: 'peers', from })
    ids.push(...peers.map(({ id }) => id))
    from = next
  }
  assert.deepEqual(
    ids,
    held.peers.all.map(({ neighbor }) => neighbor.id),
  )
  assert.deepEqual(held.steps, [maxPeersPerAnswer, maxPeersPerAnswer, 1])
})

test('of a peer that is no neighbor there is no table, not an empty one; addresses are compared as values', () => {
  const held = new Held(11)
  held.peers.configure(
    ['192.0.2.1', '192.0.2.11', '2001:db8::1', 'fe80::1'].map((address) =>
      neighborOf(65_001, 65_002, address, { passive: true, ...(address === 'fe80::1' ? { interface: 'eth0' } : {}) }),
    ),
  )
  for (const name of ['available', 'advertised', 'received'] as const)
    for (const stranger of ['192.0.2.111', '192.0.2', '2001:db8::11', 'fe80::1%eth1', '', 'x'])
      assert.equal(held.ask(table(name, stranger)).isStranger, true, `${name} ${stranger}`)
  const named = (name: string): readonly string[] => held.peers.find(name).map(({ neighbor }) => neighbor.id)
  for (const name of ['2001:db8::1', '2001:DB8:0:0::1', '65001/2001:db8::1'])
    assert.deepEqual(named(name), ['65001/2001:db8::1'])
  for (const name of ['fe80::1', 'FE80:0::1%eth0']) assert.equal(named(name).length, 1, name)
})

test('a peer whose id has a port is found by it, without our AS, as it is shown', () => {
  const held = new Held(11)
  const [low, high] = [
    neighborOf(65_001, 65_002, '192.0.2.1', { passive: true }),
    { ...neighborOf(65_001, 65_002, '192.0.2.1', { passive: true }), id: '65001/192.0.2.1:1790', peerPort: 1790 },
  ]
  held.peers.configure([low, high])
  const named = (name: string): readonly string[] => held.peers.find(name).map(({ neighbor }) => neighbor.id)
  assert.deepEqual(named('192.0.2.1:1790'), [high.id])
  assert.deepEqual(named('192.0.2.1'), [low.id, high.id])
})

test('available of one peer is what is meant for it', () => {
  const held = new Held(2)
  held.want(hostRoutes(3), ['65001/192.0.2.1'])
  assert.equal(held.pages(table('available', '192.0.2.1')).flat().length, 3)
  assert.deepEqual(held.pages(table('available', '192.0.2.2')).flat(), [])
})

test('an unnumbered peer has its interface in its address before a router is found there, and is found by it', () => {
  const held = new Held(11)
  held.peers.configure(
    ['eth0', 'eth1'].map((name) => ({
      ...neighborOf(65_001, 65_002, '::', { passive: true, interface: name }),
      id: `65001/::%${name}`,
    })),
  )
  const { peers = [] } = held.ask({ what: 'peers', from: 0 })
  const shown = peers.map(({ peerAddress }) => peerAddress)
  assert.deepEqual(shown, ['::%eth0', '::%eth1'])
  for (const name of shown)
    assert.deepEqual(
      held.peers.find(name).map(({ neighbor }) => neighbor.id),
      [`65001/${name}`],
    )
})
