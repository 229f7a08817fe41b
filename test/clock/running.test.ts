/** What is kept up for others is kept up while the process runs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { afterRunning } from '../../src/clock/running.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'

test('what is done after some running is done once, at its time where nothing stands still, and not when cancelled', () => {
  const clock = new VirtualClock()
  const done: string[] = []
  afterRunning(clock, 10_000, () => done.push(`ten at ${clock.monotonic()}`))
  afterRunning(clock, 2_500, () => done.push(`two and a half at ${clock.monotonic()}`))
  afterRunning(clock, 0, () => done.push(`none at ${clock.monotonic()}`))
  const cancelled = afterRunning(clock, 4_000, () => done.push('cancelled'))
  clock.advance(3_500)
  cancelled.cancel()
  clock.advance(60_000)
  assert.deepEqual(done, ['none at 0', 'two and a half at 2500', 'ten at 10000'])
  assert.equal(clock.pending, 0)
})

test('an hour in which the process stood still counts for nothing, wherever it falls', () => {
  for (const ranMs of [0, 500, 9_000, 9_999]) {
    const clock = new VirtualClock()
    let doneAt: number | undefined
    afterRunning(clock, 10_000, () => (doneAt = clock.monotonic()))
    clock.advance(ranMs)
    clock.standStill(3_600_000)
    assert.equal(doneAt, undefined, `stood still after ${ranMs} ms`)
    clock.advance(10_000 - Math.floor(ranMs / 1_000) * 1_000)
    assert.ok(doneAt !== undefined, `a process that runs is done (${ranMs} ms before it stood still)`)
    // What had run of the step that was cut counts for nothing.
    assert.equal(doneAt, ranMs + 3_600_000 + 10_000 - Math.floor(ranMs / 1_000) * 1_000)
  }
})

test('however a process runs and stands still for two seconds and more, all of the time is run, and little more', () => {
  const spans = fc.array(fc.record({ isStill: fc.boolean(), ms: fc.integer({ min: 2_000, max: 9_000 }) }), {
    maxLength: 12,
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12_000 }), spans, (wantedMs, all) => {
      const clock = new VirtualClock()
      let ranMs = 0
      let ranWhenDone: number | undefined
      const began = { at: 0, ran: 0 }
      afterRunning(clock, wantedMs, () => (ranWhenDone = began.ran + clock.monotonic() - began.at))
      let stops = 0
      const run = (ms: number): void => {
        Object.assign(began, { at: clock.monotonic(), ran: ranMs })
        clock.advance(ms)
        ranMs += ms
      }
      for (const { isStill, ms } of all) {
        if (!isStill) run(ms)
        else {
          Object.assign(began, { at: clock.monotonic() + ms, ran: ranMs })
          // What falls due in it runs at its end: nothing of it was run.
          clock.standStill(ms)
          stops++
        }
      }
      run(wantedMs + 2_000)
      assert.ok(ranWhenDone !== undefined, 'a process that runs is done')
      assert.ok(ranWhenDone >= wantedMs && ranWhenDone <= wantedMs + 1_000 * (stops + 1), `${ranWhenDone}`)
    }),
  )
})
