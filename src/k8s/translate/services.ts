/** What one LoadBalancer Service means on this node: its frontends, its routes, and the chain of verdicts. Pure. */
import {
  frontendId,
  type DesiredService,
  type Frontend,
  type ObjectRef,
  type Route,
  type RouteAttributes,
  type Verdict,
} from '../../desired/model.ts'
import type { VerdictCode } from '../../desired/codes.ts'
import { united } from '../../desired/route-attributes.ts'
import { parseAddress } from '../../ip/address.ts'
import { formatPrefix, prefixOf } from '../../ip/prefix.ts'
import type { AddressAnswer } from '../../allocation/address-source.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { Reserved } from '../../allocation/reserved.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import { selectableLabels, type Service } from '../kinds/service.ts'
import { formatSelector, type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import { countsEverywhere, eligibleAddresses, eligibleVerdict, familyOf, type ServedPort } from './eligible.ts'
import { ServiceEndpoints } from './endpoints.ts'
import { speaks, type NodeExports, type ServiceExport } from './exports.ts'
import { servedClasses } from '../dialects/table.ts'
import type { TranslatorOptions } from './types.ts'

export interface ServiceInput {
  readonly key: string
  readonly source: ObjectRef
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  readonly answer: AddressAnswer
  readonly poolOf: (address: string) => Pool | undefined
  /** What nobody may have. */
  readonly reserved: Reserved
  /** undefined: no policy applies to this node, for the reason given. */
  readonly exports: NodeExports | undefined
  readonly noExports: { readonly message: string; readonly remedy: string }
}

export function isClassServed(service: Service, options: Pick<TranslatorOptions, 'loadBalancerClass'>): boolean {
  return servesClass(service.spec.loadBalancerClass, options)
}

export function servesClass(
  name: string | undefined,
  { loadBalancerClass }: Pick<TranslatorOptions, 'loadBalancerClass'>,
): boolean {
  return !name || servedClasses.includes(name) || name === loadBalancerClass
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
  const { key, source, service, answer } = input
  const { addresses } = answer
  const endpoints = new ServiceEndpoints(input.slices, options.nodeName)
  const isOurs = isClassServed(service, options)
  const verdicts = [classVerdict(service, isOurs)]
  let frontends: readonly Frontend[] = []
  let routes: readonly Route[] = []
  if (isOurs) {
    const allowed = addresses.filter((address) => whyNot(address, input, endpoints) === undefined)
    const served = allowed.filter((address) => options.datapath === 'none' || !address.includes(':'))
    const ports = portsOf(served, input, endpoints)
    const wishes = wishesOf(input, allowed)
    verdicts.push(
      allocatedVerdict(input, endpoints, ports),
      selectedVerdict(input, wishes, allowed),
      supportedVerdict(service, allowed, served, options),
      eligibleVerdict(service, endpoints, ports, options),
    )
    const isUsable = verdicts.every(({ ok, step }) => ok || step === 'eligible')
    if (isUsable && options.datapath === 'ebpf') frontends = frontendsOf(key, ports)
    if (verdicts.every(({ ok }) => ok)) {
      const eligible = eligibleAddresses(ports, countsEverywhere(service, options))
      routes = routesOf(wishes.filter(({ address }) => eligible.has(address)))
    }
  }
  const pool = input.poolOf(addresses[0] ?? '')
  return {
    key,
    source,
    addresses,
    ...(pool === undefined ? {} : { pool: pool.name }),
    externalTrafficPolicy: service.spec.externalTrafficPolicy,
    frontends,
    routes,
    remoteBackends: endpoints.count().remote,
    verdicts,
  }
}

function classVerdict({ spec: { loadBalancerClass } }: Service, isOurs: boolean): Verdict {
  return isOurs
    ? yes('class', 'ClassServed', loadBalancerClass ? `class ${loadBalancerClass}` : 'no class')
    : no(
        'class',
        'OtherClass',
        `loadBalancerClass ${loadBalancerClass} belongs to another implementation`,
        'Remove the class, or give it to the agent with --load-balancer-class.',
      )
}

/** Why an address is not announced, whoever wrote it down; undefined: nothing is against it. */
function whyNot(
  address: string,
  { poolOf, reserved }: ServiceInput,
  endpoints: ServiceEndpoints,
): { readonly code: 'ReservedAddress' | 'NotInPool'; readonly text: string } | undefined {
  const reason = reserved.reasonOf(address)
  if (reason !== undefined) return { code: 'ReservedAddress', text: `${address} is ${reason}` }
  const parsed = parseAddress(address)
  if (parsed !== undefined && endpoints.has(parsed))
    return { code: 'ReservedAddress', text: `${address} is the address of an endpoint of the Service` }
  return poolOf(address) === undefined ? { code: 'NotInPool', text: `${address} is in no pool` } : undefined
}

/** What the allocation said, less what may not be announced, and less the ports that an older Service has. */
function allocatedVerdict(input: ServiceInput, endpoints: ServiceEndpoints, ports: readonly ServedPort[]): Verdict {
  const { verdict, addresses, lostPorts } = input.answer
  if (!verdict.ok) return verdict
  const refused = addresses.flatMap((address) => whyNot(address, input, endpoints) ?? [])
  const left = refused.map(({ text }) => `${text}: it is not announced`).join('; ')
  const remedy = 'Use an address that is in a pool and that nothing else has.'
  const [first] = refused
  if (first !== undefined && refused.length === addresses.length) return no('allocated', first.code, left, remedy)
  const taken = [...(lostPorts ?? [])].map(([place, owner]) => {
    const [address = '', port = ''] = place.split(' ')
    return `port ${port} of ${address} belongs to ${owner}, which is older`
  })
  if (taken.length > 0 && ports.length === 0)
    return no('allocated', 'PortTaken', taken.join('; '), 'Use other ports, or another address.')
  if (taken.length > 0) return yes('allocated', 'SomePortsTaken', [verdict.message, ...taken].join('; '))
  return refused.length === 0 ? verdict : yes('allocated', 'AddressLeftOut', `${verdict.message}; ${left}`)
}

/** The ports of the served addresses that are this Service's own. */
function portsOf(
  served: readonly string[],
  { service, answer: { lostPorts } }: ServiceInput,
  endpoints: ServiceEndpoints,
): readonly ServedPort[] {
  return served.flatMap((address) =>
    service.spec.ports
      .filter(({ port, protocol }) => lostPorts?.has(`${address} ${port}/${protocol}`) !== true)
      .map((port) => ({ address, port, backends: endpoints.backendsOf(familyOf(address), port) })),
  )
}

/** What one neighbor is to hear of one address: all that its advertisements say. */
interface Wish {
  readonly address: string
  readonly prefix: string
  readonly neighbor: string
  readonly attributes: RouteAttributes
}

function wishesOf(input: ServiceInput, addresses: readonly string[]): readonly Wish[] {
  const selecting = selectingOf(input)
  return addresses.flatMap((address) => {
    const pool = input.poolOf(address)
    return selecting.flatMap((one): readonly Wish[] => {
      if (`${familyOf(address)}-unicast` !== one.family) return []
      const prefix = announcedPrefix(address, one, input.service)
      if (!one.admits(pool) || !speaks(one.neighbor, prefix)) return []
      return [{ address, prefix, neighbor: one.neighbor.id, attributes: one.attributesFor(pool) }]
    })
  })
}

/** Wishes of one neighbor for one prefix are one; neighbors that hear the same of it share a route. */
function routesOf(wishes: readonly Wish[]): readonly Route[] {
  const routes = new Map<string, Route>()
  for (const all of Map.groupBy(wishes, ({ prefix, neighbor }) => `${prefix} ${neighbor}`).values()) {
    const { prefix = '', neighbor = '' } = all[0] ?? {}
    const attributes = united(all.map((wish) => wish.attributes))
    const id = JSON.stringify([prefix, attributes])
    routes.set(id, { prefix, neighbors: [...(routes.get(id)?.neighbors ?? []), neighbor], attributes })
  }
  return [...routes.values()]
}

function selectingOf({ service, exports }: ServiceInput): readonly ServiceExport[] {
  const labels = selectableLabels(service)
  // An advertisement is one for each family, and they have one selector.
  const known = new Map<LabelSelector, boolean>()
  return (exports?.services ?? []).filter(({ selector }) => {
    const isMatching = known.get(selector) ?? selectorMatches(selector, labels)
    known.set(selector, isMatching)
    return isMatching
  })
}

/** An aggregate draws packets for all of it, and a node without endpoints may not pass on those of a Local Service. */
function announcedPrefix(address: string, { aggregationLength }: ServiceExport, { spec }: Service): string {
  const parsed = parseAddress(address)
  if (parsed === undefined || aggregationLength === undefined || spec.externalTrafficPolicy === 'Local')
    return `${address}/${address.includes(':') ? 128 : 32}`
  return formatPrefix(prefixOf(parsed, aggregationLength))
}

function selectedVerdict(input: ServiceInput, wishes: readonly Wish[], addresses: readonly string[]): Verdict {
  const { exports, noExports } = input
  if (exports === undefined) return no('selected', 'NoPolicy', noExports.message, noExports.remedy)
  const matching = selectingOf(input)
  const all = exports.names.join(', ')
  if (matching.length === 0) {
    const wanted = [...new Set(exports.services.map(({ selector }) => formatSelector(selector)))].join('; ')
    return no(
      'selected',
      'NotSelected',
      `${all} does not select this ` +
        `Service${wanted === '' ? ': it has no serviceSelector' : ` (it selects ${wanted})`}`,
      'Label the Service, or change serviceSelector.',
    )
  }
  if (wishes.length === 0 && addresses.length > 0)
    return no(
      'selected',
      'FamilyNotSpoken',
      `no neighbor of ${all} speaks the family of ${addresses.join(', ')}`,
      'Add the family to the neighbor.',
    )
  const names = [...new Set(matching.map(({ name }) => name))].join(', ')
  const neighbors = [...new Set(matching.map(({ neighbor }) => neighbor.id))].join(', ')
  return yes('selected', 'PolicySelects', `${names}, neighbors ${neighbors}`)
}

function supportedVerdict(
  { spec }: Service,
  addresses: readonly string[],
  served: readonly string[],
  { datapath }: TranslatorOptions,
): Verdict {
  if (datapath === 'none')
    return yes('supported', 'ServedElsewhere', 'no datapath: something else on this node serves the address')
  if (spec.loadBalancerSourceRanges.length > 0)
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

function frontendsOf(key: string, ports: readonly ServedPort[]): readonly Frontend[] {
  return ports.flatMap(({ address, port: { port, protocol }, backends }) =>
    protocol === 'SCTP'
      ? []
      : [{ id: frontendId(address, protocol, port), service: key, address, protocol, port, backends: backends.local }],
  )
}
