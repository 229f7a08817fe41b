/**
 * The last steps of a chain of reasons: who was sent the route, who was not and why, and why a peer is not up. One
 * verdict has one cause. Pure.
 */
import { bfdText } from './bfd-views.ts'
import type { RouteView } from '../api/types.ts'
import type { CodeOf } from '../desired/codes.ts'
import type { AddressFamilyName, DesiredPodCidr, Neighbor, Problem, Route, Verdict } from '../desired/model.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'

/** What is known of the neighbors while something is explained. */
export interface Surroundings {
  readonly peers: readonly PeerSnapshot[]
  readonly neighbors: readonly Neighbor[]
  /** Routes are withdrawn, or about to be. */
  readonly isDraining: boolean
}

const addressOf = (id: string): string => id.slice(id.indexOf('/') + 1)
const familyOf = (prefix: string): AddressFamilyName => (prefix.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast')
const no = (code: CodeOf<'announced'>, message: string, remedy: string): Verdict => ({
  step: 'announced',
  ok: false,
  code,
  message,
  remedy,
})

/** Whether each route reached each neighbor that it is meant for; for each that it did not, why. */
export function announcedVerdicts(
  routes: readonly Route[],
  sent: readonly Pick<RouteView, 'peer' | 'prefix'>[],
  around: Surroundings,
): readonly Verdict[] {
  // Services that share an address want the same of the same neighbor.
  const wanted = [
    ...new Map(
      routes.flatMap(({ prefix, neighbors }) => neighbors.map((id) => [`${prefix} ${id}`, { prefix, id }])),
    ).values(),
  ]
  if (wanted.length === 0)
    return [
      no(
        'NoNeighbor',
        'No neighbor is to hear this route',
        'Give the policy that selects this node a neighbor and a serviceSelector that matches',
      ),
    ]
  const isSent = ({ prefix, id }: (typeof wanted)[number]): boolean =>
    sent.some((route) => route.peer === id && route.prefix === prefix)
  const missing = wanted.filter((one) => !isSent(one))
  const prefixes = new Set(wanted.map(({ prefix }) => prefix))
  const name = ({ prefix, id }: (typeof wanted)[number]): string =>
    prefixes.size === 1 ? addressOf(id) : `${addressOf(id)} (${prefix})`
  const reached = wanted.filter(isSent).map(name)
  if (missing.length === 0)
    return [{ step: 'announced', ok: true, code: 'Announced', message: `Sent to ${reached.join(', ')}` }]
  const summary =
    reached.length === 0
      ? no('NotAnnounced', 'Sent to no neighbor', 'See the reason of each below')
      : no('AnnouncedToSome', `Sent to ${reached.join(', ')} only`, 'See the reason of each other neighbor below')
  return [summary, ...missing.map(({ prefix, id }) => notSent(prefix, id, around))]
}

function notSent(prefix: string, id: string, { peers, neighbors, isDraining }: Surroundings): Verdict {
  const because = (code: CodeOf<'announced'>, why: string, remedy: string): Verdict =>
    no(code, `${prefix} is not sent to ${addressOf(id)}: ${why}`, remedy)
  const [peer, neighbor] = [peers.find((one) => one.id === id), neighbors.find((one) => one.id === id)]
  if (peer === undefined)
    return because('NotConfigured', 'it is no neighbor of this node', 'See `herald bgp peers` for those that are')
  const see = `See \`herald explain peer ${addressOf(id)}\``
  if (peer.state !== 'Established')
    return because('NotEstablished', `the session is not Established: ${peer.reason ?? peer.state}`, see)
  if (isDraining)
    return because('Drained', 'the node is drained', 'Undo it: `herald drain --undo`, or herald.dev/drain')
  const family = peer.families.find((one) => one.family === familyOf(prefix))
  if (family === undefined)
    return because(
      'FamilyNotConfigured',
      `the neighbor is not configured for ${familyOf(prefix)}`,
      'Name the family in the families of the neighbor, or leave them out: both are the default',
    )
  if (family.problem !== undefined && family.isAnnounced !== true) return because('FamilyNotSent', family.problem, see)
  const limit = neighbor?.maxPrefixesOut
  if (limit !== undefined && family.advertised >= limit)
    return because(
      'AtPrefixLimit',
      `it has as many prefixes as it may have (maxPrefixesOut ${limit})`,
      'Raise the limit',
    )
  return because('Sending', 'it is on its way', 'Wait a moment; a peer that takes nothing is ended by its hold timer')
}

/** A prefix that only peers know: a node imports what its policy names and announces nothing of it (RFC 8212). */
export function receivedVerdicts(paths: readonly RouteView[]): Verdict[] {
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
  around: Surroundings,
): readonly Verdict[] {
  const own = podCidr.verdicts.map((verdict) => ({ ...verdict }))
  return own.every((verdict) => verdict.ok) ? [...own, ...announcedVerdicts(podCidr.routes, sent, around)] : own
}

/** Problems of an object of which another version, or the rest of it, is in force. */
export function brokenVersionVerdicts(problems: readonly Problem[]): readonly Verdict[] {
  return problems
    .filter(({ severity }) => severity === 'error')
    .map(({ object, field, code, message, remedy }) => ({
      step: 'valid',
      ok: false,
      code,
      message:
        `What was written last of ${object.kind} ${object.name} is not in force as it is written: ` +
        `${field === '' ? '' : `${field}: `}${message}`,
      remedy,
    }))
}

export function peerVerdicts(peer: PeerSnapshot, neighbor: Neighbor | undefined): readonly Verdict[] {
  const { kind, name } = neighbor?.source ?? { kind: 'policy', name: peer.virtualRouter }
  const configured: Verdict = {
    step: 'selected',
    ok: true,
    code: 'Configured',
    message: `Neighbor AS ${peer.peerAsn} of ${kind} ${name}, local AS ${peer.localAsn}`,
  }
  const pending = (peer.pending ?? []).map(
    (change): Verdict => ({
      step: 'selected',
      ok: true,
      code: 'WaitsForNextSession',
      message: `Comes into force with the next session: ${change}`,
    }),
  )
  const watched: readonly Verdict[] =
    peer.bfdSession === undefined
      ? []
      : [{ step: 'selected', ok: true, code: 'PathWatched', message: bfdText(peer.bfdSession) }]
  return [configured, ...watched, ...pending, ...(peer.state === 'Established' ? upVerdicts(peer) : downVerdicts(peer))]
}

function upVerdicts(peer: PeerSnapshot): readonly Verdict[] {
  const counts = peer.families.map(
    ({ family, advertised, received }) => `${family} ${advertised} sent, ${received} received`,
  )
  const up: Verdict = {
    step: 'announced',
    ok: true,
    code: 'Established',
    message: `Established since ${peer.since}, ${counts.join('; ')}${errorsText(peer)}`,
  }
  const odd = peer.families.flatMap(({ problem: message, isAnnounced }): Verdict[] => {
    if (message === undefined) return []
    return isAnnounced === true
      ? [{ step: 'announced', ok: true, code: 'ForeignNextHop', message }]
      : [no('FamilyNotSent', message, 'Nothing has to be done when no route of this family is to be announced')]
  })
  return [up, ...odd]
}

const stateCodes: Readonly<Record<Exclude<PeerSnapshot['state'], 'Established'>, CodeOf<'announced'>>> = {
  Idle: 'StateIdle',
  Connect: 'StateConnect',
  Active: 'StateActive',
  OpenSent: 'StateOpenSent',
  OpenConfirm: 'StateOpenConfirm',
}

function downVerdicts(peer: PeerSnapshot): readonly Verdict[] {
  const { idleHoldSec, lastReset } = peer
  const last = lastReset === undefined ? '' : `; last reset ${lastReset.at}: ${lastReset.text}`
  const down = no(
    peer.state === 'Established' ? 'NotEstablished' : stateCodes[peer.state],
    `${peer.reason ?? peer.state}${last}${errorsText(peer)}`,
    `Check that ${peer.peerAddress} port ${peer.peerPort} answers, and that its AS, password and TTL ` +
      `agree with the policy`,
  )
  if (idleHoldSec === undefined) return [down]
  const seconds = Math.ceil(idleHoldSec)
  return [
    down,
    no(
      'IdleHold',
      `The next attempt follows in ${seconds} s: the session failed before (RFC 4271 8.1.1, DampPeerOscillations)`,
      `Wait, or try at once: \`herald bgp reset ${peer.peerAddress}\``,
    ),
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
