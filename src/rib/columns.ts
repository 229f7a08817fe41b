/** Columns of numbers outside the engine's heap, of tables that grow by making larger ones and filling them. */

export type Column = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>

/**
 * Gives the memory of a column back at once. As garbage it would have the engine collect, again and again while a table
 * comes in.
 */
export function free(column: Column): void {
  column.buffer.transfer(0)
}

/** Slots of a table that were found; to be used again and again, so that nothing of it is garbage. */
export class Slots {
  readonly #slots: number[] = []
  count = 0

  clear(): void {
    this.count = 0
  }

  add(slot: number): void {
    this.#slots[this.count++] = slot
  }

  at(i: number): number {
    return this.#slots[i] as number
  }

  /** Says in its place what the slot from a part of a table is in the whole. */
  replace(i: number, slot: number): void {
    this.#slots[i] = slot
  }
}

/** A longer piece is copied by the engine, which costs a view of it. */
const maxByOctet = 128

/** What lies in [from, to) of one goes to a place in another. */
export function copyOctets(source: Uint8Array, from: number, to: number, target: Uint8Array, at: number): void {
  if (to - from > maxByOctet) target.set(source.subarray(from, to), at)
  else for (let i = from; i < to; i++) target[at + i - from] = source[i] as number
}
