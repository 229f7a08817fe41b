/**
 * Maps that are too small for what is wanted: what fits is served and announced, what waits gets the room that others
 * leave.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Faults } from '../../src/agent/faults.ts'
import { Order } from '../../src/agent/order.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { createFakeDatapath, type FakeDatapath, type FakeDatapathOptions } from '../../src/datapath/fake.ts'
import { frontendId, type DesiredService } from '../../src/desired/model.ts'

const services = 24
const ample = { addresses: 1024, frontends: 1024, counters: 1024, backends: 1024, tables: 1 << 18 }

type Entries = NonNullable<FakeDatapathOptions['maxEntries']>

/** Two ports and three backends on an address of its own. */
function service(i: number): DesiredService {
  const [key, address] = [`default/s${i}`, `10.0.0.${i}`]
  const backends = [1, 2, 3].map((j) => ({ address: `10.1.${i}.${j}`, port: 8080 }))
  return {
    key,
    source: { kind: 'Service', namespace: 'default', name: `s${i}` },
    addresses: [address],
    externalTrafficPolicy: 'Cluster',
    remoteBackends: 0,
    verdicts: [],
    frontends: [80, 443].map((port) => ({
      id: frontendId(address, 'TCP', port),
      service: key,
      address,
      protocol: 'TCP',
      port,
      backends,
    })),
    routes: [{ prefix: `${address}/32`, neighbors: ['65001/192.0.2.1'], attributes: {} }],
  }
}

class Node {
  readonly announced = new Set<string>()
  readonly #clock = new VirtualClock()
  readonly faults = new Faults(this.#clock, { error: () => {}, info: () => {} })
  readonly #table: FakeDatapath
  readonly order: Order

  constructor(maxEntries: Entries) {
    const times = {
      nowNs: () => BigInt(1 + this.#clock.monotonic()) * 1_000_000n,
      drainNs: 1_000_000_000n,
      settleNs: 0n,
      previousNs: 0n,
    }
    const table = (this.#table = createFakeDatapath({ maxEntries, times, interfaces: ['eth0'] }))
    this.order = new Order(
      {
        datapath: {
          status: table.status,
          readAll: () => table.readAll(),
          read: (id) => table.read(id),
          upsertAll: (frontends) => table.upsertAll(frontends),
          remove: (id) => table.remove(id),
        },
        announce: (prefixes) => {
          for (const { prefix, routes } of prefixes) {
            if (routes.length === 0) this.announced.delete(prefix)
            else this.announced.add(prefix)
          }
        },
        clock: this.#clock,
        faults: this.faults,
        wake: () => {},
      },
      { drainMs: 5000, retryMs: 500, retryMaxMs: 30_000 },
    )
  }

  want(...changes: readonly (readonly [number, DesiredService | undefined])[]): void {
    this.order.want(new Map(changes.map(([i, wanted]) => [`default/s${i}`, wanted])))
    while (this.order.run(8));
  }

  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 100) {
      this.#clock.advance(100)
      while (this.order.run(8));
    }
    assert.deepEqual(this.#table.maps.check(), [])
    for (const prefix of this.announced)
      assert.equal(
        this.#table.readAll().filter(({ address }) => `${address}/32` === prefix).length,
        2,
        `${prefix} is announced without all its ports`,
      )
  }
}

const cases: readonly (readonly [string, Entries, RegExp])[] = [
  ['addresses', { addresses: 32 }, /addresses/],
  ['frontends', { frontends: 16, counters: 16 }, /service ids/],
  ['backends', { backends: 48 }, /backend slots/],
  ['tables', { tables: 4096 }, /Maglev table/],
]
for (const [map, sizes, reason] of cases) {
  test(`full ${map}: what fits stays served, and every Service that waited gets its turn when others leave`, () => {
    const node = new Node({ ...ample, ...sizes })
    node.want(...Array.from({ length: services }, (_, i) => [i, service(i)] as const))
    node.advance(60_000)
    const first = [...node.announced]
    assert.ok(first.length > 0 && first.length < services, `${first.length} of ${services}`)
    const waiting = Array.from({ length: services }, (_, i) => i).filter((i) => !node.announced.has(`10.0.0.${i}/32`))
    for (const i of waiting) assert.match(node.order.verdict(`default/s${i}`).message, reason)
    const served = new Set(first)
    for (let left = services; left > first.length; ) {
      const leaving = [...node.announced].slice(0, 2).map((prefix) => Number(/\.(\d+)\//.exec(prefix)?.[1]))
      node.want(...leaving.map((i) => [i, undefined] as const))
      left -= leaving.length
      node.advance(120_000)
      for (const prefix of node.announced) served.add(prefix)
    }
    assert.ok(node.announced.size > 0)
    assert.equal(
      served.size,
      services,
      `never served: ${waiting.filter((i) => !served.has(`10.0.0.${i}/32`)).join(' ')}`,
    )
  })
}

test('a Service that gets only some of its ports holds no room that another Service could be announced with', () => {
  const node = new Node({ ...ample, frontends: 1, counters: 1 })
  const [both, one] = [service(1), service(2)]
  node.want([1, both], [2, { ...one, frontends: one.frontends.slice(0, 1) }])
  assert.deepEqual([...node.announced], ['10.0.0.2/32'])
  assert.equal(node.order.verdict('default/s1').code, 'ProgrammingFailed')
})
