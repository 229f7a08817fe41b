/**
 * Numbers of peers in memory that both threads see, so that a scrape costs the speaker nothing.
 *
 *     speaker: who the peers are, or what is told of one, changes --> edition + 1      messages, prefixes --> its row
 *     agent:   peers as they were told + their rows, while the edition is that of the answer; else it asks
 *
 * Rows are in the order of the answer. The edition rises before a row becomes another peer's, and is read again after
 * the rows: what was read of two editions is thrown away.
 */
import type { PeerSnapshot } from './protocol.ts'

export interface PeerFigures {
  readonly messagesIn: number
  readonly messagesOut: number
  readonly updatesIn: number
  readonly updatesOut: number
  readonly received: Readonly<Record<'ipv4' | 'ipv6', number>>
  readonly advertised: Readonly<Record<'ipv4' | 'ipv6', number>>
}

const maxRows = 1_024
const columns = 8
const headBytes = 8
/** An idle hold is told with what is left of it. */
const countdownMs = 1_000

/** Address space only, until there are peers. */
const figuresBytes = headBytes + maxRows * columns * Float64Array.BYTES_PER_ELEMENT

/** The speaker's side; does nothing without memory. */
export class FigureWriter {
  readonly #edition: Int32Array | undefined
  readonly #rows: Float64Array | undefined

  constructor(buffer: SharedArrayBuffer | undefined) {
    this.#edition = buffer && new Int32Array(buffer, 0, 1)
    this.#rows = buffer && new Float64Array(buffer, headBytes)
  }

  /** Something changed that no row has. */
  changed(): void {
    if (this.#edition !== undefined) Atomics.add(this.#edition, 0, 1)
  }

  write(row: number, { messagesIn, messagesOut, updatesIn, updatesOut, received, advertised }: PeerFigures): void {
    const rows = this.#rows
    if (rows === undefined || row < 0 || row >= maxRows) return
    const at = row * columns
    rows[at] = messagesIn
    rows[at + 1] = messagesOut
    rows[at + 2] = received.ipv4
    rows[at + 3] = advertised.ipv4
    rows[at + 4] = received.ipv6
    rows[at + 5] = advertised.ipv6
    rows[at + 6] = updatesIn
    rows[at + 7] = updatesOut
  }
}

interface Told {
  readonly edition: number
  readonly peers: readonly PeerSnapshot[]
  /** ms of the reader's clock. */
  readonly at: number
  readonly hasCountdown: boolean
}

/** The agent's side. */
export class FigureReader {
  readonly buffer = new SharedArrayBuffer(figuresBytes)
  readonly #edition = new Int32Array(this.buffer, 0, 1)
  readonly #rows = new Float64Array(this.buffer, headBytes)
  readonly #ask: () => Promise<readonly PeerSnapshot[]>
  readonly #nowMs: () => number
  #told: Told | undefined
  /** Answers to what was asked before the last one are not kept. */
  #forgotten = 0

  /** `ask`: the speaker's answer, with all peers in its order. */
  constructor(ask: () => Promise<readonly PeerSnapshot[]>, nowMs: () => number) {
    this.#ask = ask
    this.#nowMs = nowMs
  }

  async peers(): Promise<readonly PeerSnapshot[]> {
    const known = this.#current()
    if (known !== undefined) return known
    const [edition, forgotten] = [this.#load(), this.#forgotten]
    const peers = await this.#ask()
    const hasCountdown = peers.some(({ state }) => state === 'Idle')
    // What changed while it answered is in none or in some of it.
    const isWhole = this.#load() === edition && this.#forgotten === forgotten
    if (isWhole && peers.length <= maxRows) this.#told = { edition, peers, at: this.#nowMs(), hasCountdown }
    return peers
  }

  /** The speaker was told something that its next answer is to know of. */
  forget(): void {
    this.#told = undefined
    this.#forgotten++
  }

  #current(): readonly PeerSnapshot[] | undefined {
    const told = this.#told
    if (told === undefined || told.edition !== this.#load()) return undefined
    if (told.hasCountdown && this.#nowMs() - told.at >= countdownMs) return undefined
    const peers = told.peers.map((peer, row) => this.#withRow(peer, row))
    return this.#load() === told.edition ? peers : undefined
  }

  #withRow(peer: PeerSnapshot, row: number): PeerSnapshot {
    const [
      messagesIn = 0,
      messagesOut = 0,
      receivedIpv4 = 0,
      advertisedIpv4 = 0,
      receivedIpv6 = 0,
      advertisedIpv6 = 0,
      updatesIn = 0,
      updatesOut = 0,
    ] = this.#rows.subarray(row * columns, (row + 1) * columns)
    return {
      ...peer,
      messagesIn,
      messagesOut,
      updatesIn,
      updatesOut,
      families: peer.families.map((counters) =>
        counters.family === 'ipv4-unicast'
          ? { ...counters, received: receivedIpv4, advertised: advertisedIpv4 }
          : { ...counters, received: receivedIpv6, advertised: advertisedIpv6 },
      ),
    }
  }

  #load(): number {
    return Atomics.load(this.#edition, 0)
  }
}
