/** core/v1 Service, as far as Herald reads it; of one without addresses of its own nothing is kept but its type. */
import * as z from 'zod'
import { type Family, formatAddress, parseAddress, unmapped } from '../../ip/address.ts'
import { keptList, keptText } from '../../desired/kept.ts'
import type { Labels } from '../../desired/label-selector.ts'
import { isRecord, type RawObject } from '../source.ts'
import { allocatedCondition, portsHeldCondition, statusWritersOf } from './status-writers.ts'
import { fault, type Fault, metadataSchema, narrow, tooLong, type Metadata, type Narrowed } from './narrow.ts'
import { unknownAnnotations } from './annotations.ts'
import { choice, optionalList, optionalText, textMap } from './schemas.ts'
import { asksOfOthers } from './other-requests.ts'
import { remoteBackendsFaults } from './remote-backends.ts'
import {
  allocationRequest,
  beyondAddresses,
  beyondRemedy,
  deprecatedNames,
  maxAddresses,
  mostAddresses,
  readAnnotations,
  sharingOf,
  shown,
  tooManyWords,
} from './service-requests.ts'
import { sharedText, sharedValue } from './shared.ts'
import { type Weights, weightsIn } from './weights.ts'
import { type ReadRanges, type SourceRanges, sourceRangesOf } from './source-ranges.ts'

/** By its message an allocator tells, and finds again, who had which port of a shared address. */

const protocols = ['TCP', 'UDP', 'SCTP'] as const
const ipFamilies = z.enum(['IPv4', 'IPv6'])

export const serviceSchema = z.object({
  metadata: metadataSchema,
  spec: z.object({
    type: choice(['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'], 'ClusterIP'),
    clusterIP: optionalText,
    clusterIPs: optionalList(z.string()),
    externalIPs: optionalList(z.string()),
    loadBalancerClass: optionalText,
    loadBalancerIP: optionalText,
    loadBalancerSourceRanges: optionalList(z.string()),
    externalTrafficPolicy: choice(['Cluster', 'Local'], 'Cluster'),
    internalTrafficPolicy: choice(['Cluster', 'Local'], 'Cluster'),
    sessionAffinity: choice(['None', 'ClientIP'], 'None'),
    sessionAffinityConfig: z
      .object({ clientIP: z.object({ timeoutSeconds: z.number().int().min(1).max(86_400).nullish() }).nullish() })
      .nullish(),
    selector: textMap,
    ipFamilies: optionalList(ipFamilies),
    ipFamilyPolicy: choice(['SingleStack', 'PreferDualStack', 'RequireDualStack'], undefined),
    ports: optionalList(
      z.object({
        name: z.string().nullish(),
        protocol: choice(protocols, 'TCP'),
        port: z.number().int().min(1).max(65535),
        nodePort: z.number().int().min(0).max(65535).nullish(),
      }),
    ),
    healthCheckNodePort: z.number().int().min(0).max(65535).nullish(),
  }),
  status: z
    .object({
      loadBalancer: z.object({ ingress: optionalList(z.object({ ip: z.string().nullish() })) }).nullish(),
      // Of others, and of any form.
      conditions: z.unknown().optional(),
    })
    .nullish(),
})

type Written = z.infer<typeof serviceSchema>

export interface ServicePort {
  /** Empty where it has none. */
  readonly name: string
  readonly protocol: (typeof protocols)[number]
  readonly port: number
}

/** An address that a Service has without a pool. */
export interface OwnAddress {
  readonly type: 'ClusterIP' | 'ExternalIP'
  /** Canonical. */
  readonly address: string
}

export interface Service {
  readonly metadata: Metadata
  readonly spec: {
    readonly type: Written['spec']['type']
    readonly loadBalancerClass: string | undefined
    readonly loadBalancerIP: string | undefined
    /** Who may open flows; undefined: everybody. */
    readonly sourceRanges: SourceRanges | undefined
    readonly externalTrafficPolicy: 'Cluster' | 'Local'
    /** Of its cluster IPs. */
    readonly internalTrafficPolicy: 'Cluster' | 'Local'
    /** How long a client stays with its pod; undefined: not at all. */
    readonly affinitySec: number | undefined
    readonly selector: Labels
    /** In order, as the API server would complete them. */
    readonly families: readonly Family[]
    /** Both of two families must be had. */
    readonly needsAllFamilies: boolean
    readonly ports: readonly ServicePort[]
    /** What its pods get of what is new; undefined: each the same. */
    readonly weights: Weights | undefined
  }
  /** Addresses of status.loadBalancer.ingress, canonical. */
  readonly status: readonly string[]
  /** What an allocator recorded of its ports of shared addresses, as it wrote it; undefined: nothing. */
  readonly portsHeld: string | undefined
  /** An operator of Herald gave it the addresses of its status, and nobody else wrote there since. */
  readonly isAttested: boolean
  /** Its cluster IPs and external IPs. */
  readonly own: readonly OwnAddress[]
  /** The node port of each of its ports, 0 where it has none; empty where none has one. */
  readonly nodePorts: readonly number[]
  /** Where load balancers ask whether this node has pods of it; undefined: nowhere. */
  readonly healthCheckNodePort: number | undefined
}

const otherSpec: Service['spec'] = {
  type: 'ClusterIP',
  loadBalancerClass: undefined,
  loadBalancerIP: undefined,
  sourceRanges: undefined,
  externalTrafficPolicy: 'Cluster',
  internalTrafficPolicy: 'Cluster',
  affinitySec: undefined,
  selector: {},
  families: [],
  needsAllFamilies: false,
  ports: [],
  weights: undefined,
}
const nothing: readonly string[] = []
const noAddresses: readonly OwnAddress[] = []
const noPorts: readonly number[] = []
const noRecord = { portsHeld: undefined, isAttested: false } as const

const limits = [
  [['spec', 'ports'], 1000],
  [['spec', 'externalIPs'], maxAddresses],
  // One of each family, as the API server has it.
  [['spec', 'clusterIPs'], 2],
  [['spec', 'ipFamilies'], 2],
  [['spec', 'loadBalancerSourceRanges'], 10_000],
  [['status', 'loadBalancer', 'ingress'], maxAddresses],
  [['status', 'conditions'], 1000],
] as const

/** A request for an address that cannot be read is an error of the Service, which is used all the same. */
export function parseService(raw: RawObject, before?: Service): Narrowed<Service> {
  const long = tooLong(raw, limits)
  if (long.length > 0) return { faults: long }
  const { value, faults } = narrow(serviceSchema, raw, checkSpec)
  if (value === undefined) return { faults }
  const sources = rangesOf(value)
  if (!sources.isUsable) return { faults: [...faults, ...sources.faults] }
  const { weights, faults: ofWeights } = weightsIn(value.metadata.annotations, before?.spec.weights)
  const service = compact(value, sources.ranges, weights, raw)
  const external = [...externalFaults(value), ...sources.faults, ...ofWeights]
  if (service.spec.type !== 'LoadBalancer') return { value: service, faults: [...faults, ...external] }
  const unknown = unknownAnnotations(value.metadata.annotations, readAnnotations)
  const tooMany = tooManyWords(service)
  if (tooMany.length > 0) return { faults: [...faults, ...tooMany] }
  const { faults: requestFaults } = allocationRequest(service)
  const deprecated = deprecatedNames(value.metadata.annotations)
  const ofOthers = asksOfOthers(value.metadata.annotations, value.spec.loadBalancerClass)
  const shares = sharingOf(service).faults
  const requests = [...requestFaults, ...shares, ...deprecated, ...ofOthers, ...remoteBackendsFaults(service)]
  return { value: service, faults: [...faults, ...external, ...unknown, ...requests, ...statusFaults(value)] }
}

/** What the API server would refuse, beyond single fields. */
function checkSpec({ spec }: Written): readonly Fault[] {
  const faults: Fault[] = []
  if (spec.type !== 'ExternalName') faults.push(...portFaults(spec))
  if (spec.type !== 'LoadBalancer') return faults
  if (new Set(spec.ipFamilies).size < spec.ipFamilies.length) {
    const message = `${spec.ipFamilies.join(', ')}: a family is there twice`
    faults.push(fault('error', ['spec', 'ipFamilies'], 'InvalidField', message, 'Write each family once.'))
  }
  if (spec.ipFamilyPolicy === 'SingleStack' && new Set(spec.ipFamilies).size > 1) {
    const message = `SingleStack with the families ${spec.ipFamilies.join(', ')}: only the first one counts`
    const remedy = 'Write PreferDualStack or RequireDualStack, or one family in spec.ipFamilies.'
    faults.push(fault('warning', ['spec', 'ipFamilyPolicy'], 'FamiliesTrimmed', message, remedy))
  }
  if (spec.sessionAffinity === 'None' && spec.sessionAffinityConfig?.clientIP != null) {
    const path = ['spec', 'sessionAffinityConfig']
    const message = 'without sessionAffinity ClientIP it has no effect'
    faults.push(fault('warning', path, 'InvalidField', message, 'Write sessionAffinity: ClientIP, or remove it.'))
  }
  return faults
}

/** Two of one place would be one frontend that is two things. */
function portFaults({ type, ports }: Written['spec']): readonly Fault[] {
  const seen = new Set<string>()
  const twice = (name: 'port' | 'nodePort', index: number, place: string): readonly Fault[] => {
    const isTwice = seen.has(`${name} ${place}`)
    seen.add(`${name} ${place}`)
    if (!isTwice) return []
    const message = `${place} is a ${name} of this Service already`
    return [fault('error', ['spec', 'ports', index, name], 'DuplicatePort', message, `Write each ${name} once.`)]
  }
  return ports.flatMap(({ protocol, port, nodePort }, index) => [
    ...twice('port', index, `${port}/${protocol}`),
    ...(nodePort && mayHaveNodePorts(type) ? twice('nodePort', index, `${nodePort}/${protocol}`) : []),
  ])
}

function takenExternalIPs({ externalIPs, ports }: Written['spec']): readonly string[] {
  return externalIPs.slice(0, mostAddresses(ports.length))
}

function externalFaults({ spec }: Written): readonly Fault[] {
  const taken = takenExternalIPs(spec)
  const beyond = beyondAddresses(spec.externalIPs.length, spec.ports.length, 'taken')
  const path = ['spec', 'externalIPs', taken.length]
  return [
    ...(beyond === undefined ? [] : [fault('warning', path, 'LimitExceeded', beyond, beyondRemedy)]),
    ...addressFaults(taken),
    ...clusterFaults(spec),
  ]
}

/** As {@link ownAddressesOf} reads them. */
function clusterFaults({ type, clusterIP, clusterIPs }: Written['spec']): readonly Fault[] {
  if (type === 'ExternalName') return []
  const written =
    clusterIPs.length > 0
      ? clusterIPs.map((ip, index) => [['spec', 'clusterIPs', index], ip] as const)
      : [[['spec', 'clusterIP'], clusterIP ?? ''] as const]
  return written.flatMap(([path, ip]) => {
    if (ip === '' || ip === 'None' || parseAddress(ip) !== undefined) return []
    const message = `${JSON.stringify(shown(ip))} is not an address: it is nobody's`
    return [fault('warning', path, 'InvalidAddress', message, 'Leave it to the API server, or write None.')]
  })
}

function addressFaults(externalIPs: readonly string[]): readonly Fault[] {
  return externalIPs.flatMap((ip, index) => {
    if (ip === '' || parseAddress(ip) !== undefined) return []
    const message = `${JSON.stringify(shown(ip))} is not an address: it is not announced`
    const remedy = 'Write an IPv4 or IPv6 address without a length.'
    return [fault('warning', ['spec', 'externalIPs', index], 'InvalidAddress', message, remedy)]
  })
}

/** Of a LoadBalancer, the only type for which the API server takes them. */
function rangesOf({ metadata, spec }: Written): ReadRanges {
  const { loadBalancerSourceRanges: listed, type } = spec
  if (type === 'LoadBalancer') return sourceRangesOf(listed, metadata.annotations, familiesOf(spec))
  return { ranges: undefined, isUsable: true, faults: listed.length === 0 ? [] : [onlyOfLoadBalancers] }
}

const onlyOfLoadBalancers = fault(
  'warning',
  ['spec', 'loadBalancerSourceRanges'],
  'InvalidField',
  'only a LoadBalancer has source ranges: they have no effect',
  'Remove them.',
)

function statusFaults({ status }: Written): readonly Fault[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }, index) => {
    if (!ip || parseAddress(ip) !== undefined) return []
    const path = ['status', 'loadBalancer', 'ingress', index, 'ip']
    const message = `${JSON.stringify(shown(ip))} is not an address: it is not announced`
    return [fault('warning', path, 'InvalidAddress', message, 'Correct it, or leave the status to the allocation.')]
  })
}

/** As the API server completes it. */
const defaultAffinitySec = 10_800

function affinityOf({ sessionAffinity, sessionAffinityConfig }: Written['spec']): number | undefined {
  if (sessionAffinity !== 'ClientIP') return undefined
  return sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySec
}

function compact(
  { metadata, spec, status }: Written,
  sourceRanges: SourceRanges | undefined,
  weights: Weights | undefined,
  raw: RawObject,
): Service {
  const isLoadBalancer = spec.type === 'LoadBalancer'
  const addresses = ownAddressesOf(spec)
  const nodePorts = nodePortsOf(spec)
  const isKept = isLoadBalancer || addresses.length > 0 || nodePorts.length > 0
  const own = {
    name: metadata.name,
    namespace: sharedText(metadata.namespace ?? 'default'),
    labels: isKept ? sharedLabels(metadata.labels) : otherSpec.selector,
    annotations: isLoadBalancer ? meaningful(metadata.annotations) : otherSpec.selector,
    creationTimestamp: metadata.creationTimestamp,
  }
  if (!isKept)
    return {
      metadata: own,
      spec: { ...otherSpec, type: spec.type },
      status: nothing,
      ...noRecord,
      own: noAddresses,
      nodePorts: noPorts,
      healthCheckNodePort: undefined,
    }
  const families = familiesOf(spec)
  const { portsHeld, isAttested } = isLoadBalancer ? recordOfOperator(raw, status) : noRecord
  // Each by its name: what is spread into an object may lie beside it, in a second one.
  return {
    metadata: own,
    spec: sharedValue({
      type: spec.type,
      loadBalancerClass: spec.loadBalancerClass,
      loadBalancerIP: spec.loadBalancerIP,
      sourceRanges,
      externalTrafficPolicy: spec.externalTrafficPolicy,
      internalTrafficPolicy: spec.internalTrafficPolicy,
      affinitySec: affinityOf(spec),
      // It only counts where two Services share an address.
      selector: spec.externalTrafficPolicy === 'Local' ? spec.selector : {},
      families,
      needsAllFamilies: families.length === 2 && spec.ipFamilyPolicy !== 'PreferDualStack',
      ports: spec.ports.map(({ name, protocol, port }) => ({ name: name ?? '', protocol, port })),
      weights,
    }),
    status: addressesIn(status),
    portsHeld,
    isAttested,
    own: addresses,
    nodePorts,
    healthCheckNodePort:
      isLoadBalancer && spec.externalTrafficPolicy === 'Local' ? spec.healthCheckNodePort || undefined : undefined,
  }
}

function addressesIn(status: Written['status']): readonly string[] {
  const addresses = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => {
    const address = parseAddress(ip ?? '')
    return address === undefined ? [] : [formatAddress(unmapped(address))]
  })
  return keptList(addresses)
}

function mayHaveNodePorts(type: Written['spec']['type']): boolean {
  return type === 'NodePort' || type === 'LoadBalancer'
}

/** Beside the ports, which many Services have alike: a node port is of one alone. */
function nodePortsOf({ type, ports }: Written['spec']): readonly number[] {
  return mayHaveNodePorts(type) && ports.some(({ nodePort }) => nodePort)
    ? ports.map(({ nodePort }) => nodePort ?? 0)
    : noPorts
}

/** The first of a type that has a message; whatever has not that form is somebody else's. */
function conditionIn(status: Written['status'], type: string): RawObject | undefined {
  const list: readonly unknown[] = Array.isArray(status?.conditions) ? status.conditions : []
  return list.filter(isRecord).find((each) => each['type'] === type && typeof each['message'] === 'string')
}

/** Who wrote its status decides what of it is to be trusted. */
function recordOfOperator(raw: RawObject, status: Written['status']): Pick<Service, 'portsHeld' | 'isAttested'> {
  const writers = statusWritersOf(raw)
  const message = writers?.isPortsHeldOwn === false ? undefined : conditionIn(status, portsHeldCondition)?.['message']
  return {
    portsHeld: typeof message === 'string' ? message : undefined,
    isAttested: writers?.isAllocatedOwn === true && conditionIn(status, allocatedCondition)?.['status'] === 'True',
  }
}

/** "None" and "" are none, and an ExternalName is a name. */
function ownAddressesOf(spec: Written['spec']): readonly OwnAddress[] {
  const { type, clusterIP, clusterIPs } = spec
  if (type === 'ExternalName') return noAddresses
  const cluster = clusterIPs.length > 0 ? clusterIPs : clusterIP === undefined ? [] : [clusterIP]
  const found = new Map<string, OwnAddress>()
  const take = (of: OwnAddress['type'], texts: readonly string[]): void => {
    for (const text of texts) {
      const parsed = parseAddress(text)
      if (parsed === undefined) continue
      const address = formatAddress(unmapped(parsed))
      found.set(`${of} ${address}`, { type: of, address })
    }
  }
  take('ClusterIP', cluster)
  take('ExternalIP', takenExternalIPs(spec))
  return found.size === 0 ? noAddresses : [...found.values()]
}

function sharedLabels(labels: Labels): Labels {
  const all = Object.entries(labels).map(([name, value]) => [sharedText(name), sharedText(value)] as const)
  return all.length === 0 ? otherSpec.selector : Object.fromEntries(all)
}

/** Without what others wrote for themselves, such as the whole manifest once more; empty is as absent. */
function meaningful(annotations: Labels): Labels {
  const own = Object.entries(annotations).filter(
    ([name, value]) => value !== '' && /^[^/]*(cilium|metallb|herald)/.test(name),
  )
  return own.length === 0 ? otherSpec.selector : Object.fromEntries(own)
}

/** As the API server completes them: of the cluster IPs, else IPv4; a policy of both adds the other one. */
function familiesOf({ ipFamilies: listed, ipFamilyPolicy: policy, clusterIPs }: Written['spec']): readonly Family[] {
  const derived = clusterIPs.flatMap((ip) => {
    const address = parseAddress(ip)
    return address === undefined ? [] : typeof address === 'number' ? (['ipv4'] as const) : (['ipv6'] as const)
  })
  const written = listed.map((name): Family => (name === 'IPv4' ? 'ipv4' : 'ipv6'))
  const known = [...new Set(written.length > 0 ? written : derived)]
  const [first = 'ipv4', second = first === 'ipv4' ? 'ipv6' : 'ipv4'] = known
  const isDual = policy === undefined ? known.length === 2 : policy !== 'SingleStack'
  return isDual ? [first, second] : [first]
}

export function serviceKey({ metadata }: Service): string {
  return keptText(metadata.namespace ?? 'default', '/', metadata.name)
}

/** The labels of a Service with the pseudo labels that selectors may name. */
export function selectableLabels({ metadata }: Service): Labels {
  return {
    ...metadata.labels,
    'io.kubernetes.service.name': metadata.name,
    'io.kubernetes.service.namespace': metadata.namespace ?? 'default',
  }
}
