/**
 * Pure diff between the frontends that should be served and those that the kernel holds.
 *
 *     wanted \ held | absent | equal | other backends
 *     present       | upsert | -     | upsert
 *     absent        | -      | remove
 */
import type { Backend, Frontend } from '../desired/model.ts'
import type { ProgrammedFrontend } from '../datapath/datapath.ts'

export interface FrontendPlan {
  readonly upsert: readonly Frontend[]
  readonly remove: readonly string[]
}

export function planFrontends(wanted: Iterable<Frontend>, held: ReadonlyMap<string, ProgrammedFrontend>): FrontendPlan {
  const upsert: Frontend[] = []
  const seen = new Set<string>()
  for (const frontend of wanted) {
    seen.add(frontend.id)
    const now = held.get(frontend.id)
    if (now === undefined || !sameBackends(frontend.backends, now.backends)) upsert.push(frontend)
  }
  return { upsert, remove: [...held.keys()].filter((id) => !seen.has(id)) }
}

export function sameBackends(a: readonly Backend[], b: readonly Backend[]): boolean {
  return a.length === b.length && a.every((backend, i) => backend.address === b[i]?.address && backend.port === b[i]?.port)
}
