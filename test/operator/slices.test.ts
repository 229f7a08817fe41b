/** A flush that is laid down between two Services: what is said meanwhile, and what others get of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordOf } from '../../src/k8s/source.ts'
import { poolKey, SlicedClock, World } from './world.ts'

const clock = new SlicedClock()

test('Services that are settled in slices get their addresses together, and by age', async () => {
  const world = new World(clock)
  const { follower } = await world.lead()
  for (let i = 0; i < 12; i++) world.put(`s${11 - i}`, { created: 11 - i })
  let turns = 0
  while (!world.addresses('s0').length) {
    assert.ok(turns++ < 2_000, 'nothing is written')
    follower.deliver()
    clock.some(1)
    for (let i = 0; i < 5; i++) await Promise.resolve()
    if (world.cluster.written.length === 0) assert.deepEqual(world.addresses('s11'), [])
  }
  assert.ok(turns > 30, `${turns} turns`)
  await world.settle()
  for (let i = 0; i < 12; i++) assert.deepEqual(world.addresses(`s${i}`), [`203.0.113.${i}`])
})

test('a tenant whose Service changes all the time, so that one flush follows the other, holds up nobody', async () => {
  const world = new World(clock)
  const { follower } = await world.lead()
  await world.settle()
  world.put('victim', { created: 5 })
  const told = (): string => {
    const { conditions = [] } = recordOf(world.cluster.objectOf(poolKey('blue'))?.['status'])
    return JSON.stringify(conditions)
  }
  let round = 0
  for (; world.addresses('victim').length === 0 || !/IPsUsed/.test(told()); round++) {
    assert.ok(round < 1_500, `${world.addresses('victim').join()} ${told()}`)
    world.put('flapping', { created: 1, spec: { ports: [{ port: 80 + (round % 100) }], sessionAffinity: `${round}` } })
    follower.deliver()
    clock.some(2)
    if (round % 100 === 0) clock.advance(500)
    for (let i = 0; i < 5; i++) await Promise.resolve()
  }
  assert.ok(round > 5, `${round} rounds`)
})
