/**
 * Sessions over real loopback TCP: neighbors, recorded events, a clock that runs faster, and a peer made of raw bytes.
 */
import net from 'node:net'
import type { Neighbor } from '../../../src/desired/model.ts'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import type { RouteRefreshMessage, UpdateMessage } from '../../../src/bgp/messages/types.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { ipv4Unicast } from '../../../src/bgp/messages/types.ts'
import type { Environment, Listener } from '../../../src/speaker/session/environment.ts'
import { openListener } from '../../../src/speaker/session/listener.ts'
import { system } from '../../../src/speaker/session/system.ts'
import {
  type AcceptingSession,
  createPeerSession,
  type SessionOptions,
} from '../../../src/speaker/session/peer-session.ts'
import type { DecodedUpdate } from '../../../src/bgp/messages/update.ts'
import type { NegotiatedSession, SessionEvents } from '../../../src/speaker/session/types.ts'
import type { FsmState } from '../../../src/bgp/fsm/events.ts'
import type { ResetReason } from '../../../src/speaker/protocol.ts'
import { parseAddress } from '../../../src/ip/address.ts'

export function neighbor(overrides: Partial<Neighbor> = {}): Neighbor {
  return {
    id: '64512/127.0.0.2',
    source: { kind: 'Test', name: 'peer' },
    virtualRouter: '64512',
    localAsn: 64512,
    peerAsn: 64513,
    peerAddress: '127.0.0.2',
    peerPort: 179,
    routerId: '10.0.0.1',
    families: ['ipv4-unicast'],
    holdTimeSec: 9,
    keepaliveSec: 3,
    connectRetrySec: 1,
    multihopTtl: 1,
    passive: false,
    ...overrides,
  }
}

/** One second takes 1/`factor` of a second. */
export function faster(factor: number): Environment {
  return {
    ...system,
    after: (sec, callback) => system.after(sec / factor, callback),
    uptimeSec: () => system.uptimeSec() * factor,
  }
}

export class Recorder implements SessionEvents {
  readonly states: FsmState[] = []
  readonly downs: { readonly reason: ResetReason; readonly wasEstablished: boolean; readonly isRestart: boolean }[] = []
  readonly negotiations: NegotiatedSession[] = []
  readonly updates: UpdateMessage[] = []
  readonly refreshes: RouteRefreshMessage[] = []
  drainedCount = 0

  stateChanged(state: FsmState): void {
    this.states.push(state)
  }
  established(negotiated: NegotiatedSession): void {
    this.negotiations.push(negotiated)
  }
  update({ message }: DecodedUpdate): void {
    this.updates.push(message)
  }
  routeRefresh(message: RouteRefreshMessage): void {
    this.refreshes.push(message)
  }
  down(reason: ResetReason, end: { readonly wasEstablished: boolean; readonly isRestart: boolean }): void {
    this.downs.push({ reason, ...end })
  }
  drained(): void {
    this.drainedCount++
  }
  counted(): void {}
  stepped(): void {}
  peerFound(): void {}
  log(): void {}
}

export interface Side {
  readonly session: AcceptingSession
  readonly events: Recorder
}

export function side(
  overrides: Partial<Neighbor>,
  options: Partial<Omit<SessionOptions, 'neighbor' | 'events'>> = {},
): Side {
  const events = new Recorder()
  return {
    events,
    session: createPeerSession({
      neighbor: neighbor(overrides),
      events,
      isRestart: false,
      isForwardingPreserved: false,
      environment: system,
      ...options,
    }),
  }
}

/** Two sessions of ours at 127.0.0.1 (AS 64512) and 127.0.0.2 (AS 64513), each with a listener; nothing has started. */
export class Pair {
  readonly a: Side
  readonly b: Side
  readonly listeners: readonly Listener[]

  static async open(
    both: Partial<Neighbor> = {},
    a: Partial<Neighbor> = {},
    b: Partial<Neighbor> = {},
    options: Partial<SessionOptions> = {},
  ): Promise<Pair> {
    const listenerA = await openListener({ host: '127.0.0.1', port: 0, onRefused: () => {} })
    const listenerB = await openListener({ host: '127.0.0.2', port: 0, onRefused: () => {} })
    const configA = neighbor({ peerPort: listenerB.port, sourceAddress: '127.0.0.1', ...both, ...a })
    const configB = neighbor({
      localAsn: 64513,
      peerAsn: 64512,
      peerAddress: '127.0.0.1',
      peerPort: listenerA.port,
      sourceAddress: '127.0.0.2',
      routerId: '10.0.0.2',
      ...both,
      ...b,
    })
    return new Pair([listenerA, listenerB], side(configA, options), side(configB, options), [configA, configB])
  }

  private constructor(
    listeners: readonly [Listener, Listener],
    a: Side,
    b: Side,
    configs: readonly [Neighbor, Neighbor],
  ) {
    this.listeners = listeners
    this.a = a
    this.b = b
    for (const [index, side] of [a, b].entries()) {
      const { peerAddress, password } = configs[index] as Neighbor
      listeners[index]?.setPeers([
        {
          address: parseAddress(peerAddress) ?? 0,
          ...(password === undefined ? {} : { password }),
          accept: (transport) => side.session.accept(transport),
        },
      ])
    }
  }

  start(): void {
    this.a.session.start()
    this.b.session.start()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.a.session.stop('silent'), this.b.session.stop('silent')])
    await Promise.all(this.listeners.map((listener) => listener.close()))
  }
}

/** A peer at 127.0.0.2 that says what a test tells it to say. */
export class RawPeer {
  readonly #server: net.Server
  received = Buffer.alloc(0)
  connections = 0
  socket: net.Socket | undefined

  static async listen(onConnection: (socket: net.Socket, peer: RawPeer) => void = () => {}): Promise<RawPeer> {
    const peer = new RawPeer(onConnection)
    await new Promise<void>((resolve) => peer.#server.listen(0, '127.0.0.2', () => resolve()))
    return peer
  }

  private constructor(onConnection: (socket: net.Socket, peer: RawPeer) => void) {
    this.#server = net.createServer({ noDelay: true }, (socket) => {
      this.connections++
      this.socket = socket
      this.received = Buffer.alloc(0)
      socket.on('data', (chunk: Buffer) => {
        if (this.socket === socket) this.received = Buffer.concat([this.received, chunk])
      })
      // A reset is what some tests are about.
      socket.on('error', () => {})
      onConnection(socket, this)
    })
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  /** The messages received so far, as hexadecimal text from the type octet on. */
  get messages(): string[] {
    const all: string[] = []
    for (let at = 0; at + 19 <= this.received.length; ) {
      const length = this.received.readUInt16BE(at + 16)
      all.push(this.received.subarray(at + 18, at + length).toString('hex'))
      at += length
    }
    return all
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket?.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

export const marker = 'ff'.repeat(16)

export function bytes(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex')
}

/** An OPEN of AS 64513 that a session with {@link neighbor} accepts. */
export function peerOpen(capabilities: readonly Capability[] = [], holdTimeSec = 9, bgpId = 0x0a000002): Uint8Array {
  return encodeOpen({
    type: 'open',
    version: 4,
    myAs: 64513,
    holdTimeSec,
    bgpId,
    capabilities: [
      { type: 'multiprotocol', family: ipv4Unicast },
      { type: 'fourOctetAs', asn: 64513 },
      ...capabilities,
    ],
  })
}
