/** What a Service asks of the allocation, in the annotations of every family of configuration. Pure. */
import { type Address, familyOfAddress, formatAddress, parseAddress } from '../../ip/address.ts'
import { fault, lastGoodStays, type Fault, type FieldPath, type Metadata } from './narrow.ts'
import { remoteBackendsAnnotation } from './remote-backends.ts'
import { weightsAnnotation } from './weights.ts'

/** A Service as far as its requests go. */
interface Asking {
  readonly metadata: Metadata
  readonly spec: { readonly loadBalancerIP: string | undefined; readonly ports: readonly unknown[] }
}

/** The first one that is written counts. */
const addressKeys = [
  'lbipam.cilium.io/ips',
  'io.cilium/lb-ipam-ips',
  'metallb.io/loadBalancerIPs',
  'metallb.universe.tf/loadBalancerIPs',
] as const
const poolKeys = ['metallb.io/address-pool', 'metallb.universe.tf/address-pool'] as const
const sharingKeys = [
  'lbipam.cilium.io/sharing-key',
  'io.cilium/lb-ipam-sharing-key',
  'metallb.io/allow-shared-ip',
  'metallb.universe.tf/allow-shared-ip',
] as const
const acrossKeys = ['lbipam.cilium.io/sharing-cross-namespace', 'io.cilium/lb-ipam-sharing-cross-namespace'] as const
const differentPodsKey = 'lbipam.cilium.io/sharing-permit-different-pods'

/** The annotations of a Service that are read, or that somebody else writes for people to read. */
export const readAnnotations = {
  prefixes: ['lbipam.cilium.io/', 'io.cilium/lb-ipam-', 'metallb.io/', 'metallb.universe.tf/', 'herald.dev/'],
  names: [
    ...addressKeys,
    ...poolKeys,
    ...sharingKeys,
    ...acrossKeys,
    differentPodsKey,
    remoteBackendsAnnotation,
    weightsAnnotation,
    ...['metallb.io', 'metallb.universe.tf'].map((group) => `${group}/ip-allocated-from-pool`),
  ],
}

type Key = (typeof addressKeys | typeof poolKeys | typeof sharingKeys | typeof acrossKeys)[number]

/** What deprecated names are called by now: those of early versions of Cilium and of MetalLB. */
const renamed = [
  ['io.cilium/lb-ipam-', 'lbipam.cilium.io/'],
  ['metallb.universe.tf/', 'metallb.io/'],
] as const

/** Most Services have none. */
function isEmpty(annotations: Metadata['annotations']): boolean {
  for (const _ in annotations) return false
  return true
}

/** One for all names of a Service: they count as ever. */
export function deprecatedNames(annotations: Metadata['annotations']): readonly Fault[] {
  if (isEmpty(annotations)) return noFaults
  const found = [...addressKeys, ...poolKeys, ...sharingKeys, ...acrossKeys].flatMap((key) => {
    const [before, now] = renamed.find(([each]) => key.startsWith(each)) ?? []
    if (before === undefined || !annotations[key]?.trim()) return []
    return [{ key, now: `${now}${key.slice(before.length)}` }]
  })
  const [first] = found
  if (first === undefined) return []
  const names = found.map(({ key }) => key).join(', ')
  const message = `${names}: deprecated, and taken as ever`
  const remedy = `Write ${found.map(({ now }) => now).join(', ')}.`
  return [fault('warning', pathOf(first.key), 'DeprecatedAnnotation', message, remedy)]
}

/** Of these a Service has one address of a family, and nothing beside `spec.loadBalancerIP`. */
const isStrict = (key: Key | undefined): boolean => key?.startsWith('metallb.') === true

export interface AllocationRequest {
  /** Canonical, unique. */
  readonly addresses: readonly string[]
  /** Why the request as a whole cannot be met, whatever the pools are. */
  readonly invalid: string | undefined
  /** The pool that it asks for by name. */
  readonly poolName: string | undefined
  /** The field that asks for addresses. */
  readonly path: FieldPath
  readonly faults: readonly Fault[]
}

const noFaults: readonly Fault[] = []
const nothingAsked: AllocationRequest = {
  addresses: [],
  invalid: undefined,
  poolName: undefined,
  path: ['spec', 'loadBalancerIP'],
  faults: noFaults,
}

/** Far more than a Service of two families needs. */
export const maxAddresses = 64
/** Whoever may write a Service writes addresses and ports, and one could be 64 000 frontends. */
const mostFrontends = 2_000

/** Of the addresses of one kind so many are taken as have no more ports together, and one in any case. */
export function mostAddresses(ports: number): number {
  return Math.max(1, Math.floor(mostFrontends / Math.max(1, ports)))
}

/** `what`: whether they are taken, or given. */
export function beyondAddresses(length: number, ports: number, what: 'taken' | 'given'): string | undefined {
  const most = mostAddresses(ports)
  return length <= most ? undefined : `${length} addresses with ${ports} ports: the first ${most} are ${what}`
}

export const beyondRemedy = 'Split it into several Services.'
/** Of which so many Services can share one address. */
const maxNamespaces = 256
const maxSharingKey = 1024
/** No object has a longer name. */
const maxPoolName = 253

/** Lists that are longer than anything real: nothing is made of them, not even a problem for each word. */
export function tooManyWords({ metadata: { annotations }, spec: { loadBalancerIP } }: Asking): readonly Fault[] {
  if (loadBalancerIP === undefined && isEmpty(annotations)) return noFaults
  const { path, words } = askedWords(annotations, loadBalancerIP)
  const across = firstOf(annotations, acrossKeys)
  const sharing = firstOf(annotations, sharingKeys)
  const say = (at: FieldPath, message: string, remedy: string): Fault =>
    fault('error', at, 'LimitExceeded', message, `${remedy}; ${lastGoodStays}.`)
  const count = new Set(words).size
  const namespaces = new Set(wordsIn(across?.text ?? '')).size
  const keyLength = sharing?.text.length ?? 0
  return [
    ...(count <= maxAddresses
      ? []
      : [
          say(
            path,
            `it asks for ${count} addresses, and at most ${maxAddresses} are given to one Service`,
            'Ask for fewer',
          ),
        ]),
    ...(across === undefined || namespaces <= maxNamespaces
      ? []
      : [
          say(
            pathOf(across.key),
            `it names ${namespaces} namespaces, and at most ${maxNamespaces} are taken`,
            'Write "*"',
          ),
        ]),
    ...(sharing === undefined || keyLength <= maxSharingKey
      ? []
      : [
          say(
            pathOf(sharing.key),
            `a sharing key of ${keyLength} letters, and at most ${maxSharingKey} are taken`,
            'Shorten it',
          ),
        ]),
  ]
}

function askedWords(
  annotations: Metadata['annotations'],
  loadBalancerIP: string | undefined,
): { readonly asked: Found<Key> | undefined; readonly path: FieldPath; readonly words: readonly string[] } {
  const asked = firstOf(annotations, addressKeys)
  const path = asked === undefined ? ['spec', 'loadBalancerIP'] : pathOf(asked.key)
  return { asked, path, words: wordsIn(asked === undefined ? (loadBalancerIP ?? '') : asked.text) }
}

/** An annotation goes before spec.loadBalancerIP. */
export function allocationRequest({ metadata: { annotations }, spec }: Asking): AllocationRequest {
  const { loadBalancerIP, ports } = spec
  if (loadBalancerIP === undefined && isEmpty(annotations)) return nothingAsked
  const { asked, path, words } = askedWords(annotations, loadBalancerIP)
  const pool = firstOf(annotations, poolKeys)
  const parsed = words.map((word) => parseAddress(word))
  const addresses = [...new Set(parsed.flatMap((address) => (address === undefined ? [] : formatAddress(address))))]
  const wrong = words.filter((_, index) => parsed[index] === undefined).map(shown)
  const faults = wrong.map((word) => {
    const remedy = 'Write IPv4 or IPv6 addresses, separated by commas.'
    return fault('error', path, 'InvalidAddress', `${word} is not an address`, remedy)
  })
  const beyond = beyondAddresses(addresses.length, ports.length, 'given')
  if (beyond !== undefined) faults.push(fault('warning', path, 'LimitExceeded', beyond, beyondRemedy))
  const strict = isStrict(asked?.key) ? strictFault(parsed, loadBalancerIP, path) : undefined
  if (strict !== undefined) faults.push(strict)
  const notAddresses = wrong.length === 0 ? undefined : `the request for ${wrong.join(', ')} is not an address`
  return {
    addresses: addresses.slice(0, mostAddresses(ports.length)),
    invalid: notAddresses ?? strict?.message,
    poolName: pool?.text.slice(0, maxPoolName + 1),
    path,
    faults: [
      ...faults,
      ...otherSpellings(annotations, addressKeys, asWritten),
      ...otherSpellings(annotations, poolKeys),
    ],
  }
}

function strictFault(
  parsed: readonly (Address | undefined)[],
  loadBalancerIP: string | undefined,
  path: FieldPath,
): Fault | undefined {
  if (loadBalancerIP !== undefined) {
    const message = `spec.loadBalancerIP ${shown(loadBalancerIP)} is written beside the annotation`
    return fault('error', path, 'InvalidAnnotation', message, 'Write one of the two.')
  }
  const families = parsed.flatMap((address) => (address === undefined ? [] : familyOfAddress(address)))
  if (new Set(families).size === families.length) return undefined
  const message = 'it asks for several addresses of one family, and one of each is given'
  return fault('error', path, 'InvalidAnnotation', message, 'Write one IPv4 address, one IPv6 address, or both.')
}

/** An annotation may be 256 KiB long, and a message that repeats it goes to every node. */
const maxShown = 100
export const shown = (word: string): string =>
  word.length > maxShown ? `${word.slice(0, maxShown).toWellFormed()}...` : word

const wordsIn = (text: string): readonly string[] =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')

/** So that two spellings of equal addresses do not differ. */
function asWritten(text: string): string {
  const words = wordsIn(text)
  if (words.length > maxAddresses) return text
  const canonical = words.map((word) => {
    const parsed = parseAddress(word)
    return parsed === undefined ? word : formatAddress(parsed)
  })
  return canonical.sort().join()
}

interface Found<K extends Key> {
  readonly key: K
  readonly text: string
}

function firstOf<K extends Key>(annotations: Metadata['annotations'], keys: readonly K[]): Found<K> | undefined {
  const key = isEmpty(annotations) ? undefined : keys.find((each) => /[^\s,]/.test(annotations[each] ?? ''))
  return key === undefined ? undefined : { key, text: annotations[key]?.trim() ?? '' }
}

const pathOf = (key: Key): FieldPath => ['metadata', 'annotations', key]

/** One request in several spellings that do not say the same. */
function otherSpellings(
  annotations: Metadata['annotations'],
  keys: readonly Key[],
  read: (text: string) => string = (text) => text,
): readonly Fault[] {
  const first = firstOf(annotations, keys)
  if (first === undefined) return []
  return keys.flatMap((key) => {
    const text = annotations[key]?.trim() ?? ''
    if (key === first.key || text === '' || read(text) === read(first.text)) return []
    const message = `${first.key} says something else, and it counts`
    return [fault('warning', pathOf(key), 'ConflictingRequest', message, 'Remove one of the two.')]
  })
}

export interface SharingRequest {
  readonly key: string
  /** Namespaces besides its own; `*`: any. */
  readonly namespaces: readonly string[]
  /** Under the policy Local: also with Services that select other pods. */
  readonly permitsDifferentPods: boolean
}

/** With whom a Service is ready to share its address. */
export function sharingOf({ metadata: { annotations } }: Pick<Asking, 'metadata'>): {
  readonly request: SharingRequest | undefined
  readonly faults: readonly Fault[]
} {
  const found = firstOf(annotations, sharingKeys)
  if (found === undefined) return { request: undefined, faults: [] }
  const across = isStrict(found.key) ? ['*'] : wordsIn(firstOf(annotations, acrossKeys)?.text ?? '')
  const { isYes: permitsDifferentPods, faults } = differentPodsOf(annotations)
  const request = { key: found.text, namespaces: across, permitsDifferentPods }
  return { request, faults: [...otherSpellings(annotations, sharingKeys), ...faults] }
}

/** As Go's strconv.ParseBool takes them, by which Cilium reads it. */
const [yes, no] = [
  ['1', 't', 'T', 'true', 'TRUE', 'True'],
  ['0', 'f', 'F', 'false', 'FALSE', 'False', ''],
]

function differentPodsOf(annotations: Metadata['annotations']): {
  readonly isYes: boolean
  readonly faults: readonly Fault[]
} {
  const text = annotations[differentPodsKey] ?? ''
  if (yes.includes(text)) return { isYes: true, faults: noFaults }
  if (no.includes(text)) return { isYes: false, faults: noFaults }
  const message = `${JSON.stringify(shown(text))} is neither true nor false: taken as false`
  const path = ['metadata', 'annotations', differentPodsKey]
  return { isYes: false, faults: [fault('warning', path, 'InvalidAnnotation', message, 'Write "true" or "false".')] }
}
