/**
 * The seam to the kernel: maps, by the names that they have in bpf/layout.h. `kernel-maps.ts` has the real ones,
 * `memory-maps.ts` has maps in memory that are as bounded and as particular. Above it lies a table per feature.
 *
 *     tables/services.ts, counters.ts, reasons.ts  -->  Maps  <--  kernel-maps.ts (libbpf), memory-maps.ts
 */
import type { MapName } from './layout.ts'

/** BPF_ANY, BPF_NOEXIST, BPF_EXIST. */
export type PutMode = 'any' | 'new' | 'existing'

/** Key and value. */
export type MapEntry = readonly [Uint8Array, Uint8Array]

/**
 * A map that is read and written by calls. Keys and values are octets of exactly `keyBytes` and `valueBytes`; a value
 * of a per-CPU map holds those of all CPUs in a row. Failures throw ERR_MAP_FULL or ERR_SYSCALL (with errno: EINVAL
 * for a wrong size, EEXIST, ENOENT) and have changed nothing.
 */
export interface MapStore {
  readonly name: string
  readonly keyBytes: number
  readonly valueBytes: number
  readonly maxEntries: number
  get(key: Uint8Array): Uint8Array | undefined
  put(key: Uint8Array, value: Uint8Array, mode?: PutMode): void
  /**
   * In their order, in as few calls of the kernel as it takes. Throws as {@link put} does at the first that is refused,
   * with how many are `written`: all before it, and none behind it.
   */
  putAll(entries: readonly MapEntry[]): void
  /** False when there was no such key. */
  delete(key: Uint8Array): boolean
  /** Read in batches; entries written meanwhile may or may not be among them. */
  entries(): Iterable<MapEntry>
  /** How many entries it holds; an estimate for a large map, which nobody walks to count. */
  used(): number
}

/** Maps that are read and written by calls. */
export type StoreName = Exclude<MapName, MemoryName | 'events'>
/** Arrays that lie in the agent's memory too (BPF_F_MMAPABLE): what is written is seen by packets at once. */
export type MemoryName = 'backends' | 'tables' | 'tunnels' | 'observation' | 'unkept' | 'permit'

/** Of a large one only the part is mapped that is reached. */
export interface SharedMemory {
  /** Of all of it. */
  readonly byteLength: number
  /**
   * From the first octet on at least so many of those that there are; what was answered before stays valid. Throws
   * ERR_SYSCALL where they cannot be mapped.
   */
  reach(octets: number): DataView
  /** All of it, until `read` has returned. */
  whole<Result>(read: (memory: DataView) => Result): Result
}

/** As {@link SharedMemory}, in words, for an array of which little is looked at at a time: so much of it is mapped. */
export interface WindowedMemory {
  readonly byteLength: number
  /** All of it: what is not held must not be touched, and ends the process. */
  readonly words: Uint32Array
  /**
   * So many words from one on may be touched, those of two of the largest tables at a time: whoever holds a third one
   * gives the first one back. Throws ERR_SYSCALL where they cannot be mapped.
   */
  hold(from: number, words: number): void
}

export interface Maps {
  store(name: StoreName): MapStore
  /** All of it. */
  memory(name: MemoryName): DataView
  shared(name: MemoryName): SharedMemory
  windows(name: MemoryName): WindowedMemory
}

const slabBytes = 1 << 16
let slab = new Uint8Array(0)
let slabUsed = 0

/**
 * Zeros, for a value that is written or read and then dropped. A start with thousands of Services makes hundreds of
 * thousands, and memory of its own for each costs more than the write: these lie in a row, and go together.
 */
export function passingOctets(length: number): Uint8Array {
  const at = slabUsed
  slabUsed += (length + 7) & ~7
  if (slabUsed <= slab.length) return slab.subarray(at, at + length)
  slab = new Uint8Array(Math.max(slabBytes, length))
  slabUsed = (length + 7) & ~7
  return slab.subarray(0, length)
}

/** The index in an array that a key is. */
export function indexOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0, true)
}

/** The key of an array: its index. */
export function indexKey(index: number): Uint8Array {
  const key = passingOctets(4)
  for (let at = 0; at < 4; at++) key[at] = index >>> (8 * at)
  return key
}

/** Octets in a row, as the kernel takes many keys or values at once. */
export function inARow(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  const whole = new Uint8Array(parts.length * (first?.length ?? 0))
  for (const [i, part] of parts.entries()) whole.set(part, i * part.length)
  return whole
}
