import { unpackAnswer } from '../../src/speaker/packed-paths.ts'
import type { FromSpeaker, PeerSnapshot, QueryAnswer, RouteSnapshot } from '../../src/speaker/protocol.ts'
import { system } from '../../src/speaker/session/system.ts'
import { Speaker } from '../../src/speaker/speaker.ts'

/** A router beside an agent: a speaker of our own that only listens, on an address of loopback. */
export class Router {
  peer: PeerSnapshot | undefined
  readonly transitions: string[] = []
  #answers = new Map<number, (answer: QueryAnswer) => void>()
  #next = 1
  readonly speaker: Speaker

  readonly #from: string

  /** `from`: where the agent dials from. */
  constructor(address: string, port: number, from = '127.0.0.1') {
    this.#from = from
    const options = { listen: { host: address, port }, isRestart: false, isForwardingPreserved: false }
    this.speaker = new Speaker(options, system, (message: FromSpeaker) => {
      if (message.type === 'peer') {
        this.peer = message.peer
        this.transitions.push(message.peer.state)
      }
      if (message.type === 'answer') this.#answers.get(message.id)?.(unpackAnswer(message))
    })
  }

  async start(): Promise<void> {
    await this.speaker.start()
    this.speaker.handle({
      type: 'configure',
      neighbors: [
        {
          id: 'node1',
          source: { kind: 'test', name: 'router' },
          virtualRouter: 'router',
          localAsn: 65000,
          peerAsn: 65001,
          peerAddress: this.#from,
          peerPort: 179,
          routerId: '192.0.2.1',
          families: ['ipv4-unicast'],
          holdTimeSec: 9,
          keepaliveSec: 3,
          connectRetrySec: 5,
          multihopTtl: 1,
          passive: true,
          gracefulRestart: { restartTimeSec: 60, notification: false },
        },
      ],
    })
  }

  async received(): Promise<string[]> {
    return (await this.#routes()).map((route) => `${route.prefix} via ${route.nextHop}`).sort()
  }

  /** Prefixes with their communities. */
  async receivedCommunities(): Promise<string[]> {
    return (await this.#routes()).map(({ prefix, communities }) => [prefix, ...communities].join(' ')).sort()
  }

  /**
   * Routes that it keeps for the agent that is gone, or has not said End-of-RIB; a second restart meanwhile costs them
   * (RFC 4724 4.2).
   */
  async hasStale(): Promise<boolean> {
    return (await this.#routes()).some(({ stale }) => stale === true)
  }

  async #routes(): Promise<readonly RouteSnapshot[]> {
    const all: RouteSnapshot[] = []
    for (let from: number | undefined; ; ) {
      const { routes = [], next } = await this.#page(from)
      all.push(...routes)
      if (next === undefined) return all
      from = next
    }
  }

  #page(from: number | undefined): Promise<QueryAnswer> {
    const id = this.#next++
    const query = { what: 'routes', table: 'received', family: 'ipv4-unicast' } as const
    return new Promise<QueryAnswer>((resolve) => {
      this.#answers.set(id, resolve)
      this.speaker.handle({ type: 'query', id, query: { ...query, ...(from === undefined ? {} : { from }) } })
    })
  }
}
