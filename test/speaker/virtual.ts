/** Waiting in the time of a network in memory: nothing sleeps, and a deadline is one of that clock. */
import type { Address } from '../../src/ip/address.ts'
import type { Transport } from '../../src/speaker/session/environment.ts'
import { type InMemoryHost, InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { neighbor, peerOpen, side } from './session/fixture.ts'

/** Lets time pass until `read` gives a value; rejects with what was waited for after `limitSec` of that clock. */
export async function seen<T>(
  network: InMemoryNetwork,
  what: string,
  read: () => T,
  limitSec = 600,
): Promise<Exclude<T, undefined | false>> {
  const isThere = (value: T): value is Exclude<T, undefined | false> => value !== undefined && value !== false
  await network.until(() => isThere(read()), limitSec)
  const value = read()
  if (!isThere(value)) throw new Error(`not seen within ${limitSec} s of the network's clock: ${what}`)
  return value
}

/** A script's end of a connection: says what a test tells it to say, and keeps what it hears. */
export class ScriptedConnection {
  isUp = false
  /** Why it ended. */
  end: string | undefined
  #received = Buffer.alloc(0)
  readonly transport: Transport

  constructor(transport: Transport) {
    this.transport = transport
    transport.attach({
      connected: () => (this.isUp = true),
      data: (bytes) => (this.#received = Buffer.concat([this.#received, bytes])),
      drained: () => {},
      failed: (reason) => (this.end = reason),
      closed: () => {},
    })
  }

  say(...messages: readonly Uint8Array[]): void {
    this.transport.write(Buffer.concat(messages))
  }

  /** The messages received so far, as hexadecimal text from the type octet on. */
  get messages(): string[] {
    const all: string[] = []
    for (let at = 0; at + 19 <= this.#received.length; ) {
      const length = this.#received.readUInt16BE(at + 16)
      all.push(this.#received.subarray(at + 18, at + length).toString('hex'))
      at += length
    }
    return all
  }
}

/** A peer made of raw bytes on a host in memory: takes connections of one address, and makes some. */
export class ScriptedPeer {
  /** The latest last. */
  readonly connections: ScriptedConnection[] = []
  readonly host: InMemoryHost
  readonly #speaker: Address

  /** `onConnection` is called for each connection that the speaker opened. */
  constructor(host: InMemoryHost, speaker: Address, onConnection: (connection: ScriptedConnection) => void = () => {}) {
    this.host = host
    this.#speaker = speaker
    void host.listen({ host: '::', port: 179, onRefused: () => {} }).then((listener) =>
      listener.setPeers([
        {
          address: speaker,
          accept: (transport) => {
            const connection = new ScriptedConnection(transport)
            connection.isUp = true
            this.connections.push(connection)
            onConnection(connection)
          },
        },
      ]),
    )
  }

  get last(): ScriptedConnection | undefined {
    return this.connections.at(-1)
  }

  /** Opens a connection to the speaker, as peers do. */
  dial(port = 179): ScriptedConnection {
    const connection = new ScriptedConnection(this.host.dial({ peer: this.#speaker, port, ttl: 255 }))
    this.connections.push(connection)
    return connection
  }
}

/** One session at 192.0.2.1 and a scripted peer at 192.0.2.2 with the AS of {@link peerOpen}. Nothing has started. */
export async function sessionStage(
  overrides: Partial<Neighbor> = {},
  onConnection?: (connection: ScriptedConnection) => void,
) {
  const network = new InMemoryNetwork()
  const [own, far] = [0xc0000201, 0xc0000202]
  const host = network.host(own)
  const config = neighbor({ id: '64512/192.0.2.2', peerAddress: '192.0.2.2', ...overrides })
  const { session, events } = side(config, { environment: host })
  const listener = await host.listen({ host: '::', port: 179, onRefused: () => {} })
  listener.setPeers([{ address: far, accept: (transport) => session.accept(transport) }])
  const peer = new ScriptedPeer(network.host(far), own, onConnection)
  return { network, host, session, events, peer, config }
}

/** Says OPEN and KEEPALIVE at once. */
export const agreeable =
  (capabilities: readonly Capability[] = [], bgpId = 0x0a000002, holdTimeSec = 9) =>
  (connection: ScriptedConnection): void =>
    connection.say(peerOpen(capabilities, holdTimeSec, bgpId), keepaliveBytes)
