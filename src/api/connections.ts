/**
 * The connections of one listener: bounded in number, in time and in what each may have under way. Nobody who connects
 * is turned away while there is one that only waits: of those the oldest goes, of the address that holds the most. So
 * a probe is answered also while others hold every connection half open.
 */
import http from 'node:http'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { Gate } from './gate.ts'

export interface ConnectionLimits {
  readonly maxConnections: number
  /** From the first octet of a request to its last, ms. */
  readonly requestMs: number
  /** Between two requests, ms. */
  readonly idleMs: number
  /** For an answer to be taken, ms. */
  readonly answerMs: number
}

export const connectionLimits: ConnectionLimits = {
  maxConnections: 128,
  requestMs: 5_000,
  idleMs: 30_000,
  answerMs: 30_000,
}

/** The connections of several listeners together. */
export interface Crowd {
  readonly gates: Set<Gate>
  readonly most: number
}

export class Connections {
  readonly listener: net.Server
  readonly #gates = new Set<Gate>()
  readonly #limits: ConnectionLimits
  readonly #crowd: Crowd | undefined
  /** Runs while there are connections. */
  #sweeper: NodeJS.Timeout | undefined
  readonly #sweepMs: number
  /** performance.now() of the last sweep, or of the first connection. */
  #sweptAt = 0

  constructor(server: http.Server, limits: ConnectionLimits = connectionLimits, crowd?: Crowd) {
    this.#limits = limits
    this.#crowd = crowd
    this.#sweepMs = Math.min(1_000, limits.requestMs / 2)
    this.listener = net.createServer({ allowHalfOpen: true }, (socket) => this.#take(server, socket))
  }

  get size(): number {
    return this.#gates.size
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    await new Promise<void>((resolve) => {
      this.listener.close(() => resolve())
      for (const gate of this.#gates) gate.destroy()
    })
  }

  #take(server: http.Server, socket: net.Socket): void {
    if (!this.#hasRoom(this.#gates, this.#limits.maxConnections)) return void socket.destroy()
    if (this.#crowd !== undefined && !this.#hasRoom(this.#crowd.gates, this.#crowd.most)) return void socket.destroy()
    const gate = new Gate(socket)
    this.#gates.add(gate)
    this.#crowd?.gates.add(gate)
    if (this.#sweeper === undefined) {
      this.#sweptAt = performance.now()
      this.#sweeper = setInterval(() => this.#sweep(), this.#sweepMs).unref()
    }
    gate.on('close', () => this.#gone(gate))
    gate.on('error', () => gate.destroy())
    server.emit('connection', gate)
  }

  #gone(gate: Gate): void {
    this.#forget(gate)
    if (this.#gates.size > 0) return
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
  }

  #forget(gate: Gate): void {
    this.#gates.delete(gate)
    this.#crowd?.gates.delete(gate)
  }

  /** False when each of them is being worked for. */
  #hasRoom(gates: ReadonlySet<Gate>, most: number): boolean {
    if (gates.size < most) return true
    const waiting = new Map<string, Gate[]>()
    for (const gate of gates) {
      if (gate.state === 'working') continue
      const address = gate.socket.remoteAddress ?? ''
      const known = waiting.get(address)
      if (known === undefined) waiting.set(address, [gate])
      else known.push(gate)
    }
    const longest = [...waiting.values()].reduce<Gate[]>((a, b) => (b.length > a.length ? b : a), [])
    const oldest = longest.reduce<Gate | undefined>((a, b) => (a === undefined || b.since < a.since ? b : a), undefined)
    if (oldest === undefined) return false
    this.#forget(oldest)
    oldest.destroy()
    return true
  }

  #sweep(): void {
    const now = performance.now()
    // While the process stood still nothing was read: what has come meanwhile is not late.
    const stoodStillMs = Math.max(0, now - this.#sweptAt - 2 * this.#sweepMs)
    this.#sweptAt = now
    const { requestMs, idleMs, answerMs } = this.#limits
    for (const gate of this.#gates) {
      gate.since += stoodStillMs
      if (gate.state === 'working') continue
      const limitMs = gate.state === 'writing' ? answerMs : gate.hasBegun ? requestMs : idleMs
      if (now - gate.since > limitMs) gate.destroy()
    }
  }
}

/** A missing Host is refused by us, in words. */
export const parserOptions: http.ServerOptions = { maxHeaderSize: 8 * 1024, requireHostHeader: false }

/** What a client expects is no reason to answer otherwise: nobody is told to go on and send a body. */
export const expectations = ['checkContinue', 'checkExpectation'] as const

/** RFC 9112 3.2. */
export function isWithoutHost({ httpVersion, headers }: http.IncomingMessage): boolean {
  return httpVersion === '1.1' && headers.host === undefined
}

/** For an answer to what is no request to be taken, ms. */
const refusalMs = 1_000

/** What is no request of HTTP (RFC 9112 2.2) is answered as such where anybody still listens; nothing more is read. */
export function refuse(
  error: NodeJS.ErrnoException,
  connection: Duplex,
  answer: (status: 400 | 431) => { readonly type: string; readonly body: string },
): void {
  if (!(connection instanceof Gate) || !connection.writable || error.code === 'ECONNRESET')
    return void connection.destroy()
  connection.answering()
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
  const { type, body } = answer(status)
  const head = [
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}`,
    `content-type: ${type}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  connection.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  // Closed at once, what was not read would reset the connection before its client has the answer.
  setTimeout(() => connection.destroy(), refusalMs).unref()
}
