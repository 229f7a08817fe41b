/** Events have room for everybody, over a turned clock. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { MemoryCluster } from '../../src/k8s/memory-cluster.ts'
import type { ObjectVersionRef, StatusOutcome } from '../../src/k8s/status.ts'
import { EventLog } from '../../src/operator/event-log.ts'

const halfAnHourMs = 30 * 60_000

function serviceIn(namespace: string, name: string): ObjectVersionRef {
  const uid = `uid-${namespace}-${name}`
  return { apiVersion: 'v1', kind: 'Service', resource: 'services', namespace, name, uid, resourceVersion: '1' }
}

class World {
  readonly clock = new VirtualClock()
  readonly cluster = new MemoryCluster()
  readonly waiting = new Set<string>()
  readonly log = new EventLog(this.clock, this.cluster.sink('herald-operator'), (key) => this.waiting.add(key))

  warn(namespace: string, name: string, text = 'no address is free'): void {
    this.log.warn(serviceIn(namespace, name), 'OutOfAddresses', 'Allocate', text)
  }

  /** Everything that waits is written, or answered otherwise. */
  async write(outcome?: StatusOutcome): Promise<void> {
    for (const key of [...this.waiting]) {
      this.waiting.delete(key)
      const writing = this.log.write(key)
      if (writing !== undefined) this.log.wrote(key, outcome ?? (await writing))
    }
  }

  /** How many events of a namespace were made. */
  madeIn(namespace: string): number {
    return this.cluster.events.filter(({ regarding }) => regarding.namespace === namespace).length
  }
}

for (const [what, floods, isWritten] of [
  ['a namespace with thousands of events that wait', 1, false],
  ['seven namespaces with thousands of events that wait', 7, false],
  ['a namespace with thousands of events that were written', 1, true],
  ['seven namespaces with thousands of events that were written', 7, true],
] as const)
  test(`${what} leaves room for those of others`, async () => {
    const world = new World()
    for (let i = 0; i < 10_000; i++) {
      world.warn(`flood-${i % floods}`, `${i}`)
      if (isWritten && i % 50 === 0) await world.write()
    }
    assert.ok(world.log.dropped > 0, 'there is a bound')
    for (let i = 0; i < 20; i++) world.warn('shop', `web-${i}`)
    await world.write()
    assert.equal(world.madeIn('shop'), 20)
    assert.ok(world.madeIn('flood-0') >= 100, 'and a flood has its share')
  })

test('what waited and was written makes room again, however often it was said meanwhile', async () => {
  const world = new World()
  for (let round = 0; round < 4; round++) {
    const sayAll = (): void => {
      for (let i = 0; i < 300; i++) world.warn(`shop-${i % 30}`, `${round}-${i}`)
    }
    sayAll()
    await world.write()
    world.clock.advance(halfAnHourMs)
    sayAll()
    // While these wait to be repeated there comes more than there is room for, and they are said once more.
    for (let i = 0; i < 3_000; i++) world.warn(`other-${i}`, 'web', `${round}`)
    sayAll()
    await world.write()
  }
  const before = world.log.dropped
  for (let i = 0; i < 400; i++) world.warn('late', `${i}`)
  await world.write()
  assert.equal(world.log.dropped, before)
  assert.equal(world.madeIn('late'), 400)
})

test('an event that is repeated without room stays the same one, and is repeated when there is room', async () => {
  const world = new World()
  world.warn('shop', 'web')
  await world.write()
  world.clock.advance(halfAnHourMs)
  for (let i = 0; i < 5_000; i++) world.warn(`flood-${i}`, 'web')
  world.warn('shop', 'web')
  await world.write()
  world.clock.advance(halfAnHourMs / 3)
  world.warn('shop', 'web')
  await world.write()
  assert.equal(world.madeIn('shop'), 1)
})
