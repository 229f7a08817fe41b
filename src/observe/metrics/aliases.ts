/** Names of others with their labels, for who has dashboards and alerts of theirs: only where they are asked for. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { PeerView, ProblemView, ServiceView } from '../../api/types.ts'
import { addBfdAliases } from './bfd.ts'
import { Growth } from './growth.ts'
import { withPort } from './peers.ts'
import type { Snapshot } from './snapshot.ts'

/** As the native mode of MetalLB has it. */
const peerLabel = (peer: PeerView): { readonly peer: string } => ({ peer: withPort(peer) })

const counted: readonly { readonly name: string; readonly what: string; readonly read: (peer: PeerView) => number }[] =
  [
    { name: 'total_sent', what: 'Messages sent', read: ({ messagesOut }) => messagesOut },
    { name: 'total_received', what: 'Messages received', read: ({ messagesIn }) => messagesIn },
    { name: 'updates_total', what: 'UPDATEs sent', read: ({ updatesOut }) => updatesOut },
    { name: 'updates_total_received', what: 'UPDATEs received', read: ({ updatesIn }) => updatesIn },
  ]

/** Services of which every address has a series; each is in the totals of our own names. */
const maxServices = 1_000

/** Takes the Services of a scrape page by page; `set` ends it, `cut` when they cannot be had. */
export interface AgentAliases {
  add(page: readonly ServiceView[]): void
  cut(): void
  set(snapshot: Snapshot, runs: number, errors: number): void
}

export function addAgentAliases(registry: Registry): AgentAliases {
  const registers = [registry]
  const ofPeer = ['peer']
  const up = new Gauge({
    name: 'metallb_bgp_session_up',
    help: '1 when the session is Established (the name MetalLB uses)',
    labelNames: ofPeer,
    registers,
  })
  const prefixes = new Gauge({
    name: 'metallb_bgp_announced_prefixes_total',
    help: 'Prefixes that the peer holds from us (the name MetalLB uses)',
    labelNames: ofPeer,
    registers,
  })
  const counters = counted.map(({ name, what, read }) => ({
    read,
    growth: new Growth(),
    metric: new Counter({
      name: `metallb_bgp_${name}`,
      help: `${what}, over all connections (the name MetalLB uses)`,
      labelNames: ofPeer,
      registers,
    }),
  }))
  const announced = new Gauge({
    name: 'metallb_speaker_announced',
    help: 'Always 1: an address of a Service that a peer holds from this node (the name MetalLB uses)',
    labelNames: ['service', 'protocol', 'node', 'ip'],
    registers,
  })
  const setClient = addClient(registry)
  const setBfd = addBfdAliases(registry)
  let shown: readonly ServiceView[] = []
  let known = new Map<string, { readonly peer: string }>()
  return {
    add: (page) => {
      const some = page.filter(({ state }) => state === 'Announced')
      shown = [...shown, ...some.slice(0, Math.max(0, maxServices - shown.length))]
    },
    cut: () => {
      shown = []
    },
    set: ({ peers, status }, runs, errors) => {
      for (const each of [up, prefixes, announced]) each.reset()
      const now = new Map(peers.map((peer) => [peer.id, peerLabel(peer)]))
      for (const [id, labels] of known)
        if (now.get(id)?.peer !== labels.peer) for (const { metric } of counters) metric.remove(labels)
      known = now
      for (const peer of peers) {
        up.set(peerLabel(peer), peer.sessionState === 'Established' ? 1 : 0)
        prefixes.set(
          peerLabel(peer),
          peer.families.reduce((sum, family) => sum + family.advertised, 0),
        )
      }
      setBfd(peers)
      for (const { metric, read, growth } of counters) {
        for (const peer of peers) metric.inc(peerLabel(peer), growth.of(peer.id, read(peer)))
        growth.next()
      }
      for (const { service, addresses } of shown)
        for (const ip of addresses) announced.set({ service, protocol: 'bgp', node: status.node, ip }, 1)
      shown = []
      setClient({ runs, errors, isLoaded: status.source.synced, isStale: status.problems.some(isOfConfiguration) })
    },
  }
}

/** The last good version of an object is in force, and not what is written. */
function isOfConfiguration({ severity, object }: ProblemView): boolean {
  return severity === 'error' && !/^(Service|EndpointSlice|Node|Namespace)\//.test(object)
}

interface ClientFigures {
  readonly runs: number
  readonly errors: number
  readonly isLoaded: boolean
  readonly isStale: boolean
}

function addClient(registry: Registry): (figures: ClientFigures) => void {
  const name = (what: string): string => `metallb_k8s_client_${what}`
  const counter = (what: string, help: string): Counter =>
    new Counter({ name: name(what), help: `${help} (the name MetalLB uses)`, registers: [registry] })
  const gauge = (what: string, help: string): Gauge =>
    new Gauge({ name: name(what), help: `${help} (the name MetalLB uses)`, registers: [registry] })
  const updates = counter('updates_total', 'Changes that were applied')
  const errors = counter('update_errors_total', 'Applications that failed and were tried again')
  const loaded = gauge('config_loaded_bool', '1 when every object was read once')
  const stale = gauge('config_stale_bool', '1 while an older version of some object of the configuration is in force')
  const growth = new Growth()
  return (figures) => {
    updates.inc(growth.of('updates', figures.runs))
    errors.inc(growth.of('errors', figures.errors))
    growth.next()
    loaded.set(figures.isLoaded ? 1 : 0)
    stale.set(figures.isStale ? 1 : 0)
  }
}

/** Of a pool and family. */
interface PoolFigures {
  readonly pool: string
  readonly family: string
  readonly total: number
  readonly used: number
}

export interface OperatorAliasFigures {
  readonly isSynced: boolean
  readonly pools: readonly PoolFigures[]
  /** LoadBalancer Services by state. */
  readonly services: Readonly<Record<string, number>>
  readonly outcomes: Readonly<Record<string, Readonly<Record<string, number>>>>
  readonly staleObjects: number
}

export function addOperatorAliases(registry: Registry): (figures: OperatorAliasFigures) => void {
  const gauge = (what: string, help: string): Gauge =>
    new Gauge({
      name: `metallb_allocator_${what}`,
      help: `${help} (the name MetalLB uses)`,
      labelNames: ['pool'],
      registers: [registry],
    })
  const ofFamily = ['', 'ipv4', 'ipv6'].map((family) => {
    const [part, of] = family === '' ? ['', 'Addresses'] : [`${family}_`, family === 'ipv4' ? 'IPv4' : 'IPv6']
    const what = family === '' ? of : `${of} addresses`
    return {
      family,
      total: gauge(`${part}addresses_total`, `${what} that a pool may give away`),
      used: gauge(`${part}addresses_in_use_total`, `${what} of a pool that Services hold`),
    }
  })
  const setClient = addClient(registry)
  const setLbIpam = addLbIpam(registry)
  return (metrics) => {
    const { pools, isSynced, outcomes, staleObjects } = metrics
    setLbIpam(metrics)
    for (const { family, total, used } of ofFamily) {
      total.reset()
      used.reset()
      for (const each of pools) {
        if (family !== '' && each.family !== family) continue
        total.inc({ pool: each.pool }, each.total)
        used.inc({ pool: each.pool }, each.used)
      }
    }
    const ofServices = outcomes['service'] ?? {}
    const failures = (ofServices['refused'] ?? 0) + (ofServices['failed'] ?? 0)
    const runs = (ofServices['written'] ?? 0) + failures
    setClient({ runs, errors: failures, isLoaded: isSynced, isStale: staleObjects > 0 })
  }
}

/** What Cilium's operator counts of its pools and of the Services that want an address of them. */
function addLbIpam(registry: Registry): (figures: Pick<OperatorAliasFigures, 'pools' | 'services'>) => void {
  const gauge = (what: string, help: string, ...labelNames: string[]): Gauge =>
    new Gauge({
      name: `cilium_operator_lbipam_${what}`,
      help: `${help} (the name Cilium uses)`,
      labelNames,
      registers: [registry],
    })
  const available = gauge('ips_available', 'Addresses of a pool that are free', 'pool')
  const used = gauge('ips_used', 'Addresses of a pool that Services hold', 'pool')
  const matching = gauge('services_matching', 'LoadBalancer Services of a served class')
  const unsatisfied = gauge('services_unsatisfied', 'Those of them that have no address')
  return ({ pools, services }) => {
    available.reset()
    used.reset()
    for (const each of pools) {
      available.inc({ pool: each.pool }, each.total - each.used)
      used.inc({ pool: each.pool }, each.used)
    }
    matching.set(Object.values(services).reduce((sum, count) => sum + count, 0))
    unsatisfied.set(services['waiting'] ?? 0)
  }
}
