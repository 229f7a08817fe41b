/**
 * What netfilter does with packets that are handed on, in the words of both its makers: nftables (nft-rules.ts, also
 * iptables over it) and the older iptables (iptables-rules.ts).
 */

/** What a rule does to a packet that it matches, as far as it is asked for here. */
export type Effect =
  | { readonly does: 'accept' }
  /** Back to the chain before, or a hint to conntrack alone: the packet goes on. */
  | { readonly does: 'nothing' }
  | { readonly does: 'ask'; readonly chain: string }
  /** It is dropped, changed, counted, copied, or nobody here knows. */
  | { readonly does: 'other'; readonly what: string }

/** A chain that the kernel itself calls for packets that are handed on. */
export interface BaseChain {
  /** For people: of which table and maker. */
  readonly table: string
  readonly tableName: string
  readonly name: string
  /** What no rule decides goes on. */
  readonly isAccepting: boolean
  /** The rules of a chain in its table. Throws ERR_SYSCALL. */
  readonly rules: (chain: string) => readonly Effect[]
}

/** Targets of iptables that decide nothing about a packet: they tell conntrack to leave it alone. */
const idle: ReadonlySet<string> = new Set(['CT', 'NOTRACK'])

/** What a target of iptables does, other than the verdicts. */
export function effectOfTarget(name: string): Effect {
  return idle.has(name) ? { does: 'nothing' } : { does: 'other', what: `the target ${name}` }
}

export const countsOnly: Effect = { does: 'other', what: 'no verdict, which counts packets' }
export const queues: Effect = { does: 'other', what: 'the verdict queue' }
export const drops: Effect = { does: 'other', what: 'the verdict drop' }
