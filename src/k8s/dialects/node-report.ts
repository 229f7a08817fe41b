/**
 * The object that says what the sessions of a node are and do, whatever family of configuration asks for them: its spec
 * out of the neighbors that the configuration gives to a node, its status out of what the agent of the node sees. Pure.
 *
 *     neighbors --nodeSpec--> spec (operator)        sessions --nodeStatus--> status (agent) --reportOf--> cluster view
 */
import type { Neighbor, Problem } from '../../desired/model.ts'
import { maxReserved, reservedAnnotation } from '../kinds/cilium-bgp-node-config.ts'
import { kinds } from '../kinds/table.ts'
import { type ObjectKey, type RawObject, recordOf, textOf } from '../source.ts'
import { conditionsOf, type StatusCondition } from '../status.ts'

export const nodeReportKind = 'CiliumBGPNodeConfig'
export const nodeReportResource = kinds[nodeReportKind].resource
/** The newest first. */
export const nodeReportVersions: readonly string[] = [...kinds[nodeReportKind].versions].reverse()

const managedBy = 'app.kubernetes.io/managed-by'
/** By which an operator knows the objects that it made; those of others, Cilium's among them, are left alone. */
export const ownLabels = { [managedBy]: 'herald' } as const

export const healthyCondition = 'herald.dev/Healthy'
export const errorCondition = 'cilium.io/BGPReconcileError'
/** Whether new flows to pods go past netfilter there, and why not. */
export const pastNetfilterCondition = 'herald.dev/PastNetfilter'
/** Whether its routes are withdrawn, by the command or by the annotation of the Node. */
export const drainedCondition = 'herald.dev/Drained'
/** What it says is read in refusals.ts. */
export const refusedCondition = 'herald.dev/ServicesRefused'

/** As every CRD of the kind has it. */
const maxInstances = 16
const maxName = 255
const maxCount = 2 ** 31 - 1
const maxNamed = 5

/** States of RFC 4271 8.2.2 as Cilium spells them. */
const stateWords = {
  Idle: 'idle',
  Connect: 'connect',
  Active: 'active',
  OpenSent: 'open_sent',
  OpenConfirm: 'open_confirm',
  Established: 'established',
} as const

export type SessionState = keyof typeof stateWords

/** A session as it is reported. */
export interface ReportedPeer {
  readonly name: string
  readonly peerAddress: string
  readonly peerAsn: number
  readonly state: SessionState
  /** RFC 3339; of an Established session. */
  readonly establishedTime?: string
  readonly holdTimeSec?: number
  readonly keepaliveSec?: number
  readonly families: readonly { readonly family: string; readonly received: number; readonly advertised: number }[]
}

export interface ReportedInstance {
  readonly name: string
  readonly localAsn: number
  readonly peers: readonly ReportedPeer[]
}

export interface NodeReport {
  readonly node: string
  /** The object is none that our operator made: what it says is said by somebody else. */
  readonly isOurs: boolean
  readonly instances: readonly ReportedInstance[]
  readonly conditions: readonly StatusCondition[]
}

type Named = Pick<Neighbor, 'id' | 'virtualRouter' | 'peerName' | 'peerAddress' | 'interface'>

export function nodeReportKey(node: string, apiVersion = nodeReportVersions[0] ?? ''): ObjectKey {
  return { apiVersion, kind: nodeReportKind, namespace: '', name: node }
}

/** Whether the operator made an object, of this kind or another. */
export function isOwnObject(object: RawObject): boolean {
  return recordOf(recordOf(object['metadata'])['labels'])[managedBy] === ownLabels[managedBy]
}

/** What an object says of addresses that no Service may have; undefined: nothing was ever said. */
export function reservedIn(object: RawObject): string | undefined {
  const text = recordOf(recordOf(object['metadata'])['annotations'])[reservedAnnotation]
  return typeof text === 'string' ? text : undefined
}

export function reservedText(places: readonly { readonly place: string }[]): string {
  return places
    .slice(0, maxReserved)
    .map(({ place }) => place)
    .join(', ')
}

/** The object for a node, without what the server adds. An instance is needed: `names` stand in for one. */
export function nodeReportObject(
  node: string,
  apiVersion: string,
  neighbors: readonly Neighbor[],
  names: readonly string[],
  reserved?: string,
): RawObject {
  return {
    apiVersion,
    kind: nodeReportKind,
    metadata: {
      name: node,
      labels: ownLabels,
      ...(reserved === undefined ? {} : { annotations: { [reservedAnnotation]: reserved } }),
    },
    spec: nodeSpec(neighbors, names),
  }
}

function nodeSpec(neighbors: readonly Neighbor[], names: readonly string[]): RawObject {
  const instances = namedInstances(neighbors).map(([name, peers]) => {
    const [first] = peers.map(([, peer]) => peer)
    return {
      name,
      ...(first === undefined || first.localAsn === 0 ? {} : { localASN: first.localAsn }),
      ...(first?.routerId ? { routerID: first.routerId } : {}),
      ...(first?.listenPort === undefined ? {} : { localPort: first.listenPort }),
      peers: peers.map(([peerName, peer]) => ({
        name: peerName,
        peerAddress: addressOf(peer),
        peerASN: peer.peerAsn,
        ...(peer.sourceAddress === undefined ? {} : { localAddress: peer.sourceAddress }),
      })),
    }
  })
  return { bgpInstances: instances.length > 0 ? instances : [{ name: (names[0] ?? 'none').slice(0, maxName) }] }
}

/** What a session is, beside its neighbor. */
export type Session = Omit<ReportedPeer, 'name' | 'peerAddress'>

/** `sessionOf` answers undefined for a neighbor of which nothing is known yet. */
export function nodeStatus(
  neighbors: readonly Neighbor[],
  sessionOf: (id: string) => Session | undefined,
  conditions: readonly StatusCondition[],
): RawObject {
  const bgpInstances = namedInstances(neighbors).map(([name, peers]) => ({
    name,
    localASN: peers[0]?.[1].localAsn ?? 0,
    peers: peers.flatMap(([peerName, peer]) => {
      const session = sessionOf(peer.id)
      return session === undefined ? [] : [peerStatus(peerName, addressOf(peer), session)]
    }),
  }))
  return { bgpInstances, conditions }
}

function peerStatus(name: string, peerAddress: string, session: Session): RawObject {
  const { peerAsn, state, establishedTime, holdTimeSec, keepaliveSec, families } = session
  const isUp = state === 'Established'
  return {
    name,
    peerAddress,
    peerASN: peerAsn,
    peeringState: stateWords[state],
    ...(isUp && establishedTime !== undefined ? { establishedTime } : {}),
    ...(isUp && holdTimeSec !== undefined
      ? { timers: { appliedHoldTimeSeconds: holdTimeSec, appliedKeepaliveSeconds: keepaliveSec ?? 0 } }
      : {}),
    ...(isUp
      ? {
          routeCount: families.map(({ family, received, advertised }) => ({
            afi: family.startsWith('ipv6') ? 'ipv6' : 'ipv4',
            safi: 'unicast',
            received: Math.min(received, maxCount),
            advertised: Math.min(advertised, maxCount),
          })),
        }
      : {}),
  }
}

/** How an object is named, and what is wrong with it, without the remedy. */
export function problemText({ object: { kind, namespace, name }, field, message }: Problem): string {
  const where = [kind, namespace, name].filter((part) => part !== undefined && part !== '').join('/')
  return `${where}${field === '' ? '' : ` ${field}`}: ${message}`
}

/** What a condition names of a longer list. */
export function someOf(all: readonly string[]): readonly string[] {
  const more = all.length - maxNamed
  return more > 0 ? [...all.slice(0, maxNamed), `and ${more} more`] : all
}

/** Of a node that was not told to use it. */
export const stackReason = 'Stack'

/** Why new flows go through the stack at a node that would let them past netfilter; undefined: they do not. */
export function reportedStackReason({ conditions }: NodeReport): string | undefined {
  const condition = conditions.find(({ type }) => type === pastNetfilterCondition)
  return condition?.status === 'False' && condition.reason === stackReason ? condition.message : undefined
}

/** Of an agent that says nothing of it, as earlier versions do, the annotation is all that is known. */
export function reportedDrain({ conditions }: NodeReport): boolean {
  return conditions.some(({ type, status }) => type === drainedCondition && status === 'True')
}

/** What an agent of ours says is wrong with objects, each as {@link problemText} has it, by kind of the object. */
export function reportedErrors(object: RawObject): readonly { readonly kind: string; readonly text: string }[] {
  if (!isOwnObject(object)) return []
  const condition = conditionsOf(object['status']).find(({ type }) => type === errorCondition)
  if (condition?.status !== 'True') return []
  // A text may have a semicolon of its own; the next one begins with a kind.
  return condition.message
    .replace(/; and \d+ more$/, '')
    .split(/; (?=[A-Z][A-Za-z0-9]*\/)/)
    .map((text) => ({ kind: text.slice(0, Math.max(0, text.indexOf('/'))), text }))
}

/**
 * Keys that the agent of a node could not have, as faults of the objects that name them: nobody but agents reads
 * Secrets, and each says it of the sessions that it lacks.
 */
export function reportedKeyFaults(object: RawObject): readonly Problem[] {
  return reportedErrors(object).flatMap(({ text }) => {
    const found = keyFault.exec(text)?.groups
    if (found === undefined) return []
    const { kind = '', namespace, name = '', field = '', message = '' } = found
    return [
      {
        object: { kind, name, ...(namespace === undefined ? {} : { namespace }) },
        field,
        severity: 'error' as const,
        code: 'NoPassword',
        message,
        remedy: 'Write a Secret of that name with a key that can be used, or take the field away.',
      },
    ]
  })
}

/** As {@link problemText} has it, without the neighbor that is left out for it, which is another one on each node. */
const keyFault =
  /^(?<kind>\w+)\/(?:(?<namespace>[^/ ]+)\/)?(?<name>[^/ ]+) (?<field>\S*(?:authSecretRef|passwordSecret)): (?<message>[^;]+)/

/** What anybody who may write a Service, or make a pod a backend of one, can turn on and off at every node. */
const unpressing: ReadonlySet<unknown> = new Set([refusedCondition, pastNetfilterCondition])

/** What decides whether a status has to be written soon: all but counts and words for people, and the unpressing. */
export function pressingPart({ bgpInstances, conditions }: RawObject): unknown {
  const instances = listOf(bgpInstances).map(({ name, peers }) => [
    name,
    listOf(peers).map((peer) => [peer['name'], peer['peerAddress'], peer['peeringState'], peer['establishedTime']]),
  ])
  const pressing = listOf(conditions).filter(({ type }) => !unpressing.has(type))
  return [instances, pressing.map(({ type, status, reason }) => [type, status, reason])]
}

/** What an object says, of whomever; what is none of the fields of the kind is left out. */
export function nodeReportOf(object: RawObject): NodeReport {
  const status = recordOf(object['status'])
  return {
    node: textOf(recordOf(object['metadata'])['name']),
    isOurs: isOwnObject(object),
    instances: listOf(status['bgpInstances']).map((instance) => ({
      name: textOf(instance['name']),
      localAsn: numberOf(instance['localASN']) ?? 0,
      peers: listOf(instance['peers']).map(reportedPeer),
    })),
    conditions: conditionsOf(status),
  }
}

function reportedPeer(peer: RawObject): ReportedPeer {
  const timers = recordOf(peer['timers'])
  const [holdTimeSec, keepaliveSec] = [
    numberOf(timers['appliedHoldTimeSeconds']),
    numberOf(timers['appliedKeepaliveSeconds']),
  ]
  const establishedTime = textOf(peer['establishedTime'])
  return {
    name: textOf(peer['name']),
    peerAddress: textOf(peer['peerAddress']),
    peerAsn: numberOf(peer['peerASN']) ?? 0,
    state: stateOf(textOf(peer['peeringState'])),
    ...(establishedTime === '' ? {} : { establishedTime }),
    ...(holdTimeSec === undefined ? {} : { holdTimeSec }),
    ...(keepaliveSec === undefined ? {} : { keepaliveSec }),
    families: listOf(peer['routeCount']).map((count) => ({
      family: `${textOf(count['afi'])}-${textOf(count['safi'])}`,
      received: numberOf(count['received']) ?? 0,
      advertised: numberOf(count['advertised']) ?? 0,
    })),
  }
}

/** What a node says of each of its neighbors, by their ids; one that it does not name is left out. */
export function reportedNeighbors(
  { instances }: NodeReport,
  neighbors: readonly Neighbor[],
): ReadonlyMap<string, ReportedPeer> {
  const peers = new Map(instances.flatMap(({ name, peers: all }) => all.map((peer) => [`${name}\0${peer.name}`, peer])))
  return new Map(
    namedInstances(neighbors).flatMap(([instance, named]) =>
      named.flatMap(([name, { id }]) => {
        const peer = peers.get(`${instance}\0${name}`)
        return peer === undefined ? [] : [[id, peer] as const]
      }),
    ),
  )
}

/** Whatever way it is spelt: also `opensent`. */
function stateOf(word: string): SessionState {
  const plain = word.toLowerCase().replaceAll('_', '')
  const states = Object.keys(stateWords) as SessionState[]
  return states.find((state) => state.toLowerCase() === plain) ?? 'Idle'
}

/** Instances and peers under names of which none is there twice, in the order of the neighbors. */
function namedInstances<T extends Named>(neighbors: readonly T[]): readonly (readonly [string, [string, T][]])[] {
  const instances = new Map<string, Map<string, T>>()
  for (const neighbor of neighbors) {
    const peers = instances.get(neighbor.virtualRouter) ?? new Map<string, T>()
    instances.set(neighbor.virtualRouter, peers)
    const name = (neighbor.peerName ?? addressOf(neighbor)).slice(0, maxName)
    peers.set(peers.has(name) ? neighbor.id.slice(0, maxName) : name, neighbor)
  }
  return [...instances].slice(0, maxInstances).map(([name, peers]) => [name.slice(0, maxName), [...peers]])
}

const addressOf = ({ peerAddress, interface: device }: Named): string =>
  device === undefined || !(/^fe[89ab]/.test(peerAddress) || peerAddress === '::')
    ? peerAddress
    : `${peerAddress}%${device}`

function listOf(value: unknown): readonly RawObject[] {
  return (Array.isArray(value) ? value : []).map(recordOf)
}
const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)
