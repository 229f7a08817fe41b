/** What a datapath serves and says of it, over whatever maps: the kernel's or those in memory. Pure. */
import type { Frontend } from '../desired/model.ts'
import type { Datapath, MapUsage, ProgrammedFrontend } from './datapath.ts'
import type { Maps } from './maps.ts'
import { readDrops, sumByReason } from './tables/reasons.ts'
import type { TableTimes } from './tables/backends.ts'
import { ServiceTable } from './tables/services.ts'

export interface Served
  extends Pick<
    Datapath,
    'readAll' | 'read' | 'upsert' | 'remove' | 'counters' | 'reasons' | 'drops' | 'usage' | 'setNodes'
  > {
  /** undefined: {@link Datapath.upsert} writes it, or says why not. */
  upsertTogether(frontends: readonly Frontend[]): readonly (ProgrammedFrontend | undefined)[]
  /** Where frontends of any address of the node are served. */
  readonly nodePorts: readonly string[]
  /** Of the maps that are written here, which costs no call of the kernel. */
  filling(): readonly MapUsage[]
}

/** Takes over what the maps hold. */
export function servedOver(maps: Maps, times: TableTimes): Served {
  const table = new ServiceTable(maps, times)
  return {
    readAll: () => table.readAll(),
    read: (id) => table.read(id),
    upsert: (frontend) => table.upsert(frontend),
    upsertTogether: (frontends) => table.upsertAll(frontends),
    remove: (id) => table.remove(id),
    counters: (id) => table.counters(id),
    reasons: () => sumByReason(readDrops(maps.store('drops'))),
    drops: () => readDrops(maps.store('drops')),
    get nodePorts() {
      return table.nodePorts
    },
    filling: () => table.usage(),
    setNodes: (nodes) => table.setNodes(nodes),
    usage: () => [
      ...table.usage(),
      ...(['openings', 'connections', 'datagrams', 'affinity', 'forwards', 'snat_openings', 'snat'] as const).map(
        (name) => {
          const flows = maps.store(name)
          return { name, entries: flows.used(), maxEntries: flows.maxEntries }
        },
      ),
    ],
  }
}
