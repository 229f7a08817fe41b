/** Somebody else writes a status while we do: the same comes of it at every moment, and under the next leader. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StatusOutcome } from '../../src/k8s/status.ts'
import { serviceKey, World } from './world.ts'

const other = '203.0.113.9'
const byOther = { loadBalancer: { ingress: [{ ip: other, ipMode: 'VIP' }] } }

interface Moment {
  readonly what: string
  /** Of the first write of ours. */
  readonly outcome: StatusOutcome
  /** ms after its beginning; undefined: before its answer. */
  readonly afterMs?: number
}

const moments: readonly Moment[] = [
  { what: 'that is stale', outcome: { kind: 'stale' } },
  { what: 'that has no answer', outcome: { kind: 'failed', message: 'no answer' } },
  { what: 'that is refused', outcome: { kind: 'refused', message: 'forbidden' } },
  { what: 'that is limited', outcome: { kind: 'limited', afterMs: 3_000 } },
  { what: 'that waits for a limit to end', outcome: { kind: 'limited', afterMs: 3_000 }, afterMs: 1_000 },
  { what: 'that waits for its next try', outcome: { kind: 'failed', message: 'no answer' }, afterMs: 200 },
]

for (const { what, outcome, afterMs } of moments)
  test(`another free address that somebody writes beside a write of ours ${what} is taken over`, async () => {
    const world = new World()
    world.put('web')
    const interfere = (): void => {
      world.cluster.writeStatus(serviceKey('web'), byOther, 'other')
      first.follower.deliver()
    }
    let isFirst = true
    world.cluster.fault = ({ target }) => {
      if (target.kind !== 'Service' || !isFirst) return undefined
      isFirst = false
      // Its watch event is here before the answer.
      if (afterMs === undefined) queueMicrotask(interfere)
      else world.clock.after(afterMs, interfere)
      return outcome
    }
    const first = await world.lead()
    await world.settle()
    await world.pass(60_000)
    assert.ok(!isFirst)
    assert.deepEqual(world.addresses('web'), [other])
    assert.match(world.condition('web'), /^True Allocated/)
    assert.deepEqual(world.cluster.events, [], 'nobody is told of a conflict that there is none')
    assert.deepEqual(first.operator.figures.services, { allocated: 1, waiting: 0, owned: 0 })
    const writes = world.cluster.written.length
    first.isLeader = false
    await world.lead()
    await world.pass(60_000)
    assert.deepEqual(world.addresses('web'), [other])
    assert.equal(world.cluster.written.length, writes, 'the next leader finds what it would have written')
  })

test('an address that is taken over is free for nobody else, and the one that was meant is free again', async () => {
  const world = new World()
  world.put('web')
  await world.lead()
  await world.settle()
  // The same Service twice: the second time only its status is another one.
  for (const ip of [other, '203.0.113.7']) {
    world.cluster.writeStatus(serviceKey('web'), { loadBalancer: { ingress: [{ ip, ipMode: 'VIP' }] } }, 'other')
    await world.settle()
    assert.deepEqual(world.addresses('web'), [ip])
    assert.match(world.condition('web'), new RegExp(`^True Allocated: ${ip} `))
  }
  for (let i = 0; i < 15; i++) world.put(`next-${i}`)
  await world.pass(5_000)
  const given = new Set(Array.from({ length: 15 }, (_, i) => world.addresses(`next-${i}`)[0]))
  assert.equal(given.size, 15)
  assert.ok(!given.has('203.0.113.7') && given.has('203.0.113.0') && given.has(other))
})
