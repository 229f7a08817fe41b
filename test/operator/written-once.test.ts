/** What the operator wrote comes back by the watch: it says what was answered, and nothing is settled for it again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { serviceKey, World } from './world.ts'

/** Work that may be laid down asks at each step whether its turn is over. */
class CountingClock extends VirtualClock {
  looks = 0

  override monotonic(): number {
    this.looks++
    return super.monotonic()
  }
}

/** The steps of settling `count` new Services, and those of reading what was written of them. */
async function stepsOf(count: number): Promise<{ readonly given: number; readonly readBack: number }> {
  const clock = new CountingClock()
  const world = new World(clock)
  world.cluster.put(
    { apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', namespace: '', name: 'wide' },
    {
      metadata: { name: 'wide', creationTimestamp: '2024-01-01T00:00:00Z' },
      spec: { blocks: [{ cidr: '198.18.0.0/16' }] },
    },
  )
  const { follower } = await world.lead()
  await world.settle()
  const turn = async (): Promise<number> => {
    const before = clock.looks
    follower.deliver()
    clock.settle()
    const steps = clock.looks - before
    // What is written is answered, and said by the watch, which is not delivered yet.
    for (let round = 0; round < 20 * count; round++) await Promise.resolve()
    clock.settle()
    return steps
  }
  for (let i = 0; i < count; i++) world.put(`s${i}`)
  const given = await turn()
  const readBack = await turn()
  for (let i = 0; i < count; i++) assert.match(world.condition(`s${i}`), /^True Allocated/)
  await world.settle()
  assert.equal(world.cluster.written.filter(({ target }) => target.kind === 'Service').length, count)
  return { given, readBack }
}

test('of Services that were given addresses nothing is settled once more when their statuses are read back', async () => {
  const [few, many] = [await stepsOf(1), await stepsOf(8)]
  assert.ok(many.given > 4 * few.given, `${few.given} and ${many.given} steps`)
  assert.ok(many.readBack < few.given, `${few.readBack} and ${many.readBack} steps`)
})

test('what a status says no more when it was written is free for others at once', async () => {
  const world = new World()
  world.put('moved', { annotations: { 'metallb.io/loadBalancerIPs': '203.0.113.5' } })
  await world.lead()
  await world.settle()
  assert.deepEqual(world.addresses('moved'), ['203.0.113.5'])
  world.put('heir', { annotations: { 'metallb.io/loadBalancerIPs': '203.0.113.5' } })
  world.put('moved', { annotations: { 'metallb.io/loadBalancerIPs': '203.0.113.6' } })
  await world.settle()
  assert.deepEqual([world.addresses('moved'), world.addresses('heir')], [['203.0.113.6'], ['203.0.113.5']])
})

test('a status that was written and that the server changed on its way is looked at', async () => {
  const world = new World()
  world.put('web')
  await world.lead()
  await world.settle()
  const [address = ''] = world.addresses('web')
  world.cluster.writeStatus(serviceKey('web'), { loadBalancer: { ingress: [{ ip: '203.0.113.9' }] } }, 'me')
  await world.settle()
  assert.notEqual(address, '203.0.113.9')
  assert.match(world.condition('web'), /^True Allocated: 203\.0\.113\.9 /)
})
