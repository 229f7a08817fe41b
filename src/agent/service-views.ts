/**
 * Services as the API shows them, page by page, and how many there are of each state. Thousands of them are looked at
 * in slices, between which the loop goes on.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FrontendView, Page, PageQuery, ServiceView } from '../api/types.ts'
import {
  type AccelerationStatus,
  type BackendCounters,
  type Datapath,
  type EarlyKind,
  maxCountedBackends,
} from '../datapath/datapath.ts'
import { type Backend, type DesiredService, type Frontend, translatedNode, type Verdict } from '../desired/model.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import { takenEarly } from './early-views.ts'
import type { Order } from './order.ts'

export interface ServiceParts {
  readonly agent: { readonly order: Pick<Order, 'services' | 'verdict' | 'isProgrammed'> }
  readonly speaker: Pick<SpeakerThread, 'isAtAnyPeer'>
  readonly datapath: Pick<Datapath, 'counters'> & {
    readonly status: { readonly acceleration?: AccelerationStatus }
  }
}

/** Ports, backends and source ranges on one page, or those of one port: a Service may have a million. */
const maxPageParts = 50_000
/** A backend whose counters are read costs as much as so many others. */
const countedParts = 5
/** Services that are counted in one turn of the loop, some microseconds each. */
const sliceServices = 500

export interface ServiceCounts {
  readonly total: number
  readonly states: Readonly<Record<ServiceView['state'], number>>
  /** Prefixes to announce. */
  readonly routes: number
  /** Which neighbors hear something of which family, as {@link familyKey}. */
  readonly families: Set<string>
}

/**
 * By name; `continue` is the name of the last one, and how many of its frontends were shown where that were not all: a
 * Service that is larger than a page comes in several items, one after the other.
 */
export function servicesPage(parts: ServiceParts, { limit, continue: token }: PageQuery): Page<ServiceView> {
  const { services } = parts.agent.order
  const begun = beginningOf(token)
  const { keys, isMore } = firstKeys(services.keys(), begun.shown > 0 ? limit - 1 : limit, begun.key)
  const items: ServiceView[] = []
  let room = maxPageParts
  const early = takenEarly(parts.datapath.status.acceleration)
  for (const [key, from] of [[begun.key, begun.shown] as const, ...keys.map((each) => [each, 0] as const)]) {
    const service = services.get(key)
    if (service === undefined || (key === begun.key && from === 0)) continue
    const all = service.frontends.length
    const { until, size } = fittingIn(service, from, room)
    const isWhole = until >= all
    // What fits into a page of its own begins one.
    if (!isWhole && items.length > 0 && fittingIn(service, 0, maxPageParts).until >= all)
      return { items, continue: items.at(-1)?.service ?? key }
    if (from === 0 || until > from) items.push(serviceView(parts, service, { from, until, early }))
    if (!isWhole) return { items, continue: `${key} ${until}` }
    room -= size
  }
  const last = keys.at(-1) ?? begun.key
  return isMore ? { items, continue: last } : { items }
}

/** The Service at which the page before ended, and how many of its frontends it had; 0: all of them. */
function beginningOf(token = ''): { readonly key: string; readonly shown: number } {
  const [, key = token, shown = '0'] = /^(.*) (\d{1,9})$/.exec(token) ?? []
  return { key, shown: Number(shown) }
}

/** How many frontends, from one on, find room: one at least where there is one. */
function fittingIn(
  { frontends }: DesiredService,
  from: number,
  room: number,
): { readonly until: number; readonly size: number } {
  let [until, size] = [from, 0]
  for (const { backends, resting, sources } of frontends.slice(from)) {
    const more = 1 + partsOfBackends(backends.length + (resting?.length ?? 0)) + (sources?.length ?? 0)
    if (until > from && size + more > room) break
    size += more
    until++
  }
  return { until, size }
}

function partsOfBackends(count: number): number {
  return count + (countedParts - 1) * Math.min(count, maxCountedBackends)
}

/** The first `limit` names behind `after`: one pass, and no more memory than twice the page. */
function firstKeys(
  all: Iterable<string>,
  limit: number,
  after = '',
): { readonly keys: readonly string[]; readonly isMore: boolean } {
  let keys: string[] = []
  let isMore = false
  let highest: string | undefined
  for (const key of all) {
    if (key <= after) continue
    if (highest !== undefined && key > highest) {
      isMore = true
      continue
    }
    keys.push(key)
    if (keys.length < 2 * limit) continue
    keys = keys.sort().slice(0, limit)
    isMore = true
    highest = keys.at(-1)
  }
  keys.sort()
  return { keys: keys.slice(0, limit), isMore: isMore || keys.length > limit }
}

/** A neighbor and the family of a prefix. */
export const familyKey = (neighbor: string, prefix: string): string =>
  `${neighbor} ${prefix.includes(':') ? 'ipv6-unicast' : 'ipv4-unicast'}`

export async function countServices(parts: ServiceParts): Promise<ServiceCounts> {
  const states = { Announced: 0, Programmed: 0, Served: 0, Pending: 0, NotServed: 0 }
  const families = new Set<string>()
  let [total, routes] = [0, 0]
  for (const service of parts.agent.order.services.values()) {
    states[stateOf(parts, service)]++
    routes += service.routes.length
    for (const { prefix, neighbors } of service.routes) for (const id of neighbors) families.add(familyKey(id, prefix))
    if (++total % sliceServices === 0) await nextTurn()
  }
  return { total, states, routes, families }
}

interface Shown {
  /** Frontends, by their places. */
  readonly from: number
  readonly until: number
  readonly early: ((frontend: Frontend) => EarlyKind[]) | undefined
}

function serviceView(parts: ServiceParts, service: DesiredService, { from, until, early }: Shown): ServiceView {
  return {
    service: service.key,
    addresses: [...service.addresses],
    ...(service.pool === undefined ? {} : { pool: service.pool }),
    state: stateOf(parts, service),
    externalTrafficPolicy: service.externalTrafficPolicy,
    remoteBackends: service.remoteBackends,
    frontends: service.frontends
      .slice(from, until)
      .map((frontend) => ({ ...frontendView(parts, frontend), ...(early && { early: early(frontend) }) })),
    verdicts: serviceVerdicts(parts, service),
  }
}

function frontendView({ agent, datapath }: ServiceParts, frontend: Frontend): FrontendView {
  const programmed = agent.order.isProgrammed(frontend)
  const none = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, newConnections: 0, backends: [] }
  const { backends: counted, ...counters } = datapath.counters(frontend.id) ?? none
  const trafficOf = trafficBy(counted)
  return {
    id: frontend.id,
    address: frontend.address,
    protocol: frontend.protocol,
    port: frontend.port,
    programmed,
    backends: [
      ...frontend.backends.map((backend) => ({
        ...placeOf(backend),
        state: programmed ? ('active' as const) : ('pending' as const),
        ...trafficOf(backend),
      })),
      ...(frontend.resting ?? []).map((backend) => ({
        ...placeOf(backend),
        state: 'resting' as const,
        ...trafficOf(backend),
      })),
    ],
    ...(frontend.sources === undefined ? {} : { sourceRanges: rangesOf(frontend.sources) }),
    ...(frontend.affinitySec === undefined ? {} : { affinitySeconds: frontend.affinitySec }),
    ...counters,
  }
}

function placeOf(backend: Backend): Backend {
  return backend.node === translatedNode ? { ...backend, node: 'snat' } : backend
}

type BackendTraffic = Omit<BackendCounters, 'backend'>

/** What each of the backends that were counted has carried. */
function trafficBy(counted: readonly BackendCounters[]): (backend: Backend) => BackendTraffic | undefined {
  const nameOf = ({ address, port, node = '' }: Backend): string => `${address} ${port} ${node}`
  const found = new Map(counted.map(({ backend, ...traffic }) => [nameOf(backend), traffic]))
  return (backend) => found.get(nameOf(backend))
}

type RangesView = NonNullable<FrontendView['sourceRanges']>

const rangeViews = new WeakMap<NonNullable<Frontend['sources']>, RangesView>()

/** Made once for each list: all ports of a Service have the same one. */
function rangesOf(sources: NonNullable<Frontend['sources']>): RangesView {
  const known = rangeViews.get(sources)
  if (known !== undefined) return known
  const made = sources.map(({ prefix, isAllowed }) => ({ prefix, allowed: isAllowed }))
  rangeViews.set(sources, made)
  return made
}

function stateOf({ agent, speaker }: ServiceParts, service: DesiredService): ServiceView['state'] {
  if (service.verdicts.some((verdict) => !verdict.ok)) return 'NotServed'
  if (!agent.order.verdict(service.key).ok) return 'Pending'
  if (!isToBeAnnounced(service)) return 'Served'
  return service.routes.some((route) => speaker.isAtAnyPeer(route.prefix)) ? 'Announced' : 'Programmed'
}

/** False: nothing asks for a route to it, and it is served where packets arrive. */
export function isToBeAnnounced({ verdicts }: DesiredService): boolean {
  return verdicts.some(({ step }) => step === 'selected') || !verdicts.some(({ step }) => step === 'proxied')
}

/** The chain up to the kernel; what comes after the first no is left out. */
export function serviceVerdicts({ agent }: Pick<ServiceParts, 'agent'>, service: DesiredService): Verdict[] {
  const isRefused = service.verdicts.some((verdict) => !verdict.ok)
  return [...service.verdicts, ...(isRefused ? [] : [agent.order.verdict(service.key)])].map((verdict) => ({
    ...verdict,
  }))
}
