/** Memory that this process shares with maps of the kernel. */
import koffi from 'koffi'
import { HeraldError } from '../errors.ts'
import { checked, libc } from './libc.ts'

const mmap = libc.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)')
const munmap = libc.func('int munmap(void *address, size_t length)')
/** PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE. */
const [inaccessible, readOnly, readWrite] = [0, 1, 3]
/** MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE. */
const [mapShared, mapPrivate, mapFixed, mapAnonymous, mapNoReserve] = [1, 2, 0x10, 0x20, 0x4000]
const mapFailed = 0xffff_ffff_ffff_ffffn
const keptFree = mapPrivate | mapAnonymous | mapNoReserve
/** Multiples of any page. */
const reachedAtOnce = 1 << 20
const windowBytes = 1 << 18
/** Two of the largest tables, wherever they begin, and one window more. */
const windowsAtOnce = 7

/** `buffer` must not be touched after `unmap`. */
export interface MappedMemory {
  readonly buffer: ArrayBuffer
  unmap(): void
}

/** Octets of a map from a page on, shared with the kernel. Throws ERR_SYSCALL. */
export function mapPages(name: string, fd: number, offset: number, length: number, isWritten: boolean): MappedMemory {
  const address = mapped(name, mmap(null, length, isWritten ? readWrite : readOnly, mapShared, fd, offset))
  return { buffer: koffi.view(address, length), unmap: () => checked('munmap', Number(munmap(address, length))) }
}

/** A place for all octets of a map, of which some are mapped: what lies between them must not be touched. */
class ReservedPlace {
  readonly name: string
  readonly fd: number
  readonly byteLength: number
  readonly buffer: ArrayBuffer
  readonly #address: bigint
  /** From there on the place may be somebody else's in this process by now. */
  #lostFrom: number | undefined

  /** Throws ERR_SYSCALL. */
  constructor(name: string, fd: number, byteLength: number) {
    this.name = name
    this.fd = fd
    this.byteLength = byteLength
    this.#address = mapped(name, mmap(null, byteLength, inaccessible, keptFree, -1, 0))
    this.buffer = koffi.view(this.#address, byteLength)
  }

  /**
   * Linux gives a place up before it finds that it may not map anything there, and the engine's heap could come to lie
   * in the gap: so what is refused is refused elsewhere first, and a place with a gap is never touched again.
   */
  map(from: number, end: number): void {
    const { name, fd } = this
    const length = end - from
    const tried = mapped(name, mmap(null, length, readWrite, mapShared, fd, from))
    checked('munmap', Number(munmap(tried, length)))
    this.#put(from, () => mmap(this.#address + BigInt(from), length, readWrite, mapShared | mapFixed, fd, from))
  }

  /** The place stays kept free. */
  giveBack(from: number, end: number): void {
    const at = this.#address + BigInt(from)
    this.#put(from, () => mmap(at, end - from, inaccessible, keptFree | mapFixed, -1, 0))
  }

  #put(from: number, map: () => unknown): void {
    const { name } = this
    if (this.#lostFrom !== undefined) throw new HeraldError('ERR_SYSCALL', `mmap ${name}: ENOMEM`, { errno: 'ENOMEM' })
    try {
      mapped(name, map())
    } catch (error) {
      this.#lostFrom = from
      throw error
    }
  }

  unmap(): void {
    const octets = this.#lostFrom ?? this.byteLength
    if (octets > 0) checked('munmap', Number(munmap(this.#address, octets)))
  }
}

/**
 * An array of which so much is mapped as is reached. What is mapped counts as memory of the process, touched or not,
 * and most of an array that has room for thousands of Services may never be.
 */
export class ReachedMemory {
  readonly byteLength: number
  readonly #place: ReservedPlace
  #reached = 0

  /** Throws ERR_SYSCALL. */
  constructor(name: string, fd: number, byteLength: number) {
    this.byteLength = byteLength
    this.#place = new ReservedPlace(name, fd, byteLength)
  }

  /**
   * From the first octet on at least so many of those that there are; what was answered before stays valid. Throws
   * ERR_SYSCALL.
   */
  reach(octets: number): DataView {
    const end = Math.min(this.byteLength, Math.ceil(octets / reachedAtOnce) * reachedAtOnce)
    if (end > this.#reached) {
      this.#place.map(this.#reached, end)
      this.#reached = end
    }
    return new DataView(this.#place.buffer, 0, this.#reached)
  }

  /** All of it, until `read` has returned. Throws ERR_SYSCALL. */
  whole<Result>(read: (memory: DataView) => Result): Result {
    const { name, fd } = this.#place
    const { buffer, unmap } = mapPages(name, fd, 0, this.byteLength, true)
    try {
      return read(new DataView(buffer))
    } finally {
      unmap()
    }
  }

  /** What {@link reach} answered must not be touched afterwards. */
  unmap(): void {
    this.#place.unmap()
  }
}

/** An array of which what was touched last is mapped, in windows: of tens of megabytes few are looked at at a time. */
export class MemoryWindows {
  readonly byteLength: number
  /** All of it: only what is held may be touched. */
  readonly words: Uint32Array
  readonly #place: ReservedPlace
  /** The one that was held last comes last. */
  readonly #held = new Set<number>()
  #last = -1

  /** Throws ERR_SYSCALL. */
  constructor(name: string, fd: number, byteLength: number) {
    this.byteLength = byteLength
    this.#place = new ReservedPlace(name, fd, byteLength)
    this.words = new Uint32Array(this.#place.buffer, 0, byteLength >> 2)
  }

  /** So many words from one on may be touched until others in {@link windowsAtOnce} windows were held. */
  hold(from: number, words: number): void {
    const end = Math.min(this.byteLength, 4 * (from + words))
    for (let window = Math.floor((4 * from) / windowBytes); window * windowBytes < end; window++) this.#hold(window)
  }

  #hold(window: number): void {
    if (window === this.#last) return
    if (!this.#held.delete(window)) {
      for (const oldest of this.#held) {
        if (this.#held.size < windowsAtOnce) break
        this.#held.delete(oldest)
        this.#place.giveBack(oldest * windowBytes, this.#endOf(oldest))
      }
      this.#place.map(window * windowBytes, this.#endOf(window))
    }
    this.#held.add(window)
    this.#last = window
  }

  #endOf(window: number): number {
    return Math.min(this.byteLength, (window + 1) * windowBytes)
  }

  /** {@link words} must not be touched afterwards. */
  unmap(): void {
    this.#place.unmap()
  }
}

function mapped(name: string, address: unknown): bigint {
  if (typeof address === 'bigint' && address !== mapFailed) return address
  checked(`mmap ${name}`, -1)
  return 0n
}
