/** What a datapath serves and says of it, over whatever maps: the kernel's or those in memory. Pure. */
import type { Datapath } from './datapath.ts'
import type { Maps } from './maps.ts'
import { readDrops, sumByReason } from './tables/reasons.ts'
import type { TableTimes } from './tables/backends.ts'
import { ServiceTable } from './tables/services.ts'

type Served = Pick<Datapath, 'readAll' | 'read' | 'upsert' | 'remove' | 'counters' | 'reasons' | 'drops' | 'usage'>

/** Takes over what the maps hold. `checkOpen` throws once the maps may not be touched any more. */
export function servedOver(maps: Maps, times: TableTimes, checkOpen: () => void = () => {}): Served {
  const services = new ServiceTable(maps, times)
  const table = (): ServiceTable => {
    checkOpen()
    return services
  }
  return {
    readAll: () => table().readAll(),
    read: (id) => table().read(id),
    upsert: (frontend) => table().upsert(frontend),
    remove: (id) => table().remove(id),
    counters: (id) => table().counters(id),
    reasons: () => sumByReason(readDrops(maps.store('drops'))),
    drops: () => readDrops(maps.store('drops')),
    usage: () => [
      ...table().usage(),
      ...(['openings', 'connections', 'datagrams'] as const).map((name) => {
        const flows = maps.store(name)
        return { name, entries: flows.used(), maxEntries: flows.maxEntries }
      }),
    ],
  }
}
