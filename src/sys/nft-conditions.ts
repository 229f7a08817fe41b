/**
 * What a rule of nftables asks of a packet, as far as it is known here: a register is loaded with something of the
 * packet, perhaps masked, and compared with a constant. Whatever else asks anything is a condition that nobody knows.
 */
import type { Family } from '../ip/address.ts'
import { type Condition, netOf, unknownCondition } from './filter-rules.ts'
import { attributes, eachAttribute } from './netlink.ts'
import { conditionsOfMatch, RTN_LOCAL } from './xt-matches.ts'

// linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_DATA_VALUE = 1
const [NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN] = [1, 2, 3, 4]
const NFT_PAYLOAD_NETWORK_HEADER = 1
const NFTA_IMMEDIATE_DREG = 1
const [NFTA_META_DREG, NFTA_META_KEY] = [1, 2]
const [NFT_META_MARK, NFT_META_OIFNAME, NFT_META_NFPROTO] = [3, 7, 15]
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

export const textOf = (octets: Uint8Array | undefined): string =>
  Buffer.from(octets ?? [])
    .toString('latin1')
    .replace(/\0.*$/s, '')
export const numberOf = (octets: Uint8Array | undefined): number | undefined =>
  octets === undefined || octets.length < 4 ? undefined : Buffer.from(octets).readInt32BE()

type Attributes = ReadonlyMap<number, Uint8Array>

/** What a register holds. */
type Loaded = (
  | { readonly what: 'header'; readonly at: number; readonly length: number }
  | { readonly what: 'mark' | 'output' | 'protocol' | 'type' | 'other' }
) & { readonly mask?: Uint8Array }

/** `family`: of the table; undefined: of both, where the rule itself has to say which one it means. */
export function conditionsOfRule(expressions: Uint8Array, family: Family | undefined): readonly Condition[] {
  const when: Condition[] = []
  const registers = new Map<number, Loaded>()
  let headersOf = family
  for (const [, element] of eachAttribute(expressions, 0)) {
    const expression = attributes(element, 0)
    const name = textOf(expression.get(NFTA_EXPR_NAME))
    const data = attributes(expression.get(NFTA_EXPR_DATA) ?? new Uint8Array(), 0)
    const load = loads[name]?.(data, registers)
    if (load !== undefined) registers.set(...load)
    else if (name === 'cmp') {
      const found = compared(data, registers.get(numberOf(data.get(NFTA_CMP_SREG)) ?? -1), headersOf)
      for (const condition of found) if (condition.of === 'family' && !condition.isNot) headersOf = condition.family
      when.push(...found)
    } else if (name === 'match') {
      const revision = numberOf(data.get(NFTA_MATCH_REV)) ?? 0
      when.push(...conditionsOfMatch(textOf(data.get(NFTA_MATCH_NAME)), revision, data.get(NFTA_MATCH_INFO) ?? none))
    } else if (!silent.has(name)) {
      // It may have written any register.
      registers.clear()
      when.push(unknownCondition)
    }
  }
  return when
}

const none = new Uint8Array()
const dataOf = (data: Uint8Array | undefined): Uint8Array => attributes(data ?? none, 0).get(NFTA_DATA_VALUE) ?? none

type Load = (data: Attributes, registers: ReadonlyMap<number, Loaded>) => readonly [number, Loaded] | undefined

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
    if (key === NFT_META_OIFNAME) return [register, { what: 'output' }]
    return [register, { what: key === NFT_META_NFPROTO ? 'protocol' : 'other' }]
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
    const from = registers.get(numberOf(data.get(NFTA_BITWISE_SREG)) ?? -1)
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
  if (loaded.what === 'mark' && value.length === 4)
    return [{ of: 'mark', value: wordOf(value), mask: mask === undefined ? 0xffff_ffff : wordOf(mask), isNot }]
  if (mask !== undefined) return [unknownCondition]
  if (loaded.what === 'output' && value.length <= interfaceNameBytes) {
    const name = textOf(value)
    return [{ of: 'output', name, isPrefix: name.length === value.length && value.length < interfaceNameBytes, isNot }]
  }
  const protocol = loaded.what === 'protocol' && value.length === 1 ? protocolFamilies[value[0] ?? 0] : undefined
  if (protocol !== undefined) return [{ of: 'family', family: protocol, isNot }]
  if (loaded.what === 'type' && value.length === 4 && wordOf(value) === RTN_LOCAL) return [{ of: 'to-node', isNot }]
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
