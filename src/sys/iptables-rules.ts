/** What the older iptables, which is not nftables, does with packets that are handed on. */
import { existsSync, readFileSync } from 'node:fs'
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
  netOf,
  queues,
  type Rule,
  unknownCondition,
} from './filter-rules.ts'
import { checked, closeCall, libc } from './libc.ts'
import { legacyNames } from './netfilter.ts'
import { AF_INET, AF_INET6, IPPROTO_IPV6, openSocket, SOCK_DGRAM } from './socket.ts'
import { conditionsOfMatch } from './xt-matches.ts'

const getsockoptCall = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')

// linux/netfilter_ipv4/ip_tables.h, netfilter/x_tables.h; the numbers of IPv6 are the same.
const IPPROTO_IP = 0
const IPT_SO_GET_INFO = 64
const IPT_SO_GET_ENTRIES = 65
/** struct ipt_getinfo: name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const info = { bytes: 84, hooks: 32, entry: 36, underflow: 56, size: 80 } as const
/** struct ipt_get_entries: name[32], size, entries. */
const getEntries = { size: 32, entries: 40 } as const
/**
 * struct ipt_entry and struct ip6t_entry: source and destination with their masks behind both, interfaces the same,
 * the protocol, flags, then target_offset and next_offset; of how many octets it is, behind which matches follow.
 */
const layouts = {
  iptables: { address: 4, input: 16, protocol: 80, flags: 82, goto: 2, inverse: 83, target: 88, next: 90, bytes: 112 },
  ip6tables: {
    ...{
      address: 16,
      input: 64,
      protocol: 128,
      flags: 131,
      goto: 4,
      inverse: 132,
      target: 140,
      next: 142,
      bytes: 168,
    },
  },
} as const
type Layout = (typeof layouts)[keyof typeof layouts]
const interfaceNameBytes = 16
const inverseOf = { input: 1, output: 2, source: 8, destination: 16 } as const
/** struct xt_entry_match: match_size, name[29], revision; then its own. */
const match = { name: 2, nameBytes: 29, revision: 31, data: 32 } as const
/** struct xt_entry_target: target_size, name[29], revision; then a verdict, or the name of a chain. */
const target = { name: 2, nameBytes: 29, data: 32, chainBytes: 30 } as const
/** A verdict below zero is one; else the place of a chain. */
const verdicts = { accept: -2, queue: -4, return: -5 } as const
/** PREROUTING, FORWARD, POSTROUTING. */
const passed = [
  { hook: 0, name: 'PREROUTING', at: 'prerouting' },
  { hook: 2, name: 'FORWARD', at: 'forward' },
  { hook: 4, name: 'POSTROUTING', at: 'postrouting' },
] as const
/** The table in which addresses are translated. */
const translations = 'nat'
/** The one that is asked before conntrack. */
const beforeTracking = 'raw'
/** Of the entry that begins a chain: its target with the name, which is padded. */
const headTargetBytes = 64

interface Maker {
  readonly program: keyof typeof layouts
  readonly family: Family
  readonly names: string
  readonly domain: number
  readonly level: number
}

const makers: readonly Maker[] = [
  { program: 'iptables', family: 'ipv4', names: legacyNames.ipv4, domain: AF_INET, level: IPPROTO_IP },
  { program: 'ip6tables', family: 'ipv6', names: legacyNames.ipv6, domain: AF_INET6, level: IPPROTO_IPV6 },
]

interface Table {
  readonly maker: Maker
  readonly name: string
  readonly info: Buffer
}

/** Of tables that are there: the kernel is not made to load others. Throws ERR_SYSCALL. */
function eachTable<T>(use: (fd: number, table: Table) => T): readonly T[] {
  return makers.flatMap((maker) => {
    if (!existsSync(maker.names)) return []
    const names = readFileSync(maker.names, 'latin1').split('\n')
    const found = names.filter((name) => name !== '')
    if (found.length === 0) return []
    const fd = openSocket('socket for iptables', maker.domain, SOCK_DGRAM)
    try {
      return found.map((name) => use(fd, { maker, name, info: infoOf(fd, maker, name) }))
    } finally {
      closeCall(fd)
    }
  })
}

/** Which tables there are, of how many entries and octets: nearly every change changes it. Throws ERR_SYSCALL. */
export function iptablesSizes(): string {
  return eachTable(
    (_, { maker, name, info }) => `${maker.program} ${name} ${info.toString('latin1', info.length - 52)}`,
  ).join()
}

/** Throws ERR_SYSCALL. */
export function iptablesBaseChains(): readonly BaseChain[] {
  return eachTable((fd, table) => baseChains(table, entriesOf(fd, table))).flat()
}

function infoOf(fd: number, { level }: Maker, name: string): Buffer {
  const answer = Buffer.alloc(info.bytes)
  answer.write(name)
  checked('iptables info', getOption(fd, level, IPT_SO_GET_INFO, answer))
  return answer
}

/** Between the call for the size and that for the entries somebody may add one: then it is asked once more. */
function entriesOf(
  fd: number,
  { maker, name, info: known }: Table,
): { readonly info: Buffer; readonly entries: Buffer } {
  for (let tries = 0, told = known; ; tries++) {
    const size = told.readUInt32LE(info.size)
    const answer = Buffer.alloc(getEntries.entries + size)
    answer.write(name)
    answer.writeUInt32LE(size, getEntries.size)
    const result = getOption(fd, maker.level, IPT_SO_GET_ENTRIES, answer)
    if (result >= 0 || tries >= 8) {
      checked('iptables entries', result)
      return { info: told, entries: answer.subarray(getEntries.entries) }
    }
    told = infoOf(fd, maker, name)
  }
}

function getOption(fd: number, level: number, name: number, value: Buffer): number {
  const length = Buffer.alloc(4)
  length.writeInt32LE(value.length)
  return Number(getsockoptCall(fd, level, name, value, length))
}

/** An entry, and where the next one is. */
interface Entry {
  readonly at: number
  readonly next: number
  readonly targetAt: number
  readonly target: string
  /** A verdict, the place of a chain, or the beginning of another target's own. */
  readonly verdict: number
  /** Of an entry that begins a chain: its name. */
  readonly begins: string | undefined
}

interface Match {
  readonly what: string
  readonly revision: number
  readonly info: Buffer
}

/** undefined: there is none, or not a whole one. */
function entryAt(entries: Buffer, layout: Layout, at: number): Entry | undefined {
  if (at < 0 || at + layout.next + 2 > entries.length) return undefined
  const targetAt = at + entries.readUInt16LE(at + layout.target)
  const next = at + entries.readUInt16LE(at + layout.next)
  if (next <= targetAt || next > entries.length || targetAt + target.data + 4 > entries.length) return undefined
  const name = textAt(entries, targetAt + target.name, target.nameBytes)
  const begins = name === 'ERROR' ? textAt(entries, targetAt + target.data, target.chainBytes) : undefined
  return { at, next, targetAt, target: name, verdict: entries.readInt32LE(targetAt + target.data), begins }
}

const textAt = (octets: Buffer, at: number, length: number): string =>
  octets.toString('latin1', at, Math.min(at + length, octets.length)).replace(/\0.*$/s, '')

/** What a table holds, of which only those chains are read that are asked for: there may be those of kube-proxy. */
class Entries {
  readonly #octets: Buffer
  readonly #layout: Layout
  /** By the names of those that a rule that was read has asked. */
  readonly #starts = new Map<string, number>()

  constructor(octets: Buffer, layout: Layout) {
    this.#octets = octets
    this.#layout = layout
  }

  policyAccepts(at: number): boolean {
    const policy = entryAt(this.#octets, this.#layout, at)
    return policy?.target === '' && policy.verdict === verdicts.accept
  }

  rulesOf(chain: string): readonly Rule[] {
    return this.rules(this.#starts.get(chain) ?? this.#octets.length, -1)
  }

  rules(from: number, end: number): readonly Rule[] {
    const rules: Rule[] = []
    for (let at = from; at !== end && rules.length <= mostRules; ) {
      const entry = entryAt(this.#octets, this.#layout, at)
      if (entry === undefined || entry.begins !== undefined) break
      const matches = [...this.#matches(entry)]
      const kept = matches.map(({ what }) => effectOfMatch(what)).find((effect) => effect !== undefined)
      rules.push({ when: this.#conditions(entry, matches), effect: kept ?? this.#effect(entry) })
      at = entry.next
    }
    return rules
  }

  /** The name stands in the entry before the first one of the chain. */
  #chainAt(place: number): string | undefined {
    const head = entryAt(this.#octets, this.#layout, place - this.#layout.bytes - headTargetBytes)
    if (head?.begins === undefined || head.next !== place) return undefined
    this.#starts.set(head.begins, place)
    return head.begins
  }

  #effect({ at, target: name, verdict, next }: Entry): Effect {
    if (name !== '') return effectOfTarget(name)
    if (verdict === verdicts.accept) return { does: 'accept' }
    if (verdict === verdicts.return) return { does: 'return' }
    if (verdict === verdicts.queue) return queues
    // A rule without a target goes on with the one after it.
    if (verdict === next) return countsOnly
    const chain = this.#chainAt(verdict)
    const isGoto = (this.#octets.readUInt8(at + this.#layout.flags) & this.#layout.goto) !== 0
    return chain === undefined ? drops : { does: 'ask', chain, isGoto }
  }

  /** The last one has no name where they are none. */
  *#matches({ at, targetAt }: Entry): Generator<Match> {
    for (let from = at + this.#layout.bytes; from + match.data <= targetAt; ) {
      const size = this.#octets.readUInt16LE(from)
      if (size < match.data) return yield { what: '', revision: 0, info: this.#octets.subarray(0, 0) }
      yield {
        what: textAt(this.#octets, from + match.name, match.nameBytes),
        revision: this.#octets.readUInt8(from + match.revision),
        info: this.#octets.subarray(from + match.data, from + size),
      }
      from += size
    }
  }

  #conditions({ at }: Entry, matches: readonly Match[]): readonly Condition[] {
    const { address: bytes, input, protocol, flags, goto, inverse } = this.#layout
    const octets = this.#octets
    const inverted = octets.readUInt8(at + inverse)
    const when: Condition[] = []
    for (const [n, of] of (['source', 'destination'] as const).entries()) {
      const [from, mask] = [at + n * bytes, at + (2 + n) * bytes]
      const net = netOf(octets.subarray(from, from + bytes), octets.subarray(mask, mask + bytes))
      const isNot = (inverted & inverseOf[of]) !== 0
      if (net === undefined) when.push(unknownCondition)
      else if (net.bits > 0 || isNot) when.push({ of, net, isNot })
    }
    // Input and output, then their masks.
    for (const [n, of] of (['input', 'output'] as const).entries()) {
      const [from, masked] = [at + input + n * interfaceNameBytes, at + input + (2 + n) * interfaceNameBytes]
      const mask = octets.subarray(masked, masked + interfaceNameBytes)
      const name = textAt(octets, from, interfaceNameBytes)
      const isNot = (inverted & inverseOf[of]) !== 0
      if (mask[0] !== 0 || isNot) when.push({ of, name, isPrefix: mask[name.length] === 0, isNot })
    }
    const known = inverseOf.source | inverseOf.destination | inverseOf.input | inverseOf.output
    if (octets.readUInt16LE(at + protocol) !== 0 || (inverted & ~known) !== 0) when.push(unknownCondition)
    if ((octets.readUInt8(at + flags) & ~goto) !== 0) when.push(unknownCondition)
    return [...when, ...matches.flatMap(({ what, revision, info }) => conditionsOfMatch(what, revision, info))]
  }
}

function baseChains(
  { maker: { program, family }, name: tableName }: Table,
  { info: told, entries }: ReturnType<typeof entriesOf>,
): readonly BaseChain[] {
  const table = new Entries(entries, layouts[program])
  return passed
    .filter(({ hook }) => (told.readUInt32LE(info.hooks) & (1 << hook)) !== 0)
    .map(({ hook, name, at }) => {
      const [start, end] = [info.entry, info.underflow].map((each) => told.readUInt32LE(each + 4 * hook)) as [
        number,
        number,
      ]
      return {
        table: `table ${tableName} (${program})`,
        ...{ tableName, name, at, family, isNat: tableName === translations },
        isTracked: tableName !== beforeTracking,
        isAccepting: table.policyAccepts(end),
        rules: (chain) => (chain === name ? table.rules(start, end) : table.rulesOf(chain)),
      }
    })
}
