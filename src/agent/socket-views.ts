/** What status says of the socket LB: what it covers, what it does not, and who else serves. */
import type { ExplainView, StatusView } from '../api/types.ts'
import type { SocketBalancer } from '../datapath/datapath.ts'
import type { DesiredService } from '../desired/model.ts'
import type { Faults } from './faults.ts'
import type { KubeProxyMode } from './kube-proxy.ts'
import type { SocketEnds } from './socket-ends.ts'
import type { SocketOrder } from './socket-order.ts'

type LedFrontendView = NonNullable<ExplainView['sockets']>[number]
export type SocketView = NonNullable<StatusView['socketLb']>

export interface SocketParts {
  readonly balancer: SocketBalancer | undefined
  /** Why there is none although it was asked for. */
  readonly problem: string | undefined
  readonly order: Pick<SocketOrder, 'size' | 'isDone' | 'of' | 'whyNot'> | undefined
  readonly ends?: Pick<SocketEnds, 'ended'>
  readonly faults: Pick<Faults, 'current'>
  readonly kubeProxy: () => KubeProxyMode
  /** Also to external IPs and node ports; absent: no. */
  readonly isReplacing?: () => boolean
}

const nothing = { clusterIP: false, loadBalancerIP: false, externalIP: false, nodePort: false } as const

/** undefined: nobody asked for it. */
export function socketView(parts: SocketParts): SocketView | undefined {
  const { balancer, problem, order, ends, kubeProxy, isReplacing } = parts
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
    ...(ends === undefined ? {} : { ended: { ...ends.ended, protocols: [...ends.ended.protocols] } }),
    maps: balancer.usage().map((map) => ({ ...map })),
  }
}

/** Shown of one frontend. */
const maxBackends = 100
const limited = 'it has source ranges, and a socket that asks has no source yet: its packets go as without --socket-lb'
const withheld = 'something on the node or another Service has it, or another proxy serves it'

/** Whom clients on this node are led to by a Service; undefined where sockets are not led. */
export function ledFrontends(
  { balancer, order }: SocketParts,
  key: string,
  service: Pick<DesiredService, 'frontends'> | undefined,
): LedFrontendView[] | undefined {
  if (balancer === undefined || order === undefined) return undefined
  const led = order.of(key).map(({ id }): LedFrontendView => {
    const choices = balancer.choices(id)
    const why = order.whyNot(id)
    const reason = why === undefined ? {} : { why }
    if (choices === undefined) return { frontend: id, isLed: false, ...reason }
    const backends = choices.backends.slice(0, maxBackends).map((each) => ({ ...each }))
    const active = choices.backends.filter(({ state }) => state === 'active').length
    return { frontend: id, isLed: true, ...reason, chosen: choices.chosen, active, backends }
  })
  const known = new Set(led.map(({ frontend }) => frontend))
  const others = (service?.frontends ?? [])
    .filter(({ id }) => !known.has(id))
    .map(({ id, sources }) => ({ frontend: id, isLed: false, why: sources === undefined ? withheld : limited }))
  return [...led, ...others]
}

/** What degrades the node. */
export function socketFailures({ problem, faults }: SocketParts): readonly string[] {
  return [...(problem === undefined ? [] : [problem]), ...faults.current.map(({ text }) => text)]
}

/** What costs nobody what he has, and may be meant otherwise. */
export function socketNotes({ balancer }: SocketParts): readonly string[] {
  if (balancer === undefined) return []
  const { cgroup, isWholeNode, others, whyNoEnds } = balancer.status
  return [
    ...(whyNoEnds === undefined
      ? []
      : [`socket LB: sockets whose backend is gone are not ended, and send into nothing: ${whyNoEnds}`]),
    ...(isWholeNode
      ? []
      : [`socket LB: ${cgroup} is not the root of cgroup v2: sockets of other groups are not led anywhere`]),
    ...(others.length === 0
      ? []
      : [`socket LB: programs of others are asked about connections, too: ${others.join(', ')}`]),
  ]
}
