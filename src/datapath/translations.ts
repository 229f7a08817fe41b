/**
 * Whether a rule that translates addresses (`nat`) may meet a flow that goes past netfilter. The rules ask about the
 * first packet of a connection, with the pod as its destination already; where bridges ask netfilter too
 * (`bridge-nf-call-iptables`), a reply whose beginning netfilter has not seen is a first packet to it.
 *
 *     client -> pod     prerouting, postrouting: out of an interface to pods
 *     pod -> client     prerouting
 *
 * A client is any address, of which those are told apart that rules tell apart. What a rule asks and nobody here knows
 * may be so: then its effect counts, and what follows it too. Pure.
 */
import { addressBytes, familyOfAddress, type Family, parseAddress } from '../ip/address.ts'
import type { BaseChain, Condition, Net, Rule } from '../sys/filter-rules.ts'

/** A chain for translations that the kernel calls, with all that it may come to. */
export interface TranslationChain extends Omit<BaseChain, 'rules'> {
  readonly chains: ReadonlyMap<string, readonly Rule[]>
}

type Answer = 'always' | 'maybe' | 'never'

interface Packet {
  readonly source: Net
  readonly destination: Net
  readonly family: Family
  readonly uplinks: readonly string[]
  /** Rules that may still be asked about it and its like. */
  readonly budget: { left: number }
}

/** More are not asked about one pod. */
const mostRules = 500_000

const all = { ipv4: netOfText(4, [], 0), ipv6: netOfText(16, [], 0) } as const
/** Which no client behind a router has: of the node itself, of a link, of groups. */
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

function contains(outer: Net, inner: Net): boolean {
  if (outer.octets.length !== inner.octets.length || outer.bits > inner.bits) return false
  const [whole, rest] = [outer.bits >> 3, outer.bits & 7]
  for (let n = 0; n < whole; n++) if (outer.octets[n] !== inner.octets[n]) return false
  const mask = 0xff & ~(0xff >> rest)
  return rest === 0 || (((outer.octets[whole] ?? 0) ^ (inner.octets[whole] ?? 0)) & mask) === 0
}

/** Which end of a flow sends what a chain is asked about. */
type Side = 'source' | 'destination'
const otherSide = { source: 'destination', destination: 'source' } as const

/** What may meet flows. */
export class Translations {
  readonly #judges: readonly Judge[]

  constructor(chains: readonly TranslationChain[]) {
    this.#judges = chains.flatMap((chain) => [
      new Judge(chain, 'destination'),
      ...(chain.at === 'prerouting' ? [new Judge(chain, 'source')] : []),
    ])
  }

  /** For people: what is in the way; undefined: nothing. */
  obstacle(pods: Iterable<string>, uplinks: readonly string[]): string | undefined {
    for (const pod of pods) {
      const address = parseAddress(pod)
      if (address === undefined) continue
      const octets = addressBytes(address)
      const net = { octets, bits: octets.length * 8 }
      for (const judge of this.#judges) {
        const found = judge.obstacle(net, familyOfAddress(address), uplinks)
        if (found !== undefined) return found
      }
    }
    return undefined
  }
}

/** Of one chain and what goes one way. Pods that its rules cannot tell apart are judged once. */
class Judge {
  readonly #chain: TranslationChain
  /** Where the address of the pod stands. */
  readonly #side: Side
  readonly #ofPods: readonly Net[]
  readonly #ofClients: readonly Net[]
  readonly #judged = new Map<string, string | undefined>()

  constructor(chain: TranslationChain, side: Side) {
    this.#chain = chain
    this.#side = side
    this.#ofPods = netsOf(chain, side)
    this.#ofClients = netsOf(chain, otherSide[side]).filter((net) => !neverClients.some((each) => contains(each, net)))
  }

  obstacle(pod: Net, family: Family, uplinks: readonly string[]): string | undefined {
    if (this.#chain.family !== undefined && this.#chain.family !== family) return undefined
    const among = this.#ofPods.map((each) => (contains(each, pod) ? '1' : '0')).join('')
    const key = `${family} ${among} ${uplinks.join(' ')}`
    if (!this.#judged.has(key)) this.#judged.set(key, this.#judge(pod, family, uplinks))
    return this.#judged.get(key)
  }

  #judge(pod: Net, family: Family, uplinks: readonly string[]): string | undefined {
    const budget = { left: mostRules }
    const clients = this.#ofClients.filter(({ octets }) => octets.length === pod.octets.length)
    for (const client of [all[family], ...clients]) {
      const ends = this.#side === 'source' ? { source: pod, destination: client } : { source: client, destination: pod }
      const found = met(this.#chain, { ...ends, family, uplinks, budget })
      if (found !== undefined) return found
    }
    return undefined
  }
}

function netsOf({ chains }: TranslationChain, side: Side): readonly Net[] {
  const asked = [...chains.values()].flat().flatMap(({ when }) => when)
  const nets = asked.flatMap((condition) => (condition.of === side ? [condition.net] : []))
  return [...new Map(nets.map((net) => [`${net.octets.join('.')}/${net.bits}`, net])).values()]
}

function met(chain: TranslationChain, packet: Packet): string | undefined {
  const { obstacle, goesOn } = walk(chain, chain.name, packet)
  if (obstacle !== undefined || !goesOn || chain.isAccepting) return obstacle
  return `chain ${chain.name} of ${chain.table} drops what no rule accepts`
}

interface Walk {
  readonly obstacle?: string
  /** Whether a packet may come back to who has asked this chain. */
  readonly goesOn: boolean
}

function walk(base: TranslationChain, name: string, packet: Packet): Walk {
  for (const { when, effect } of base.chains.get(name) ?? []) {
    if (packet.budget.left-- <= 0)
      return { obstacle: `chain ${base.name} of ${base.table} has too many rules to look through`, goesOn: true }
    const answer = allOf(when, packet)
    if (answer === 'never' || effect.does === 'nothing') continue
    if (effect.does === 'other')
      return { obstacle: `chain ${name} of ${base.table} may meet flows with ${effect.what}`, goesOn: true }
    if (effect.does === 'ask') {
      const asked = walk(base, effect.chain, packet)
      if (asked.obstacle !== undefined) return asked
      if (answer === 'always' && (effect.isGoto || !asked.goesOn)) return asked
    } else if (answer === 'always') return { goesOn: effect.does === 'return' }
  }
  return { goesOn: true }
}

function allOf(when: readonly Condition[], packet: Packet): Answer {
  const answers = when.map((condition) => {
    const answer = answerTo(condition, packet)
    if (answer === undefined) return 'maybe'
    return answer === condition.isNot ? 'never' : 'always'
  })
  if (answers.includes('never')) return 'never'
  return answers.includes('maybe') ? 'maybe' : 'always'
}

/** Before what is asked is turned around; undefined: it may be so. */
function answerTo(condition: Condition, { uplinks, family, ...packet }: Packet): boolean | undefined {
  switch (condition.of) {
    case 'source':
    case 'destination':
      return contains(condition.net, packet[condition.of])
    case 'family':
      return condition.family === family
    case 'mark':
      // Nothing that is known here has marked it: a rule that does is in the way by itself.
      return condition.value === 0
    case 'output': {
      const { name, isPrefix } = condition
      // Never by one of these, and by which one of the others is not known.
      if (isPrefix) return name === '' ? true : undefined
      return name === 'lo' || uplinks.includes(name) ? false : undefined
    }
    case 'to-node':
    case 'socket':
      return false
    case 'other':
      return undefined
  }
}
