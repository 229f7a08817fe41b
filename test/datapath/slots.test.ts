import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { IdPool, StretchPool } from '../../src/datapath/slots.ts'

test('a returned id is handed out last', () => {
  const pool = new IdPool('ids', 4)
  assert.deepEqual([pool.take(0n), pool.take(0n)], [0, 1])
  pool.give(0, 0n)
  pool.give(1, 0n)
  assert.deepEqual([pool.take(0n), pool.take(0n), pool.take(0n), pool.take(0n)], [2, 3, 0, 1])
  assert.throws(() => pool.take(0n), { code: 'ERR_MAP_FULL' })
})

test('a returned id is handed out before a fresh one that is not preferred, and after every one that is', () => {
  const pool = new IdPool('ids', 4, 2)
  assert.deepEqual([pool.take(0n), pool.take(0n)], [0, 1])
  pool.give(0, 5n)
  assert.equal(pool.take(4n), 2, 'what rests is not waited for')
  assert.equal(pool.take(5n), 0)
  pool.give(2, 5n)
  assert.deepEqual([pool.take(5n), pool.take(5n)], [2, 3])
  assert.throws(() => pool.take(5n), { code: 'ERR_MAP_FULL' })
})

test('a returned id rests until its time, and then the one that was returned first comes back', () => {
  const pool = new IdPool('ids', 2)
  assert.deepEqual([pool.take(0n), pool.take(0n)], [0, 1])
  pool.give(1, 10n)
  pool.give(0, 20n)
  assert.throws(() => pool.take(9n), { code: 'ERR_MAP_FULL' })
  assert.equal(pool.take(10n), 1)
  assert.throws(() => pool.take(19n), { code: 'ERR_MAP_FULL' })
  assert.equal(pool.take(20n), 0)
})

test('no id is ever in two hands', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(7), { maxLength: 5 }),
      fc.array(fc.option(fc.nat(7)), { maxLength: 80 }),
      fc.nat(9),
      (reserved, steps, preferred) => {
        const pool = new IdPool('ids', 8, preferred)
        const held = new Set(reserved)
        for (const id of held) pool.reserve(id)
        for (const step of steps) {
          if (step !== null) {
            held.delete(step)
            pool.give(step, 0n)
          } else if (held.size < 8) {
            const id = pool.take(0n)
            assert.ok(!held.has(id) && id < 8)
            held.add(id)
          }
          assert.equal(pool.used, held.size)
        }
      },
    ),
  )
})

test('stretches never overlap, and all space comes back', () => {
  const steps = fc.array(fc.record({ length: fc.integer({ min: 1, max: 9 }), give: fc.boolean(), pick: fc.nat() }), {
    maxLength: 100,
  })
  fc.assert(
    fc.property(steps, (list) => {
      const pool = new StretchPool(40, 5n, [{ offset: 10, length: 3 }])
      const held: { offset: number; length: number }[] = [{ offset: 10, length: 3 }]
      let now = 0n
      for (const { length, give, pick } of list) {
        now += 1n
        if (give && held.length > 0) {
          const [stretch] = held.splice(pick % held.length, 1)
          if (stretch !== undefined) pool.give(stretch.offset, stretch.length, now)
          continue
        }
        let offset: number
        try {
          offset = pool.take(length, now)
        } catch {
          // Full, which is allowed to happen in forty slots.
          continue
        }
        assert.ok(offset >= 0 && offset + length <= 40)
        assert.ok(held.every((other) => offset + length <= other.offset || other.offset + other.length <= offset))
        held.push({ offset, length })
      }
      assert.equal(
        pool.used,
        held.reduce((sum, stretch) => sum + stretch.length, 0),
      )
      for (const { offset, length } of held) pool.give(offset, length, now)
      assert.equal(pool.take(40, now + 10n), 0)
    }),
  )
})

test('a returned stretch rests before it is used again', () => {
  const pool = new StretchPool(4, 10n, [])
  pool.give(pool.take(4, 0n), 4, 0n)
  assert.throws(() => pool.take(4, 9n), { code: 'ERR_MAP_FULL' })
  assert.equal(pool.take(4, 10n), 0)
})

test("a pool of any number of ids takes memory for those that were in use, and one beyond it is nobody's", () => {
  const before = process.memoryUsage().arrayBuffers
  const pool = new IdPool('ids', 2 ** 31)
  for (const id of [0, 3, 1_000]) pool.reserve(id)
  assert.deepEqual([pool.take(0n), pool.take(0n), pool.take(0n), pool.used], [1, 2, 4, 6])
  assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20)
  const small = new IdPool('ids', 2)
  small.reserve(2)
  small.give(2, 0n)
  assert.deepEqual([small.used, small.take(0n), small.take(0n)], [0, 0, 1])
  assert.throws(() => small.take(0n), { code: 'ERR_MAP_FULL' })
})
