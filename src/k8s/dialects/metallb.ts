/**
 * BGPPeer and BGPAdvertisement -> NodePlan: every peer that selects the node is a neighbor, and hears the pools of
 * every advertisement of its namespace that selects the node and names it. Pure.
 *
 *     BGPAdvertisement + Community + IPAddressPool --> advertisements of each family --.
 *     BGPPeer + Secret name -------------------------> neighbor <--those that name it--'
 *
 * Names are of the same namespace. A name or a community that is not there costs only itself.
 */
import type { AddressFamilyName, Problem } from '../../desired/model.ts'
import { bfdSettingsOf } from '../kinds/bfd-profile.ts'
import type { BgpPeer } from '../kinds/bgp-peer.ts'
import { fault } from '../kinds/narrow.ts'
import { nearest } from '../kinds/nearest.ts'
import { overridesFor, type NeighborOverrides } from '../kinds/neighbor-annotation.ts'
import { problemOf } from '../kinds/problems.ts'
import { byAge, type Stored, type StoredObjects } from '../kinds/table.ts'
import { metallbAdvertisements, type NamedAdvertisement } from './metallb-advertisements.ts'
import {
  type Advertisement,
  type Dialect,
  type NodeFacts,
  type NodePlan,
  type PlanNeighbor,
  selectsNode,
} from './node-plan.ts'

type Peer = Stored<'BGPPeer'>

/** So many that are for other nodes are named. */
const namedAdvertisements = 4

export const metallb: Dialect = {
  loadBalancerClasses: [],
  planKinds: ['BGPPeer', 'BGPAdvertisement', 'Community', 'BFDProfile'],
  idleKinds: ['L2Advertisement'],
  rivalKinds: [],
  plan(objects, node) {
    const all = [...objects.BGPPeer.values()]
    const selected = all.filter(({ value: { spec } }) => selectsNode(spec.nodeSelectors, node)).sort(byAge)
    // Whether two peers meet on a node that is not known cannot be said.
    const peers = node.isStandIn ? withoutTwins(selected) : selected
    const { advertisements, elsewhere, problems, needed, meant } = metallbAdvertisements(objects, node)
    const noPlan = {
      isConfigured: all.length > 0,
      message: all.length === 0 ? 'there is no BGPPeer' : `no BGPPeer selects node ${node.name}`,
      remedy: 'Create a BGPPeer whose nodeSelectors match this node.',
    }
    const said = [...problems, ...all.flatMap((peer) => profileProblems(peer, objects))]
    const profiles = peers.flatMap((peer) => profileNeed(peer))
    const plan =
      peers.length === 0
        ? undefined
        : { ...planOf({ peers, objects, advertisements, elsewhere, node }), needed: [...needed, ...profiles], meant }
    return { plan, noPlan, problems: said }
  },
}

function withoutTwins(peers: readonly Peer[]): readonly Peer[] {
  const seen = new Set<string>()
  return peers.filter(({ value: { spec } }) => {
    const place = JSON.stringify([spec.localASN ?? spec.myASN, spec.peerAddress, spec.interface, spec.vrf])
    const isTwin = seen.has(place) && spec.nodeSelectors.length > 0
    seen.add(place)
    return !isTwin
  })
}

interface PlanInput {
  readonly peers: readonly Peer[]
  readonly objects: StoredObjects
  readonly advertisements: readonly NamedAdvertisement[]
  readonly elsewhere: readonly string[]
  readonly node: NodeFacts
}

function planOf(input: PlanInput): NodePlan {
  const { peers } = input
  return {
    names: peers.map(({ key }) => `BGPPeer ${key.name}`),
    neighbors: neighborsOf(input),
    podCidrExports: [],
    notAdvertised: notAdvertised(input.elsewhere),
  }
}

/** An advertisement that names the pool may be for other nodes: who looks at it alone would not see why. */
function notAdvertised(elsewhere: readonly string[]): NonNullable<NodePlan['notAdvertised']> {
  const message = 'no BGPAdvertisement is for it and its pool here'
  const remedy = 'Create a BGPAdvertisement that names the pool; without ipAddressPools it is for every pool.'
  if (elsewhere.length === 0) return { message, remedy }
  const more = elsewhere.length > namedAdvertisements ? `, and ${elsewhere.length - namedAdvertisements} more` : ''
  const names = `${elsewhere.slice(0, namedAdvertisements).join(', ')}${more}`
  return {
    message: `${message}, and the nodeSelectors of ${names} do not match this node`,
    remedy: 'Let the nodeSelectors of the BGPAdvertisement match this node, or create one that names the pool.',
  }
}

/** Peers that hear the same share one list of it. */
function neighborsOf({ peers, objects, advertisements, node }: PlanInput): readonly PlanNeighbor[] {
  const lists = new Map<string, readonly Advertisement[]>()
  const heardBy = ({ key, value }: Peer): readonly Advertisement[] => {
    const families = familiesOf(value.spec)
    const heard = [...advertisements.entries()].filter(
      ([, { namespace, peers: named }]) => namespace === key.namespace && (named === undefined || named.has(key.name)),
    )
    const id = JSON.stringify([families, heard.map(([index]) => index)])
    const known = lists.get(id) ?? heard.flatMap(([, { byFamily }]) => families.flatMap((family) => byFamily[family]))
    lists.set(id, known)
    return known
  }
  return peers.map((peer) => ({ ...neighborOf(peer, heardBy(peer), node), ...bfdOf(peer, objects) }))
}

function neighborOf(from: Peer, advertisements: readonly Advertisement[], node: NodeFacts): PlanNeighbor {
  const { key, value } = from
  const { spec } = value
  const localAsn = spec.localASN ?? spec.myASN
  const families = familiesOf(spec)
  const device = spec.interface === undefined ? {} : { device: spec.interface }
  return {
    from,
    path: ['spec'],
    virtualRouter: String(spec.myASN),
    peerName: key.name,
    localAsn,
    peerAsn: spec.dynamicASN === 'internal' ? localAsn : spec.peerASN,
    ...(spec.dynamicASN === 'external' ? { refusesOwnAs: true } : {}),
    peerAddress: spec.peerAddress ?? unnumbered,
    peerPort: spec.peerPort === 0 ? 179 : spec.peerPort,
    apart: { ...device, ...(spec.vrf === undefined ? {} : { vrf: spec.vrf }) },
    ...(spec.routerID === undefined ? {} : { routerId: spec.routerID }),
    families,
    holdTimeSec: value.holdTimeSec,
    keepaliveSec: value.keepaliveSec,
    connectRetrySec: value.connectRetrySec,
    multihopTtl: spec.ebgpMultiHop ? 255 : 1,
    ...(spec.enableGracefulRestart ? { gracefulRestart: { restartTimeSec: 120 } } : {}),
    ...(value.key === undefined ? {} : { password: value.key }),
    ...(spec.passwordSecret === undefined
      ? {}
      : {
          secret: {
            id: `${key.namespace}/${spec.passwordSecret.name}`,
            field: 'passwordSecret',
            type: 'kubernetes.io/basic-auth',
          },
        }),
    ...keysOf(value, node),
    advertisements,
  }
}

/** Whatever router is found on the interface. */
const unnumbered = '::'

function familiesOf({ peerAddress, dualStackAddressFamily }: BgpPeer['spec']): readonly AddressFamilyName[] {
  if (peerAddress === undefined || dualStackAddressFamily) return ['ipv4-unicast', 'ipv6-unicast']
  return [peerAddress.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast']
}

/**
 * What the annotations say goes before the fields, and of one key of several interfaces only that of the peer counts.
 */
function keysOf(
  { spec, neighborKeys }: BgpPeer,
  node: NodeFacts,
): Pick<PlanNeighbor, 'overrides' | 'ownKeys' | 'sourcePath'> {
  const peerAddress = spec.peerAddress ?? unnumbered
  const fitting = (annotation: BgpPeer['neighborKeys']): BgpPeer['neighborKeys'] =>
    annotation.filter(({ zone }) => spec.interface === undefined || zone === undefined || zone === spec.interface)
  const device = spec.interface ?? spec.vrf
  const fields: NeighborOverrides = {
    ...(device === undefined ? {} : { interface: device }),
    ...(spec.sourceAddress === undefined ? {} : { sourceAddress: spec.sourceAddress }),
  }
  const own = overridesFor(peerAddress, [fitting(node.neighborKeys)])
  const all = overridesFor(peerAddress, [fitting(neighborKeys), fitting(node.neighborKeys)])
  return {
    overrides: all.map((keys) => ({ ...fields, ...keys })),
    ownKeys: new Set(own.flatMap((keys) => Object.keys(keys))),
    ...(all.some(({ sourceAddress }) => sourceAddress !== undefined) ? {} : { sourcePath: ['spec', 'sourceAddress'] }),
  }
}

const profileId = ({ namespace }: Peer['key'], name: string): string => `${namespace}/${name}`

/** A profile that is deleted stays in force while a peer names it: a slip takes no watch away. */
function profileNeed({ key, value }: Peer): NonNullable<NodePlan['needed']> {
  const { bfdProfile } = value.spec
  return bfdProfile === undefined ? [] : [{ kind: 'BFDProfile', id: profileId(key, bfdProfile) }]
}

function bfdOf({ key, value }: Peer, { BFDProfile: profiles }: StoredObjects): Pick<PlanNeighbor, 'bfd'> {
  const profile = profiles.get(profileId(key, value.spec.bfdProfile ?? ''))
  return profile === undefined ? {} : { bfd: bfdSettingsOf(profile.value) }
}

function profileProblems({ key, origin, value }: Peer, { BFDProfile: profiles }: StoredObjects): readonly Problem[] {
  const { bfdProfile } = value.spec
  if (bfdProfile === undefined) return []
  const profile = profiles.get(profileId(key, bfdProfile))
  if (profile !== undefined && profile.isGone !== true) return []
  const outcome =
    profile === undefined
      ? 'without BFD the session ends by its hold time'
      : 'the one that was deleted stays in force while this peer names it'
  const names = [...profiles.values()].filter((one) => one.key.namespace === key.namespace).map((one) => one.key.name)
  const near = nearest(bfdProfile, names)
  const found = fault(
    'warning',
    ['spec', 'bfdProfile'],
    'UnknownName',
    `there is no BFDProfile ${bfdProfile} in namespace ${key.namespace} that can be used; ${outcome}`,
    near === undefined || near === bfdProfile
      ? 'Create or correct it, or correct the name.'
      : `Did you mean ${near}? Else create or correct it.`,
  )
  return [problemOf(found, key, origin)]
}
