import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ScopedClock } from '../../src/clock/scoped-clock.ts'
import { systemClock } from '../../src/clock/system-clock.ts'
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
