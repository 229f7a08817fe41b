/**
 * What sets and maps of nftables hold. They change with the generation that rules have, but for those that packets fill
 * or whose elements end by themselves: what one of these holds may be otherwise with the next packet.
 */
import { HeraldError } from '../errors.ts'
import { askAll, askOne, attributes, eachAttribute } from './netlink.ts'
import { NETLINK_NETFILTER, nfgenmsgBytes, textAttribute } from './netfilter.ts'

// linux/netfilter/nf_tables.h
const [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] = [0x0a0a, 0x0a0d]
const [NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_LEN] = [1, 2, 3, 5]
const [NFT_SET_INTERVAL, NFT_SET_TIMEOUT, NFT_SET_EVAL, NFT_SET_CONCAT] = [0x4, 0x10, 0x20, 0x80]
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const [NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY_END] = [1, 2, 3, 10]
const [NFT_SET_ELEM_INTERVAL_END, NFT_SET_ELEM_CATCHALL] = [1, 2]
const NFTA_DATA_VALUE = 1
/** Of a larger set nothing is known: each would be asked about each pod. */
export const mostElements = 4096
/** The kernel tells of a few hundred elements in each message. */
const mostMessages = 256

export const textOf = (octets: Uint8Array | undefined): string =>
  Buffer.from(octets ?? [])
    .toString('latin1')
    .replace(/\0.*$/s, '')
export const numberOf = (octets: Uint8Array | undefined): number | undefined =>
  octets === undefined || octets.length < 4 ? undefined : Buffer.from(octets).readInt32BE()

/** Keys from one to another, both of which it has. */
export interface SetElement {
  readonly from: Uint8Array
  readonly to: Uint8Array
  /** Of a map: NFTA_SET_ELEM_DATA. */
  readonly verdict: Uint8Array | undefined
  /** It stands for every key that is of no other one, and has none of its own. */
  readonly isAnyOther: boolean
}

/** `why`: for people, why it is not known what it holds. */
export type ReadSet = { readonly elements: readonly SetElement[] } | { readonly why: string }

const none = new Uint8Array()

/** Each is read once. */
export class NftSets {
  readonly #read = new Map<string, ReadSet>()

  /** Throws ERR_SYSCALL. */
  read(family: number, table: string, name: string): ReadSet {
    const key = `${family} ${table} ${name}`
    const found = this.#read.get(key) ?? setNow(family, table, name)
    this.#read.set(key, found)
    return found
  }
}

/** One that has gone since its rule was read went with that one, and the rules are read again. */
function setNow(family: number, table: string, name: string): ReadSet {
  try {
    return readSet(family, table, name)
  } catch (error) {
    if (error instanceof HeraldError && error.errno === 'ENOENT') return { why: `the set ${name} is gone` }
    throw error
  }
}

function readSet(family: number, table: string, name: string): ReadSet {
  const names = [textAttribute(NFTA_SET_TABLE, table), textAttribute(NFTA_SET_NAME, name)]
  const body = Buffer.concat([Buffer.of(family, 0, 0, 0), ...names])
  const [answer] = askOne(`set ${name}`, NFT_MSG_GETSET, body, NETLINK_NETFILTER)
  const told = attributes(answer?.body ?? none, nfgenmsgBytes)
  const flags = numberOf(told.get(NFTA_SET_FLAGS)) ?? 0
  if ((flags & (NFT_SET_TIMEOUT | NFT_SET_EVAL)) !== 0)
    return { why: `what the set ${name} holds changes with packets or time` }
  const messages = askAll(`elements of ${name}`, NFT_MSG_GETSETELEM, body, NETLINK_NETFILTER, mostMessages)
  const listed = messages.flatMap((message) => {
    const elements = attributes(message.body, nfgenmsgBytes).get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? none
    return [...eachAttribute(elements, 0)].map(([, element]) => attributes(element, 0))
  })
  // An interval is two of them.
  if (listed.length > 2 * mostElements) return { why: `the set ${name} has too many elements to be asked` }
  const isOfIntervals = (flags & NFT_SET_INTERVAL) !== 0 && (flags & NFT_SET_CONCAT) === 0
  return { elements: elementsIn(listed, isOfIntervals, numberOf(told.get(NFTA_SET_KEY_LEN)) ?? 0) }
}

const keyIn = (data: Uint8Array | undefined): Uint8Array | undefined =>
  data === undefined ? undefined : attributes(data, 0).get(NFTA_DATA_VALUE)

/** `isOfIntervals`: each element says where an interval begins, or ends: before its key. `keyBytes`: of a key. */
export function elementsIn(
  listed: readonly ReadonlyMap<number, Uint8Array>[],
  isOfIntervals: boolean,
  keyBytes: number,
): readonly SetElement[] {
  const found = listed.map((element) => {
    const flags = numberOf(element.get(NFTA_SET_ELEM_FLAGS)) ?? 0
    const from = keyIn(element.get(NFTA_SET_ELEM_KEY)) ?? none
    return {
      from,
      to: keyIn(element.get(NFTA_SET_ELEM_KEY_END)) ?? from,
      verdict: element.get(NFTA_SET_ELEM_DATA),
      isAnyOther: (flags & NFT_SET_ELEM_CATCHALL) !== 0,
      isEnd: (flags & NFT_SET_ELEM_INTERVAL_END) !== 0,
    }
  })
  if (!isOfIntervals) return found
  const bounds = found.filter(({ isAnyOther }) => !isAnyOther)
  bounds.sort((a, b) => Buffer.compare(a.from, b.from) || Number(b.isEnd) - Number(a.isEnd))
  const begun = bounds.flatMap((bound, n) => {
    const next = bounds[n + 1]
    if (bound.isEnd) return []
    return [{ ...bound, to: next === undefined ? new Uint8Array(keyBytes).fill(0xff) : oneBefore(next.from) }]
  })
  return [...begun, ...found.filter(({ isAnyOther }) => isAnyOther)]
}

function oneBefore(key: Uint8Array): Uint8Array {
  const before = Uint8Array.from(key)
  for (let n = before.length - 1; n >= 0; n--) {
    const octet = before[n] ?? 0
    before[n] = octet === 0 ? 0xff : octet - 1
    if (octet !== 0) break
  }
  return before
}
