/** Of the map of tables so much is mapped as is held: whatever is read or written there, and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Maps, WindowedMemory } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { ServiceTable } from '../../src/datapath/tables/services.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { frontendOf } from './fixture.ts'

/** Words of two of the largest tables. */
const mostHeld = 4 * 65_521

/** The same memory, of which those words alone are there that were held last. */
function mappedAsHeld({ byteLength, words }: WindowedMemory): WindowedMemory {
  const held: { readonly from: number; readonly end: number }[] = []
  const isHeld = new Uint8Array(words.length)
  const check = (word: number): void => {
    if (isHeld[word] !== 1) throw new RangeError(`word ${word} is not held`)
  }
  const isIndex = (name: string | symbol): name is string => typeof name === 'string' && /^\d+$/.test(name)
  const seen = new Proxy(words, {
    get: (_, name) => {
      if (isIndex(name)) check(Number(name))
      if (name !== 'slice') return Reflect.get(words, name)
      return (from: number, end: number): Uint32Array => {
        for (let word = from; word < end; word++) check(word)
        return words.slice(from, end)
      }
    },
    set: (_, name, value) => {
      if (isIndex(name)) check(Number(name))
      return Reflect.set(words, name, value)
    },
  })
  const hold = (from: number, count: number): void => {
    held.push({ from, end: from + count })
    const size = (): number => held.reduce((sum, part) => sum + part.end - part.from, 0)
    while (held.length > 1 && size() > mostHeld) {
      const oldest = held.shift()
      isHeld.fill(0, oldest?.from, oldest?.end)
    }
    for (const part of held) isHeld.fill(1, part.from, part.end)
  }
  return { byteLength, words: seen, hold }
}

let nowNs = 1n
const times = { nowNs: () => nowNs, drainNs: 0n, settleNs: 0n, previousNs: 1_000_000n }
const pods = Array.from({ length: 400 }, (_, n) => ({ address: `10.1.${n >> 8}.${n & 255}`, port: 8080 }))
const counts = [0, 1, 330, 330, 330, 330, 330, 3]

/** With what names places in the map: tables of every length, those before, backends that rest, and members. */
function frontendAt(n: number, round: number): Frontend {
  const backends = pods
    .slice(0, counts[(n + round) % counts.length])
    .map((pod, index) => ({ ...pod, ...(n % 4 === 3 ? { weight: 1 + (index % 3) } : {}) }))
    .map((pod, index) => (index % 5 === 2 && n % 4 === 1 ? { ...pod, node: `10.9.0.${1 + (round % 3)}` } : pod))
  return {
    ...frontendOf(`192.0.2.${n}`, 80, backends),
    resting: pods.slice(350, 350 + ((n * round) % 40)),
    ...(n % 3 === 0 ? { affinitySec: 60 } : {}),
  }
}

test('whatever is written, read, found by a successor or removed, no word of the tables is touched that is not held', () => {
  const maps = new MemoryMaps({ tables: 1 << 20 })
  const seen: Maps = {
    store: (name) => maps.store(name),
    memory: (name) => maps.memory(name),
    shared: (name) => maps.shared(name),
    windows: (name) => mappedAsHeld(maps.windows(name)),
  }
  let table = new ServiceTable(seen, times)
  for (let round = 0; round < 6; round++) {
    const wanted = Array.from({ length: 5 }, (_, n) => frontendAt(n, round))
    // Some alone and some abreast; some before what was before has ended, and some later.
    for (const each of wanted.slice(0, 2)) table.upsert(each)
    assert.ok(table.upsertAll(wanted.slice(2)).every((held) => held !== undefined))
    nowNs += round % 3 === 0 ? 2_000_000n : 1n
    if (round % 3 === 1) table = new ServiceTable(seen, times)
    assert.equal(table.readAll().length, wanted.length)
    for (const { id, backends } of wanted) assert.equal(table.read(id)?.backends.length, backends.length)
    assert.deepEqual(maps.check(), [], `round ${round}`)
    if (round % 5 === 4) for (const { id } of wanted.slice(1, 4)) table.remove(id)
  }
})
