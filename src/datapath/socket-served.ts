/** What sockets are led to, over whatever maps: the kernel's or those in memory. Pure. */
import { HeraldError } from '../errors.ts'
import type { MapUsage, SocketBalancer, SocketCounts } from './datapath.ts'
import { indexKey, type MapStore } from './maps.ts'
import { MemoryArray, MemoryHash } from './memory-maps.ts'
import { socketMapShapes, type SocketStoreName, socketStoreNames } from './socket-layout.ts'
import { type SocketMaps, SocketTable } from './tables/sockets.ts'

/** Takes over what the maps hold. */
export function socketsOver(
  maps: SocketMaps,
): Omit<SocketBalancer, 'status' | 'attach' | 'endSockets' | 'takeOver' | 'close'> {
  const table = new SocketTable(maps)
  return {
    ids: () => table.ids(),
    upsert: (frontend) => {
      table.upsert(frontend)
      if (!table.isHeld(frontend))
        throw new HeraldError('ERR_READ_BACK', `${frontend.id}: the maps do not hold what was written for sockets`)
    },
    remove: (id) => table.remove(id),
    setNodes: (addresses) => table.setNodes(addresses),
    choices: (id) => table.choices(id),
    counts: () => countsOf(maps.store('socket_counts')),
    usage: () => [...table.usage(), filled(maps.store('socket_affinity'))],
  }
}

function filled(store: MapStore): MapUsage {
  return { name: store.name, entries: store.used(), maxEntries: store.maxEntries }
}

function countsOf(store: MapStore): SocketCounts {
  const [translated = 0, refused = 0, unrecorded = 0] = [0, 1, 2].map((index) => {
    const value = store.get(indexKey(index)) ?? new Uint8Array()
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
    let sum = 0
    for (let at = 0; at + 8 <= view.byteLength; at += 8) sum += Number(view.getBigUint64(at, true))
    return sum
  })
  return { translated, refused, unrecorded }
}

/** Maps in memory, as bounded and as particular as the kernel's. */
export function socketMemoryMaps(
  maxEntries: Readonly<Partial<Record<SocketStoreName, number>>> = {},
): SocketMaps & { readonly entries: (name: SocketStoreName) => number } {
  const stores = new Map(
    socketStoreNames.map((name) => {
      const shape = socketMapShapes[name]
      const Kind = shape.kind === 'array' ? MemoryArray : MemoryHash
      return [name, new Kind(name, shape, maxEntries[name] ?? shape.maxEntries)]
    }),
  )
  const store = (name: SocketStoreName): MapStore => {
    const found = stores.get(name)
    if (found === undefined) throw new HeraldError('ERR_SYSCALL', `open map ${name}: ENOENT`, { errno: 'ENOENT' })
    return found
  }
  return { store, entries: (name) => store(name).used() }
}

/** The socket balancer in memory: no socket is led anywhere. */
export function createFakeSockets(maps: SocketMaps = socketMemoryMaps()): SocketBalancer {
  return {
    ...socketsOver(maps),
    status: { cgroup: '/sys/fs/cgroup', isWholeNode: true, adopted: false, others: [] },
    attach: () => {},
    endSockets: () => [],
    takeOver: () => {},
    close: () => {},
  }
}
