/** What is pinned, as another process than the agent sees it: every map of every schema, and the raw entries of one. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { HeraldError } from '../errors.ts'
import { BpfMap, closeFd, mapMemoryBytes, openPinned } from '../sys/bpf.ts'
import { Pins } from './pins.ts'
import { socketSchema } from './socket-layout.ts'
import { socketMapFolders } from './sockets.ts'

/** BPF_MAP_TYPE_* of linux/bpf.h by bpftool's names. */
const typeNames: ReadonlyMap<number, string> = new Map([
  [1, 'hash'],
  [2, 'array'],
  [3, 'prog_array'],
  [5, 'percpu_hash'],
  [6, 'percpu_array'],
  [9, 'lru_hash'],
  [10, 'lru_percpu_hash'],
  [11, 'lpm_trie'],
  [24, 'sk_storage'],
  [27, 'ringbuf'],
])
const hashes: ReadonlySet<string> = new Set(['hash', 'percpu_hash', 'lru_hash', 'lru_percpu_hash', 'lpm_trie'])
const arrays: ReadonlySet<string> = new Set(['array', 'percpu_array'])

export interface PinnedMap {
  readonly name: string
  readonly schema: number
  readonly type: string
  readonly keyBytes: number
  readonly valueBytes: number
  /** Absent where it has no entries that come and go. */
  readonly entries?: number
  /** Of a ring buffer its octets. */
  readonly maxEntries: number
  /** What the kernel counts for it; absent where it does not say. */
  readonly memoryBytes?: number
}

/** Octets in hexadecimal; of a per-CPU map the values of all possible CPUs in a row, each padded to 8 octets. */
export interface RawEntry {
  readonly key: string
  readonly value: string
}

/** Those of our schema first. Throws ERR_BPFFS, and ERR_SYSCALL without the privilege. */
export function listPinnedMaps(bpffs: string): readonly PinnedMap[] {
  return placesOf(bpffs).flatMap(({ folder, schema }) =>
    namesIn(folder).flatMap((name) => withMap(folder, name, (map) => described(map, schema)) ?? []),
  )
}

interface Place {
  readonly folder: string
  readonly schema: number
}

/** Those of our schemas first: of the uplinks, and of sockets. */
function placesOf(bpffs: string): readonly Place[] {
  const own = new Pins(bpffs)
  if (!existsSync(join(bpffs, 'herald'))) return []
  const sockets = socketMapFolders(bpffs)
  const isOwn = ({ schema }: Place): boolean => schema === socketSchema
  return [
    { folder: own.mapsFolder, schema: own.version },
    ...sockets.filter(isOwn),
    ...own.others().map(({ mapsFolder, version }) => ({ folder: mapsFolder, schema: version })),
    ...sockets.filter((place) => !isOwn(place)),
  ]
}

/** Of a map of our schema, in parts. Throws ERR_USAGE where there is none, or none with entries, and as above. */
export function* rawEntries(bpffs: string, name: string): Generator<readonly RawEntry[]> {
  const own = [
    new Pins(bpffs).mapsFolder,
    ...socketMapFolders(bpffs).flatMap((each) => (each.schema === socketSchema ? each.folder : [])),
  ]
  const names = own.flatMap(namesIn)
  const folder = own.find((each) => namesIn(each).includes(name))
  const fd = folder === undefined ? undefined : openPinned(join(folder, name))
  if (fd === undefined) {
    const there = names.length === 0 ? 'none is pinned' : `there are ${names.join(', ')}`
    throw new HeraldError('ERR_USAGE', `no map ${name}: ${there}`)
  }
  try {
    const map = new BpfMap(name, fd)
    const type = typeOf(map)
    if (hashes.has(type)) yield* ofHash(map)
    else if (arrays.has(type)) yield* ofArray(map)
    else throw new HeraldError('ERR_USAGE', `map ${name} has no entries to show: it is a ${type}`)
  } finally {
    closeFd(fd)
  }
}

const perPart = 1024

function* ofHash(map: BpfMap): Generator<readonly RawEntry[]> {
  for (const { keys, values, count } of map.batches(perPart))
    yield Array.from({ length: count }, (_, i) => ({
      key: hex(keys, i, map.info.keySize),
      value: hex(values, i, map.valueBytes),
    }))
}

/** All zeros are what an array has where nothing was written. */
function* ofArray(map: BpfMap): Generator<readonly RawEntry[]> {
  const [key, value] = [new Uint8Array(4), new Uint8Array(map.valueBytes)]
  let part: RawEntry[] = []
  for (let index = 0; index < map.info.maxEntries; index++) {
    new DataView(key.buffer).setUint32(0, index, true)
    if (!map.lookup(key, value) || value.every((octet) => octet === 0)) continue
    part.push({ key: hex(key, 0, 4), value: hex(value, 0, value.length) })
    if (part.length < perPart) continue
    yield part
    part = []
  }
  if (part.length > 0) yield part
}

function hex(octets: Uint8Array, index: number, length: number): string {
  return Buffer.from(octets.buffer, octets.byteOffset + index * length, length).toString('hex')
}

function described(map: BpfMap, schema: number): PinnedMap {
  const { keySize, valueSize, maxEntries } = map.info
  const type = typeOf(map)
  const memoryBytes = mapMemoryBytes(map.fd)
  return {
    name: map.name,
    schema,
    type,
    keyBytes: keySize,
    valueBytes: valueSize,
    ...(hashes.has(type) ? { entries: map.countEntries() } : {}),
    maxEntries,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
  }
}

function typeOf({ info: { type } }: BpfMap): string {
  return typeNames.get(type) ?? `type ${type}`
}

function namesIn(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : []
}

/** Undefined where it was taken away in this moment. */
function withMap<T>(folder: string, name: string, use: (map: BpfMap) => T): T | undefined {
  const fd = openPinned(join(folder, name))
  if (fd === undefined) return undefined
  try {
    return use(new BpfMap(name, fd))
  } finally {
    closeFd(fd)
  }
}
