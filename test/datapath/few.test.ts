import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Few } from '../../src/datapath/tables/few.ts'

test('few entries are held, replaced, deleted and listed as a Map does it, however many become of them', () => {
  const names = ['a', 'b', 'c', '']
  for (let seed = 0; seed < 4 ** 6; seed++) {
    const [few, map] = [new Few<number>(), new Map<string, number>()]
    for (let step = 0, rest = seed; step < 6; step++, rest >>= 2) {
      const key = names[rest & 3] ?? ''
      // Every other time what is there goes.
      if (step % 2 === 1 && map.has(key)) assert.equal(few.delete(key), map.delete(key))
      else {
        few.set(key, step)
        map.set(key, step)
      }
      assert.deepEqual([few.size, [...few.values()]], [map.size, [...map.values()]])
      for (const name of names) assert.equal(few.get(name), map.get(name))
      for (const name of names.filter((each) => !map.has(each))) assert.equal(few.delete(name), false)
    }
  }
})
