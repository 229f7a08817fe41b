/**
 * discovery.k8s.io/v1 EndpointSlice. Target ports are numbers here already. A cluster has many of them, so what is
 * kept is small: addresses are packed into one text, and equal lists of ports are one.
 */
import * as z from 'zod'
import { keptList, keptText } from '../../desired/kept.ts'
import { type Address, familyOfAddress, type Family, isForwardable, parseAddress, unmapped } from '../../ip/address.ts'
import { isRecord, type RawObject, recordOf } from '../source.ts'
import { FewFaults } from './few-faults.ts'
import { fault, metadataSchema, narrow, tooLong, type Fault, type Metadata, type Narrowed } from './narrow.ts'
import { choice, optionalList } from './schemas.ts'
import { sharedText, sharedValue } from './shared.ts'
import { sliceWeightIn } from './weights.ts'

const condition = z.boolean().nullish()
export const endpointSliceSchema = z.object({
  metadata: metadataSchema,
  addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
  endpoints: optionalList(
    z.object({
      addresses: z.array(z.string()).max(100, 'at most 100 addresses are one endpoint'),
      nodeName: z.string().nullish(),
      // Of another form it is none.
      zone: z.unknown().optional(),
      // Only shown: whatever it says costs no endpoint.
      targetRef: z.unknown().optional(),
      // A preference.
      hints: z.unknown().optional(),
      conditions: z.object({ ready: condition, serving: condition, terminating: condition }).nullish(),
    }),
  ),
  ports: optionalList(
    z.object({
      name: z.string().nullish(),
      protocol: choice(['TCP', 'UDP', 'SCTP'], 'TCP'),
      port: z.number().int().min(1).max(65535).nullish(),
    }),
  ),
})

export interface SlicePort {
  /** Empty where it has none. */
  readonly name: string
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
  readonly port: number
}

/** `ready`: takes connections. `serving`: takes them while it terminates, if none is ready. */
export type EndpointState = 'ready' | 'serving' | 'not'

export interface EndpointSlice {
  readonly metadata: Metadata
  /** `namespace/name` of the Service that it belongs to; undefined for a slice of no Service. */
  readonly service: string | undefined
  /** undefined: of type FQDN, whose endpoints have no addresses. */
  readonly family: Family | undefined
  /** Ports without a number mean nothing to a load balancer, and are not here. */
  readonly ports: readonly SlicePort[]
  /** The node of each endpoint; empty where it is not said. */
  readonly nodes: readonly string[]
  /** The zone of each endpoint; empty where none has one. */
  readonly zones: readonly string[]
  /** What each of its pods gets of what is new; undefined: nothing is said. */
  readonly weight: number | undefined
  /** The addresses of all endpoints, one after the other, a character for each octet. */
  readonly packed: string
  /** A letter for each endpoint. */
  readonly states: string
  /** Names of the pods, each with a line end; empty where no endpoint is one. */
  readonly pods: string
  /** For each endpoint whom it is meant for, as {@link hintsOf} has it; empty where none says so. */
  readonly hints: readonly string[]
}

/** Of endpoints as the API server allows them; of ports as many as a Service may have. */
const limits = [
  [['endpoints'], 1000],
  [['ports'], 1000],
] as const

/** Of one endpoint. */
const within = [['addresses'], ['hints', 'forZones'], ['hints', 'forNodes']] as const
const mostWithin = 1000

const letters = { ready: 'r', serving: 's', not: 'n' } as const
const stateOfLetter: Readonly<Record<string, EndpointState>> = { r: 'ready', s: 'serving', n: 'not' }
/** What its key says is not kept twice, and nothing else of it is asked for. */
const none: readonly string[] = []
const noMetadata: Metadata = { name: '', labels: {}, annotations: {} }

/** Empty where it is none, or has a name that none can have. */
function podOf(targetRef: unknown): string {
  if (typeof targetRef !== 'object' || targetRef === null) return ''
  const name: unknown = Reflect.get(targetRef, 'name')
  return Reflect.get(targetRef, 'kind') === 'Pod' && typeof name === 'string' && /^[a-z0-9.-]{1,253}$/.test(name)
    ? name
    : ''
}

interface Named {
  readonly hints?: unknown
}

/** The names in `forZones` or `forNodes`; what is written otherwise says nothing. */
function namesOf(hints: unknown, field: 'forZones' | 'forNodes'): string {
  const listed: unknown = typeof hints === 'object' && hints !== null ? Reflect.get(hints, field) : undefined
  const names: readonly unknown[] = Array.isArray(listed)
    ? listed.map((each: unknown): unknown =>
        typeof each === 'object' && each !== null ? Reflect.get(each, 'name') : undefined,
      )
    : []
  return names.filter((name) => typeof name === 'string' && /^[\w.-]+$/.test(name)).join()
}

/** `zone,zone/node,node`: neither sign is in a name. */
function hintsOf({ hints }: Named): string {
  return hints == null ? '/' : `${namesOf(hints, 'forZones')}/${namesOf(hints, 'forNodes')}`
}

/** Of the first endpoint of which a list is too long. */
function crowdedFaults({ endpoints }: RawObject): readonly Fault[] {
  const isCrowded = (list: unknown): boolean => Array.isArray(list) && list.length > mostWithin
  const index = (Array.isArray(endpoints) ? endpoints : []).findIndex((each) => {
    const { addresses, hints } = recordOf(each)
    if (isCrowded(addresses)) return true
    return isRecord(hints) && (isCrowded(hints['forZones']) || isCrowded(hints['forNodes']))
  })
  if (index < 0) return noFaults
  return tooLong(
    { endpoints },
    within.map((path) => [['endpoints', index, ...path], mostWithin]),
  )
}

const noFaults: readonly Fault[] = []

export function parseEndpointSlice(raw: RawObject): Narrowed<EndpointSlice> {
  const long = tooLong(raw, limits)
  if (long.length > 0) return { faults: long }
  const crowded = crowdedFaults(raw)
  if (crowded.length > 0) return { faults: crowded }
  const { value, faults } = narrow(endpointSliceSchema, raw)
  if (value === undefined) return { faults }
  const { metadata, addressType, endpoints, ports } = value
  const name = metadata.labels['kubernetes.io/service-name']
  const family = addressType === 'FQDN' ? undefined : addressType === 'IPv4' ? 'ipv4' : 'ipv6'
  const nodes: string[] = []
  const zones: string[] = []
  const packed: string[] = []
  const states: string[] = []
  const pods: string[] = []
  const hinted: string[] = []
  const wrong = new FewFaults()
  endpoints.forEach(({ addresses, nodeName, zone, targetRef, conditions, ...more }, index) => {
    addresses.forEach((text, position) => {
      const parsed = family === undefined ? undefined : parseAddress(text)
      const address = parsed === undefined ? undefined : unmapped(parsed)
      const why = family === undefined ? undefined : whyNoEndpoint(address, family)
      if (why !== undefined) {
        const path = ['endpoints', index, 'addresses', position]
        const remedy = `Write an ${addressType} address of a pod, or another addressType.`
        wrong.add(() => fault('warning', path, 'InvalidAddress', `${text} is ${why}: left out`, remedy))
        return
      }
      nodes.push(sharedText(nodeName ?? ''))
      zones.push(typeof zone === 'string' ? sharedText(zone) : '')
      if (address !== undefined) packed.push(pack(address))
      states.push(letters[stateOf(conditions ?? {})])
      pods.push(podOf(targetRef))
      hinted.push(sharedText(hintsOf(more)))
    })
  })
  const { weight, faults: ofWeight } = sliceWeightIn(metadata.annotations)
  const compact: EndpointSlice = {
    metadata: noMetadata,
    service: name ? keptText(metadata.namespace ?? 'default', '/', name) : undefined,
    family,
    ports: sharedValue(
      ports.flatMap((entry) =>
        entry.port ? [{ name: entry.name ?? '', protocol: entry.protocol, port: entry.port }] : [],
      ),
    ),
    nodes: keptList(nodes),
    zones: zones.some((each) => each !== '') ? sharedValue(keptList(zones)) : none,
    weight,
    packed: keptText(...packed),
    states: sharedText(keptText(...states)),
    pods: pods.some((name) => name !== '') ? pods.map((name) => `${name}\n`).join('') : '',
    hints: hinted.some((each) => each !== '/') ? hinted.slice() : none,
  }
  return { value: compact, faults: [...faults, ...wrong.all(), ...ofWeight] }
}

/** What an address is in place of one that a pod may have. */
function whyNoEndpoint(address: Address | undefined, family: Family): string | undefined {
  if (address === undefined || familyOfAddress(address) !== family) return `no ${typeNames[family]} address`
  return isForwardable(address) ? undefined : 'no address that packets are forwarded to'
}

const typeNames = { ipv4: 'IPv4', ipv6: 'IPv6' } as const

interface Conditions {
  readonly ready?: boolean | null | undefined
  readonly serving?: boolean | null | undefined
}

/** As MetalLB counts: ready, which it is when nothing is said, or still serving while it terminates. */
function stateOf({ ready, serving }: Conditions): EndpointState {
  return (ready ?? true) ? 'ready' : serving === true ? 'serving' : 'not'
}

export interface Endpoint {
  /** undefined: of a slice of type FQDN. */
  readonly address: Address | undefined
  readonly nodeName: string
  /** Empty where it is not said. */
  readonly zone: string
  readonly state: EndpointState
  /** Whom it is meant for: `zone,zone/node,node`; `/` for nobody in particular. */
  readonly hints: string
}

/** The endpoints of a slice, one for each address. */
export function endpointsOf({ family, nodes, zones, packed, states, hints }: EndpointSlice): readonly Endpoint[] {
  const size = family === undefined ? 0 : family === 'ipv4' ? 4 : 16
  return nodes.map((nodeName, index) => ({
    address: size === 0 ? undefined : unpack(packed.slice(index * size, (index + 1) * size)),
    nodeName,
    zone: zones[index] ?? '',
    state: stateOfLetter[states[index] ?? 'n'] ?? 'not',
    hints: hints[index] ?? '/',
  }))
}

/** Those of its endpoints. */
export function addressesOf({ family, packed }: EndpointSlice): readonly Address[] {
  const size = family === 'ipv4' ? 4 : 16
  return Array.from({ length: packed.length / size }, (_, index) =>
    unpack(packed.slice(index * size, (index + 1) * size)),
  )
}

/** The name of the pod with this address. */
export function podAt(slice: EndpointSlice, address: Address): string | undefined {
  if (slice.pods === '') return undefined
  const index = endpointsOf(slice).findIndex((endpoint) => endpoint.address === address)
  return index < 0 ? undefined : slice.pods.split('\n')[index] || undefined
}

function pack(address: Address): string {
  return typeof address === 'string'
    ? address
    : String.fromCharCode(address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255)
}

function unpack(text: string): Address {
  if (text.length !== 4) return text
  return (
    ((text.charCodeAt(0) << 24) | (text.charCodeAt(1) << 16) | (text.charCodeAt(2) << 8) | text.charCodeAt(3)) >>> 0
  )
}
