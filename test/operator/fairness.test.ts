/** Whoever may write in one namespace does not fill what is told of all others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inTurns } from '../../src/desired/in-turns.ts'
import { World } from './world.ts'

test('of many problems each namespace has some told, and all are told where there are few', () => {
  const items = [...Array.from({ length: 1_000 }, (_, i) => `tenant ${i}`), 'other 1', 'third 1', 'third 2']
  const [groupOf, told] = [(item: string) => item.split(' ')[0] ?? '', new Set<string>()]
  for (const each of inTurns(items, groupOf, 10)) told.add(each)
  assert.equal(told.size, 10)
  for (const each of items.slice(-3)) assert.ok(told.has(each), each)
  assert.deepEqual(inTurns(items, groupOf, 2_000), items)
})

test('hundreds of Services of one namespace that are read with a warning do not silence that of another', async () => {
  const world = new World()
  const odd = { 'metallb.io/nonsense': 'x' }
  for (let i = 0; i < 300; i++) world.put(`s${i}`, { annotations: odd }, 'tenant')
  world.put('web', { annotations: odd }, 'victim')
  await world.lead()
  await world.pass(60_000)
  const told = world.cluster.events.filter(
    ({ regarding, reason }) => regarding.namespace === 'victim' && reason === 'UnknownField',
  )
  assert.equal(told.length, 1)
})
