/**
 * Routers that only listen and count, in a thread of their own: they take sessions, answer OPEN and KEEPALIVE, and
 * count prefixes. The parser is their own, so that nothing is measured with the code under measurement.
 *
 *     startSinks --> worker: one server per address --> 'established' | 'routes' events with times of the shared clock
 */
import net from 'node:net'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { nowMs } from './report.ts'

export interface SinkSettings {
  readonly addresses: readonly string[]
  readonly port: number
  readonly asn: number
}

/** Totals of a sink's present session. Times in ms of `nowMs`. */
export interface SinkState {
  readonly address: string
  readonly isEstablished: boolean
  readonly establishedAt: number
  readonly firstAt: number
  readonly lastAt: number
  readonly announced: number
  readonly withdrawn: number
  readonly updates: number
  /** Time that reading took this router itself. */
  readonly busyMs: number
}

export interface Sinks {
  readonly states: ReadonlyMap<string, SinkState>
  /** Waits until `test` holds for the states; the answer is the clock then. Rejects at the deadline. */
  until(what: string, test: (states: readonly SinkState[]) => boolean, deadlineMs?: number): Promise<void>
  stop(): Promise<void>
}

const headerBytes = 19

export async function startSinks(settings: SinkSettings): Promise<Sinks> {
  const worker = new Worker(new URL(import.meta.url), { workerData: settings })
  const states = new Map<string, SinkState>()
  const waiting = new Set<() => void>()
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject)
    worker.on('message', (message: SinkState | 'ready') => {
      if (message === 'ready') return resolve()
      states.set(message.address, message)
      for (const check of waiting) check()
    })
  })
  return {
    states,
    until: (what, test, deadlineMs = 60_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(check)
          reject(new Error(`not seen within ${deadlineMs} ms: ${what}`))
        }, deadlineMs)
        const check = (): void => {
          if (!test([...states.values()])) return
          clearTimeout(timer)
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    stop: async () => void (await worker.terminate()),
  }
}

class Sink {
  readonly #address: string
  readonly #asn: number
  readonly #report: (state: SinkState) => void
  #received: Buffer = Buffer.alloc(0)
  #state: { -readonly [K in keyof SinkState]: SinkState[K] }

  constructor(address: string, asn: number, report: (state: SinkState) => void) {
    this.#address = address
    this.#asn = asn
    this.#report = report
    this.#state = this.#fresh()
  }

  #fresh(): SinkState {
    return {
      address: this.#address,
      isEstablished: false,
      establishedAt: 0,
      firstAt: 0,
      lastAt: 0,
      announced: 0,
      withdrawn: 0,
      updates: 0,
      busyMs: 0,
    }
  }

  accept(socket: net.Socket): void {
    this.#state = this.#fresh()
    this.#received = Buffer.alloc(0)
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#receive(socket, chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#state = this.#fresh()
      this.#report(this.#state)
    })
  }

  #receive(socket: net.Socket, chunk: Buffer): void {
    const at = nowMs()
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    let from = 0
    while (this.#received.length - from >= headerBytes) {
      const length = this.#received.readUInt16BE(from + 16)
      if (this.#received.length - from < length) break
      this.#message(
        socket,
        this.#received.readUInt8(from + 18),
        this.#received.subarray(from + headerBytes, from + length),
        at,
      )
      from += length
    }
    this.#received = this.#received.subarray(from)
    this.#state.busyMs += nowMs() - at
    this.#report({ ...this.#state })
  }

  #message(socket: net.Socket, type: number, body: Buffer, at: number): void {
    if (type === 1) {
      socket.write(Buffer.concat([this.#open(), keepalive]))
    } else if (type === 4) {
      if (!this.#state.isEstablished) Object.assign(this.#state, { isEstablished: true, establishedAt: at })
      socket.write(keepalive)
    } else if (type === 2) {
      this.#update(body, at)
    }
  }

  #update(body: Buffer, at: number): void {
    const withdrawnLength = body.readUInt16BE(0)
    const attributesLength = body.readUInt16BE(2 + withdrawnLength)
    const withdrawn = countPrefixes(body.subarray(2, 2 + withdrawnLength))
    const announced = countPrefixes(body.subarray(4 + withdrawnLength + attributesLength))
    if (withdrawn + announced === 0) return
    this.#state.updates++
    this.#state.withdrawn += withdrawn
    this.#state.announced += announced
    this.#state.lastAt = at
    if (this.#state.firstAt === 0) this.#state.firstAt = at
  }

  /** OPEN: version 4, hold time 90, IPv4 unicast, 4-octet AS. */
  #open(): Buffer {
    const asn = Buffer.alloc(4)
    asn.writeUInt32BE(this.#asn)
    const id = this.#address.split('.').map(Number)
    const capabilities = [1, 4, 0, 1, 0, 1, 65, 4, ...asn]
    const body = Buffer.from([
      4,
      asn[2] ?? 0,
      asn[3] ?? 0,
      0,
      90,
      ...id,
      capabilities.length + 2,
      2,
      capabilities.length,
      ...capabilities,
    ])
    return message(1, body)
  }
}

function message(type: number, body: Buffer): Buffer {
  const header = Buffer.alloc(headerBytes, 0xff)
  header.writeUInt16BE(headerBytes + body.length, 16)
  header.writeUInt8(type, 18)
  return Buffer.concat([header, body])
}

const keepalive = message(4, Buffer.alloc(0))

function countPrefixes(bytes: Buffer): number {
  let count = 0
  for (let at = 0; at < bytes.length; count++) at += 1 + (((bytes[at] ?? 0) + 7) >> 3)
  return count
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort
  const settings = workerData as SinkSettings
  await Promise.all(
    settings.addresses.map(
      (address) =>
        new Promise<void>((resolve) => {
          const sink = new Sink(address, settings.asn, (state) => port.postMessage(state))
          net.createServer((socket) => sink.accept(socket)).listen(settings.port, address, () => resolve())
        }),
    ),
  )
  port.postMessage('ready')
}
