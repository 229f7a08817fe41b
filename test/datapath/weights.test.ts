/** Backends of different weights: what part of the table each has, what a change moves, and what a restart finds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { maglevTable, slotsOf, tableLength } from '../../src/datapath/maglev.ts'
import { decodeFrontend, readBackend } from '../../src/datapath/layout.ts'
import type { FakeDatapath } from '../../src/datapath/fake.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'
import { isHeld } from '../../src/reconcile/frontends.ts'

const weight = fc.integer({ min: 1, max: 100 })
const weighed = fc
  .uniqueArray(fc.tuple(fc.nat(255), fc.nat(255), weight), {
    minLength: 2,
    maxLength: 60,
    selector: ([a, b]) => a * 256 + b,
  })
  .map((list) => list.map(([a, b, part]) => ({ name: `10.0.${a}.${b}:80/TCP`, part })))
  .map((list) => list.sort((a, b) => (a.name < b.name ? -1 : 1)))

type Weighed = readonly { readonly name: string; readonly part: number }[]

function tableOf(list: Weighed): Int32Array {
  const weights = list.map(({ part }) => part)
  return maglevTable(
    list.map(({ name }) => name),
    tableLength(list.length),
    { weights },
  )
}

function sharesOf(table: Int32Array, backends: number): readonly number[] {
  const shares = new Array<number>(backends).fill(0)
  for (const backend of table) shares[backend] = (shares[backend] ?? 0) + 1
  return shares
}

test('every backend has the part of the slots that its weight says, to the slot, and never none', () => {
  fc.assert(
    fc.property(weighed, (list) => {
      const table = tableOf(list)
      const sum = list.reduce((total, { part }) => total + part, 0)
      for (const [index, share] of sharesOf(table, list.length).entries()) {
        const due = ((list[index]?.part ?? 0) * table.length) / sum
        assert.ok(share >= 1 && (Math.abs(share - due) < 1 || due < 1), `${share} slots, ${due} are due`)
      }
    }),
    { numRuns: 100 },
  )
})

test('however uneven the weights of however many are, the slots are all given and each has one', () => {
  fc.assert(
    fc.property(fc.array(weight, { minLength: 2, maxLength: 240, size: 'max' }), (weights) => {
      const slots = slotsOf(weights, 251)
      assert.equal(
        slots.reduce((sum, n) => sum + n, 0),
        251,
      )
      assert.ok(Math.min(...slots) >= 1)
    }),
    { numRuns: 200 },
  )
})

test('with weights of any size a larger one never has fewer slots, and beside one slot all have their part', () => {
  const anySize = fc.tuple(fc.integer({ min: 1, max: 65_535 }), fc.double({ min: 0, max: 1, noNaN: true }))
  const sized = anySize.map(([most, part]) => Math.max(1, Math.floor(most * part ** 6)))
  fc.assert(
    fc.property(fc.array(sized, { minLength: 2, maxLength: 300, size: 'max' }), (weights) => {
      const length = tableLength(weights.length)
      const slots = [...slotsOf(weights, length)]
      const sum = (list: readonly number[]): number => list.reduce((total, n) => total + n, 0)
      assert.equal(sum(slots), length)
      const byWeight = [...weights.keys()].sort((a, b) => (weights[a] ?? 0) - (weights[b] ?? 0) || b - a)
      for (const [n, index] of byWeight.entries()) assert.ok((slots[index] ?? 0) >= (slots[byWeight[n - 1] ?? -1] ?? 1))
      // Who has one slot has it whatever is due; the others share what is left.
      const shared = [...weights.keys()].filter((index) => (slots[index] ?? 0) > 1)
      const [part, total] = [sum(shared.map((n) => slots[n] ?? 0)), sum(shared.map((n) => weights[n] ?? 0))]
      for (const index of shared) {
        const due = ((weights[index] ?? 0) * part) / total
        assert.ok(Math.abs((slots[index] ?? 0) - due) < 1 + due / 10, `${slots[index]} slots of ${due}`)
      }
    }),
    { numRuns: 200 },
  )
  // The lightest ones take from the heaviest, and not as much from each.
  const slots = [...slotsOf([65_535, ...Array<number>(100).fill(10), ...Array<number>(100).fill(1)], 16_381)]
  assert.deepEqual([Math.min(...slots.slice(1, 101)), Math.max(...slots.slice(101))], [2, 1])
})

test('the heaviest weight beside the lightest ones costs no round of all of them for each of its slots', () => {
  const names = Array.from({ length: 40_000 }, (_, n) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}:80/TCP`)
  const table = maglevTable(names, 65_521, { weights: names.map((_, n) => (n === 0 ? 65_535 : 1)) })
  const shares = sharesOf(table, names.length)
  assert.deepEqual([shares[0], Math.max(...shares.slice(1))], [65_521 - 39_999, 1])
})

test('with equal weights, whatever they are, the table is the one without any', () => {
  fc.assert(
    fc.property(weighed, weight, (list, part) => {
      const equal = tableOf(list.map(({ name }) => ({ name, part })))
      const names = list.map(({ name }) => name)
      assert.deepEqual([...equal], [...maglevTable(names, equal.length)])
    }),
    { numRuns: 60 },
  )
})

test('a changed weight moves the slots that it has to, and few of the others', () => {
  const parts = fc.sample(fc.tuple(weighed, fc.nat(), weight), 300).map(([list, pick, part]) => {
    const changed = pick % list.length
    const [before, after] = [tableOf(list), tableOf(list.map((each, n) => (n === changed ? { ...each, part } : each)))]
    const [had, has] = [sharesOf(before, list.length), sharesOf(after, list.length)]
    const due = had.reduce((sum, n, index) => sum + Math.max(0, n - (has[index] ?? 0)), 0)
    return (before.filter((backend, slot) => backend !== after[slot]).length - due) / before.length
  })
  const mean = parts.reduce((sum, part) => sum + part, 0) / parts.length
  assert.ok(mean < 0.05, `${mean} of the slots moved without need`)
})

const vip = '198.51.100.1'
const frontend = (...backends: readonly Backend[]): Frontend => ({
  id: `${vip}:80/TCP`,
  service: 'default/web',
  address: vip,
  protocol: 'TCP',
  port: 80,
  backends,
})
const pod = (n: number, part?: number): Backend => ({
  address: `10.244.1.${n}`,
  port: 8080,
  ...(part === undefined ? {} : { weight: part }),
})

test('a change of weights alone is written, read back, and nothing is left of it when they are equal again', () => {
  const datapath = createFakeDatapath()
  const plain = frontend(pod(1), pod(2), pod(3))
  datapath.upsert(plain)
  const first = frontend(pod(1, 4), pod(2, 1), pod(3, 1))
  assert.ok(!isHeld(first, datapath.read(first.id)), 'other weights are another frontend')
  assert.deepEqual(datapath.upsert(first).backends, first.backends)
  const second = frontend(pod(1, 4), pod(2, 2), pod(3, 1))
  assert.ok(!isHeld(second, datapath.read(first.id)))
  assert.deepEqual(datapath.upsert(second).backends, second.backends)
  assert.deepEqual(datapath.upsert(plain).backends, plain.backends)
})

test('a pod has a weight behind one Service, and none behind another one', () => {
  const datapath = createFakeDatapath()
  const first = frontend(pod(1, 4), pod(2, 1))
  const other = { ...frontend(pod(1), pod(2)), id: `${vip}:81/TCP`, port: 81 }
  datapath.upsert(first)
  datapath.upsert(other)
  assert.deepEqual(datapath.read(other.id)?.backends, other.backends)
  assert.deepEqual(datapath.read(first.id)?.backends, first.backends)
})

test('after a restart the weights are those of the table: the same ones make the same table, and none even ones', () => {
  const before = createFakeDatapath()
  const wanted = frontend(pod(1, 4), pod(2, 1), pod(3, 1))
  before.upsert(wanted)
  const after = createFakeDatapath({ maps: before.maps })
  const [found] = after.readAll()
  assert.ok(!isHeld(frontend(pod(1), pod(2), pod(3)), found), 'uneven ones are not taken for even ones')
  assert.deepEqual(
    found?.backends.map(({ weight: slots }) => slots),
    [167, 42, 42],
  )
  assert.deepEqual(after.upsert(wanted).backends, wanted.backends)
  const again = createFakeDatapath({ maps: after.maps })
  assert.deepEqual(
    again.readAll()[0]?.backends.map(({ weight: slots }) => slots),
    [167, 42, 42],
  )
})

/** Whose each slot of the one table is. */
function slotsIn({ maps }: FakeDatapath): readonly string[] {
  const [value] = [...maps.store('frontends').entries()].map(([, each]) => each)
  assert.ok(value !== undefined)
  const { table } = decodeFrontend(value)
  const [tables, backends] = [maps.memory('tables'), maps.memory('backends')]
  return Array.from(
    { length: table.length },
    (_, slot) => readBackend(backends, tables.getUint32((table.offset + slot) * 8, true)).address,
  )
}

test('after a restart a table of weights that hardly differ is none of even ones, and an even one is as it is', () => {
  const before = createFakeDatapath()
  const parts = Array.from({ length: 52 }, (_, n) => (n % 3 === 0 ? 100 : 99))
  before.upsert(frontend(...parts.map((part, n) => pod(n + 1, part))))
  const even = frontend(...parts.map((_, n) => pod(n + 1)))
  const after = createFakeDatapath({ maps: before.maps })
  assert.ok(!isHeld(even, after.readAll()[0]), 'the table that other nodes make is another one')
  after.upsert(even)
  const plain = createFakeDatapath()
  plain.upsert(even)
  assert.deepEqual(slotsIn(after), slotsIn(plain))
  for (const affinitySec of [undefined, 60])
    for (let count = 1; count <= 120; count += 7) {
      const first = createFakeDatapath()
      const pods = Array.from({ length: count }, (_, n) => pod(((n * 37) % 251) + 1))
      const inOrder = pods.sort((a, b) => Number(a.address.slice(9)) - Number(b.address.slice(9)))
      const wanted = { ...frontend(...inOrder), ...(affinitySec === undefined ? {} : { affinitySec }) }
      first.upsert(wanted)
      const [found] = createFakeDatapath({ maps: first.maps }).readAll()
      assert.ok(isHeld(wanted, found), `${count} backends without weights are held as they are`)
    }
})

test('the table is the same on every node, wherever the pods are, and whatever was in force there before', () => {
  const weights = [5, 2, 1, 1, 40, 7]
  const onNode = (own: number, ...before: readonly number[]): FakeDatapath => {
    const datapath = createFakeDatapath()
    const pods = (of: readonly number[]): Frontend =>
      frontend(...of.map((part, n) => ({ ...pod(n + 1, part), ...(n === own ? {} : { node: `192.168.1.${n + 1}` }) })))
    if (before.length > 0) datapath.upsert(pods(before))
    datapath.upsert(pods(weights))
    return datapath
  }
  const table = slotsIn(onNode(0))
  assert.equal(new Set(table).size, weights.length)
  for (const other of [onNode(3), onNode(5, 1, 1, 1, 1, 1, 1), onNode(1, 9, 2, 1), onNode(9)])
    assert.deepEqual(slotsIn(other), table)
})
