/**
 * A node with two routers in memory, and the long jobs of its speaker: what happens, and what is to be true in the end.
 */
import assert from 'node:assert/strict'
import type { Neighbor } from '../../src/desired/model.ts'
import { formatAddress, parseAddress } from '../../src/ip/address.ts'
import { formatPrefix, type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import type { SharedMemory } from '../../src/speaker/protocol.ts'
import type { Environment } from '../../src/speaker/session/environment.ts'
import { type InMemoryHost, InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { Router, type RouterSession } from './router.ts'
import { seen } from './virtual.ts'

const nodeAsn = 64_512
const prefixes: readonly Prefix[] = Array.from({ length: 2_500 }, (_, i) => prefixOf(0x0a000000 + i, 32))
const received: readonly Prefix[] = Array.from({ length: 300 }, (_, i) => prefixOf(0x14000000 + i * 256, 24))
export const restart = { isRestart: false, isForwardingPreserved: false }
const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const nodeAddress = '192.0.2.1'
const routerAddresses = ['192.0.2.11', '192.0.2.12'] as const

/** Turns that take 2 ms each and are all over their budget, so that a job of some thousand prefixes takes several. */
function slow(host: InMemoryHost): Environment {
  return {
    now: () => host.now(),
    uptimeSec: () => host.uptimeSec(),
    random: () => host.random(),
    after: (sec, callback) => host.after(sec, callback),
    soon: (callback) => void host.after(0.002, callback),
    startTurn: () => () => true,
    dial: (options) => host.dial(options),
    listen: (options) => host.listen(options),
    localAddresses: () => host.localAddresses(),
    discoverRouters: (device, found) => host.discoverRouters(device, found),
    watchPath: (path, settings, told) => host.watchPath(path, settings, told),
  }
}

/** A node, its two routers, and what is wanted of it. */
export class Stage {
  readonly network = new InMemoryNetwork()
  readonly node: Recorded
  readonly routers = routerAddresses.map(
    (text, i) => new Router(this.network.host(address(text)), 64_601 + i, address(nodeAddress), received),
  )
  neighbors: readonly (Partial<Neighbor> | undefined)[] = [{}, undefined]
  isDraining = false
  wanted = new Map(prefixes.map((prefix) => [prefix, 1]))

  readonly host = this.network.host(address(nodeAddress))

  /** `around` may put itself between the speaker and its environment. */
  constructor(shared: SharedMemory = {}, around = (environment: Environment): Environment => environment) {
    this.node = new Recorded(undefined, restart, around(slow(this.host)), shared)
  }

  get first(): Router {
    return this.routers[0] as Router
  }

  async start(): Promise<void> {
    await this.node.speaker.start()
    this.routes(prefixes)
    this.node.speaker.handle({ type: 'synced' })
    this.configure()
    await seen(this.network, 'End-of-RIB', () => this.first.session?.endOfRibs === 1)
    await this.network.advance(1)
  }

  idOf = (index: number): string => `${nodeAsn}/${routerAddresses[index]}`

  change(index: number, more: Partial<Neighbor> | undefined): void {
    this.neighbors = this.neighbors.map((known, i) =>
      i !== index ? known : more === undefined ? undefined : { ...known, ...more },
    )
    this.configure()
  }

  configure(): void {
    const neighbors = this.neighbors.flatMap((more, i) =>
      more === undefined
        ? []
        : [
            neighborOf(nodeAsn, 64_601 + i, routerAddresses[i] ?? '', {
              routerId: nodeAddress,
              holdTimeSec: 90,
              keepaliveSec: 30,
              nextHops: {},
              importPrefixes: [{ prefix: '20.0.0.0/8', le: 24 }],
              gracefulRestart: { restartTimeSec: 120, notification: true },
              ...more,
            }),
          ],
    )
    this.node.speaker.handle({ type: 'configure', neighbors, isDraining: this.isDraining })
  }

  routes(changed: readonly Prefix[]): void {
    this.node.speaker.handle({
      type: 'routes',
      prefixes: changed.map((prefix) => ({
        prefix: formatPrefix(prefix),
        routes: this.wanted.has(prefix)
          ? [{ neighbors: [0, 1].map(this.idOf), attributes: { med: this.wanted.get(prefix) ?? 0 } }]
          : [],
      })),
    })
  }

  check(): void {
    for (const [i, router] of this.routers.entries())
      for (const session of router.sessions) assert.deepEqual(session.faults, [], `router ${i}`)
    for (const [i, router] of this.routers.entries()) {
      const more = this.neighbors[i]
      const { session } = router
      if (more === undefined || session === undefined)
        assert.notEqual(session?.isUp, true, 'a removed neighbor is let go')
      else this.#checkSession(i, session, more)
    }
  }

  #checkSession(index: number, session: RouterSession, { nextHops, maxPrefixesOut = 9_999 }: Partial<Neighbor>): void {
    const all = this.isDraining ? new Map<Prefix, number>() : this.wanted
    const nextHop = nextHops?.['ipv4-unicast'] ?? nodeAddress
    assert.equal(session.isUp, true)
    assert.equal(session.table.size, Math.min(maxPrefixesOut, all.size))
    for (const [prefix, { med, nextHop: told = 0, communities }] of session.table)
      assert.deepEqual([med, formatAddress(told), communities], [all.get(prefix), nextHop, undefined])
    assert.equal(session.begun, session.ended, 'every BoRR has its EoRR')
    assert.equal(session.endOfRibs, 1)
    const peer = this.node.peers.find(({ id }) => id === this.idOf(index))
    assert.deepEqual(
      [peer?.state, peer?.families[0]?.advertised, peer?.families[0]?.received],
      ['Established', session.table.size, this.routers[index]?.routes.length],
    )
    const used = this.node.ask({ what: 'paths', prefix: formatPrefix(received[0] as Prefix) }).routes ?? []
    assert.equal(used.filter(({ best }) => best === true).length, 1)
    assert.ok(!this.node.routes('received').some(({ stale }) => stale === true), 'nothing is stale')
  }
}

export interface Job {
  /** What has to be so before. */
  prepare?(stage: Stage): void
  begin(stage: Stage): void
}

const toldAgain = (stage: Stage): void => {
  for (const [i, prefix] of prefixes.entries())
    if (i % 3 === 0) stage.wanted.delete(prefix)
    else stage.wanted.set(prefix, i % 3)
  stage.routes(prefixes)
}

export const jobs: Readonly<Record<string, Job>> = {
  'a refresh that the peer asked for': { begin: ({ first }) => first.askForRoutes() },
  'a refresh that we asked for': {
    begin: ({ node }) => node.speaker.handle({ type: 'command', id: 1, command: { what: 'refresh', peer: '*' } }),
  },
  'a soft reset out': {
    begin: ({ node }) =>
      node.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: '*', soft: 'out' } }),
  },
  'a drain': {
    begin: (stage) => {
      stage.isDraining = true
      stage.configure()
    },
  },
  'the end of a drain': {
    prepare: (stage) => {
      stage.isDraining = true
      stage.configure()
    },
    begin: (stage) => {
      stage.isDraining = false
      stage.configure()
    },
  },
  'another next hop': { begin: (stage) => stage.change(0, { nextHops: { 'ipv4-unicast': '192.0.2.99' } }) },
  'another maxPrefixesOut': {
    begin: (stage) => stage.change(0, { maxPrefixesOut: stage.neighbors[0]?.maxPrefixesOut === 700 ? 1_500 : 700 }),
  },
  'a neighbor that joins': { begin: (stage) => stage.change(1, {}) },
  'a restart of the peer': { begin: ({ first }) => first.restart(received.slice(0, 150)) },
  'a reset by command': {
    begin: ({ node, idOf }) =>
      node.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: idOf(0) } }),
  },
  'the removal of the neighbor': { begin: (stage) => stage.change(0, undefined) },
  'the removal of another neighbor': {
    prepare: (stage) => stage.change(1, {}),
    begin: (stage) => stage.change(1, undefined),
  },
  'all routes told again': { begin: toldAgain },
  'a peer that does not read for a while': {
    prepare: ({ host }) => Object.assign(host, { windowOctets: 2_048, highWaterOctets: 4_096 }),
    begin: (stage) => {
      stage.first.deafen(5)
      toldAgain(stage)
    },
  },
}
