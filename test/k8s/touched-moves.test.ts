/**
 * What waits to be told anew may move meanwhile: Services, their endpoints and the pools change between two flushes of
 * which each translates one, and in the end nobody is left as it was.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import type { Translator, TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import { clusterConfig, peerConfig } from './cilium-v2.ts'
import { flushAll, node, translatorWith } from './manifests.ts'

/** How an object is now; undefined: there is none. */
type Move = readonly [key: ObjectKey, object: RawObject | undefined]

const teams = ['blue', 'green'] as const
const names = ['s0', 's1', 's2', 's3'] as const

function move(apiVersion: string, kind: string, name: string, object: RawObject | undefined): Move {
  const namespace = kind === 'Service' || kind === 'EndpointSlice' ? 'default' : ''
  const { metadata, ...rest } = object ?? {}
  const made = {
    apiVersion,
    kind,
    metadata: { name, ...(namespace ? { namespace } : {}), ...(metadata ?? {}) },
    ...rest,
  }
  return [{ apiVersion, kind, namespace, name }, object === undefined ? undefined : made]
}

const serviceMove = fc
  .record({
    index: fc.nat({ max: names.length - 1 }),
    isGone: fc.constantFrom(false, false, false, true),
    team: fc.constantFrom(...teams),
    addresses: fc.constantFrom(['198.51.100.1'], ['198.51.100.2'], ['198.51.100.9'], ['198.51.100.1', '198.51.100.9']),
    ports: fc.subarray([80, 81], { minLength: 1 }),
    held: fc.option(fc.subarray([80, 81]), { nil: undefined }),
    isSharing: fc.boolean(),
    policy: fc.constantFrom('Cluster', 'Local'),
    type: fc.constantFrom('LoadBalancer', 'LoadBalancer', 'LoadBalancer', 'ClusterIP'),
    externalIPs: fc.constantFrom([], [], [], [], ['203.0.113.7'], ['198.51.100.1']),
  })
  .map(({ index, isGone, team, addresses, ports, held, isSharing, policy, type, externalIPs }): Move => {
    const list = (held ?? []).map((port) => `${port}/TCP`).join(' ') || 'none'
    const message = `${list} of ${addresses.join(', ')}; shared as ["k",["*"],"Cluster"]`
    const object = {
      metadata: {
        labels: { team },
        annotations: isSharing ? { 'metallb.io/allow-shared-ip': 'k' } : {},
        creationTimestamp: `2026-01-0${(index % 2) + 1}T00:00:00Z`,
      },
      spec: {
        type,
        externalIPs,
        clusterIP: `10.96.0.${index + 1}`,
        externalTrafficPolicy: policy,
        ports: ports.map((port) => ({ port, name: `p${port}` })),
      },
      status: {
        loadBalancer: { ingress: addresses.map((ip) => ({ ip })) },
        conditions: held === undefined ? [] : [{ type: 'herald.dev/PortsHeld', message }],
      },
    }
    return move('v1', 'Service', names[index] ?? '', isGone ? undefined : object)
  })

const sliceMove = fc
  .record({
    name: fc.constantFrom(...names),
    isGone: fc.constantFrom(false, false, true),
    nodeName: fc.constantFrom('node-a', 'node-b'),
    ports: fc.subarray([80, 81], { minLength: 1 }),
  })
  .map(({ name, isGone, nodeName, ports }): Move => {
    const object = {
      metadata: { labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.244.1.5'], nodeName, conditions: { ready: true } }],
      ports: ports.map((port) => ({ name: `p${port}`, port: port + 8000 })),
    }
    return move('discovery.k8s.io/v1', 'EndpointSlice', name, isGone ? undefined : object)
  })

const poolMove = fc
  .record({
    cidr: fc.constantFrom('198.51.100.0/28', '198.51.100.0/28', '198.51.100.0/30'),
    tier: fc.constantFrom('gold', 'lead'),
    disabled: fc.constantFrom(false, false, true),
  })
  .map(
    ({ cidr, tier, disabled }): Move =>
      move('cilium.io/v2', 'CiliumLoadBalancerIPPool', 'pool', {
        metadata: { labels: { tier } },
        spec: { blocks: [{ cidr }], disabled },
      }),
  )

const selected = fc.constantFrom<RawObject>({}, ...teams.map((team) => ({ matchLabels: { team } })))

const advertisementMove = fc
  .record({
    name: fc.constantFrom(...teams),
    isGone: fc.constantFrom(false, false, false, true),
    selector: selected,
    community: fc.constantFrom('65001:1', '65001:2'),
    aggregate: fc.constantFrom({}, {}, { aggregationLengthIPv4: 28 }),
    addresses: fc.constantFrom(...Array(8).fill(['LoadBalancerIP']), ['LoadBalancerIP', 'ExternalIP'], ['ClusterIP']),
  })
  .map(({ name, isGone, selector, community, aggregate, addresses }): Move => {
    const entry = {
      advertisementType: 'Service',
      service: { addresses, ...aggregate },
      selector,
      attributes: { communities: { standard: [community] } },
    }
    const object = { metadata: { labels: { advertise: 'bgp' } }, spec: { advertisements: [entry] } }
    return move('cilium.io/v2', 'CiliumBGPAdvertisement', name, isGone ? undefined : object)
  })

const excluded = 'node.kubernetes.io/exclude-from-external-load-balancers'

const nodeMove = fc
  .record({
    labels: fc.constantFrom({}, {}, { [excluded]: '' }, { rack: '7' }),
    annotations: fc.constantFrom({}, { 'herald.dev/neighbors': '{"192.168.1.1": {"med": 7}}' }),
    address: fc.constantFrom('192.168.1.10', '198.51.100.2'),
  })
  .map(
    ({ labels, annotations, address }): Move =>
      move('v1', 'Node', 'node-a', {
        metadata: { labels: { 'kubernetes.io/os': 'linux', ...labels }, annotations },
        spec: { podCIDR: '10.244.1.0/24' },
        status: { addresses: [{ type: 'InternalIP', address }] },
      }),
  )

const moves = fc.oneof(
  { weight: 4, arbitrary: serviceMove },
  { weight: 2, arbitrary: sliceMove },
  { weight: 1, arbitrary: poolMove },
  { weight: 4, arbitrary: advertisementMove },
  { weight: 1, arbitrary: nodeMove },
)
const step = fc.record({ moves: fc.array(moves, { minLength: 1, maxLength: 3 }), flushes: fc.nat({ max: 3 }) })

const base = clusterConfig() + peerConfig() + node

/** Each plain, served here, and selected. */
const beginning: readonly Move[] = [
  move('cilium.io/v2', 'CiliumLoadBalancerIPPool', 'pool', { spec: { blocks: [{ cidr: '198.51.100.0/28' }] } }),
  ...names.flatMap((name, index) => [
    move('v1', 'Service', name, {
      metadata: { labels: { team: teams[index % 2] }, creationTimestamp: '2026-01-01T00:00:00Z' },
      spec: { type: 'LoadBalancer', clusterIP: `10.96.0.${index + 1}`, ports: [{ port: 80, name: 'p80' }] },
      status: { loadBalancer: { ingress: [{ ip: `198.51.100.${index + 1}` }] } },
    }),
    move('discovery.k8s.io/v1', 'EndpointSlice', name, {
      metadata: { labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.244.1.5'], nodeName: 'node-a', conditions: { ready: true } }],
      ports: [{ name: 'p80', port: 8080 }],
    }),
  ]),
  ...teams.map((team) =>
    move('cilium.io/v2', 'CiliumBGPAdvertisement', team, {
      metadata: { labels: { advertise: 'bgp' } },
      spec: {
        advertisements: [{ advertisementType: 'Service', service: { addresses: ['LoadBalancerIP'] }, selector: {} }],
      },
    }),
  ),
]

function make(translator: Translator, [key, object]: Move): void {
  if (object === undefined) translator.remove(key)
  else translator.upsert(key, object, undefined)
}

function take(state: Map<string, DesiredService>, { services }: ReturnType<Translator['flush']>): void {
  for (const [key, now] of services)
    if (now === undefined) state.delete(key)
    else state.set(key, now)
}

const inOrder = (state: ReadonlyMap<string, DesiredService>): readonly unknown[] =>
  [...state].sort(([a], [b]) => (a < b ? -1 : 1))

function check(
  history: readonly { readonly moves: readonly Move[]; readonly flushes: number }[],
  more: Partial<TranslatorOptions>,
): void {
  let nowMs = 0
  // Each look at the clock is the end of a turn.
  const translator = translatorWith(base, { ...more, isAllocatedElsewhere: true, nowMs: () => (nowMs += 10) })
  const state = new Map<string, DesiredService>()
  const world = new Map<string, Move>()
  for (const each of beginning) {
    make(translator, each)
    world.set(JSON.stringify(each[0]), each)
  }
  take(state, flushAll(translator))
  for (const { moves: some, flushes } of history) {
    for (const each of some) {
      make(translator, each)
      world.set(JSON.stringify(each[0]), each)
    }
    for (let left = flushes; left > 0; left--) take(state, translator.flush())
  }
  take(state, flushAll(translator))
  const fresh = translatorWith(base, { ...more, isAllocatedElsewhere: true })
  for (const each of world.values()) make(fresh, each)
  const expected = new Map<string, DesiredService>()
  take(expected, flushAll(fresh))
  assert.deepEqual(inOrder(state), inOrder(expected))
}

test('whatever moves while Services wait to be told, in the end they are what a fresh translation makes of it', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 6 }), fc.constantFrom('ebpf', 'none'), (history, datapath) =>
      check(history, { datapath }),
    ),
    { numRuns: 150 },
  )
})
