/**
 * The sessions and advertisements of MetalLB's objects as MetalLB itself has them, by its backend. Pure.
 *
 *     native     its own speaker: IPv4 only, hold 90 s where none is written, keepalive a third of it
 *     frr        hold 180 and keepalive 60, as FRR
 *     frr-k8s    as frr, but sourceAddress and localASN do not get to FRR, and a node is found by its host name label
 */
import { bfdSettingsOf } from '../../kinds/bfd-profile.ts'
import type { BgpPeer } from '../../kinds/bgp-peer.ts'
import type { Node } from '../../kinds/node.ts'
import { byAge, type Stored, type StoredObjects } from '../../kinds/table.ts'
import { metallbAdvertisements } from '../metallb-advertisements.ts'
import { type NodeFacts, selectsNode } from '../node-plan.ts'
import { advertisementViews, type HeardBy } from './advertisements.ts'
import { type Backend, bfdText, nameOf, type SessionView } from './report.ts'

export interface BeforeSession {
  /** The same for the session that Herald makes of it. */
  readonly id: string
  readonly object: string
  readonly view?: SessionView
  /** Why there is none. */
  readonly absent?: { readonly reason: string; readonly remedy: string }
}

export interface BeforeNode {
  readonly sessions: readonly BeforeSession[]
  readonly heard: readonly HeardBy[]
}

export interface NodeInput {
  readonly objects: StoredObjects
  readonly facts: NodeFacts
  readonly node: Node | undefined
  readonly backend: Backend
  /** The namespace that MetalLB reads. */
  readonly namespace: string
}

const hostNameLabel = 'kubernetes.io/hostname'
const restartSeconds = 120

export function metallbBefore(input: NodeInput): BeforeNode {
  const { objects, facts } = input
  const peers = [...objects.BGPPeer.values()]
    .filter(({ value: { spec } }) => selectsNode(spec.nodeSelectors, facts))
    .sort(byAge)
  const { advertisements } = metallbAdvertisements(objects, facts)
  const sessions = peers.map((peer) => sessionOf(peer, input))
  const heard = peers.flatMap((peer, index): readonly HeardBy[] => {
    const view = sessions[index]?.view
    if (view === undefined) return []
    const { namespace, name } = peer.key
    const isInternal = view.peerAs === String(view.localAs)
    const own = advertisements
      .filter((each) => each.namespace === namespace && (each.peers === undefined || each.peers.has(name)))
      .flatMap(({ byFamily }) =>
        view.families.flatMap((family) => byFamily[`${family}-unicast` as keyof typeof byFamily]),
      )
    return advertisementViews(own, { peer: view.peerAddress, overrides: {} }).map((each) => ({
      ...each,
      view: asSent(each.view, input.backend, isInternal),
    }))
  })
  return { sessions, heard }
}

/** The native speaker sends LOCAL_PREF to internal peers always, also 0. */
function asSent(view: HeardBy['view'], backend: Backend, isInternal: boolean): HeardBy['view'] {
  return backend === 'native' && isInternal && view.localPreference === undefined
    ? { ...view, localPreference: 0 }
    : view
}

function sessionOf(peer: Stored<'BGPPeer'>, input: NodeInput): BeforeSession {
  const object = nameOf(peer.key)
  const absent = absentReason(peer, input)
  const view = { ...viewOf(peer.value, input), ...bfdOf(peer, input) }
  return { id: object, object, ...(absent === undefined ? { view } : { absent }) }
}

/** A profile that is not there is named. */
function bfdOf({ key, value: { spec } }: Stored<'BGPPeer'>, { objects }: NodeInput): Pick<SessionView, 'bfd'> {
  if (spec.bfdProfile === undefined) return {}
  const profile = objects.BFDProfile.get(`${key.namespace}/${spec.bfdProfile}`)
  if (profile === undefined) return { bfd: spec.bfdProfile }
  const isEcho = profile.value.spec?.echoMode === true
  return { bfd: `${bfdText(bfdSettingsOf(profile.value))}${isEcho ? ', echo' : ''}` }
}

function absentReason({ key, value }: Stored<'BGPPeer'>, input: NodeInput): BeforeSession['absent'] {
  const { backend, facts, namespace } = input
  if (key.namespace !== namespace)
    return {
      reason: `MetalLB reads namespace ${namespace} only, and this is in ${key.namespace}`,
      remedy: 'Delete the BGPPeer, or leave it where this session is wanted.',
    }
  const lacks = backend === 'native' ? nativeLacks(value) : []
  if (lacks.length > 0)
    return {
      reason: `the native speaker refuses a configuration with ${lacks.join(', ')}`,
      remedy: 'Remove the fields or the BGPPeer, or leave it where this session is wanted.',
    }
  const label = facts.labels[hostNameLabel]
  if (backend === 'frr-k8s' && !facts.isStandIn && label !== undefined && label !== facts.name)
    return {
      reason: `frr-k8s finds the node by its label ${hostNameLabel}, which is ${label} and not its name`,
      remedy: 'Leave the node out with nodeSelectors, or let the router have a session with it.',
    }
  return undefined
}

function nativeLacks({ spec }: BgpPeer): readonly string[] {
  const found: readonly (readonly [string, boolean])[] = [
    ['bfdProfile', spec.bfdProfile !== undefined],
    ['vrf', spec.vrf !== undefined],
    ['interface', spec.interface !== undefined],
    ['localASN', spec.localASN !== undefined],
    ['dynamicASN', spec.dynamicASN !== undefined],
    ['enableGracefulRestart', spec.enableGracefulRestart],
    ['an IPv6 peerAddress', spec.peerAddress?.includes(':') === true],
    ['dualStackAddressFamily', spec.dualStackAddressFamily],
  ]
  return found.filter(([, is]) => is).map(([name]) => name)
}

function viewOf(peer: BgpPeer, { backend, node }: NodeInput): SessionView {
  const { spec } = peer
  const localAs = backend === 'frr-k8s' ? spec.myASN : (spec.localASN ?? spec.myASN)
  const isDual = spec.peerAddress === undefined || spec.dualStackAddressFamily
  const source = backend === 'frr-k8s' ? undefined : spec.sourceAddress
  const routerId = spec.routerID ?? (backend === 'native' ? nodeAddress(node) : undefined)
  const device = spec.interface ?? spec.vrf
  return {
    peerAddress: spec.peerAddress ?? '::',
    peerPort: spec.peerPort === 0 ? 179 : spec.peerPort,
    localAs,
    peerAs:
      spec.dynamicASN === 'external' ? 'external' : String(spec.dynamicASN === 'internal' ? localAs : spec.peerASN),
    ...(source === undefined ? {} : { sourceAddress: source }),
    ...timersOf(peer, backend),
    ttl: spec.ebgpMultiHop ? 255 : 1,
    ...(spec.enableGracefulRestart ? { gracefulRestartSeconds: restartSeconds } : {}),
    ...keyOf(peer),
    families: isDual ? ['ipv4', 'ipv6'] : [spec.peerAddress?.includes(':') === true ? 'ipv6' : 'ipv4'],
    ...(routerId === undefined ? {} : { routerId }),
    ...(device === undefined ? {} : { interface: device }),
  }
}

function timersOf(
  { written: { spec }, ...peer }: BgpPeer,
  backend: Backend,
): Pick<SessionView, 'holdTimeSeconds' | 'keepaliveSeconds' | 'connectRetrySeconds'> {
  if (backend !== 'native')
    return {
      holdTimeSeconds: peer.holdTimeSec,
      keepaliveSeconds: peer.keepaliveSec,
      connectRetrySeconds: peer.connectRetrySec,
    }
  // It has no field for keepalive, and backs off from 0 to 120 s whatever connectTime says.
  const hold = spec.holdTime === undefined ? 90 : Math.floor(spec.holdTime)
  return { holdTimeSeconds: hold, keepaliveSeconds: Math.floor(hold / 3), connectRetrySeconds: 120 }
}

function keyOf({ key, spec, metadata }: BgpPeer): Pick<SessionView, 'password'> {
  if (spec.passwordSecret !== undefined)
    return { password: `Secret ${metadata.namespace ?? 'default'}/${spec.passwordSecret.name}` }
  return key === undefined ? {} : { password: 'in the object' }
}

function nodeAddress(node: Node | undefined): string | undefined {
  return node?.addresses.find(({ type, address }) => type === 'InternalIP' && !address.includes(':'))?.address
}
