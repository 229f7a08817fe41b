/**
 * What a rule of nftables asks of a packet, as far as it is known here: a register is loaded with something of the
 * packet, perhaps masked, and compared with a constant. Whatever else asks anything is a condition that nobody knows.
 */
import type { Family } from '../ip/address.ts'
import { type Condition, netOf, netsBetween, unknownCondition } from './filter-rules.ts'
import { attributes, eachAttribute } from './netlink.ts'
import { numberOf, type ReadSet, type SetElement, textOf } from './nft-sets.ts'
import { conditionsOfMatch, RTN_LOCAL } from './xt-matches.ts'

// linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_DATA_VALUE = 1
const [NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN] = [1, 2, 3, 4]
const NFT_PAYLOAD_NETWORK_HEADER = 1
const NFTA_IMMEDIATE_DREG = 1
const [NFTA_META_DREG, NFTA_META_KEY] = [1, 2]
const [NFT_META_MARK, NFT_META_IIFNAME, NFT_META_OIFNAME, NFT_META_NFPROTO] = [3, 6, 7, 15]
const [NFTA_CT_DREG, NFTA_CT_KEY, NFT_CT_STATE] = [1, 2, 0]
const [NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV] = [1, 2, 3, 5, 1]
const [NFTA_FIB_DREG, NFTA_FIB_RESULT, NFTA_FIB_FLAGS] = [1, 2, 3]
const [NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR] = [3, 2]
const [NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_MASK, NFTA_BITWISE_XOR, NFTA_BITWISE_OP] = [1, 2, 4, 5, 6]
const [NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA] = [1, 2, 3]
const [NFT_CMP_EQ, NFT_CMP_NEQ] = [0, 1]
const [NFTA_MATCH_NAME, NFTA_MATCH_REV, NFTA_MATCH_INFO] = [1, 2, 3]
const interfaceNameBytes = 16
const protocolFamilies: Readonly<Record<number, Family | undefined>> = { 2: 'ipv4', 10: 'ipv6' }
/** Where the addresses are in the header of IP. */
const headers = {
  ipv4: { source: 12, destination: 16, bytes: 4 },
  ipv6: { source: 8, destination: 24, bytes: 16 },
} as const
/** They decide, or count, and ask nothing. */
const silent: ReadonlySet<string> = new Set(['counter', 'immediate', 'notrack', 'nat', 'masq', 'redir', 'target'])

type Attributes = ReadonlyMap<number, Uint8Array>

/** The set of this name in the table of the rule. */
export type SetOf = (name: string) => ReadSet

/** What a register holds. */
type Loaded = (
  | { readonly what: 'header'; readonly at: number; readonly length: number }
  | { readonly what: 'mark' | 'state' | 'input' | 'output' | 'protocol' | 'type' | 'other' }
) & { readonly mask?: Uint8Array }

/** What a verdict of a map asks besides what its rule asks. */
export interface MapVerdict {
  readonly asks: readonly Condition[]
  readonly verdict: Uint8Array
}

export interface ReadConditions {
  readonly when: readonly Condition[]
  /** Of a rule that asks a map that was read for a verdict. */
  readonly verdicts: readonly MapVerdict[] | undefined
}

/** `family`: of the table; undefined: of both, where the rule itself has to say which one it means. */
export function readConditions(expressions: Uint8Array, family: Family | undefined, setOf: SetOf): ReadConditions {
  const when: Condition[] = []
  const registers = new Registers()
  let [headersOf, verdicts] = [family, undefined as readonly MapVerdict[] | undefined]
  for (const [, element] of eachAttribute(expressions, 0)) {
    const expression = attributes(element, 0)
    const name = textOf(expression.get(NFTA_EXPR_NAME))
    const data = attributes(expression.get(NFTA_EXPR_DATA) ?? new Uint8Array(), 0)
    const load = loads[name]?.(data, registers)
    if (load !== undefined) registers.load(...load)
    else if (name === 'cmp') {
      const found = compared(data, registers.at(numberOf(data.get(NFTA_CMP_SREG))), headersOf)
      for (const condition of found) if (condition.of === 'family' && !condition.isNot) headersOf = condition.family
      when.push(...found)
    } else if (name === 'lookup') {
      const asked = lookedUp(data, registers, headersOf, setOf(textOf(data.get(NFTA_LOOKUP_SET))))
      const to = numberOf(data.get(NFTA_LOOKUP_DREG))
      if (to !== undefined && to !== 0) registers.load(to, { what: 'other' })
      if (to === 0) verdicts = asked.verdicts
      if (to !== 0 || verdicts === undefined) when.push(asked.condition)
    } else if (name === 'match') {
      const revision = numberOf(data.get(NFTA_MATCH_REV)) ?? 0
      when.push(...conditionsOfMatch(textOf(data.get(NFTA_MATCH_NAME)), revision, data.get(NFTA_MATCH_INFO) ?? none))
    } else if (!silent.has(name)) {
      // It may have written any register.
      registers.clear()
      when.push(unknownCondition)
    }
  }
  return { when, verdicts }
}

/** Sixteen words, of which each of the first four numbers names four in a row; from the eighth on each names one. */
class Registers {
  readonly #words = new Map<number, Loaded>()

  static wordOf(register: number): number {
    return register >= firstWord ? register - firstWord : (register - 1) * wordsOfRegister
  }

  at(register: number | undefined): Loaded | undefined {
    return register === undefined ? undefined : this.word(Registers.wordOf(register))
  }

  word(word: number): Loaded | undefined {
    return this.#words.get(word)
  }

  /** How much is overwritten is not known of all: a key is loaded from its first word on. */
  load(register: number, loaded: Loaded): void {
    const word = Registers.wordOf(register)
    for (const [each, held] of this.#words) if (each >= word || each + wordsIn(held) > word) this.#words.delete(each)
    this.#words.set(word, loaded)
  }

  clear(): void {
    this.#words.clear()
  }
}

const [firstWord, wordsOfRegister] = [8, 4]

function wordsIn(loaded: Loaded): number {
  if (loaded.what === 'header') return Math.ceil(loaded.length / 4)
  return loaded.what === 'input' || loaded.what === 'output' || loaded.what === 'other' ? wordsOfRegister : 1
}

interface LookedUp {
  readonly condition: Condition
  readonly verdicts?: readonly MapVerdict[]
}

/** Registers in a row are looked up as one key. */
function lookedUp(data: Attributes, registers: Registers, family: Family | undefined, set: ReadSet): LookedUp {
  const from = numberOf(data.get(NFTA_LOOKUP_SREG))
  const isNot = ((numberOf(data.get(NFTA_LOOKUP_FLAGS)) ?? 0) & NFT_LOOKUP_F_INV) !== 0
  if ('why' in set) return { condition: { of: 'other', why: set.why, isNot: false } }
  if (from === undefined) return { condition: unknownCondition }
  const first = Registers.wordOf(from)
  const plain = set.elements.filter(({ isAnyOther }) => !isAnyOther)
  const asksOf = (element: SetElement): readonly Condition[] => elementAsks(element, first, registers, family)
  const each = plain.map(asksOf)
  const others: readonly Condition[] = [{ of: 'any', each, isNot: true }]
  const asked = set.elements.map((element) => (element.isAnyOther ? others : asksOf(element)))
  const verdicts = set.elements.flatMap(({ verdict }, n) =>
    verdict === undefined ? [] : [{ asks: asked[n] ?? [unknownCondition], verdict }],
  )
  return { condition: { of: 'any', each: asked, isNot }, verdicts }
}

function elementAsks(
  { from, to }: SetElement,
  first: number,
  registers: Registers,
  family: Family | undefined,
): readonly Condition[] {
  const asks: Condition[] = []
  for (let at = 0; at < from.length; ) {
    const loaded = registers.word(first + at / 4)
    // Of what is not known it is not known either where the next one begins: the loads tell.
    const length = loaded === undefined || loaded.what === 'other' ? 4 : 4 * wordsIn(loaded)
    const [low, high] = [from.subarray(at, at + length), to.subarray(at, at + length)]
    asks.push(loaded === undefined ? unknownCondition : partAsks(loaded, low, high, family))
    at += length
  }
  return asks
}

/** That what was loaded is between two values. */
function partAsks(loaded: Loaded, low: Uint8Array, high: Uint8Array, family: Family | undefined): Condition {
  if (loaded.mask !== undefined) return unknownCondition
  if (loaded.what === 'header') {
    if (family === undefined) return unknownCondition
    const { bytes, ...places } = headers[family]
    const side = (['source', 'destination'] as const).find((each) => places[each] === loaded.at)
    if (side === undefined || loaded.length !== bytes || low.length !== bytes) return unknownCondition
    const nets = netsBetween(low, high)
    const each = nets.map((net): readonly Condition[] => [{ of: side, net, isNot: false }])
    const [only] = nets
    return nets.length === 1 && only ? { of: side, net: only, isNot: false } : { of: 'any', each, isNot: false }
  }
  if (Buffer.compare(low, high) !== 0) return unknownCondition
  const [asked] = comparedValue(loaded, low, false)
  return asked ?? unknownCondition
}

const none = new Uint8Array()
const dataOf = (data: Uint8Array | undefined): Uint8Array => attributes(data ?? none, 0).get(NFTA_DATA_VALUE) ?? none

type Load = (data: Attributes, registers: Registers) => readonly [number, Loaded] | undefined

/** By the name of the expression; undefined: it loads nothing. */
const loads: Readonly<Record<string, Load | undefined>> = {
  payload: (data) => {
    const [register, at] = [numberOf(data.get(NFTA_PAYLOAD_DREG)), numberOf(data.get(NFTA_PAYLOAD_OFFSET))]
    const length = numberOf(data.get(NFTA_PAYLOAD_LEN))
    if (register === undefined || at === undefined || length === undefined) return undefined
    const isIp = numberOf(data.get(NFTA_PAYLOAD_BASE)) === NFT_PAYLOAD_NETWORK_HEADER
    return [register, isIp ? { what: 'header', at, length } : { what: 'other' }]
  },
  meta: (data) => {
    const [register, key] = [numberOf(data.get(NFTA_META_DREG)), numberOf(data.get(NFTA_META_KEY))]
    if (register === undefined) return undefined
    if (key === NFT_META_MARK) return [register, { what: 'mark' }]
    if (key === NFT_META_IIFNAME) return [register, { what: 'input' }]
    if (key === NFT_META_OIFNAME) return [register, { what: 'output' }]
    return [register, { what: key === NFT_META_NFPROTO ? 'protocol' : 'other' }]
  },
  ct: (data) => {
    const register = numberOf(data.get(NFTA_CT_DREG))
    if (register === undefined) return undefined
    return [register, { what: numberOf(data.get(NFTA_CT_KEY)) === NFT_CT_STATE ? 'state' : 'other' }]
  },
  fib: (data) => {
    const register = numberOf(data.get(NFTA_FIB_DREG))
    if (register === undefined) return undefined
    const isType =
      numberOf(data.get(NFTA_FIB_RESULT)) === NFT_FIB_RESULT_ADDRTYPE &&
      numberOf(data.get(NFTA_FIB_FLAGS)) === NFTA_FIB_F_DADDR
    return [register, { what: isType ? 'type' : 'other' }]
  },
  immediate: (data) => {
    const register = numberOf(data.get(NFTA_IMMEDIATE_DREG)) ?? 0
    return register === 0 ? undefined : [register, { what: 'other' }]
  },
  bitwise: (data, registers) => {
    const to = numberOf(data.get(NFTA_BITWISE_DREG))
    const from = registers.at(numberOf(data.get(NFTA_BITWISE_SREG)))
    if (to === undefined) return undefined
    const isMask =
      (numberOf(data.get(NFTA_BITWISE_OP)) ?? 0) === 0 &&
      dataOf(data.get(NFTA_BITWISE_XOR)).every((octet) => octet === 0)
    if (from === undefined || from.mask !== undefined || !isMask) return [to, { what: 'other' }]
    return [to, { ...from, mask: dataOf(data.get(NFTA_BITWISE_MASK)) }]
  },
}

function compared(data: Attributes, loaded: Loaded | undefined, family: Family | undefined): readonly Condition[] {
  const operator = numberOf(data.get(NFTA_CMP_OP))
  const value = dataOf(data.get(NFTA_CMP_DATA))
  if (loaded === undefined || value.length === 0 || (operator !== NFT_CMP_EQ && operator !== NFT_CMP_NEQ))
    return [unknownCondition]
  const isNot = operator === NFT_CMP_NEQ
  const { mask } = loaded
  // What is longer than what was loaded goes on in another register.
  if (loaded.what === 'header')
    return value.length > loaded.length ? [unknownCondition] : comparedAddresses(loaded.at, value, mask, isNot, family)
  return comparedValue(loaded, value, isNot)
}

function comparedValue(loaded: Loaded, value: Uint8Array, isNot: boolean): readonly Condition[] {
  const { what, mask } = loaded
  if ((what === 'mark' || what === 'state') && value.length === 4)
    return [{ of: what, value: wordOf(value), mask: mask === undefined ? 0xffff_ffff : wordOf(mask), isNot }]
  if (mask !== undefined) return [unknownCondition]
  if ((what === 'input' || what === 'output') && value.length <= interfaceNameBytes) {
    const name = textOf(value)
    return [{ of: what, name, isPrefix: name.length === value.length && value.length < interfaceNameBytes, isNot }]
  }
  // In a set it is as long as a register is.
  const isOne = value.length === 1 || value.subarray(1).every((octet) => octet === 0)
  const protocol = what === 'protocol' && isOne ? protocolFamilies[value[0] ?? 0] : undefined
  if (protocol !== undefined) return [{ of: 'family', family: protocol, isNot }]
  if (what === 'type' && value.length === 4 && wordOf(value) === RTN_LOCAL) return [{ of: 'to-node', isNot }]
  return [unknownCondition]
}

const wordOf = (octets: Uint8Array): number => (octets.length < 4 ? 0 : Buffer.from(octets).readUInt32LE())

/** One comparison may be of the beginning of an address, or of both. */
function comparedAddresses(
  at: number,
  value: Uint8Array,
  mask: Uint8Array | undefined,
  isNot: boolean,
  family: Family | undefined,
): readonly Condition[] {
  if (family === undefined || (mask !== undefined && mask.length !== value.length)) return [unknownCondition]
  // What a mask takes away is never there.
  if (mask !== undefined && value.some((octet, n) => (octet & ~(mask[n] ?? 0)) !== 0)) return [unknownCondition]
  const { bytes, ...places } = headers[family]
  const found: Condition[] = []
  let known = 0
  for (const side of ['source', 'destination'] as const) {
    const from = places[side]
    if (at > from || at + value.length <= from) continue
    const part = (octets: Uint8Array): Uint8Array => {
      const whole = new Uint8Array(bytes)
      whole.set(octets.subarray(from - at, from - at + bytes))
      return whole
    }
    known += Math.min(bytes, at + value.length - from)
    const net = netOf(part(value), part(mask ?? value.map(() => 0xff)))
    found.push(net === undefined ? unknownCondition : { of: side, net, isNot })
  }
  // Of two that are compared together "not" says that one of them is not so.
  return known === value.length && (found.length === 1 || !isNot) ? found : [unknownCondition]
}
