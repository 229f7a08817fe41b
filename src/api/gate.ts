/**
 * One client connection on its way to Node's HTTP parser: it lets one request through and the next when that one was
 * answered. Without it the parser makes objects of everything that a client has pipelined, a thousand requests of one
 * packet, before the first answer is written.
 *
 *     socket --chunks--> gate --one request--> parser --> handler
 *                         ^------ answered ---------------'
 *
 * What a client sends beyond stays in the kernel, so that it is the client's memory and not ours.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/** Ends a request: bodies are refused, so nothing else does. */
const headEnd = Buffer.from('\r\n\r\n')

export class Gate extends Duplex {
  readonly socket: Socket
  /** waiting: for a whole request. working: on its answer. writing: the client takes it. */
  state: 'waiting' | 'working' | 'writing' = 'waiting'
  /** performance.now() of the last change of state. */
  since = performance.now()
  /** Octets of the request that is waited for have come. */
  hasBegun = false
  #chunk: Buffer = Buffer.alloc(0)
  /** The last octets of a head that was let through in part: its end may be cut anywhere. */
  #tail: Buffer = Buffer.alloc(0)
  #isEnded = false

  constructor(socket: Socket) {
    super({ allowHalfOpen: true })
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      socket.pause()
      this.hasBegun = true
      this.#chunk = this.#chunk.length === 0 ? chunk : Buffer.concat([this.#chunk, chunk])
      this.#feed()
    })
    socket.on('end', () => {
      this.#isEnded = true
      this.#feed()
    })
    socket.on('error', () => this.destroy())
    socket.on('close', () => this.destroy())
  }

  /** To be called when a request has come; the next waits until {@link answered}. */
  requested(): void {
    this.#become('working')
  }

  answering(): void {
    this.#become('writing')
  }

  answered(): void {
    this.#become('waiting')
    this.hasBegun = this.#chunk.length > 0
    // Never in the same turn: a thousand pipelined requests are a thousand turns.
    setImmediate(() => this.#feed())
  }

  override _read(): void {
    this.#feed()
    // Node asks once, and again only after something was pushed: what has come meanwhile waits until that is read.
    if (this.readableLength > 0) this.push('')
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.socket.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.socket.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#chunk = Buffer.alloc(0)
    this.socket.destroy()
    done(error)
  }

  #become(state: Gate['state']): void {
    this.state = state
    this.since = performance.now()
  }

  #feed(): void {
    while (!this.destroyed && this.state === 'waiting' && this.readableLength === 0 && this.#chunk.length > 0) {
      const head = Buffer.concat([this.#tail, this.#chunk])
      const end = head.indexOf(headEnd)
      const cut = end < 0 ? this.#chunk.length : end + headEnd.length - this.#tail.length
      const part = this.#chunk.subarray(0, cut)
      this.#chunk = this.#chunk.subarray(cut)
      this.#tail = end < 0 ? head.subarray(1 - headEnd.length) : Buffer.alloc(0)
      this.push(part)
    }
    if (this.#chunk.length > 0 || this.state !== 'waiting' || this.destroyed) return
    if (this.#isEnded) this.push(null)
    else this.socket.resume()
  }
}
