/**
 * Rule sets of nftables as the program nft lists them, as far as those of rule-sets.ts use its words, made what nft
 * makes of them for the kernel. As a program it lays what it reads, in the network that it is started in.
 */
import { readFileSync } from 'node:fs'
import { addressBytes, parseAddress } from '../../src/ip/address.ts'
import {
  acknowledged,
  atTheEnd,
  attributesOf,
  big,
  change,
  expression,
  familyNumbers,
  message,
  request,
  verdict,
} from './netfilter.ts'

type Family = keyof typeof familyNumbers
type Attribute = readonly [number, Uint8Array | string]

// linux/netfilter/nf_tables.h
const [NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM] = [0x0a00, 0x0a02, 0x0a03, 0x0a06, 0x0a09, 0x0a0c]
const setFlags = { anonymous: 3, interval: 4, map: 8, timeout: 0x10, dynamic: 0x20, concat: 0x80 } as const
const hooks = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const
const deviceHooks = { ingress: 0, egress: 1 } as const
const priorities = { raw: -300, mangle: -150, dstnat: -100, filter: 0, security: 50, srcnat: 100 } as const
/** `queue`: that statement is not in every kernel; where nobody takes packets out of the queue they are dropped. */
const verdicts = { accept: 1, drop: 0, queue: 0, return: -5, continue: -1 } as const
const states = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const
const protocols = { icmp: 1, tcp: 6, udp: 17, 'ipv6-icmp': 58, sctp: 132 } as const
const has = <T extends object>(table: T, word: string): word is string & keyof T => Object.hasOwn(table, word)

const little = (value: number): Buffer => Buffer.from(Uint32Array.of(value).buffer)
const short = (value: number): Buffer => Buffer.of(value >> 8, value & 255)
const value = (octets: Uint8Array): Buffer => attributesOf([[1, octets]])
const addressOf = (text: string): Uint8Array => addressBytes(parseAddress(text) ?? assertNever(text))
const named = (text: string): Buffer => Buffer.from(text.replaceAll('"', '').padEnd(16, '\0'))
const protocolOf = (text: string): Buffer => Buffer.of(has(protocols, text) ? protocols[text] : Number(text))

function assertNever(what: string): never {
  throw new Error(`not known here: ${what}`)
}

interface Field {
  readonly bytes: number
  readonly load: (register: number) => Uint8Array
  readonly valueOf: (text: string) => Uint8Array
  /** What has to be so before it is there. */
  readonly of?: 'ip' | 'ip6' | 'tcp' | 'udp'
}

const header = (base: number, at: number, bytes: number): Field['load'] => {
  return (register) => expression('payload', [1, big(register)], [2, big(base)], [3, big(at)], [4, big(bytes)])
}
const meta = (key: number): Field['load'] => {
  return (register) => expression('meta', [1, big(register)], [2, big(key)])
}
const port = (of: 'tcp' | 'udp' | undefined, at: number): Field => ({
  ...{ bytes: 2, load: header(2, at, 2), valueOf: (text) => short(Number(text)) },
  ...(of === undefined ? {} : { of }),
})
const fields: Readonly<Record<string, Field>> = {
  'ip saddr': { bytes: 4, load: header(1, 12, 4), valueOf: addressOf, of: 'ip' },
  'ip daddr': { bytes: 4, load: header(1, 16, 4), valueOf: addressOf, of: 'ip' },
  'ip6 saddr': { bytes: 16, load: header(1, 8, 16), valueOf: addressOf, of: 'ip6' },
  'ip6 daddr': { bytes: 16, load: header(1, 24, 16), valueOf: addressOf, of: 'ip6' },
  iifname: { bytes: 16, load: meta(6), valueOf: named },
  oifname: { bytes: 16, load: meta(7), valueOf: named },
  'meta mark': { bytes: 4, load: meta(3), valueOf: (text) => little(Number(text)) },
  'meta l4proto': { bytes: 1, load: meta(16), valueOf: protocolOf },
  'meta nfproto': { bytes: 1, load: meta(15), valueOf: (text) => Buffer.of(text === 'ipv4' ? 2 : 10) },
  'th dport': port(undefined, 2),
  'tcp dport': port('tcp', 2),
  'udp dport': port('udp', 2),
  'ct state': {
    ...{ bytes: 4, load: (register) => expression('ct', [1, big(register)], [2, big(0)]) },
    valueOf: (text) => little(has(states, text) ? states[text] : assertNever(text)),
  },
  'ct status': {
    ...{ bytes: 4, load: (register) => expression('ct', [1, big(register)], [2, big(2)]) },
    valueOf: (text) => little(text === 'dnat' ? 32 : 16),
  },
  'fib daddr type': {
    ...{ bytes: 4, load: (register) => expression('fib', [1, big(register)], [2, big(3)], [3, big(2)]) },
    valueOf: (text) => little(text === 'local' ? 2 : assertNever(text)),
  },
}
const typeFields: Readonly<Record<string, string>> = {
  ipv4_addr: 'ip daddr',
  ipv6_addr: 'ip6 daddr',
  inet_proto: 'meta l4proto',
  inet_service: 'th dport',
  ifname: 'iifname',
  mark: 'meta mark',
}

const wordsOf = (field: Field): number => Math.ceil(field.bytes / 4)
const cmp = (operator: number, octets: Uint8Array): Uint8Array =>
  expression('cmp', [1, big(1)], [2, big(operator)], [3, value(octets)])
const masked = (mask: Uint8Array): Uint8Array =>
  expression(
    'bitwise',
    ...([
      [1, big(1)],
      [2, big(1)],
      [3, big(mask.length)],
      [4, value(mask)],
      [5, value(new Uint8Array(mask.length))],
    ] as const),
  )
const maskOf = (length: number, bits: number): Uint8Array =>
  Uint8Array.from({ length }, (_, n) => 0xff & ~(0xff >> Math.min(8, Math.max(0, bits - 8 * n))))

/** The first address behind a prefix. */
function behind(first: Uint8Array, bits: number): Uint8Array | undefined {
  const next = Uint8Array.from(first)
  for (let [at, add] = [Math.ceil(bits / 8) - 1, 1 << (7 - ((bits - 1) & 7))]; at >= 0; at--, add = 1) {
    const sum = (next[at] ?? 0) + add
    next[at] = sum & 255
    if (sum < 256) return next
  }
  return undefined
}

function verdictFrom(words: readonly string[]): readonly [number, string?] {
  const [word = '', chain] = words
  if (has(verdicts, word)) return [verdicts[word]]
  if (chain === undefined || (word !== 'jump' && word !== 'goto')) assertNever(words.join(' '))
  return [word === 'jump' ? -3 : -4, chain]
}

const verdictData = ([code, chain]: readonly [number, string?]): Buffer =>
  attributesOf([[2, attributesOf([[1, big(code)], ...(chain === undefined ? [] : [[2, chain] as const])])]])

/** Elements of a set whose keys have these parts, between braces, perhaps each with a verdict. */
function elementsOf(parts: readonly Field[], text: string, isOfIntervals: boolean): readonly Buffer[] {
  const elements: (readonly Attribute[])[] = []
  for (const each of text.split(',').map((one) => one.trim())) {
    if (each === '') continue
    const [key = '', verdictText] = each.split(' : ')
    const data: readonly Attribute[] =
      verdictText === undefined ? [] : [[2, verdictData(verdictFrom(verdictText.trim().split(/\s+/)))]]
    if (key.trim() === '*') {
      elements.push([[3, big(2)], ...data])
      continue
    }
    const words = key.trim().split(/\s+\.\s+/)
    const padded = parts.map((part, n) => {
      const octets = part.valueOf((words[n] ?? '').split('/')[0] ?? '')
      return parts.length === 1 ? octets : Buffer.concat([octets, Buffer.alloc(4 * wordsOf(part) - octets.length)])
    })
    const from = Buffer.concat(padded)
    elements.push([[1, value(from)], ...data])
    if (!isOfIntervals) continue
    const bits = Number(key.split('/')[1] ?? from.length * 8)
    const end = behind(from, bits)
    if (end !== undefined)
      elements.push([
        [1, value(end)],
        [3, big(1)],
      ])
  }
  return elements.map((element) => attributesOf([[1, attributesOf(element)]]))
}

/** What is said of one table. */
class Table {
  readonly messages: Buffer[] = []
  readonly #family: Family
  readonly #name: string
  readonly #setMessages: Buffer[] = []
  readonly #rules: Buffer[] = []
  #sets = 0

  constructor(family: Family, name: string) {
    this.#family = family
    this.#name = name
    this.#add(NEWTABLE, [[1, name]])
  }

  #add(type: number, attributes: readonly Attribute[], flags = request): void {
    const to = type === NEWSET || type === NEWSETELEM ? this.#setMessages : this.messages
    to.push(message(type, flags, familyNumbers[this.#family], 0, attributes))
  }

  /** Elements name chains, and rules sets. */
  end(): readonly Buffer[] {
    return [...this.messages, ...this.#setMessages, ...this.#rules]
  }

  set(kind: 'set' | 'map', name: string, lines: readonly string[]): void {
    const said = new Map(lines.map((line) => /^(\w+) =? ?(.*)$/.exec(line)?.slice(1) as [string, string]))
    const [types = '', target] = (said.get('type') ?? '').split(' : ')
    const parts = types
      .trim()
      .split(' . ')
      .map((type) => fields[typeFields[type] ?? assertNever(type)] as Field)
    const flags = (said.get('flags') ?? '').split(',').reduce((sum, flag) => {
      const word = flag.trim()
      return sum | (has(setFlags, word) ? setFlags[word] : 0)
    }, 0)
    const isMap = kind === 'map' && target !== undefined
    this.#newSet(name, parts, flags | (isMap ? setFlags.map : 0), (said.get('elements') ?? '').replace(/[{}]/g, ''))
  }

  #newSet(name: string, parts: readonly Field[], flags: number, elements: string): number {
    const id = ++this.#sets
    const bytes = parts.length === 1 ? (parts[0]?.bytes ?? 0) : parts.reduce((sum, part) => sum + 4 * wordsOf(part), 0)
    this.#add(NEWSET, [
      ...([
        [1, this.#name],
        [2, name],
        [3, big(flags)],
        [4, big(0)],
        [5, big(bytes)],
      ] as const),
      ...((flags & setFlags.map) === 0 ? [] : [[6, big(0xffffff00 | 0)] as const]),
      [10, big(id)],
    ])
    const listed = elementsOf(parts, elements, (flags & setFlags.interval) !== 0)
    // An attribute has at most 64 kB.
    for (let from = 0; from < listed.length; from += 500)
      this.#add(NEWSETELEM, [
        [1, this.#name],
        [2, name],
        [4, big(id)],
        [3, Buffer.concat(listed.slice(from, from + 500))],
      ])
    return id
  }

  chain(name: string, lines: readonly string[]): void {
    const [first = ''] = lines
    const base = /^type (\w+) hook (\w+)(?: device "?(\w+)"?)? priority (\w+)(?: ([+-]) (\d+))?$/.exec(first)
    const policy = lines.find((line) => line.startsWith('policy '))
    const rules = lines.filter((line) => line !== first || base === null).filter((line) => line !== policy)
    this.#add(NEWCHAIN, [
      [1, this.#name],
      [3, name],
      ...(base === null ? [] : this.#called(base.slice(1) as (string | undefined)[], policy)),
    ])
    for (const rule of rules) {
      const attributes = [
        [1, this.#name],
        [2, name],
        [4, Buffer.concat(this.#rule(rule))],
      ] as const
      this.#rules.push(message(NEWRULE, request | atTheEnd, familyNumbers[this.#family], 0, attributes))
    }
  }

  #called(
    [type = '', hook = '', device, priority = '', sign, more]: readonly (string | undefined)[],
    policy: string | undefined,
  ): readonly Attribute[] {
    const number = has(hooks, hook) ? hooks[hook] : has(deviceHooks, hook) ? deviceHooks[hook] : assertNever(hook)
    const at =
      (has(priorities, priority) ? priorities[priority] : Number(priority)) + Number(`${sign ?? ''}${more ?? 0}`)
    const place: readonly Attribute[] = [
      [1, big(number)],
      [2, big(at)],
      ...(device === undefined ? [] : [[3, device] as const]),
    ]
    return [
      [4, attributesOf(place)],
      [5, big(policy === 'policy drop' ? 0 : 1)],
      [7, type],
    ]
  }

  #rule(line: string): Uint8Array[] {
    const words = line.match(/"[^"]*"|\{[^}]*\}|[^\s]+/g) ?? []
    const out: Uint8Array[] = []
    for (let at = 0; at < words.length; ) {
      const parts: Field[] = []
      for (let next = at; ; next++) {
        const length = [3, 2, 1].find((n) => fields[words.slice(next, next + n).join(' ')] !== undefined)
        const field = fields[words.slice(next, next + (length ?? 0)).join(' ')]
        if (length === undefined || field === undefined) break
        parts.push(field)
        at = next += length
        if (words[next] !== '.') break
      }
      at = parts.length > 0 ? this.#match(parts, words, at, out) : this.#statement(words, at, out)
    }
    return out
  }

  /** Answers with the place behind it. */
  #match(parts: readonly Field[], words: readonly string[], from: number, out: Uint8Array[]): number {
    const needs = new Set(parts.flatMap((part) => part.of ?? []))
    for (const need of needs) {
      if (need === 'tcp' || need === 'udp') out.push(meta(16)(1), cmp(0, protocolOf(need)))
      else if (this.#family === 'inet') out.push(meta(15)(1), cmp(0, Buffer.of(need === 'ip' ? 2 : 10)))
    }
    if (words[from] === 'set') {
      const written = value(parts[0]?.valueOf(words[from + 1] ?? '') ?? assertNever('nothing'))
      out.push(expression('immediate', [1, big(1)], [2, written]), expression('meta', [2, big(3)], [3, big(1)]))
      return from + 2
    }
    let word = 0
    for (const part of parts) {
      out.push(part.load(word === 0 ? 1 : 8 + word))
      word += wordsOf(part)
    }
    const [field] = parts
    if (field === undefined) return from
    let [at, isNot, mask] = [from, false, undefined as Uint8Array | undefined]
    if (words[at] === '&') [mask, at] = [field.valueOf(words[at + 1] ?? ''), at + 2]
    if (words[at] === '!=' || words[at] === '==') isNot = words[at++] === '!='
    const isMap = words[at] === 'vmap'
    if (isMap) at++
    const asked = words[at] ?? ''
    if (asked.startsWith('@') || asked.startsWith('{')) {
      out.push(this.#lookup(parts, asked, isMap, isNot))
      return at + 1
    }
    const listed = asked.split(',')
    const bits = asked.includes('/') ? Number(asked.split('/')[1]) : undefined
    const isPrefix = asked.endsWith('*"')
    if (field === fields['ct state'] || field === fields['ct status']) {
      const any = listed.reduce((sum, state) => sum | Buffer.from(field.valueOf(state)).readUInt32LE(), 0)
      out.push(masked(little(any)), cmp(isNot ? 0 : 1, little(0)))
    } else {
      if (mask !== undefined) out.push(masked(mask))
      if (bits !== undefined) out.push(masked(maskOf(field.bytes, bits)))
      const octets = isPrefix ? Buffer.from(asked.slice(1, -2)) : field.valueOf(asked.split('/')[0] ?? '')
      out.push(cmp(isNot ? 1 : 0, octets))
    }
    return at + 1
  }

  #lookup(parts: readonly Field[], asked: string, isMap: boolean, isNot: boolean): Uint8Array {
    const isNamed = asked.startsWith('@')
    const content = asked.slice(1, -1)
    const isOfIntervals = !isNamed && content.includes('/')
    const flags = setFlags.anonymous | (isOfIntervals ? setFlags.interval : 0) | (isMap ? setFlags.map : 0)
    const name = isNamed ? asked.slice(1) : '__set%d'
    const id = isNamed ? undefined : this.#newSet(name, parts, flags, content)
    return expression(
      'lookup',
      [1, name],
      [2, big(1)],
      ...(isMap ? [[3, big(0)] as const] : []),
      ...(id === undefined ? [] : [[4, big(id)] as const]),
      ...(isNot ? [[5, big(1)] as const] : []),
    )
  }

  #statement(words: readonly string[], at: number, out: Uint8Array[]): number {
    const word = words[at] ?? ''
    const rest = words.slice(at + 1)
    if (has(verdicts, word) || word === 'jump' || word === 'goto') {
      const [code, chain] = verdictFrom([word, ...rest])
      out.push(verdict(code, chain))
      return at + (chain === undefined ? 1 : 2)
    }
    if (word === 'counter') out.push(expression('counter'))
    else if (word === 'masquerade') out.push(expression('masq'))
    else if (word === 'add') {
      // Of packets, as in `add @seen { ip saddr }`.
      const [set = '', key = ''] = rest
      const field = fields[key.replace(/[{}]/g, '').trim()] ?? assertNever(key)
      out.push(field.load(1), expression('dynset', [1, set.slice(1)], [3, big(0)], [4, big(1)]))
      return at + 3
    } else if (word === 'reject')
      out.push(expression('reject', [1, big(this.#family === 'inet' ? 2 : 0)], [2, Buffer.of(3)]))
    else assertNever(words.join(' '))
    return at + 1
  }
}

/** In place of every table that there is. */
export function layNft(text: string): void {
  const batches = [...text.matchAll(/^\s*table (\w+) (\S+) \{\n(.*?)^\}$/gms)].map(
    ([, family = '', name = '', body = '']) => {
      const table = new Table(has(familyNumbers, family) ? family : assertNever(family), name)
      for (const [, kind = '', part = '', lines = ''] of body.matchAll(
        /^\s+(set|map|chain) (\S+) \{\n(.*?)^\s+\}$/gms,
      )) {
        const said = lines.split(/\n|; /).map((line) => line.replace(/;\s*$/, '').trim())
        const filled = said.filter((line) => line !== '')
        if (kind === 'chain') table.chain(part, filled)
        else table.set(kind === 'map' ? 'map' : 'set', part, filled)
      }
      return table.end()
    },
  )
  const messages = [message(DELTABLE, request, 0, 0, []), ...batches.flat()]
  const last = messages.at(-1) ?? assertNever('nothing')
  last.writeUInt16LE(last.readUInt16LE(6) | acknowledged, 6)
  change(...messages)
}

if (import.meta.main) layNft(readFileSync(0, 'utf8'))
