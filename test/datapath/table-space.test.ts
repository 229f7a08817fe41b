/** The array of all Maglev tables, in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeDatapath, type FakeDatapath } from '../../src/datapath/fake.ts'
import { decodeFrontend, encodeFrontend, readBackend, sizes } from '../../src/datapath/layout.ts'
import type { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import type { Backend } from '../../src/desired/model.ts'
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

/** By slot, which backend a table names. */
function slotsOf(maps: MemoryMaps, which: 'table' | 'previous'): readonly string[] {
  const [value] = [...maps.store('frontends').entries()].map(([, octets]) => octets)
  const { offset, length } = decodeFrontend(value ?? new Uint8Array())[which]
  const tables = maps.memory('tables')
  return Array.from({ length }, (_, slot) => {
    const at = (offset + slot) * sizes.backendRef
    return `${tables.getUint32(at, true)}.${tables.getUint32(at + 4, true)}`
  })
}

test(
  'the table before says of each slot whose it was before it moved, whatever moved since beside it; with another ' +
    'length of the table it begins anew',
  () => {
    const datapath = createFakeDatapath()
    const sets = [
      pods.slice(0, 3),
      pods.slice(0, 4),
      pods.slice(1, 4),
      pods.slice(1, 5),
      pods.slice(0, 5),
      pods.slice(0, 4),
    ]
    const before = new Map<number, string>()
    let inForce: readonly string[] = []
    for (const [round, backends] of sets.entries()) {
      datapath.upsert(frontendOf('192.0.2.1', 80, backends))
      const now = slotsOf(datapath.maps, 'table')
      for (const [slot, name] of now.entries())
        if (inForce.length > 0 && inForce[slot] !== name) before.set(slot, inForce[slot] ?? '')
      inForce = now
      if (round < 2) continue
      const previous = slotsOf(datapath.maps, 'previous')
      assert.equal(previous.length, now.length)
      for (const [slot, name] of before) assert.equal(previous[slot], name, `slot ${slot} in round ${round}`)
    }
    assert.ok(before.size > inForce.length / 2)
    datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 20)))
    assert.deepEqual(slotsOf(datapath.maps, 'previous'), inForce)
    assert.notEqual(slotsOf(datapath.maps, 'table').length, inForce.length)
  },
)

test('a slot of the only backend that there was is remembered once there are more', () => {
  const datapath = createFakeDatapath()
  datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 1)))
  datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 2)))
  const [first] = slotsOf(datapath.maps, 'table').filter((name) => name.startsWith('0.'))
  datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 3)))
  const [now, previous] = [slotsOf(datapath.maps, 'table'), slotsOf(datapath.maps, 'previous')]
  const unmoved = now.flatMap((name, slot) => (name.startsWith('1.') ? slot : []))
  assert.ok(unmoved.length > 10)
  for (const slot of unmoved) assert.equal(previous[slot], first, 'it was of the only one before')
})

const onNode = (index: number, node: number): Backend => ({
  ...(pods[index] ?? assert.fail()),
  node: `203.0.113.${node}`,
})

/** By slot, the address of the backend that a table names, or that of the only one. */
function addressesOf(maps: MemoryMaps, which: 'table' | 'previous'): readonly string[] {
  const [value] = [...maps.store('frontends').entries()].map(([, octets]) => octets)
  const { previousOnly, previous } = decodeFrontend(value ?? new Uint8Array())
  const addressOf = (id: number): string => readBackend(maps.memory('backends'), id).address
  if (which === 'previous' && previous.length === 0)
    return previousOnly.generation === 0 ? [] : [addressOf(previousOnly.id)]
  return slotsOf(maps, which).map((name) => addressOf(Number(name.split('.')[0])))
}

test(
  'a node that hears of a frontend with its first backends has the table that the others had before; one with none ' +
    'of them, or with all, has none',
  () => {
    for (const count of [1, 2, 9]) {
      const others = Array.from({ length: count }, (_, n) => onNode(2 + n, 1))
      const own = pods.slice(0, 2)
      const [before, after] = [createFakeDatapath(), createFakeDatapath()]
      before.upsert(frontendOf('192.0.2.1', 80, others))
      assert.deepEqual(addressesOf(before.maps, 'previous'), [])
      after.upsert(frontendOf('192.0.2.1', 80, [...own, ...others]))
      const expected = count === 1 ? [pods[2]?.address] : addressesOf(before.maps, 'table')
      assert.deepEqual(addressesOf(after.maps, 'previous'), expected)
      assert.deepEqual(after.maps.check(), [])
      after.remove('192.0.2.1:80/TCP')
      assert.equal(after.usage().find(({ name }) => name === 'tables')?.entries, 0)
      after.upsert(frontendOf('192.0.2.1', 80, own))
      assert.deepEqual(addressesOf(after.maps, 'previous'), [])
    }
  },
)

test('a frontend for which there is no room leaves none taken, also where its first table found some', () => {
  const datapath = createFakeDatapath({ maxEntries: { tables: 251 + 10 } })
  const backends = [...pods.slice(0, 1), onNode(1, 1), onNode(2, 1)]
  assert.throws(() => datapath.upsert(frontendOf('192.0.2.1', 80, backends)), { code: 'ERR_MAP_FULL' })
  assert.equal(datapath.usage().find(({ name }) => name === 'tables')?.entries, 0)
  assert.deepEqual(datapath.readAll(), [])
})

/** Time that stands still but for what the test says, and a grace of ten seconds. */
function timed(maps?: MemoryMaps): { readonly datapath: FakeDatapath; readonly at: (sec: number) => void } {
  let nowNs = 1_000_000_000n
  const times = { nowNs: () => nowNs, drainNs: 0n, settleNs: 0n, previousNs: 10_000_000_000n }
  const datapath = createFakeDatapath(maps === undefined ? { times } : { times, maps })
  return { datapath, at: (sec) => (nowNs = BigInt(sec) * 1_000_000_000n) }
}

function graceOf(maps: MemoryMaps): number {
  const [value] = [...maps.store('frontends').entries()].map(([, octets]) => octets)
  return Number(decodeFrontend(value ?? new Uint8Array()).previousUntilNs / 1_000_000_000n)
}

test(
  'the table before has a grace from the last change that moves something, and is forgotten by the first one after ' +
    'it',
  () => {
    const { datapath, at } = timed()
    const serve = (count: number, resting = 0): void => {
      const frontend = frontendOf('192.0.2.1', 80, pods.slice(0, count))
      datapath.upsert({ ...frontend, resting: pods.slice(100, 100 + resting) })
    }
    serve(3)
    assert.equal(graceOf(datapath.maps), 0, 'there was none before')
    const before = slotsOf(datapath.maps, 'table')
    at(2)
    serve(4)
    assert.equal(graceOf(datapath.maps), 12)
    const [second, after] = [slotsOf(datapath.maps, 'table'), 4]
    at(8)
    serve(after, 2)
    assert.equal(graceOf(datapath.maps), 12, 'nothing has moved')
    at(9)
    serve(5)
    assert.equal(graceOf(datapath.maps), 19)
    const now = slotsOf(datapath.maps, 'table')
    const inTime = slotsOf(datapath.maps, 'previous')
    for (const [slot, name] of before.entries())
      if (now[slot] === second[slot]) assert.equal(inTime[slot], name, `slot ${slot}`)
    at(20)
    serve(4)
    assert.equal(graceOf(datapath.maps), 30)
    assert.deepEqual(slotsOf(datapath.maps, 'previous'), now, 'nothing of before')
  },
)

test('a successor keeps the grace, and one that has no end, or an end of another clock, begins with it', () => {
  const former = timed()
  former.datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 3)))
  former.datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(0, 4)))
  const { maps } = former.datapath
  assert.equal(graceOf(maps), 11)
  assert.deepEqual(timed(maps).datapath.readAll(), former.datapath.readAll())
  assert.equal(graceOf(maps), 11)
  const [[key, value]] = [...maps.store('frontends').entries()] as [[Uint8Array, Uint8Array]]
  maps.store('frontends').put(key, encodeFrontend({ ...decodeFrontend(value), previousUntilNs: 2n ** 64n - 1n }))
  timed(maps)
  assert.equal(graceOf(maps), 11, 'from now on')
})

test('the space of a frontend that is gone rests for a second, as a packet may still read its table', () => {
  let nowNs = 1n
  const times = { nowNs: () => nowNs, drainNs: 0n, settleNs: 0n, previousNs: 0n }
  const datapath = createFakeDatapath({ times, maxEntries: { tables: 251 } })
  const former = frontendOf('192.0.2.1', 80, pods.slice(0, 2))
  const next = frontendOf('192.0.2.2', 80, pods.slice(2, 4))
  datapath.upsert(former)
  const table = (): readonly number[] => [...new Uint8Array(datapath.maps.memory('tables').buffer)]
  const written = table()
  datapath.remove(former.id)
  nowNs += 999_999_999n
  assert.throws(() => datapath.upsert(next), { code: 'ERR_MAP_FULL' })
  assert.deepEqual(table(), written)
  nowNs += 1n
  datapath.upsert(next)
  assert.notDeepEqual(table(), written)
})

test(
  'the id of a backend that is gone is the last to be used again, and then of another generation: what still names it ' +
    'finds nobody',
  () => {
    const times = { nowNs: () => 1n, drainNs: 0n, settleNs: 0n, previousNs: 0n }
    const datapath = createFakeDatapath({ times, maxEntries: { backends: 4 } })
    const held = (): readonly string[] => {
      const memory = datapath.maps.memory('backends')
      return [0, 1, 2, 3].map((id) => {
        const { address, generation } = readBackend(memory, id)
        return generation === 0 ? '' : `${address} ${generation}`
      })
    }
    const serve = (index: number): void => {
      datapath.upsert(frontendOf('192.0.2.1', 80, pods.slice(index, index + 1)))
    }
    for (const index of [0, 1, 2, 3]) serve(index)
    assert.deepEqual(held(), ['10.1.0.0 1', '10.1.0.1 1', '10.1.0.2 1', '10.1.0.3 1'])
    serve(4)
    assert.deepEqual(held(), ['10.1.0.4 2', '10.1.0.1 1', '10.1.0.2 1', '10.1.0.3 1'], 'the one that is gone longest')
    serve(5)
    assert.deepEqual(held(), ['10.1.0.4 2', '10.1.0.5 2', '10.1.0.2 1', '10.1.0.3 1'])
  },
)
