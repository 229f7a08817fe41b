/** What an operator does when it begins to lead beside thousands of Services, turn by turn of its loop. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { pool, poolKey, serviceKey, World } from './world.ts'

const services = 1_000
/** The most that one turn may say: some milliseconds. */
const most = 128

/** Tells of the end of each turn. */
class TurnClock extends VirtualClock {
  onTurn: () => void = () => undefined

  override soon(action: () => void): void {
    super.soon(() => {
      action()
      this.onTurn()
    })
  }
}

class TurnWorld extends World {
  override readonly clock = new TurnClock()
}

const nameOf = (n: number): string => `s${n}`

/** Every Service has its address by an operator before, which is gone. */
async function ledBefore(): Promise<TurnWorld> {
  const world = new TurnWorld()
  world.cluster.put(poolKey('wide'), pool('wide', ['198.51.100.0/22']))
  for (let n = 0; n < services; n++) world.put(nameOf(n), { created: n })
  const before = await world.lead()
  await world.settle()
  await before.operator.stop()
  world.running.length = 0
  return world
}

test('of a first list no turn says more than some Services, and in the end all of them are said', async () => {
  const world = await ledBefore()
  const { written } = world.cluster
  const before = written.length
  const counts: number[] = []
  const running = await world.lead()
  const allocated = (): number => running.operator.figures.services.allocated
  counts.push(allocated())
  world.clock.onTurn = () => void counts.push(allocated())
  await world.settle()
  const steps = counts.map((count, turn) => count - (counts[turn - 1] ?? 0))
  assert.ok(Math.max(...steps) <= most, `one turn said ${Math.max(...steps)}`)
  assert.equal(allocated(), services)
  assert.deepEqual(written.slice(before), [], 'what is said already is not written again')
})

test('another free address that somebody gives a Service while a first list is said is taken over', async () => {
  const world = await ledBefore()
  const [name, other] = [nameOf(services - 1), '203.0.113.9']
  await world.lead()
  let isGiven = false
  world.clock.onTurn = () => {
    if (isGiven) return
    isGiven = true
    world.cluster.writeStatus(serviceKey(name), { loadBalancer: { ingress: [{ ip: other, ipMode: 'VIP' }] } }, 'other')
    world.running[0]?.follower.deliver()
  }
  await world.settle()
  await world.pass(10_000)
  assert.ok(isGiven)
  assert.deepEqual(world.addresses(name), [other])
})

test('a Service that goes while a first list is said is counted no more', async () => {
  const world = await ledBefore()
  const running = await world.lead()
  let isGone = false
  world.clock.onTurn = () => {
    if (isGone) return
    isGone = true
    world.cluster.remove(serviceKey(nameOf(services - 1)))
    running.follower.deliver()
  }
  await world.settle()
  await world.pass(1_000)
  assert.ok(isGone)
  assert.equal(running.operator.figures.services.allocated, services - 1)
})
