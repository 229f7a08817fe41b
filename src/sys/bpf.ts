/** BPF maps, programs and objects as values of this process. A file descriptor belongs to who opened it. */
import { closeSync, readFileSync } from 'node:fs'
import koffi from 'koffi'
import { HeraldError } from '../errors.ts'
import { errnoName, errnoNumber } from './libc.ts'
import {
  checkedBpf,
  checkedLoad,
  libbpfAside,
  libbpfInt,
  libbpfPointer,
  takeLibbpfLog,
  type Pointer,
} from './libbpf.ts'
import { mapPages, type MappedMemory, MemoryWindows, ReachedMemory } from './map-memory.ts'

const [ENOENT, EEXIST] = [errnoNumber('ENOENT'), errnoNumber('EEXIST')]
const fullErrnos: ReadonlySet<string> = new Set(['E2BIG', 'ENOSPC', 'ENOMEM'])
/** BPF_ANY, BPF_NOEXIST, BPF_EXIST. */
const updateFlags = { any: 0, new: 1, existing: 2 } as const
/** BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH. */
const perCpuTypes: ReadonlySet<number> = new Set([5, 6, 10])
/** BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LPM_TRIE */
const [perCpuArrayType, trieType] = [6, 11]
/** Keys that are asked for in a row. */
const walkBatch = 256
/** What a kernel without batches answers: before 5.6 it knows no such command, later ENOTSUPP (linux/errno.h). */
const noBatchResults: ReadonlySet<number> = new Set([-errnoNumber('EINVAL'), -524])

export interface MapInfo {
  readonly type: number
  readonly id: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
}

function objectInfo(fd: number, size: number): DataView {
  const info = new Uint8Array(size)
  checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', fd, info, Uint32Array.of(size)))
  return new DataView(info.buffer)
}

export function mapInfo(fd: number): MapInfo {
  const info = objectInfo(fd, 88)
  const [type = 0, id = 0, keySize = 0, valueSize = 0, maxEntries = 0] = [0, 4, 8, 12, 16].map((offset) =>
    info.getUint32(offset, true),
  )
  return { type, id, keySize, valueSize, maxEntries }
}

/** What the kernel counts for a map (`memlock` of its fdinfo); undefined where it does not say. */
export function mapMemoryBytes(fd: number): number | undefined {
  const found = /^memlock:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))
  return found === null ? undefined : Number(found[1])
}

export interface ProgramInfo {
  readonly id: number
  readonly name: string
  /** Instructions that the verifier walked; 0 before kernel 5.16. */
  readonly verifiedInstructions: number
}

export function programInfo(fd: number): ProgramInfo {
  const info = objectInfo(fd, 232)
  return { id: info.getUint32(4, true), name: nameAt(info, 64), verifiedInstructions: info.getUint32(216, true) }
}

function nameAt(info: DataView, offset: number): string {
  return new TextDecoder().decode(new Uint8Array(info.buffer, offset, 16)).replace(/\0.*$/, '')
}

/** Descriptors of all maps of a program, by the names that the kernel knows. */
export function programMaps(fd: number): readonly { readonly name: string; readonly fd: number }[] {
  const ids = new Uint32Array(64)
  const info = new DataView(new ArrayBuffer(232))
  info.setUint32(52, ids.length, true)
  info.setBigUint64(56, koffi.address(ids), true)
  const arguments_ = [fd, new Uint8Array(info.buffer), Uint32Array.of(info.byteLength)]
  checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', ...arguments_))
  return [...ids.subarray(0, info.getUint32(52, true))].flatMap((id) => {
    const map = libbpfInt('bpf_map_get_fd_by_id', id)
    return map < 0 ? [] : [{ name: nameAt(objectInfo(map, 88), 24), fd: map }]
  })
}

/** The name of a loaded program by its id; a question mark when it is gone. */
export function programName(id: number): string {
  const fd = libbpfInt('bpf_prog_get_fd_by_id', id)
  if (fd < 0) return '?'
  try {
    return programInfo(fd).name
  } finally {
    closeFd(fd)
  }
}

/** A descriptor of a loaded program by its id; undefined when it is gone. */
export function openProgram(id: number): number | undefined {
  const fd = libbpfInt('bpf_prog_get_fd_by_id', id)
  return fd < 0 ? undefined : fd
}

/** The descriptor of what is pinned at a path; undefined: nothing is. */
export function openPinned(path: string): number | undefined {
  const fd = libbpfInt('bpf_obj_get', path)
  return fd === -ENOENT ? undefined : checkedBpf(`bpf_obj_get ${path}`, fd)
}

export function pin(fd: number, path: string): void {
  checkedBpf(`bpf_obj_pin ${path}`, libbpfInt('bpf_obj_pin', fd, path))
}

export function possibleCpus(): number {
  return checkedBpf('libbpf_num_possible_cpus', libbpfInt('libbpf_num_possible_cpus'))
}

/** One map. Keys and values are octets; for per-CPU maps a value holds every possible CPU, 8-octet aligned each. */
export class BpfMap {
  readonly name: string
  readonly fd: number
  readonly info: MapInfo
  /** Of all CPUs. */
  readonly valueBytes: number
  #hasBatches = true
  /** Octets in the engine's heap would move out of it with each call: they are copied here. */
  readonly #key: Uint8Array
  readonly #value: Uint8Array

  constructor(name: string, fd: number) {
    this.name = name
    this.fd = fd
    this.info = mapInfo(fd)
    const { type, keySize, valueSize } = this.info
    this.valueBytes = perCpuTypes.has(type) ? ((valueSize + 7) & ~7) * possibleCpus() : valueSize
    this.#key = new Uint8Array(new ArrayBuffer(keySize))
    this.#value = new Uint8Array(new ArrayBuffer(this.valueBytes))
  }

  #keyAt(key: Uint8Array): Uint8Array {
    if (key.length !== this.#key.length) return key
    this.#key.set(key)
    return this.#key
  }

  #valueAt(value: Uint8Array): Uint8Array {
    if (value.length !== this.#value.length) return value
    this.#value.set(value)
    return this.#value
  }

  /** The value into `value`, which must have the size of the map's; false when there is none. */
  lookup(key: Uint8Array, value: Uint8Array): boolean {
    const result = libbpfInt('bpf_map_lookup_elem', this.fd, this.#keyAt(key), value)
    return result === -ENOENT ? false : checkedBpf(`look up in ${this.name}`, result) >= 0
  }

  /**
   * Throws ERR_MAP_FULL when the map takes no more, ERR_SYSCALL (EEXIST, ENOENT) when `mode` forbids it; then it is
   * unchanged.
   */
  update(key: Uint8Array, value: Uint8Array, mode: keyof typeof updateFlags = 'any'): void {
    const flags = updateFlags[mode]
    this.#written(libbpfInt('bpf_map_update_elem', this.fd, this.#keyAt(key), this.#valueAt(value), flags))
  }

  /** False, and nothing changed, when there is such a key already. Throws as {@link update}. */
  add(key: Uint8Array, value: Uint8Array): boolean {
    const result = libbpfInt('bpf_map_update_elem', this.fd, key, value, updateFlags.new)
    if (result !== -EEXIST) this.#written(result)
    return result !== -EEXIST
  }

  /**
   * `count` keys and values in a row, in one call where the kernel takes them so (hashes and arrays from 5.6 on, tries
   * from 5.13 on), else one by one. What a batch stops at is written by itself, so that the reason is that of
   * {@link update}; throws as that does, with how many are `written`: all before the one that failed, none behind it.
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    const { keySize } = this.info
    for (let at = 0; at < count; at++) {
      at += this.#takenAsBatch(keys.subarray(at * keySize), values.subarray(at * this.valueBytes), count - at)
      if (at >= count) return
      const key = keys.subarray(at * keySize, (at + 1) * keySize)
      const value = values.subarray(at * this.valueBytes, (at + 1) * this.valueBytes)
      const result = libbpfInt('bpf_map_update_elem', this.fd, key, value, updateFlags.any)
      if (result < 0) this.#written(result, at)
    }
  }

  /** How many the kernel wrote in a row: where it stopped none is known but those before it. */
  #takenAsBatch(keys: Uint8Array, values: Uint8Array, count: number): number {
    if (!this.#hasBatches || count < 2) return 0
    const taken = Uint32Array.of(count)
    const result = libbpfInt('bpf_map_update_batch', this.fd, keys, values, taken, null)
    if (result >= 0) return count
    if (noBatchResults.has(result) && taken[0] === count) this.#hasBatches = false
    // Before 6.8 the number that was given stays where nothing was begun.
    return taken[0] === undefined || taken[0] >= count ? 0 : taken[0]
  }

  #written(result: number, written?: number): void {
    if (result >= 0) return
    const errno = errnoName(-result)
    const options = written === undefined ? { errno } : { errno, written }
    if (fullErrnos.has(errno)) {
      const message = `map ${this.name} takes no more than ${this.info.maxEntries} entries (${errno})`
      throw new HeraldError('ERR_MAP_FULL', message, options)
    }
    checkedBpf(`write to ${this.name}`, result, options)
  }

  /** False when there was no such key. */
  delete(key: Uint8Array): boolean {
    const result = libbpfInt('bpf_map_delete_elem', this.fd, this.#keyAt(key))
    return result === -ENOENT ? false : checkedBpf(`delete from ${this.name}`, result) >= 0
  }

  /**
   * Every entry of a hash map, `batchSize` per system call. Entries written meanwhile may or may not be among them; of
   * a trie of which some go meanwhile others may be twice.
   */
  *entries(batchSize = 4096): Generator<readonly [Uint8Array, Uint8Array]> {
    const { keySize } = this.info
    const { valueBytes } = this
    for (const { keys, values, count } of this.batches(batchSize))
      for (let i = 0; i < count; i++)
        yield [keys.slice(i * keySize, (i + 1) * keySize), values.slice(i * valueBytes, (i + 1) * valueBytes)]
  }

  /**
   * How many entries a hash map holds: exact up to one batch, beyond it estimated from how many of the buckets the
   * batch covered. A walk over a full connection map would hold the caller for a quarter of a second.
   */
  estimateEntries(batchSize = 16384): number {
    const { keySize, maxEntries } = this.info
    if (this.info.type === trieType) return [...this.#walk(batchSize)].reduce((sum, { count }) => sum + count, 0)
    const position = new Uint8Array(Math.max(8, keySize))
    const count = new Uint32Array([batchSize])
    const result = libbpfInt(
      'bpf_map_lookup_batch',
      this.fd,
      null,
      position,
      new Uint8Array(keySize * batchSize),
      new Uint8Array(this.valueBytes * batchSize),
      count,
      null,
    )
    const found = count[0] ?? 0
    if (result === -ENOENT) return found
    checkedBpf(`list ${this.name}`, result)
    // kernel/bpf/hashtab.c: the position is the number of the next bucket, and buckets are the next power of two.
    const buckets = 2 ** Math.ceil(Math.log2(maxEntries))
    const covered = new DataView(position.buffer).getUint32(0, true)
    return covered === 0 ? found : Math.min(maxEntries, Math.round((found * buckets) / covered))
  }

  /** By a walk over all of them. */
  countEntries(): number {
    let entries = 0
    for (const { count } of this.batches()) entries += count
    return entries
  }

  /** As {@link entries}, many in a row; the memory is written over by the next batch. Of an array all, by index. */
  *batches(batchSize = 4096): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
    if (!this.#isReadInBatches) return yield* this.#walk(Math.min(batchSize, walkBatch))
    const keys = new Uint8Array(this.info.keySize * batchSize)
    const values = new Uint8Array(this.valueBytes * batchSize)
    const position = new Uint8Array(Math.max(8, this.info.keySize))
    const count = new Uint32Array(1)
    for (let from: Uint8Array | null = null; ; from = position) {
      count[0] = batchSize
      const result = libbpfInt('bpf_map_lookup_batch', this.fd, from, position, keys, values, count, null)
      if (result !== -ENOENT) checkedBpf(`list ${this.name}`, result)
      yield { keys, values, count: count[0] }
      if (result === -ENOENT) return
    }
  }

  /** Kernels before 5.13 have no batches of a trie, nor of an array with a value for each CPU. */
  get #isReadInBatches(): boolean {
    if (this.info.type === trieType) return false
    if (this.info.type !== perCpuArrayType) return true
    const [key, value] = [new Uint8Array(4), new Uint8Array(this.valueBytes)]
    const result = libbpfInt(
      'bpf_map_lookup_batch',
      this.fd,
      null,
      new Uint8Array(8),
      key,
      value,
      Uint32Array.of(1),
      null,
    )
    return !noBatchResults.has(result)
  }

  /**
   * Key by key. The key after one that is not there is the first: where one goes meanwhile the walk begins anew, and
   * what was looked up of it is of a wider prefix.
   */
  *#walk(batchSize: number): Generator<{ keys: Uint8Array; values: Uint8Array; count: number }> {
    const { keySize } = this.info
    const keys = new Uint8Array(keySize * batchSize)
    const values = new Uint8Array(this.valueBytes * batchSize)
    let count = 0
    for (let key = this.#keyAfter(null); key !== undefined; ) {
      const isFound = this.lookup(key, values.subarray(count * this.valueBytes, (count + 1) * this.valueBytes))
      const next = this.#keyAfter(key)
      const first = next === undefined ? undefined : this.#keyAfter(null)
      if (isFound && (next === undefined || first === undefined || Buffer.compare(next, first) !== 0))
        keys.set(key, count++ * keySize)
      if (count === batchSize) {
        yield { keys, values, count }
        count = 0
      }
      key = next
    }
    yield { keys, values, count }
  }

  /** undefined: it is the last. */
  #keyAfter(key: Uint8Array | null): Uint8Array | undefined {
    const next = new Uint8Array(this.info.keySize)
    const result = libbpfInt('bpf_map_get_next_key', this.fd, key, next)
    if (result === -ENOENT) return undefined
    checkedBpf(`list ${this.name}`, result)
    return next
  }

  /** The memory of a BPF_F_MMAPABLE array, shared with the kernel: writes are seen by packets at once. */
  mapMemory(): MappedMemory {
    return mapPages(this.name, this.fd, 0, this.#memoryBytes, true)
  }

  /** As {@link mapMemory}, as far as it is reached. */
  reserveMemory(): ReachedMemory {
    return new ReachedMemory(this.name, this.fd, this.#memoryBytes)
  }

  /** As {@link mapMemory}, of which little is mapped at a time. */
  memoryWindows(): MemoryWindows {
    return new MemoryWindows(this.name, this.fd, this.#memoryBytes)
  }

  get #memoryBytes(): number {
    return this.info.valueSize * this.info.maxEntries
  }
}

/** A compiled object; its maps and programs live until it is closed, or as long as they are pinned or attached. */
export class BpfObject {
  readonly #path: string
  readonly #object: Pointer

  constructor(path: string) {
    this.#path = path
    takeLibbpfLog()
    this.#object = libbpfPointer('bpf_object__open_file', path, null)
    checkedLoad(`open ${path}`, this.#object !== null)
  }

  #map(name: string): Pointer {
    const map = libbpfPointer('bpf_object__find_map_by_name', this.#object, name)
    checkedLoad(`map ${name} in ${this.#path}`, map !== null)
    return map
  }

  /** Before {@link load}: uses the map pinned there when there is one of the same shape, else pins the new one. */
  setPinPath(map: string, path: string): void {
    checkedLoad(`pin path of ${map}`, libbpfInt('bpf_map__set_pin_path', this.#map(map), path) === 0)
  }

  /** Before {@link load}: the value of the one constant of a section `.rodata.<name>`. */
  setConstant(section: string, value: Uint8Array): void {
    const result = libbpfInt('bpf_map__set_initial_value', this.#map(section), value, value.length)
    checkedLoad(`constant in ${section}`, result === 0)
  }

  setMaxEntries(map: string, entries: number): void {
    checkedLoad(`size of ${map}`, libbpfInt('bpf_map__set_max_entries', this.#map(map), entries) === 0)
  }

  /** Before {@link load}, which leaves these programs alone. */
  leaveOut(programs: readonly string[]): void {
    for (const name of programs) libbpfInt('bpf_program__set_autoload', this.#program(name), false)
  }

  /** Throws ERR_BPF_LOAD with the words of libbpf and of the verifier. */
  load(): void {
    const result = libbpfInt('bpf_object__load', this.#object)
    if (result < 0)
      throw new HeraldError('ERR_BPF_LOAD', `load ${this.#path}: ${errnoName(-result)}\n${takeLibbpfLog()}`)
    takeLibbpfLog()
  }

  /** As {@link load}, in another thread: why it is refused is not known then. An object is loaded once, by either. */
  async loadAside(): Promise<boolean> {
    return (await libbpfAside('bpf_object__load', this.#object)) >= 0
  }

  openMap(name: string): BpfMap {
    return new BpfMap(name, libbpfInt('bpf_map__fd', this.#map(name)))
  }

  programFd(name: string): number {
    return libbpfInt('bpf_program__fd', this.#program(name))
  }

  #program(name: string): Pointer {
    const program = libbpfPointer('bpf_object__find_program_by_name', this.#object, name)
    checkedLoad(`program ${name} in ${this.#path}`, program !== null)
    return program
  }

  close(): void {
    libbpfPointer('bpf_object__close', this.#object)
  }
}

export interface TestRun {
  readonly verdict: number
  readonly packet: Uint8Array
  /** Average over the repetitions. */
  readonly durationNs: number
}

const testRunOptsBytes = 80
/** The beginning of struct __sk_buff, up to its ifindex. */
const contextBytes = 44

/** All that a call reads and writes: the collector takes or moves what only an address names. */
interface TestRunMemory {
  readonly frameBytes: number
  readonly given: Uint8Array
  readonly givenAt: bigint
  readonly out: Uint8Array
  readonly outAt: bigint
}

function testRunMemory(frameBytes: number): TestRunMemory {
  const given = new Uint8Array(new ArrayBuffer(testRunOptsBytes + contextBytes + frameBytes))
  const out = new Uint8Array(new ArrayBuffer(frameBytes + roomToGrow))
  return { frameBytes, given, givenAt: koffi.address(given), out, outAt: koffi.address(out) }
}

/** What a program may put in front of a frame. */
const roomToGrow = 256
/** Of the largest frame so far: each of thousands of Services is proved by one. */
let testRun: TestRunMemory | undefined

/**
 * BPF_PROG_TEST_RUN: runs a TC program on a frame, with `skb->mark`, as if it had come in by an interface, which is the
 * loopback where none is given. With `repeat` it is fed its own output.
 */
export function runProgram(fd: number, frame: Uint8Array, repeat = 1, mark = 0, ifindex = 0): TestRun {
  return runOnFrame(fd, frame, repeat, (context) => {
    context.setUint32(8, mark, true)
    context.setUint32(40, ifindex, true)
  })
}

/** The same of a program of XDP. */
export function runXdpProgram(fd: number, frame: Uint8Array, ifindex: number, repeat = 1): TestRun {
  return runOnFrame(fd, frame, repeat, (context) => {
    // struct xdp_md: where the frame ends, as if it began at 0.
    context.setUint32(4, frame.length, true)
    context.setUint32(12, ifindex, true)
  })
}

function runOnFrame(fd: number, frame: Uint8Array, repeat: number, prepare: (context: DataView) => void): TestRun {
  if (testRun === undefined || testRun.frameBytes < frame.length) testRun = testRunMemory(Math.max(256, frame.length))
  const { given, givenAt, out, outAt } = testRun
  given.fill(0, 0, testRunOptsBytes + contextBytes)
  given.set(frame, testRunOptsBytes + contextBytes)
  const opts = new DataView(given.buffer)
  opts.setBigUint64(0, BigInt(testRunOptsBytes), true)
  opts.setBigUint64(8, givenAt + BigInt(testRunOptsBytes + contextBytes), true)
  opts.setBigUint64(16, outAt, true)
  opts.setUint32(24, frame.length, true)
  opts.setUint32(28, frame.length + roomToGrow, true)
  opts.setUint32(60, repeat, true)
  opts.setBigUint64(32, givenAt + BigInt(testRunOptsBytes), true)
  opts.setUint32(48, contextBytes, true)
  prepare(new DataView(given.buffer, testRunOptsBytes))
  checkedBpf('bpf_prog_test_run_opts', libbpfInt('bpf_prog_test_run_opts', fd, given))
  return {
    verdict: opts.getInt32(56, true),
    packet: out.slice(0, opts.getUint32(28, true)),
    durationNs: opts.getUint32(64, true),
  }
}

export function closeFd(fd: number): void {
  closeSync(fd)
}
