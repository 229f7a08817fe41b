/**
 * One end of a connection of the network in memory (./in-memory.ts).
 *
 *     write --> queue --latency, while the other end reads--> handlers.data of the other end
 *     close --> end of stream, behind what is queued ----------> handlers.failed, closed
 */
import type { Address } from '../../ip/address.ts'
import { connectionProblem } from './connection-problem.ts'
import type { DialOptions, SendBacklog, Transport, TransportHandlers } from './environment.ts'
import type { InMemoryHost } from './in-memory.ts'

export class InMemoryTransport implements Transport {
  readonly localAddress: Address
  readonly localPort: number
  /** Of a dialled connection; of an accepted one after `prepare`. */
  options: DialOptions | undefined
  /** RFC 5482, as it was last set. */
  userTimeoutMs: number | undefined
  /** One way, from here. */
  readonly delaySec: number
  /** Sends the SYN; of a dialled connection. */
  connect: (() => void) | undefined
  readonly #host: InMemoryHost
  #other: InMemoryTransport | undefined
  #handlers: TransportHandlers | undefined
  #closed: (() => void) | undefined
  /** Of a dialled connection: the answer to its SYN is here. */
  #isUp: boolean
  #isPaused = false
  /** Told to stop writing. */
  #isFull = false
  /** Wants to end when everything has left. */
  #isEnding = false
  #isOver = false
  /** On their way, in order; undefined is the end of the stream. */
  readonly #sent: (Uint8Array | undefined)[] = []
  #written = 0
  #delivered = 0
  #isDelivering = false

  constructor(host: InMemoryHost, local: { readonly address: Address; readonly port: number }, options?: DialOptions) {
    this.#host = host
    this.localAddress = local.address
    this.localPort = local.port
    this.options = options
    this.#isUp = options === undefined
    this.userTimeoutMs = options?.userTimeoutMs
    this.delaySec = host.delaySec()
  }

  get remotePort(): number {
    return this.#other?.localPort ?? this.options?.port ?? 0
  }

  /** The other end; undefined while there is none. */
  get other(): InMemoryTransport | undefined {
    return this.#other
  }

  /** Both ends know each other. */
  join(other: InMemoryTransport): void {
    this.#other = other
  }

  attach(handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#closed = () => handlers.closed()
    this.connect?.()
    this.connect = undefined
    this.#other?.deliver()
  }

  /** The connection that was dialled is up. */
  arrived(): void {
    if (this.#isOver) return
    this.#host.network.after(this.#other?.delaySec ?? this.delaySec, () => {
      this.#isUp = true
      this.#handlers?.connected()
      this.#other?.deliver()
    })
  }

  /** The kernel says that the connection is lost, or cannot be made. */
  fail(errno: string): void {
    if (this.#isOver) return
    const handlers = this.#handlers
    this.#over()
    handlers?.failed(connectionProblem(errno))
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#isOver && !this.#isEnding) {
      this.#sent.push(bytes.slice())
      this.#written += bytes.length
      this.deliver()
    }
    this.#isFull ||= this.backlog().octets > this.#host.highWaterOctets
    return !this.#isFull
  }

  backlog(): SendBacklog {
    const left = Math.min(this.#written, this.#delivered + this.#host.windowOctets)
    return { octets: this.#isOver ? 0 : this.#written - left, mark: String(left) }
  }

  prepare(options: DialOptions): void {
    this.options = options
  }

  setUserTimeout(timeoutMs: number): void {
    this.userTimeoutMs = timeoutMs
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#other?.deliver()
  }

  close(graceSec: number): void {
    this.#handlers = undefined
    if (this.#isOver || this.#isEnding) return
    if (this.#other === undefined) return this.#over()
    this.#isEnding = true
    this.#sent.push(undefined)
    this.#host.network.after(graceSec, () => this.destroy())
    this.deliver()
  }

  destroy(): void {
    this.#handlers = undefined
    if (this.#isOver) return
    this.#sent.length = 0
    this.#over()
    this.#host.network.after(this.delaySec, () => {
      if (!this.#host.isUnplugged) this.#other?.ended('ECONNRESET')
    })
  }

  /** Hands over what is on its way, one piece per latency, as long as the other end reads. */
  deliver(): void {
    if (this.#isDelivering || this.#sent.length === 0 || this.#other?.canRead !== true) return
    this.#isDelivering = true
    this.#host.network.after(this.delaySec, () => {
      this.#isDelivering = false
      const other = this.#other
      if (other?.canRead !== true || this.#sent.length === 0) return
      const piece = this.#sent.shift()
      if (piece === undefined) {
        this.#over()
        return other.ended('')
      }
      this.#delivered += piece.length
      other.#handlers?.data(piece)
      if (this.#isFull && this.backlog().octets === 0) {
        this.#isFull = false
        this.#handlers?.drained()
      }
      this.deliver()
    })
  }

  /** The stream of the other end is over. */
  ended(errno: string): void {
    if (this.#isOver) return
    const handlers = this.#handlers
    this.#over()
    handlers?.failed(connectionProblem(errno === '' ? 'EPIPE' : errno))
  }

  get canRead(): boolean {
    const isCut = this.#host.isUnplugged || this.#other?.isUnplugged === true
    return this.#isUp && !isCut && !this.#isPaused && !this.#isOver && (this.#handlers !== undefined || this.#isEnding)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get isUnplugged(): boolean {
    return this.#host.isUnplugged
  }

  #over(): void {
    this.#isOver = true
    this.#handlers = undefined
    const closed = this.#closed
    this.#closed = undefined
    if (closed !== undefined) this.#host.soon(closed)
  }
}

/** Two ends of one connection. */
export function link(a: InMemoryTransport, b: InMemoryTransport): void {
  a.join(b)
  b.join(a)
}
