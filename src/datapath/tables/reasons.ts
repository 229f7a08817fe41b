/** Packets dropped or answered in place, by reason. Pure. */
import { reasonNames, sizes } from '../layout.ts'
import { indexKey, type MapStore } from '../maps.ts'

/** Since the map was made. */
export function readReasons(store: MapStore): Readonly<Record<string, number>> {
  return Object.fromEntries(
    reasonNames.map((name, reason) => {
      const perCpu = store.get(indexKey(reason)) ?? new Uint8Array()
      const view = new DataView(perCpu.buffer, perCpu.byteOffset, perCpu.byteLength)
      let packets = 0
      for (let at = 0; at < perCpu.length; at += sizes.reason) packets += Number(view.getBigUint64(at, true))
      return [name, packets]
    }),
  )
}
