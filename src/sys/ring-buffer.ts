/**
 * A BPF ring buffer (kernel 5.8) as its one reader sees it: two pages of positions and the octets, mapped twice in a
 * row so that nothing wraps (Documentation/bpf/ringbuf.rst).
 */
import { HeraldError } from '../errors.ts'
import { mapInfo } from './bpf.ts'
import { mapPages, type MappedMemory } from './map-memory.ts'
import { libc } from './libc.ts'

const getpagesize = libc.func('int getpagesize()')
const ringType = 27
const headerBytes = 8
/** Of the length in a header: the writer is not done with it, or has thrown it away. */
const busy = 0x8000_0000
const discarded = 0x4000_0000

export class RingBuffer {
  readonly #consumerPage: MappedMemory
  readonly #producerPages: MappedMemory
  readonly #consumer: BigInt64Array
  readonly #producer: BigInt64Array
  readonly #headers: Int32Array
  readonly #data: DataView
  readonly #size: number
  /** Octets that were ever read. */
  #at: number

  /** The descriptor may be closed afterwards. Throws ERR_SYSCALL. */
  constructor(fd: number) {
    const { type, maxEntries: size } = mapInfo(fd)
    if (type !== ringType) throw new HeraldError('ERR_SYSCALL', `map of type ${type} is no ring`, { errno: 'EINVAL' })
    const page = Number(getpagesize())
    this.#size = size
    this.#consumerPage = mapPages('ring', fd, 0, page, true)
    this.#producerPages = mapPages('ring', fd, page, page + 2 * size, false)
    this.#consumer = new BigInt64Array(this.#consumerPage.buffer, 0, 1)
    this.#producer = new BigInt64Array(this.#producerPages.buffer, 0, 1)
    this.#headers = new Int32Array(this.#producerPages.buffer, page)
    this.#data = new DataView(this.#producerPages.buffer, page)
    this.#at = Number(Atomics.load(this.#consumer, 0))
  }

  /** Hands over at most `limit` records, whose octets are theirs until `take` returns; answers how many. */
  read(limit: number, take: (data: DataView, at: number, length: number) => void): number {
    const end = Number(Atomics.load(this.#producer, 0))
    let taken = 0
    while (this.#at < end && taken < limit) {
      const place = this.#at % this.#size
      const header = Atomics.load(this.#headers, place / 4) >>> 0
      if (header & busy) break
      const length = (header & ~(busy | discarded)) >>> 0
      if (!(header & discarded)) {
        take(this.#data, place + headerBytes, length)
        taken++
      }
      this.#at += (headerBytes + length + 7) & ~7
    }
    Atomics.store(this.#consumer, 0, BigInt(this.#at))
    return taken
  }

  /** What was told before now is of no interest. */
  skip(): void {
    while (this.read(65_536, () => {}) > 0);
  }

  /** Nothing may be read any more. */
  close(): void {
    this.#consumerPage.unmap()
    this.#producerPages.unmap()
  }
}
