/** Peers that are configured and never started, what they hold, and what is asked of it. */
import assert from 'node:assert/strict'
import { encodeUpdate, decodeUpdate } from '../../src/bgp/messages/update.ts'
import { type CodecContext, ipv4Unicast, ipv6Unicast } from '../../src/bgp/messages/types.ts'
import { parsePrefix, type Prefix } from '../../src/ip/prefix.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { FigureWriter } from '../../src/speaker/figures.ts'
import { unpackAnswer } from '../../src/speaker/packed-paths.ts'
import type { Peer, PeersHost } from '../../src/speaker/peer.ts'
import { Peers } from '../../src/speaker/peers.ts'
import type { QueryAnswer, RoutesQuery, SpeakerQuery } from '../../src/speaker/protocol.ts'
import { Queries } from '../../src/speaker/queries.ts'
import { system } from '../../src/speaker/session/system.ts'
import { UpdateGroup } from '../../src/speaker/update-group.ts'
import { neighborOf } from './pair.ts'

export const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}
export const addPath: CodecContext = { ...codec, addPathReceive: [ipv4Unicast] }
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

export class Held {
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
    const answer = unpackAnswer(this.queries.answer(query))
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

  want(prefixes: readonly string[], neighbors = [this.peer(0).neighbor.id], communities: readonly number[] = []): void {
    const routes = [{ neighbors, attributes: communities.length === 0 ? {} : { communities } }]
    for (const text of prefixes) this.locRib.set(parsed(text), routes, 1)
  }

  /** What a peer has sent. */
  receive(
    i: number,
    prefixes: readonly Prefix[],
    communities: readonly number[] = [],
    pathIds: readonly number[] = [],
  ): void {
    for (let at = 0; at < prefixes.length; at += 5_000)
      if (pathIds.length === 0) this.#receive(i, prefixes.slice(at, at + 5_000), communities, codec)
      else for (const id of pathIds) this.#receive(i, prefixes, communities, addPath, id)
  }

  #receive(i: number, nlri: readonly Prefix[], all: readonly number[], ctx: CodecContext, pathId?: number): void {
    const communities = all.length === 0 ? {} : { communities: all }
    const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_002] }], nextHop: 0x0a000001, ...communities }
    const ids = pathId === undefined ? {} : { nlriPathIds: nlri.map(() => pathId) }
    const update = { type: 'update', withdrawn: [], attributes, nlri, ...ids } as const
    const decoded = decodeUpdate(encodeUpdate(update, ctx).subarray(19), ctx)
    if (!decoded.ok) return assert.fail(decoded.fault.reason)
    this.peer(i).adjRibIn.apply(decoded.value, ctx, 1_000)
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

export const parsed = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
export const table = (name: RoutesQuery['table'], peer?: string): RoutesQuery => ({
  what: 'routes',
  table: name,
  family: 'ipv4-unicast',
  ...(peer === undefined ? {} : { peer }),
})
