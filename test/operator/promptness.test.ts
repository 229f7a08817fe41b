/** How long a new Service waits for its address when the server does not slow anybody: no timer is in the way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pool, poolKey, World } from './world.ts'

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
