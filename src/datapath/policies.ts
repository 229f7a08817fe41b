/**
 * Whether something on this node decides by netfilter who may talk to pods: a packet that goes past netfilter would go
 * past that too. It is found by the names that its chains have, which docs/operate.md lists. Pure.
 */
import type { Chain } from '../sys/netfilter-chains.ts'

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

/** For people: who, and by which chain. `words`: those of the older iptables, its chains among them. */
export function policyEnforcer(chains: readonly Chain[], words: readonly string[]): string | undefined {
  const names = [...chains.flatMap(({ table, name }) => [table, name]), ...words]
  for (const { name, pattern } of enforcers) {
    const chain = names.find((each) => pattern.test(each))
    if (chain !== undefined) return `${name} enforces policies by netfilter (${chain})`
  }
  return undefined
}
