/**
 * What sets and maps of nftables hold. They change with the generation that rules have, but for those that packets fill
 * or whose elements end by themselves: what one of these holds may be otherwise with the next packet.
 */
import { HeraldError } from '../errors.ts'
import { askAll, askOne, askSome, attributes, eachAttribute, type NetlinkMessage } from './netlink.ts'
import { NETLINK_NETFILTER, NFT_MSG_GETRULE, nfgenmsgBytes, textAttribute } from './netfilter.ts'

// linux/netfilter/nf_tables.h
const [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] = [0x0a0a, 0x0a0d]
const [NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_LEN] = [1, 2, 3, 5]
const [NFT_SET_INTERVAL, NFT_SET_TIMEOUT, NFT_SET_EVAL, NFT_SET_CONCAT] = [0x4, 0x10, 0x20, 0x80]
const NFTA_SET_ELEM_LIST_ELEMENTS = 3
const [NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_KEY_END] = [1, 2, 3, 10]
const [NFT_SET_ELEM_INTERVAL_END, NFT_SET_ELEM_CATCHALL] = [1, 2]
const NFTA_DATA_VALUE = 1
const [NFTA_RULE_TABLE, NFTA_RULE_EXPRESSIONS, NFTA_EXPR_NAME, NFTA_EXPR_DATA, NFTA_DYNSET_SET_NAME] = [1, 4, 1, 2, 1]
/** Of a larger set nothing is known: each would be asked about each pod. */
export const mostElements = 4096

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
  /** By the table. */
  readonly #filled = new Map<string, ReadonlySet<string>>()

  /** Throws ERR_SYSCALL. */
  read(family: number, table: string, name: string): ReadSet {
    const key = `${family} ${table} ${name}`
    const found = this.#read.get(key) ?? this.#now(family, table, name)
    this.#read.set(key, found)
    return found
  }

  #now(family: number, table: string, name: string): ReadSet {
    const filled = this.#filled.get(`${family} ${table}`) ?? filledSets(family, table)
    this.#filled.set(`${family} ${table}`, filled)
    return filled.has(name) ? changing(name) : setNow(family, table, name)
  }
}

/** Nobody has to say of a set that packets fill it: a rule of its table that does so is enough. Throws ERR_SYSCALL. */
function filledSets(family: number, table: string): ReadonlySet<string> {
  const body = Buffer.concat([Buffer.of(family, 0, 0, 0), textAttribute(NFTA_RULE_TABLE, table)])
  const rules = askSome('rules that fill sets', NFT_MSG_GETRULE, body, NETLINK_NETFILTER, namesDynset)
  const expressions = rules.flatMap(({ body: rule }) => {
    const listed = attributes(rule, nfgenmsgBytes).get(NFTA_RULE_EXPRESSIONS) ?? none
    return [...eachAttribute(listed, 0)].map(([, expression]) => attributes(expression, 0))
  })
  const dynsets = expressions.filter((expression) => textOf(expression.get(NFTA_EXPR_NAME)) === 'dynset')
  return new Set(
    dynsets.map((each) => textOf(attributes(each.get(NFTA_EXPR_DATA) ?? none, 0).get(NFTA_DYNSET_SET_NAME))),
  )
}

const dynset = Buffer.from('dynset\0')

/** Of thousands of rules nearly none does. */
const namesDynset = (view: DataView, from: number, to: number): boolean =>
  Buffer.from(view.buffer, view.byteOffset + from, to - from).includes(dynset)

const changing = (name: string): ReadSet => ({ why: `what the set ${name} holds changes with packets or time` })

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
  if ((flags & (NFT_SET_TIMEOUT | NFT_SET_EVAL)) !== 0) return changing(name)
  // An interval is two of them. For each message the kernel counts up to where it was: a whole list takes it seconds.
  const most = 2 * mostElements
  const messages = askAll(`elements of ${name}`, NFT_MSG_GETSETELEM, body, NETLINK_NETFILTER, most, elementCount)
  const listed = messages.flatMap(elementsOf).map(([, element]) => attributes(element, 0))
  if (listed.length > most) return { why: `the set ${name} has too many elements to be asked` }
  const isOfIntervals = (flags & NFT_SET_INTERVAL) !== 0 && (flags & NFT_SET_CONCAT) === 0
  return { elements: elementsIn(listed, isOfIntervals, numberOf(told.get(NFTA_SET_KEY_LEN)) ?? 0) }
}

const elementsOf = ({ body }: NetlinkMessage): readonly (readonly [number, Uint8Array])[] => [
  ...eachAttribute(attributes(body, nfgenmsgBytes).get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? none, 0),
]
const elementCount = (message: NetlinkMessage): number => elementsOf(message).length

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
