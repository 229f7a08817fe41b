/**
 * The v2 family of Cilium -> NodePlan. Pure.
 *
 *     CiliumBGPClusterConfig --peerConfigRef--> CiliumBGPPeerConfig --labels--> CiliumBGPAdvertisement
 *     the oldest that selects      settings, families                           what is announced
 *     the node: instances, peers <-- CiliumBGPNodeConfigOverride of the node
 */
import { selectorMatches } from '../../desired/label-selector.ts'
import type { Problem } from '../../desired/model.ts'
import type { BgpInstance, BgpPeer, CiliumBgpClusterConfig } from '../kinds/cilium-bgp-cluster-config.ts'
import type { InstanceOverride } from '../kinds/cilium-bgp-node-config-override.ts'
import { defaultFamilies, defaultSettings, settingsOf, type PeerFamily } from '../kinds/cilium-bgp-peer-config.ts'
import { fault, type Fault } from '../kinds/narrow.ts'
import { nearest } from '../kinds/nearest.ts'
import { overridesFor, type NeighborAnnotation, type NeighborOverrides } from '../kinds/neighbor-annotation.ts'
import { problemOf } from '../kinds/problems.ts'
import { byAge, type Stored, type StoredObjects } from '../kinds/table.ts'
import { clusterConfigConditions, peerConfigConditions } from './cilium-conditions.ts'
import { advertisementsOf, podCidrExportsOf } from './cilium-advertisements.ts'
import { type Overrides, overridesOf } from './cilium-v2-overrides.ts'
import { NameMemory } from './name-memory.ts'
import { sourceOn } from './source-interface.ts'
import type { Advertisement, Dialect, NodeFacts, NodePlan, PlanNeighbor, PlanOptions, PlanSource } from './node-plan.ts'

type Config = Stored<'CiliumBGPClusterConfig'>

/** Two labels and a selector lie between a Service and a peer. */
const nothingSelects = {
  message: 'no CiliumBGPAdvertisement that is for its peers selects Services',
  remedy:
    'Give one the labels that the CiliumBGPPeerConfig selects under families[].advertisements, and its ' +
    'advertisement of the type Service a selector.',
}

export const ciliumV2: Dialect = {
  loadBalancerClasses: ['io.cilium/bgp-control-plane'],
  planKinds: ['CiliumBGPClusterConfig', 'CiliumBGPPeerConfig', 'CiliumBGPAdvertisement', 'CiliumBGPNodeConfigOverride'],
  rivalKinds: ['CiliumBGPClusterConfig'],
  conditions: (objects, keys) => ({
    CiliumBGPClusterConfig: clusterConfigConditions(objects),
    CiliumBGPPeerConfig: peerConfigConditions(objects, keys),
  }),
  plan(objects, node, options) {
    const configs = [...objects.CiliumBGPClusterConfig.values()]
    const [chosen, ...others] = configs
      .filter(({ value }) => node.isStandIn || selectorMatches(value.nodeSelector ?? {}, node.labels))
      .sort(byAge)
    const problems = others.map(({ key, origin }) => problemOf(conflict(chosen, node), key, origin))
    const isConfigured = configs.length > 0
    const message = isConfigured
      ? `no CiliumBGPClusterConfig selects node ${node.name}`
      : 'there is no CiliumBGPClusterConfig'
    const remedy = 'Create a CiliumBGPClusterConfig whose nodeSelector matches this node.'
    const noPlan = { message, remedy, isConfigured }
    if (chosen === undefined) return { plan: undefined, noPlan, problems }
    const planner = new Planner(objects, node, options, chosen)
    return { plan: planner.plan(), noPlan, problems: [...problems, ...planner.problems] }
  },
}

function conflict(chosen: Config | undefined, { name }: NodeFacts): Fault {
  const message =
    `CiliumBGPClusterConfig ${chosen?.key.name ?? ''}, which is older, applies to node ${name}; ` +
    'this one has no effect there'
  const remedy = 'Let their node selectors exclude each other.'
  return fault('error', ['spec', 'nodeSelector'], 'PolicyConflict', message, remedy)
}

class Planner {
  readonly problems: Problem[] = []
  readonly #objects: StoredObjects
  readonly #node: NodeFacts
  readonly #options: PlanOptions
  readonly #config: Config
  #usesNetwork = false
  /** Which CiliumBGPPeerConfig each peer has. */
  readonly #meant = new Map<string, string>()
  readonly #advertised = new Map<readonly PeerFamily[], readonly Advertisement[]>()
  #overrides: Overrides['byInstance'] = new Map()
  readonly #memory: NameMemory

  constructor(objects: StoredObjects, node: NodeFacts, options: PlanOptions, config: Config) {
    this.#objects = objects
    this.#node = node
    this.#options = options
    this.#config = config
    this.#memory = new NameMemory(node.meant)
  }

  plan(): NodePlan {
    const { value } = this.#config
    this.#readOverride(value)
    const made = value.instances.flatMap((instance) => this.#neighborsOf(instance))
    const named = value.instances.flatMap(({ peers }) =>
      peers.flatMap(({ peerConfigRef }) => peerConfigRef?.name ?? []),
    )
    const peerConfigs = new Set([...named, ...this.#meant.values()].filter((name) => name !== noPeerConfig))
    const families = [...peerConfigs].flatMap(
      (name) => this.#objects.CiliumBGPPeerConfig.get(name)?.value.families ?? [],
    )
    for (const name of peerConfigs) this.#checkSilence(name)
    return {
      names: [`CiliumBGPClusterConfig ${value.metadata.name}`],
      nothingSelects,
      neighbors: toldApart(made),
      podCidrExports: podCidrExportsOf(families, this.#objects),
      usesNetwork: this.#usesNetwork,
      needed: [...peerConfigs].map((id) => ({ kind: 'CiliumBGPPeerConfig', id })),
      meant: new Map([...this.#meant, ...this.#memory.meant]),
    }
  }

  #say({ key, origin }: PlanSource, found: Fault): void {
    this.problems.push(problemOf(found, key, origin))
  }

  #readOverride({ metadata, instances }: CiliumBgpClusterConfig): void {
    const override = this.#objects.CiliumBGPNodeConfigOverride.get(this.#node.name)
    if (override === undefined) return
    const { byInstance, faults } = overridesOf(override, { name: metadata.name, instances }, this.#memory)
    this.#overrides = byInstance
    for (const each of faults) this.#say(override, each)
  }

  #neighborsOf(instance: BgpInstance): readonly PlanNeighbor[] {
    const { name, path, localASN } = instance
    const override = this.#overrides.get(name)
    const localAsn = override?.localASN ?? localASN
    if (localAsn !== undefined)
      return instance.peers.flatMap((peer) => this.#neighborOf({ instance, override, peer, localAsn }) ?? [])
    const isElsewhere = [...this.#objects.CiliumBGPNodeConfigOverride.values()].some(({ value }) =>
      value.instances.some((each) => each.name === name && each.localASN !== undefined),
    )
    if (!this.#node.isStandIn || !isElsewhere) {
      const message = `instance ${name} has no AS number on node ${this.#node.name}: its peers are left out`
      const remedy = 'Write localASN, here or in a CiliumBGPNodeConfigOverride of the node.'
      this.#say(this.#config, fault('error', [...path, 'localASN'], 'NoLocalAsn', message, remedy))
    }
    return []
  }

  #neighborOf({ instance, override, peer, localAsn }: PeerInput): PlanNeighbor | undefined {
    const target = this.#targetOf(peer)
    const place = JSON.stringify(['CiliumBGPClusterConfig', this.#config.key.name, instance.name, peer.name])
    const from = this.#peerConfigOf(peer, place)
    if (target === undefined || from === 'missing') return undefined
    const settings = from === undefined ? defaultSettings : settingsOf(from.value.settings)
    const { address, device } = target
    const localAddress = override?.peers.find(({ name }) => name === peer.name)?.localAddress
    const { keys, why } = this.#sourceOf(localAddress, settings.sourceInterface, target)
    const { neighborKeys } = this.#config.value
    const isOverridden = localAddress !== undefined
    const layers: readonly NeighborAnnotation[] = [
      ...(device === undefined ? [] : [[{ address, zone: device, keys: {} }]]),
      ...(isOverridden ? [] : [[{ address, keys }]]),
      neighborKeys,
      ...(isOverridden ? [[{ address, keys }]] : []),
      this.#node.neighborKeys,
    ]
    const ownKeys = overridesFor(address, [this.#node.neighborKeys]).flatMap((own) => Object.keys(own))
    const listenPort = override?.localPort ?? instance.localPort
    const restart = settings.restartTimeSec
    const families = from?.value.families ?? defaultFamilies
    const obstacle = from === undefined || why === undefined ? undefined : { from, fault: why }
    return {
      from: this.#config,
      path: peer.path,
      virtualRouter: instance.name,
      peerName: peer.name,
      localAsn,
      peerAsn: peer.peerASN,
      peerAddress: address,
      peerPort: settings.peerPort,
      ...(device === undefined ? {} : { apart: { device } }),
      ...(override?.routerID === undefined ? {} : { routerId: override.routerID }),
      ...(listenPort === undefined ? {} : { listenPort }),
      families: [...new Set(families.map(({ name }) => name))],
      holdTimeSec: settings.holdTimeSec,
      keepaliveSec: settings.keepaliveSec,
      connectRetrySec: settings.connectRetrySec,
      multihopTtl: settings.multihopTtl,
      ...(restart === undefined ? {} : { gracefulRestart: { restartTimeSec: restart } }),
      ...(settings.bfd === undefined ? {} : { bfd: settings.bfd }),
      ...(from === undefined || settings.authSecretRef === undefined
        ? {}
        : { secret: this.#secretOf(settings.authSecretRef, from) }),
      ...(obstacle === undefined || this.#node.isStandIn ? {} : { obstacle }),
      overrides: overridesFor(address, layers),
      ownKeys: new Set([...ownKeys, ...(isOverridden ? ['sourceAddress'] : [])]),
      advertisements: this.#advertisementsOf(families),
    }
  }

  /** Once for all peers of one configuration. */
  #advertisementsOf(families: readonly PeerFamily[]): readonly Advertisement[] {
    const known = this.#advertised.get(families)
    if (known !== undefined) return known
    const made = families.flatMap((family) => advertisementsOf(family, this.#objects))
    this.#advertised.set(families, made)
    return made
  }

  #secretOf(name: string, from: PlanSource): NonNullable<PlanNeighbor['secret']> {
    return {
      id: `${this.#options.secretsNamespace}/${name}`,
      field: 'authSecretRef',
      at: { from, path: ['spec'] },
    }
  }

  /** Whom the peer is on this node. */
  #targetOf({ target, path, name }: BgpPeer): Target | undefined {
    if (target.kind === 'address') return target
    if (target.kind === 'unnumbered') return { address: '::', device: target.device }
    this.#usesNetwork = true
    const gateway = this.#node.network?.gateways[target.family]
    if (gateway === undefined) {
      // What a node routes is not in manifests.
      if (this.#node.isStandIn) return undefined
      const message = `node ${this.#node.name} has no default route of ${target.family}: peer ${name} is left out`
      const remedy = 'Give the node a default route, or write the address of the router into peerAddress.'
      this.#say(this.#config, fault('error', [...path, 'autoDiscovery'], 'NoGateway', message, remedy))
      return undefined
    }
    return /^fe[89ab]/.test(gateway.address) ? gateway : { address: gateway.address }
  }

  /** `place` of the peer. One that names what is not there keeps what it had. */
  #peerConfigOf(
    { peerConfigRef, path }: BgpPeer,
    place: string,
  ): Stored<'CiliumBGPPeerConfig'> | 'missing' | undefined {
    const all = this.#objects.CiliumBGPPeerConfig
    const wanted = peerConfigRef?.name ?? noPeerConfig
    const before = this.#node.meant?.get(place)
    const isThere = (name: string): boolean => name === noPeerConfig || all.has(name)
    const name = isThere(wanted) || before === undefined || !isThere(before) ? wanted : before
    const found = all.get(name)
    const at = [...path, 'peerConfigRef', 'name']
    if (!isThere(wanted)) {
      const near = nearest(wanted, [...all.keys()])
      const kept = name === noPeerConfig ? 'the peer keeps the defaults' : `the peer keeps what ${name} says`
      const outcome = isThere(name) ? kept : 'the peer is left out'
      const message = `there is no CiliumBGPPeerConfig ${wanted} that can be used: ${outcome}`
      const remedy = near === undefined ? 'Create or correct it.' : `Did you mean ${near}? Else create or correct it.`
      this.#say(this.#config, fault('error', at, 'NoPeerConfig', message, remedy))
    }
    if (!isThere(name)) return 'missing'
    this.#meant.set(place, name)
    if (name === wanted && found?.isGone === true) {
      const message = `CiliumBGPPeerConfig ${name} is deleted: what it said last stays in force for this peer`
      const remedy = 'Create it again, or remove the peer.'
      this.#say(this.#config, fault('warning', at, 'PeerConfigGone', message, remedy))
    }
    return found
  }

  #sourceOf(
    localAddress: string | undefined,
    device: string | undefined,
    { address, device: zone }: Target,
  ): { readonly keys: NeighborOverrides; readonly why?: Fault } {
    if (localAddress !== undefined) return { keys: { sourceAddress: localAddress } }
    if (device === undefined || zone !== undefined) return { keys: {} }
    // A link-local address is of an interface, and so is its source.
    if (/^fe[89ab]/.test(address)) return { keys: { interface: device } }
    this.#usesNetwork = true
    const found = sourceOn(device, address, this.#node)
    return typeof found === 'string' ? { keys: { sourceAddress: found } } : { keys: {}, why: found }
  }

  /** A selector that finds nothing is the commonest reason for a route that is not there. */
  #checkSilence(name: string): void {
    const from = this.#objects.CiliumBGPPeerConfig.get(name)
    const all = [...this.#objects.CiliumBGPAdvertisement.values()]
    if (from === undefined || (this.#node.isStandIn && all.length === 0)) return
    const isFound = ({ advertisements }: PeerFamily): boolean =>
      advertisements === undefined || all.some(({ value }) => selectorMatches(advertisements, value.metadata.labels))
    for (const family of from.value.families.filter((each) => !isFound(each))) {
      const message = 'it selects no CiliumBGPAdvertisement: nothing of this family is announced'
      const remedy = 'Give a CiliumBGPAdvertisement these labels, or correct the selector.'
      this.#say(from, fault('warning', [...family.path, 'advertisements'], 'NoAdvertisements', message, remedy))
    }
  }
}

/** What a peer has that names none. */
const noPeerConfig = ''

interface PeerInput {
  readonly instance: BgpInstance
  readonly override: InstanceOverride | undefined
  readonly peer: BgpPeer
  readonly localAsn: number
}

interface Target {
  readonly address: string
  readonly device?: string
}

/** Two instances may speak with one address from two of the node: the later one has its name in its id. */
function toldApart(neighbors: readonly PlanNeighbor[]): readonly PlanNeighbor[] {
  const keyOf = ({ localAsn, peerAddress, peerPort, apart }: PlanNeighbor): string =>
    JSON.stringify([localAsn, peerAddress, peerPort, apart?.device])
  const sourceOf = ({ overrides }: PlanNeighbor): string | undefined => overrides[0]?.sourceAddress
  const firsts = new Map<string, PlanNeighbor>()
  return neighbors.map((neighbor) => {
    const first = firsts.get(keyOf(neighbor))
    if (first === undefined) firsts.set(keyOf(neighbor), neighbor)
    const isOther = first !== undefined && first.virtualRouter !== neighbor.virtualRouter
    return isOther && sourceOf(first) !== sourceOf(neighbor)
      ? { ...neighbor, apart: { ...neighbor.apart, instance: neighbor.virtualRouter } }
      : neighbor
  })
}
