/** What nftables does with packets that are handed on; also what iptables made over it. */
import { HeraldError } from '../errors.ts'
import type { Family } from '../ip/address.ts'
import {
  type BaseChain,
  type Condition,
  countsOnly,
  drops,
  type Effect,
  effectOfMatch,
  effectOfTarget,
  mostRules,
  type Place,
  queues,
  type Rule,
} from './filter-rules.ts'
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
import { readConditions, type SetOf } from './nft-conditions.ts'
import { NftSets, numberOf, textOf } from './nft-sets.ts'

// linux/netfilter/nf_tables.h; numbers in attributes are big-endian.
const NFTA_GEN_ID = 1
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
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
/** Of a match, too. */
const NFTA_TARGET_NAME = 1
const NF_ACCEPT = 1
const NF_QUEUE = 3
const [NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO, NFT_RETURN] = [-1, -2, -3, -4, -5]
// linux/netfilter.h
const families = { 1: 'inet', 2: 'ip', 5: 'netdev', 7: 'bridge', 10: 'ip6' } as const
const [NFPROTO_NETDEV, NFPROTO_BRIDGE] = [5, 7]
const familiesOf: Readonly<Record<number, Family | undefined>> = { 2: 'ipv4', 10: 'ipv6' }
/** All that a packet passes on its way through, by the number of the hook. */
const passed: ReadonlyMap<number, Place> = new Map([
  [0, 'prerouting'],
  [2, 'forward'],
  [4, 'postrouting'],
  [5, 'ingress'],
])
/** What a program at ingress redirects meets neither hook of an interface (`nf_skip_egress`). */
const passedByDevices: ReadonlyMap<number, Place> = new Map([
  [0, 'ingress'],
  [1, 'egress'],
])
/** What a packet passes on its way from a port of a bridge to those who have the bridge. */
const passedByBridges: ReadonlyMap<number, Place> = new Map([
  [0, 'bridge'],
  [1, 'bridge'],
])
const passedBy: Readonly<Record<number, ReadonlyMap<number, Place> | undefined>> = {
  [NFPROTO_NETDEV]: passedByDevices,
  [NFPROTO_BRIDGE]: passedByBridges,
}
/** NF_IP_PRI_CONNTRACK */
const conntrackPriority = -200

/** Expressions that only read, with the attribute by which they write instead, where there is one. */
const readers: ReadonlyMap<string, number | undefined> = new Map([
  ...['cmp', 'bitwise', 'byteorder', 'range', 'counter', 'rt', 'socket', 'fib', 'numgen', 'hash', 'osf'].map(
    (name) => [name, undefined] as const,
  ),
  ...['connlimit', 'limit', 'quota', 'last', 'xfrm', 'tunnel', 'notrack'].map((name) => [name, undefined] as const),
  ['meta', 3],
  ['ct', 4],
  ['payload', 5],
  ['exthdr', 7],
])

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
  const sets = new NftSets()
  return chains.flatMap((chain) => baseChain(chain, sets) ?? [])
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

function baseChain({ body }: NetlinkMessage, sets: NftSets): BaseChain | undefined {
  const family = body[0] ?? 0
  const found = attributes(body, nfgenmsgBytes)
  const called = attributes(found.get(NFTA_CHAIN_HOOK) ?? new Uint8Array(), 0)
  const name = families[family as keyof typeof families]
  // Of bridges none is passed by: what is redirected to one, and what its ports hand it, goes through it as before. But
  // they may mark packets for rules that are.
  const at = (passedBy[family] ?? passed).get(numberOf(called.get(NFTA_HOOK_HOOKNUM)) ?? -1)
  if (name === undefined || at === undefined) return undefined
  const tableName = textOf(found.get(NFTA_CHAIN_TABLE))
  return {
    at,
    isNat: textOf(found.get(NFTA_CHAIN_TYPE)) === 'nat',
    isTracked: (numberOf(called.get(NFTA_HOOK_PRIORITY)) ?? 0) > conntrackPriority,
    family: familiesOf[family],
    table: `table ${name} ${tableName} (nftables)`,
    tableName,
    name: textOf(found.get(NFTA_CHAIN_NAME)),
    isAccepting: numberOf(found.get(NFTA_CHAIN_POLICY)) === NF_ACCEPT || !found.has(NFTA_CHAIN_POLICY),
    rules: (chain) => rulesOf(family, tableName, chain, sets),
  }
}

function rulesOf(family: number, table: string, chain: string, sets: NftSets): readonly Rule[] {
  const names = [textAttribute(NFTA_RULE_TABLE, table), textAttribute(NFTA_RULE_CHAIN, chain)]
  const body = Buffer.concat([Buffer.of(family, 0, 0, 0), ...names])
  const setOf: SetOf = (name) => sets.read(family, table, name)
  return askAll('list rules', NFT_MSG_GETRULE, body, NETLINK_NETFILTER, mostRules)
    .map((rule) => attributes(rule.body, nfgenmsgBytes))
    .filter((rule) => textOf(rule.get(NFTA_RULE_CHAIN)) === chain)
    .map((rule) => rule.get(NFTA_RULE_EXPRESSIONS) ?? new Uint8Array())
    .flatMap((expressions) => rulesIn(expressions, familiesOf[family], setOf))
}

/** Of a rule that asks a map for a verdict one for each verdict that stands there. */
export function rulesIn(expressions: Uint8Array, family: Family | undefined, setOf: SetOf): readonly Rule[] {
  const effect = effectOfRule(expressions)
  if (effect !== verdictMap) return [new ReadRule(effect, expressions, family, setOf)]
  const { when, verdicts } = readConditions(expressions, family, setOf)
  if (verdicts === undefined) return [{ when, effect }]
  return verdicts.map(({ asks, verdict }) => ({
    when: [...when, ...asks],
    effect: verdictOf(verdict) ?? { does: 'other', what: 'a map without verdicts' },
  }))
}

/** What it asks is read once it is asked for. */
class ReadRule implements Rule {
  readonly effect: Effect
  readonly #read: () => readonly Condition[]
  #when: readonly Condition[] | undefined

  constructor(effect: Effect, expressions: Uint8Array, family: Family | undefined, setOf: SetOf) {
    this.effect = effect
    this.#read = () => readConditions(expressions, family, setOf).when
  }

  get when(): readonly Condition[] {
    this.#when ??= this.#read()
    return this.#when
  }
}

const verdictMap: Effect = { does: 'other', what: 'a map of verdicts' }

/** Of the first expression that decides anything, or that is not known to decide nothing. */
export function effectOfRule(expressions: Uint8Array): Effect {
  let verdict: Effect = countsOnly
  for (const [, element] of eachAttribute(expressions, 0)) {
    // What stands behind it is for elements that say to go on.
    if (verdict === verdictMap) return { ...verdictMap }
    const expression = attributes(element, 0)
    const name = textOf(expression.get(NFTA_EXPR_NAME))
    const data = attributes(expression.get(NFTA_EXPR_DATA) ?? new Uint8Array(), 0)
    if (name === 'immediate') verdict = verdictOf(data.get(NFTA_IMMEDIATE_DATA)) ?? verdict
    else if (name === 'target') verdict = effectOfTarget(textOf(data.get(NFTA_TARGET_NAME)))
    else if (name === 'notrack') verdict = { does: 'nothing' }
    else if (name === 'match') {
      const effect = effectOfMatch(textOf(data.get(NFTA_TARGET_NAME)))
      if (effect !== undefined) return effect
    } else if (name === 'lookup') {
      if (numberOf(data.get(NFTA_LOOKUP_DREG)) === NFT_REG_VERDICT) verdict = verdictMap
    } else if (!readers.has(name)) return { does: 'other', what: `the statement ${name}` }
    else {
      const writes = readers.get(name)
      if (writes !== undefined && data.has(writes)) return { does: 'other', what: `the statement ${name} set` }
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
  if (code === NFT_JUMP || code === NFT_GOTO)
    return { does: 'ask', chain: textOf(verdict.get(NFTA_VERDICT_CHAIN)), isGoto: code === NFT_GOTO }
  if (code === NFT_RETURN) return { does: 'return' }
  if (code === NFT_CONTINUE || code === NFT_BREAK) return { does: 'nothing' }
  return code !== undefined && (code & 0xff) === NF_QUEUE ? queues : drops
}
