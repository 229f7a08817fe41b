/**
 * The array of all Maglev tables. A frontend has at most two stretches of it: the table in force, and the one before,
 * which packets of flows without state may ask, and over which the next change is written: whoever still reads it meets
 * backends of this frontend, older or newer ones. Beside them lie the references of backends that rest. Pure.
 */
import { sizes, type BackendRef, type FrontendRecord } from '../layout.ts'
import { maglevTable, tableLength } from '../maglev.ts'
import { StretchPool } from '../slots.ts'

const noBackend: BackendRef = { id: 0, generation: 0 }
const nowhere = { offset: 0, length: 0 }
const graceNs = 1_000_000_000n
const wordsPerSlot = sizes.backendRef / 4

export class TableSpace {
  /** Two words for each slot: id, generation. */
  readonly #words: Uint32Array
  readonly #stretches: StretchPool
  /** By backend id: the reading in which it was met. */
  readonly #met: Uint32Array
  #reading = 0

  constructor(memory: DataView, backends: number, found: readonly { readonly record: FrontendRecord }[]) {
    this.#met = new Uint32Array(backends)
    this.#words = new Uint32Array(memory.buffer, memory.byteOffset, memory.byteLength / 4)
    const used = found
      .flatMap(({ record }) => [record.table, record.previous, record.resting])
      .filter(({ length }) => length > 0)
    this.#stretches = new StretchPool(this.size, graceNs, used)
  }

  get size(): number {
    return this.#words.length / wordsPerSlot
  }

  get used(): number {
    return this.#stretches.used
  }

  /** The references that new flows of a frontend meet, each once. */
  active({ backends, only, table }: FrontendRecord): readonly BackendRef[] {
    if (backends === 0) return []
    if (table.length === 0) return [only]
    return this.#refsAt(table)
  }

  resting({ resting }: FrontendRecord): readonly BackendRef[] {
    return this.#refsAt(resting)
  }

  /**
   * Writes what a frontend is to name, beside what is in force. `active` by names that are sorted and the same on every
   * node. Throws ERR_MAP_FULL.
   */
  write(
    service: number,
    active: readonly (readonly [string, BackendRef])[],
    resting: readonly BackendRef[],
    before: FrontendRecord | undefined,
    nowNs: bigint,
  ): FrontendRecord {
    const length = tableLength(active.length)
    const room = before?.previous ?? nowhere
    const isReused = length > 0 && room.length === length
    const table = length === 0 ? nowhere : isReused ? room : this.#take(length, nowNs)
    let rest = nowhere
    try {
      rest = resting.length === 0 ? nowhere : this.#take(resting.length, nowNs)
    } catch (error) {
      if (!isReused) this.#give(table, nowNs)
      throw error
    }
    const names = active.map(([name]) => name)
    const refs = active.map(([, ref]) => ref)
    const order = length === 0 ? new Uint32Array() : maglevTable(names, length)
    for (let slot = 0; slot < length; slot++) this.#writeRef(table.offset + slot, refs[order[slot] ?? 0] ?? noBackend)
    for (const [slot, ref] of resting.entries()) this.#writeRef(rest.offset + slot, ref)
    return {
      service,
      backends: active.length,
      only: (active.length === 1 ? refs[0] : undefined) ?? noBackend,
      table,
      previous: before?.table ?? nowhere,
      previousOnly: before?.only ?? noBackend,
      resting: rest,
    }
  }

  /** What a record that never came into force took. */
  giveNew({ table, resting }: FrontendRecord, before: FrontendRecord | undefined, nowNs: bigint): void {
    if (table.offset !== before?.previous.offset || table.length !== before.previous.length) this.#give(table, nowNs)
    this.#give(resting, nowNs)
  }

  /** What `before` had and `now` has not. */
  giveOld(before: FrontendRecord, now: FrontendRecord, nowNs: bigint): void {
    const isKept = now.table.offset === before.previous.offset && now.table.length === before.previous.length
    if (!isKept) this.#give(before.previous, nowNs)
    this.#give(before.resting, nowNs)
  }

  giveAll({ table, previous, resting }: FrontendRecord, nowNs: bigint): void {
    for (const place of [table, previous, resting]) this.#give(place, nowNs)
  }

  #take(length: number, nowNs: bigint): { readonly offset: number; readonly length: number } {
    return { offset: this.#stretches.take(length, nowNs), length }
  }

  #give({ offset, length }: { readonly offset: number; readonly length: number }, nowNs: bigint): void {
    if (length > 0) this.#stretches.give(offset, length, nowNs)
  }

  #writeRef(slot: number, { id, generation }: BackendRef): void {
    this.#words[slot * wordsPerSlot] = id
    this.#words[slot * wordsPerSlot + 1] = generation
  }

  /** Each once: a table names few ids in many slots. */
  #refsAt({ offset, length }: { readonly offset: number; readonly length: number }): readonly BackendRef[] {
    const refs: BackendRef[] = []
    const [words, met] = [this.#words, this.#met]
    const reading = ++this.#reading
    const end = Math.min((offset + length) * wordsPerSlot, words.length)
    for (let word = offset * wordsPerSlot; word < end; word += wordsPerSlot) {
      const id = words[word] ?? 0
      if (met[id] === reading) continue
      met[id] = reading
      refs.push({ id, generation: words[word + 1] ?? 0 })
    }
    return refs
  }
}
