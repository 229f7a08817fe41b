/** The last steps of a chain of reasons: who was sent the route, and why a peer is not up. Pure. */
import type { RouteView, VerdictView } from '../api/types.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'
import type { DesiredPodCidr, Neighbor, Route } from '../desired/model.ts'

/** Whether the routes reached every neighbor that they are meant for. */
export function announcedVerdict(
  routes: readonly Route[],
  sent: readonly RouteView[],
  peers: readonly PeerSnapshot[],
): VerdictView {
  const wanted = new Set(routes.flatMap((route) => route.neighbors))
  const reached = new Set(sent.map((route) => route.peer))
  const silent = [...wanted].filter((id) => !reached.has(id))
  if (wanted.size === 0) {
    return {
      step: 'announced',
      ok: false,
      code: 'NoNeighbor',
      message: 'No neighbor is to hear this route',
      remedy: 'Give the policy that selects this node a neighbor and a serviceSelector that matches',
    }
  }
  const reasons = silent.map((id) => reasonOf(id, peers)).join('; ')
  if (silent.length === 0)
    return { step: 'announced', ok: true, code: 'Announced', message: `Sent to ${[...wanted].join(', ')}` }
  return {
    step: 'announced',
    ok: silent.length < wanted.size,
    code: silent.length < wanted.size ? 'AnnouncedToSome' : 'NotAnnounced',
    message: `Not sent to ${reasons}`,
    remedy: 'See `herald explain peer ADDRESS`',
  }
}

function reasonOf(id: string, peers: readonly PeerSnapshot[]): string {
  const peer = peers.find((found) => found.id === id)
  if (peer === undefined) return `${id} (not configured)`
  return `${peer.peerAddress} (${peer.state === 'Established' ? 'the family is not negotiated, or no next hop for it' : (peer.reason ?? peer.state)})`
}

/** A prefix that only peers know: a node imports what its policy names and announces nothing of it (RFC 8212). */
export function receivedVerdicts(paths: readonly RouteView[]): VerdictView[] {
  const best = paths.find((path) => path.best === true)
  if (best !== undefined)
    return [
      {
        step: 'selected',
        ok: true,
        code: 'Imported',
        message:
          `Received from ${best.peer ?? 'this node'} and imported; ${best.decision ?? 'the only path'}. ` +
          `A node announces nothing that it received`,
      },
    ]
  return [
    {
      step: 'selected',
      ok: false,
      code: 'NotImported',
      message:
        `Received from ${paths.map((path) => path.peer ?? 'this node').join(', ')}, and not used: ` +
        `${paths[0]?.decision ?? 'no importPrefixes of the neighbor names it (RFC 8212)'}`,
      remedy: 'Name the prefix in importPrefixes of herald.dev/neighbors if it is to be used',
    },
  ]
}

export function podCidrVerdicts(
  podCidr: DesiredPodCidr,
  sent: readonly RouteView[],
  peers: readonly PeerSnapshot[],
): VerdictView[] {
  const own = podCidr.verdicts.map((verdict) => ({ ...verdict }))
  return own.every((verdict) => verdict.ok) ? [...own, announcedVerdict(podCidr.routes, sent, peers)] : own
}

export function peerVerdicts(peer: PeerSnapshot, neighbor: Neighbor | undefined): VerdictView[] {
  const { kind, name } = neighbor?.source ?? { kind: 'policy', name: peer.virtualRouter }
  const configured: VerdictView = {
    step: 'selected',
    ok: true,
    code: 'Configured',
    message: `Neighbor AS ${peer.peerAsn} of ${kind} ${name}, local AS ${peer.localAsn}`,
  }
  if (peer.state === 'Established') {
    return [
      configured,
      {
        step: 'announced',
        ok: true,
        code: 'Established',
        message:
          `Established since ${peer.since}, ` +
          `${peer.families.map((family) => `${family.family} ${family.advertised} sent, ${family.received} received`).join('; ')}${errorsText(peer)}`,
      },
    ]
  }
  const last = peer.lastReset === undefined ? '' : `; last reset ${peer.lastReset.at}: ${peer.lastReset.text}`
  return [
    configured,
    {
      step: 'announced',
      ok: false,
      code: `State${peer.state}`,
      message: `${peer.reason ?? peer.state}${last}${errorsText(peer)}`,
      remedy:
        `Check that ${peer.peerAddress} port ${peer.peerPort} answers, and that its AS, password and TTL ` +
        `agree with the policy`,
    },
  ]
}

/** Why routes that the peer sent may be missing although the session lives. */
function errorsText({ updateErrors }: PeerSnapshot): string {
  if (updateErrors === undefined) return ''
  const { treatedAsWithdraw, attributeDiscarded, ownAsInPath, last } = updateErrors
  return [
    treatedAsWithdraw > 0 && `; routes of ${treatedAsWithdraw} UPDATEs count as withdrawn for an error`,
    attributeDiscarded > 0 && `; ${attributeDiscarded} UPDATEs lost an attribute`,
    last !== undefined && `; last error ${last.at}: ${last.text}`,
    ownAsInPath > 0 && `; ${ownAsInPath} UPDATEs not used, our own AS is in the path (allowAsIn)`,
  ]
    .filter(Boolean)
    .join('')
}
