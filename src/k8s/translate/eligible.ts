/**
 * Whether a Service may be announced from this node: each address by itself, with at least one port that has a backend
 * of the family of the address. Pure.
 */
import { someOf } from '../../desired/some-of.ts'
import type { Verdict } from '../../desired/model.ts'
import type { VerdictCode } from '../../desired/codes.ts'
import type { Family } from '../../ip/address.ts'
import type { Service, ServicePort } from '../kinds/service.ts'
import { nameOfPort, type Obstacle, type PortBackends, type ServiceEndpoints, typeOf } from './endpoints.ts'
import type { TranslatorOptions } from './types.ts'

/** A port of one address, with what stands behind it. */
export interface ServedPort {
  readonly address: string
  readonly port: ServicePort
  readonly backends: PortBackends
  /** See {@link countsEverywhere}. */
  readonly everywhere: boolean
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** Other nodes serve what arrives here, as kube-proxy does, where nothing of ours does. */
export function countsEverywhere(policy: 'Cluster' | 'Local', { datapath }: TranslatorOptions): boolean {
  return datapath === 'none' && policy === 'Cluster'
}

/** The addresses of which at least one port has a backend. */
export function eligibleAddresses(ports: readonly ServedPort[]): ReadonlySet<string> {
  return new Set(ports.filter(hasBackend).map(({ address }) => address))
}

function hasBackend({ backends, everywhere }: ServedPort): boolean {
  return backends.local.length > 0 || (everywhere && backends.remote > 0)
}

export function eligibleVerdict(
  service: Service,
  endpoints: ServiceEndpoints,
  ports: readonly ServedPort[],
  options: TranslatorOptions,
): Verdict {
  const everywhere =
    ports.length === 0
      ? countsEverywhere(service.spec.externalTrafficPolicy, options)
      : ports.some((each) => each.everywhere)
  const eligible = eligibleAddresses(ports)
  if (eligible.size === 0) {
    const addresses = [...new Set(ports.map(({ address }) => address))]
    const families = addresses.length > 0 ? [...new Set(addresses.map(familyOf))] : service.spec.families
    return refused(endpoints.obstacle(families, service.spec.ports, everywhere), families, service, options)
  }
  const { local, remote } = endpoints.count()
  const count = everywhere ? local + remote : local
  const place = everywhere ? 'in the cluster' : `on ${options.nodeName}`
  const text = `${count} usable ${everywhere ? 'endpoint' : 'backend'}${count === 1 ? '' : 's'} ${place}`
  const lacking = someOf([
    ...[...new Set(ports.map(({ address }) => address))]
      .filter((address) => !eligible.has(address))
      .map((address) => `${address} has no ${typeOf(familyOf(address))} backend here and is not announced`),
    ...ports
      .filter((each) => eligible.has(each.address) && !hasBackend(each))
      .map(({ address, port }) => `port ${port.port} (${nameOfPort(port)}) of ${address} has no backend here`),
  ])
  if (lacking.length > 0) return yes('SomePortsWithoutBackend', [text, ...lacking].join('; '))
  return everywhere ? yes('HasEndpoints', text) : yes('HasLocalBackends', text)
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
      return obstacle.total === 0
        ? no('NoBackends', 'no usable endpoint anywhere: there is none', readiness)
        : no('NoBackends', `no usable endpoint anywhere: ${obstacle.total} known, none ready`, readiness)
    case 'homeless':
      return no(
        'EndpointsWithoutNode',
        `${obstacle.homeless} usable endpoint(s), and no slice says on which node they are`,
        'Write nodeName in the endpoints of the EndpointSlice.',
      )
    case 'elsewhere': {
      const later =
        spec.externalTrafficPolicy === 'Cluster' ? '; backends on other nodes are served in a later version' : ''
      const homeless = obstacle.homeless > 0 ? `, ${obstacle.homeless} without nodeName` : ''
      return no(
        'NoLocalBackends',
        `no usable backend on ${nodeName}, ${obstacle.elsewhere} elsewhere${homeless}${later}`,
        'Run a pod of the Service on this node; other nodes announce it meanwhile.',
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
