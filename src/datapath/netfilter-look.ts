/**
 * What netfilter has on this node that packets to pods must not go past, read again only where it may have changed:
 * nftables says so by a number, the older iptables by the sizes of its tables, which a rule put in place of one of the
 * same size does not change. So what iptables has is read with every {@link NetfilterLook.policies}.
 */
import { programName } from '../sys/bpf.ts'
import type { BaseChain } from '../sys/filter-rules.ts'
import { ipsecPolicies, isIpsecBlocking } from '../sys/ipsec.ts'
import { iptablesBaseChains, iptablesSizes } from '../sys/iptables-rules.ts'
import { netfilterPrograms } from '../sys/netfilter-programs.ts'
import { nftBaseChains, nftGeneration } from '../sys/nft-rules.ts'
import { untoldRule } from '../sys/route-rules.ts'
import type { Netfilter, RulesMet, Traffic } from './datapath.ts'
import { type Look, lookThrough } from './policies.ts'
import { RuleWalk } from './rule-walk.ts'

interface Found extends Pick<Look, 'obstacle' | 'isMarked'> {
  readonly translating: RuleWalk
  readonly others: RuleWalk
}

/** Of tables that are changed all the time: then the last reading is taken as it is, and the next one is due soon. */
const mostTries = 3

/** What is asked of nftables. */
export interface Nftables {
  readonly generation: () => number | undefined
  readonly chains: () => readonly BaseChain[]
}

export class NetfilterLook implements Netfilter {
  readonly #tables: Nftables
  /** As they were before they were read. */
  #generation: number | undefined
  #sizes: string | undefined
  /** Of nftables; undefined: not read yet. */
  #nftables: Found | undefined
  #iptables: Found | undefined

  /** What is not of netfilter. */
  #beside: string | undefined

  constructor(tables: Nftables = { generation: nftGeneration, chains: nftBaseChains }) {
    this.#tables = tables
  }

  /** Whether anything may be otherwise than when it was read: some system calls. Throws ERR_SYSCALL. */
  hasChanged(): boolean {
    return (
      this.#nftables === undefined ||
      this.#tables.generation() !== this.#generation ||
      iptablesSizes() !== this.#sizes ||
      obstacleBeside() !== this.#beside
    )
  }

  /** Reads them. Throws ERR_SYSCALL. */
  policies(): string | undefined {
    // Chains are listed one after the other: what was changed meanwhile may have been nowhere.
    for (let tries = 1; this.#readNftables() && tries < mostTries; tries++);
    this.#sizes = iptablesSizes()
    this.#iptables = foundIn({ ...lookThrough(iptablesBaseChains()), isMarked: this.#nftables?.isMarked ?? false })
    this.#beside = obstacleBeside()
    return this.#nftables?.obstacle ?? this.#iptables.obstacle ?? this.#beside ?? programObstacle()
  }

  /** Whether they have been changed while they were read. */
  #readNftables(): boolean {
    const generation = this.#tables.generation()
    if (this.#nftables !== undefined && generation === this.#generation) return false
    this.#nftables = undefined
    const found = foundIn(generation === undefined ? noRules : lookThrough(this.#tables.chains()))
    this.#nftables = found
    this.#generation = generation
    return this.#tables.generation() !== generation
  }

  /** Of the rules as they were read. */
  rules(traffic: Traffic, fresh: Iterable<string> = traffic.pods.keys()): RulesMet {
    const pods = [...fresh]
    const first = (among: readonly string[], walk: (found: Found) => RuleWalk): string | undefined => {
      const found = [this.#nftables, this.#iptables].map((each) => each && walk(each).obstacle(among, traffic))
      return found.find((each) => each !== undefined)
    }
    return {
      policy: first(pods, ({ others }) => others),
      translation: first(
        pods.filter((pod) => !traffic.former.has(pod)),
        ({ translating }) => translating,
      ),
    }
  }
}

const noRules: Look = { obstacle: undefined, translating: [], others: [], isMarked: false }

function foundIn({ obstacle, translating, others, isMarked }: Look): Found {
  return {
    ...{ obstacle, isMarked },
    ...{ translating: new RuleWalk(translating, isMarked), others: new RuleWalk(others, isMarked) },
  }
}

/** Of these no number tells, and there may be hundreds of links to look through. */
function programObstacle(): string | undefined {
  const [id] = netfilterPrograms()
  return id === undefined ? undefined : `netfilter calls the program ${programName(id)} (id ${id})`
}

function obstacleBeside(): string | undefined {
  const count = ipsecPolicies()
  if (count > 0) return `IPsec has ${count} policies for what leaves or is handed on (ip xfrm policy)`
  if (isIpsecBlocking()) return 'IPsec drops what no policy is about (ip xfrm policy getdefault)'
  return untoldRule()
}
