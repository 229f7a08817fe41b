/**
 * Whether netfilter on this node may do anything to a packet on its way to a pod that would be missed: a packet that
 * goes past netfilter goes past that too. What is really in the chains decides, from those on that the kernel calls;
 * known to do nothing of the kind are rules that accept, and what kube-proxy makes. Whatever else is there is named,
 * whether it enforces policies or counts packets: in doubt they go through the stack. Rules that translate addresses
 * are on every node; whether they are about such a packet translations.ts asks. Pure.
 */
import { type BaseChain, mostRules, type Rule } from '../sys/filter-rules.ts'
import type { TranslationChain } from './translations.ts'

interface Enforcer {
  readonly name: string
  /** Of a chain, or of its table in nftables. */
  readonly pattern: RegExp
}

const enforcers: readonly Enforcer[] = [
  { name: 'Calico', pattern: /^(?:.*-)?cali-|^calico$/ },
  { name: 'kube-router', pattern: /^KUBE-(?:ROUTER-FORWARD|NWPLCY-|POD-FW-)/ },
  { name: 'Weave Net', pattern: /^WEAVE-NPC/ },
  { name: 'kube-network-policies', pattern: /^kube-network-policies$/ },
  { name: 'Antrea', pattern: /^ANTREA-POL-/ },
  { name: 'Romana', pattern: /^ROMANA-FORWARD-/ },
]

/**
 * What kube-proxy and the kubelet have in the way of what is handed on: nothing of it is about a packet whose
 * destination is a pod already, but for one that conntrack calls INVALID. Source ranges of Services are ours here.
 */
const ofKubeProxy =
  /^KUBE-(?:FORWARD|POSTROUTING|SERVICES|EXTERNAL-SERVICES|PROXY-FIREWALL|SOURCE-RANGES-FIREWALL|LOAD-BALANCER|NODE-?PORTS?|FIREWALL|(?:PROXY|KUBELET)-CANARY)$/
const tableOfKubeProxy = 'kube-proxy'

export interface Look {
  /** For people: what is in the way of whatever packet, and where. undefined: nothing. */
  readonly obstacle: string | undefined
  /** What may be in the way of some. */
  readonly translations: readonly TranslationChain[]
}

/** Throws what reading the rules throws. */
export function lookThrough(chains: readonly BaseChain[]): Look {
  const translations: TranslationChain[] = []
  for (const chain of chains.filter(({ tableName }) => tableName !== tableOfKubeProxy)) {
    const found = new Map<string, readonly Rule[]>()
    const obstacle = obstacleIn(chain, found)
    if (obstacle !== undefined) return { obstacle, translations: [] }
    if (chain.isNat) translations.push({ ...chain, chains: found })
  }
  return { obstacle: undefined, translations }
}

/** Leaves in `found` every chain that was read. */
function obstacleIn(base: BaseChain, found: Map<string, readonly Rule[]>): string | undefined {
  const { table, tableName, name, isNat, isAccepting, rules } = base
  const known = enforcedBy(tableName) ?? enforcedBy(name)
  if (known !== undefined) return known
  const where = (chain: string): string => `chain ${chain} of ${table}`
  const asked = new Set([name])
  let read = 0
  for (const chain of asked) {
    const here = rules(chain)
    found.set(chain, here)
    read += here.length
    if (read > mostRules) return `${where(name)} has too many rules to look through`
    for (const { effect } of here) {
      if (effect.does !== 'ask' || ofKubeProxy.test(effect.chain)) continue
      const enforcer = enforcedBy(effect.chain)
      if (enforcer !== undefined) return enforcer
      asked.add(effect.chain)
    }
    if (isNat) continue
    for (const { effect } of here) if (effect.does === 'other') return `${where(chain)} has a rule with ${effect.what}`
  }
  return isNat || isAccepting ? undefined : `${where(name)} drops what no rule accepts`
}

function enforcedBy(chain: string): string | undefined {
  const found = enforcers.find(({ pattern }) => pattern.test(chain))
  return found === undefined ? undefined : `${found.name} enforces policies by netfilter (${chain})`
}
