/** The statuses of pools: how many of their addresses are held. Written a second after they change, and only then. */
import type { Clock } from '../clock/clock.ts'
import { poolStatus } from '../k8s/dialects/pool-status.ts'
import { poolKinds } from '../k8s/dialects/pools.ts'
import { kinds, type ServedKind } from '../k8s/kinds/table.ts'
import type { ObjectKey, ObjectVersion, RawObject } from '../k8s/source.ts'
import type { ObjectVersionRef, StatusOutcome, StatusSink } from '../k8s/status.ts'
import { sameValue } from '../desired/same-value.ts'
import type { Allocation, CountedPool } from './allocation.ts'

interface Known {
  readonly target: ObjectVersionRef
  readonly status: unknown
}

export class PoolWrites {
  readonly #clock: Clock
  readonly #allocation: Allocation
  readonly #sink: StatusSink
  readonly #known = new Map<string, Known>()
  /** What each pool is to say, as of the last count. */
  #counted: ReadonlyMap<string, CountedPool> = new Map()
  /** What others own of a pool: not tried again until it is to say something else. */
  readonly #owned = new Map<string, RawObject>()

  constructor(clock: Clock, allocation: Allocation, sink: StatusSink) {
    this.#clock = clock
    this.#allocation = allocation
    this.#sink = sink
  }

  /** Of other objects than pools only the version is kept. */
  read(key: ObjectKey, object: RawObject, version: ObjectVersion): void {
    const status = isPool(key) ? object['status'] : undefined
    this.#known.set(idOf(key), { target: targetOf(key, version), status })
  }

  forget(key: ObjectKey): void {
    this.#known.delete(idOf(key))
    this.#owned.delete(idOf(key))
  }

  targetOf(kind: string, namespace: string, name: string): ObjectVersionRef | undefined {
    return this.#known.get(`${kind}/${namespace}/${name}`)?.target
  }

  /** Counts anew; answers the pools that may have something to say. */
  count(): readonly string[] {
    this.#counted = new Map(this.#allocation.pools().map((counted) => [idOf(counted.key), counted]))
    return [...this.#counted.keys()]
  }

  counted(): readonly CountedPool[] {
    return [...this.#counted.values()]
  }

  write(id: string): Promise<StatusOutcome> | undefined {
    const [known, counted] = [this.#known.get(id), this.#counted.get(id)]
    if (known === undefined || counted === undefined) return undefined
    const now = new Date(this.#clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const status = poolStatus(known.target.kind, counted, known.status, now)
    if (status === undefined || isSaid(status, known.status) || sameValue(status, this.#owned.get(id))) return undefined
    this.#owned.delete(id)
    return this.#sink.apply({ target: known.target, status }).then((outcome) => {
      if (outcome.kind === 'owned') this.#owned.set(id, status)
      if (outcome.kind === 'written' && this.#known.get(id) === known) {
        const target = { ...known.target, resourceVersion: outcome.resourceVersion }
        this.#known.set(id, { target, status: { ...recordOf(known.status), ...status } })
      }
      return outcome
    })
  }
}

export function isPool({ kind }: ObjectKey): boolean {
  return [...poolKinds].some((each) => each === kind)
}

/** An object of a kind that is read. */
function targetOf(key: ObjectKey, { uid, resourceVersion }: ObjectVersion): ObjectVersionRef {
  const resource = Object.hasOwn(kinds, key.kind) ? kinds[key.kind as ServedKind].resource : ''
  return { ...key, resource, uid: uid ?? '', resourceVersion: resourceVersion ?? '' }
}

/** Whether a status has all of these fields with these values; of conditions each by itself. */
function isSaid(wanted: RawObject, status: unknown): boolean {
  const before = recordOf(status)
  return Object.entries(wanted).every(([name, value]) => {
    const found = before[name]
    if (!Array.isArray(value) || !Array.isArray(found)) return sameValue(found, value)
    return value.every((each) => found.some((other) => sameValue(other, each)))
  })
}

function idOf({ kind, namespace, name }: ObjectKey): string {
  return `${kind}/${namespace}/${name}`
}

function recordOf(value: unknown): RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}
