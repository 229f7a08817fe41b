/** Packets dropped or answered in place, by reason and family. Pure. */
import type { DropCount } from '../datapath.ts'
import { sizes } from '../layout.ts'
import { indexKey, type MapStore } from '../maps.ts'
import { familyNames, reasonNames, reasonTable } from '../reasons.ts'

/** Since the map was made. */
export function readDrops(store: MapStore): readonly DropCount[] {
  return reasonNames.flatMap((reason, index) =>
    familyNames.map((family, place) => {
      const perCpu = store.get(indexKey(index * familyNames.length + place)) ?? new Uint8Array()
      const view = new DataView(perCpu.buffer, perCpu.byteOffset, perCpu.byteLength)
      let packets = 0
      for (let at = 0; at < perCpu.length; at += sizes.reason) packets += Number(view.getBigUint64(at, true))
      return { reason, family, fate: reasonTable[reason].fate, packets }
    }),
  )
}

/** The same over both families. */
export function sumByReason(counts: readonly DropCount[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const { reason, packets } of counts) sums[reason] = (sums[reason] ?? 0) + packets
  return sums
}
