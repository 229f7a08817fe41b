/**
 * `explain`: finds exactly what was asked for, and puts its chain of reasons together. Addresses are compared as
 * values; what many share is answered for the one that was named.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ExplainSubject, ExplainView, RouteView } from '../api/types.ts'
import type { AccelerationStatus } from '../datapath/datapath.ts'
import type { DesiredPodCidr, DesiredService, DesiredSpeaker, Problem, Route, Verdict } from '../desired/model.ts'
import { isAddressNamed, parseAddress, splitZone } from '../ip/address.ts'
import { formatPrefix, hostPrefix, parsePrefix } from '../ip/prefix.ts'
import type { PeerSnapshot, RouteSnapshot } from '../speaker/protocol.ts'
import { textOctets } from '../speaker/route-snapshot.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import { earlyServiceView } from './early-views.ts'
import {
  announcedVerdicts,
  brokenVersionVerdicts,
  peerVerdicts,
  podCidrVerdicts,
  receivedVerdicts,
  type Surroundings,
} from './explain.ts'
import type { Order } from './order.ts'
import { routeView } from './route-view.ts'
import { isToBeAnnounced, serviceVerdicts } from './service-views.ts'
import { ledFrontends, type SocketParts } from './socket-views.ts'

export interface ExplainParts {
  readonly nodeName: string
  /** Where objects come from, for people. */
  readonly source: { readonly detail: string }
  readonly agent: {
    readonly order: Pick<Order, 'services' | 'service' | 'verdict' | 'isProgrammed'>
    readonly speaker: DesiredSpeaker | undefined
    readonly isDrained: boolean
    readonly podCidrs: readonly DesiredPodCidr[]
    readonly problems: readonly Problem[]
  }
  readonly speaker: Pick<SpeakerThread, 'peers' | 'route' | 'paths'>
  readonly datapath?: { readonly status: { readonly acceleration?: AccelerationStatus } }
  /** Absent: no socket LB in this process. */
  readonly sockets?: SocketParts
}

/** Services that are compared in one turn of the loop. */
const sliceServices = 1_000
/** Paths that are shown; with RFC 7911 there may be many. */
const maxPaths = 500
/** Of what comes with them, as text: 64 kB of attributes with each were megabytes. */
const maxPathOctets = 1_000_000

export function explain(parts: ExplainParts, { kind, name }: ExplainSubject): Promise<ExplainView> {
  switch (kind) {
    case 'service':
      return explainService(parts, name)
    case 'peer':
      return explainPeer(parts, name)
    case 'route':
      return explainRoute(parts, name)
  }
}

function answer(
  subject: string,
  verdicts: readonly Verdict[],
  announcedTo: readonly RouteView[],
  ok = verdicts.every((verdict) => verdict.ok),
): ExplainView {
  return { subject, exists: true, ok, verdicts: [...verdicts], announcedTo: [...announcedTo] }
}

function missing(subject: string, message: string, remedy: string): ExplainView {
  return {
    subject,
    exists: false,
    ok: false,
    verdicts: [{ step: 'valid', ok: false, code: 'NotFound', message, remedy } satisfies Verdict],
    announcedTo: [],
  }
}

/** Of what was never understood: why, errors before warnings. */
function unreadVerdicts(problems: readonly Problem[]): readonly Verdict[] {
  const errors = problems.filter(({ severity }) => severity === 'error')
  return (errors.length > 0 ? errors : problems).map(({ field, message, remedy }) => ({
    step: 'valid',
    ok: false,
    code: 'NotFound',
    message: field === '' ? message : `${field}: ${message}`,
    remedy,
  }))
}

async function surroundings({ agent, speaker }: ExplainParts): Promise<Surroundings> {
  return {
    peers: await speaker.peers(),
    neighbors: agent.speaker?.neighbors ?? [],
    isDraining: agent.isDrained || agent.speaker?.isDraining === true,
  }
}

/** Of the prefix, to the neighbors that these routes are for: others may have it of another Service. */
async function sentOf(parts: ExplainParts, routes: readonly Route[]): Promise<readonly RouteView[]> {
  const sent: RouteView[] = []
  for (const prefix of new Set(routes.map((route) => route.prefix))) {
    const meant = new Set(routes.flatMap((route) => (route.prefix === prefix ? route.neighbors : [])))
    for (const route of await parts.speaker.route(prefix))
      if (route.peer !== undefined && meant.has(route.peer)) sent.push(routeView(parts.nodeName, route))
  }
  return sent
}

const problemsOf = (
  { agent }: ExplainParts,
  { kind, namespace, name }: { readonly kind: string; readonly namespace?: string; readonly name: string },
): readonly Problem[] =>
  agent.problems.filter(
    ({ object }) => object.kind === kind && object.name === name && (object.namespace ?? '') === (namespace ?? ''),
  )

async function explainService(parts: ExplainParts, key: string): Promise<ExplainView> {
  const subject = `service ${key}`
  const slash = key.indexOf('/')
  const broken = problemsOf(parts, { kind: 'Service', namespace: key.slice(0, slash), name: key.slice(slash + 1) })
  const service = parts.agent.order.service(key)
  const led = parts.sockets === undefined ? undefined : ledFrontends(parts.sockets, key, service)
  const clients = led === undefined || led.length === 0 ? {} : { sockets: led }
  if (service === undefined && broken.length === 0 && clients.sockets !== undefined)
    return { ...answer(subject, [], []), ...clients }
  if (service === undefined) {
    if (broken.length > 0) return { ...answer(subject, unreadVerdicts(broken), []), exists: false, ok: false }
    return missing(
      subject,
      `No LoadBalancer Service ${key} was read from ${parts.source.detail}`,
      'Check namespace and name, and that spec.type is LoadBalancer',
    )
  }
  const verdicts = [...brokenVersionVerdicts(broken), ...serviceVerdicts(parts, service)]
  const sent = await sentOf(parts, service.routes)
  const isServed = serviceVerdicts(parts, service).every(({ ok }) => ok)
  const announced =
    isServed && isToBeAnnounced(service) ? announcedVerdicts(service.routes, sent, await surroundings(parts)) : []
  const acceleration = earlyServiceView(parts.datapath?.status.acceleration, service)
  const early = acceleration === undefined ? {} : { acceleration }
  return { ...answer(subject, [...verdicts, ...announced], sent), ...early, ...clients }
}

async function explainPeer(parts: ExplainParts, name: string): Promise<ExplainView> {
  const subject = `peer ${name}`
  const found = (await parts.speaker.peers()).filter((peer) => isNamed(peer, name))
  const [only] = found
  if (only === undefined) {
    const problem = parts.agent.problems.find((one) => mentions(one, name))
    return missing(
      subject,
      problem?.message ?? `No policy that selects this node has a neighbor ${name}`,
      problem?.remedy ?? 'Add the neighbor to the policy, or correct the address',
    )
  }
  const verdicts = found.flatMap((peer) => {
    const neighbor = parts.agent.speaker?.neighbors.find(({ id }) => id === peer.id)
    const chain = [
      ...(neighbor === undefined ? [] : brokenVersionVerdicts(problemsOf(parts, neighbor.source))),
      ...peerVerdicts(peer, neighbor),
    ]
    return found.length === 1 ? chain : named(peer.id, chain)
  })
  const transitions = found.length === 1 ? only.transitions.map((transition) => ({ ...transition })) : undefined
  return { ...answer(subject, verdicts, []), ...(transitions === undefined ? {} : { transitions }) }
}

/** Several are explained at once: each verdict says whose it is. */
const named = (whose: string, verdicts: readonly Verdict[]): readonly Verdict[] =>
  verdicts.map((verdict) => ({ ...verdict, message: `${whose}: ${verdict.message}` }))

/** By id, with or without our AS, or by address. */
const isNamed = ({ id, peerAddress }: PeerSnapshot, name: string): boolean =>
  id === name || id.slice(id.indexOf('/') + 1) === name || isAddressNamed(peerAddress, name)

/** Whether a problem is about this very address, not one that begins like it. */
function mentions({ message, field, remedy }: Problem, name: string): boolean {
  const address = parseAddress(splitZone(name)[0])
  if (address === undefined) return false
  return [message, field, remedy]
    .flatMap((text) => text.split(/[^0-9A-Fa-f:.]+/))
    .some((word) => parseAddress(word.replace(/[.:]$/, '')) === address || parseAddress(word) === address)
}

async function explainRoute(parts: ExplainParts, text: string): Promise<ExplainView> {
  const prefix = canonicalPrefix(text)
  const subject = `route ${prefix ?? text}`
  if (prefix === undefined)
    return missing(subject, `${text} is neither an address nor a prefix`, 'Write 192.0.2.1 or 192.0.2.0/24')
  const paths = toShow(await parts.speaker.paths(prefix)).map((route) => routeView(parts.nodeName, route))
  return { ...(await explainOrigin(parts, subject, prefix, paths)), ...(paths.length === 0 ? {} : { paths }) }
}

/** The best one in any case: it says why the prefix is in use. */
function toShow(all: readonly RouteSnapshot[]): readonly RouteSnapshot[] {
  let [paths, octets] = [0, 0]
  return all.filter((route) => {
    const isShown = route.best === true || (paths < maxPaths && octets < maxPathOctets)
    if (isShown) {
      paths++
      octets += textOctets(route)
    }
    return isShown
  })
}

/** Why this node announces a prefix, or that it only knows it from others. */
async function explainOrigin(
  parts: ExplainParts,
  subject: string,
  prefix: string,
  paths: readonly RouteView[],
): Promise<ExplainView> {
  const podCidr = parts.agent.podCidrs.find((found) => canonicalPrefix(found.prefix) === prefix)
  if (podCidr !== undefined) {
    const sent = await sentOf(parts, podCidr.routes)
    return answer(subject, podCidrVerdicts(podCidr, sent, await surroundings(parts)), sent)
  }
  const holders = await holdersOf(parts, prefix)
  if (holders.length > 0) return explainHolders(parts, subject, prefix, holders)
  if (paths.length > 0) return answer(subject, receivedVerdicts(paths), [])
  const faulty = (await parts.speaker.peers())
    .filter(({ updateErrors }) => updateErrors !== undefined)
    .map(({ peerAddress }) => `\`herald explain peer ${peerAddress}\` (not every UPDATE counts as sent)`)
  return missing(
    subject,
    'No Service holds this address and no PodCIDR of this node equals it',
    ['See `herald bgp routes available`', ...faulty].join(', '),
  )
}

/** Every Service that holds the address; the prefix is announced while one of them is served. */
async function explainHolders(
  parts: ExplainParts,
  subject: string,
  prefix: string,
  holders: readonly DesiredService[],
): Promise<ExplainView> {
  const chains = holders.map((service) => ({ service, verdicts: serviceVerdicts(parts, service) }))
  const isServed = ({ verdicts }: (typeof chains)[number]): boolean => verdicts.every(({ ok }) => ok)
  const routes = chains
    .filter(isServed)
    .flatMap(({ service }) => service.routes.filter((route) => canonicalPrefix(route.prefix) === prefix))
  const sent = await sentOf(parts, routes)
  const isMeant = chains.some((each) => isServed(each) && isToBeAnnounced(each.service))
  const announced = isMeant ? announcedVerdicts(routes, sent, await surroundings(parts)) : []
  const [only] = chains
  const own =
    only !== undefined && chains.length === 1
      ? only.verdicts
      : chains.flatMap(({ service, verdicts }) => named(service.key, verdicts))
  return answer(subject, [...own, ...announced], sent, chains.some(isServed) && announced.every(({ ok }) => ok))
}

async function holdersOf({ agent }: ExplainParts, prefix: string): Promise<readonly DesiredService[]> {
  const holders: DesiredService[] = []
  let compared = 0
  for (const service of agent.order.services.values()) {
    const isHolder =
      service.addresses.some((address) => canonicalPrefix(address) === prefix) ||
      // Of an aggregate the route alone says so.
      service.routes.some((route) => route.prefix === prefix)
    if (isHolder) holders.push(service)
    if (++compared % sliceServices === 0) await nextTurn()
  }
  return holders.sort((a, b) => (a.key < b.key ? -1 : 1))
}

function canonicalPrefix(text: string): string | undefined {
  const prefix = parsePrefix(text)
  if (prefix !== undefined) return formatPrefix(prefix)
  const address = parseAddress(text)
  return address === undefined ? undefined : formatPrefix(hostPrefix(address))
}
