/** Speakers in this process that meet over loopback: one that announces, and routers that only listen. */
import { waitFor } from '../wait.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import type {
  FromSpeaker,
  PeerSnapshot,
  PrefixRoutes,
  RouteSnapshot,
  SharedMemory,
  SpeakerQuery,
} from '../../src/speaker/protocol.ts'
import type { Environment } from '../../src/speaker/session/environment.ts'
import { unpackAnswer } from '../../src/speaker/packed-paths.ts'
import { system } from '../../src/speaker/session/system.ts'
import { Speaker } from '../../src/speaker/speaker.ts'

export const nodeAddress = '127.0.0.2'
export const nodeAsn = 65_001
export const nextHop = '198.51.100.1'

export class Recorded {
  /** But for what was asked: a test that waits lists tables again and again. */
  readonly said: FromSpeaker[] = []
  #answer: Extract<FromSpeaker, { type: 'answer' }> | undefined
  readonly speaker: Speaker
  #nextId = 0

  /** `listen`: an address, with a port where it is not left to the kernel. */
  constructor(
    listen: string | { readonly host: string; readonly port: number } | undefined,
    restart = { isRestart: false, isForwardingPreserved: false },
    environment: Environment = system,
    shared: SharedMemory = {},
  ) {
    const at = typeof listen === 'string' ? { host: listen, port: 0 } : listen
    const options = { ...(at === undefined ? {} : { listen: at }), ...restart }
    const hear = (message: FromSpeaker): void => {
      if (message.type === 'answer' && message.command === undefined) this.#answer = message
      else this.said.push(message)
    }
    this.speaker = new Speaker(options, environment, hear, shared)
  }

  ask(query: SpeakerQuery): Extract<FromSpeaker, { type: 'answer' }> {
    const id = this.#nextId++
    this.speaker.handle({ type: 'query', id, query })
    const answer = this.#answer
    if (answer?.id !== id) throw new Error('no answer')
    return unpackAnswer(answer)
  }

  get peers(): readonly PeerSnapshot[] {
    return this.ask({ what: 'peers' }).peers ?? []
  }

  routes(
    table: 'available' | 'advertised' | 'received',
    family: 'ipv4-unicast' | 'ipv6-unicast' = 'ipv4-unicast',
  ): readonly RouteSnapshot[] {
    const all: RouteSnapshot[] = []
    for (let from: number | undefined, isFirst = true; isFirst || from !== undefined; isFirst = false) {
      const answer = this.ask({ what: 'routes', table, family, ...(from === undefined ? {} : { from }) })
      all.push(...(answer.routes ?? []))
      from = answer.next
    }
    return all
  }

  get prefixes(): readonly string[] {
    return this.routes('received')
      .map((route) => route.prefix)
      .sort()
  }

  async stop(mode: 'restart' | 'shutdown' = 'shutdown', text = ''): Promise<void> {
    this.speaker.handle({ type: 'stop', mode, text })
    await waitFor('stopped', () => this.said.some((message) => message.type === 'stopped'))
  }
}

export function neighborOf(
  localAsn: number,
  peerAsn: number,
  peerAddress: string,
  more: Partial<Neighbor> = {},
): Neighbor {
  return {
    id: `${localAsn}/${peerAddress}`,
    source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
    virtualRouter: 'rack0',
    localAsn,
    peerAsn,
    peerAddress,
    peerPort: 179,
    routerId: peerAddress,
    families: ['ipv4-unicast'],
    holdTimeSec: 9,
    keepaliveSec: 3,
    connectRetrySec: 1,
    multihopTtl: 1,
    passive: false,
    // An address of 127/8 is no next hop (RFC 7606 7.3): receivers would treat the routes as withdrawn.
    nextHops: { 'ipv4-unicast': nextHop },
    ...more,
  }
}

export class Rack {
  readonly node: Recorded
  readonly routers: readonly Recorded[]
  readonly neighbors: readonly Neighbor[]

  constructor(node: Recorded, routers: readonly Recorded[], neighbors: readonly Neighbor[]) {
    this.node = node
    this.routers = routers
    this.neighbors = neighbors
  }

  /** `count` routers on 127.0.0.11 and following, passive; the node dials them. */
  static async open(count: number, more: Partial<Neighbor> = {}, routerMore: Partial<Neighbor> = {}): Promise<Rack> {
    const routers: Recorded[] = []
    const neighbors: Neighbor[] = []
    for (let i = 0; i < count; i++) {
      const address = `127.0.0.${11 + i}`
      const asn = 65_011 + i
      const router = new Recorded(address)
      await router.speaker.start()
      router.speaker.handle({
        type: 'configure',
        neighbors: [neighborOf(asn, nodeAsn, nodeAddress, { passive: true, routerId: address, ...routerMore })],
      })
      routers.push(router)
      neighbors.push(
        neighborOf(nodeAsn, asn, address, {
          peerPort: router.speaker.port ?? 0,
          sourceAddress: nodeAddress,
          routerId: nodeAddress,
          ...more,
        }),
      )
    }
    const node = new Recorded(undefined)
    await node.speaker.start()
    return new Rack(node, routers, neighbors)
  }

  async connect(): Promise<void> {
    this.node.speaker.handle({ type: 'configure', neighbors: this.neighbors })
    await this.established()
  }

  async established(): Promise<void> {
    await waitFor(
      'every session Established',
      () =>
        this.node.peers.length === this.neighbors.length &&
        [this.node, ...this.routers].every(({ peers }) => peers.every(({ state }) => state === 'Established')),
    )
  }

  announce(...prefixes: readonly string[]): void {
    this.node.speaker.handle({ type: 'routes', prefixes: prefixes.map((prefix) => this.toAll(prefix)) })
  }

  withdraw(...prefixes: readonly string[]): void {
    this.node.speaker.handle({ type: 'routes', prefixes: prefixes.map((prefix) => ({ prefix, routes: [] })) })
  }

  toAll(prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes {
    return { prefix, routes: [{ neighbors: this.neighbors.map(({ id }) => id), attributes }] }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.node, ...this.routers].map((recorded) => recorded.stop()))
  }
}

/** n host routes, from 10.0.0.0 on. */
export function hostRoutes(n: number): readonly string[] {
  return Array.from({ length: n }, (_, i) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}/32`)
}
