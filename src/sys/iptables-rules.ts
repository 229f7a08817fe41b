/** What the older iptables, which is not nftables, does with packets that are handed on. */
import { existsSync, readFileSync } from 'node:fs'
import { type BaseChain, countsOnly, drops, type Effect, effectOfTarget, queues } from './filter-rules.ts'
import { checked, closeCall, libc } from './libc.ts'
import { legacyNames } from './netfilter.ts'
import { AF_INET, AF_INET6, IPPROTO_IPV6, openSocket, SOCK_DGRAM } from './socket.ts'

const getsockoptCall = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')

// linux/netfilter_ipv4/ip_tables.h, netfilter/x_tables.h; the numbers of IPv6 are the same.
const IPPROTO_IP = 0
const IPT_SO_GET_INFO = 64
const IPT_SO_GET_ENTRIES = 65
/** struct ipt_getinfo: name[32], valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const info = { bytes: 84, hooks: 32, entry: 36, underflow: 56, size: 80 } as const
/** struct ipt_get_entries: name[32], size, entries. */
const getEntries = { size: 32, entries: 40 } as const
/** Where target_offset and next_offset are in struct ipt_entry and struct ip6t_entry. */
const layouts = { iptables: { target: 88, next: 90 }, ip6tables: { target: 140, next: 142 } } as const
/** struct xt_entry_target: target_size, name[29], revision; then a verdict, or the name of a chain. */
const target = { name: 2, nameBytes: 29, data: 32, chainBytes: 30 } as const
/** A verdict below zero is one; else the place of a chain. */
const verdicts = { accept: -2, queue: -4, return: -5 } as const
/** PREROUTING, FORWARD, POSTROUTING. */
const passed = [
  { hook: 0, name: 'PREROUTING' },
  { hook: 2, name: 'FORWARD' },
  { hook: 4, name: 'POSTROUTING' },
] as const
/** That of translations is of conntrack, and iptables lets nothing be dropped there. */
const translations = 'nat'

interface Maker {
  readonly program: keyof typeof layouts
  readonly names: string
  readonly domain: number
  readonly level: number
}

const makers: readonly Maker[] = [
  { program: 'iptables', names: legacyNames.ipv4, domain: AF_INET, level: IPPROTO_IP },
  { program: 'ip6tables', names: legacyNames.ipv6, domain: AF_INET6, level: IPPROTO_IPV6 },
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
    const found = names.filter((name) => name !== '' && name !== translations)
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
  readonly target: string
  /** A verdict, the place of a chain, or the beginning of another target's own. */
  readonly verdict: number
  /** Of an entry that begins a chain: its name. */
  readonly begins: string | undefined
}

function* eachEntry(entries: Buffer, layout: (typeof layouts)[keyof typeof layouts], from = 0): Generator<Entry> {
  for (let at = from; at + layout.next + 2 <= entries.length; ) {
    const [targetAt, next] = [
      at + entries.readUInt16LE(at + layout.target),
      at + entries.readUInt16LE(at + layout.next),
    ]
    if (next <= targetAt || next > entries.length || targetAt + target.data + 4 > entries.length) return
    const name = textAt(entries, targetAt + target.name, target.nameBytes)
    const begins = name === 'ERROR' ? textAt(entries, targetAt + target.data, target.chainBytes) : undefined
    yield { at, next, target: name, verdict: entries.readInt32LE(targetAt + target.data), begins }
    at = next
  }
}

const textAt = (octets: Buffer, at: number, length: number): string =>
  octets.toString('latin1', at, Math.min(at + length, octets.length)).replace(/\0.*$/s, '')

function baseChains(
  { maker: { program }, name: tableName }: Table,
  { info: told, entries }: ReturnType<typeof entriesOf>,
): readonly BaseChain[] {
  const layout = layouts[program]
  const chains = new Map(
    [...eachEntry(entries, layout)].flatMap(({ begins, next }) =>
      begins === undefined ? [] : [[next, begins] as const],
    ),
  )
  const starts = new Map([...chains].map(([at, name]) => [name, at]))
  const effectsFrom = (from: number, end: number): readonly Effect[] => {
    const effects: Effect[] = []
    for (const entry of eachEntry(entries, layout, from)) {
      if (entry.at === end || entry.begins !== undefined) break
      effects.push(effectOf(entry, chains))
    }
    return effects
  }
  return passed
    .filter(({ hook }) => (told.readUInt32LE(info.hooks) & (1 << hook)) !== 0)
    .map(({ hook, name }) => {
      const [start, end] = [info.entry, info.underflow].map((at) => told.readUInt32LE(at + 4 * hook)) as [
        number,
        number,
      ]
      const [policy] = eachEntry(entries, layout, end)
      return {
        table: `table ${tableName} (${program})`,
        tableName,
        name,
        isAccepting: policy?.target === '' && policy.verdict === verdicts.accept,
        rules: (chain) =>
          chain === name ? effectsFrom(start, end) : effectsFrom(starts.get(chain) ?? entries.length, -1),
      }
    })
}

function effectOf({ target: name, verdict, next }: Entry, chains: ReadonlyMap<number, string>): Effect {
  if (name !== '') return effectOfTarget(name)
  if (verdict === verdicts.accept) return { does: 'accept' }
  if (verdict === verdicts.return) return { does: 'nothing' }
  if (verdict === verdicts.queue) return queues
  // A rule without a target goes on with the one after it.
  if (verdict === next) return countsOnly
  const chain = chains.get(verdict)
  return chain === undefined ? drops : { does: 'ask', chain }
}
