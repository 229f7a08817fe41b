/** Metrics over any history of what is measured: what counts never falls, whole Services count, names are kept. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type AgentViews,
  type PeerView,
  serviceSchema,
  type ServiceView,
  type StatusView,
} from '../../src/api/types.ts'
import { createMetrics } from '../../src/observe/metrics.ts'
import { maxServicesWithSeries } from '../../src/observe/metrics/services.ts'
import { ledStatus, memoryViews, pageOf, peers, services } from '../api/memory-views.ts'
import { type Family, parseExposition, type Sample, value } from './exposition.ts'

const given = <T>(value: T | undefined): T => value ?? assert.fail('the views have one')
const peer = given(peers[0])
const bfd = given(peer.bfd)
const web = given(services[0])
const frontend = given(web.frontends[0])
const figures = { count: 3, errors: 1, lastMs: 12, lostLogLines: 0, failures: new Map([['attach', 2]]) }

function scraper(hasAliases = false): (views: Partial<AgentViews>) => Promise<ReadonlyMap<string, Family>> {
  const answer = createMetrics(() => figures, hasAliases)
  return async (views) => parseExposition(await answer({ ...memoryViews(), ...views }))
}

const withServices = (all: readonly ServiceView[]): Partial<AgentViews> => ({
  services: async (page) => pageOf(all, page),
})

/** A moment of a node: who is there, and what each counter says since it was last begun anew. */
const count = fc.nat(1_000)
const moment = fc.record(
  {
    peers: fc.uniqueArray(fc.record({ at: fc.nat(2), messages: count, bfdId: fc.option(fc.nat(2)) }), {
      selector: ({ at }) => at,
      maxLength: 3,
    }),
    services: fc.uniqueArray(fc.record({ at: fc.nat(3), packets: count }), { selector: ({ at }) => at, maxLength: 4 }),
    packets: count,
    asked: fc.option(count),
  },
  { noNullPrototype: true },
)
type Moment = typeof moment extends fc.Arbitrary<infer T> ? T : never

function viewsOf({ peers: there, services: held, packets, asked }: Moment): Partial<AgentViews> {
  const sessions = there.map(({ at, messages, bfdId }): PeerView => {
    const { bfd: _, ...rest } = peer
    const watched = bfdId === null ? {} : { bfd: { ...bfd, id: bfdId, packetsIn: messages, downEvents: messages } }
    return { ...rest, ...watched, id: `65001/192.0.2.${at}`, peerAddress: `192.0.2.${at}`, messagesIn: messages }
  })
  const { socketLb, ...unled } = ledStatus
  const { counts, ...how } = given(socketLb)
  const told = asked === null ? {} : { counts: { ...given(counts), translated: asked } }
  const led = { socketLb: { ...how, ...told } }
  const datapath = { ...unled.datapath, reasons: { no_backend: packets } }
  const status: StatusView = { ...unled, ...led, datapath }
  const all = held.map(({ at, packets: packetsIn }) => ({
    ...web,
    service: `default/s${at}`,
    frontends: [{ ...frontend, id: String(at), packetsIn, backends: [] }],
  }))
  all.sort((a, b) => (a.service < b.service ? -1 : 1))
  return { peers: async () => sessions, status: async () => status, ...withServices(all) }
}

const counted = (families: ReadonlyMap<string, Family>): ReadonlyMap<string, Sample> =>
  new Map(
    [...families.values()]
      .filter(({ type }) => type === 'counter')
      .flatMap(({ samples }) => samples)
      .map((sample) => [JSON.stringify([sample.name, ...Object.entries(sample.labels).sort()]), sample]),
  )

test('a counter that is there in two scrapes one after the other has not fallen, whatever came, went or began anew', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(moment, { minLength: 2, maxLength: 8 }), async (moments) => {
      const scrape = scraper(true)
      let before: ReadonlyMap<string, Sample> = new Map()
      for (const each of moments) {
        const now = counted(await scrape(viewsOf(each)))
        for (const [series, sample] of now) {
          assert.ok(Number.isFinite(sample.value), series)
          assert.ok(sample.value >= (before.get(series)?.value ?? 0), `${series} fell`)
        }
        before = now
      }
    }),
    { numRuns: 40 },
  )
})

test('where nothing moves no counter does, however often it is scraped', async () => {
  const scrape = scraper(true)
  const idle: Moment = {
    peers: [0, 1].map((at) => ({ at, messages: 7, bfdId: at })),
    services: [0, 1, 2].map((at) => ({ at, packets: 9 })),
    ...{ packets: 3, asked: 5 },
  }
  // The process itself goes on.
  const still = async (): Promise<readonly unknown[]> =>
    [...counted(await scrape(viewsOf(idle)))].filter(([series]) => !series.includes('process_cpu'))
  const first = await still()
  for (let i = 0; i < 3; i++) assert.deepEqual(await still(), first)
})

test('what is not told for a moment is not counted once more when it is told again', async () => {
  const scrape = scraper()
  const read = async (asked: number | null): Promise<number | undefined> => {
    const families = await scrape(viewsOf({ peers: [], services: [], packets: 0, asked }))
    return value(families, 'herald_socket_lb_total', { result: 'translated' })
  }
  assert.deepEqual([await read(null), await read(5), await read(null)], [undefined, 5, 5])
  assert.deepEqual([await read(5), await read(null), await read(7)], [5, 5, 7])
})

test('each state that a Service may have is a series, 0 where none has it', async () => {
  const scrape = scraper()
  const states = serviceSchema.shape.state.options
  const seen = async (all: readonly ServiceView[]): Promise<unknown> =>
    (await scrape(withServices(all)))
      .get('herald_services')
      ?.samples.map(({ labels, value: of }) => [labels['state'], of])
  const all = states.map((state, i) => ({ ...web, service: `default/${i}`, state, frontends: [] }))
  assert.deepEqual(
    await seen(all),
    states.map((state) => [state, 1]),
  )
  assert.deepEqual(
    await seen(all.slice(0, 1)),
    states.map((state, i) => [state, i === 0 ? 1 : 0]),
  )
})

test('a Service that comes in several items, over pages, is one Service, with all its traffic in its series', async () => {
  const parts = (name: string, count: number): readonly ServiceView[] =>
    Array.from({ length: count }, (_, i) => ({
      ...web,
      service: name,
      frontends: [{ ...frontend, id: `${name} ${i}`, packetsIn: 10, backends: [] }],
    }))
  const scrape = scraper()
  for (const [total, all] of [
    [2, [...parts('default/a', 3), ...parts('default/b', 1)]],
    // Over the end of a page, and the last one that has series of its own.
    [1, parts('default/a', 450)],
  ] as const) {
    const families = await scrape(withServices(all))
    assert.equal(value(families, 'herald_services', { state: 'Announced' }), total)
    assert.equal(value(families, 'herald_services_without_series'), 0)
  }
  const first = Array.from({ length: maxServicesWithSeries - 1 }, (_, i) => String(i).padStart(4, '0'))
  const many = [...first.flatMap((name) => parts(name, 1)), ...parts('last', 5), ...parts('more', 2)]
  const families = parseExposition(await createMetrics(() => figures)({ ...memoryViews(), ...withServices(many) }))
  assert.equal(value(families, 'herald_service_packets_total', { service: 'last', direction: 'in' }), 50)
  assert.equal(value(families, 'herald_service_packets_total', { service: 'more', direction: 'in' }), undefined)
  assert.equal(value(families, 'herald_services_without_series'), 1)
  assert.equal(value(families, 'herald_services_packets_total', { direction: 'in' }), 10 * (first.length + 7))
})

test('a scrape that is cut in the middle of a Service counts that one again in the next', async () => {
  const scrape = scraper()
  const all = ['a', 'a', 'b'].map((service) => ({ ...web, service, frontends: [] }))
  let asked = 0
  const failing: Partial<AgentViews> = {
    services: async () => {
      if (asked++ > 0) throw new TypeError('gone')
      return { items: all.slice(0, 1), continue: 'a 1' }
    },
  }
  await assert.rejects(scrape(failing), /gone/)
  assert.equal(value(await scrape(withServices(all)), 'herald_services', { state: 'Announced' }), 2)
})

test('an interface may have any name, also one that labels escape, under our names and those of others', async () => {
  const scrape = scraper(true)
  for (const name of ['br_lan', 'eth0.7', 'we"ird', 'back\\slash', 'a\\"b', 'n\\n', '}x', 'é{', 'a,b="c"']) {
    const unnumbered: PeerView = { ...peer, id: `65001/::%${name}`, peerAddress: `fe80::9%${name}` }
    const families = await scrape({ peers: async () => [unnumbered] })
    const labelled = (metric: string, label: string): unknown =>
      families.get(metric)?.samples.map(({ labels }) => labels[label])
    assert.deepEqual(labelled('herald_bgp_session_up', 'neighbor'), [`::%${name}`])
    assert.deepEqual(labelled('herald_bfd_session_up', 'neighbor'), [`::%${name}`])
    assert.deepEqual(labelled('cilium_bgp_control_plane_session_state', 'neighbor'), [`[fe80::9%${name}]:179`])
    assert.deepEqual(labelled('metallb_bgp_session_up', 'peer'), [`[fe80::9%${name}]:179`])
    assert.deepEqual(labelled('metallb_bfd_session_up', 'peer'), [`fe80::9%${name}`])
  }
})
