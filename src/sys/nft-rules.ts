/** What nftables does with packets that are handed on; also what iptables made over it. */
import { HeraldError } from '../errors.ts'
import { type BaseChain, countsOnly, drops, type Effect, effectOfTarget, queues } from './filter-rules.ts'
import {
  NETLINK_NETFILTER,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  nfgenmsgBytes,
  textAttribute,
} from './netfilter.ts'
import { askAll, askOne, askSome, attributes, eachAttribute, type NetlinkMessage } from './netlink.ts'

// linux/netfilter/nf_tables.h; numbers in attributes are big-endian.
const NFTA_GEN_ID = 1
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_HOOK_HOOKNUM = 1
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_IMMEDIATE_DATA = 2
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
const NFTA_VERDICT_CHAIN = 2
const NFTA_LOOKUP_DREG = 3
const NFT_REG_VERDICT = 0
const NFTA_TARGET_NAME = 1
const NF_ACCEPT = 1
const NF_QUEUE = 3
const [NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO, NFT_RETURN] = [-1, -2, -3, -4, -5]
// linux/netfilter.h
const families = { 1: 'inet', 2: 'ip', 5: 'netdev', 10: 'ip6' } as const
const NFPROTO_NETDEV = 5
/** Before routing, forward, after routing, and ingress of an interface: all that a packet passes on its way through. */
const passed: ReadonlySet<number> = new Set([0, 2, 4, 5])
const netdevIngress = 0

/** Expressions that only read, with the attribute by which they write instead, where there is one. */
const readers: ReadonlyMap<string, number | undefined> = new Map([
  ...['cmp', 'bitwise', 'byteorder', 'range', 'counter', 'match', 'rt', 'socket', 'fib', 'numgen', 'hash', 'osf'].map(
    (name) => [name, undefined] as const,
  ),
  ...['connlimit', 'limit', 'quota', 'last', 'xfrm', 'tunnel', 'notrack'].map((name) => [name, undefined] as const),
  ['meta', 3],
  ['ct', 4],
  ['payload', 5],
  ['exthdr', 7],
])

const textOf = (octets: Uint8Array | undefined): string =>
  Buffer.from(octets ?? [])
    .toString('latin1')
    .replace(/\0.*$/s, '')
const numberOf = (octets: Uint8Array | undefined): number | undefined =>
  octets === undefined || octets.length < 4 ? undefined : Buffer.from(octets).readInt32BE()

/** It changes with every change of any rule. undefined: this kernel has no nftables. Throws ERR_SYSCALL. */
export function nftGeneration(): number | undefined {
  return whereThere(undefined, () => {
    const [answer] = askOne('generation of nftables', NFT_MSG_GETGEN, new Uint8Array(nfgenmsgBytes), NETLINK_NETFILTER)
    return numberOf(attributes(answer?.body ?? new Uint8Array(), nfgenmsgBytes).get(NFTA_GEN_ID)) ?? 0
  })
}

/** Throws ERR_SYSCALL. Lists every chain of the node, of which nearly all are of kube-proxy and called by others. */
export function nftBaseChains(): readonly BaseChain[] {
  const body = new Uint8Array(nfgenmsgBytes)
  const chains = whereThere([], () => askSome('list chains', NFT_MSG_GETCHAIN, body, NETLINK_NETFILTER, hasHook))
  return chains.flatMap((chain) => baseChain(chain) ?? [])
}

/** `fallback` for a kernel without nftables. */
function whereThere<T>(fallback: T, ask: () => T): T {
  try {
    return ask()
  } catch (error) {
    if (error instanceof HeraldError && (error.errno === 'EINVAL' || error.errno === 'EPROTONOSUPPORT')) return fallback
    throw error
  }
}

/** Read in place: of thousands nearly none has one. */
function hasHook(view: DataView, from: number, to: number): boolean {
  for (let at = from + nfgenmsgBytes; at + 4 <= to; ) {
    const length = view.getUint16(at, true)
    if ((view.getUint16(at + 2, true) & 0x3fff) === NFTA_CHAIN_HOOK) return true
    if (length < 4) return false
    at += (length + 3) & ~3
  }
  return false
}

function baseChain({ body }: NetlinkMessage): BaseChain | undefined {
  const family = body[0] ?? 0
  const found = attributes(body, nfgenmsgBytes)
  const hook = numberOf(attributes(found.get(NFTA_CHAIN_HOOK) ?? new Uint8Array(), 0).get(NFTA_HOOK_HOOKNUM)) ?? -1
  const name = families[family as keyof typeof families]
  // Packets between bridged pods meet those of bridges as before.
  if (name === undefined || (family === NFPROTO_NETDEV ? hook !== netdevIngress : !passed.has(hook))) return undefined
  const tableName = textOf(found.get(NFTA_CHAIN_TABLE))
  // What iptables lets be done there are translations of addresses, which are of conntrack.
  const isNat = textOf(found.get(NFTA_CHAIN_TYPE)) === 'nat'
  if (isNat && tableName === 'nat') return undefined
  return {
    table: `table ${name} ${tableName} (nftables)`,
    tableName,
    name: textOf(found.get(NFTA_CHAIN_NAME)),
    isAccepting: numberOf(found.get(NFTA_CHAIN_POLICY)) === NF_ACCEPT || !found.has(NFTA_CHAIN_POLICY),
    rules: (chain) => rulesOf(family, tableName, chain, isNat),
  }
}

function rulesOf(family: number, table: string, chain: string, isNat: boolean): readonly Effect[] {
  const names = [textAttribute(NFTA_RULE_TABLE, table), textAttribute(NFTA_RULE_CHAIN, chain)]
  const body = Buffer.concat([Buffer.of(family, 0, 0, 0), ...names])
  return askAll('list rules', NFT_MSG_GETRULE, body, NETLINK_NETFILTER)
    .map((rule) => attributes(rule.body, nfgenmsgBytes))
    .filter((rule) => textOf(rule.get(NFTA_RULE_CHAIN)) === chain)
    .map((rule) => effectOfRule(rule.get(NFTA_RULE_EXPRESSIONS) ?? new Uint8Array(), isNat))
}

/** In a chain for translations of addresses. */
const translations: ReadonlySet<string> = new Set(['nat', 'masq', 'redir'])

/** Of the first expression that decides anything, or that is not known to decide nothing. */
export function effectOfRule(expressions: Uint8Array, isNat: boolean): Effect {
  let verdict: Effect = countsOnly
  for (const [, element] of eachAttribute(expressions, 0)) {
    const expression = attributes(element, 0)
    const name = textOf(expression.get(NFTA_EXPR_NAME))
    const data = attributes(expression.get(NFTA_EXPR_DATA) ?? new Uint8Array(), 0)
    if (name === 'immediate') verdict = verdictOf(data.get(NFTA_IMMEDIATE_DATA)) ?? verdict
    else if (name === 'target') verdict = effectOfTarget(textOf(data.get(NFTA_TARGET_NAME)))
    else if (name === 'notrack' || (isNat && translations.has(name))) verdict = { does: 'nothing' }
    else if (name === 'lookup') {
      if (numberOf(data.get(NFTA_LOOKUP_DREG)) === NFT_REG_VERDICT) return { does: 'other', what: 'a map of verdicts' }
    } else if (!readers.has(name)) return { does: 'other', what: `the statement ${name}` }
    else {
      const writes = readers.get(name)
      if (writes !== undefined && data.has(writes) && !isNat)
        return { does: 'other', what: `the statement ${name} set` }
    }
  }
  return verdict
}

/** undefined: it loads a value. */
function verdictOf(data: Uint8Array | undefined): Effect | undefined {
  const octets = attributes(data ?? new Uint8Array(), 0).get(NFTA_DATA_VERDICT)
  if (octets === undefined) return undefined
  const verdict = attributes(octets, 0)
  const code = numberOf(verdict.get(NFTA_VERDICT_CODE))
  if (code === NF_ACCEPT) return { does: 'accept' }
  if (code === NFT_JUMP || code === NFT_GOTO) return { does: 'ask', chain: textOf(verdict.get(NFTA_VERDICT_CHAIN)) }
  if (code === NFT_RETURN || code === NFT_CONTINUE || code === NFT_BREAK) return { does: 'nothing' }
  return code !== undefined && (code & 0xff) === NF_QUEUE ? queues : drops
}
