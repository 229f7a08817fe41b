/** What leads the sockets of this node, and ends those whose backend is gone; where it is asked for and can be had. */
import { systemClock } from '../clock/system-clock.ts'
import type { SocketBalancer } from '../datapath/datapath.ts'
import { parseAddress } from '../ip/address.ts'
import type { ObjectSource } from '../k8s/source.ts'
import type { Translator } from '../k8s/translate/types.ts'
import { networksIn } from '../sys/network-namespace.ts'
import type { AgentLog } from './agent-log.ts'
import { Faults } from './faults.ts'
import { kubeProxyMode } from './kube-proxy.ts'
import type { AgentOptions } from './options.ts'
import { seldom } from './seldom.ts'
import { SocketEnds } from './socket-ends.ts'
import { leftServer, SocketOrder } from './socket-order.ts'
import type { SocketParts } from './socket-views.ts'

export interface NodeSockets extends SocketParts {
  readonly order: SocketOrder | undefined
  readonly faults: Faults
  close(): void
}

export interface NodeSocketsInput {
  readonly options: AgentOptions
  readonly opened: Pick<SocketParts, 'problem'> & { readonly balancer: SocketBalancer | undefined }
  readonly source: Pick<ObjectSource, 'state'>
  readonly translator: Pick<Translator, 'slices'>
  readonly log: AgentLog
}

export function nodeSockets({ options, opened, source, translator, log }: NodeSocketsInput): NodeSockets {
  const { podNetworks } = options
  const faults = new Faults(systemClock, log)
  const { balancer } = opened
  const kubeProxy = seldom(kubeProxyMode, 'unknown', systemClock)
  if (balancer === undefined) return { ...opened, order: undefined, faults, kubeProxy, close: () => {} }
  const order: SocketOrder = new SocketOrder({
    ...{ balancer, clock: systemClock, faults, lost: () => ends.look() },
    ...leftTo(options, source, kubeProxy),
  })
  const ends = new SocketEnds({
    ...{ balancer, clock: systemClock, faults },
    protocols: options.endTcp ? ['UDP', 'TCP'] : ['UDP'],
    networks: podNetworks === undefined ? undefined : () => networksIn(podNetworks),
    isWanted: (socket) => order.wants(socket),
    isNamed: ({ protocol, backend: { address, port } }) =>
      translator.slices.names(parseAddress(address) ?? '', port, protocol),
  })
  const close = (): void => {
    ends.stop()
    order.stop()
    balancer.close()
  }
  return { ...opened, order, ends, faults, close, kubeProxy }
}

/** Who is asked for the server while it does not answer. */
function leftTo(
  { source: objects }: AgentOptions,
  source: Pick<ObjectSource, 'state'>,
  kubeProxy: SocketParts['kubeProxy'],
): { readonly left?: () => string | undefined } {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  const isInCluster = objects.kind === 'kubernetes' && objects.kubeconfig === undefined
  const doesAnswer = (): boolean => {
    const { isSynced, problem } = source.state.ofKind('EndpointSlice')
    return isSynced && problem === undefined
  }
  return isInCluster ? { left: leftServer({ host, port }, doesAnswer, kubeProxy) } : {}
}
