/** What metrics and probes say of an operator that leads. */
import type { StatusOutcome } from '../k8s/status.ts'
import type { CountedPool } from './allocation.ts'
import type { ServiceState } from './service-writes.ts'
import type { Lane } from './write-queue.ts'

export interface OperatorFigures {
  readonly isSynced: boolean
  /** Kinds that cannot be read now, and why. */
  readonly unreadable: ReadonlyMap<string, string>
  readonly services: Readonly<Record<ServiceState, number>>
  readonly pools: readonly CountedPool[]
  readonly problems: Readonly<Record<'error' | 'warning', number>>
  /** Objects of the configuration that are not accepted as they are written. */
  readonly notAccepted: number
  /** Those of them that are wrong, and not only without effect. */
  readonly broken: number
  /** Writes since the start by what they are of and how they ended. */
  readonly outcomes: Readonly<Record<Lane, Readonly<Record<StatusOutcome['kind'], number>>>>
  readonly waiting: Readonly<Record<string, number>>
  readonly inFlight: number
  readonly droppedEvents: number
}
