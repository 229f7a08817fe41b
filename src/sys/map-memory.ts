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
/** A multiple of any page. */
const reachedAtOnce = 1 << 20

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

/**
 * An array of which so much is mapped as is reached. What is mapped counts as memory of the process, touched or not,
 * and most of an array that has room for thousands of Services may never be.
 */
export class ReachedMemory {
  readonly byteLength: number
  readonly #name: string
  readonly #fd: number
  readonly #address: bigint
  /** A place is kept free for all of it: what lies behind the reached part must not be touched. */
  readonly #buffer: ArrayBuffer
  #reached = 0
  /** The place behind the reached part may be somebody else's in this process by now. */
  #isLost = false

  /** Throws ERR_SYSCALL. */
  constructor(name: string, fd: number, byteLength: number) {
    this.#name = name
    this.#fd = fd
    this.byteLength = byteLength
    const flags = mapPrivate | mapAnonymous | mapNoReserve
    this.#address = mapped(name, mmap(null, byteLength, inaccessible, flags, -1, 0))
    this.#buffer = koffi.view(this.#address, byteLength)
  }

  /**
   * From the first octet on at least so many of those that there are; what was answered before stays valid. Throws
   * ERR_SYSCALL.
   */
  reach(octets: number): DataView {
    const end = Math.min(this.byteLength, Math.ceil(octets / reachedAtOnce) * reachedAtOnce)
    if (end > this.#reached) {
      this.#map(end)
      this.#reached = end
    }
    return new DataView(this.#buffer, 0, this.#reached)
  }

  /**
   * Linux gives a place up before it finds that it may not map anything there, and the engine's heap could come to lie
   * in the gap: so what is refused is refused elsewhere first, and a place with a gap is never touched again.
   */
  #map(end: number): void {
    const [name, fd, from] = [this.#name, this.#fd, this.#reached]
    const length = end - from
    const tried = mapped(name, mmap(null, length, readWrite, mapShared, fd, from))
    checked('munmap', Number(munmap(tried, length)))
    if (this.#isLost) throw new HeraldError('ERR_SYSCALL', `mmap ${name}: ENOMEM`, { errno: 'ENOMEM' })
    try {
      mapped(name, mmap(this.#address + BigInt(from), length, readWrite, mapShared | mapFixed, fd, from))
    } catch (error) {
      this.#isLost = true
      throw error
    }
  }

  /** All of it, until `read` has returned. Throws ERR_SYSCALL. */
  whole<Result>(read: (memory: DataView) => Result): Result {
    const { buffer, unmap } = mapPages(this.#name, this.#fd, 0, this.byteLength, true)
    try {
      return read(new DataView(buffer))
    } finally {
      unmap()
    }
  }

  /** What {@link reach} answered must not be touched afterwards. */
  unmap(): void {
    const octets = this.#isLost ? this.#reached : this.byteLength
    if (octets > 0) checked('munmap', Number(munmap(this.#address, octets)))
  }
}

function mapped(name: string, address: unknown): bigint {
  if (typeof address === 'bigint' && address !== mapFailed) return address
  checked(`mmap ${name}`, -1)
  return 0n
}
