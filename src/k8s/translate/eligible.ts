/**
 * Whether a Service may be announced from this node: each address by itself, with at least one port that has a backend
 * of the family of the address. Pure.
 */
import { someOf } from '../../desired/some-of.ts'
import type { Verdict } from '../../desired/model.ts'
import type { VerdictCode } from '../../desired/codes.ts'
import type { Family } from '../../ip/address.ts'
import type { Service, ServicePort } from '../kinds/service.ts'
import { weightsAnnotation, weightsText } from '../kinds/weights.ts'
import {
  type LeftOut,
  nameOfPort,
  type Obstacle,
  type PortBackends,
  type Reach,
  type ServiceEndpoints,
  typeOf,
} from './endpoints.ts'
import type { TranslatorOptions } from './types.ts'

/** A port of one address, with what stands behind it. */
export interface ServedPort {
  readonly address: string
  readonly port: ServicePort
  readonly backends: PortBackends
  readonly reach: Reach
}

/** SCTP is served by address alone: its checksum (RFC 9260 6.8) covers ports, and none of the addresses. */
export function changedSctpPort({ port: { port, protocol }, backends }: ServedPort): string | undefined {
  if (protocol !== 'SCTP') return undefined
  const other = backends.used.find((backend) => backend.port !== port)
  if (other === undefined) return undefined
  return `port ${port}/SCTP leads to port ${other.port} of ${other.address}, and SCTP is served with its port unchanged`
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

const ofNode: Reach = { kind: 'node' }
/** Other nodes serve what arrives here, as kube-proxy does, where nothing of ours does. */
const ofCluster: Reach = { kind: 'cluster' }

/** Whose backends count for an address with this traffic policy. */
export function reachOf(policy: 'Cluster' | 'Local', { datapath }: TranslatorOptions, tunnels: Reach): Reach {
  if (policy === 'Local') return ofNode
  return datapath === 'none' ? ofCluster : tunnels
}

/** The addresses of which at least one port has a backend. */
export function eligibleAddresses(ports: readonly ServedPort[]): ReadonlySet<string> {
  return new Set(ports.filter(hasBackend).map(({ address }) => address))
}

function hasBackend({ backends, reach }: ServedPort): boolean {
  return backends.used.length > 0 || (reach.kind === 'cluster' && backends.remote > 0)
}

/** Of a Service without an address: whether one would have a backend. */
function couldServe({ spec }: Service, endpoints: ServiceEndpoints, reach: Reach): boolean {
  return spec.families.some((family) =>
    spec.ports.some((port) =>
      hasBackend({ address: '', port, backends: endpoints.backendsOf(family, port, reach), reach }),
    ),
  )
}

export function eligibleVerdict(
  service: Service,
  endpoints: ServiceEndpoints,
  ports: readonly ServedPort[],
  options: TranslatorOptions,
  tunnels: Reach,
): Verdict {
  const reach = widestOf(ports) ?? reachOf(service.spec.externalTrafficPolicy, options, tunnels)
  const eligible = eligibleAddresses(ports)
  if (eligible.size === 0 && !(ports.length === 0 && couldServe(service, endpoints, reach))) {
    const addresses = [...new Set(ports.map(({ address }) => address))]
    const families = addresses.length > 0 ? [...new Set(addresses.map(familyOf))] : service.spec.families
    return refused(endpoints.obstacle(families, service.spec.ports, reach), families, service, options)
  }
  const lacking = someOf([
    ...[...new Set(ports.map(({ address }) => address))]
      .filter((address) => !eligible.has(address))
      .map((address) => `${address} has no ${typeOf(familyOf(address))} backend here and is not announced`),
    ...ports
      .filter((each) => eligible.has(each.address) && !hasBackend(each))
      .map(({ address, port }) => `port ${port.port} (${nameOfPort(port)}) of ${address} has no backend here`),
  ])
  const left = leftText(endpoints.leftOut(reach))
  const text = [
    countedText(endpoints, reach, options),
    ...weightText(service, endpoints, options),
    ...translatedText(endpoints.translated(reach), options),
  ].join('; ')
  if (lacking.length > 0) return yes('SomePortsWithoutBackend', [text, ...lacking, ...left].join('; '))
  if (left.length > 0) return yes('SomeBackendsLeftOut', [text, ...left].join('; '))
  if (reach.kind === 'node') return yes('HasLocalBackends', text)
  return yes(reach.kind === 'cluster' ? 'HasEndpoints' : 'HasBackends', text)
}

/** Addresses of one Service may have different policies. */
function widestOf(ports: readonly ServedPort[]): Reach | undefined {
  return ports.find(({ reach }) => reach.kind !== 'node')?.reach ?? ports[0]?.reach
}

function countedText(endpoints: ServiceEndpoints, reach: Reach, { nodeName }: TranslatorOptions): string {
  const { local, remote } = endpoints.count()
  const counted = (count: number, word: string): string => `${count} usable ${word}${count === 1 ? '' : 's'}`
  if (reach.kind === 'node') return `${counted(local, 'backend')} on ${nodeName}`
  if (reach.kind === 'cluster') return `${counted(local + remote, 'endpoint')} in the cluster`
  const left = endpoints.leftOut(reach).reduce((sum, { count }) => sum + count, 0)
  return `${counted(local + Math.max(0, remote - left), 'backend')} in the cluster, ${local} on ${nodeName}`
}

/** What the pods get of what is new, and whose names no pod stands behind: they may be misspelt. */
function weightText(
  { spec: { weights } }: Service,
  endpoints: ServiceEndpoints,
  { datapath }: TranslatorOptions,
): readonly string[] {
  const written = [...(weights === undefined ? [] : weightsText(weights)), ...endpoints.sliceWeights()]
  const strangers = weights === undefined ? [] : endpoints.strangers(weights)
  const idle = strangers.length === 0 ? [] : [`no pod of it is on ${someOf(strangers).join(', ')}`]
  const others = datapath === 'none' ? ', of which what serves the address knows nothing (--datapath none)' : ''
  return [...(written.length === 0 ? [] : [`weights ${someOf(written).join(', ')}, 1 elsewhere${others}`]), ...idle]
}

/** Nodes whose pods see this one in place of the client, with the reason of each. */
function translatedText(translated: readonly LeftOut[], { nodeName }: TranslatorOptions): readonly string[] {
  return someOf(
    translated.map(
      ({ node, why, count }) => `${count} on ${node} by SNAT, and the client is ${nodeName} there: ${why}`,
    ),
  )
}

/** Nodes whose backends are left out, with the reason of each. */
function leftText(left: readonly LeftOut[]): readonly string[] {
  return someOf(
    left.map(({ node, why, count }) => `${count} ${node === '' ? 'without nodeName' : `on ${node}`} left out: ${why}`),
  )
}

function refused(
  obstacle: Obstacle,
  families: readonly Family[],
  { spec }: Service,
  { nodeName }: TranslatorOptions,
): Verdict {
  const readiness = 'Check the selector of the Service and the readiness of its pods.'
  switch (obstacle.kind) {
    case 'none':
      if (obstacle.weightless > 0)
        return no(
          'NoBackends',
          `no usable endpoint anywhere: ${obstacle.total} known, and ${obstacle.weightless} ready have weight 0`,
          `Give a node or a zone with ready pods another weight in ${weightsAnnotation}, or their EndpointSlice.`,
        )
      return obstacle.total === 0
        ? no('NoBackends', 'no usable endpoint anywhere: there is none', readiness)
        : no('NoBackends', `no usable endpoint anywhere: ${obstacle.total} known, none ready`, readiness)
    case 'homeless':
      return no(
        'EndpointsWithoutNode',
        `${obstacle.homeless} usable endpoint(s), and no slice says on which node they are`,
        'Write nodeName in the endpoints of the EndpointSlice.',
      )
    case 'unreached':
      return no(
        'NoReachableBackends',
        `no usable backend on ${nodeName}, ${obstacle.elsewhere} elsewhere; ${leftText(obstacle.left).join('; ')}`,
        'Let agents of this version run on those nodes with their datapath, and see `herald status` there and here.',
      )
    case 'elsewhere': {
      const later =
        spec.externalTrafficPolicy === 'Cluster' ? '; backends on other nodes are not served (--remote-backends)' : ''
      const homeless = obstacle.homeless > 0 ? `, ${obstacle.homeless} without nodeName` : ''
      return no(
        'NoLocalBackends',
        `no usable backend on ${nodeName}, ${obstacle.elsewhere} elsewhere${homeless}${later}`,
        'Run a pod of the Service on this node; meanwhile nodes that have one announce it.',
      )
    }
    case 'family':
      return no(
        'NoEndpointOfFamily',
        `${obstacle.endpoints}, but only of type ${obstacle.types}, and the address is ` +
          `${families.map(typeOf).join(' and ')}`,
        'Give the pods addresses of the family of the Service, or the Service the family of its pods.',
      )
    case 'port':
      return no(
        'NoMatchingPort',
        `${obstacle.endpoints}, but its slice has no port ${obstacle.ports}`,
        'Give ports of Service and EndpointSlice equal names and protocols; a named targetPort has to exist in ' +
          'the pod.',
      )
  }
}

const yes = (code: VerdictCode, message: string): Verdict => ({ step: 'eligible', ok: true, code, message })
const no = (code: VerdictCode, message: string, remedy: string): Verdict => ({
  step: 'eligible',
  ok: false,
  code,
  message,
  remedy,
})
