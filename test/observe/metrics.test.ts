/** What Prometheus reads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AgentViews, PeerView, ServiceView } from '../../src/api/types.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { createOperatorMetrics, type OperatorMetrics } from '../../src/observe/operator-metrics.ts'
import { Growth } from '../../src/observe/metrics/growth.ts'
import { maxBackendsWithSeries } from '../../src/observe/metrics/backends.ts'
import { maxServicesWithSeries } from '../../src/observe/metrics/services.ts'
import { ledStatus, memoryViews, pageOf, peers, services } from '../api/memory-views.ts'
import { type Family, parseExposition, value } from './exposition.ts'

const failures = new Map([['attach', 2]])
const figures = { count: 3, errors: 1, lastMs: 12, lostLogLines: 0, failures }

/** Scrapes views that the test changes between scrapes. */
function scraper(views: Partial<AgentViews> = {}): (changed?: Partial<AgentViews>) => Promise<Map<string, Family>> {
  const answer = createMetrics(() => figures)
  return async (changed = {}) => parseExposition(await answer({ ...memoryViews(), ...views, ...changed }))
}

test('the text is well-formed, hostile label values included, and _total means counter', async () => {
  const families = await scraper()()
  for (const { name, type, samples } of families.values()) {
    assert.equal(type, name.endsWith('_total') ? 'counter' : 'gauge', name)
    assert.ok(
      samples.every((sample) => Number.isFinite(sample.value)),
      name,
    )
  }
  assert.equal(value(families, 'herald_datapath_packets_total', { reason: 'no "such"\\port' }), 1)
})

test('failures of the node are counted by what fails, and only grow', async () => {
  const answer = createMetrics(() => figures)
  const scrape = async (what: string): Promise<number | undefined> =>
    value(parseExposition(await answer(memoryViews())), 'herald_failures_total', { what })
  assert.equal(await scrape('attach'), 2)
  assert.equal(await scrape('attach'), 2)
  failures.set('attach', 5).set('remove', 1)
  assert.deepEqual([await scrape('attach'), await scrape('remove')], [5, 1])
})

test("Cilium's names carry Cilium's labels: vrouter, neighbor as address:port, neighbor_asn, afi, safi", async () => {
  const families = await scraper()()
  assert.deepEqual(
    families.get('cilium_bgp_control_plane_session_state')?.samples.map(({ labels, value }) => ({ labels, value })),
    [
      { labels: { vrouter: '65001', neighbor: '192.0.2.1:179', neighbor_asn: '65000' }, value: 1 },
      { labels: { vrouter: '65001', neighbor: '[2001:db8::2]:1179', neighbor_asn: '4200000000' }, value: 0 },
    ],
  )
  assert.equal(
    value(families, 'cilium_bgp_control_plane_advertised_routes', {
      neighbor: '192.0.2.1:179',
      afi: 'ipv6',
      safi: 'unicast',
    }),
    2,
  )
  assert.equal(
    value(families, 'cilium_bgp_control_plane_received_routes', {
      neighbor: '192.0.2.1:179',
      afi: 'ipv4',
      safi: 'unicast',
    }),
    1,
  )
})

test('a session is shown by state, uptime, timers, flaps and the code of its last error', async () => {
  const families = await scraper()()
  const lost = { neighbor: '2001:db8::2' }
  assert.deepEqual(
    ['session_up', 'session_fsm_state', 'session_uptime_seconds', 'last_error_code', 'session_flaps_total'].map(
      (name) => value(families, `herald_bgp_${name}`, lost),
    ),
    [0, 2, 0, 6, 7],
  )
  const up = { neighbor: '192.0.2.1' }
  assert.deepEqual(
    ['session_up', 'session_fsm_state', 'session_uptime_seconds', 'hold_time_seconds', 'keepalive_seconds'].map(
      (name) => value(families, `herald_bgp_${name}`, up),
    ),
    [1, 5, 125, 9, 3],
  )
})

test('counters go on over a new connection, and the series of a peer that left go', async () => {
  const scrape = scraper()
  const [first, second] = peers
  assert.ok(first && second)
  const withMessages = (messagesIn: number): readonly PeerView[] => [{ ...first, messagesIn }, second]
  const read = async (messagesIn: number): Promise<number | undefined> =>
    value(await scrape({ peers: async () => withMessages(messagesIn) }), 'herald_bgp_messages_received_total', {
      neighbor: '192.0.2.1',
    })
  assert.deepEqual([await read(40), await read(50), await read(5), await read(5), await read(6)], [40, 50, 55, 55, 56])
  const left = await scrape({ peers: async () => [second] })
  for (const family of left.values())
    assert.ok(
      family.samples.every(({ labels }) => labels['neighbor']?.startsWith('192.0.2.1') !== true),
      family.name,
    )
})

test('a Service that is deleted takes its series along and nothing from the totals', async () => {
  const scrape = scraper()
  assert.equal(value(await scrape(), 'herald_services_packets_total', { direction: 'in' }), 1200)
  const without = await scrape({ services: async () => ({ items: services.slice(1) }) })
  assert.equal(value(without, 'herald_services_packets_total', { direction: 'in' }), 1200)
  assert.equal(value(without, 'herald_service_packets_total', { service: 'default/web' }), undefined)
})

test(`at most ${maxServicesWithSeries} Services have series of their own; all are in the totals`, async () => {
  const [web] = services
  assert.ok(web)
  const many: ServiceView[] = Array.from({ length: maxServicesWithSeries + 5 }, (_, i) => ({
    ...web,
    service: `default/s${String(i).padStart(5, '0')}`,
    frontends: web.frontends.map((frontend) => ({ ...frontend, id: `${i}` })),
  }))
  const families = await scraper({ services: async (page) => pageOf(many, page) })()
  assert.equal(families.get('herald_service_connections_total')?.samples.length, maxServicesWithSeries)
  assert.equal(value(families, 'herald_services_without_series'), 5)
  assert.equal(value(families, 'herald_services_connections_total'), 200 * many.length)
})

const noCounts = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0, newConnections: 0 }

/** A Service with one port and these backends, each with as many packets as it says. */
function serviceOf(name: string, backends: readonly (readonly [address: string, packetsIn: number])[]): ServiceView {
  const [web] = services
  assert.ok(web)
  return {
    ...web,
    service: `default/${name}`,
    frontends: web.frontends.map((frontend) => ({
      ...frontend,
      id: name,
      backends: backends.map(([address, packetsIn]) => ({
        ...{ address, port: 53, state: 'active' as const },
        ...noCounts,
        packetsIn,
      })),
    })),
  }
}

test('a backend is counted with its Service, once whatever Services have it, and its series goes with it', async () => {
  const scrape = scraper()
  const scraped = (...all: readonly ServiceView[]): Promise<Map<string, Family>> =>
    scrape({ services: async (page) => pageOf(all, page) })
  const series = (families: Map<string, Family>): readonly unknown[] =>
    families
      .get('herald_backend_packets_total')
      ?.samples.filter(({ labels }) => labels['direction'] === 'in')
      .map(({ labels, value }) => [labels['service'], labels['backend'], value]) ?? []
  const both = await scraped(
    serviceOf('a', [['10.1.0.1', 5]]),
    serviceOf('b', [
      ['10.1.0.1', 5],
      ['fd00::2', 7],
    ]),
  )
  assert.deepEqual(series(both), [
    ['default/a', '10.1.0.1:53/TCP', 5],
    ['default/b', '[fd00::2]:53/TCP', 7],
  ])
  const later = await scraped(serviceOf('b', [['10.1.0.1', 6]]))
  assert.deepEqual(series(later), [['default/b', '10.1.0.1:53/TCP', 1]], 'one that moves counts what came since')
  assert.deepEqual(series(await scraped()), [])
})

test('a backend that is not counted has no series', async () => {
  const families = await scraper()()
  assert.deepEqual(
    families.get('herald_backend_connections_total')?.samples.map(({ labels, value }) => [labels['backend'], value]),
    [['10.1.1.5:8080/TCP', 200]],
  )
})

test('backends beyond the limit have no series of their own, and are said to have none', async () => {
  const backends = Array.from({ length: 400 }, (_, i) => [`10.1.${i >> 8}.${i & 255}`, 1] as const)
  const more = backends.map(([address, count]) => [address.replace('10.1', '10.2'), count] as const)
  const most = backends.map(([address, count]) => [address.replace('10.1', '10.3'), count] as const)
  const all = [serviceOf('a', backends), serviceOf('b', more), serviceOf('c', most), serviceOf('d', most)]
  const families = await scraper({ services: async (page) => pageOf(all, page) })()
  assert.equal(families.get('herald_backend_connections_total')?.samples.length, maxBackendsWithSeries)
  assert.equal(families.get('herald_backend_bytes_total')?.samples.length, 3 * maxBackendsWithSeries)
  assert.equal(value(families, 'herald_backends_without_series'), 1_200 - maxBackendsWithSeries)
})

test('peers that have one address each have their series: by interface, by port, before a router is found', async () => {
  const [first] = peers
  assert.ok(first)
  const at = (id: string, changed: Partial<PeerView>): PeerView => ({ ...first, id: `65001/${id}`, ...changed })
  const unnumbered = ['eth0', 'eth1'].map((name) => at(`::%${name}`, { peerAddress: `::%${name}` }))
  const linkLocal = ['eth0', 'eth1'].map((name) => at(`fe80::1%${name}`, { peerAddress: `fe80::1%${name}` }))
  const ports = [at('192.0.2.1', {}), at('192.0.2.1:1790', { peerPort: 1790 })]
  const all = [...unnumbered, ...linkLocal, ...ports]
  const scrape = scraper()
  const families = await scrape({ peers: async () => all })
  const labelled = (name: string): readonly unknown[] =>
    families.get(name)?.samples.map(({ labels }) => labels['neighbor']) ?? []
  assert.deepEqual(
    labelled('herald_bgp_session_up'),
    all.map(({ id }) => id.slice(6)),
  )
  assert.equal(new Set(labelled('cilium_bgp_control_plane_session_state')).size, all.length)
  // The router of an unnumbered one is found: its counters go on.
  const found = all.map((peer) => (peer.id.endsWith('::%eth1') ? { ...peer, peerAddress: 'fe80::9%eth1' } : peer))
  const later = await scrape({ peers: async () => found })
  assert.equal(value(later, 'herald_bgp_messages_received_total', { neighbor: '::%eth1' }), 40)
})

test('names and reasons of any text come out of the exposition as they went in', async () => {
  const [web] = services
  assert.ok(web)
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.string({ unit: fc.constantFrom('a', '"', '\\', '\n', '{', '}', ',', '=', 'é', ' ') }), {
        maxLength: 6,
      }),
      async (names) => {
        const hostile = names.map((name) => ({ ...web, service: name, frontends: [] }))
        const families = await scraper({ services: async (page) => pageOf(hostile, page) })()
        assert.deepEqual(
          families.get('herald_service_connections_total')?.samples.map(({ labels }) => labels['service']),
          names,
        )
      },
    ),
    { numRuns: 60 },
  )
})

test('growth over any history of readings is all that came, whole rounds or cut ones', () => {
  const round = fc.record(
    { restarts: fc.boolean(), more: fc.nat(1_000), isCut: fc.boolean() },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(fc.array(round, { maxLength: 20 }), (rounds) => {
      const growth = new Growth()
      let [reading, came, shown] = [0, 0, 0]
      for (const { restarts, more, isCut } of rounds) {
        // A source that starts again and is beyond its old reading at once cannot be told from one that goes on.
        reading = restarts && more < reading ? more : reading + more
        came += more
        shown += growth.of('a', reading)
        assert.equal(shown, came)
        if (isCut) growth.cut()
        else growth.next()
      }
    }),
  )
})

test('a scrape that is cut among the Services counts nothing twice and loses nothing', async () => {
  const [web] = services
  assert.ok(web)
  const many: ServiceView[] = Array.from({ length: 450 }, (_, i) => ({
    ...web,
    service: `default/s${String(i).padStart(3, '0')}`,
    frontends: web.frontends.map((frontend) => ({ ...frontend, id: `${i}`, packetsIn: 10 })),
  }))
  const answer = createMetrics(() => figures)
  const failing = (pages: number): AgentViews => {
    let asked = 0
    return {
      ...memoryViews(),
      services: async (page) => {
        if (asked++ === pages) throw new TypeError('gone')
        return pageOf(many, page)
      },
    }
  }
  for (const pages of [0, 1, 2]) await assert.rejects(answer(failing(pages)), /gone/)
  const families = parseExposition(await answer(failing(99)))
  assert.equal(value(families, 'herald_services_packets_total', { direction: 'in' }), 10 * many.length)
  assert.equal(families.get('herald_service_connections_total')?.samples.length, many.length)
})

test('scrapers at the same time share one look', async () => {
  let looks = 0
  const answer = createMetrics(() => figures)
  const views: AgentViews = {
    ...memoryViews(),
    peers: async () => {
      looks++
      return peers
    },
  }
  const [a, b] = await Promise.all([answer(views), answer(views)])
  assert.equal(a, b)
  assert.equal(looks, 1)
  await answer(views)
  assert.equal(looks, 2)
})

test('a scrape that failed does not fail the next one', async () => {
  const answer = createMetrics(() => figures)
  await assert.rejects(
    answer({ ...memoryViews(), status: () => Promise.reject(new TypeError('no status')) }),
    /no status/,
  )
  parseExposition(await answer(memoryViews()))
})

test('growth: a reading that fell started again at zero, one that was missed started new', () => {
  const growth = new Growth()
  const round = (...readings: [string, number][]): number[] => {
    const grown = readings.map(([id, reading]) => growth.of(id, reading))
    growth.next()
    return grown
  }
  assert.deepEqual(
    [round(['a', 5], ['b', 1]), round(['a', 7]), round(['a', 2], ['b', 1]), round(['a', 2])],
    [[5, 1], [2], [2, 1], [0]],
  )
})

test("MetalLB's names are there where they are asked for, with its labels, and Services in number bounded", async () => {
  assert.equal([...(await scraper()()).keys()].filter((name) => name.startsWith('metallb_')).length, 0)
  let sessions: readonly PeerView[] = peers
  let all: readonly ServiceView[] = services.map((each) => ({ ...each, state: 'Announced' }))
  const answer = createMetrics(() => figures, true)
  const scrape = async (): Promise<ReadonlyMap<string, Family>> =>
    parseExposition(
      await answer({ ...memoryViews(), peers: async () => sessions, services: async (from) => pageOf(all, from) }),
    )
  let families = await scrape()
  const samplesOf = (name: string): readonly (readonly [string | undefined, number])[] =>
    (families.get(name)?.samples ?? []).map(({ labels: { peer }, value: of }) => [peer, of])
  assert.deepEqual(samplesOf('metallb_bgp_session_up'), [
    ['192.0.2.1:179', 1],
    ['[2001:db8::2]:1179', 0],
  ])
  assert.equal(value(families, 'metallb_bgp_announced_prefixes_total', { peer: '192.0.2.1:179' }), 5)
  assert.equal(value(families, 'metallb_bgp_total_sent', { peer: '192.0.2.1:179' }), 42)
  const [service] = all
  assert.ok(service !== undefined)
  const labels = { service: service.service, protocol: 'bgp', node: 'node1', ip: service.addresses[0] ?? '' }
  assert.equal(value(families, 'metallb_speaker_announced', labels), 1)
  assert.equal(value(families, 'metallb_k8s_client_updates_total'), 3)
  assert.equal(value(families, 'metallb_k8s_client_config_loaded_bool'), 1)
  // Counters go on, a peer that left is gone, and so is a Service that is not announced.
  const before = value(families, 'metallb_bgp_updates_total', { peer: '192.0.2.1:179' })
  assert.equal(before, peers[0]?.updatesOut)
  sessions = peers.slice(0, 1).map((peer) => ({ ...peer, messagesOut: 50, updatesOut: 40, updatesIn: 9 }))
  all = services.map((each) => ({ ...each, state: 'Programmed' }))
  families = await scrape()
  assert.deepEqual(samplesOf('metallb_bgp_total_sent'), [['192.0.2.1:179', 50]])
  assert.deepEqual(samplesOf('metallb_bgp_updates_total'), [['192.0.2.1:179', 40]])
  assert.deepEqual(samplesOf('metallb_bgp_updates_total_received'), [['192.0.2.1:179', 9]])
  assert.deepEqual(families.get('metallb_speaker_announced')?.samples, [])
  all = Array.from({ length: 2_500 }, (_, index) => ({ ...service, service: `default/s${index}` }))
  families = await scrape()
  assert.equal(families.get('metallb_speaker_announced')?.samples.length, 1_000 * service.addresses.length)
})

test('UPDATEs are counted apart from other messages, and go on over connections', async () => {
  const [first] = peers
  assert.ok(first !== undefined)
  const scrape = scraper()
  const read = async (updatesIn: number, updatesOut: number): Promise<readonly (number | undefined)[]> => {
    const families = await scrape({ peers: async () => [{ ...first, updatesIn, updatesOut }] })
    return ['received', 'sent'].map((way) =>
      value(families, `herald_bgp_updates_${way}_total`, { neighbor: '192.0.2.1' }),
    )
  }
  assert.deepEqual(await read(3, 5), [3, 5])
  assert.deepEqual(await read(4, 5), [4, 5])
  // Another connection.
  assert.deepEqual(await read(1, 2), [5, 7])
})

test("an operator counts addresses and Services under Cilium's names where they are asked for", async () => {
  const figuresOf = (used: number): OperatorMetrics => ({
    ...{ version: '0', isLeader: true, isSynced: true, problems: {}, notAccepted: 0, broken: 0, outcomes: {} },
    services: { allocated: 4, waiting: 2, owned: 1 },
    pools: [
      { pool: 'blue', family: 'ipv4', total: 16, used },
      { pool: 'blue', family: 'ipv6', total: 4, used: 1 },
      { pool: 'red', family: 'ipv4', total: 1, used: 1 },
    ],
    ...{ waiting: {}, inFlight: 0, unreadableKinds: [], droppedEvents: 0, lostLogLines: 0 },
  })
  const answer = createOperatorMetrics(true)
  for (const used of [3, 5]) {
    const families = parseExposition(await answer(figuresOf(used)))
    const of = (what: string, labels = {}): number | undefined =>
      value(families, `cilium_operator_lbipam_${what}`, labels)
    assert.deepEqual([of('ips_used', { pool: 'blue' }), of('ips_available', { pool: 'blue' })], [used + 1, 19 - used])
    assert.deepEqual([of('ips_used', { pool: 'red' }), of('ips_available', { pool: 'red' })], [1, 0])
    assert.deepEqual([of('services_matching'), of('services_unsatisfied')], [7, 2])
  }
  const without = parseExposition(await createOperatorMetrics()(figuresOf(3)))
  assert.deepEqual(
    [...without.keys()].filter((name) => name.startsWith('cilium_')),
    [],
  )
})

test("an operator counts addresses of a pool under MetalLB's names, of both families and of each", async () => {
  // What has no effect here is accepted by nobody, and nothing older is in force for it.
  const figuresOf = (broken: number): OperatorMetrics => ({
    ...{ version: '0', isLeader: true, isSynced: true, services: {}, problems: {}, notAccepted: 3, broken },
    pools: [
      { pool: 'blue', family: 'ipv4', total: 16, used: 3 },
      { pool: 'blue', family: 'ipv6', total: 4, used: 1 },
    ],
    outcomes: { service: { written: 7, refused: 1, failed: 1 }, pool: { failed: 9 } },
    ...{ waiting: {}, inFlight: 0, unreadableKinds: [], droppedEvents: 0, lostLogLines: 0 },
  })
  const answer = createOperatorMetrics(true)
  let families = parseExposition(await answer(figuresOf(0)))
  const ofPool = (name: string): number | undefined => value(families, `metallb_allocator_${name}`, { pool: 'blue' })
  assert.deepEqual(
    ['', 'ipv4_', 'ipv6_'].map((part) => [ofPool(`${part}addresses_total`), ofPool(`${part}addresses_in_use_total`)]),
    [
      [20, 4],
      [16, 3],
      [4, 1],
    ],
  )
  assert.equal(value(families, 'metallb_k8s_client_updates_total'), 9)
  assert.equal(value(families, 'metallb_k8s_client_update_errors_total'), 2)
  assert.equal(value(families, 'metallb_k8s_client_config_stale_bool'), 0)
  families = parseExposition(await answer(figuresOf(1)))
  assert.equal(ofPool('addresses_total'), 20)
  assert.equal(value(families, 'metallb_k8s_client_config_stale_bool'), 1)
  assert.equal(
    parseExposition(await createOperatorMetrics()(figuresOf(0))).has('metallb_allocator_addresses_total'),
    false,
  )
})

test('BFD sessions have series of their own, those that left have none, and counters go on over sessions', async () => {
  const answer = createMetrics(() => figures, true)
  const [first, ...others] = peers
  const { bfd } = first ?? {}
  assert.ok(first !== undefined && bfd !== undefined)
  const scrape = async (more: Partial<typeof bfd> | undefined): Promise<ReadonlyMap<string, Family>> => {
    const { bfd: _bfd, ...without } = first
    const changed = more === undefined ? without : { ...first, bfd: { ...bfd, ...more } }
    return parseExposition(await answer({ ...memoryViews(), peers: async () => [changed, ...others] }))
  }
  const ours = { vrouter: '65001', neighbor: '192.0.2.1', neighbor_asn: '65000' }
  let families = await scrape({})
  assert.equal(families.get('herald_bfd_session_up')?.samples.length, 1, 'the other peer is not watched')
  assert.equal(value(families, 'herald_bfd_session_up', ours), 1)
  assert.equal(value(families, 'herald_bfd_detection_time_seconds', ours), 0.3)
  assert.equal(value(families, 'metallb_bfd_session_up', { peer: '192.0.2.1' }), 1)
  assert.equal(value(families, 'herald_bfd_dropped_packets_total', { cause: 'noSession' }), 3)
  families = await scrape({ id: 9, packetsIn: 10, downEvents: 1, status: 'down' })
  assert.equal(value(families, 'herald_bfd_session_up', ours), 0)
  assert.equal(value(families, 'herald_bfd_control_packets_received_total', ours), 1_210)
  assert.equal(value(families, 'metallb_bfd_session_down_events', { peer: '192.0.2.1' }), 2)
  assert.equal(value(families, 'herald_bfd_dropped_packets_total', { cause: 'noSession' }), 3)
  families = await scrape(undefined)
  for (const name of [
    'herald_bfd_session_up',
    'herald_bfd_control_packets_sent_total',
    'metallb_bfd_control_packet_input',
  ])
    assert.deepEqual(families.get(name)?.samples, [], name)
})

test('what became of sockets of the node is counted by result, with the fill of their maps', async () => {
  const figures = { count: 0, errors: 0, lastMs: 0, lostLogLines: 0, failures: new Map<string, number>() }
  const scrape = createMetrics(() => figures)
  const of = async (status: typeof ledStatus): Promise<readonly string[]> =>
    (await scrape({ ...memoryViews(), status: () => Promise.resolve(status) }))
      .split('\n')
      .filter((line) => line.startsWith('herald_socket_lb'))
  const map = 'herald_socket_lb_map'
  const counted = (translated: number): readonly string[] => [
    `herald_socket_lb_total{result="translated"} ${translated}`,
    'herald_socket_lb_total{result="refused"} 2',
    'herald_socket_lb_total{result="unrecorded"} 0',
    'herald_socket_lb_ended_total 3',
    'herald_socket_lb_frontends 12',
    'herald_socket_lb_done 0',
    `${map}_entries{map="socket_frontends"} 12`,
    `${map}_max_entries{map="socket_frontends"} 65536`,
  ]
  assert.deepEqual(await of(ledStatus), counted(7))
  const { socketLb } = ledStatus
  assert.ok(socketLb?.counts)
  const later = { ...ledStatus, socketLb: { ...socketLb, counts: { ...socketLb.counts, translated: 9 } } }
  assert.deepEqual(await of(later), counted(9))
  const { socketLb: _, ...without } = ledStatus
  assert.deepEqual((await of(without)).slice(4, 6), ['herald_socket_lb_frontends 0', 'herald_socket_lb_done 1'])
})
