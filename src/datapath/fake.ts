/**
 * The datapath in memory: the same table over maps that are as bounded and as particular as the kernel's. No packet
 * flows.
 */
import { HeraldError } from '../errors.ts'
import type { Datapath, FrontendCounters } from './datapath.ts'
import { FrontendTable, type DatapathMaps, type HashStore } from './frontend-table.ts'
import { reasonNames, schema, sizes } from './layout.ts'

export interface FakeDatapathOptions {
  readonly maxVips?: number
  readonly maxFrontends?: number
  readonly maxBackends?: number
  readonly maxTableSlots?: number
  /** Maps of an earlier fake, as {@link FakeDatapath.maps}: then this one adopts them. */
  readonly maps?: DatapathMaps
}

export interface FakeDatapath extends Datapath {
  readonly maps: DatapathMaps
}

const noTraffic: FrontendCounters = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, newConnections: 0 }

export function createFakeDatapath(options: FakeDatapathOptions = {}): FakeDatapath {
  const maps = options.maps ?? createMaps(options)
  // Time stands still: nothing drains to its end, which the rules allow.
  const table = new FrontendTable(maps, { nowNs: () => 1n, drainNs: 1n })
  let interfaces: readonly string[] = []
  return {
    maps,
    get status() {
      return { kind: 'fake' as const, interfaces, adopted: options.maps !== undefined, schema }
    },
    readAll: () => table.readAll(),
    read: (id) => table.read(id),
    upsert: (frontend) => table.upsert(frontend),
    remove: (id) => table.remove(id),
    counters: (id) => table.counters(id),
    reasons: () => Object.fromEntries(reasonNames.map((name) => [name, 0])),
    usage: () => [...table.usage(), { name: 'connections', entries: 0, maxEntries: 0 }],
    attach: (names) => {
      interfaces = [...names]
    },
    close: () => {},
  }
}

function createMaps(options: FakeDatapathOptions): DatapathMaps {
  const { maxVips = 16384, maxFrontends = 32768, maxBackends = 4096, maxTableSlots = 1 << 18 } = options
  return {
    vips: createHashStore('vips', maxVips),
    frontends: createHashStore('frontends', maxFrontends),
    backends: new DataView(new ArrayBuffer(maxBackends * sizes.backend)),
    tables: new Uint32Array((maxTableSlots * sizes.backendRef) / 4),
    counters: { maxEntries: maxFrontends, read: () => noTraffic, clear: () => {} },
  }
}

function createHashStore(name: string, maxEntries: number): HashStore {
  const entries = new Map<string, readonly [Uint8Array, Uint8Array]>()
  return {
    name,
    maxEntries,
    lookup: (key) => entries.get(key.join())?.[1].slice(),
    update: (key, value) => {
      if (!entries.has(key.join()) && entries.size >= maxEntries)
        throw new HeraldError('ERR_MAP_FULL', `map ${name} takes no more than ${maxEntries} entries`)
      entries.set(key.join(), [key.slice(), value.slice()])
    },
    delete: (key) => entries.delete(key.join()),
    entries: () => entries.values(),
  }
}
