/** A TCP socket of the process as sessions see it. */
import type net from 'node:net'
import { LoopTimer } from '../../clock/system-clock.ts'
import { HeraldError } from '../../errors.ts'
import { type Address, parseAddress } from '../../ip/address.ts'
import { prepareAccepted, setUserTimeout, unwrittenBytes } from '../../sys/tcp-socket.ts'
import { connectionProblem } from './connection-problem.ts'
import type { DialOptions, SendBacklog, Transport, TransportHandlers } from './environment.ts'

/** Above this many unsent octets the speaker stops, to resync when the queue is empty. */
const highWaterBytes = 1_048_576

export class SocketTransport implements Transport {
  readonly #socket: net.Socket
  readonly #connect: (() => void) | undefined
  readonly #unreachable: ((errno: string) => string) | undefined
  #handlers: TransportHandlers | undefined
  /** Told to stop writing; told to go on when all has left. */
  #isFull = false
  #isConnecting = false
  #cut: LoopTimer | undefined

  /** `connect`: the connection is still to be made; `unreachable` says why no packet reaches the peer. */
  constructor(socket: net.Socket, connect?: () => void, unreachable?: (errno: string) => string) {
    this.#socket = socket
    this.#connect = connect
    this.#unreachable = unreachable
  }

  get localAddress(): Address {
    const text = (this.#socket.localAddress ?? '0.0.0.0').replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '')
    return parseAddress(text) ?? 0
  }

  get localPort(): number {
    return this.#socket.localPort ?? 0
  }

  get remotePort(): number {
    return this.#socket.remotePort ?? 0
  }

  attach(handlers: TransportHandlers): void {
    const socket = this.#socket
    this.#handlers = handlers
    socket.setNoDelay(true)
    socket.on('data', (chunk: Uint8Array) => this.#handlers?.data(chunk))
    socket.on('drain', () => {
      if (!this.#isFull) return
      this.#isFull = false
      this.#handlers?.drained()
    })
    socket.on('error', (error: NodeJS.ErrnoException | HeraldError) => {
      const { message } = error
      const code = (error instanceof HeraldError ? error.errno : error.code) ?? ''
      const known = code === 'EHOSTUNREACH' || code === 'ETIMEDOUT' ? this.#unreachable?.(code) : undefined
      this.#failed(known ?? connectionProblem(code, message))
    })
    socket.on('end', () => this.#failed(connectionProblem('EPIPE')))
    socket.on('close', () => {
      this.#cut?.cancel()
      this.#failed(connectionProblem('EPIPE'))
      handlers.closed()
    })
    if (this.#connect === undefined) return
    this.#isConnecting = true
    socket.once('connect', () => {
      this.#isConnecting = false
      this.#handlers?.connected()
    })
    this.#connect()
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#socket.destroyed) this.#socket.write(bytes)
    this.#isFull ||= this.#socket.writableLength > highWaterBytes
    return !this.#isFull
  }

  backlog(): SendBacklog {
    const { bytesWritten, writableLength } = this.#socket
    // Whole writes that left, and how much of the one under way has not.
    return { octets: writableLength, mark: `${bytesWritten - writableLength}/${unwrittenBytes(this.#socket)}` }
  }

  prepare(options: DialOptions): void {
    prepareAccepted(this.#socket, options)
  }

  setUserTimeout(timeoutMs: number): void {
    setUserTimeout(this.#socket, timeoutMs)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  close(graceSec: number): void {
    const socket = this.#socket
    this.#handlers = undefined
    if (socket.destroyed) return
    if (this.#isConnecting) return void socket.destroy()
    // The peer's FIN is not waited for.
    this.#cut = new LoopTimer(graceSec * 1000, () => socket.destroy())
    socket.destroySoon()
  }

  destroy(): void {
    this.#handlers = undefined
    // A reset may already wait; it is of no interest.
    this.#socket.on('error', () => {})
    this.#socket.destroy()
  }

  #failed(reason: string): void {
    const handlers = this.#handlers
    this.#handlers = undefined
    handlers?.failed(reason)
  }
}
