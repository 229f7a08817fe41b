import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Wait } from '../../src/clock/clock.ts'
import { ScopedClock } from '../../src/clock/scoped-clock.ts'
import { systemClock, waitOf } from '../../src/clock/system-clock.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { waitFor } from '../wait.ts'

test('a virtual clock runs what falls due in the order of time, and of asking at one moment', () => {
  const clock = new VirtualClock()
  const ran: string[] = []
  clock.after(20, () => ran.push(`c ${clock.monotonic()}`))
  clock.after(10, () => ran.push(`a ${clock.monotonic()}`))
  clock.after(10, () => ran.push(`b ${clock.monotonic()}`))
  clock.advance(9)
  assert.deepEqual(ran, [])
  clock.advance(11)
  assert.deepEqual(ran, ['a 10', 'b 10', 'c 20'])
  assert.equal(clock.pending, 0)
})

test('what a due action asks for runs in the same advance when it falls due in it', () => {
  const clock = new VirtualClock()
  const ran: number[] = []
  const again = (): void => {
    ran.push(clock.monotonic())
    clock.soon(() => ran.push(-clock.monotonic()))
    clock.after(10, again)
  }
  clock.after(10, again)
  clock.advance(35)
  assert.deepEqual(ran, [10, -10, 20, -20, 30, -30])
})

test('a cancelled wait never runs, and cancelling one that ran does nothing', () => {
  const clock = new VirtualClock()
  const ran: string[] = []
  const done = clock.after(1, () => ran.push('done'))
  const cancelled = clock.after(2, () => ran.push('cancelled'))
  clock.after(1, () => cancelled.cancel())
  clock.advance(5)
  done.cancel()
  assert.deepEqual(ran, ['done'])
})

test('both clocks of a virtual clock advance together, from an epoch that is given', () => {
  const clock = new VirtualClock(1000)
  clock.advance(500)
  assert.deepEqual([clock.now(), clock.monotonic()], [1500, 500])
})

test("the system's clock waits, cancels and runs what is to be soon", async () => {
  const ran: string[] = []
  const from = systemClock.monotonic()
  systemClock.after(5, () => ran.push('after'))
  systemClock.after(1, () => ran.push('cancelled')).cancel()
  systemClock.after(2 ** 40, () => ran.push('too soon')).cancel()
  systemClock.soon(() => ran.push('soon'))
  await waitFor('both', () => ran.length === 2)
  assert.deepEqual(ran.sort(), ['after', 'soon'])
  assert.ok(systemClock.monotonic() - from >= 4)
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1000)
})

test('a scope ends all its waits at once, begins none any more, and leaves those of others', () => {
  const clock = new VirtualClock(1000)
  const scope = new ScopedClock(clock)
  const ran: string[] = []
  clock.after(2, () => ran.push('of another'))
  scope.after(1, () => ran.push('due'))
  scope.after(1, () => ran.push('cancelled')).cancel()
  scope.after(3, () => ran.push('too late'))
  scope.soon(() => ran.push('soon'))
  clock.advance(1)
  scope.soon(() => ran.push('ended'))
  scope.end()
  scope.after(1, () => ran.push('begun later')).cancel()
  clock.advance(10)
  assert.deepEqual(ran, ['soon', 'due', 'of another'])
  assert.deepEqual([scope.now(), scope.monotonic(), clock.pending], [1011, 11, 0])
})

test('a wait that is longer than a timer takes is made of several, and its end is no earlier', () => {
  const steps: number[] = []
  const pending: (() => void)[] = []
  let runs = 0
  const month = 31 * 86_400_000
  waitOf(
    month,
    () => runs++,
    (stepMs, next) => {
      steps.push(stepMs)
      pending.push(next)
      return { cancel: () => {} }
    },
  )
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    assert.equal(runs, 0)
    next()
  }
  assert.equal(runs, 1)
  assert.equal(
    steps.reduce((sum, each) => sum + each, 0),
    month,
  )
  assert.ok(steps.every((each) => each < 2 ** 31))
})

test('a wait of days does not run at once, and can be cancelled in any of its steps', async () => {
  let runs = 0
  const waits = [2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER].map((ms) => systemClock.after(ms, () => runs++))
  await new Promise<void>((resolve) => void systemClock.after(20, resolve))
  assert.equal(runs, 0)
  for (const wait of waits) wait.cancel()
})

/** What a program does with a clock, in ms: waits, cancels waits, and lets time go by. */
const acts = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: -5, max: 40 }) }),
    fc.record({ do: fc.constant('cancel' as const), which: fc.nat(12) }),
    fc.record({ do: fc.constant('advance' as const), ms: fc.nat(30) }),
    fc.record({ do: fc.constant('end' as const) }),
  ),
  { maxLength: 30 },
)

test('whatever is asked of a clock in a scope runs when it falls due, in order, unless cancelled or ended', () => {
  fc.assert(
    fc.property(acts, (all) => {
      const clock = new VirtualClock()
      const scope = new ScopedClock(clock)
      const [ran, expected]: [number[], number[]] = [[], []]
      const waits: { readonly wait: Wait; readonly dueAt: number; isOff: boolean }[] = []
      let isEnded = false
      for (const act of all) {
        if (act.do === 'wait') {
          const index = waits.length
          const wait = scope.after(act.ms, () => ran.push(index))
          waits.push({ wait, dueAt: clock.monotonic() + Math.max(0, act.ms), isOff: isEnded })
        } else if (act.do === 'cancel') {
          const found = waits[act.which]
          found?.wait.cancel()
          if (found !== undefined && !ran.includes(act.which)) found.isOff = true
        } else if (act.do === 'end') {
          scope.end()
          isEnded = true
          for (const [index, each] of waits.entries()) if (!ran.includes(index)) each.isOff = true
        } else {
          clock.advance(act.ms)
          const due = waits
            .map((each, index) => ({ ...each, index }))
            .filter(({ dueAt, isOff, index }) => !isOff && dueAt <= clock.monotonic() && !expected.includes(index))
          // Sorting is stable: of one moment, whoever asked first.
          expected.push(...due.sort((a, b) => a.dueAt - b.dueAt).map(({ index }) => index))
          assert.deepEqual(ran, expected)
        }
      }
      assert.equal(clock.pending, waits.filter(({ isOff }, index) => !isOff && !ran.includes(index)).length)
    }),
    { numRuns: 500 },
  )
})
