/** What is asked of the speaker costs a bounded piece of work at a time, however much it holds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUpdate, decodeUpdate } from '../../src/bgp/messages/update.ts'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import { formatPrefix, parsePrefix, type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { FigureWriter } from '../../src/speaker/figures.ts'
import type { Peer, PeersHost } from '../../src/speaker/peer.ts'
import { Peers } from '../../src/speaker/peers.ts'
import type { QueryAnswer, RoutesQuery, SpeakerQuery } from '../../src/speaker/protocol.ts'
import {
  maxPeersPerAnswer,
  maxRoutesPerAnswer,
  maxStepsPerAnswer,
  maxWalks,
  Queries,
} from '../../src/speaker/queries.ts'
import { system } from '../../src/speaker/session/system.ts'
import { UpdateGroup } from '../../src/speaker/update-group.ts'
import { hostRoutes, neighborOf } from './pair.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}
const nobody: PeersHost = {
  figures: new FigureWriter(undefined),
  stateChanged: () => {},
  established: () => {},
  down: () => {},
  drained: () => {},
  peerFound: () => {},
  routeRefresh: () => {},
  workDue: () => {},
  viewChanged: () => {},
  log: () => {},
}

/** Peers that are configured and never started, and what they hold. */
class Held {
  readonly locRib = new LocRib()
  readonly peers: Peers
  readonly queries: Queries
  /** Steps of every answer so far. */
  readonly steps: number[] = []

  constructor(count: number) {
    this.peers = new Peers({ isRestart: false, isForwardingPreserved: false }, system, this.locRib, nobody)
    this.peers.configure(
      Array.from({ length: count }, (_, i) => neighborOf(65_001, 65_002, `192.0.2.${i + 1}`, { passive: true })),
    )
    this.queries = new Queries(this.peers, this.locRib)
  }

  peer(i: number): Peer {
    return this.peers.all[i] ?? assert.fail(`no peer ${i}`)
  }

  ask(query: SpeakerQuery): QueryAnswer {
    const answer = this.queries.answer(query)
    this.steps.push(this.queries.lastSteps)
    return answer
  }

  /** Every page of it. */
  pages(query: RoutesQuery): readonly (readonly string[])[] {
    const pages: string[][] = []
    let from: number | undefined
    do {
      const answer = this.ask({ ...query, ...(from === undefined ? {} : { from }) })
      assert.equal(answer.isExpired, undefined)
      pages.push((answer.routes ?? []).map((route) => route.prefix))
      from = answer.next
    } while (from !== undefined)
    return pages
  }

  want(prefixes: readonly string[], neighbors = [this.peer(0).neighbor.id]): void {
    for (const text of prefixes) this.locRib.set(parsed(text), [{ neighbors, attributes: {} }], 1)
  }

  /** What a peer has sent. */
  receive(i: number, prefixes: readonly Prefix[]): void {
    for (let at = 0; at < prefixes.length; at += 5_000) {
      const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_002] }], nextHop: 0x0a000001 }
      const update = { type: 'update', withdrawn: [], attributes, nlri: prefixes.slice(at, at + 5_000) } as const
      const decoded = decodeUpdate(encodeUpdate(update, codec).subarray(19), codec)
      if (!decoded.ok) return assert.fail(decoded.fault.reason)
      this.peer(i).adjRibIn.apply(decoded.value, codec, 1_000)
    }
  }

  /** All that is wanted is sent to these peers by one update group. */
  send(...members: readonly number[]): void {
    const view = { localAsn: 65_001, isExternal: true, nextHops: { 'ipv4-unicast': 0xc6336401 } }
    const group = new UpdateGroup(view, codec, this.locRib)
    for (const i of members) {
      const peer = this.peer(i)
      peer.group = group
      group.join({ id: peer.neighbor.id, isRefreshFramed: false, send: () => true })
    }
    while (group.isBusy) group.step(100_000, 1)
  }
}

const parsed = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
const table = (name: RoutesQuery['table'], peer?: string): RoutesQuery => ({
  what: 'routes',
  table: name,
  family: 'ipv4-unicast',
  ...(peer === undefined ? {} : { peer }),
})

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
