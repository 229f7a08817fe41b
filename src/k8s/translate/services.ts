/** What one Service means on this node: its frontends, its routes, and the chain of verdicts. Pure. */
import {
  type Backend,
  frontendId,
  type DesiredService,
  type Frontend,
  isAnyNodeAddress,
  type SourceRange,
  type Verdict,
} from '../../desired/model.ts'
import { keptList } from '../../desired/kept.ts'
import type { AddressAnswer } from '../../allocation/address-source.ts'
import { setOf } from '../../allocation/sharing.ts'
import { someOf } from '../../desired/some-of.ts'
import { parseAddress } from '../../ip/address.ts'
import type { Service, ServicePort } from '../kinds/service.ts'
import { beyondAddresses, mostAddresses, sharingOf } from '../kinds/service-requests.ts'
import { changedSctpPort, eligibleAddresses, eligibleVerdict, familyOf, reachOf, type ServedPort } from './eligible.ts'
import { ServiceEndpoints } from './endpoints.ts'
import { servedClasses } from '../dialects/table.ts'
import { isLeftToAnother, mayBeProxied, proxiedOf } from './proxied.ts'
import type { TranslatorOptions } from './types.ts'
import {
  type Heard,
  no,
  noRoutes,
  ofLoadBalancer,
  policyOf,
  routesOf,
  selectedVerdict,
  selectingOf,
  type ServiceInput,
  sharedVerdict,
  type TypedAddress,
  wishesOf,
  yes,
} from './wishes.ts'

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

/** One for all: thousands have none. */
const noFrontends: readonly Frontend[] = []
const noAddresses: readonly string[] = []

/** undefined: it is no LoadBalancer, and no advertisement asks for an address of its own. */
export function translateService(input: ServiceInput, options: TranslatorOptions): DesiredService | undefined {
  const { key, source, service } = input
  const isOurs = service.spec.type === 'LoadBalancer' && isClassServed(service, options)
  const mayAsk = service.own.length > 0 && input.exports?.isOwnAsked === true
  const selecting = isOurs || mayAsk ? selectingOf(input) : []
  const asked = mayAsk ? askedAddresses(service, selecting) : []
  const { proxying } = input
  const isProxied = proxying !== undefined && mayBeProxied(service)
  if (service.spec.type !== 'LoadBalancer' && asked.length === 0 && !isProxied) return undefined
  const endpoints = new ServiceEndpoints(input.slices, options.nodeName, service.spec.weights)
  const refusalOf = judgeOf(input, endpoints)
  const given = isOurs ? givenAddresses(input) : noAddresses
  const addresses = unitedTypes([...given.map(ofLoadBalancer), ...asked])
  const said: Verdict[] = []
  let frontends = noFrontends
  let routes = noRoutes
  if (isOurs || asked.length > 0) {
    const allowed = addresses.filter((each) => refusalOf(each) === undefined)
    const ports = portsOf(allowed, input, endpoints, options)
    const served = permitsDifferentPods(service) ? ports.map((each) => handingOn(each, input, endpoints)) : ports
    const wishes = wishesOf(input, selecting, allowed)
    const named = allowed.map(({ address }) => address)
    said.push(
      allocatedVerdict(input, { isOurs, asked, ports, refusalOf }),
      selectedVerdict(input, selecting, wishes, named),
      supportedVerdict(service, served, options),
      input.nodeObstacle === undefined
        ? eligibleVerdict(service, endpoints, ports, options, input.reach)
        : { step: 'eligible', ok: false, ...input.nodeObstacle },
    )
    const mayServe = said.every(({ ok, step }) => ok || step === 'eligible' || step === 'selected')
    const isSelected = said.every(({ ok, step }) => ok || step !== 'selected')
    // Nodes that announce it hand on to its backends here what is for them, also where nothing selects it.
    if (mayServe && options.datapath === 'ebpf')
      frontends = frontendsOf(key, service, isSelected ? served : served.filter(isHandedOnTo))
    if (said.every(({ ok }) => ok)) {
      const eligible = eligibleAddresses(ports)
      routes = routesOf(wishes.filter(({ address }) => eligible.has(address)))
    }
  }
  const announced = new Set(frontends.map(({ address }) => address))
  const proxied = isProxied ? proxiedOf({ ...input, proxying }, endpoints, announced, refusalOf, options) : undefined
  if (service.spec.type !== 'LoadBalancer' && asked.length === 0 && proxied === undefined) return undefined
  const chain = [classVerdict(service, isOurs, asked.length > 0 || proxied !== undefined), ...said]
  if (proxied !== undefined) {
    chain.push(proxied.verdict)
    const isAlone = !isOurs && asked.length === 0
    if (isAlone) chain.push(eligibleVerdict(service, endpoints, proxied.ports, options, input.reach))
    frontends = [...frontends, ...frontendsOf(key, service, proxied.ports)]
  }
  const [pool] = input.poolsOf(input.answer.addresses[0] ?? '')
  const { healthCheckNodePort } = service
  const isChecked = proxying !== undefined && healthCheckNodePort !== undefined && !isLeftToAnother(service)
  const named = new Set([...addresses.map(({ address }) => address), ...(proxied?.addresses ?? [])])
  return {
    key,
    source,
    addresses: named.size === given.length ? given : keptList([...named]),
    ...(pool === undefined ? {} : { pool: pool.name }),
    externalTrafficPolicy: service.spec.externalTrafficPolicy,
    frontends: keptList(frontends),
    routes,
    remoteBackends: endpoints.count().remote,
    verdicts: chain.map(sharedVerdict),
    ...(isChecked ? { healthCheck: { port: healthCheckNodePort, localEndpoints: endpoints.localReady() } } : {}),
  }
}

/** A status may say more than is given away. */
function givenAddresses({ answer, service }: ServiceInput): readonly string[] {
  const most = mostAddresses(service.spec.ports.length)
  return answer.addresses.length <= most ? answer.addresses : answer.addresses.slice(0, most)
}

function unitedTypes(all: readonly TypedAddress[]): readonly TypedAddress[] {
  return [...Map.groupBy(all, ({ address }) => address)].map(([address, group]) => ({
    address,
    types: group.flatMap(({ types }) => types),
  }))
}

/** Its own addresses that an advertisement which selects it asks for. */
function askedAddresses({ own }: Service, selecting: readonly Heard[]): readonly TypedAddress[] {
  return own
    .filter(({ type, address }) =>
      selecting.some(({ one }) => one.addressTypes.includes(type) && one.family === `${familyOf(address)}-unicast`),
    )
    .map(({ type, address }) => ({ address, types: [type] }))
}

function classVerdict({ spec }: Service, isOurs: boolean, hasOwn: boolean): Verdict {
  const { type, loadBalancerClass } = spec
  if (isOurs) return yes('class', 'ClassServed', loadBalancerClass ? `class ${loadBalancerClass}` : 'no class')
  if (type !== 'LoadBalancer') return yes('class', 'NoClassNeeded', `of type ${type}: only addresses of its own count`)
  const other = loadBalancerClass
    ? `loadBalancerClass ${loadBalancerClass} belongs to another implementation`
    : 'it has no loadBalancerClass, and one is required'
  return hasOwn
    ? yes('class', 'NoClassNeeded', `${other}: only addresses of its own count`)
    : no('class', 'OtherClass', other, 'Give it a class that is served: --load-balancer-class names one more.')
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
  { key, answer, owners, poolsOf, reserved, taken }: ServiceInput,
  endpoints: ServiceEndpoints,
): WhyNot | undefined {
  const say = (code: 'ReservedAddress' | 'NotInPool', text: string) => ({ code, text: `${address} is ${text}` })
  const reason = reserved.reasonOf(address)
  if (reason !== undefined) return say('ReservedAddress', reason)
  const parsed = parseAddress(address)
  if (parsed !== undefined && endpoints.has(parsed))
    return say('ReservedAddress', 'the address of an endpoint of the Service')
  // Whoever may write a Service would take the packets of pods of others, and of every node to its API server.
  if (types.includes('ExternalIP') && taken.apiServers.has(address))
    return say('ReservedAddress', 'the address of the API server')
  if (types.includes('ExternalIP') && parsed !== undefined && taken.isEndpoint(parsed))
    return say('ReservedAddress', 'the address of an endpoint of another Service')
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
  const taken = someOf(kept.flatMap((each) => takenPorts(each, input)))
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
  const { verdict, addresses: all } = input.answer
  if (!verdict.ok) return verdict
  const addresses = givenAddresses(input)
  const refused = addresses.flatMap((address) => refusalOf(ofLoadBalancer(address)) ?? [])
  const beyond = beyondAddresses(all.length, input.service.spec.ports.length, 'taken') ?? []
  const left = [...refused.map(({ text }) => `${text}: it is not announced`), beyond].flat().join('; ')
  const remedy = 'Use an address that is in a pool and that nothing else has.'
  const [first] = refused
  if (first !== undefined && refused.length === addresses.length) return no('allocated', first.code, left, remedy)
  const taken = someOf(addresses.flatMap((address) => notHeld(address, input)))
  if (taken.length > 0 && ports.length === 0)
    return no('allocated', 'PortTaken', taken.join('; '), 'Use other ports, or another address.')
  if (taken.length > 0) return yes('allocated', 'SomePortsTaken', [verdict.message, ...taken, beyond].flat().join('; '))
  return left === '' ? verdict : yes('allocated', 'AddressLeftOut', `${verdict.message}; ${left}`)
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
  const held = tenure?.ports.get(address)
  return tenure === undefined || (held !== undefined && setOf(held).has(`${port}/${protocol}`))
}

/** The ports of the served addresses that are this Service's own. */
function portsOf(
  served: readonly TypedAddress[],
  { key, service, answer, owners, reach: tunnels }: ServiceInput,
  endpoints: ServiceEndpoints,
  options: TranslatorOptions,
): readonly ServedPort[] {
  return served.flatMap((typed) => {
    const { address } = typed
    const reach = reachOf(policyOf(typed, service), options, tunnels)
    const isLost = (port: ServicePort): boolean =>
      answer.addresses.includes(address)
        ? !isHeld(answer, address, port)
        : owners.portOwner(address, port, key) !== undefined
    return service.spec.ports
      .filter((port) => !isLost(port))
      .map((port) => ({ address, port, backends: endpoints.backendsOf(familyOf(address), port, reach), reach }))
  })
}

function supportedVerdict(
  service: Service,
  ports: readonly ServedPort[],
  { datapath, tunnels }: TranslatorOptions,
): Verdict {
  const { spec } = service
  if (datapath === 'none')
    return yes('supported', 'ServedElsewhere', 'no datapath: something else on this node serves the address')
  const changed = ports.map(changedSctpPort).find((text) => text !== undefined)
  if (changed !== undefined)
    return no('supported', 'SctpPortChanged', changed, 'Give the port and its targetPort the same number.')
  const isShared = tunnels !== undefined && permitsDifferentPods(service)
  const shared = isShared ? ['what comes for it to a node without a pod of it is handed on'] : []
  return yes('supported', 'Supported', ['every field is enforced', ...limitsOf(spec), ...shared].join('; '))
}

/** Other Services bring packets for its ports to nodes on which it has no pod: there they are handed on. */
function permitsDifferentPods(service: Service): boolean {
  return service.spec.externalTrafficPolicy === 'Local' && sharingOf(service).request?.permitsDifferentPods === true
}

function handingOn(port: ServedPort, { answer, reach }: ServiceInput, endpoints: ServiceEndpoints): ServedPort {
  if (reach.kind !== 'tunnels' || !answer.addresses.includes(port.address)) return port
  if (port.backends.used.length > 0) return { ...port, reach }
  return { ...port, reach, backends: endpoints.backendsOf(familyOf(port.address), port.port, reach) }
}

function isHandedOnTo({ reach, backends: { used, resting } }: ServedPort): boolean {
  const isHere = ({ node }: Backend): boolean => node === undefined
  return reach.kind === 'tunnels' && (used.some(isHere) || resting.some(isHere))
}

/** Whom it lets in, and how long they stay with one pod. */
function limitsOf({ sourceRanges, affinitySec, families }: Service['spec']): readonly string[] {
  const sources = families.flatMap((family) => {
    const ranges = sourceRanges?.[family]
    if (ranges === undefined) return []
    const name = family === 'ipv4' ? 'IPv4' : 'IPv6'
    const [allowed, denied] = [true, false].map((is) => ranges.filter(({ isAllowed }) => isAllowed === is))
    if (allowed === undefined || denied === undefined || allowed.length === 0) return `nobody is let in by ${name}`
    const named = (list: readonly SourceRange[]): string => someOf(list.map(({ prefix }) => prefix)).join(', ')
    if (denied.length > 0) return `flows from ${named(denied)} are not let in`
    return `flows from ${named(allowed)} alone are let in by ${name}`
  })
  return affinitySec === undefined ? sources : [...sources, `a client stays with its pod for ${affinitySec} s`]
}

function frontendsOf(key: string, { spec }: Service, ports: readonly ServedPort[]): readonly Frontend[] {
  return ports.flatMap(({ address, port: { port, protocol }, backends: { used, resting } }) => {
    // They are about the load balancer: others reach a node port by it, or by none.
    const sources = isAnyNodeAddress(address) ? undefined : spec.sourceRanges?.[familyOf(address)]
    // One with another port has no association by this one, and is no reason against those that take new ones.
    const kept = protocol === 'SCTP' ? resting.filter((backend) => backend.port === port) : resting
    return {
      id: frontendId(address, protocol, port),
      service: key,
      address,
      protocol,
      port,
      backends: used,
      ...(kept.length === 0 ? {} : { resting: kept }),
      ...(sources === undefined ? {} : { sources }),
      ...(spec.affinitySec === undefined ? {} : { affinitySec: spec.affinitySec }),
    }
  })
}
