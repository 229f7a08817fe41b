/**
 * Whether netfilter on this node may do anything to a packet on its way to a pod that would be missed: a packet that
 * goes past netfilter goes past that too. What is really in the chains decides, from those on that the kernel calls;
 * known to do nothing of the kind are rules that accept, and what kube-proxy makes. Whatever else is there is named,
 * whether it enforces policies or counts packets: in doubt they go through the stack. Pure.
 */
import type { BaseChain } from '../sys/filter-rules.ts'

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
  /^KUBE-(?:FORWARD|SERVICES|EXTERNAL-SERVICES|PROXY-FIREWALL|SOURCE-RANGES-FIREWALL|LOAD-BALANCER|NODE-?PORTS?|FIREWALL|(?:PROXY|KUBELET)-CANARY)$/
const tableOfKubeProxy = 'kube-proxy'
/** More is not looked through. */
const mostRules = 10_000

/** For people: what is in the way, and where. undefined: nothing. Throws what reading the rules throws. */
export function policyObstacle(chains: readonly BaseChain[]): string | undefined {
  for (const chain of chains) {
    const found = chain.tableName === tableOfKubeProxy ? undefined : obstacleIn(chain)
    if (found !== undefined) return found
  }
  return undefined
}

function obstacleIn({ table, tableName, name, isAccepting, rules }: BaseChain): string | undefined {
  const known = enforcedBy(tableName) ?? enforcedBy(name)
  if (known !== undefined) return known
  const where = (chain: string): string => `chain ${chain} of ${table}`
  const asked = new Set([name])
  let read = 0
  for (const chain of asked) {
    const effects = rules(chain)
    read += effects.length
    if (read > mostRules) return `${where(name)} has too many rules to look through`
    for (const effect of effects) {
      if (effect.does !== 'ask' || ofKubeProxy.test(effect.chain)) continue
      const enforcer = enforcedBy(effect.chain)
      if (enforcer !== undefined) return enforcer
      asked.add(effect.chain)
    }
    const other = effects.find(({ does }) => does === 'other')
    if (other?.does === 'other') return `${where(chain)} has a rule with ${other.what}`
  }
  return isAccepting ? undefined : `${where(name)} drops what no rule accepts`
}

function enforcedBy(chain: string): string | undefined {
  const found = enforcers.find(({ pattern }) => pattern.test(chain))
  return found === undefined ? undefined : `${found.name} enforces policies by netfilter (${chain})`
}
