/**
 * What neighbors are to hear of one Service: which exports select it, which routes they come to, and the verdict about
 * that. Pure.
 */
import type { VerdictCode } from '../../desired/codes.ts'
import { type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import type { DesiredService, Neighbor, ObjectRef, Route, RouteAttributes, Verdict } from '../../desired/model.ts'
import { united } from '../../desired/route-attributes.ts'
import { sameValue } from '../../desired/same-value.ts'
import type { AddressAnswer } from '../../allocation/address-source.ts'
import type { Pool } from '../../allocation/pool-table.ts'
import type { Reserved } from '../../allocation/reserved.ts'
import { type Address, parseAddress } from '../../ip/address.ts'
import { formatPrefix, prefixOf } from '../../ip/prefix.ts'
import type { ServiceAddressType } from '../dialects/node-plan.ts'
import type { EndpointSlice } from '../kinds/endpoint-slice.ts'
import { selectableLabels, type Service } from '../kinds/service.ts'
import { familyOf } from './eligible.ts'
import type { Reach } from './endpoints.ts'
import { speaks, type NodeExports, type ServiceExport } from './exports.ts'
import type { NodeObstacle } from './node-fitness.ts'
import type { OwnAddresses } from './own-addresses.ts'
import type { Proxying } from './proxied.ts'
import { selectionOf } from './touched.ts'

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
  /** What is nobody's who merely writes it down, as an external IP. */
  readonly taken: {
    readonly apiServers: ReadonlySet<string>
    /** Of whatever Service. */
    readonly isEndpoint: (address: Address) => boolean
  }
  /** undefined: no policy applies to this node, for the reason given. */
  readonly exports: NodeExports | undefined
  readonly noExports: { readonly message: string; readonly remedy: string }
  /** Which backends count where the traffic policy is Cluster and our datapath serves. */
  readonly reach: Reach
  /** undefined: external IPs that nobody asks for, and node ports, are served by others. */
  readonly proxying?: Proxying | undefined
  /** Why no Service is announced from this node. */
  readonly nodeObstacle?: NodeObstacle | undefined
}

/** One address may be of several types. */
export interface TypedAddress {
  readonly address: string
  readonly types: readonly ServiceAddressType[]
}

export const ofLoadBalancer = (address: string): TypedAddress => ({ address, types: ['LoadBalancerIP'] })

/** The traffic policy that holds for an address: of one that is a cluster IP and more, the stricter one. */
export function policyOf({ types }: TypedAddress, { spec }: Service): 'Cluster' | 'Local' {
  const policies = types.map((type) => (type === 'ClusterIP' ? spec.internalTrafficPolicy : spec.externalTrafficPolicy))
  return policies.includes('Local') ? 'Local' : 'Cluster'
}

export const yes = (step: Verdict['step'], code: VerdictCode, message: string): Verdict => ({
  step,
  ok: true,
  code,
  message,
})
export const no = (step: Verdict['step'], code: VerdictCode, message: string, remedy: string): Verdict => ({
  step,
  ok: false,
  code,
  message,
  remedy,
})

/** Thousands of Services are told the same. */
const sharedLimit = 1 << 10
const verdicts = new Map<string, Verdict>()

export function sharedVerdict(verdict: Verdict): Verdict {
  // Of which each Service has its own.
  if (verdict.step === 'allocated') return verdict
  const found = verdicts.get(verdict.message)
  if (found !== undefined && sameValue(found, verdict)) return found
  if (verdicts.size >= sharedLimit) verdicts.clear()
  verdicts.set(verdict.message, verdict)
  return verdict
}

/** One for all: thousands have none. */
export const noRoutes: readonly Route[] = []

/** An export that selects a Service, and who hears by it. */
export interface Heard {
  readonly neighbor: Neighbor
  readonly one: ServiceExport
}

/** What one neighbor is to hear of one address: all that its advertisements say. */
export interface Wish {
  readonly address: string
  readonly prefix: string
  readonly neighbor: string
  readonly attributes: RouteAttributes
  /** Who says so, as verdicts name it. */
  readonly name: string
  /** The aggregate in place of which the address is announced by itself. */
  readonly alone: string | undefined
}

export function wishesOf(
  input: Pick<ServiceInput, 'service' | 'poolsOf' | 'reserved'>,
  selecting: readonly Heard[],
  addresses: readonly TypedAddress[],
): readonly Wish[] {
  return addresses.flatMap((typed) => {
    const { address, types } = typed
    const pools = input.poolsOf(address)
    return selecting.flatMap(({ neighbor, one }): readonly Wish[] => {
      if (`${familyOf(address)}-unicast` !== one.family) return []
      if (!one.addressTypes.some((type) => types.includes(type))) return []
      const { prefix, alone } = announcedPrefix(typed, one, policyOf(typed, input.service), input.reserved)
      if (!one.admits(pools) || !speaks(neighbor, prefix)) return []
      return [{ address, prefix, neighbor: neighbor.id, attributes: one.attributesFor(pools), name: one.name, alone }]
    })
  })
}

/** Wishes of one neighbor for one prefix are one; neighbors that hear the same of it share a route. */
export function routesOf(wishes: readonly Wish[]): readonly Route[] {
  const [first] = wishes
  if (first === undefined) return noRoutes
  const { prefix, attributes } = first
  if (wishes.length === 1) return [{ prefix, neighbors: sharedList([first.neighbor]), attributes }]
  const neighbors = new Set(wishes.map(({ neighbor }) => neighbor))
  // Nearly always: one advertisement, heard by all alike.
  if (
    neighbors.size === wishes.length &&
    wishes.every((wish) => wish.prefix === prefix && wish.attributes === attributes)
  )
    return [{ prefix, neighbors: sharedList([...neighbors]), attributes }]
  const routes = new Map<string, Route>()
  for (const all of Map.groupBy(wishes, (wish) => `${wish.prefix} ${wish.neighbor}`).values()) {
    const { prefix: of = '', neighbor = '' } = all[0] ?? {}
    const said = united(all.map((wish) => wish.attributes))
    const id = JSON.stringify([of, said])
    routes.set(id, { prefix: of, neighbors: [...(routes.get(id)?.neighbors ?? []), neighbor], attributes: said })
  }
  return [...routes.values()]
}

/** Thousands of Services are heard by the same neighbors. */
const lists = new Map<string, readonly string[]>()

function sharedList(list: readonly string[]): readonly string[] {
  const text = list.join(' ')
  const found = lists.get(text)
  if (found !== undefined) return found
  if (lists.size >= sharedLimit) lists.clear()
  lists.set(text, list)
  return list
}

/** What is the same for all Services that the same selectors select. */
interface Selections {
  readonly selectors: readonly LabelSelector[]
  /** By which of the selectors match, a digit for each. */
  readonly heard: Map<string, readonly Heard[]>
}

const selectionsOf = new WeakMap<NodeExports, Selections>()
const nothingHeard: readonly Heard[] = []

/** One list for all Services that the same exports select. */
export function selectingOf({ service, exports }: Pick<ServiceInput, 'service' | 'exports'>): readonly Heard[] {
  if (exports === undefined) return nothingHeard
  const known = selectionsOf.get(exports)
  const { selectors, heard } = known ?? { selectors: selectorsOf(exports), heard: new Map<string, readonly Heard[]>() }
  if (known === undefined) selectionsOf.set(exports, { selectors, heard })
  const labels = selectableLabels(service)
  const matching = selectors.map((selector) => selectorMatches(selector, labels))
  const which = matching.map(Number).join('')
  const found = heard.get(which)
  if (found !== undefined) return found
  const selected = new Set(selectors.filter((_, index) => matching[index]))
  const ofList = new Map<readonly ServiceExport[], readonly ServiceExport[]>()
  const made = exports.services.flatMap(({ neighbor, exports: all }) => {
    const some = ofList.get(all) ?? all.filter(({ selector }) => selected.has(selector))
    ofList.set(all, some)
    return some.map((one) => ({ neighbor, one }))
  })
  heard.set(which, made)
  return made
}

/** An advertisement is one for each family, and they have one selector; and neighbors share their lists. */
function selectorsOf({ services }: NodeExports): readonly LabelSelector[] {
  const all = new Set(services.map(({ exports }) => exports))
  return [...new Set([...all].flatMap((exports) => exports.map(({ selector }) => selector)))]
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
  const host = `${address}/${address.includes(':') ? 128 : 32}`
  if (aggregationLength === undefined) return { prefix: host }
  const parsed = parseAddress(address)
  // What is around an external IP is nobody's here: whoever may write a Service would draw packets for a network.
  const isAlone = (policy === 'Local' && !aggregatesLocal) || types.every((type) => type === 'ExternalIP')
  const aggregate = parsed === undefined || isAlone ? undefined : formatPrefix(prefixOf(parsed, aggregationLength))
  if (aggregate === undefined) return { prefix: host }
  return reserved.isTouched(aggregate) ? { prefix: host, alone: aggregate } : { prefix: aggregate }
}

export function selectedVerdict(
  input: Pick<ServiceInput, 'exports' | 'noExports' | 'poolsOf'>,
  selecting: readonly Heard[],
  wishes: readonly Wish[],
  addresses: readonly string[],
): Verdict {
  const { exports, noExports } = input
  if (exports === undefined) return no('selected', 'NoPolicy', noExports.message, noExports.remedy)
  // Nearly always: one address, which is heard by all that selects the Service.
  const isWhole =
    addresses.length === 1 &&
    wishes.length > 0 &&
    wishes.length === selecting.length &&
    wishes.every(({ alone: aggregate }) => aggregate === undefined)
  const known = isWhole ? wholly.get(selecting) : undefined
  if (known !== undefined) return known
  const all = exports.names.join(', ')
  const pools = addresses.map((address) => input.poolsOf(address))
  const matching = addresses.length === 0 ? selecting : selecting.filter(({ one }) => pools.some(one.admits))
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
    const { nothingSelects } = exports
    if (wanted === '' && nothingSelects !== undefined)
      return no('selected', 'NotSelected', `${all}: ${nothingSelects.message}`, nothingSelects.remedy)
    return no(
      'selected',
      'NotSelected',
      `${all} does not select this ` +
        `Service${wanted === '' ? ': it has no serviceSelector' : ` (it selects ${wanted})`}`,
      'Label the Service, or change serviceSelector.',
    )
  }
  if (wishes.length === 0 && addresses.length > 0) return notHeard(matching, addresses, all)
  const heard =
    wishes.length > 0 ? wishes : matching.map(({ neighbor, one }) => ({ name: one.name, neighbor: neighbor.id }))
  const names = [...new Set(heard.map(({ name }) => name))].join(', ')
  const neighbors = [...new Set(heard.map(({ neighbor }) => neighbor))].join(', ')
  const alone = [...new Set(wishes.flatMap(({ alone: aggregate }) => aggregate ?? []))]
  const rest = alone.map((each) => `; ${each} holds addresses that nobody may have, and is not announced as a whole`)
  const verdict = yes('selected', 'PolicySelects', `${names}, neighbors ${neighbors}${rest.join('')}`)
  if (isWhole) wholly.set(selecting, verdict)
  return verdict
}

/** The verdict of those that are heard by all that selects them. */
const wholly = new WeakMap<readonly Heard[], Verdict>()

/** It is selected, and no neighbor is to hear any of its addresses. */
function notHeard(matching: readonly Heard[], addresses: readonly string[], all: string): Verdict {
  const families = new Set(addresses.map((address) => `${familyOf(address)}-unicast`))
  const asked = matching.flatMap(({ one }) => (families.has(one.family) ? [one] : []))
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

/**
 * The same Service where nothing but what neighbors hear is another: undefined where that decides more than its routes,
 * or where it is not a plain one. Equal to what a whole translation makes.
 */
export function retoldService(
  input: Pick<ServiceInput, 'service' | 'source' | 'exports' | 'noExports' | 'poolsOf' | 'reserved'>,
  before: DesiredService,
): DesiredService | undefined {
  const [address] = before.addresses
  const isPlain = address !== undefined && before.addresses.length === 1 && input.exports?.isOwnAsked === false
  const isToBeAnnounced = before.verdicts.some(({ step }) => step === 'selected')
  // With one address that is served, announced means eligible.
  if (!isPlain || !isToBeAnnounced || !before.verdicts.every(({ ok }) => ok)) return undefined
  const selecting = selectingOf(input)
  const told = toldAlike(input, selecting, address) ?? toldAlone(input, selecting, address)
  if (!told.selected.ok) return undefined
  const verdicts = before.verdicts.map((each) => (each.step === 'selected' ? told.selected : each))
  return { ...before, source: input.source, routes: told.routes, verdicts }
}

interface Told {
  readonly routes: readonly Route[]
  readonly selected: Verdict
}

function toldAlone(input: Parameters<typeof retoldService>[0], selecting: readonly Heard[], address: string): Told {
  const wishes = wishesOf(input, selecting, [ofLoadBalancer(address)])
  const selected = sharedVerdict(selectedVerdict(input, selecting, wishes, [address]))
  return { routes: routesOf(wishes), selected }
}

/** By those that hear it and the pool: what neighbors hear of each address of the pool for itself; null: not alike. */
const alike = new WeakMap<readonly Heard[], WeakMap<Pool, Record<'ipv4' | 'ipv6', Told | null | undefined>>>()

/** Thousands of addresses of one pool are heard by the same neighbors in the same way: that is found out once. */
function toldAlike(
  input: Parameters<typeof retoldService>[0],
  selecting: readonly Heard[],
  address: string,
): Told | undefined {
  const [pool, ...others] = input.poolsOf(address)
  if (pool === undefined || others.length > 0) return undefined
  const ofPools = alike.get(selecting) ?? new WeakMap<Pool, Record<'ipv4' | 'ipv6', Told | null | undefined>>()
  alike.set(selecting, ofPools)
  const ofPool = ofPools.get(pool) ?? { ipv4: undefined, ipv6: undefined }
  ofPools.set(pool, ofPool)
  const family = familyOf(address)
  if (ofPool[family] === undefined) {
    const told = toldAlone(input, selecting, address)
    const isEach = selecting.every(
      ({ one }) => one.family !== `${family}-unicast` || one.aggregationLength === undefined,
    )
    ofPool[family] = isEach && told.routes.length === 1 ? told : null
  }
  const told = ofPool[family] ?? undefined
  const [route] = told?.routes ?? []
  if (told === undefined || route === undefined) return undefined
  return { ...told, routes: [{ ...route, prefix: `${address}/${family === 'ipv6' ? 128 : 32}` }] }
}
