/** How many flows fit: by the machine's memory, of which their maps take less than two percent. Pure. */
import type { MapName } from './layout.ts'

/** An entry of a key of 16 octets and a value of 40 takes about 120; openings and datagrams take half of that again. */
const memoryPerConnection = 8_192
const [least, most] = [1 << 16, 1 << 23]

/** Powers of two: the buckets of a hash are that. */
export function flowCapacity(memoryBytes: number): Readonly<Partial<Record<MapName, number>>> {
  const fitting = 2 ** Math.floor(Math.log2(Math.max(1, memoryBytes / memoryPerConnection)))
  const connections = Math.min(most, Math.max(least, fitting))
  return { connections, openings: connections / 4, datagrams: connections / 4 }
}
