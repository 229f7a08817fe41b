/**
 * The connections of one listener: bounded in number, in time and in what each may have under way. Nobody who connects
 * is turned away while there is one that only waits: of those the oldest goes, of the address that holds the most. So
 * a probe is answered also while others hold every connection half open.
 */
import type http from 'node:http'
import net from 'node:net'
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

export class Connections {
  readonly listener: net.Server
  readonly #gates = new Set<Gate>()
  readonly #limits: ConnectionLimits
  /** Runs while there are connections. */
  #sweeper: NodeJS.Timeout | undefined

  constructor(server: http.Server, limits: ConnectionLimits = connectionLimits) {
    this.#limits = limits
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
    if (this.#gates.size >= this.#limits.maxConnections && !this.#makeRoom()) return void socket.destroy()
    const gate = new Gate(socket)
    this.#gates.add(gate)
    this.#sweeper ??= setInterval(() => this.#sweep(), Math.min(1_000, this.#limits.requestMs / 2)).unref()
    gate.on('close', () => this.#gone(gate))
    gate.on('error', () => gate.destroy())
    server.emit('connection', gate)
  }

  #gone(gate: Gate): void {
    this.#gates.delete(gate)
    if (this.#gates.size > 0) return
    clearInterval(this.#sweeper)
    this.#sweeper = undefined
  }

  /** False when each of them is being worked for. */
  #makeRoom(): boolean {
    const waiting = new Map<string, Gate[]>()
    for (const gate of this.#gates) {
      if (gate.state === 'working') continue
      const address = gate.socket.remoteAddress ?? ''
      const gates = waiting.get(address)
      if (gates === undefined) waiting.set(address, [gate])
      else gates.push(gate)
    }
    const most = [...waiting.values()].reduce<Gate[]>((a, b) => (b.length > a.length ? b : a), [])
    const oldest = most.reduce<Gate | undefined>((a, b) => (a === undefined || b.since < a.since ? b : a), undefined)
    if (oldest === undefined) return false
    this.#gates.delete(oldest)
    oldest.destroy()
    return true
  }

  #sweep(): void {
    const now = performance.now()
    const { requestMs, idleMs, answerMs } = this.#limits
    for (const gate of this.#gates) {
      if (gate.state === 'working') continue
      const limitMs = gate.state === 'writing' ? answerMs : gate.hasBegun ? requestMs : idleMs
      if (now - gate.since > limitMs) gate.destroy()
    }
  }
}
