/**
 * An order over a kernel and routers in memory, in which every observable action checks invariant 1: whatever the
 * speaker was told to announce is served by the kernel, and what is withdrawn is still served until it drained. A
 * crash is a new Order over the same kernel.
 */
import assert from 'node:assert/strict'
import { Faults } from '../../src/agent/faults.ts'
import { Order, type OrderPorts } from '../../src/agent/order.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { createFakeDatapath, type FakeDatapath } from '../../src/datapath/fake.ts'
import { type ProgrammedFrontend, upserted } from '../../src/datapath/datapath.ts'
import { frontendId, type DesiredService } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'
import type { PrefixRoutes } from '../../src/speaker/protocol.ts'

const neighbor = '65001/192.0.2.1'

export function service(name: string, vip: string, backends: readonly string[], isAnnounced = true): DesiredService {
  const id = frontendId(vip, 'TCP', 80)
  return {
    key: `default/${name}`,
    source: { kind: 'Service', namespace: 'default', name },
    addresses: [vip],
    externalTrafficPolicy: 'Cluster',
    frontends: [
      {
        id,
        service: `default/${name}`,
        address: vip,
        protocol: 'TCP',
        port: 80,
        backends: backends.map((address) => ({ address, port: 8080 })),
      },
    ],
    routes: isAnnounced ? [{ prefix: `${vip}/32`, neighbors: [neighbor], attributes: {} }] : [],
    remoteBackends: 0,
    verdicts: [],
  }
}

/** A world in which every observable action checks the invariant. */
export class World {
  readonly kernel: FakeDatapath = createFakeDatapath({ interfaces: ['eth0'] })
  /** What routers still hold: survives a crash of the process (graceful restart). */
  readonly routers = new Map<string, PrefixRoutes>()
  readonly actions: string[] = []
  readonly logged: string[] = []
  clock = new VirtualClock()
  faults = this.noFaults()
  #crashAfter = Infinity
  /** What a write takes of the turn. */
  writeMs = 0
  #spentMs = 0
  failing = false
  readonly failingIds = new Set<string>()
  /** What is read back of a write, in place of what the kernel holds. */
  readsBack = (held: ProgrammedFrontend): ProgrammedFrontend => held
  order = this.start()

  noFaults(): Faults {
    const log = (_fields: object, text: string): void => void this.logged.push(text)
    return new Faults(this.clock, { error: log, info: log })
  }

  start(): Order {
    this.clock = new VirtualClock(this.clock.now())
    this.faults = this.noFaults()
    const ports: OrderPorts = {
      datapath: {
        status: this.kernel.status,
        readAll: () => this.kernel.readAll(),
        read: (id) => this.kernel.read(id),
        // One by one, so that the process may end between two of a row.
        upsertAll: (frontends) =>
          frontends.map((frontend) =>
            this.#act(`upsert ${frontend.id}`, () => {
              this.#spentMs += this.writeMs
              const isFailing = this.failing || this.failingIds.has(frontend.id)
              if (isFailing) return { error: new HeraldError('ERR_MAP_FULL', 'map full') }
              return upserted(() => this.readsBack(this.kernel.upsert(frontend)))
            }),
          ),
        remove: (id) =>
          this.#act(`remove ${id}`, () => {
            if (this.failing) throw new HeraldError('ERR_SYSCALL', 'delete from frontends: EBUSY', { errno: 'EBUSY' })
            this.kernel.remove(id)
          }),
      },
      announce: (prefixes) =>
        this.#act(`announce ${prefixes.map((entry) => `${entry.prefix}=${entry.routes.length}`).join(' ')}`, () => {
          for (const entry of prefixes) {
            if (entry.routes.length === 0) this.routers.delete(entry.prefix)
            else this.routers.set(entry.prefix, entry)
          }
        }),
      clock: {
        now: () => this.clock.now(),
        monotonic: () => this.clock.monotonic() + this.#spentMs,
        after: (ms, action) => this.clock.after(ms, action),
        soon: (action) => this.clock.soon(action),
      },
      faults: this.faults,
      wake: () => {},
    }
    return new Order(ports, { drainMs: 5000, retryMs: 500, retryMaxMs: 4000 })
  }

  #act<Result>(name: string, action: () => Result): Result {
    if (this.actions.length >= this.#crashAfter) throw new Crash()
    this.actions.push(name)
    const result = action()
    this.check()
    return result
  }

  /** Every announced host route has at least one frontend in the kernel. */
  check(): void {
    assert.deepEqual(this.kernel.maps.check(), [])
    const served = new Set(this.kernel.readAll().map((frontend) => `${frontend.address}/32`))
    for (const prefix of this.routers.keys())
      assert.ok(served.has(prefix), `${prefix} is announced and not served after: ${this.actions.join(', ')}`)
  }

  crashAfter(steps: number): void {
    this.#crashAfter = steps
  }

  run(): void {
    while (this.order.run(2));
  }

  /** What falls due in between is run when it falls due. */
  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 100) {
      this.clock.advance(Math.min(left, 100))
      this.run()
    }
  }
}

export class Crash extends Error {}

export const want = (...services: DesiredService[]): Map<string, DesiredService | undefined> =>
  new Map(services.map((one) => [one.key, one]))
