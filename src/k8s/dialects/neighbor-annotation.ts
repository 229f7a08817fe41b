/**
 * The annotation `herald.dev/neighbors`: what foreign schemas lack, as YAML text keyed by the peer address ("*": all).
 * Each key is judged by itself: one that is wrong is reported and left out, the others of the neighbor hold. Pure.
 */
import { parse } from 'yaml'
import * as z from 'zod'
import type { ImportPrefix } from '../../desired/model.ts'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import { formatPrefix, hasHostBits, parsePrefix, prefixFamily, prefixLength } from '../../ip/prefix.ts'
import { fault, narrow, type Fault, type FieldPath } from '../kinds/narrow.ts'
import { parseExtendedCommunity } from './extended-communities.ts'

const neighborsAnnotation = 'herald.dev/neighbors'

/** A text that `read` understands; `what` is said of one that it does not. */
function text<T>(read: (written: string) => T | undefined, what: string) {
  return z.string().transform((written, context) => {
    const found = read(written)
    if (found !== undefined) return found
    context.addIssue(`${written} is not ${what}`)
    return z.NEVER
  })
}

const address = text((written) => {
  const parsed = parseAddress(written)
  return parsed === undefined ? undefined : formatAddress(parsed)
}, 'an address')

/** The same for both families, or each its own. */
const perFamily = <T extends z.ZodType>(value: T) =>
  z.union([
    value.transform((both) => ({ ipv4: both, ipv6: both })),
    z.strictObject({ ipv4: value, ipv6: value }).partial(),
  ])

const nextHop = z.union([
  address.transform((hop) => (hop.includes(':') ? { ipv6: hop } : { ipv4: hop })),
  z.strictObject({ ipv4: address, ipv6: address }).partial(),
])

const number = (least: number, most = 4_294_967_295) => z.number().int().min(least).max(most)
const u32 = number(0)
const limit = number(1)
const asn = number(1)

const keys = {
  passive: z.boolean(),
  /** GTSM in hops: 1 is directly connected. */
  ttlSecurity: number(1, 254),
  sourceAddress: address,
  /** RFC 8538 N bit. */
  notification: z.boolean(),
  nextHop,
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
  role: z.enum(['provider', 'rs', 'rs-client', 'customer', 'peer']),
  interface: z.string().regex(/^[^\s/]{1,15}$/, 'not the name of an interface'),
  importPrefixes: z.array(
    text(parseImportPrefix, 'a prefix such as 10.0.0.0/8, with ge and le as in 10.0.0.0/8 ge 16 le 24'),
  ),
  enforceFirstAs: z.boolean(),
  rejectAsSets: z.boolean(),
  allowAsIn: number(0, 10),
  maxPrefixes: limit,
  maxPrefixesOut: limit,
  tcpUserTimeout: number(1, 3600),
  localAs: asn,
  addPathReceive: z.boolean(),
  delayOpen: number(0, 240),
} as const

const schema = z.strictObject(keys).partial()

export type NeighborOverrides = z.infer<typeof schema>

/** Keys of the contract that this version does not honour. */
const later = new Set(['bfd'])

export interface ParsedOverrides {
  /** One for each interface that keys such as `fe80::1%eth0` or `::%eth0` name, else the one of the address. */
  of(peerAddress: string): readonly NeighborOverrides[]
  readonly faults: readonly Fault[]
}

export function parseOverrides(annotations: Readonly<Record<string, string>>): ParsedOverrides {
  const written = annotations[neighborsAnnotation]
  if (written === undefined) return { of: () => [{}], faults: [] }
  const path = ['metadata', 'annotations', neighborsAnnotation]
  const read = readMap(written)
  if (read === undefined)
    return {
      of: () => [{}],
      faults: [
        fault(
          'error',
          path,
          'InvalidAnnotation',
          `${neighborsAnnotation} is no YAML map of neighbors`,
          `Write '{"192.0.2.1": {ttlSecurity: 1}}'.`,
        ),
      ],
    }
  const byAddress = new Map<string, NeighborOverrides>()
  const zones = new Map<string, NeighborOverrides[]>()
  const faults: Fault[] = []
  for (const [key, value] of Object.entries(read)) {
    const [host = '', zone] = key.split('%')
    const peer = parseAddress(host)
    if (key !== '*' && peer === undefined) {
      faults.push(
        fault(
          'error',
          path,
          'InvalidAnnotation',
          `${neighborsAnnotation}: ${key} is not an address`,
          'Key by the peer address without mask, or by "*".',
        ),
      )
      continue
    }
    const found = overridesOf(value, [...path, key], faults)
    const name = peer === undefined ? key : formatAddress(peer)
    if (zone === undefined) byAddress.set(name, found)
    else zones.set(name, [...(zones.get(name) ?? []), { ...found, interface: zone }])
  }
  const of = (peerAddress: string): readonly NeighborOverrides[] => {
    const own = { ...byAddress.get('*'), ...byAddress.get(peerAddress) }
    const zoned = (zones.get(peerAddress) ?? []).map((each) => ({ ...own, ...each }))
    const isCovered =
      zoned.length > 0 && (own.interface === undefined || zoned.some((each) => each.interface === own.interface))
    return isCovered ? zoned : [own, ...zoned]
  }
  return { of, faults }
}

/** The keys of one neighbor that are right. */
function overridesOf(value: unknown, at: FieldPath, faults: Fault[]): NeighborOverrides {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    faults.push(
      fault(
        'error',
        at,
        'InvalidAnnotation',
        `${neighborsAnnotation}: ${String(at.at(-1))} is no map of keys`,
        `Write '{"192.0.2.1": {ttlSecurity: 1}}'.`,
      ),
    )
    return {}
  }
  let all: NeighborOverrides = {}
  for (const [key, one] of Object.entries(value)) {
    if (later.has(key)) {
      faults.push(
        fault(
          'warning',
          [...at, key],
          'NotServed',
          `${key} is not served in this version`,
          'Remove the key, or leave it for a later version.',
        ),
      )
      continue
    }
    const narrowed = narrow(schema, { [key]: one }, () => [], { at, meanwhile: 'the neighbor does without it' })
    faults.push(...narrowed.faults)
    all = { ...all, ...narrowed.value }
  }
  return all
}

/** `10.0.0.0/8 ge 16 le 24`, as FRR's prefix-list has it; undefined when it is none. */
function parseImportPrefix(written: string): ImportPrefix | undefined {
  const [, network = '', ge, le] = /^(\S+)(?:\s+ge\s+(\d+))?(?:\s+le\s+(\d+))?$/.exec(written.trim()) ?? []
  const prefix = parsePrefix(network)
  if (prefix === undefined || hasHostBits(network)) return undefined
  const maximum = prefixFamily(prefix) === 'ipv4' ? 32 : 128
  const [from, to] = [ge === undefined ? prefixLength(prefix) : Number(ge), le === undefined ? maximum : Number(le)]
  if (from < prefixLength(prefix) || to < from || to > maximum) return undefined
  return {
    prefix: formatPrefix(prefix),
    ...(ge === undefined ? {} : { ge: Number(ge) }),
    ...(le === undefined ? {} : { le: Number(le) }),
  }
}

function readMap(written: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = parse(written)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    // The parser's words are about a fragment of an annotation; ours name the object.
    return undefined
  }
}
