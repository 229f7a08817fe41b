/**
 * How many entries maps take: by the machine's memory, of which the maps of flows take less than three percent. Pure.
 */
import { flowNames, mapNames, mapShapes, type MapName } from './layout.ts'
import { socketMapShapes, type SocketStoreName } from './socket-layout.ts'

/** An entry of a key of 40 octets and a value of 52 takes about 150; openings and datagrams take half of that again. */
const memoryPerConnection = 8_192
const [leastFlows, mostFlows] = [1 << 16, 1 << 23]
/** What any other map may take at most, as a part of the memory. */
const share = 0.02
/**
 * Of the Maglev tables: a thousand ports with a hundred pods each take 131 MB, and twice that once they have changed.
 */
const tablesShare = 1 / 16
const leastEntries = 1 << 14
/** What a map with a value for each CPU takes of the memory when it is made; it has all of its places from then on. */
const perCpuShare = 1 / 512
/** On a machine with many CPUs traffic meets some of them. */
const leastOpeningsPerSec = 1_000
/** The links of an entry of a hash, and its place in the buckets. */
const hashEntryBytes = 64

/** As large as their shapes say, on any machine. */
const fixed: ReadonlySet<MapName> = new Set(
  mapNames.filter(
    (name) =>
      ['array', 'ring'].includes(mapShapes[name].kind) || ['observation', 'permit', 'tunnels', 'unkept'].includes(name),
  ),
)

export interface MapLimit {
  /** When it is made. */
  readonly entries: number
  /** To which it may grow while it fills. */
  readonly most: number
}

/** Powers of two: the buckets of a hash are that. What is not named has the size of its shape. */
export function mapLimits(memoryBytes: number, cpus: number): Readonly<Partial<Record<MapName, MapLimit>>> {
  const connections = between(leastFlows, memoryBytes / memoryPerConnection, mostFlows)
  const flows = {
    connections,
    openings: connections / 4,
    datagrams: connections / 4,
    forwards: connections / 4,
    affinity: connections / 8,
    // Few Services ask for it, and a port is one flow's.
    snat_openings: connections / 32,
    snat: connections / 16,
  }
  const limitOf = (name: MapName): MapLimit => {
    const { kind, keyBytes, valueBytes, maxEntries } = mapShapes[name]
    const entryBytes =
      kind === 'memory' ? valueBytes : hashEntryBytes + keyBytes + valueBytes * (kind === 'perCpu' ? cpus : 1)
    const most = between(leastEntries, (memoryBytes * (name === 'tables' ? tablesShare : share)) / entryBytes, 2 ** 26)
    const firstly = kind === 'perCpu' ? between(leastEntries, (memoryBytes * perCpuShare) / entryBytes, most) : most
    return { entries: Math.min(maxEntries, firstly), most }
  }
  return Object.fromEntries([
    ...mapNames
      .filter((name) => !fixed.has(name) && !flowNames.some((each) => each === name))
      .map((name) => [name, limitOf(name)] as const),
    ...Object.entries(flows).map(([name, entries]) => [name, { entries, most: entries }] as const),
  ])
}

/** A bucket of a hash is there also where it is empty. */
const mostSocketEntries = 1 << 21

/** Of the maps of the socket programs, which keep the size that they are made with. */
export function socketLimits(memoryBytes: number): Readonly<Partial<Record<SocketStoreName, number>>> {
  const fitting = (name: SocketStoreName, part: number): number => {
    const { keyBytes, valueBytes } = socketMapShapes[name]
    return (memoryBytes * part) / (hashEntryBytes + keyBytes + valueBytes)
  }
  const hash = (name: SocketStoreName): number => between(leastEntries, fitting(name, share), mostSocketEntries)
  return {
    socket_frontends: Math.min(hash('socket_frontends'), socketMapShapes.socket_frontends.maxEntries),
    socket_backends: hash('socket_backends'),
    socket_members: hash('socket_members'),
    socket_nodes: Math.min(hash('socket_nodes'), socketMapShapes.socket_nodes.maxEntries),
    // Takes all of its memory at once.
    socket_affinity: between(leastEntries, fitting('socket_affinity', share / 10), 1 << 18),
  }
}

/**
 * So many new flows of one kind a CPU makes state for in a second: each takes two entries of `openings`, and an answer
 * may take a second to come while floods of every kind come to all CPUs.
 */
export function openingsPerSec(openings: number, cpus: number): number {
  return Math.max(leastOpeningsPerSec, Math.floor(openings / 8 / cpus))
}

function between(least: number, fitting: number, most: number): number {
  return Math.min(most, Math.max(least, 2 ** Math.floor(Math.log2(Math.max(1, fitting)))))
}

/** As the programs read it: nanoseconds between two of them, 0 for no limit; u64, little-endian. */
export function openingInterval(perSec: number): Uint8Array {
  const octets = new Uint8Array(8)
  new DataView(octets.buffer).setBigUint64(0, perSec === 0 ? 0n : BigInt(Math.ceil(1e9 / perSec)), true)
  return octets
}
