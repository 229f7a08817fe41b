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
  | { readonly of: 'output'; readonly name: string; readonly isPrefix: boolean }
  | { readonly of: 'mark'; readonly value: number; readonly mask: number }
  | { readonly of: 'family'; readonly family: Family }
  /** The destination is an address of this node. */
  | { readonly of: 'to-node' }
  /** A socket of this node has sent it. */
  | { readonly of: 'socket' }
  | { readonly of: 'other' }
) & { readonly isNot: boolean }

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

/** Where the kernel calls a chain. */
export type Place = 'ingress' | 'prerouting' | 'forward' | 'postrouting'

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
