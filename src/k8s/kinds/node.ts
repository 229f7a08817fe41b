/**
 * core/v1 Node: labels, PodCIDRs, addresses, and what our annotations and the router annotation say of it. PodCIDRs,
 * addresses and each annotation are parts: a broken one is what it was before.
 */
import * as z from 'zod'
import { formatAddress, isUnicastIpv4, parseAddress, parseIpv4, unmapped } from '../../ip/address.ts'
import { formatPrefix, hasHostBits } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, tooLong, type Fault, type FieldPath, type Narrowed } from './narrow.ts'
import { nearest } from './nearest.ts'
import { unknownAnnotations } from './annotations.ts'
import { neighborsAnnotation, parseNeighborAnnotation, type NeighborAnnotation } from './neighbor-annotation.ts'
import { optionalList, optionalText } from './schemas.ts'
import { parsePodPrefix, whyNoPodPrefix } from './pod-prefix.ts'
import { parseTunnelAddresses, tunnelAddressesAnnotation } from './tunnel-addresses.ts'

const schema = z.object({
  metadata: metadataSchema,
  spec: z
    .object({
      podCIDR: optionalText,
      podCIDRs: optionalList(z.string()),
      unschedulable: z.unknown().optional(),
      taints: z.unknown().optional(),
    })
    .nullish(),
  status: z
    .object({
      addresses: optionalList(z.object({ type: z.string(), address: z.string() })),
      conditions: z.unknown().optional(),
    })
    .nullish(),
})

type Written = z.infer<typeof schema>

/** What the annotation `cilium.io/bgp-virtual-router.{asn}` says. */
export interface RouterSettings {
  readonly asn: number
  /** BGP Identifier, dotted IPv4. */
  readonly routerId?: string
  readonly listenPort?: number
}

export interface NodeAddress {
  /** `InternalIP`, `ExternalIP`, ... */
  readonly type: string
  /** Canonical. */
  readonly address: string
}

export interface Node {
  readonly metadata: Written['metadata']
  /** Canonical, unique. */
  readonly podCidrs: readonly string[]
  /** Those of the status that are addresses: not host names. */
  readonly addresses: readonly NodeAddress[]
  readonly routers: readonly RouterSettings[]
  /** `herald.dev/neighbors` of the Node: for this node alone. */
  readonly neighborKeys: NeighborAnnotation
  /** `herald.dev/tunnel-addresses`: where packets for its backends are taken; undefined: at its InternalIPs. */
  readonly tunnelAddresses?: readonly string[]
  /** `herald.dev/drain` */
  readonly isDraining: boolean
  /** Cordoned. */
  readonly isUnschedulable: boolean
  /** Keys of its taints. */
  readonly taints: readonly string[]
  /** `NotReady`, and conditions such as `NetworkUnavailable` that are true and should not be; without heartbeats. */
  readonly troubles: readonly string[]
}

/** Ends in the AS number of the virtual router. */
export const routerAnnotation = 'cilium.io/bgp-virtual-router.'
const drainAnnotation = 'herald.dev/drain'
const readAnnotations = {
  prefixes: ['herald.dev/', 'cilium.io/bgp-'],
  names: [neighborsAnnotation, drainAnnotation, tunnelAddressesAnnotation],
  beginnings: [routerAnnotation],
}

const limits = [
  [['spec', 'podCIDRs'], 64],
  [['spec', 'taints'], 1000],
  [['status', 'addresses'], 1000],
  [['status', 'conditions'], 1000],
] as const

export function parseNode(raw: RawObject, before?: Node): Narrowed<Node> {
  const long = tooLong(raw, limits)
  if (long.length > 0) return { faults: long }
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { metadata } = value
  const said: Fault[] = [...faults]
  const neighbors = parseNeighborAnnotation(metadata.annotations, before?.neighborKeys)
  said.push(...neighbors.faults, ...unknownAnnotations(metadata.annotations, readAnnotations))
  const tunnelAddresses = parseTunnelAddresses(metadata.annotations, before?.tunnelAddresses, said)
  return {
    value: {
      metadata,
      podCidrs: podCidrsOf(value, before?.podCidrs, said),
      addresses: addressesOf(value, before?.addresses, said),
      routers: routersOf(metadata.annotations, before?.routers ?? [], said),
      neighborKeys: neighbors.keys,
      ...(tunnelAddresses === undefined ? {} : { tunnelAddresses }),
      isDraining: drainOf(metadata.annotations, before?.isDraining ?? false, said),
      isUnschedulable: value.spec?.unschedulable === true,
      taints: entriesOf(value.spec?.taints, 'key').map(([key]) => key),
      troubles: troublesOf(value),
    },
    faults: said,
  }
}

/** Texts of the entries of a list by one of their fields; what has none is passed over. */
function entriesOf(list: unknown, field: string): readonly (readonly [string, object])[] {
  if (!Array.isArray(list)) return []
  return list.flatMap((entry: unknown): readonly (readonly [string, object])[] => {
    const text: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, field) : undefined
    return typeof text === 'string' && typeof entry === 'object' && entry !== null ? [[text, entry]] : []
  })
}

function troublesOf({ status }: Written): readonly string[] {
  const found = entriesOf(status?.conditions, 'type').flatMap(([type, condition]): readonly string[] => {
    const value: unknown = Reflect.get(condition, 'status')
    if (type === 'Ready') return value === 'False' || value === 'Unknown' ? ['NotReady'] : []
    return value === 'True' ? [type] : []
  })
  return [...new Set(found)].sort()
}

function podCidrsOf({ spec }: Written, before: readonly string[] | undefined, faults: Fault[]): readonly string[] {
  const isList = (spec?.podCIDRs ?? []).length > 0
  const written = isList ? (spec?.podCIDRs ?? []) : spec?.podCIDR === undefined ? [] : [spec.podCIDR]
  const prefixes = written.map((text, index) => {
    const path: FieldPath = isList ? ['spec', 'podCIDRs', index] : ['spec', 'podCIDR']
    const prefix = parsePodPrefix(text)
    const shown = prefix === undefined ? '' : formatPrefix(prefix)
    if (prefix === undefined) {
      const rest = before === undefined ? 'it is left out until then' : 'what was good before stays in force'
      const remedy = `Write a prefix such as 10.244.1.0/24 or 2001:db8:1::/64; ${rest}.`
      faults.push(fault('error', path, 'InvalidPrefix', whyNoPodPrefix(text), remedy))
    } else if (hasHostBits(text)) {
      const message = `${text} has bits beyond its length: it is taken as ${shown}`
      faults.push(fault('warning', path, 'HostBits', message, `Write ${shown}.`))
    }
    return prefix === undefined ? undefined : shown
  })
  if (before !== undefined && prefixes.includes(undefined)) return before
  return [...new Set(prefixes.flatMap((prefix) => prefix ?? []))]
}

function addressesOf(
  { status }: Written,
  before: readonly NodeAddress[] | undefined,
  faults: Fault[],
): readonly NodeAddress[] {
  let isBroken = false
  const found = (status?.addresses ?? []).flatMap(({ type, address }, index): NodeAddress[] => {
    const parsed = parseAddress(address.trim())
    if (parsed !== undefined) return [{ type, address: formatAddress(unmapped(parsed)) }]
    // A host name is none.
    if (!type.endsWith('IP')) return []
    isBroken = true
    const rest = before === undefined ? 'it is left out until then' : 'the addresses that were good before stay'
    const remedy = `Write an IPv4 or IPv6 address without a length; ${rest}.`
    faults.push(
      fault(
        'error',
        ['status', 'addresses', index, 'address'],
        'InvalidAddress',
        `${address} is not an address`,
        remedy,
      ),
    )
    return []
  })
  return isBroken && before !== undefined ? before : found
}

function drainOf(annotations: Readonly<Record<string, string>>, before: boolean, faults: Fault[]): boolean {
  const written = annotations[drainAnnotation] ?? ''
  if (written === '' || written === 'true' || written === 'false') return written === 'true'
  const message = `${written} is neither true nor false: the node is ${before ? 'still' : 'not'} drained`
  const path = ['metadata', 'annotations', drainAnnotation]
  faults.push(fault('error', path, 'InvalidAnnotation', message, `Write ${drainAnnotation}: "true" or "false".`))
  return before
}

function routersOf(
  annotations: Readonly<Record<string, string>>,
  before: readonly RouterSettings[],
  faults: Fault[],
): readonly RouterSettings[] {
  return Object.entries(annotations).flatMap(([name, text]): RouterSettings[] => {
    if (!name.startsWith(routerAnnotation)) return []
    const path = ['metadata', 'annotations', name]
    const number = name.slice(routerAnnotation.length)
    const asn = /^[1-9][0-9]{0,9}$/.test(number) ? Number(number) : Number.NaN
    if (asn <= 4_294_967_295)
      return [
        settingsOf(
          text,
          asn,
          path,
          before.find((each) => each.asn === asn),
          faults,
        ),
      ]
    const remedy = `End it with the AS number of a virtual router, as ${routerAnnotation}65001.`
    faults.push(fault('warning', path, 'InvalidAnnotation', `${number} is no AS number: it has no effect`, remedy))
    return []
  })
}

const form = 'router-id=192.0.2.1,local-port=179'

/** `router-id=192.0.2.1,local-port=179`; of keys given twice the last one counts. */
function settingsOf(
  text: string,
  asn: number,
  path: FieldPath,
  before: RouterSettings | undefined,
  faults: Fault[],
): RouterSettings {
  const say = (code: 'InvalidAnnotation' | 'InvalidRouterId' | 'InvalidLocalPort', message: string, what: string) => {
    const rest = what in (before ?? {}) ? 'the last good one stays in force' : 'it is left out until then'
    faults.push(fault('error', path, code, message, `Write ${form}; ${rest}.`))
  }
  let settings: RouterSettings = { asn }
  for (const pair of text.split(',').map((each) => each.trim())) {
    const [, key = '', value = ''] = /^([^=]*?)\s*=\s*([^=]*)$/.exec(pair) ?? []
    if (key === 'router-id') {
      const parsed = parseIpv4(value)
      if (parsed !== undefined && isUnicastIpv4(parsed)) settings = { ...settings, routerId: formatAddress(parsed) }
      else {
        say('InvalidRouterId', `router-id ${value} is no unicast IPv4 address`, 'routerId')
        if (before?.routerId !== undefined) settings = { ...settings, routerId: before.routerId }
      }
    } else if (key === 'local-port') {
      const port = /^[0-9]{1,5}$/.test(value) ? Number(value) : 0
      if (port >= 1 && port <= 65535) settings = { ...settings, listenPort: port }
      else {
        say('InvalidLocalPort', `local-port ${value} is no port from 1 to 65535`, 'listenPort')
        if (before?.listenPort !== undefined) settings = { ...settings, listenPort: before.listenPort }
      }
    } else if (pair !== '') {
      const near = nearest(key, ['router-id', 'local-port'])
      const hint = near === undefined ? '' : `: did you mean ${near}?`
      say('InvalidAnnotation', `${pair} is no pair that is known${hint}`, '')
    }
  }
  return settings
}
