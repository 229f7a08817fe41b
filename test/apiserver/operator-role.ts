/** What an operator may do, as docs/operate.md lists it; a test takes verbs away. */
export interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

export const operatorRules: readonly Rule[] = [
  { apiGroups: [''], resources: ['services', 'nodes', 'namespaces'], verbs: ['list', 'watch'] },
  { apiGroups: [''], resources: ['services/status'], verbs: ['patch'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
  { apiGroups: ['cilium.io', 'metallb.io'], resources: ['*'], verbs: ['list', 'watch'] },
  { apiGroups: ['cilium.io', 'metallb.io'], resources: ['*/status'], verbs: ['patch'] },
  { apiGroups: ['cilium.io'], resources: ['ciliumbgpnodeconfigs'], verbs: ['create', 'patch', 'delete'] },
]

export const leaseRules: readonly Rule[] = [
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] },
]

/** Of agents that tell to whom they announce Services. */
export const statusRules: readonly Rule[] = [
  { apiGroups: ['metallb.io'], resources: ['servicebgpstatuses'], verbs: ['list', 'create', 'delete'] },
  { apiGroups: ['metallb.io'], resources: ['servicebgpstatuses/status'], verbs: ['patch'] },
]

/** Of an operator in its own namespace. */
export const ownRules: readonly Rule[] = [
  ...leaseRules,
  { apiGroups: ['metallb.io'], resources: ['configurationstates'], verbs: ['list', 'create'] },
  { apiGroups: ['metallb.io'], resources: ['configurationstates/status'], verbs: ['patch'] },
]

export function roleOf(name: string, rules: readonly Rule[], namespace?: string): object {
  const kind = namespace === undefined ? 'ClusterRole' : 'Role'
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) }
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind, metadata, rules }
}
