/** What one LoadBalancer Service means on this node: its frontends, its routes, and the chain of verdicts. Pure. */
import {
  frontendId,
  type Backend,
  type DesiredService,
  type Frontend,
  type ObjectRef,
  type Route,
  type Verdict,
} from '../../desired/model.ts'
import type { VerdictCode } from '../../desired/codes.ts'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import type { Pool } from '../../allocation/allocate.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import { selectableLabels, type Service } from '../kinds/service.ts'
import { formatSelector, selectorMatches } from '../../desired/label-selector.ts'
import { speaks, type NodeExports } from './exports.ts'
import type { TranslatorOptions } from './types.ts'

export interface ServiceInput {
  readonly key: string
  readonly source: ObjectRef
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  readonly addresses: readonly string[]
  readonly poolOf: (address: string) => Pool | undefined
  readonly allocated: Verdict
  /** undefined: no policy applies to this node, for the reason given. */
  readonly exports: NodeExports | undefined
  readonly noExports: { readonly message: string; readonly remedy: string }
}

export function isClassServed(service: Service, { loadBalancerClass }: TranslatorOptions): boolean {
  const name = service.spec.loadBalancerClass
  return !name || ['herald.dev/bgp', 'io.cilium/bgp-control-plane', loadBalancerClass].includes(name)
}

const yes = (step: Verdict['step'], code: VerdictCode, message: string): Verdict => ({ step, ok: true, code, message })
const no = (step: Verdict['step'], code: VerdictCode, message: string, remedy: string): Verdict => ({
  step,
  ok: false,
  code,
  message,
  remedy,
})

export function translateService(input: ServiceInput, options: TranslatorOptions): DesiredService {
  const { key, source, service, addresses } = input
  const pool = input.poolOf(addresses[0] ?? '')
  const endpoints = countEndpoints(input.slices, options.nodeName)
  const className = service.spec.loadBalancerClass
  const isOurs = isClassServed(service, options)
  const verdicts = [
    isOurs
      ? yes('class', 'ClassServed', className ? `class ${className}` : 'no class')
      : no(
          'class',
          'OtherClass',
          `loadBalancerClass ${className} belongs to another implementation`,
          'Remove the class, or give it to the agent with --load-balancer-class.',
        ),
  ]
  let frontends: readonly Frontend[] = []
  let routes: readonly Route[] = []
  if (isOurs) {
    verdicts.push(input.allocated)
    const served = addresses.filter((address) => options.datapath === 'none' || !address.includes(':'))
    const chosen = routesOf(input)
    verdicts.push(
      selectedVerdict(input, chosen),
      supportedVerdict(service, addresses, served, options),
      eligibleVerdict(service, endpoints, options),
    )
    const isUsable = verdicts.every(({ ok, step }) => ok || step === 'eligible')
    if (isUsable && options.datapath === 'ebpf') frontends = frontendsOf(input, served, options.nodeName)
    if (verdicts.every(({ ok }) => ok))
      routes = chosen.filter(({ prefix }) => served.includes(prefix.slice(0, prefix.indexOf('/'))))
  }
  return {
    key,
    source,
    addresses,
    ...(pool === undefined ? {} : { pool: pool.name }),
    externalTrafficPolicy: service.spec.externalTrafficPolicy,
    frontends,
    routes,
    remoteBackends: endpoints.remote,
    verdicts,
  }
}

/** Routes of one address with equal attributes go together. */
function routesOf({ service, addresses, exports, poolOf }: ServiceInput): readonly Route[] {
  const labels = selectableLabels(service)
  return addresses.flatMap((address) => {
    const pool = poolOf(address)
    const prefix = `${address}/${address.includes(':') ? 128 : 32}`
    const routes = new Map<string, Route>()
    for (const { neighbor, selector, attributesFor } of exports?.services ?? []) {
      if (!selectorMatches(selector, labels) || !speaks(neighbor, prefix)) continue
      const attributes = attributesFor(pool, prefix)
      const id = JSON.stringify(attributes)
      routes.set(id, { prefix, neighbors: [...(routes.get(id)?.neighbors ?? []), neighbor.id], attributes })
    }
    return [...routes.values()]
  })
}

function selectedVerdict({ service, exports, noExports, addresses }: ServiceInput, routes: readonly Route[]): Verdict {
  if (exports === undefined) return no('selected', 'NoPolicy', noExports.message, noExports.remedy)
  const labels = selectableLabels(service)
  const matching = exports.services.filter(({ selector }) => selectorMatches(selector, labels))
  const policy = exports.names.join(', ')
  if (matching.length === 0) {
    const wanted = [...new Set(exports.services.map(({ selector }) => formatSelector(selector)))].join('; ')
    return no(
      'selected',
      'NotSelected',
      `policy ${policy} does not select this ` +
        `Service${wanted === '' ? ': it has no serviceSelector' : ` (it selects ${wanted})`}`,
      'Label the Service, or change serviceSelector.',
    )
  }
  if (routes.length === 0 && addresses.length > 0)
    return no(
      'selected',
      'FamilyNotSpoken',
      `no neighbor of policy ${policy} speaks the family of ${addresses.join(', ')}`,
      'Add the family to the neighbor.',
    )
  return yes(
    'selected',
    'PolicySelects',
    `policy ${policy}, neighbors ${[...new Set(matching.map(({ neighbor }) => neighbor.id))].join(', ')}`,
  )
}

function supportedVerdict(
  { spec }: Service,
  addresses: readonly string[],
  served: readonly string[],
  { datapath }: TranslatorOptions,
): Verdict {
  if (datapath === 'none')
    return yes('supported', 'ServedElsewhere', 'no datapath: something else on this node serves the address')
  if ((spec.loadBalancerSourceRanges ?? []).length > 0)
    return no(
      'supported',
      'SourceRangesNotServed',
      'loadBalancerSourceRanges cannot be enforced in this version',
      'Remove loadBalancerSourceRanges, or filter on the router.',
    )
  if (spec.sessionAffinity === 'ClientIP')
    return no(
      'supported',
      'SessionAffinityNotServed',
      'sessionAffinity ClientIP cannot be kept in this version',
      'Set sessionAffinity: None.',
    )
  if (spec.ports.some(({ protocol }) => protocol === 'SCTP'))
    return no('supported', 'SctpNotServed', 'SCTP ports are not served in this version', 'Use TCP or UDP ports.')
  const left = addresses.filter((address) => !served.includes(address))
  if (served.length === 0 && left.length > 0)
    return no(
      'supported',
      'Ipv6NotServed',
      `the IPv6 address ${left.join(', ')} is not served in this version`,
      'Give the Service an IPv4 address.',
    )
  return left.length > 0
    ? yes('supported', 'Ipv4Only', `IPv4 is served; ${left.join(', ')} is not announced in this version`)
    : yes('supported', 'Supported', 'every field can be enforced')
}

interface EndpointCount {
  readonly local: number
  readonly remote: number
}

type Endpoint = EndpointSlice['endpoints'][number]

const isReady = ({ conditions }: Endpoint): boolean => conditions?.ready ?? true
/** As MetalLB counts: ready, or still serving while it terminates. */
const isUsable = (endpoint: Endpoint): boolean => isReady(endpoint) || endpoint.conditions?.serving === true

function countEndpoints(slices: readonly EndpointSlice[], nodeName: string): EndpointCount {
  const usable = slices.flatMap(({ endpoints }) => endpoints.filter(isUsable))
  const local = new Set(
    usable.filter((endpoint) => endpoint.nodeName === nodeName).flatMap(({ addresses }) => addresses),
  )
  const all = new Set(usable.flatMap(({ addresses }) => addresses))
  return { local: local.size, remote: all.size - local.size }
}

function eligibleVerdict(
  { spec }: Service,
  { local, remote }: EndpointCount,
  { datapath, nodeName }: TranslatorOptions,
): Verdict {
  if (datapath === 'none' && spec.externalTrafficPolicy === 'Cluster' && local + remote > 0)
    return yes('eligible', 'HasEndpoints', `${local + remote} usable endpoints in the cluster`)
  if (local > 0) return yes('eligible', 'HasLocalBackends', `${local} usable backends on ${nodeName}`)
  if (remote === 0)
    return no(
      'eligible',
      'NoBackends',
      'no usable endpoint anywhere',
      'Check the selector of the Service and the readiness of its pods.',
    )
  const later =
    spec.externalTrafficPolicy === 'Cluster' ? '; backends on other nodes are served in a later version' : ''
  return no(
    'eligible',
    'NoLocalBackends',
    `no usable backend on ${nodeName}, ${remote} elsewhere${later}`,
    'Run a pod of the Service on this node; other nodes announce it meanwhile.',
  )
}

function frontendsOf(
  { key, service, slices }: ServiceInput,
  addresses: readonly string[],
  nodeName: string,
): readonly Frontend[] {
  return addresses.flatMap((address) =>
    service.spec.ports.flatMap(({ name, protocol, port }) => {
      if (protocol === 'SCTP') return []
      const local = slices
        .filter(({ addressType }) => addressType === (address.includes(':') ? 'IPv6' : 'IPv4'))
        .flatMap((slice) => {
          const target = slice.ports.find(
            (entry) => (entry.name ?? '') === (name ?? '') && (entry.protocol ?? 'TCP') === protocol,
          )?.port
          return target
            ? slice.endpoints
                .filter((endpoint) => endpoint.nodeName === nodeName)
                .map((endpoint) => ({ endpoint, target }))
            : []
        })
      const ready = local.filter(({ endpoint }) => isReady(endpoint))
      const used = ready.length > 0 ? ready : local.filter(({ endpoint }) => isUsable(endpoint))
      const backends = used.flatMap(({ endpoint, target }) =>
        endpoint.addresses.flatMap((text): Backend[] => {
          const parsed = parseAddress(text)
          return parsed === undefined ? [] : [{ address: formatAddress(parsed), port: target }]
        }),
      )
      return [
        { id: frontendId(address, protocol, port), service: key, address, protocol, port, backends: sorted(backends) },
      ]
    }),
  )
}

function sorted(backends: readonly Backend[]): readonly Backend[] {
  const unique = new Map(backends.map((backend) => [`${backend.address} ${backend.port}`, backend]))
  return [...unique.values()].sort((a, b) =>
    a.address === b.address ? a.port - b.port : a.address < b.address ? -1 : 1,
  )
}
