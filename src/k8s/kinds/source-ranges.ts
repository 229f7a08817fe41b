/**
 * Who may open flows to a Service: `spec.loadBalancerSourceRanges`, or the annotation that came before it. What is no
 * range lets nobody in; a list in which nothing is one therefore lets in nobody at all. Pure.
 */
import type { SourceRange } from '../../desired/model.ts'
import { type Family, familyOfAddress, formatAddress, parseAddress, unmapped } from '../../ip/address.ts'
import { formatPrefix, parsePrefix, type Prefix, prefixAddress, prefixOf, splitPrefix } from '../../ip/prefix.ts'
import { unknownAnnotations } from './annotations.ts'
import { fault, lastGoodStays, type Fault, type FieldPath, type Metadata } from './narrow.ts'
import { shown } from './service-requests.ts'

const sourceRangesKey = 'service.beta.kubernetes.io/load-balancer-source-ranges'
const sourcePolicyKey = 'service.cilium.io/src-ranges-policy'

/** More than anything real; a list may be as long as an object. */
const maxSourceRanges = 1000
const fieldPath: FieldPath = ['spec', 'loadBalancerSourceRanges']
/** IPv4 in IPv6 (RFC 4291 2.5.5.2). */
const mappedBits = 96

/** By family, canonical, each once, sorted; a family that is absent is open to everybody. */
export type SourceRanges = Readonly<Partial<Record<Family, readonly SourceRange[]>>>

export interface ReadRanges {
  /** undefined: no list is written, and everybody is let in. */
  readonly ranges: SourceRanges | undefined
  /** Ranges that are none are left out; of a list of those who are kept out none can be. */
  readonly isUsable: boolean
  readonly faults: readonly Fault[]
}

interface Written {
  readonly text: string
  readonly path: FieldPath
}

const everywhere: Readonly<Record<Family, string>> = { ipv4: '0.0.0.0/0', ipv6: '::/0' }

/** `families`: of the addresses that the Service has. */
export function sourceRangesOf(
  listed: readonly string[],
  annotations: Metadata['annotations'],
  families: readonly Family[],
): ReadRanges {
  const written = writtenRanges(listed, annotations)
  const isDenied = annotations[sourcePolicyKey]?.trim().toLowerCase() === 'deny'
  const policyFaults = annotationFaults(annotations)
  if (written.length === 0) return { ranges: undefined, isUsable: true, faults: policyFaults }
  if (written.length > maxSourceRanges) return { ranges: undefined, isUsable: false, faults: [tooMany(written)] }
  const parsed = written.map((each) => ({ ...each, ...readRange(each) }))
  const ranges = grouped(
    parsed.flatMap(({ prefix }) => prefix ?? []),
    isDenied,
  )
  const isUsable = !isDenied || parsed.every(({ prefix }) => prefix !== undefined)
  const faults = [...policyFaults, ...parsed.flatMap(({ found }) => found ?? [])]
  return { ranges, isUsable, faults: [...faults, ...closedFaults(ranges, families, written)] }
}

/** Blank ranges are as wrong as any other one; a blank annotation is none. */
function writtenRanges(listed: readonly string[], annotations: Metadata['annotations']): readonly Written[] {
  if (listed.length > 0) return listed.map((text, index) => ({ text: text.trim(), path: [...fieldPath, index] }))
  const path = ['metadata', 'annotations', sourceRangesKey]
  const text = annotations[sourceRangesKey]?.trim() ?? ''
  return text === '' ? [] : text.split(',').map((each) => ({ text: each.trim(), path }))
}

/** Others read other annotations of these families, so only what begins alike is taken for a slip. */
const alike = {
  prefixes: ['service.cilium.io/src', 'service.beta.kubernetes.io/load-balancer-source'],
  names: [sourcePolicyKey, sourceRangesKey],
}

function annotationFaults(annotations: Metadata['annotations']): readonly Fault[] {
  const unknown = unknownAnnotations(annotations, alike)
  const policy = annotations[sourcePolicyKey]?.trim().toLowerCase() ?? ''
  if (['', 'allow', 'deny'].includes(policy)) return unknown
  const path = ['metadata', 'annotations', sourcePolicyKey]
  const message = `${JSON.stringify(shown(policy))} is no policy: the ranges are those that are let in`
  return [...unknown, fault('warning', path, 'InvalidAnnotation', message, 'Write allow or deny.')]
}

function tooMany(written: readonly Written[]): Fault {
  const [first] = written
  const path = first?.path[0] === 'spec' ? fieldPath : (first?.path ?? fieldPath)
  const message = `it has ${written.length} entries, and at most ${maxSourceRanges} are taken`
  const remedy = `Write larger ranges; ${lastGoodStays}.`
  return fault('error', path, 'LimitExceeded', message, remedy)
}

/** As kube-proxy reads them, which is more than what the API server takes by now; what differs is told. */
function readRange({ text, path }: Written): { readonly prefix?: Prefix; readonly found?: Fault } {
  const name = JSON.stringify(shown(text))
  const plain = text.replace(text.includes(':') ? /(\/)0+(?=\d)/ : /(^|[./])0+(?=\d)/g, '$1')
  const prefix = parsePrefix(plain)
  if (prefix === undefined) {
    const address = parseAddress(text)
    const remedy =
      address === undefined
        ? 'Write an address and a length, as 192.0.2.0/24 or 2001:db8::/32.'
        : `Write ${formatAddress(unmapped(address))}/${familyOfAddress(unmapped(address)) === 'ipv4' ? 32 : 128}.`
    return { found: fault('error', path, 'InvalidPrefix', `${name} is no prefix: it stands for nobody`, remedy) }
  }
  const meant = withoutMapping(prefix)
  const remedy = `Write ${formatPrefix(meant)}`
  const parts = splitPrefix(plain)
  if (parts !== undefined && prefixAddress(prefix) !== parts.address) {
    const host = formatAddress(unmapped(parts.address))
    const alone = `${host}/${host.includes(':') ? 128 : 32}`
    const message = `${name} has bits beyond its length`
    return {
      prefix: meant,
      found: fault('warning', path, 'HostBits', message, `${remedy}, as which it is taken, or ${alone}.`),
    }
  }
  if (plain === text && meant === prefix) return { prefix }
  const why = meant === prefix ? 'has leading zeros, and is taken as decimal' : 'is IPv4 written as IPv6'
  return {
    prefix: meant,
    found: fault('warning', path, 'HostBits', `${name} ${why}`, `${remedy}, as which it is taken.`),
  }
}

function withoutMapping(prefix: Prefix): Prefix {
  const address = unmapped(prefixAddress(prefix))
  const length = Number(formatPrefix(prefix).split('/')[1])
  return typeof prefix === 'string' && typeof address === 'number' && length >= mappedBits
    ? prefixOf(address, length - mappedBits)
    : prefix
}

/** A list of those who are let in; or of those who are not, and then everybody else is. */
function grouped(prefixes: readonly Prefix[], isDenied: boolean): SourceRanges {
  const ranges: Partial<Record<Family, readonly SourceRange[]>> = {}
  for (const family of ['ipv4', 'ipv6'] as const) {
    const own = new Set(prefixes.filter((each) => (typeof each === 'number') === (family === 'ipv4')).map(formatPrefix))
    const isEverybody = isDenied ? own.size === 0 : own.has(everywhere[family])
    if (isEverybody) continue
    // Who keeps out everybody says so in one range, in place of the one that lets them in.
    const list = [...own].map((prefix) => ({ prefix, isAllowed: !isDenied }))
    const rest = isDenied && !own.has(everywhere[family]) ? [{ prefix: everywhere[family], isAllowed: true }] : []
    ranges[family] = [...rest, ...list].sort((a, b) => (a.prefix < b.prefix ? -1 : 1))
  }
  return ranges
}

/** kube-proxy lets everybody in by a family of which nothing is listed; whoever lists ranges hardly means that. */
function closedFaults(
  ranges: SourceRanges,
  families: readonly Family[],
  written: readonly Written[],
): readonly Fault[] {
  const path = written[0]?.path[0] === 'spec' ? fieldPath : (written[0]?.path ?? fieldPath)
  return families.flatMap((family) => {
    if (ranges[family]?.some(({ isAllowed }) => isAllowed) !== false) return []
    const name = family === 'ipv4' ? 'IPv4' : 'IPv6'
    const message = `no range of ${name} is let in: nobody reaches the ${name} address of the Service`
    const remedy = `Add the ranges of its clients, or ${everywhere[family]} for everybody.`
    return [fault('warning', path, 'NobodyAllowed', message, remedy)]
  })
}
