/** The datapath in memory: the same tables over maps that are as bounded and as particular as the kernel's. Pure. */
import { HeraldError } from '../errors.ts'
import { type Datapath, type DatapathProblem, upserted } from './datapath.ts'
import { schema, type MapName } from './layout.ts'
import { MemoryMaps } from './memory-maps.ts'
import { servedOver } from './served.ts'
import type { TableTimes } from './tables/backends.ts'

export interface FakeDatapathOptions {
  /** Entries of maps when they are made. */
  readonly maxEntries?: Readonly<Partial<Record<MapName, number>>>
  /** Maps of an earlier fake, as {@link FakeDatapath.maps}: then this one adopts them. */
  readonly maps?: MemoryMaps
  /** By default time stands still, and what is removed is gone at once. */
  readonly times?: TableTimes
  /** Interfaces on which an earlier process left the programs. */
  readonly interfaces?: readonly string[]
}

export interface FakeDatapath extends Datapath {
  readonly maps: MemoryMaps
  /** Interfaces that the kernel refuses: programs cannot be attached there, those on others are. */
  readonly refused: Set<string>
  /** What it says of its maps. */
  readonly problems: DatapathProblem[]
}

/** Small: a node of a test. */
const fewEntries = { addresses: 4096, frontends: 1024, backends: 4096, tables: 1 << 18, counters: 1024 } as const

export function createFakeDatapath(options: FakeDatapathOptions = {}): FakeDatapath {
  const maps = options.maps ?? new MemoryMaps({ ...fewEntries, ...options.maxEntries })
  const served = servedOver(maps, options.times ?? { nowNs: () => 1n, drainNs: 0n, settleNs: 0n, previousNs: 1n })
  let interfaces = [...(options.interfaces ?? [])]
  const refused = new Set<string>()
  const problems: DatapathProblem[] = []
  return {
    maps,
    refused,
    problems,
    ...served,
    upsertAll: (frontends) => {
      const together = served.upsertTogether(frontends)
      return frontends.map((frontend, n) => upserted(() => together[n] ?? served.upsert(frontend)))
    },
    get status() {
      return { kind: 'fake' as const, interfaces, adopted: options.maps !== undefined, schema, problems }
    },
    attach: (names) => {
      interfaces = names.filter((name) => !refused.has(name))
      const name = names.find((each) => refused.has(each))
      if (name === undefined) return
      throw new HeraldError('ERR_SYSCALL', `attach to interface ${name}: EBUSY`, { errno: 'EBUSY' })
    },
    follow: () => {},
    close: () => {},
  }
}
