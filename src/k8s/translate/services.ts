/** What one Service means on this node: its frontends, its routes, and the chain of verdicts. Pure. */
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
import { sameValue } from '../../desired/same-value.ts'
import { parseAddress } from '../../ip/address.ts'
import { formatPrefix, prefixOf } from '../../ip/prefix.ts'
import type { AddressAnswer } from '../../allocation/address-source.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { Reserved } from '../../allocation/reserved.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import { selectableLabels, type Service, type ServicePort } from '../kinds/service.ts'
import type { ServiceAddressType } from '../dialects/node-plan.ts'
import type { OwnAddresses } from './own-addresses.ts'
import { type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import { countsEverywhere, eligibleAddresses, eligibleVerdict, familyOf, type ServedPort } from './eligible.ts'
import { ServiceEndpoints } from './endpoints.ts'
import { speaks, type NodeExports, type ServiceExport } from './exports.ts'
import { servedClasses } from '../dialects/table.ts'
import type { NodeObstacle } from './node-fitness.ts'
import { selectionOf } from './touched.ts'
import type { TranslatorOptions } from './types.ts'

export interface ServiceInput {
  readonly key: string
  readonly source: ObjectRef
  readonly service: Service
  readonly slices: readonly EndpointSlice[]
  /** Of a LoadBalancer. */
  readonly answer: AddressAnswer
  /** Who has which cluster IP and external IP. */
  readonly owners: Pick<OwnAddresses, 'clusterOwner' | 'portOwner'>
  /** Those that hold an address, the one that gives it away first. */
  readonly poolsOf: (address: string) => readonly Pool[]
  /** What nobody may have. */
  readonly reserved: Reserved
  /** undefined: no policy applies to this node, for the reason given. */
  readonly exports: NodeExports | undefined
  readonly noExports: { readonly message: string; readonly remedy: string }
  /** Why no Service is announced from this node. */
  readonly nodeObstacle?: NodeObstacle | undefined
}

export type ClassOptions = Pick<TranslatorOptions, 'loadBalancerClass' | 'isClassRequired'>

export function isClassServed(service: Service, options: ClassOptions): boolean {
  return servesClass(service.spec.loadBalancerClass, options)
}

export function servesClass(
  name: string | undefined,
  { loadBalancerClass, isClassRequired = false }: ClassOptions,
): boolean {
  if (!name) return !isClassRequired
  return servedClasses.includes(name) || name === loadBalancerClass
}

const yes = (step: Verdict['step'], code: VerdictCode, message: string): Verdict => ({ step, ok: true, code, message })
const no = (step: Verdict['step'], code: VerdictCode, message: string, remedy: string): Verdict => ({
  step,
  ok: false,
  code,
  message,
  remedy,
})

/** Thousands of Services are told the same. */
const verdictLimit = 1 << 10
const verdicts = new Map<string, Verdict>()

function sharedVerdict(verdict: Verdict): Verdict {
  // Of which each Service has its own.
  if (verdict.step === 'allocated') return verdict
  const found = verdicts.get(verdict.message)
  if (found !== undefined && sameValue(found, verdict)) return found
  if (verdicts.size >= verdictLimit) verdicts.clear()
  verdicts.set(verdict.message, verdict)
  return verdict
}

/** One for all: thousands have none. */
const noFrontends: readonly Frontend[] = []
const noRoutes: readonly Route[] = []
const noAddresses: readonly string[] = []

/** undefined: it is no LoadBalancer, and no advertisement asks for an address of its own. */
export function translateService(input: ServiceInput, options: TranslatorOptions): DesiredService | undefined {
  const { key, source, service } = input
  const isOurs = service.spec.type === 'LoadBalancer' && isClassServed(service, options)
  const mayAsk = service.own.length > 0 && input.exports?.isOwnAsked === true
  const selecting = isOurs || mayAsk ? selectingOf(input) : []
  const asked = mayAsk ? askedAddresses(service, selecting) : []
  if (service.spec.type !== 'LoadBalancer' && asked.length === 0) return undefined
  const endpoints = new ServiceEndpoints(input.slices, options.nodeName)
  const refusalOf = judgeOf(input, endpoints)
  const given = isOurs ? input.answer.addresses : noAddresses
  const addresses = unitedTypes([...given.map(ofLoadBalancer), ...asked])
  const said = [classVerdict(service, isOurs, asked)]
  let frontends = noFrontends
  let routes = noRoutes
  if (isOurs || asked.length > 0) {
    const allowed = addresses.filter((each) => refusalOf(each) === undefined)
    const served = allowed.filter(({ address }) => options.datapath === 'none' || !address.includes(':'))
    const ports = portsOf(served, input, endpoints, options)
    const wishes = wishesOf(input, selecting, allowed)
    const [named, kept] = [allowed, served].map((each) => each.map(({ address }) => address))
    said.push(
      allocatedVerdict(input, { isOurs, asked, ports, refusalOf }),
      selectedVerdict(input, selecting, wishes, named ?? []),
      supportedVerdict(service, named ?? [], kept ?? [], options),
      input.nodeObstacle === undefined
        ? eligibleVerdict(service, endpoints, ports, options)
        : { step: 'eligible', ok: false, ...input.nodeObstacle },
    )
    const isUsable = said.every(({ ok, step }) => ok || step === 'eligible')
    if (isUsable && options.datapath === 'ebpf') frontends = frontendsOf(key, ports)
    if (said.every(({ ok }) => ok)) {
      const eligible = eligibleAddresses(ports)
      routes = routesOf(wishes.filter(({ address }) => eligible.has(address)))
    }
  }
  const [pool] = input.poolsOf(input.answer.addresses[0] ?? '')
  return {
    key,
    source,
    addresses: addresses.length === given.length ? given : addresses.map(({ address }) => address),
    ...(pool === undefined ? {} : { pool: pool.name }),
    externalTrafficPolicy: service.spec.externalTrafficPolicy,
    frontends,
    routes,
    remoteBackends: endpoints.count().remote,
    verdicts: said.map(sharedVerdict),
  }
}

/** One address may be of several types. */
interface TypedAddress {
  readonly address: string
  readonly types: readonly ServiceAddressType[]
}

const ofLoadBalancer = (address: string): TypedAddress => ({ address, types: ['LoadBalancerIP'] })

function unitedTypes(all: readonly TypedAddress[]): readonly TypedAddress[] {
  return [...Map.groupBy(all, ({ address }) => address)].map(([address, group]) => ({
    address,
    types: group.flatMap(({ types }) => types),
  }))
}

/** Its own addresses that an advertisement which selects it asks for. */
function askedAddresses({ own }: Service, selecting: readonly ServiceExport[]): readonly TypedAddress[] {
  return own
    .filter(({ type, address }) =>
      selecting.some(
        ({ addressTypes, family }) => addressTypes.includes(type) && family === `${familyOf(address)}-unicast`,
      ),
    )
    .map(({ type, address }) => ({ address, types: [type] }))
}

function classVerdict({ spec }: Service, isOurs: boolean, asked: readonly TypedAddress[]): Verdict {
  const { type, loadBalancerClass } = spec
  if (isOurs) return yes('class', 'ClassServed', loadBalancerClass ? `class ${loadBalancerClass}` : 'no class')
  if (type !== 'LoadBalancer') return yes('class', 'NoClassNeeded', `of type ${type}: only its own addresses count`)
  const other = loadBalancerClass
    ? `loadBalancerClass ${loadBalancerClass} belongs to another implementation`
    : 'it has no loadBalancerClass, and one is required'
  return asked.length > 0
    ? yes('class', 'NoClassNeeded', `${other}: only addresses of its own count`)
    : no('class', 'OtherClass', other, 'Give it a class that is served: --load-balancer-class names one more.')
}

/** The traffic policy that holds for an address: of one that is a cluster IP and more, the stricter one. */
function policyOf({ types }: TypedAddress, { spec }: Service): 'Cluster' | 'Local' {
  const policies = types.map((type) => (type === 'ClusterIP' ? spec.internalTrafficPolicy : spec.externalTrafficPolicy))
  return policies.includes('Local') ? 'Local' : 'Cluster'
}

interface WhyNot {
  readonly code: 'ReservedAddress' | 'NotInPool'
  readonly text: string
}

/** Several verdicts ask about one address. */
function judgeOf(input: ServiceInput, endpoints: ServiceEndpoints): (typed: TypedAddress) => WhyNot | undefined {
  const known = new Map<string, WhyNot | undefined>()
  return (typed) => {
    const name = `${typed.address} ${typed.types.join()}`
    if (!known.has(name)) known.set(name, whyNot(typed, input, endpoints))
    return known.get(name)
  }
}

/** Why an address is not announced, whoever wrote it down; undefined: nothing is against it. */
function whyNot(
  { address, types }: TypedAddress,
  { key, answer, owners, poolsOf, reserved }: ServiceInput,
  endpoints: ServiceEndpoints,
): WhyNot | undefined {
  const say = (code: 'ReservedAddress' | 'NotInPool', text: string) => ({ code, text: `${address} is ${text}` })
  const reason = reserved.reasonOf(address)
  if (reason !== undefined) return say('ReservedAddress', reason)
  const parsed = parseAddress(address)
  if (parsed !== undefined && endpoints.has(parsed))
    return say('ReservedAddress', 'the address of an endpoint of the Service')
  const [pool] = poolsOf(address)
  if (types.includes('LoadBalancerIP')) return pool === undefined ? say('NotInPool', 'in no pool') : undefined
  // Whoever may write a Service may write any address there: one of a pool is given away by the pool alone.
  if (pool !== undefined && !answer.addresses.includes(address))
    return say('ReservedAddress', `of pool ${pool.name}, and the Service did not get it from there`)
  const owner = owners.clusterOwner({ type: types.includes('ClusterIP') ? 'ClusterIP' : 'ExternalIP', address }, key)
  return owner === undefined ? undefined : say('ReservedAddress', `the cluster IP of ${owner}`)
}

interface Settled {
  readonly isOurs: boolean
  readonly asked: readonly TypedAddress[]
  readonly ports: readonly ServedPort[]
  readonly refusalOf: (typed: TypedAddress) => WhyNot | undefined
}

/** Whose the addresses are: of a pool, or its own ones that are asked for. */
function allocatedVerdict(input: ServiceInput, settled: Settled): Verdict {
  const { isOurs, asked, refusalOf, ports } = settled
  const given = isOurs ? givenVerdict(input, settled) : undefined
  if (asked.length === 0 && given !== undefined) return given
  const refused = asked.flatMap((each) => refusalOf(each) ?? [])
  const left = refused.map(({ text }) => `${text}: it is not announced`)
  const kept = asked.filter((each) => refusalOf(each) === undefined)
  const own = kept.map(({ address, types }) => `${types.join(' and ')} ${address} is its own`)
  const taken = kept.flatMap((each) => takenPorts(each, input))
  const said = [...(given === undefined ? [] : [given.message]), ...own, ...taken, ...left].join('; ')
  const remedy = 'Use an address, or ports, that nothing else has.'
  if (taken.length > 0 && ports.length === 0) return no('allocated', 'PortTaken', taken.join('; '), remedy)
  if (own.length > 0) return yes('allocated', 'OwnAddress', said)
  if (given !== undefined) return { ...given, message: said }
  return no('allocated', refused[0]?.code ?? 'ReservedAddress', said, remedy)
}

/** Ports of an address without a pool that an older Service has. */
function takenPorts({ address }: TypedAddress, { key, service, answer, owners }: ServiceInput): readonly string[] {
  if (answer.addresses.includes(address)) return []
  return service.spec.ports.flatMap((port) => {
    const owner = owners.portOwner(address, port, key)
    return owner === undefined
      ? []
      : [`port ${port.port}/${port.protocol} of ${address} belongs to ${owner}, which is older`]
  })
}

/** What the allocation said, less what may not be announced, and less the ports that an older Service has. */
function givenVerdict(input: ServiceInput, { refusalOf, ports }: Settled): Verdict {
  const { verdict, addresses } = input.answer
  if (!verdict.ok) return verdict
  const refused = addresses.flatMap((address) => refusalOf(ofLoadBalancer(address)) ?? [])
  const left = refused.map(({ text }) => `${text}: it is not announced`).join('; ')
  const remedy = 'Use an address that is in a pool and that nothing else has.'
  const [first] = refused
  if (first !== undefined && refused.length === addresses.length) return no('allocated', first.code, left, remedy)
  const taken = addresses.flatMap((address) => notHeld(address, input))
  if (taken.length > 0 && ports.length === 0)
    return no('allocated', 'PortTaken', taken.join('; '), 'Use other ports, or another address.')
  if (taken.length > 0) return yes('allocated', 'SomePortsTaken', [verdict.message, ...taken].join('; '))
  return refused.length === 0 ? verdict : yes('allocated', 'AddressLeftOut', `${verdict.message}; ${left}`)
}

/** Ports of a shared address that another Service has, or that nobody has by the record. */
function notHeld(address: string, { service, answer }: ServiceInput): readonly string[] {
  return service.spec.ports.flatMap((port) => {
    if (isHeld(answer, address, port)) return []
    const place = `${port.port}/${port.protocol}`
    const owner = answer.lostPorts?.get(`${address} ${place}`)
    const why = owner === undefined ? 'is not recorded for it yet' : `belongs to ${owner}, which had it first`
    return [`port ${place} of ${address} ${why}`]
  })
}

function isHeld({ tenure }: AddressAnswer, address: string, { port, protocol }: ServicePort): boolean {
  return tenure === undefined || tenure.ports.get(address)?.includes(`${port}/${protocol}`) === true
}

/** The ports of the served addresses that are this Service's own. */
function portsOf(
  served: readonly TypedAddress[],
  { key, service, answer, owners }: ServiceInput,
  endpoints: ServiceEndpoints,
  options: TranslatorOptions,
): readonly ServedPort[] {
  return served.flatMap((typed) => {
    const { address } = typed
    const everywhere = countsEverywhere(policyOf(typed, service), options)
    const isLost = (port: ServicePort): boolean =>
      answer.addresses.includes(address)
        ? !isHeld(answer, address, port)
        : owners.portOwner(address, port, key) !== undefined
    return service.spec.ports
      .filter((port) => !isLost(port))
      .map((port) => ({ address, port, backends: endpoints.backendsOf(familyOf(address), port), everywhere }))
  })
}

/** What one neighbor is to hear of one address: all that its advertisements say. */
interface Wish {
  readonly address: string
  readonly prefix: string
  readonly neighbor: string
  readonly attributes: RouteAttributes
  /** Who says so, as verdicts name it. */
  readonly name: string
  /** The aggregate in place of which the address is announced by itself. */
  readonly alone: string | undefined
}

function wishesOf(
  input: ServiceInput,
  selecting: readonly ServiceExport[],
  addresses: readonly TypedAddress[],
): readonly Wish[] {
  return addresses.flatMap((typed) => {
    const { address, types } = typed
    const pools = input.poolsOf(address)
    return selecting.flatMap((one): readonly Wish[] => {
      if (`${familyOf(address)}-unicast` !== one.family) return []
      if (!one.addressTypes.some((type) => types.includes(type))) return []
      const { prefix, alone } = announcedPrefix(typed, one, policyOf(typed, input.service), input.reserved)
      if (!one.admits(pools) || !speaks(one.neighbor, prefix)) return []
      return [
        { address, prefix, neighbor: one.neighbor.id, attributes: one.attributesFor(pools), name: one.name, alone },
      ]
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
  return routes.size === 0 ? noRoutes : [...routes.values()]
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

/**
 * An aggregate draws packets for all of it: a node without endpoints may not pass on those of a Local Service, and what
 * nobody may have is in no aggregate.
 */
function announcedPrefix(
  { address, types }: TypedAddress,
  { aggregationLength, aggregatesLocal }: ServiceExport,
  policy: 'Cluster' | 'Local',
  reserved: Reserved,
): { readonly prefix: string; readonly alone?: string } {
  const parsed = parseAddress(address)
  // What is around an external IP is nobody's here: whoever may write a Service would draw packets for a network.
  const isAlone = (policy === 'Local' && !aggregatesLocal) || types.every((type) => type === 'ExternalIP')
  const aggregate =
    parsed === undefined || aggregationLength === undefined || isAlone
      ? undefined
      : formatPrefix(prefixOf(parsed, aggregationLength))
  const host = `${address}/${address.includes(':') ? 128 : 32}`
  if (aggregate === undefined) return { prefix: host }
  return reserved.isTouched(aggregate) ? { prefix: host, alone: aggregate } : { prefix: aggregate }
}

function selectedVerdict(
  input: ServiceInput,
  selecting: readonly ServiceExport[],
  wishes: readonly Wish[],
  addresses: readonly string[],
): Verdict {
  const { exports, noExports } = input
  if (exports === undefined) return no('selected', 'NoPolicy', noExports.message, noExports.remedy)
  const all = exports.names.join(', ')
  const pools = addresses.map((address) => input.poolsOf(address))
  const matching = addresses.length === 0 ? selecting : selecting.filter(({ admits }) => pools.some(admits))
  const { notAdvertised } = exports
  if (matching.length === 0 && (selecting.length > 0 || notAdvertised !== undefined)) {
    const names = [...new Set(pools.flat().map(({ name }) => name))].join(', ')
    const pool = names === '' ? 'no pool' : `pool ${names}`
    const { message = `nothing that it says is for ${pool}`, remedy = 'Select the pool by its labels.' } =
      notAdvertised ?? {}
    return no('selected', 'NotAdvertised', `${all}: ${message} (${pool})`, remedy)
  }
  if (matching.length === 0) {
    const wanted = selectionOf(exports.services)
    return no(
      'selected',
      'NotSelected',
      `${all} does not select this ` +
        `Service${wanted === '' ? ': it has no serviceSelector' : ` (it selects ${wanted})`}`,
      'Label the Service, or change serviceSelector.',
    )
  }
  if (wishes.length === 0 && addresses.length > 0) return notHeard(matching, addresses, all)
  const heard = wishes.length > 0 ? wishes : matching.map((one) => ({ name: one.name, neighbor: one.neighbor.id }))
  const names = [...new Set(heard.map(({ name }) => name))].join(', ')
  const neighbors = [...new Set(heard.map(({ neighbor }) => neighbor))].join(', ')
  const alone = [...new Set(wishes.flatMap(({ alone: aggregate }) => aggregate ?? []))]
  const rest = alone.map((each) => `; ${each} holds addresses that nobody may have, and is not announced as a whole`)
  return yes('selected', 'PolicySelects', `${names}, neighbors ${neighbors}${rest.join('')}`)
}

/** It is selected, and no neighbor is to hear any of its addresses. */
function notHeard(matching: readonly ServiceExport[], addresses: readonly string[], all: string): Verdict {
  const families = new Set(addresses.map((address) => `${familyOf(address)}-unicast`))
  const asked = matching.filter(({ family }) => families.has(family))
  if (asked.length === 0)
    return no(
      'selected',
      'FamilyNotSpoken',
      `no neighbor of ${all} speaks the family of ${addresses.join(', ')}`,
      'Add the family to the neighbor.',
    )
  const [names, types] = [asked.map(({ name }) => name), asked.flatMap(({ addressTypes }) => addressTypes)].map(
    (each) => [...new Set(each)].join(', '),
  )
  const message = `${names} announces ${types}, and ${addresses.join(', ')} is none of these`
  return no('selected', 'AddressNotAsked', message, 'Name the type of the address in what selects the Service.')
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
  return ports.flatMap(({ address, port: { port, protocol }, backends: { local, resting } }) => {
    if (protocol === 'SCTP') return []
    const frontend = { id: frontendId(address, protocol, port), service: key, address, protocol, port, backends: local }
    return resting.length === 0 ? frontend : { ...frontend, resting }
  })
}
