/** Leader election over one Lease: who leads, and that nobody who was paused does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { type LeaseAnswer, type LeaseSpec, MemoryLease } from '../../src/k8s/lease.ts'
import { Election } from '../../src/operator/election.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'

interface Candidate {
  readonly election: Election
  readonly clock: VirtualClock
  readonly events: string[]
  readonly log: MemoryOperatorLog
}

function candidate(identity: string, store: MemoryLease, clock = new VirtualClock()): Candidate {
  const events: string[] = []
  const log = new MemoryOperatorLog()
  const election = new Election({
    store,
    clock,
    random: () => 0,
    identity,
    log,
    onLeading: () => void events.push('leads'),
    onLost: (why) => void events.push(`lost: ${why}`),
  })
  return { election, clock, events, log }
}

/** Answers of the Lease come in turns of promises. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}

async function pass(ms: number, ...all: readonly Candidate[]): Promise<void> {
  for (let gone = 0; gone < ms; gone += 500) {
    for (const clock of new Set(all.map((each) => each.clock))) clock.advance(500)
    await turns()
  }
}

test('the first that looks leads, and the second waits while the Lease is renewed', async () => {
  const lease = new MemoryLease()
  const clock = new VirtualClock()
  const [a, b] = [candidate('a', lease, clock), candidate('b', lease, clock)]
  a.election.start()
  await turns()
  b.election.start()
  await pass(60_000, a, b)
  assert.deepEqual([a.election.isLeader, b.election.isLeader], [true, false])
  assert.equal(b.election.holder, 'a')
  assert.equal(lease.lease?.spec.holder, 'a')
  assert.deepEqual([a.events, b.events], [['leads'], []])
})

test('a stop releases the Lease, and the next one leads at its next look', async () => {
  const lease = new MemoryLease()
  const clock = new VirtualClock()
  const [a, b] = [candidate('a', lease, clock), candidate('b', lease, clock)]
  a.election.start()
  await turns()
  b.election.start()
  await pass(4_000, a, b)
  await a.election.stop()
  assert.equal(lease.lease?.spec.holder, '')
  await pass(2_500, b)
  assert.deepEqual([a.election.isLeader, b.election.isLeader], [false, true])
  assert.equal(lease.lease?.spec.transitions, 1)
})

test('a leader that was paused past its lease does not lead for a moment when it goes on', async () => {
  const lease = new MemoryLease()
  const [a, b] = [candidate('a', lease), candidate('b', lease)]
  a.election.start()
  await turns()
  b.election.start()
  await turns()
  // Only the time of b goes by for its process; a is stopped, and its clock goes on all the same.
  await pass(20_000, b)
  assert.equal(b.election.isLeader, true)
  let wasLeader: boolean | undefined
  a.clock.after(0, () => {
    wasLeader = a.election.isLeader
  })
  a.clock.advance(20_000)
  assert.equal(a.election.isLeader, false)
  assert.equal(wasLeader, true, 'before the time went by it did lead')
  await turns()
  assert.deepEqual(a.events, ['leads', 'lost: the Lease was not renewed in time'])
  await pass(60_000, a, b)
  assert.equal(lease.lease?.spec.holder, 'b', 'who lost does not come back')
})

test('a leader that cannot reach the server leads for 10 s and not longer, and nobody else within 15 s', async () => {
  const lease = new MemoryLease()
  const clock = new VirtualClock()
  const [a, b] = [candidate('a', lease, clock), candidate('b', lease, clock)]
  a.election.start()
  b.election.start()
  await pass(5_000, a, b)
  lease.isReachable = false
  await pass(8_000, a, b)
  assert.equal(a.election.isLeader, true)
  await pass(3_000, a, b)
  assert.equal(a.election.isLeader, false)
  assert.deepEqual(a.events, ['leads', 'lost: the Lease was not renewed in time'])
  assert.equal(a.log.lines.filter((line) => /neither read nor written/.test(line)).length, 1, 'said once')
  lease.isReachable = true
  await pass(2_000, b)
  assert.equal(b.election.isLeader, false)
  await pass(6_000, b)
  assert.equal(b.election.isLeader, true)
})

test('times in the Lease count for nothing: neither of the past nor of the future', async () => {
  for (const renewTime of ['1970-01-01T00:00:00.000000Z', '9999-01-01T00:00:00.000000Z', 'soon']) {
    const lease = new MemoryLease()
    await lease.create({ holder: 'gone', durationSec: 15, acquireTime: renewTime, renewTime, transitions: 3 })
    const b = candidate('b', lease)
    b.election.start()
    await turns()
    await pass(14_000, b)
    assert.equal(b.election.isLeader, false, renewTime)
    await pass(4_000, b)
    assert.equal(b.election.isLeader, true, renewTime)
    assert.equal(lease.lease?.spec.transitions, 4)
  }
})

test('a Lease that somebody else took is lost at the next renewal; one that got a label is not', async () => {
  const lease = new MemoryLease()
  const a = candidate('a', lease)
  a.election.start()
  await turns()
  // Written once more as it was: another resourceVersion, and nothing else.
  const before = lease.lease
  assert.ok(before !== undefined)
  await lease.update(before.spec, before.resourceVersion)
  await pass(2_500, a)
  assert.equal(a.election.isLeader, true)
  const now = lease.lease
  assert.ok(now !== undefined)
  await lease.update({ ...now.spec, holder: 'thief' }, now.resourceVersion)
  await pass(2_500, a)
  assert.deepEqual(a.events, ['leads', 'lost: thief holds the Lease'])
})

test('a Lease that is deleted by hand is never held by two: who waits leaves its holder the time to make it anew', async () => {
  const lease = new MemoryLease()
  const clock = new VirtualClock()
  const [a, b] = [candidate('a', lease, clock), candidate('b', lease, clock)]
  a.election.start()
  await turns()
  // Half a turn later: it looks first after a deletion.
  await pass(1_000, a)
  b.election.start()
  for (let round = 0; round < 20; round++) {
    await pass(500 * (1 + (round % 5)), a, b)
    lease.remove()
    for (let i = 0; i < 10; i++) {
      await pass(500, a, b)
      assert.ok(!(a.election.isLeader && b.election.isLeader), `both lead after deletion ${round}`)
    }
  }
  assert.deepEqual([a.events, b.events], [['leads'], []])
  // With its holder gone as well, it is free when it would have been.
  await a.election.stop()
  lease.remove()
  await pass(18_000, b)
  assert.equal(b.election.isLeader, true)
})

test('a Lease of another length, written by hand, is neither lost nor taken early, nor kept for ever', async () => {
  for (const durationSec of [1, 0, -5, 2 ** 31 - 1]) {
    const lease = new MemoryLease()
    const clock = new VirtualClock()
    const [a, b] = [candidate('a', lease, clock), candidate('b', lease, clock)]
    a.election.start()
    await turns()
    await pass(1_000, a)
    b.election.start()
    await pass(4_000, a, b)
    const edit = async (): Promise<void> => {
      const now = lease.lease
      assert.ok(now !== undefined)
      await lease.update({ ...now.spec, durationSec }, now.resourceVersion)
    }
    for (let i = 0; i < 10; i++) {
      await edit()
      await pass(2_000, a, b)
    }
    assert.deepEqual([a.events, b.events], [['leads'], []], `${durationSec} s`)
    assert.equal(lease.lease?.spec.durationSec, 15, 'the next renewal corrects it')
    // Its holder dies with the edit in force.
    await edit()
    const late = candidate('late', lease)
    late.election.start()
    await pass(14_000, late)
    assert.equal(late.election.isLeader, false, `${durationSec} s: not early`)
    await pass(50_000, late)
    assert.equal(late.election.isLeader, true, `${durationSec} s: not never`)
  }
})

test('of two processes of one name the first ends, and a process that starts again leads at once', async () => {
  const lease = new MemoryLease()
  const clock = new VirtualClock()
  const [a, twin] = [candidate('a', lease, clock), candidate('a', lease, clock)]
  a.election.start()
  await turns()
  twin.election.start()
  await turns()
  assert.equal(twin.election.isLeader, true)
  await pass(2_500, a, twin)
  assert.deepEqual(a.events, ['leads', 'lost: another operator calls itself a as well'])
  assert.deepEqual(twin.events, ['leads'])
  await pass(30_000, twin)
  assert.equal(twin.election.isLeader, true)
})

test('jumps of the wall clock, forth and back, change nothing', async () => {
  const lease = new MemoryLease()
  const a = candidate('a', lease)
  const { clock } = a
  let jumpMs = 0
  const jumping = {
    now: () => clock.now() + jumpMs,
    monotonic: () => clock.monotonic(),
    after: (ms: number, action: () => void) => clock.after(ms, action),
    soon: (action: () => void) => clock.soon(action),
  }
  const parts = { store: lease, clock: jumping, random: () => 0, identity: 'j', log: a.log }
  const events: string[] = []
  const election = new Election({
    ...parts,
    onLeading: () => void events.push('leads'),
    onLost: (why) => void events.push(why),
  })
  election.start()
  await turns()
  for (const ms of [3_600_000, -86_400_000, 10 * 365 * 86_400_000, 0]) {
    jumpMs = ms
    await pass(20_000, a)
    assert.equal(election.isLeader, true)
  }
  assert.deepEqual(events, ['leads'])
})

/** Its next answers take so long, or are lost after so long. */
class SlowLease extends MemoryLease {
  readonly clock = new VirtualClock()
  readonly next: { readonly ms: number; readonly isLost: boolean }[] = []
  /** When each renewal was asked for. */
  readonly askedAt: number[] = []

  override async update(spec: LeaseSpec, resourceVersion: string): Promise<LeaseAnswer> {
    this.askedAt.push(this.clock.monotonic())
    const { ms, isLost } = this.next.shift() ?? { ms: 0, isLost: false }
    if (ms > 0) await new Promise<void>((resolve) => void this.clock.after(ms, resolve))
    return isLost ? { kind: 'failed', message: 'no answer within 4 s' } : super.update(spec, resourceVersion)
  }
}

test('a renewal is asked for every two seconds however long its answer takes, and one that is lost costs no pause', async () => {
  const lease = new SlowLease()
  const one = candidate('a', lease, lease.clock)
  one.election.start()
  await pass(4_000, one)
  lease.next.push({ ms: 1_500, isLost: false }, { ms: 4_000, isLost: true }, { ms: 3_000, isLost: false })
  await pass(30_000, one)
  assert.deepEqual([one.election.isLeader, one.events], [true, ['leads']])
  const gaps = lease.askedAt.slice(1).map((at, i) => at - (lease.askedAt[i] ?? 0))
  assert.deepEqual(gaps.slice(1, 6), [2_000, 2_000, 4_200, 3_500, 2_000])
})
