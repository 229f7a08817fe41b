/** What status says of the place of kube-proxy: what is covered here, what is not, and why it is left to it. */
import type { StatusView } from '../api/types.ts'
import type { KubeProxyMode } from './kube-proxy.ts'

type KubeProxyView = NonNullable<StatusView['kubeProxy']>

export interface ProxyParts {
  readonly isReplacing: boolean
  /** Whether there is an eBPF datapath, and one of sockets. */
  readonly hasDatapath: boolean
  readonly hasSockets: boolean
  readonly kubeProxy: () => KubeProxyMode
  /** Where node ports are served now. */
  readonly nodePortAddresses: () => readonly string[]
  /** Why health checks are not answered everywhere; undefined: nobody answers them. */
  readonly healthProblems: (() => readonly string[]) | undefined
}

const notServed = [
  ...['SCTP by node ports', 'SCTP of clients on this node'],
  ...['hostPort of pods', 'addresses of other load balancers', 'node ports at 127.0.0.1'],
] as const

const rulesNames: Readonly<Partial<Record<KubeProxyMode, string>>> = {
  nftables: 'nftables',
  iptables: 'iptables',
  ipvs: 'IPVS',
}

export function proxyView(parts: ProxyParts): KubeProxyView {
  const { isReplacing, hasDatapath, hasSockets } = parts
  const isOn = isReplacing && hasDatapath
  const reason = reasonOf(parts)
  return {
    isReplaced: isOn,
    ...(reason === undefined ? {} : { reason }),
    rules: parts.kubeProxy(),
    nodePortAddresses: [...parts.nodePortAddresses()],
    fromOutside: {
      ...{ clusterIP: 'advertised', externalIP: isOn, nodePort: isOn, loadBalancerIP: 'own' },
      healthCheckNodePort: isOn && parts.healthProblems !== undefined,
    },
    fromInside: {
      ...{ clusterIP: hasSockets, loadBalancerIP: hasSockets },
      ...{ externalIP: isOn && hasSockets, nodePort: isOn && hasSockets },
    },
    notServed: [...notServed],
  }
}

function reasonOf({ isReplacing, hasDatapath, kubeProxy }: ProxyParts): string | undefined {
  if (!hasDatapath) return 'there is no eBPF datapath'
  if (isReplacing) return undefined
  const rules = rulesNames[kubeProxy()]
  return rules === undefined
    ? 'rules of kube-proxy were there a moment ago'
    : `rules of kube-proxy (${rules}) are there: external IPs and node ports are left to it`
}

/** What degrades the node. */
export function proxyFailures(parts: ProxyParts | undefined): readonly string[] {
  if (parts === undefined) return []
  const { hasDatapath, healthProblems } = parts
  if (!hasDatapath) return ['kube-proxy replacement: there is no eBPF datapath, so kube-proxy is not replaced']
  return [...(healthProblems?.() ?? [])]
}

/** What may be meant otherwise. */
export function proxyNotes(parts: ProxyParts | undefined): readonly string[] {
  if (parts === undefined) return []
  const { isReplacing, hasDatapath, hasSockets, kubeProxy, nodePortAddresses } = parts
  if (!hasDatapath) return []
  const reason = reasonOf(parts)
  return [
    ...(reason === undefined ? [] : [`kube-proxy replacement: ${reason}; end it with kube-proxy --cleanup`]),
    ...(isReplacing && kubeProxy() === 'unknown'
      ? ['kube-proxy replacement: whether there is a kube-proxy cannot be seen among rules of the old iptables']
      : []),
    ...(isReplacing && nodePortAddresses().length === 0
      ? ['kube-proxy replacement: no address for node ports; see --nodeport-addresses']
      : []),
    ...(hasSockets ? [] : ['kube-proxy replacement: without socket LB clients on this node reach none of it']),
  ]
}
