/** A row of the interop matrix: what is asked of Herald and each router together. */
import type { RouterDaemon, RouterName, RouterSetup } from './router-daemon.ts'
import type { Rig } from './rig.ts'

export interface Scenario {
  /** As it stands in the matrix. */
  readonly row: string
  /** The sentence that is tested, with the clauses. */
  readonly title: string
  /** Who cannot take part, and why: what the daemon of Debian 12 lacks. Its cell says no. */
  readonly lacking?: Readonly<Partial<Record<RouterName, string>>>
  /** Waited for before `run`, unless `isStartingDown`. */
  setup(router: RouterDaemon): RouterSetup
  readonly isStartingDown?: boolean
  run(rig: Rig): Promise<void>
}
