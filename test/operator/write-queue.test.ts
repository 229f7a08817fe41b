/** Who waits for whom: lanes of writes beside one another, over a turned clock. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { StatusOutcome } from '../../src/k8s/status.ts'
import { type Lane, lanes, maxInFlight, WriteQueue } from '../../src/operator/write-queue.ts'

const written: StatusOutcome = { kind: 'written', resourceVersion: '1' }

class World {
  readonly clock = new VirtualClock()
  /** `lane key` in the order in which they were begun, and how many of them are under way. */
  readonly begun: string[] = []
  mostInFlight = 0
  takesMs: (lane: Lane) => number = () => 100
  outcomeOf: (lane: Lane, key: string) => StatusOutcome = () => written
  /** What is decided at once, as a server that has no room does. */
  onBegin: (lane: Lane, key: string) => StatusOutcome = () => written
  /** Called when a write has ended. */
  onEnd: (lane: Lane, key: string) => void = () => undefined
  /** Keys for which somebody waits. */
  readonly awaited = new Set<string>()
  readonly queue = new WriteQueue({
    clock: this.clock,
    random: () => 0.5,
    mayWrite: () => true,
    isAwaited: (_, key) => this.awaited.has(key),
    write: (lane, key) => {
      this.begun.push(`${lane} ${key}`)
      const outcome = this.onBegin(lane, key)
      return new Promise((resolve) => {
        this.clock.after(this.takesMs(lane), () => resolve(outcome === written ? this.outcomeOf(lane, key) : outcome))
      })
    },
    onOutcome: (lane, key) => this.onEnd(lane, key),
  })

  add(lane: Lane, count: number): void {
    for (let i = 0; i < count; i++) this.queue.add(lane, `${i}`)
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone < ms; gone += 10) {
      this.clock.advance(10)
      for (let i = 0; i < 4; i++) await Promise.resolve()
      this.clock.settle()
      this.mostInFlight = Math.max(this.mostInFlight, this.queue.inFlight)
    }
  }

  countOf(lane: Lane): number {
    return this.begun.filter((each) => each.startsWith(`${lane} `)).length
  }
}

test('Services that change all the time keep no other lane from being written', async () => {
  const world = new World()
  // More than the server can take: each of them is changed again when it was written.
  let next = 0
  world.onEnd = (lane) => {
    if (lane === 'service') world.queue.add('service', `more-${next++}`)
  }
  world.add('service', 200)
  await world.pass(500)
  for (const lane of lanes.slice(1)) world.add(lane, 3)
  await world.pass(1_000)
  for (const lane of lanes.slice(1)) assert.equal(world.countOf(lane), 3, lane)
  assert.equal(world.mostInFlight, maxInFlight)
})

for (const lane of lanes.slice(1))
  test(`writes of the lane ${lane} that the server is slow to answer keep no Service waiting`, async () => {
    const world = new World()
    world.takesMs = (each) => (each === lane ? 4_000 : 100)
    world.add(lane, 200)
    await world.pass(1_000)
    assert.ok(world.countOf(lane) > 1, 'they have room of their own')
    world.add('service', 1)
    await world.pass(20)
    assert.equal(world.countOf('service'), 1)
  })

test('a limit of events, as an admission plugin has one, holds back events and nothing else', async () => {
  const world = new World()
  world.outcomeOf = (lane) => (lane === 'event' ? { kind: 'limited', afterMs: 60_000 } : written)
  world.add('event', 3)
  await world.pass(200)
  const tried = world.countOf('event')
  for (const lane of ['service', 'pool', 'node', 'configuration'] as const) world.add(lane, 2)
  await world.pass(500)
  for (const lane of ['service', 'pool', 'node', 'configuration'] as const) assert.equal(world.countOf(lane), 2, lane)
  world.add('event', 5)
  await world.pass(50_000)
  const again = world.begun.filter((each, index) => world.begun.indexOf(each) < index)
  assert.deepEqual(again, [], 'no event once more before the server wants it')
  assert.equal(world.countOf('event'), tried + 2, 'each that is new once')
  world.outcomeOf = () => written
  await world.pass(20_000)
  assert.equal(world.countOf('event'), 2 * (tried + 2), 'each of them once')
})

test('a limit of Services leaves every other lane one write at a time', async () => {
  const world = new World()
  world.outcomeOf = (lane) => (lane === 'service' ? { kind: 'limited', afterMs: 10_000 } : written)
  world.add('service', 1)
  await world.pass(200)
  for (const lane of lanes.slice(1)) world.add(lane, 20)
  world.mostInFlight = 0
  await world.pass(700)
  assert.equal(world.mostInFlight, lanes.length - 1)
  await world.pass(9_000)
  for (const lane of lanes.slice(1)) assert.equal(world.countOf(lane), 20, lane)
  assert.equal(world.countOf('service'), 1)
  await world.pass(300)
  assert.equal(world.countOf('service'), 2, 'when the server wants it')
})

test('a server that limits everything is asked by one write of a lane in a second, and by none twice', async () => {
  const world = new World()
  world.outcomeOf = () => ({ kind: 'limited', afterMs: 60_000 })
  for (const lane of lanes) world.add(lane, 200)
  await world.pass(1_000)
  const before = world.begun.length
  await world.pass(40_000)
  assert.ok(world.begun.length - before <= 41 * lanes.length, `${world.begun.length - before}`)
  assert.equal(new Set(world.begun).size, world.begun.length)
})

for (const count of [1, 30])
  test(`${count} Services that are limited whenever they are written keep no other one, and no other lane, from it`, async () => {
    const world = new World()
    world.outcomeOf = (_, key) => (key.startsWith('bad') ? { kind: 'limited', afterMs: 60_000 } : written)
    for (let i = 0; i < count; i++) world.queue.add('service', `bad-${i}`)
    world.add('service', 50)
    for (const lane of lanes.slice(1)) world.add(lane, 5)
    // The first time nobody knows whether it is for them alone: a second for each.
    await world.pass(count * 1_000 + 6_000)
    assert.equal(world.countOf('service'), count + 50)
    for (const lane of lanes.slice(1)) assert.equal(world.countOf(lane), 5, lane)
    for (let second = 0; second < 150; second++) {
      world.queue.add('service', `good-${second}`)
      // Whatever changes meanwhile of one that is limited.
      world.queue.add('service', 'bad-0')
      await world.pass(1_000)
      assert.ok(world.begun.includes(`service good-${second}`), `${second}`)
    }
    const tries = world.begun.filter((each) => each === 'service bad-0').length
    assert.ok(tries >= 3 && tries <= 4, `${tries}`)
  })

test('a key that is limited whenever it is written does not take the places of the others', async () => {
  const world = new World()
  world.outcomeOf = (_, key) => (key.startsWith('bad') ? { kind: 'limited', afterMs: 1_000 } : written)
  world.queue.add('service', 'bad')
  await world.pass(10_000)
  const add = (second: number): void => {
    for (let i = 0; i < 100; i++) world.queue.add('service', `${second}-${i}`)
  }
  for (let second = 0; second < 60; second++) {
    add(second)
    await world.pass(1_000)
  }
  await world.pass(2_000)
  assert.equal(world.begun.filter((each) => !each.includes('bad')).length, 6_000)
})

test('of 5 000 a tenth that is limited does not cost the others a second each', async () => {
  const world = new World()
  world.takesMs = () => 30
  world.outcomeOf = (_, key) => (Number(key) % 10 === 0 ? { kind: 'limited', afterMs: 30_000 } : written)
  world.add('service', 5_000)
  await world.pass(200_000)
  const begun = new Set(world.begun)
  assert.equal(begun.size, 5_000)
  assert.ok(
    world.begun.length < 5_000 + 10 * 500,
    'and those that are limited are not asked for more than the server wants',
  )
})

test('hundreds that are limited whenever they are written, and awaited, are behind those that are not', async () => {
  const world = new World()
  world.takesMs = () => 30
  world.outcomeOf = (_, key) => (key.startsWith('bad') ? { kind: 'limited', afterMs: 1_000 } : written)
  for (let i = 0; i < 500; i++) {
    for (const key of [`bad-${i}`, `first-${i}`]) {
      world.awaited.add(key)
      world.queue.add('service', key)
    }
  }
  await world.pass(60_000)
  const before = world.begun.length
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 100; i++) world.queue.add('service', `${second}-${i}`)
    await world.pass(1_000)
  }
  await world.pass(1_000)
  const begun = world.begun.slice(before).map((each) => each.slice('service '.length))
  assert.equal(begun.filter((key) => !key.startsWith('bad')).length, 2_000)
  assert.ok(
    begun.some((key) => key.startsWith('bad')),
    'and are tried all the same',
  )
})

test('a server that takes one write of ours at a time is not asked to take sixteen, and then may again', async () => {
  const world = new World()
  let underWay = 0
  let limits = 0
  let most = 1
  world.takesMs = () => 10
  world.onBegin = () => {
    const hasRoom = ++underWay <= most
    if (!hasRoom) limits++
    return hasRoom ? written : { kind: 'limited', afterMs: 1_000 }
  }
  world.onEnd = () => void underWay--
  world.add('service', 300)
  await world.pass(8_000)
  assert.equal(world.countOf('service') - limits, 300, 'half of the time is enough for all of them')
  most = maxInFlight
  await world.pass(20_000)
  world.mostInFlight = 0
  world.add('service', 300)
  await world.pass(2_000)
  assert.equal(world.mostInFlight, maxInFlight - lanes.length + 1)
})

test('what somebody waits for goes before thousands for which nobody does', async () => {
  const world = new World()
  world.add('service', 5_000)
  await world.pass(200)
  world.awaited.add('new')
  world.queue.add('service', 'new')
  await world.pass(110)
  assert.ok(world.begun.includes('service new'), 'it has the next place that is free')
  // Who is told to wait by the server, or fails, is awaited all the same.
  for (const outcome of [
    { kind: 'limited', afterMs: 1_000 },
    { kind: 'failed', message: 'cut' },
  ] as const) {
    world.onBegin = (_, key) => (key === 'new' ? outcome : written)
    world.queue.add('service', 'new')
    await world.pass(200)
    world.onBegin = () => written
    const before = world.begun.length
    await world.pass(1_700)
    const place = world.begun.slice(before).indexOf('service new')
    assert.ok(place >= 0 && world.queue.waiting('service') > 1_000, outcome.kind)
  }
})

test('a key that waits goes ahead from when somebody waits for it, once', async () => {
  const world = new World()
  world.add('service', 1_000)
  await world.pass(100)
  world.awaited.add('900')
  world.queue.add('service', '900')
  assert.equal(world.queue.isBusy('service', '900'), true)
  await world.pass(110)
  assert.ok(world.begun.includes('service 900'))
  world.awaited.delete('900')
  await world.pass(30_000)
  assert.equal(world.begun.filter((each) => each === 'service 900').length, 1)
  assert.equal(world.begun.length, 1_000)
})

test('those for whom somebody always waits do not keep the others from being written', async () => {
  const world = new World()
  let next = 0
  const addAwaited = (): void => {
    const key = `awaited-${next++}`
    world.awaited.add(key)
    world.queue.add('service', key)
  }
  world.onEnd = (_, key) => {
    if (key.startsWith('awaited')) addAwaited()
  }
  for (let i = 0; i < 200; i++) addAwaited()
  world.add('service', 10)
  await world.pass(3_000)
  for (let i = 0; i < 10; i++) assert.ok(world.begun.includes(`service ${i}`), `${i}`)
})
