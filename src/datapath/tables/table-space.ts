/**
 * The array of all Maglev tables. A frontend has at most two rooms in it: for the table in force, and for the one
 * before, which packets of flows without state may ask. The next change is written over that one: whoever still reads
 * it meets backends of this frontend, older or newer ones. So changes take no space, however fast they come. Beside
 * them lie the references of backends that rest, and those that clients may stay with.
 *
 * The one before is not simply the last one: a slot that a change does not move goes on saying whose it was before it
 * was moved. So a flow finds its backend by one of the two whatever moves beside it. That ends a grace after the last
 * change: who is younger than all of them has no business with the one before. Pure.
 */
import { sizes, type BackendRef, type FrontendRecord } from '../layout.ts'
import { maglevTable, tableLength } from '../maglev.ts'
import type { WindowedMemory } from '../maps.ts'
import { StretchPool } from '../slots.ts'
import { memberSlots } from './members.ts'

const noBackend: BackendRef = { id: 0, generation: 0 }
const graceNs = 1_000_000_000n
const wordsPerSlot = sizes.backendRef / 4
/** What is read in a row. */
const wordsAtOnce = 1 << 14

interface Room {
  readonly offset: number
  readonly length: number
}

const nowhere: Room = { offset: 0, length: 0 }

/** What a frontend names in the map of tables. */
export type Places = Omit<FrontendRecord, 'service' | 'ranges' | 'affinitySec' | 'affinitySinceNs'>

/** Of a backend; undefined when it is gone. */
export type Place = 'here' | 'elsewhere' | undefined

/** A backend by the name that decides where it is in a table, and how much of it it has: 1 where nothing is said. */
export type Named = readonly [name: string, ref: BackendRef, weight?: number | undefined]

export interface WriteOptions {
  /** What is in force. */
  readonly before: FrontendRecord | undefined
  /** Where nothing is: among whom the other nodes chose before, as far as it is known. */
  readonly formerly?: readonly Named[]
  /** Clients may stay with one of them. */
  readonly hasMembers?: boolean
}

interface Written {
  readonly places: Places
  /** What was the table before until now, for {@link TableSpace.settle}. */
  readonly older: Uint32Array | undefined
}

function onlyOf(backends: readonly Named[]): BackendRef {
  return (backends.length === 1 ? backends[0]?.[1] : undefined) ?? noBackend
}

export class TableSpace {
  readonly #memory: WindowedMemory
  /** Two for each slot: id, generation. What is read or written is held before. */
  readonly #words: Uint32Array
  readonly #stretches: StretchPool
  /** By frontend: what its tables have to themselves, which may be more than they need now. */
  readonly #rooms = new Map<string, Room | readonly Room[]>()
  /** By backend id: the reading in which it was met. */
  readonly #met: Uint32Array
  readonly #metGenerations: Uint32Array
  /** In how many slots of the last table that was read it was, by its id. */
  readonly #slots: Uint32Array
  #reading = 0
  /** Where a table is made before it is written. */
  #order = new Int32Array(0)
  readonly #previousNs: bigint

  /** `previousNs`: how long the table before is asked. */
  constructor(
    memory: WindowedMemory,
    backends: number,
    previousNs: bigint,
    found: ReadonlyMap<string, FrontendRecord>,
  ) {
    this.#memory = memory
    this.#words = memory.words
    this.#previousNs = previousNs
    this.#met = new Uint32Array(backends)
    this.#metGenerations = new Uint32Array(backends)
    this.#slots = new Uint32Array(backends)
    for (const [id, { table, previous }] of found)
      this.#rooms.set(
        id,
        [table, previous].filter(({ length }) => length > 0),
      )
    const lists = [...found.values()].flatMap(({ resting, members }) => [resting, members])
    const used = [
      ...[...this.#rooms.keys()].flatMap((id) => this.#roomsOf(id)),
      ...lists.filter(({ length }) => length > 0),
    ]
    this.#stretches = new StretchPool(this.size, graceNs, used)
  }

  get size(): number {
    return this.#memory.byteLength / sizes.backendRef
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

  /**
   * The same, and how many slots of the table each has; undefined: it is a table without weights. Of that the first
   * ones in the order of backends have a slot more, where they cannot all have as many.
   */
  weighed(
    record: FrontendRecord,
    compare: (a: BackendRef, b: BackendRef) => number,
  ): { readonly refs: readonly BackendRef[]; readonly slots?: readonly number[] } {
    const refs = this.active(record)
    if (record.table.length === 0) return { refs }
    const slotsOf = ({ id }: BackendRef): number => this.#slots[id] ?? 0
    const [each, more] = [Math.floor(record.table.length / refs.length), record.table.length % refs.length]
    const isEven = [...refs].sort(compare).every((ref, index) => slotsOf(ref) === (index < more ? each + 1 : each))
    return isEven ? { refs } : { refs, slots: refs.map(slotsOf) }
  }

  resting({ resting }: FrontendRecord): readonly BackendRef[] {
    return this.#refsAt(resting)
  }

  /**
   * Writes what a frontend is to name, beside what is in force. `active` by names that are sorted and the same on every
   * node. Throws ERR_MAP_FULL.
   */
  write(
    id: string,
    active: readonly Named[],
    resting: readonly BackendRef[],
    { before, formerly = [], hasMembers = false }: WriteOptions,
    nowNs: bigint,
  ): Written {
    const length = tableLength(active.length)
    const older = before?.table.length === length ? this.#previousOf(before, nowNs) : undefined
    let [rest, members, table, previous] = [nowhere, nowhere, nowhere, before?.table ?? nowhere]
    try {
      rest = this.#listOf(resting, nowNs)
      if (hasMembers && length > 0) members = this.#listOf(memberSlots(active.map(([, ref]) => ref)), nowNs)
      table = this.#tableOf(id, active, before?.table ?? nowhere, nowNs)
      if (before === undefined) previous = this.#tableOf(id, formerly, table, nowNs)
    } catch (error) {
      this.#give(rest, nowNs)
      this.#give(members, nowNs)
      if (before === undefined) this.giveRooms(id, nowNs)
      throw error
    }
    const only = onlyOf(active)
    const hasMoved = before === undefined ? formerly.length > 0 : !this.#isSame(before, { only, table })
    const places = {
      backends: active.length,
      only,
      table,
      previous,
      previousOnly: before?.only ?? onlyOf(formerly),
      previousUntilNs: hasMoved ? nowNs + this.#previousNs : (before?.previousUntilNs ?? 0n),
      resting: rest,
      members,
    }
    return { places, older }
  }

  /** Whether a frontend chooses as the one in force does. */
  #isSame(before: FrontendRecord, { only, table }: Pick<FrontendRecord, 'only' | 'table'>): boolean {
    if (before.table.length !== table.length) return false
    if (before.only.id !== only.id || before.only.generation !== only.generation) return false
    this.#hold(before.table)
    this.#hold(table)
    const [then, now] = [before.table.offset * wordsPerSlot, table.offset * wordsPerSlot]
    for (let word = 0; word < table.length * wordsPerSlot; word++)
      if (this.#words[then + word] !== this.#words[now + word]) return false
    return true
  }

  #tableOf(id: string, backends: readonly Named[], inForce: Room, nowNs: bigint): Room {
    const length = tableLength(backends.length)
    if (length === 0) return nowhere
    const room = this.#roomFor(id, length, inForce, nowNs)
    const { offset } = room
    if (this.#order.length < length) this.#order = new Int32Array(length)
    const order = this.#order
    const names = backends.map(([name]) => name)
    const weights = backends.some(([, , weight]) => weight !== undefined)
      ? backends.map(([, , weight = 1]) => weight)
      : undefined
    maglevTable(names, length, { weights, table: order })
    this.#hold({ offset, length })
    const words = this.#words
    for (let slot = 0, word = offset * wordsPerSlot; slot < length; slot++, word += wordsPerSlot) {
      const { id: backend, generation } = backends[order[slot] ?? 0]?.[1] ?? noBackend
      words[word] = backend
      words[word + 1] = generation
    }
    return room.length === length ? room : { offset, length }
  }

  /**
   * The record of the last {@link write} is in force: the table before it remembers, where nothing moved, what it was;
   * and where a slot moved away from a backend on this node, which knows its flows by itself, whose it was before that
   * one. So a flow is found through the node of the table before, when its place has moved twice.
   */
  settle(
    { table, previous }: Pick<FrontendRecord, 'table' | 'previous'>,
    older: Written['older'],
    placeOf: (id: number) => Place,
  ): void {
    const words = this.#words
    if (older === undefined || previous.length !== table.length) return
    this.#hold(table)
    this.#hold(previous)
    const places = new Map<number, Place>()
    const isAt = (id: number, place: Place): boolean => {
      if (!places.has(id)) places.set(id, placeOf(id))
      return places.get(id) === place
    }
    let now = table.offset * wordsPerSlot
    let then = previous.offset * wordsPerSlot
    for (let from = 0; from < older.length; from += wordsPerSlot, now += wordsPerSlot, then += wordsPerSlot) {
      const [id = 0, generation = 0] = [older[from], older[from + 1]]
      if (words[now] !== words[then] || words[now + 1] !== words[then + 1]) {
        const isBack = words[now] === id && words[now + 1] === generation
        if (isBack || generation === 0 || !isAt(words[then] ?? 0, 'here') || !isAt(id, 'elsewhere')) continue
      }
      words[then] = id
      words[then + 1] = generation
    }
  }

  /** What it is, as long as tables have one length. */
  #previousOf(before: FrontendRecord, nowNs: bigint): Uint32Array | undefined {
    const { table, previous, previousUntilNs } = before
    const { id, generation } = before.previousOnly
    if (previousUntilNs <= nowNs) return undefined
    this.#hold(previous)
    if (previous.length === table.length)
      return this.#words.slice(previous.offset * wordsPerSlot, (previous.offset + previous.length) * wordsPerSlot)
    if (previous.length > 0 || generation === 0) return undefined
    return Uint32Array.from({ length: table.length * wordsPerSlot }, (_, word) => (word % 2 === 0 ? id : generation))
  }

  /** Whether the backends with which clients may stay are written as they have to be. */
  hasMembers({ members }: FrontendRecord, active: readonly BackendRef[]): boolean {
    const ids = new Set(active.map(({ id }) => id))
    // What somebody else wrote has no list: of one id in many generations none would ever be long enough.
    if (ids.size < active.length || active.some(({ id }) => id >= this.#met.length)) return false
    const slots = active.length > 1 ? memberSlots(active) : []
    if (slots.length !== members.length) return false
    return slots.every((ref = noBackend, slot) => {
      const word = (members.offset + slot) * wordsPerSlot
      this.#memory.hold(word, wordsPerSlot)
      return this.#words[word] === ref.id && this.#words[word + 1] === ref.generation
    })
  }

  /** The frontend names these lists no more, or never came to. */
  giveLists({ resting, members }: Pick<FrontendRecord, 'resting' | 'members'>, nowNs: bigint): void {
    this.#give(resting, nowNs)
    this.#give(members, nowNs)
  }

  /** The frontend is gone. */
  giveRooms(id: string, nowNs: bigint): void {
    for (const room of this.#roomsOf(id)) this.#give(room, nowNs)
    this.#rooms.delete(id)
  }

  /** Where the next table goes: not over the one in force. */
  #roomFor(id: string, length: number, inForce: Room, nowNs: bigint): Room {
    const rooms = this.#roomsOf(id)
    if (rooms.length === 0) {
      const room = this.#take(length, nowNs)
      // Nearly all have one, and there are thousands.
      this.#rooms.set(id, room)
      return room
    }
    const kept = rooms.find(({ offset }) => inForce.length > 0 && offset === inForce.offset)
    const others = rooms.filter((room) => room !== kept)
    const fitting = others.find((room) => room.length >= length)
    if (fitting !== undefined) return fitting
    // With two rooms and none in force the larger one stays, for what comes after.
    const spare =
      kept === undefined && others.length > 1 ? others.reduce((a, b) => (a.length < b.length ? a : b)) : others[0]
    const room = this.#take(length, nowNs)
    if (spare !== undefined && rooms.length > 1) this.#give(spare, nowNs)
    this.#rooms.set(id, [...rooms.filter((each) => each !== spare || rooms.length < 2), room])
    return room
  }

  #roomsOf(id: string): readonly Room[] {
    const rooms = this.#rooms.get(id) ?? []
    return 'offset' in rooms ? [rooms] : rooms
  }

  #listOf(refs: readonly (BackendRef | undefined)[], nowNs: bigint): Room {
    if (refs.length === 0) return nowhere
    const list = this.#take(refs.length, nowNs)
    for (const [slot, ref = noBackend] of refs.entries()) this.#writeRef(list.offset + slot, ref)
    return list
  }

  #take(length: number, nowNs: bigint): Room {
    const offset = this.#stretches.take(length, nowNs)
    try {
      this.#hold({ offset, length })
    } catch (error) {
      this.#stretches.give(offset, length, nowNs)
      throw error
    }
    return { offset, length }
  }

  #hold({ offset, length }: Room): void {
    if (length > 0) this.#memory.hold(offset * wordsPerSlot, length * wordsPerSlot)
  }

  #give({ offset, length }: Room, nowNs: bigint): void {
    if (length > 0) this.#stretches.give(offset, length, nowNs)
  }

  #writeRef(slot: number, { id, generation }: BackendRef): void {
    const word = slot * wordsPerSlot
    this.#memory.hold(word, wordsPerSlot)
    this.#words[word] = id
    this.#words[word + 1] = generation
  }

  /** Each once: a table names few ids in many slots. */
  #refsAt({ offset, length }: { readonly offset: number; readonly length: number }): readonly BackendRef[] {
    const refs: BackendRef[] = []
    const [words, met, slots] = [this.#words, this.#met, this.#slots]
    const reading = ++this.#reading
    const end = Math.min((offset + length) * wordsPerSlot, words.length)
    let held = 0
    for (let word = offset * wordsPerSlot; word < end; word += wordsPerSlot) {
      // Who edited a record may have written any length into it.
      if (word >= held) {
        this.#memory.hold(word, wordsAtOnce)
        held = word + wordsAtOnce
      }
      const id = words[word] ?? 0
      const generation = words[word + 1] ?? 0
      if (met[id] === reading && this.#metGenerations[id] === generation) {
        slots[id] = (slots[id] ?? 0) + 1
        continue
      }
      met[id] = reading
      slots[id] = 1
      this.#metGenerations[id] = generation
      refs.push({ id, generation })
    }
    return refs
  }
}
