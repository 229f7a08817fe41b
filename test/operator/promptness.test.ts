/** How long a new Service waits for its address when the server does not slow anybody: no timer is in the way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pool, poolKey, service, serviceKey, World } from './world.ts'

/** By the clock that is turned here; a real one adds what the server and the network take. */
const mostMs = 200

test('each of 1 000 Services that come one by one has its address without a wait', async () => {
  const world = new World()
  world.cluster.put(poolKey('wide'), pool('wide', ['198.51.100.0/22']))
  await world.lead()
  await world.settle()
  const began = world.clock.monotonic()
  for (let n = 0; n < 1000; n++) {
    world.put(`s${n}`, { created: n })
    await world.settle()
    assert.equal(world.addresses(`s${n}`).length, 1, `s${n} waits`)
  }
  assert.equal(world.clock.monotonic(), began)
})

test('1 000 Services that come at once have their addresses within 200 ms, beside events and counters', async () => {
  const world = new World()
  world.cluster.put(poolKey('wide'), pool('wide', ['198.51.100.0/22']))
  await world.lead()
  await world.settle()
  for (let n = 0; n < 1000; n++) world.put(`s${n}`, { created: n })
  await world.settle()
  for (let ms = 0; ms < mostMs; ms += 20) {
    world.clock.advance(20)
    await world.settle()
  }
  const waiting = Array.from({ length: 1000 }, (_, n) => `s${n}`).filter((name) => world.addresses(name).length === 0)
  assert.deepEqual(waiting, [])
})

test('a new Service has its address while a leader still writes what it says of thousands', async () => {
  const world = new World()
  const many = 5_000
  world.cluster.put(poolKey('wide'), pool('wide', ['198.18.0.0/16']))
  // As somebody else gave them: their addresses stay, and each status is written once.
  for (let n = 0; n < many; n++) {
    const ingress = [{ ip: `198.18.${n >> 8}.${n & 255}`, ipMode: 'VIP' }]
    world.cluster.put(serviceKey(`s${n}`), service(`s${n}`, { created: n, ingress }))
  }
  // A write takes a while, as with a real server: not all are done at once.
  const begun: string[] = []
  world.sinkOf = (manager) => {
    const sink = world.cluster.sink(manager)
    return {
      ...sink,
      apply: (status) => {
        begun.push(status.target.name)
        return new Promise((resolve) => world.clock.after(20, () => resolve(sink.apply(status))))
      },
    }
  }
  await world.lead()
  await world.settle()
  assert.ok(begun.length > 0, 'it has begun')
  world.put('new', { created: many })
  for (let ms = 0; ms < 60; ms += 20) {
    world.clock.advance(20)
    await world.settle()
  }
  assert.equal(world.addresses('new').length, 1, `${begun.length} others were written`)
  assert.ok(begun.length < 200, 'thousands still wait')
})
