/** Deadlines of answers, and timers, of a process that stands still now and then. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { deadline } from '../../src/clock/deadline.ts'
import { LoopTimer, systemClock } from '../../src/clock/system-clock.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { standStill, waitFor } from '../wait.ts'

test('a deadline is over after its time where nothing stands still, once, and not when it was cancelled', () => {
  const clock = new VirtualClock()
  const over: string[] = []
  deadline(clock, 5_000, () => over.push(`five at ${clock.monotonic()}`))
  const cancelled = deadline(clock, 3_000, () => over.push('cancelled'))
  clock.advance(2_900)
  cancelled.cancel()
  clock.advance(2_099)
  assert.deepEqual(over, [])
  clock.advance(60_000)
  assert.deepEqual(over, ['five at 5000'])
  assert.equal(clock.pending, 0)
})

test('time in which the process stood still is not waited: an answer that is there is read before it is given up', () => {
  const clock = new VirtualClock()
  let isOver = false
  deadline(clock, 5_000, () => (isOver = true))
  clock.advance(4_999)
  clock.standStill(3_600_000)
  assert.equal(isOver, false, 'an hour in the last millisecond')
  clock.advance(1_249)
  assert.equal(isOver, false)
  clock.advance(1)
  assert.equal(isOver, true)
})

test('however a process runs and stands still, a deadline ends no earlier than its time and behind a part that ran', () => {
  const spans = fc.array(fc.record({ isStill: fc.boolean(), ms: fc.integer({ min: 1, max: 4_000 }) }), {
    maxLength: 30,
  })
  fc.assert(
    fc.property(fc.integer({ min: 40, max: 5_000 }), spans, (limitMs, all) => {
      const clock = new VirtualClock()
      let overAt: number | undefined
      deadline(clock, limitMs, () => {
        assert.equal(overAt, undefined, 'once')
        overAt = clock.monotonic()
      })
      let stoodStillMs = 0
      for (const { isStill, ms } of all) {
        if (!isStill) clock.advance(ms)
        else {
          if (overAt === undefined) stoodStillMs += ms
          clock.standStill(ms)
        }
      }
      clock.advance(limitMs)
      assert.ok(overAt !== undefined, 'no process that runs waits for ever')
      assert.ok(overAt >= limitMs - 0.001)
      // A part that begins anew was no longer than what stood still in it.
      assert.ok(overAt <= limitMs + 2 * stoodStillMs + 0.001)
    }),
  )
})

test('a deadline of no time, or less, is over soon and not never', async () => {
  const over: number[] = []
  for (const ms of [0, -5_000, 1]) deadline(systemClock, ms, () => over.push(ms))
  await waitFor('each', () => over.length === 3)
  assert.deepEqual(over.sort(), [-5_000, 0, 1])
})

test('a deadline goes with the scope of its clock', () => {
  const clock = new VirtualClock()
  const ran: number[] = []
  const wait = deadline(clock, 100, () => ran.push(1))
  clock.advance(99)
  wait.cancel()
  wait.cancel()
  assert.equal(clock.pending, 0)
  clock.advance(1_000)
  assert.deepEqual(ran, [])
})

/** Both ends of a TCP connection. */
async function connection(t: { after(action: () => void): void }): Promise<readonly [net.Socket, net.Socket]> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const near = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  const [far] = (await once(server, 'connection')) as [net.Socket]
  t.after(() => {
    near.destroy()
    far.destroy()
    server.close()
  })
  return [near, far]
}

test('what lay in a socket when a timer was over is read before its action runs, and may cancel it', async (t) => {
  const [near, far] = await connection(t)
  const told: string[] = []
  const timer = new LoopTimer(50, () => told.push('given up'))
  const other = new LoopTimer(50, () => told.push('over'))
  near.on('data', (octets: Buffer) => {
    told.push(octets.toString())
    timer.cancel()
  })
  far.write('the answer')
  standStill(100)
  await waitFor('the other timer', () => told.includes('over'))
  assert.deepEqual(told, ['the answer', 'over'])
  other.cancel()
})

test('a timer that is refreshed by what was read when it was over begins anew', async (t) => {
  const [near, far] = await connection(t)
  let overAt: number | undefined
  const began = performance.now()
  const timer = new LoopTimer(60, () => (overAt = performance.now() - began))
  near.on('data', () => timer.refresh())
  far.write('a KEEPALIVE')
  standStill(100)
  await waitFor('its end', () => overAt)
  assert.ok((overAt ?? 0) >= 155, `a whole interval more: ${overAt} ms`)
})

test('the waits of the clock of the system are such timers', async (t) => {
  const [near, far] = await connection(t)
  const told: string[] = []
  systemClock.after(20, () => told.push('over'))
  near.on('data', () => told.push('read'))
  far.write('x')
  standStill(50)
  await waitFor('both', () => told.length === 2)
  assert.deepEqual(told, ['read', 'over'])
})

test('a time that is over already, or is longer than a timer takes, is nothing to warn of', async (t) => {
  const warnings: string[] = []
  const onWarning = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  let ran = 0
  for (const ms of [-1, -3_600_000, 0]) {
    new LoopTimer(ms, () => ran++)
    systemClock.after(ms, () => ran++)
  }
  const days = new LoopTimer(2 ** 40, () => ran++)
  await waitFor('all but the days', () => ran === 6)
  days.cancel()
  assert.deepEqual(warnings, [])
})

test('of thousands of timers that are over in one moment each may end or begin another, and none runs twice', async () => {
  const ran = new Array<number>(4_000).fill(0)
  const timers = ran.map((_, i) => {
    const timer: LoopTimer = new LoopTimer(30, () => {
      ran[i] = (ran[i] ?? 0) + 1
      // Those behind it are over and did not run yet: one is cancelled, one begins anew, and one itself once more.
      if (i % 4 === 1) timers[i + 1]?.cancel()
      if (i % 4 === 0) timers[i + 3]?.refresh()
      if (i % 4 === 1 && ran[i] === 1) timer.refresh()
    })
    return timer
  })
  standStill(60)
  const runs = (): number => ran.reduce((sum, each) => sum + each, 0)
  await waitFor('all that are to run', () => runs() === 4_000)
  // Another two rounds bring nothing more.
  await new Promise<void>((resolve) => void new LoopTimer(80, resolve))
  assert.deepEqual([...new Set(ran.map((count, i) => `${i % 4}: ${count}`))].sort(), ['0: 1', '1: 2', '2: 0', '3: 1'])
})
