/**
 * Writes down everything that passes between the speaker and its environment.
 *
 *     Environment <--> RecordedEnvironment <--> Speaker
 *                          `--> RecordedEvent lines
 *
 * Inputs happen one after the other, and what the speaker does until the next one is their answer. A whole turn has one
 * time, so that a replay sees the same clock.
 */
import type { BfdReport, PathWatch, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'
import { type Address, formatAddress, formatScoped } from '../../ip/address.ts'
import { messageOf } from '../../errors.ts'
import type {
  DialOptions,
  Environment,
  Listener,
  ListenerOptions,
  ListenerPeer,
  LocalAddress,
  SendBacklog,
  Timer,
  Transport,
  TransportHandlers,
} from '../session/environment.ts'
import { seededRandom } from '../session/random.ts'
import type { FromSpeaker, SpeakerOptions, ToSpeaker } from '../protocol.ts'
import {
  type Endpoint,
  type InputEvent,
  isRecorded,
  type OutputEvent,
  type ReadEvent,
  type RecordedEvent,
  type RecordingHead,
  recordingVersion,
  withoutKeys,
} from './format.ts'

export class Recorder implements Environment {
  readonly #real: Environment
  readonly #line: (line: RecordingHead | RecordedEvent) => void
  readonly #startedAt: number
  readonly #startedSec: number
  readonly #random: () => number
  #n = 0
  #at = 0
  #connections = 0
  #timers = 0
  #soons = 0
  #discoveries = 0
  #watches = 0
  #listeners = 0

  /** `seed` of the jitter. */
  constructor(
    real: Environment,
    options: SpeakerOptions,
    seed: number,
    line: (line: RecordingHead | RecordedEvent) => void,
  ) {
    this.#real = real
    this.#line = line
    this.#startedAt = real.now()
    this.#startedSec = real.uptimeSec()
    this.#random = seededRandom(seed)
    line({
      herald: 'recording',
      version: recordingVersion,
      at: this.#startedAt,
      uptimeSec: this.#startedSec,
      seed,
      options,
    })
  }

  /** Hands a message of the agent to the speaker. */
  hear(message: ToSpeaker, handle: (message: ToSpeaker) => void): void {
    if (!isRecorded(message)) return handle(message)
    this.#input({ in: 'agent', message: withoutKeys(message) })
    handle(message)
  }

  /** Passes on what the speaker tells the agent. */
  tell(message: FromSpeaker): void {
    if (isRecorded(message)) this.output({ out: 'tell', message })
  }

  now(): number {
    return this.#startedAt + this.#at
  }

  uptimeSec(): number {
    return this.#startedSec + this.#at / 1000
  }

  random(): number {
    return this.#random()
  }

  after(sec: number, callback: () => void): Timer {
    const timer = ++this.#timers
    this.output({ out: 'arm', timer, sec })
    return this.#real.after(sec, () => {
      this.#input({ in: 'timer', timer })
      callback()
    })
  }

  soon(callback: () => void): void {
    const soon = ++this.#soons
    this.#real.soon(() => {
      this.#input({ in: 'soon', soon })
      callback()
    })
  }

  startTurn(limitMs: number): () => boolean {
    const isOver = this.#real.startTurn(limitMs)
    return () => {
      const isLate = isOver()
      if (isLate) this.read({ read: 'late' })
      return isLate
    }
  }

  dial(options: DialOptions): Transport {
    const connection = ++this.#connections
    this.output({ out: 'dial', connection, to: formatAddress(options.peer), port: options.port })
    return new RecordedTransport(
      this.orRefusal(() => this.#real.dial(options)),
      connection,
      this,
    )
  }

  async listen(options: ListenerOptions): Promise<Listener> {
    this.output({ out: 'listen', host: options.host, port: options.port })
    this.#listeners++
    const which = this.#listeners === 1 ? {} : { listener: this.#listeners }
    try {
      const listener = await this.#real.listen({
        ...options,
        onRefused: (address) => {
          this.#input({ in: 'refused', address })
          options.onRefused(address)
        },
        onProblem: (problem) => {
          this.#input({ in: 'problem', problem })
          options.onProblem?.(problem)
        },
      })
      this.#input({ in: 'listening', port: listener.port, ...which })
      return {
        port: listener.port,
        close: () => listener.close(),
        setPeers: (peers) => listener.setPeers(peers.map((peer) => this.#listenerPeer(peer))),
      }
    } catch (error) {
      this.#input({ in: 'notListening', problem: messageOf(error), ...which })
      throw error
    }
  }

  localAddresses(): readonly LocalAddress[] {
    const all = this.#real.localAddresses()
    if (all.length > 0)
      this.read({
        read: 'addresses',
        addresses: all.map((one) => ({ ...one, address: formatAddress(one.address) })),
      })
    return all
  }

  discoverRouters(device: string, found: (router: Address) => void): { close(): void } {
    const discovery = ++this.#discoveries
    this.output({ out: 'discover', discovery, device })
    const real = this.orRefusal(() =>
      this.#real.discoverRouters(device, (router) => {
        this.#input({ in: 'router', discovery, address: formatAddress(router) })
        found(router)
      }),
    )
    return {
      close: () => {
        this.output({ out: 'endDiscovery', discovery })
        real.close()
      },
    }
  }

  watchPath(path: WantedPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch {
    const watch = ++this.#watches
    this.output({ out: 'watch', watch, path, settings })
    const real = this.#real.watchPath(path, settings, (report) => {
      this.#input({ in: 'path', watch, report })
      told(report)
    })
    return {
      configure: (next) => {
        this.output({ out: 'configureWatch', watch, settings: next })
        real.configure(next)
      },
      close: (isLast) => {
        this.output({ out: 'endWatch', watch })
        real.close(isLast)
      },
    }
  }

  /** For the transports of this recording. */
  input(event: InputEvent): void {
    this.#input(event)
  }

  output(event: OutputEvent): void {
    this.#line({ n: this.#n, ...event })
  }

  read(event: ReadEvent): void {
    this.#line({ n: this.#n, ...event })
  }

  orRefusal<T>(action: () => T): T {
    try {
      return action()
    } catch (error) {
      this.read({ read: 'refusal', reason: messageOf(error) })
      throw error
    }
  }

  #input(event: InputEvent): void {
    this.#at = Math.round((this.#real.uptimeSec() - this.#startedSec) * 1000)
    this.#line({ n: ++this.#n, at: this.#at, ...event })
  }

  #listenerPeer(peer: ListenerPeer): ListenerPeer {
    return {
      ...peer,
      accept: (transport) => {
        const connection = ++this.#connections
        this.#input({
          in: 'accepted',
          connection,
          from: formatScoped(peer.address, peer.device),
          endpoint: endpointOf(transport),
        })
        peer.accept(new RecordedTransport(transport, connection, this))
      },
    }
  }
}

function endpointOf({ localAddress, localPort, remotePort }: Transport): Endpoint {
  return { localAddress: formatAddress(localAddress), localPort, remotePort }
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')

class RecordedTransport implements Transport {
  readonly #real: Transport
  readonly #connection: number
  readonly #recorder: Recorder

  constructor(real: Transport, connection: number, recorder: Recorder) {
    this.#real = real
    this.#connection = connection
    this.#recorder = recorder
  }

  get localAddress(): Transport['localAddress'] {
    return this.#real.localAddress
  }

  get localPort(): number {
    return this.#real.localPort
  }

  get remotePort(): number {
    return this.#real.remotePort
  }

  attach(handlers: TransportHandlers): void {
    const recorder = this.#recorder
    const connection = this.#connection
    const after = (event: InputEvent, handle: () => void): void => {
      recorder.input(event)
      handle()
    }
    this.#real.attach({
      connected: () =>
        after({ in: 'connected', connection, endpoint: endpointOf(this.#real) }, () => handlers.connected()),
      data: (bytes) => after({ in: 'data', connection, bytes: hexOf(bytes) }, () => handlers.data(bytes)),
      drained: () => after({ in: 'drained', connection }, () => handlers.drained()),
      failed: (reason) => after({ in: 'failed', connection, reason }, () => handlers.failed(reason)),
      closed: () => after({ in: 'closed', connection }, () => handlers.closed()),
    })
  }

  write(bytes: Uint8Array): boolean {
    this.#recorder.output({ out: 'write', connection: this.#connection, bytes: hexOf(bytes) })
    const isRoom = this.#real.write(bytes)
    if (!isRoom) this.#recorder.read({ read: 'full', connection: this.#connection })
    return isRoom
  }

  backlog(): SendBacklog {
    const backlog = this.#real.backlog()
    if (backlog.octets > 0 || backlog.mark !== '')
      this.#recorder.read({ read: 'backlog', connection: this.#connection, ...backlog })
    return backlog
  }

  prepare(options: DialOptions): void {
    this.#recorder.orRefusal(() => this.#real.prepare(options))
  }

  setUserTimeout(timeoutMs: number): void {
    this.#real.setUserTimeout(timeoutMs)
  }

  pause(): void {
    this.#real.pause()
  }

  resume(): void {
    this.#real.resume()
  }

  close(graceSec: number): void {
    this.#recorder.output({ out: 'close', connection: this.#connection })
    this.#real.close(graceSec)
  }

  destroy(): void {
    this.#recorder.output({ out: 'destroy', connection: this.#connection })
    this.#real.destroy()
  }
}
