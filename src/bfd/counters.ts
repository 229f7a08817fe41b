/**
 * Numbers of BFD sessions in memory that all threads see, so that a scrape costs the watching thread nothing: what was
 * dropped, then a row for each session.
 */
import { type DropReason, dropReasons } from './packet.ts'

/** Sessions beyond have no row and are not counted one by one. */
export const maxRows = 1_024
const columns = ['packetsIn', 'packetsOut', 'upEvents', 'downEvents'] as const
type Column = (typeof columns)[number]
export type BfdCounts = Readonly<Record<Column, number>>

/** Of the kernel: of strangers, TTL not as it has to be, or more than was read. */
const kernelDrops = dropReasons.length
const headCells = dropReasons.length + 1
const cells = headCells + maxRows * columns.length

/** Of all sessions, why packets did not count. `kernel`: dropped before they were read. */
export type BfdDrops = Readonly<Record<DropReason | 'kernel', number>>

export class BfdCounters {
  readonly buffer: SharedArrayBuffer
  readonly #cells: Float64Array

  constructor(buffer = new SharedArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT)) {
    this.buffer = buffer
    this.#cells = new Float64Array(buffer)
  }

  add(row: number, column: Column): void {
    if (row >= 0) this.#add(headCells + row * columns.length + columns.indexOf(column))
  }

  drop(reason: DropReason): void {
    this.#add(dropReasons.indexOf(reason))
  }

  /** So many in all since the sockets are open. */
  setKernelDrops(count: number): void {
    this.#cells[kernelDrops] = count
  }

  /** A row becomes another session's. */
  clear(row: number): void {
    const at = headCells + row * columns.length
    if (row >= 0) this.#cells.fill(0, at, at + columns.length)
  }

  counts(row: number): BfdCounts {
    const at = headCells + row * columns.length
    const [packetsIn = 0, packetsOut = 0, upEvents = 0, downEvents = 0] =
      row < 0 ? [] : this.#cells.subarray(at, at + columns.length)
    return { packetsIn, packetsOut, upEvents, downEvents }
  }

  get drops(): BfdDrops {
    const [length = 0, version = 0, detectMultiplier = 0, multipoint = 0, myDiscriminator = 0, ...rest] = this.#cells
    const [yourDiscriminator = 0, authentication = 0, ttl = 0, noSession = 0, kernel = 0] = rest
    const own = { length, version, detectMultiplier, multipoint, myDiscriminator, yourDiscriminator }
    return { ...own, authentication, ttl, noSession, kernel }
  }

  #add(cell: number): void {
    this.#cells[cell] = (this.#cells[cell] ?? 0) + 1
  }
}

export const noCounts: BfdCounts = { packetsIn: 0, packetsOut: 0, upEvents: 0, downEvents: 0 }
