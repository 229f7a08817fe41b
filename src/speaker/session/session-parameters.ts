/**
 * What a session is made of. Only a change of these ends it (Cease/Other Configuration Change); names, next hops,
 * limits, import and attributes never do, and what OPEN carries but no RFC ties to the session's life (timers,
 * graceful restart) is said with the next OPEN.
 */
import type { Neighbor } from '../../desired/model.ts'

/** As text to compare. */
export function sessionParameters(neighbor: Neighbor): string {
  const {
    localAsn,
    localAs,
    peerAsn,
    peerAddress,
    peerPort,
    routerId,
    families,
    multihopTtl,
    password,
    ttlSecurityHops,
    sourceAddress,
    role,
    addPathReceive,
  } = neighbor
  return JSON.stringify([
    localAsn,
    localAs,
    peerAsn,
    peerAddress,
    peerPort,
    routerId,
    families,
    multihopTtl,
    password,
    ttlSecurityHops,
    sourceAddress,
    neighbor.interface,
    role,
    addPathReceive ?? false,
  ])
}
