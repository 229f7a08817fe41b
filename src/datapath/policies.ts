/**
 * What netfilter on this node has for packets on their way to a pod, from those chains on that the kernel calls: a
 * packet that goes past netfilter goes past that too. Who is known to enforce policies is named by its chains; of
 * whatever else is there rule-walk.ts asks whether it is about such a packet. In doubt they go through the stack. Pure.
 */
import { type BaseChain, mostRules, type Rule } from '../sys/filter-rules.ts'
import type { ReadChain } from './rule-walk.ts'

interface Enforcer {
  readonly name: string
  /** Of a chain, or of its table in nftables. */
  readonly pattern: RegExp
}

const enforcers: readonly Enforcer[] = [
  { name: 'Calico', pattern: /^(?:.*-)?cali-|^calico$/ },
  { name: 'kube-router', pattern: /^KUBE-(?:ROUTER-FORWARD|NWPLCY-|POD-FW-)/ },
  { name: 'Weave Net', pattern: /^WEAVE-NPC/ },
  { name: 'Antrea', pattern: /^ANTREA-POL-/ },
  { name: 'Romana', pattern: /^ROMANA-FORWARD-/ },
]

/**
 * What kube-proxy and the kubelet have in the way of what is handed on: nothing of it is about a packet whose
 * destination is a pod already. Source ranges of Services are ours here. What KUBE-FORWARD accepts is read, since what
 * comes behind it may accept nothing.
 */
const ofKubeProxy =
  /^KUBE-(?:POSTROUTING|SERVICES|EXTERNAL-SERVICES|PROXY-FIREWALL|SOURCE-RANGES-FIREWALL|LOAD-BALANCER|NODE-?PORTS?|FIREWALL|(?:PROXY|KUBELET)-CANARY)$/
const tableOfKubeProxy = 'kube-proxy'

export interface Look {
  /** For people: who is in the way of whatever packet, and where. undefined: nobody. */
  readonly obstacle: string | undefined
  /** What may be in the way of some: rules that translate, and all others. */
  readonly translating: readonly ReadChain[]
  readonly others: readonly ReadChain[]
  /** A bridge may have marked packets before they come to these. */
  readonly isMarked: boolean
}

/** In the words of {@link Rule.effect}. */
const marks = /^the (?:statement meta set|target mark)$/i

/** Throws what reading the rules throws. */
export function lookThrough(called: readonly BaseChain[]): Look {
  const read: ReadChain[] = []
  for (const chain of called.filter(({ tableName }) => tableName !== tableOfKubeProxy)) {
    const chains = new Map<string, readonly Rule[]>()
    const obstacle = obstacleIn(chain, chains)
    if (obstacle !== undefined) return { obstacle, translating: [], others: [], isMarked: false }
    read.push({ ...chain, chains })
  }
  const met = read.filter(({ at }) => at !== 'bridge')
  const ofBridges = read.filter(({ at }) => at === 'bridge').flatMap(({ chains }) => [...chains.values()].flat())
  return {
    obstacle: undefined,
    translating: met.filter(({ isNat }) => isNat),
    others: met.filter(({ isNat }) => !isNat),
    isMarked: ofBridges.some(({ effect }) => effect.does === 'other' && marks.test(effect.what)),
  }
}

/** Leaves in `found` every chain that was read. */
function obstacleIn(base: BaseChain, found: Map<string, readonly Rule[]>): string | undefined {
  const { table, tableName, name, rules } = base
  const known = enforcedBy(tableName) ?? enforcedBy(name)
  if (known !== undefined) return known
  const asked = new Set([name])
  let read = 0
  for (const chain of asked) {
    const here = rules(chain)
    found.set(chain, here)
    read += here.length
    if (read > mostRules) return `chain ${name} of ${table} has too many rules to look through`
    for (const { effect } of here) {
      if (effect.does !== 'ask' || ofKubeProxy.test(effect.chain)) continue
      const enforcer = enforcedBy(effect.chain)
      if (enforcer !== undefined) return enforcer
      asked.add(effect.chain)
    }
  }
  return undefined
}

function enforcedBy(chain: string): string | undefined {
  const found = enforcers.find(({ pattern }) => pattern.test(chain))
  return found === undefined ? undefined : `${found.name} enforces policies by netfilter (${chain})`
}
