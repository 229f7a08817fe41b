/**
 * Whether rules of netfilter may meet a flow that goes past them. Each packet of a flow between an uplink and a pod is
 * walked through every chain that the kernel would call for it, with the pod as its destination already:
 *
 *     client -> pod     in by an uplink, out by the interface of the pod
 *     pod -> client     in by the interface of the pod, out by an uplink
 *
 * What conntrack says of it is part of it: the first one is new, the others are established, errors about them related,
 * and all of them are untracked where a rule says that they may be. Rules that translate (`nat`) are asked about first
 * packets alone; of replies too, before routing: where bridges ask netfilter (`bridge-nf-call-iptables`), one whose
 * beginning netfilter has not seen is a first packet to it. To all other rules there it is new or invalid, then.
 *
 * A client is any address behind an uplink, of which those are told apart that rules tell apart. What a rule asks and
 * nobody here knows may be so: then its effect counts, and what follows it too. Pure.
 */
import { addressBytes, familyOfAddress, type Family, parseAddress } from '../ip/address.ts'
import {
  type BaseChain,
  type Condition,
  contains,
  type Net,
  type Place,
  type Rule,
  type TrackedState,
  trackedStates,
} from '../sys/filter-rules.ts'
import type { Traffic } from './datapath.ts'

/** A chain that the kernel calls, with all that it may come to. */
export interface ReadChain extends Omit<BaseChain, 'rules'> {
  readonly chains: ReadonlyMap<string, readonly Rule[]>
}

type Answer = 'always' | 'maybe' | 'never'

interface Packet {
  readonly source: Net
  readonly destination: Net
  readonly family: Family
  /** By one of these it comes, and leaves; none: by whatever there is. */
  readonly input: readonly string[]
  readonly output: readonly string[]
  /** It may have whatever mark. */
  readonly isMarked: boolean
  /** undefined: conntrack has not been asked yet. */
  readonly state: TrackedState | undefined
  /** What was found on its way. */
  readonly found: { untracks: boolean }
  /** Rules that may still be asked about it and its like. */
  readonly budget: { left: number }
}

/** More are not asked about one pod. */
const mostRules = 500_000
/** Of sets with more addresses clients are not told apart: then they may have them. */
const mostToldApart = 256

const all = { ipv4: netOfText(4, [], 0), ipv6: netOfText(16, [], 0) } as const
/** Which no client behind a router has: of the node itself, of a link, of groups (is_from_nowhere, bpf/redirect.h). */
const neverClients: readonly Net[] = [
  netOfText(4, [127], 8),
  netOfText(4, [169, 254], 16),
  netOfText(4, [224], 3),
  netOfText(16, [0xfe, 0x80], 10),
  netOfText(16, [0xff], 8),
]

function netOfText(length: number, first: readonly number[], bits: number): Net {
  const octets = new Uint8Array(length)
  octets.set(first)
  return { octets, bits }
}

const textOf = ({ octets, bits }: Net): string => `${octets.join('.')}/${bits}`

/** Which end of a flow sends what a chain is asked about. */
type Side = 'source' | 'destination'
const otherSide = { source: 'destination', destination: 'source' } as const
/** By where the pod stands. A reply is no first packet but to who has not seen the one before it. */
const statesOf = { destination: ['new', 'established', 'related'], source: ['established', 'related'] } as const
const statesOfShown = ['new', 'invalid', ...statesOf.source] as const

/** Which interface a chain is not told there. */
const untoldAt: Readonly<Partial<Record<Place, readonly ('input' | 'output')[]>>> = {
  ingress: ['output'],
  prerouting: ['output'],
  egress: ['input'],
}

/** What rules do to flows. */
export class RuleWalk {
  readonly #judges: readonly Judge[]

  /** `isMarked`: packets may have been, by who is asked before these. */
  constructor(chains: readonly ReadChain[], isMarked = false) {
    this.#judges = chains.flatMap((chain) => [
      new Judge(chain, 'destination', isMarked),
      ...(!chain.isNat || chain.at === 'prerouting' ? [new Judge(chain, 'source', isMarked)] : []),
    ])
  }

  /** For people: what is in the way of these pods; undefined: nothing. */
  obstacle(pods: Iterable<string>, traffic: Traffic): string | undefined {
    const { uplinks, elsewhere } = traffic
    const between = [...uplinks, ...elsewhere.map(textOf)].join()
    for (const pod of pods) {
      const address = parseAddress(pod)
      if (address === undefined) continue
      const octets = addressBytes(address)
      const about: About = {
        ...{ pod: { octets, bits: octets.length * 8 }, family: familyOfAddress(address) },
        ...{ links: traffic.pods.get(pod) ?? [], isShown: traffic.shown.has(pod), uplinks, elsewhere, between },
      }
      const found = this.#judges.map((judge) => judge.verdict(about, 'tracked'))
      const isUntracked = found.some(({ untracks }) => untracks)
      const untracked = isUntracked ? this.#judges.map((judge) => judge.verdict(about, 'untracked')) : []
      const first = [...found, ...untracked].find(({ obstacle }) => obstacle !== undefined)
      if (first !== undefined) return first.obstacle
    }
    return undefined
  }
}

/** A pod, and between what its packets go. */
interface About extends Pick<Traffic, 'uplinks' | 'elsewhere'> {
  readonly pod: Net
  readonly family: Family
  readonly links: readonly string[]
  /** A bridge shows what it sends to netfilter. */
  readonly isShown: boolean
  /** The rest of it as a key. */
  readonly between: string
}

interface Verdict {
  readonly obstacle: string | undefined
  readonly untracks: boolean
}

const clear: Verdict = { obstacle: undefined, untracks: false }

/** Of one chain and what goes one way. Pods that its rules cannot tell apart are judged once. */
class Judge {
  readonly #chain: ReadChain
  /** Where the address of the pod stands. */
  readonly #side: Side
  readonly #isMarked: boolean
  readonly #ofPods: NetsAsked
  readonly #ofClients: readonly Net[]
  readonly #names: readonly InterfaceAsked[]
  readonly #judged = new Map<string, Verdict>()

  constructor(chain: ReadChain, side: Side, isMarked: boolean) {
    this.#chain = chain
    this.#isMarked = isMarked
    this.#side = side
    const rules = [...chain.chains.values()].flat().map(({ when }) => when)
    const [asked, whole] = [conditionsIn(rules, mostToldApart), conditionsIn(rules, Infinity)]
    this.#ofPods = new NetsAsked(netsOf(whole, side))
    this.#ofClients = netsOf(asked, otherSide[side]).filter((net) => !neverClients.some((each) => contains(each, net)))
    this.#names = whole.flatMap((each) => (each.of === 'input' || each.of === 'output' ? [each] : []))
  }

  verdict(about: About, kind: 'tracked' | 'untracked'): Verdict {
    const { pod, family, links, isShown, between } = about
    if (this.#chain.family !== undefined && this.#chain.family !== family) return clear
    if (kind === 'untracked' && !this.#chain.isTracked) return clear
    const among = this.#ofPods.thatHave(pod)
    const named = links.map((link) => this.#names.flatMap((asked, n) => (isNamed(asked, link) ? [n] : [])).join())
    const key = [family, kind, isShown, among, named.join(';'), between].join(' ')
    const known = this.#judged.get(key) ?? this.#judge(about, this.#states(kind, isShown))
    this.#judged.set(key, known)
    return known
  }

  #states(kind: 'tracked' | 'untracked', isShown: boolean): readonly (TrackedState | undefined)[] {
    if (kind === 'untracked') return ['untracked']
    if (!this.#chain.isTracked) return [undefined]
    if (this.#chain.isNat) return ['new']
    const isSeenAlone = isShown && this.#side === 'source' && this.#chain.at === 'prerouting'
    return isSeenAlone ? statesOfShown : statesOf[this.#side]
  }

  #judge({ pod, family, links, uplinks, elsewhere }: About, states: readonly (TrackedState | undefined)[]): Verdict {
    const budget = { left: mostRules }
    const found = { untracks: false }
    const same = { family, isMarked: this.#isMarked, found, budget }
    const isClient = (net: Net): boolean =>
      net.octets.length === pod.octets.length && !elsewhere.some((each) => contains(each, net))
    for (const client of [all[family], ...this.#ofClients.filter(isClient)])
      for (const state of states) {
        const ways =
          this.#side === 'source'
            ? { source: pod, destination: client, input: links, output: uplinks }
            : { source: client, destination: pod, input: uplinks, output: links }
        const untold = Object.fromEntries((untoldAt[this.#chain.at] ?? []).map((each) => [each, []]))
        const obstacle = met(this.#chain, { ...ways, ...untold, ...same, state })
        if (obstacle !== undefined) return { obstacle, untracks: found.untracks }
      }
    return { obstacle: undefined, untracks: found.untracks }
  }
}

/** Also those that sets are made of, of no more than so many elements. */
function conditionsIn(asked: readonly (readonly Condition[])[], most: number): readonly Condition[] {
  return asked.flat().flatMap((condition) => {
    if (condition.of !== 'any') return [condition]
    return condition.each.length > most ? [] : conditionsIn(condition.each, most)
  })
}

/** Of thousands of nets those that have an address, without asking each. */
class NetsAsked {
  readonly #byBits = new Map<number, Set<string>>()

  constructor(nets: readonly Net[]) {
    for (const { octets, bits } of nets) {
      const alike = this.#byBits.get(bits) ?? new Set()
      this.#byBits.set(bits, alike.add(textOf(firstBits(octets, bits))))
    }
  }

  /** The same of two addresses says that all nets have both or none. */
  thatHave({ octets }: Net): string {
    const found = [...this.#byBits].map(([bits, alike]) => {
      const text = textOf(firstBits(octets, bits))
      return alike.has(text) ? text : ''
    })
    return found.join()
  }
}

function firstBits(octets: Uint8Array, bits: number): Net {
  const first = octets.map((octet, n) => octet & ~(0xff >> Math.min(8, Math.max(0, bits - 8 * n))))
  return { octets: first, bits }
}

function netsOf(asked: readonly Condition[], side: Side): readonly Net[] {
  const nets = asked.flatMap((condition) => (condition.of === side ? [condition.net] : []))
  return [...new Map(nets.map((net) => [textOf(net), net])).values()]
}

function met(chain: ReadChain, packet: Packet): string | undefined {
  const { obstacle, goesOn } = walk(chain, chain.name, packet)
  if (obstacle !== undefined || !goesOn || chain.isAccepting) return obstacle
  return `chain ${chain.name} of ${chain.table} drops what no rule accepts`
}

interface Walk {
  readonly obstacle?: string
  /** Whether a packet may come back to who has asked this chain. */
  readonly goesOn: boolean
}

function walk(base: ReadChain, name: string, packet: Packet): Walk {
  for (const { when, effect } of base.chains.get(name) ?? []) {
    const answer = allOf(when, packet)
    if (packet.budget.left <= 0)
      return { obstacle: `chain ${base.name} of ${base.table} has too many rules to look through`, goesOn: true }
    if (answer === 'never') continue
    if (effect.does === 'nothing') packet.found.untracks = true
    else if (effect.does === 'other') {
      const does = base.isNat ? 'may meet flows' : 'has a rule'
      return { obstacle: `chain ${name} of ${base.table} ${does} with ${effect.what}${whyOf(when)}`, goesOn: true }
    } else if (effect.does === 'ask') {
      const asked = walk(base, effect.chain, packet)
      if (asked.obstacle !== undefined) return asked
      if (answer === 'always' && (effect.isGoto || !asked.goesOn)) return asked
    } else if (answer === 'always') return { goesOn: effect.does === 'return' }
  }
  return { goesOn: true }
}

/** Why it is not known whether a rule is about a packet, where that can be told. */
function whyOf(when: readonly Condition[]): string {
  const why = when.flatMap((condition) => (condition.of === 'other' && condition.why ? [condition.why] : []))
  return why.length === 0 ? '' : ` (${why.join('; ')})`
}

/** `isCoarse`: of a set whose addresses are not told apart a client may have one where it may be there. */
function allOf(when: readonly Condition[], packet: Packet, isCoarse = false): Answer {
  packet.budget.left--
  let isSure = true
  for (const condition of when) {
    const answer = answerTo(condition, packet, isCoarse)
    if (answer === condition.isNot) return 'never'
    if (answer === undefined) isSure = false
  }
  return isSure ? 'always' : 'maybe'
}

/** Before what is asked is turned around; undefined: it may be so. */
function answerTo(condition: Condition, packet: Packet, isCoarse: boolean): boolean | undefined {
  switch (condition.of) {
    case 'source':
    case 'destination': {
      const own = packet[condition.of]
      return contains(condition.net, own) || (isCoarse && contains(own, condition.net) ? undefined : false)
    }
    case 'family':
      return condition.family === packet.family
    case 'mark':
      // But for a bridge nothing has marked it: a rule that does is in the way by itself, and flows that begin with a
      // mark of another are not redirected.
      return packet.isMarked ? undefined : condition.value === 0
    case 'state':
      return packet.state && (trackedStates[packet.state] & condition.mask) === condition.value
    case 'input':
    case 'output':
      return isOneOf(packet[condition.of], condition)
    case 'any':
      return isAnyOf(condition.each, packet, isCoarse)
    case 'to-node':
    case 'socket':
      return false
    case 'other':
      return undefined
  }
}

type InterfaceAsked = Extract<Condition, { of: 'input' | 'output' }>

const isNamed = ({ name, isPrefix }: Pick<InterfaceAsked, 'name' | 'isPrefix'>, link: string): boolean =>
  isPrefix ? link.startsWith(name) : link === name

/** None are known: it is not known which one it is, but none of the node itself. */
function isOneOf(links: readonly string[], asked: InterfaceAsked): boolean | undefined {
  if (asked.isPrefix && asked.name === '') return true
  if (links.length === 0 && asked.name !== 'lo') return undefined
  const named = links.filter((link) => isNamed(asked, link)).length
  return named === 0 ? false : named === links.length || undefined
}

function isAnyOf(each: readonly (readonly Condition[])[], packet: Packet, isCoarse: boolean): boolean | undefined {
  let isNone: false | undefined = false
  for (const asked of each) {
    const answer = allOf(asked, packet, isCoarse || each.length > mostToldApart)
    if (answer === 'always') return true
    if (answer === 'maybe') isNone = undefined
  }
  return isNone
}
