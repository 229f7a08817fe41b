/** What status says of the socket LB: what it covers, what it does not, and who else serves. */
import type { StatusView } from '../api/types.ts'
import type { SocketBalancer } from '../datapath/datapath.ts'
import type { Faults } from './faults.ts'
import type { KubeProxyMode } from './kube-proxy.ts'
import type { SocketOrder } from './socket-order.ts'

export type SocketView = NonNullable<StatusView['socketLb']>

export interface SocketParts {
  readonly balancer: SocketBalancer | undefined
  /** Why there is none although it was asked for. */
  readonly problem: string | undefined
  readonly order: Pick<SocketOrder, 'size' | 'isDone'> | undefined
  readonly faults: Pick<Faults, 'current'>
  readonly kubeProxy: () => KubeProxyMode
  /** Also to external IPs and node ports; absent: no. */
  readonly isReplacing?: () => boolean
}

const nothing = { clusterIP: false, loadBalancerIP: false, externalIP: false, nodePort: false } as const

/** undefined: nobody asked for it. */
export function socketView(parts: SocketParts): SocketView | undefined {
  const { balancer, problem, order, kubeProxy, isReplacing } = parts
  if (balancer === undefined && problem === undefined) return undefined
  const proxy = kubeProxy()
  if (balancer === undefined || order === undefined)
    return { isOn: false, covers: nothing, kubeProxy: proxy, ...(problem === undefined ? {} : { problem }) }
  const { cgroup, isWholeNode, adopted, others } = balancer.status
  const isAll = isReplacing?.() === true
  return {
    isOn: true,
    covers: { clusterIP: true, loadBalancerIP: true, externalIP: isAll, nodePort: isAll },
    kubeProxy: proxy,
    cgroup,
    isWholeNode,
    adopted,
    ...(others.length === 0 ? {} : { others: [...others] }),
    frontends: order.size,
    isDone: order.isDone,
    counts: balancer.counts(),
    maps: balancer.usage().map((map) => ({ ...map })),
  }
}

/** What degrades the node. */
export function socketFailures({ problem, faults }: SocketParts): readonly string[] {
  return [...(problem === undefined ? [] : [problem]), ...faults.current.map(({ text }) => text)]
}

/** What costs nobody what he has, and may be meant otherwise. */
export function socketNotes({ balancer }: SocketParts): readonly string[] {
  if (balancer === undefined) return []
  const { cgroup, isWholeNode, others } = balancer.status
  return [
    ...(isWholeNode
      ? []
      : [`socket LB: ${cgroup} is not the root of cgroup v2: sockets of other groups are not led anywhere`]),
    ...(others.length === 0
      ? []
      : [`socket LB: programs of others are asked about connections, too: ${others.join(', ')}`]),
  ]
}
