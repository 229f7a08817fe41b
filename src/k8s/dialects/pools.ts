/** The pools of all dialects, in neutral form. Pure. */
import type { Problem } from '../../desired/model.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { FieldPath } from '../kinds/narrow.ts'
import { byAge, type ServedKind, type Stored, type StoredObjects } from '../kinds/table.ts'
import { ciliumPools } from './cilium-pools.ts'
import { metallbPools } from './metallb-pools.ts'

/** A pool before it is known which others it overlaps, with the object that it was made of. */
export interface PlannedPool {
  readonly pool: Pool
  readonly from: Stored
  /** The field with its addresses. */
  readonly path: FieldPath
  /** What is to be said of it, whatever the other pools are. */
  readonly problems?: readonly Problem[]
}

export interface PoolDialect {
  readonly poolKinds: readonly ServedKind[]
  /** What pools are made of beside themselves. */
  readonly inputKinds: readonly ServedKind[]
  pools(objects: StoredObjects): readonly PlannedPool[]
}

const dialects: readonly PoolDialect[] = [ciliumPools, metallbPools]

export const poolKinds: ReadonlySet<ServedKind> = new Set(dialects.flatMap((dialect) => dialect.poolKinds))

/** A change of an object of these may change the pools. */
export const poolInputKinds: ReadonlySet<ServedKind> = new Set([
  ...poolKinds,
  ...dialects.flatMap((dialect) => dialect.inputKinds),
])

/** Oldest first. */
export function planPools(objects: StoredObjects): readonly PlannedPool[] {
  return dialects.flatMap((dialect) => dialect.pools(objects)).sort((a, b) => byAge(a.from, b.from))
}
