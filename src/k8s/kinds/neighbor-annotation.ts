/**
 * The annotation `herald.dev/neighbors`: what foreign schemas lack, as YAML text keyed by the peer address ("*": all).
 * Each key is judged by itself: one that is wrong is reported and left out, the others of the neighbor hold. Pure.
 */
import * as z from 'zod'
import type { BfdSettings, ImportPrefix } from '../../desired/model.ts'
import { formatAddress, isUnicast, parseAddress, unmapped } from '../../ip/address.ts'
import { formatPrefix, hasHostBits, parsePrefix, prefixFamily, prefixLength } from '../../ip/prefix.ts'
import { defaultBfd } from './bfd-profile.ts'
import { fault, narrow, type Fault, type Narrowed, type Part } from './narrow.ts'
import { nearest } from './nearest.ts'
import { narrowParts } from './parts.ts'
import { parseExtendedCommunity } from './extended-communities.ts'
import { readMap } from './yaml-map.ts'

export const neighborsAnnotation = 'herald.dev/neighbors'

/** A text that `read` understands; `what` is said of one that it does not. */
function text<T>(read: (written: string) => T | undefined, what: string) {
  return z.string().transform((written, context) => {
    const found = read(written)
    if (found !== undefined) return found
    context.addIssue(`${written} is not ${what}`)
    return z.NEVER
  })
}

/** Canonical; ::ffff:192.0.2.1 is 192.0.2.1. */
function canonical(written: string): string | undefined {
  const parsed = parseAddress(written)
  return parsed === undefined ? undefined : formatAddress(unmapped(parsed))
}

const address = text(canonical, 'an address')
/** IPv4 addresses that routers write as ::ffff:192.0.2.1 may be next hops of IPv6 routes, as in RFC 4798 2. */
function ipv6Text(written: string): string | undefined {
  const parsed = parseAddress(written)
  return typeof parsed === 'string' ? formatAddress(parsed) : undefined
}

/** What packets can be sent to: RFC 7606 7.3 takes a route with another one for withdrawn. */
const unicast =
  <T extends string>(read: (written: string) => T | undefined) =>
  (written: string): T | undefined => {
    const found = read(written)
    return found !== undefined && isUnicast(parseAddress(found) ?? 0) ? found : undefined
  }

/** The same for both families, or each its own. */
const perFamily = <T extends z.ZodType>(value: T) =>
  z.union([
    value.transform((both) => ({ ipv4: both, ipv6: both })),
    z.strictObject({ ipv4: value, ipv6: value }).partial(),
  ])

const hop = text(unicast(canonical), 'a unicast address')
const ipv6Hop = text(unicast(ipv6Text), 'a unicast IPv6 address')
const nextHop = z.union([
  hop.transform((found) => (found.includes(':') ? { ipv6: found } : { ipv4: found })),
  z.strictObject({ ipv4: hop, ipv6: ipv6Hop }).partial(),
])

const importPrefix = z.string().transform((written, context) => {
  const found = parseImportPrefix(written)
  if (typeof found !== 'string') return found
  context.addIssue(found)
  return z.NEVER
})

const number = (least: number, most = 4_294_967_295) => z.number().int().min(least).max(most)
/** Neither `.` nor `..`. Also a pattern of a CRD: regular expressions of Go look nowhere ahead. */
export const interfaceName = /^([^\s/:.][^\s/:]{0,14}|\.[^\s/:.][^\s/:]{0,13}|\.\.[^\s/:]{1,13})$/
/** Of a field that the API server takes empty, which is "not set". */
export const interfaceNameOrNone = /^[^\s/]{0,15}$/
const u32 = number(0)
const limit = number(1)
const asn = number(1)

/** Of the routes, as {@link RouteAttributes} has them. */
export const attributeKeys = {
  med: perFamily(u32),
  asPathPrepend: perFamily(number(0, 16)),
  extendedCommunities: perFamily(
    z.array(
      text(
        parseExtendedCommunity,
        'an extended community such as rt:65000:100, soo:192.0.2.1:7, lb:65000:12500000 or 16 hexadecimal digits',
      ),
    ),
  ),
} as const

const intervalMs = number(10, 60_000)
/** The names of MetalLB's BFDProfile; `{}` is its defaults. */
const bfd = z
  .strictObject({
    receiveInterval: intervalMs,
    transmitInterval: intervalMs,
    detectMultiplier: number(2, 255),
    passiveMode: z.boolean(),
    minimumTtl: number(1, 254),
    multihop: z.boolean(),
  })
  .partial()
  .transform(
    (written): BfdSettings => ({
      receiveIntervalMs: written.receiveInterval ?? defaultBfd.receiveIntervalMs,
      transmitIntervalMs: written.transmitInterval ?? defaultBfd.transmitIntervalMs,
      detectMultiplier: written.detectMultiplier ?? defaultBfd.detectMultiplier,
      isPassive: written.passiveMode ?? defaultBfd.isPassive,
      ...(written.minimumTtl === undefined ? {} : { minimumTtl: written.minimumTtl }),
      ...(written.multihop === undefined ? {} : { isMultihop: written.multihop }),
    }),
  )

const keys = {
  passive: z.boolean(),
  /** GTSM in hops: 1 is directly connected. */
  ttlSecurity: number(1, 254),
  sourceAddress: address,
  /** RFC 8538 N bit. */
  notification: z.boolean(),
  nextHop,
  ...attributeKeys,
  role: z.enum(['provider', 'rs', 'rs-client', 'customer', 'peer']),
  interface: z.string().regex(interfaceName, 'not the name of an interface'),
  importPrefixes: z.array(importPrefix),
  enforceFirstAs: z.boolean(),
  rejectAsSets: z.boolean(),
  allowAsIn: number(0, 10),
  maxPrefixes: limit,
  maxPrefixesOut: limit,
  tcpUserTimeout: number(1, 3600),
  localAs: asn,
  addPathReceive: z.boolean(),
  delayOpen: number(0, 240),
  bfd,
} as const

const schema = z.strictObject(keys).partial()

export type NeighborOverrides = z.infer<typeof schema>

/** The keys of one entry of the annotation. */
export interface NeighborKeys {
  /** Canonical address, or `*`. */
  readonly address: string
  /** Of a key such as `fe80::1%eth0` or `::%eth0`. */
  readonly zone?: string
  readonly keys: NeighborOverrides
}

export type NeighborAnnotation = readonly NeighborKeys[]

const example = `${neighborsAnnotation}: '{"192.0.2.1": {ttlSecurity: 1}}'`

/** Parts, each with its last good version: the annotation, each entry of it, each key of an entry. */
export function parseNeighborAnnotation(
  annotations: Readonly<Record<string, string>>,
  before: NeighborAnnotation = [],
): { readonly keys: NeighborAnnotation; readonly faults: readonly Fault[] } {
  const written = annotations[neighborsAnnotation] ?? ''
  if (written.trim() === '') return { keys: [], faults: [] }
  const path = ['metadata', 'annotations', neighborsAnnotation]
  const read = readMap(written)
  if (typeof read === 'string') {
    const rest = before.length > 0 ? 'until then what it said before stays in force' : 'until then it says nothing'
    const message = `no YAML map of neighbors: ${read}`
    return { keys: before, faults: [fault('error', path, 'InvalidAnnotation', message, `Write ${example}; ${rest}.`)] }
  }
  const { parts, faults } = narrowParts(
    Object.entries(read).map(([key, entry]) => [[...path, key], [key, entry] as const]),
    {
      what: 'this entry',
      before: new Map(before.map((entry) => [entryKey(entry), entry])),
      keyOf: ([key]) => {
        const target = targetOf(key)
        return target === undefined ? undefined : entryKey(target)
      },
      parse: parseEntry,
      twice: (at) =>
        fault('error', at, 'DuplicateNeighbor', 'this address has an entry already, which counts', 'Remove one.'),
    },
  )
  return { keys: parts.map(({ value }) => value), faults }
}

/**
 * What the annotations say of one neighbor; later ones go before earlier ones, and within one the address before `*`.
 */
export function overridesFor(
  peerAddress: string,
  annotations: readonly NeighborAnnotation[],
): readonly NeighborOverrides[] {
  const layers = annotations.flatMap((entries) =>
    ['*', peerAddress].flatMap((name) => entries.filter(({ address, zone }) => address === name && zone === undefined)),
  )
  const own: NeighborOverrides = Object.assign({}, ...layers.map((layer) => layer.keys))
  const zones = new Map<string, NeighborOverrides>()
  for (const { address, zone, keys: zoned } of annotations.flat())
    if (address === peerAddress && zone !== undefined)
      zones.set(zone, { ...own, ...zones.get(zone), ...zoned, interface: zone })
  const isCovered = zones.size > 0 && (own.interface === undefined || zones.has(own.interface))
  return isCovered ? [...zones.values()] : [own, ...zones.values()]
}

/** Entries that name no neighbor, where `addresses` are all there are: they have no effect. */
export function unmetEntries(
  entries: NeighborAnnotation,
  addresses: ReadonlySet<string>,
  where: string,
): readonly Fault[] {
  return entries.flatMap((entry): Fault[] => {
    if (entry.address === '*' || addresses.has(entry.address)) return []
    const near = nearest(entry.address, [...addresses], 1)
    const remedy = near === undefined ? 'Remove it, or add the neighbor.' : `Did you mean ${near}? Else remove it.`
    const message = `${entryKey(entry)} is no neighbor of ${where}: the entry has no effect`
    return [fault('warning', ['metadata', 'annotations', neighborsAnnotation], 'NoSuchNeighbor', message, remedy)]
  })
}

function targetOf(key: string): Pick<NeighborKeys, 'address' | 'zone'> | undefined {
  if (key === '*') return { address: '*' }
  const [host = '', zone] = key.split('%')
  const parsed = parseAddress(host)
  if (parsed === undefined || (zone !== undefined && !interfaceName.test(zone))) return undefined
  return { address: formatAddress(unmapped(parsed)), ...(zone === undefined ? {} : { zone }) }
}

function entryKey({ address, zone }: Pick<NeighborKeys, 'address' | 'zone'>): string {
  return zone === undefined ? address : `${address}%${zone}`
}

function parseEntry(
  [key, entry]: readonly [string, unknown],
  { at, meanwhile }: Part,
  before: NeighborKeys | undefined,
): Narrowed<NeighborKeys> {
  const target = targetOf(key)
  const say = (message: string, remedy: string): Narrowed<NeighborKeys> => ({
    faults: [fault('error', at, 'InvalidAnnotation', message, `${remedy}; ${meanwhile}.`)],
  })
  if (target === undefined)
    return say(`${key} is not an address`, 'Key by the peer address without mask, as "192.0.2.1", or by "*"')
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    return say('no map of keys', `Write ${example}`)
  const { parts, faults } = narrowParts(
    Object.entries(entry).map(([name, one]) => [[...at, name], { [name]: one }]),
    {
      what: 'this key',
      before: new Map(Object.entries(before?.keys ?? {}).map(([name, one]) => [name, { [name]: one }])),
      keyOf: (one) => meantKey(Object.keys(one)[0] ?? '', keys, entry, before?.keys ?? {}),
      parse: (one, part) => {
        const [name = ''] = Object.keys(one)
        const meant = meantKey(name, keys, entry, before?.keys ?? {})
        if (meant === name) return narrow(schema, one, () => [], { ...part, at })
        return { faults: [misspeltKey(meant, part)] }
      },
    },
  )
  return {
    value: { ...target, keys: Object.assign({}, ...parts.map(({ value }) => value)) },
    faults,
  }
}

/** The key that a misspelt one stands for: one that is in force, and is not written any more. */
export function meantKey(name: string, known: object, written: object, before: object): string {
  if (Object.hasOwn(known, name)) return name
  return (
    nearest(
      name,
      Object.keys(before).filter((each) => !Object.hasOwn(written, each)),
    ) ?? name
  )
}

export function misspeltKey(meant: string, { at, meanwhile }: Part): Fault {
  const message = `not a key that is known, and ${meant}, which was in force, is not written`
  return fault('error', at, 'InvalidField', message, `Write ${meant}; ${meanwhile}.`)
}

/** `10.0.0.0/8 ge 16 le 24`, as FRR's prefix-list has it; else what is wrong with it. */
function parseImportPrefix(written: string): ImportPrefix | string {
  const [, network = '', ge, le] = /^(\S+)(?:\s+ge\s+(\d+))?(?:\s+le\s+(\d+))?$/.exec(written.trim()) ?? []
  const prefix = parsePrefix(network)
  if (prefix === undefined)
    return `${written} is not a prefix such as 10.0.0.0/8, with ge and le as in 10.0.0.0/8 ge 16 le 24`
  const whole = formatPrefix(prefix)
  if (hasHostBits(network)) return `${network} has bits beyond its length: write ${whole}`
  const maximum = prefixFamily(prefix) === 'ipv4' ? 32 : 128
  const [from, to] = [ge === undefined ? prefixLength(prefix) : Number(ge), le === undefined ? maximum : Number(le)]
  if (from < prefixLength(prefix)) return `${written}: ge ${from} is shorter than ${whole} itself`
  if (to > maximum || from > maximum) return `${written}: no prefix of this family is longer than ${maximum}`
  if (to < from) return `${written}: le ${to} is shorter than ${ge === undefined ? `${whole} itself` : `ge ${from}`}`
  return {
    prefix: whole,
    ...(ge === undefined ? {} : { ge: Number(ge) }),
    ...(le === undefined ? {} : { le: Number(le) }),
  }
}
