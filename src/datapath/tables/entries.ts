/** What is known here of a frontend that was written, beside what the maps hold of it. Pure. */
import { type Backend, frontendId, type Frontend } from '../../desired/model.ts'
import { decodeFrontendKey, encodeFrontendKey, type FrontendKey, type FrontendRecord } from '../layout.ts'
import { nameOf, placeName, type Used, type Uses } from './backends.ts'
import type { Places } from './table-space.ts'

/** A node has thousands: what follows from it is made when it is asked for. */
export interface Entry extends FrontendKey {
  readonly id: string
  record: FrontendRecord
  /** Of its backends, behind those that take new flows those that rest. */
  readonly names: readonly string[]
  readonly resting: number
  /** By name, where some have one. */
  readonly weights: ReadonlyMap<string, number> | undefined
}

/** Field by field: of what is spread into it an object keeps the most apart, and there are thousands. */
export function recordOf(
  places: Places,
  { service, ranges, affinitySec, affinitySinceNs }: Omit<FrontendRecord, keyof Places>,
): FrontendRecord {
  return {
    service,
    backends: places.backends,
    only: places.only,
    table: places.table,
    previous: places.previous,
    previousOnly: places.previousOnly,
    previousUntilNs: places.previousUntilNs,
    resting: places.resting,
    ranges,
    affinitySec,
    members: places.members,
    affinitySinceNs,
  }
}

export function entryOf(
  { id, address, port, protocol }: FrontendKey & { id: string },
  record: FrontendRecord,
  uses: Uses,
): Entry {
  const [active, resting]: [string[], string[]] = [[], []]
  let weights: Map<string, number> | undefined
  for (const [name, { backend, use }] of uses) {
    if (use.rests) resting.push(name)
    else active.push(name)
    if (backend.weight !== undefined) weights = (weights ?? new Map<string, number>()).set(name, backend.weight)
  }
  const names = resting.length === 0 ? active : [...active, ...resting]
  return { id, address, port, protocol, record, names, resting: resting.length, weights }
}

/** What a frontend used that is in force. */
export function usesBefore(entry: Entry | undefined): ReadonlyMap<string, Pick<Used, 'use'>> {
  if (entry === undefined) return new Map()
  const { address, port, names, resting } = entry
  const active = names.length - resting
  return new Map(names.map((name, n) => [name, { use: { address, port, rests: n >= active } }]))
}

/** Of one that was written. */
export function keyOf(entry: FrontendKey): Uint8Array {
  return encodeFrontendKey(entry) ?? new Uint8Array()
}

export function idOf(key: Uint8Array): string {
  const { address, protocol, port } = decodeFrontendKey(key)
  return frontendId(address, protocol, port)
}

export function isFrontendKey(key: Uint8Array): boolean {
  const written = encodeFrontendKey(decodeFrontendKey(key))
  return written !== undefined && Buffer.compare(written, key) === 0
}

/**
 * By what a backend is placed in the table: the same on every node. With affinity by its address, so that a client
 * meets the same pod by every port of a Service.
 */
export function tableName({ affinitySec, protocol }: Frontend, name: string, backend: Backend): string {
  if (affinitySec !== undefined) return backend.address
  return backend.node === undefined ? name : placeName(backend, protocol)
}

export function usesOf({ address, port, backends, resting = [], protocol }: Frontend): Uses {
  const uses = new Map<string, Used>()
  for (const [list, rests] of [
    [backends, false],
    [resting, true],
  ] as const) {
    const use = { address, port, rests }
    for (const backend of list) uses.set(nameOf(backend, protocol), { backend, use })
  }
  return uses
}

/** With the weights that were written last behind one frontend: the map of backends is of all of them. */
export function weighed(
  backends: readonly Backend[],
  { weights, protocol }: Pick<Entry, 'weights' | 'protocol'>,
): readonly Backend[] {
  if (weights === undefined) return backends
  return backends.map((backend) => {
    const weight = weights.get(nameOf(backend, protocol))
    return weight === undefined ? backend : { ...backend, weight }
  })
}
