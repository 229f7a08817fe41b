/** The array of all Maglev tables, in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { frontendOf } from './fixture.ts'

const pods = Array.from({ length: 301 }, (_, n) => ({ address: `10.1.${n >> 8}.${n & 255}`, port: 8080 }))

test('changes of one Service take no more space than two tables, however fast they come: time stands still here', () => {
  const counts = [300, 301, 2, 3, 1, 0, 2, 30, 3, 300, 1, 40, 2, 0, 301]
  const datapath = createFakeDatapath({ maxEntries: { tables: 3 * 16_381 } })
  for (let round = 0; round < 200; round++) {
    const wanted = pods.slice(0, counts[round % counts.length])
    datapath.upsert(frontendOf('192.0.2.1', 80, wanted))
    assert.deepEqual(datapath.maps.check(), [], `round ${round}`)
    assert.equal(datapath.read('192.0.2.1:80/TCP')?.backends.length, wanted.length)
  }
  const used = datapath.usage().find(({ name }) => name === 'tables')?.entries ?? 0
  assert.ok(used <= 2 * 16_381, `${used} slots`)
  datapath.remove('192.0.2.1:80/TCP')
  assert.equal(datapath.usage().find(({ name }) => name === 'tables')?.entries, 0)
})

test('what a successor finds is all in use or free: tables, the ones before, and what rests', () => {
  const former = createFakeDatapath()
  for (let n = 0; n < 20; n++) {
    const frontend = frontendOf(`192.0.2.${n}`, 80, pods.slice(n, n + 3))
    former.upsert(frontend)
    former.upsert({ ...frontend, backends: pods.slice(n, n + 2 + (n % 20)), resting: pods.slice(100, 100 + n) })
  }
  const successor = createFakeDatapath({ maps: former.maps })
  assert.deepEqual(successor.readAll(), former.readAll())
  for (let n = 0; n < 20; n++) successor.upsert(frontendOf(`192.0.2.${n}`, 80, pods.slice(n, n + 4)))
  assert.deepEqual(successor.maps.check(), [])
  for (let n = 0; n < 20; n++) successor.remove(`192.0.2.${n}:80/TCP`)
  assert.deepEqual(
    successor
      .usage()
      .slice(0, 4)
      .map(({ entries }) => entries),
    [0, 0, 0, 0],
  )
})
