/** How a node tells the others where it takes packets: over a turned clock and a Lease in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { TunnelTeller } from '../../src/agent/tunnel-teller.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { MemoryLease } from '../../src/k8s/lease.ts'

class World {
  readonly lease = new MemoryLease()
  readonly clock = new VirtualClock()
  readonly faults = new Faults(this.clock, new MemoryLog())
  /** What each write said. */
  readonly said: (readonly string[])[] = []
  reads = 0
  readonly teller: TunnelTeller

  constructor() {
    const { lease } = this
    const saying = <T>(answer: T): T => {
      this.said.push(this.teller.own)
      return answer
    }
    this.teller = new TunnelTeller({
      node: 'node1',
      clock: this.clock,
      random: () => 0.5,
      faults: this.faults,
      store: {
        read: () => {
          this.reads++
          return lease.read()
        },
        create: (spec) => saying(lease.create(spec)),
        update: (spec, version) => saying(lease.update(spec, version)),
      },
    })
  }

  /** As translation says: what this node is to tell, and whether the watch shows it. */
  want(own: readonly string[], isTold: boolean): void {
    this.teller.want({ own, isTold })
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone < ms; gone += 250) {
      this.clock.advance(250)
      for (let i = 0; i < 20; i++) await Promise.resolve()
    }
  }

  get faultText(): string {
    return this.faults.current.map(({ text }) => text).join()
  }
}

const first = ['192.0.2.11']

test('a Lease is made once, and never renewed', async () => {
  const world = new World()
  world.want(first, false)
  await world.pass(500)
  assert.deepEqual(world.said, [first])
  assert.equal(world.lease.lease?.spec.holder, 'node1')
  world.want(first, true)
  await world.pass(3_600_000)
  assert.deepEqual([world.said.length, world.reads], [1, 1])
})

test('another address is told, once, also while a write is under way', async () => {
  const world = new World()
  world.want(first, false)
  world.want(['192.0.2.12'], false)
  await world.pass(5_000)
  assert.deepEqual(world.said.at(-1), ['192.0.2.12'])
  const writes = world.said.length
  world.want(['192.0.2.12'], true)
  await world.pass(60_000)
  assert.equal(world.said.length, writes)
})

test('what somebody deletes or changes is written again, and no more than about once a second', async () => {
  const world = new World()
  world.want(first, false)
  await world.pass(250)
  for (let i = 0; i < 100; i++) {
    world.want(first, true)
    world.lease.remove()
    world.want(first, false)
    await world.pass(250)
  }
  assert.ok(world.said.length > 10 && world.said.length <= 30, `${world.said.length} writes in 25 s`)
})

test('a server that is away costs tries ever later, a fault, and nothing when it is back', async () => {
  const world = new World()
  world.lease.isReachable = false
  world.want(first, false)
  await world.pass(300_000)
  assert.match(world.faultText, /the other nodes cannot be told where this one takes packets.*away/)
  assert.ok(world.reads >= 5 && world.reads <= 15, `${world.reads} tries in 300 s`)
  world.lease.isReachable = true
  await world.pass(60_000)
  assert.equal(world.faultText, '')
  world.want(first, true)
  const { length } = world.said
  await world.pass(120_000)
  assert.ok(length >= 1 && world.said.length === length, `${world.said.length} writes`)
})

test('what was written and never read, as somebody wrote over it at once, is written again after half a minute', async () => {
  const world = new World()
  world.want(first, false)
  await world.pass(20_000)
  assert.equal(world.said.length, 1)
  await world.pass(12_000)
  assert.equal(world.said.length, 2)
})

test('a Lease that another process writes meanwhile is read again', async () => {
  const world = new World()
  const update = world.lease.update.bind(world.lease)
  await world.lease.create({ holder: 'node1', durationSec: 1, acquireTime: '', renewTime: '', transitions: 0 })
  let isTaken = true
  world.lease.update = async (spec, version) => {
    if (!isTaken) return update(spec, version)
    isTaken = false
    return { kind: 'taken' }
  }
  world.want(first, false)
  await world.pass(250)
  assert.match(world.faultText, /somebody else writes it/)
  await world.pass(5_000)
  assert.deepEqual([world.said.length, world.faultText], [2, ''])
})

test('a node that takes nothing makes no Lease, and takes back what an earlier process said', async () => {
  const fresh = new World()
  fresh.want([], false)
  await fresh.pass(60_000)
  assert.deepEqual([fresh.said, fresh.lease.lease, fresh.reads], [[], undefined, 1])
  const turnedOff = new World()
  await turnedOff.lease.create({ holder: 'node1', durationSec: 1, acquireTime: '', renewTime: '', transitions: 0 })
  turnedOff.want([], false)
  await turnedOff.pass(60_000)
  assert.deepEqual(turnedOff.said, [[]])
})

test('a stop ends it, whatever waits', async () => {
  const world = new World()
  world.lease.isReachable = false
  world.want(first, false)
  await world.pass(1_000)
  world.teller.stop()
  world.lease.isReachable = true
  await world.pass(120_000)
  assert.deepEqual(world.said, [])
})
