/**
 * What netfilter does with packets that are handed on, in the words of both its makers: nftables (nft-rules.ts, also
 * iptables over it) and the older iptables (iptables-rules.ts).
 */
import type { Family } from '../ip/address.ts'

/** What a rule does to a packet that it matches, as far as it is asked for here. */
export type Effect =
  | { readonly does: 'accept' }
  /** A hint to conntrack alone: the packet goes on. */
  | { readonly does: 'nothing' }
  /** Back to the chain before. */
  | { readonly does: 'return' }
  /** `isGoto`: what that chain does not decide goes on in the one before this. */
  | { readonly does: 'ask'; readonly chain: string; readonly isGoto: boolean }
  /** It is dropped, changed, counted, copied, or nobody here knows. */
  | { readonly does: 'other'; readonly what: string }

/** Addresses of either family, as octets of which the first bits count. */
export interface Net {
  readonly octets: Uint8Array
  readonly bits: number
}

/** What a rule asks of a packet, all of which has to be so; `other`: something that is not known here. */
export type Condition = (
  | { readonly of: 'source' | 'destination'; readonly net: Net }
  | { readonly of: 'input' | 'output'; readonly name: string; readonly isPrefix: boolean }
  /** `state`: what conntrack says of the packet, one of {@link trackedStates}. */
  | { readonly of: 'mark' | 'state'; readonly value: number; readonly mask: number }
  | { readonly of: 'family'; readonly family: Family }
  /** The destination is an address of this node. */
  | { readonly of: 'to-node' }
  /** A socket of this node has sent it. */
  | { readonly of: 'socket' }
  /** All that one of these asks: it is in a set. */
  | { readonly of: 'any'; readonly each: readonly (readonly Condition[])[] }
  /** `why`: for people, where it would be known but for this. */
  | { readonly of: 'other'; readonly why?: string }
) & { readonly isNot: boolean }

/**
 * Bits of linux/netfilter/nf_conntrack_common.h that a packet of a flow may have. `invalid`, which is said of half a
 * connection, only replies may be that a bridge shows to conntrack: who drops those means no connection.
 */
export const trackedStates = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const
export type TrackedState = keyof typeof trackedStates

export interface Rule {
  readonly when: readonly Condition[]
  readonly effect: Effect
}

export const unknownCondition: Condition = { of: 'other', isNot: false }

/** Addresses whose octets are these where the mask has ones; undefined: the ones are not its first bits. */
export function netOf(octets: Uint8Array, mask: Uint8Array): Net | undefined {
  const bits = [...mask].map((octet) => octet.toString(2).padStart(8, '0')).join('')
  const length = bits.indexOf('0') === -1 ? bits.length : bits.indexOf('0')
  return bits.includes('1', length) ? undefined : { octets: octets.slice(), bits: length }
}

/** Whether the first has all that the second has. */
export function contains(outer: Net, inner: Net): boolean {
  if (outer.octets.length !== inner.octets.length || outer.bits > inner.bits) return false
  const [whole, rest] = [outer.bits >> 3, outer.bits & 7]
  for (let n = 0; n < whole; n++) if (outer.octets[n] !== inner.octets[n]) return false
  const mask = 0xff & ~(0xff >> rest)
  return rest === 0 || (((outer.octets[whole] ?? 0) ^ (inner.octets[whole] ?? 0)) & mask) === 0
}

/** The fewest that have all addresses from one to another, and no more; none where the first one is behind the last. */
export function netsBetween(low: Uint8Array, high: Uint8Array): readonly Net[] {
  const width = low.length * 8
  if (Buffer.compare(low, high) === 0) return [{ octets: low, bits: width }]
  const whole = (octets: Uint8Array): bigint => octets.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n)
  const nets: Net[] = []
  for (let [at, last] = [whole(low), whole(high)]; at <= last; ) {
    let free = 0
    while (free < width && (at & ((2n << BigInt(free)) - 1n)) === 0n && at + (2n << BigInt(free)) - 1n <= last) free++
    const octets = Uint8Array.from(low, (_, n) => Number((at >> BigInt(8 * (low.length - 1 - n))) & 0xffn))
    nets.push({ octets, bits: width - free })
    at += 1n << BigInt(free)
  }
  return nets
}

/** Where the kernel calls a chain; `bridge`: for what comes in by a port of one. */
export type Place = 'bridge' | 'ingress' | 'prerouting' | 'forward' | 'postrouting' | 'egress'

/** A chain that the kernel itself calls for packets that are handed on. */
export interface BaseChain {
  /** For people: of which table and maker. */
  readonly table: string
  readonly tableName: string
  readonly name: string
  readonly at: Place
  /** It translates addresses, and is asked about the first packet of a connection alone. */
  readonly isNat: boolean
  /** undefined: both. */
  readonly family: Family | undefined
  /** It is called when conntrack knows the packet. */
  readonly isTracked: boolean
  /** What no rule decides goes on. */
  readonly isAccepting: boolean
  /** The rules of a chain in its table. Throws ERR_SYSCALL. */
  readonly rules: (chain: string) => readonly Rule[]
}

/** Targets of iptables that decide nothing about a packet: they tell conntrack to leave it alone. */
const idle: ReadonlySet<string> = new Set(['CT', 'NOTRACK'])

/** What a target of iptables does, other than the verdicts. */
export function effectOfTarget(name: string): Effect {
  return idle.has(name) ? { does: 'nothing' } : { does: 'other', what: `the target ${name}` }
}

/** Matches of iptables that keep what they have met, for other rules or for people. */
const keepers: ReadonlySet<string> = new Set(['recent', 'nfacct'])

/** Whether whoever goes past a rule with this match is missed there. */
export function effectOfMatch(name: string): Effect | undefined {
  return keepers.has(name) ? { does: 'other', what: `the match ${name}` } : undefined
}

/** More rules of a chain are not read. */
export const mostRules = 10_000

export const countsOnly: Effect = { does: 'other', what: 'no verdict, which counts packets' }
export const queues: Effect = { does: 'other', what: 'the verdict queue' }
export const drops: Effect = { does: 'other', what: 'the verdict drop' }
