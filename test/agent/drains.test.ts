/** Frontends that nobody wants any more: when they go, in what slices, and what happens when they do not go. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Drains, type DrainTimes } from '../../src/agent/drains.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'

const times: DrainTimes = { drainMs: 1_000, retryMs: 100, retryMaxMs: 800 }

class World {
  readonly clock = new VirtualClock()
  /** In the order of their going: what, and when. */
  readonly removed: (readonly [string, number])[] = []
  readonly tried = new Map<string, number[]>()
  /** These fail. */
  readonly stuck = new Set<string>()
  readonly drains: Drains

  constructor(drainMs = times.drainMs) {
    this.drains = new Drains(this.clock, { ...times, drainMs }, (id) => {
      this.tried.set(id, [...(this.tried.get(id) ?? []), this.clock.monotonic()])
      if (this.stuck.has(id)) return false
      this.removed.push([id, this.clock.monotonic()])
      return true
    })
  }
}

test('what is wanted no more goes after its time, and what is wanted again in between stays', () => {
  const { drains, clock, removed } = new World()
  drains.add('a')
  clock.advance(400)
  drains.add('b')
  drains.add('c')
  clock.advance(300)
  drains.cancel('b')
  clock.advance(5_000)
  assert.deepEqual(removed, [
    ['a', 1_000],
    ['c', 1_400],
  ])
  assert.equal(clock.pending, 0, 'nothing is left to wake up for')
})

test('time in which the process stood still is no time in which routers heard of a withdrawal', () => {
  for (const stillMs of [4_900, 5_100, 3_600_000]) {
    const { drains, clock, removed } = new World()
    drains.add('a')
    clock.standStill(stillMs)
    assert.deepEqual(removed, [], `${stillMs} ms at the beginning`)
    clock.advance(999)
    assert.deepEqual(removed, [])
    clock.advance(1)
    assert.deepEqual(removed, [['a', stillMs + 1_000]])
    assert.equal(clock.pending, 0)
  }
})

test('one that drains already and is given up once more begins anew', () => {
  const { drains, clock, removed } = new World()
  drains.add('a')
  clock.advance(900)
  drains.add('a')
  clock.advance(999)
  assert.deepEqual(removed, [])
  clock.advance(1)
  assert.deepEqual(removed, [['a', 1_900]])
})

test('a removal that fails is tried again, later each time up to a bound, and holds up no other', () => {
  const { drains, clock, removed, tried, stuck } = new World()
  stuck.add('a')
  drains.add('a')
  drains.add('b')
  clock.advance(1_000 + 100 + 200 + 400 + 800 + 800)
  assert.deepEqual(tried.get('a'), [1_000, 1_100, 1_300, 1_700, 2_500, 3_300])
  assert.deepEqual(removed, [['b', 1_000]])
  stuck.clear()
  clock.advance(800)
  assert.deepEqual(removed.at(-1), ['a', 4_100])
  // Whoever is given up a second time has a clean record.
  stuck.add('a')
  drains.add('a')
  clock.advance(1_000 + 100)
  assert.deepEqual(tried.get('a')?.slice(-2), [5_100, 5_200])
})

test('a thousand that are due at one moment go in slices, between which the loop has its turn', () => {
  const { drains, clock, removed } = new World()
  for (let i = 0; i < 1_000; i++) drains.add(`f${i}`)
  let most = 0
  let before = 0
  // A wait of no time that is begun by each slice comes between it and the next one.
  const look = (): void => {
    most = Math.max(most, removed.length - before)
    before = removed.length
    if (removed.length < 1_000 && clock.monotonic() < 1_001) clock.after(0, look)
  }
  clock.after(1_000, look)
  clock.advance(1_000)
  assert.equal(removed.length, 1_000)
  assert.ok(most <= 64, `${most} in one turn`)
  assert.deepEqual(
    removed.map(([id]) => id),
    Array.from({ length: 1_000 }, (_, i) => `f${i}`),
  )
})

const act = fc.oneof(
  fc.record({ do: fc.constant('add' as const), id: fc.constantFrom('a', 'b', 'c', 'd') }),
  fc.record({ do: fc.constant('cancel' as const), id: fc.constantFrom('a', 'b', 'c', 'd') }),
  fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 700 }) }),
)
const still = fc.record({ do: fc.constant('standStill' as const), ms: fc.integer({ min: 0, max: 6_000 }) })
const acts = fc.array(act, { maxLength: 40 })

test('however frontends come and go, each goes once for each time that it was given up for good, and never early', () => {
  fc.assert(
    fc.property(acts, (all) => {
      const { drains, clock, removed } = new World()
      const due = new Map<string, number>()
      const expected: string[] = []
      const pass = (): void => {
        for (const [id, at] of due)
          if (at <= clock.monotonic()) {
            due.delete(id)
            expected.push(id)
          }
      }
      for (const act of all) {
        if (act.do === 'add') {
          drains.add(act.id)
          due.set(act.id, clock.monotonic() + times.drainMs)
        } else if (act.do === 'cancel') {
          drains.cancel(act.id)
          due.delete(act.id)
        } else {
          clock.advance(act.ms)
          pass()
        }
      }
      clock.advance(times.drainMs)
      pass()
      assert.deepEqual(removed.map(([id]) => id).sort(), expected.sort())
      assert.equal(clock.pending, 0)
    }),
  )
})

test('however a process runs and stands still, what it gave up is served for its time while it runs, and goes', () => {
  const drainMs = 5_000
  /** Less in one step is not told from a busy loop. */
  const unnoticedMs = 2_000
  fc.assert(
    fc.property(fc.array(fc.oneof(act, still), { maxLength: 40 }), (all) => {
      const { drains, clock, removed } = new World(drainMs)
      /** By what drains: how long it was served since, as far as that counts. */
      const served = new Map<string, number>()
      const pass = (ms: number, go: () => void): void => {
        const before = removed.length
        for (const [id, servedMs] of served) served.set(id, servedMs + ms)
        go()
        for (const [id] of removed.slice(before)) {
          assert.ok((served.get(id) ?? 0) >= drainMs, `${id} after ${served.get(id)} ms`)
          served.delete(id)
        }
      }
      for (const each of all)
        if (each.do === 'advance') pass(each.ms, () => clock.advance(each.ms))
        else if (each.do === 'standStill') pass(each.ms < unnoticedMs ? each.ms : 0, () => clock.standStill(each.ms))
        else if (each.do === 'cancel') {
          drains.cancel(each.id)
          served.delete(each.id)
        } else {
          drains.add(each.id)
          served.set(each.id, 0)
        }
      pass(drainMs + unnoticedMs, () => clock.advance(drainMs + unnoticedMs))
      assert.deepEqual([...served.keys()], [])
      assert.equal(clock.pending, 0)
    }),
  )
})
