/**
 * Received paths on their way to the agent's thread: as octets, so that the speaker's makes nothing of a path that it
 * is asked for. What is shown of one is found out where it is read. Pure.
 *
 *     columns of an Adj-RIB-In --path-octets.ts--> PackedPaths ~~ to the other thread ~~> route-snapshot.ts
 */
import { ineligible } from '../policy/import.ts'
import { readPaths } from '../rib/path-octets.ts'
import type { PackedPaths, QueryAnswer, RouteSnapshot } from './protocol.ts'
import { pathSnapshot } from './route-snapshot.ts'

/** An answer as it is for who asked. */
export function unpackAnswer<A extends QueryAnswer>({ packed, ...answer }: A): Omit<A, 'packed'> {
  return packed === undefined ? answer : { ...answer, routes: unpackPaths(packed) }
}

function unpackPaths({ family, octets, runs }: PackedPaths): readonly RouteSnapshot[] {
  const routes: RouteSnapshot[] = []
  let at = 0
  for (const { peer, facts, contexts, count } of runs)
    at = readPaths(octets, at, count, family, contexts, (prefix, path) => {
      const snapshot = pathSnapshot(peer, prefix, path)
      const decision = ineligible(prefix, path.attributes, facts)
      routes.push(decision === undefined ? snapshot : { ...snapshot, decision })
    })
  return routes
}
