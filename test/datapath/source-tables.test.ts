/** Sets of source ranges over maps in memory: what a packet meets in between, and after a crash at any write. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { encodeAddressKey } from '../../src/datapath/address-octets.ts'
import { decodeAddress, decodeFrontend, encodeFrontendKey, encodeRangeKey } from '../../src/datapath/layout.ts'
import type { Maps, MapStore } from '../../src/datapath/maps.ts'
import { indexKey, indexOf } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { memberSlots } from '../../src/datapath/tables/members.ts'
import { ServiceTable } from '../../src/datapath/tables/services.ts'
import { unionOf } from '../../src/datapath/tables/vip-ranges.ts'
import type { Frontend, SourceRange } from '../../src/desired/model.ts'
import { frontendOf } from './fixture.ts'

const vip = '192.0.2.10'
const pods = [1, 2, 3].map((n) => ({ address: `10.1.0.${n}`, port: 8080 }))
const allow = (...prefixes: readonly string[]): readonly SourceRange[] =>
  prefixes.map((prefix) => ({ prefix, isAllowed: true }))
const limited = (sources?: readonly SourceRange[], port = 80): Frontend => ({
  ...frontendOf(vip, port, pods),
  ...(sources === undefined ? {} : { sources }),
})

/** What the programs do: whether a client may open a flow, or hears from the VIP. */
function isLetIn(maps: Maps, client: string, set: number): boolean {
  if (set === 0) return true
  const value = maps.store('ranges').get(encodeRangeKey({ set, prefix: `${client}/32` }) ?? new Uint8Array())
  return value !== undefined && indexOf(value) !== 0
}
function opens(maps: Maps, client: string, port = 80): boolean {
  const key = encodeFrontendKey({ address: vip, protocol: 'TCP', port }) ?? new Uint8Array()
  const value = maps.store('frontends').get(key)
  return value !== undefined && isLetIn(maps, client, decodeFrontend(value).ranges)
}
function isAnswered(maps: Maps, client: string): boolean {
  const value = maps.store('addresses').get(encodeAddressKey(vip) ?? new Uint8Array())
  return value !== undefined && decodeAddress(value).frontends > 0 && isLetIn(maps, client, decodeAddress(value).ranges)
}

let nowNs = 1n
const times = { nowNs: () => nowNs, drainNs: 0n, settleNs: 0n, previousNs: 0n }

/** The same maps, which look after each write, or end the process before one. */
function watched(maps: MemoryMaps, afterEach: () => void, lastWrite = Infinity): Maps {
  let writes = 0
  const write = <T>(run: () => T): T => {
    if (++writes > lastWrite) throw new Error('killed')
    const result = run()
    afterEach()
    return result
  }
  const stores = new Map<string, MapStore>()
  return {
    memory: (name) => maps.memory(name),
    shared: (name) => maps.shared(name),
    windows: (name) => maps.windows(name),
    store: (name) => {
      const store = maps.store(name)
      const found = stores.get(name) ?? {
        name: store.name,
        keyBytes: store.keyBytes,
        valueBytes: store.valueBytes,
        maxEntries: store.maxEntries,
        get: (key) => store.get(key),
        put: (key, value, mode) => write(() => store.put(key, value, mode)),
        putAll: (all) => all.forEach(([key, value]) => write(() => store.put(key, value))),
        delete: (key) => write(() => store.delete(key)),
        entries: () => store.entries(),
        used: () => store.used(),
      }
      stores.set(name, found)
      return found
    },
  }
}
const small = { addresses: 64, frontends: 16, backends: 64, tables: 4096, counters: 16, ranges: 64 }
const lists = [
  allow('10.0.0.0/8', '172.16.0.0/12'),
  allow('172.16.0.0/12', '192.168.0.0/16', '198.18.0.0/15'),
  [],
  allow('172.16.0.0/12'),
] as const
const [both, neither] = ['172.16.0.9', '203.0.113.9']

test('at no write of a change is a client of no list let in, nor one of both lists kept out', () => {
  const maps = new MemoryMaps(small)
  let isIn = true
  const table = new ServiceTable(
    watched(maps, () => {
      assert.equal(opens(maps, neither) || isAnswered(maps, neither), false)
      if (isIn) assert.ok(opens(maps, both))
    }),
    times,
  )
  isIn = false
  table.upsert(limited(lists[0]))
  for (const next of [lists[1], lists[3], lists[1], lists[0]]) {
    isIn = true
    table.upsert(limited(next))
    nowNs += 2_000_000_000n
    isIn = false
    assert.ok(opens(maps, both))
  }
  table.upsert(limited(lists[2]))
  assert.equal(opens(maps, both), false)
  nowNs += 2_000_000_000n
  table.remove(limited().id)
  nowNs += 2_000_000_000n
  table.upsert(limited(lists[3]))
  assert.equal(maps.store('ranges').used(), 1, 'what nobody names is gone')
  assert.deepEqual(maps.check(), [])
})

test('a process that is killed before any write leaves ranges that are whole, and its successor clears up', () => {
  for (let kill = 0; kill < 80; kill++) {
    const maps = new MemoryMaps(small)
    new ServiceTable(maps, times).upsert(limited(lists[0]))
    let wasKilled = false
    try {
      const table = new ServiceTable(
        watched(maps, () => {}, kill),
        times,
      )
      for (const next of [lists[1], lists[3], lists[0]]) {
        table.upsert(limited(next))
        nowNs += 2_000_000_000n
      }
      table.upsert(limited(lists[3], 81))
      table.remove(limited().id)
    } catch (error) {
      assert.match(String(error), /killed/)
      wasKilled = true
    }
    assert.equal(opens(maps, neither) || isAnswered(maps, neither), false, `killed before write ${kill + 1}`)
    const successor = new ServiceTable(maps, times)
    assert.equal(opens(maps, neither) || isAnswered(maps, neither), false)
    successor.upsert(limited(lists[1]))
    assert.ok(opens(maps, both))
    assert.ok(isAnswered(maps, both))
    const named = successor.readAll().flatMap(({ sources = [] }) => sources.map(({ prefix }) => prefix))
    nowNs += 2_000_000_000n
    successor.upsert(limited(lists[1], 82))
    assert.ok(maps.store('ranges').used() <= new Set(named).size + 4, `${kill}: sets that nobody names are gone`)
    assert.deepEqual(maps.check(), [])
    if (!wasKilled) {
      assert.ok(kill > 10, 'there was something to be killed in')
      return
    }
  }
  assert.fail('every run was killed')
})

test('equal lists are one set, in any order and for any Service; a set that is wanted again soon was never gone', () => {
  const { maps, ...datapath } = createFakeDatapath({ times })
  for (let port = 1; port <= 20; port++)
    datapath.upsert(limited(port % 2 === 0 ? lists[1] : lists[1].toReversed(), port))
  assert.equal(maps.store('ranges').used(), 3)
  assert.equal(datapath.usage().find(({ name }) => name === 'ranges')?.entries, 3)
  for (let port = 1; port <= 20; port++) datapath.upsert(limited(lists[3], port))
  for (let port = 1; port <= 20; port++) datapath.upsert(limited(lists[1], port))
  assert.equal(maps.store('ranges').used(), 4)
  nowNs += 2_000_000_000n
  datapath.upsert(limited(undefined, 21))
  assert.equal(maps.store('ranges').used(), 3)
  for (let port = 1; port <= 21; port++) datapath.remove(limited(undefined, port).id)
  nowNs += 2_000_000_000n
  datapath.upsert(limited())
  assert.equal(maps.store('ranges').used(), 0)
})

test('entries that somebody else put into a set or beside all sets are found in a walk of some at a time', () => {
  const maps = new MemoryMaps({ ...small, ranges: 4096 })
  const table = new ServiceTable(maps, times)
  const long = Array.from({ length: 150 }, (_, n) => `10.${n >> 8}.${n & 255}.0/24`)
  const wanted = limited(allow(...long))
  table.upsert(wanted)
  const ranges = maps.store('ranges')
  const foreign = encodeRangeKey({ set: 1, prefix: '203.0.113.0/24' }) ?? new Uint8Array()
  const beside = encodeRangeKey({ set: 99, prefix: '203.0.113.0/24' }) ?? new Uint8Array()
  for (const key of [foreign, beside]) ranges.put(key, indexKey(1))
  assert.ok(opens(maps, neither))
  let reads = 0
  while (table.read(wanted.id)?.sources?.length === 150 && ++reads < 100);
  assert.ok(reads < 40, `${reads} readings`)
  table.upsert(wanted)
  assert.equal(opens(maps, neither), false)
  for (let n = 0; n < 40; n++) table.read(wanted.id)
  assert.equal(ranges.get(beside), undefined)
  assert.equal(ranges.used(), 150)
})

test('a VIP whose frontends differ answers the union of what they let in, also when deny lists are among them', () => {
  const prefix = fc
    .tuple(
      fc.constantFrom('10.0.0.0', '10.1.0.0', '10.1.2.0', '10.128.0.0', '0.0.0.0'),
      fc.constantFrom(0, 8, 9, 16, 24),
    )
    .map(([address, length]) =>
      length === 0 ? '0.0.0.0/0' : length < 16 ? `10.${length === 8 ? 0 : 128}.0.0/${length}` : `${address}/${length}`,
    )
  const list = fc
    .array(fc.record({ prefix, isAllowed: fc.boolean() }), { maxLength: 6 })
    .map((all) => [...new Map(all.map((each) => [each.prefix, each])).values()])
  const clients = ['10.0.0.1', '10.1.0.1', '10.1.2.1', '10.1.3.1', '10.128.0.1', '10.200.0.1', '11.0.0.1', '0.0.0.1']
  const letsIn = (ranges: readonly SourceRange[], client: string): boolean => {
    const maps = new MemoryMaps(small)
    for (const { prefix: each, isAllowed } of ranges)
      maps
        .store('ranges')
        .put(encodeRangeKey({ set: 1, prefix: each }) ?? new Uint8Array(), indexKey(Number(isAllowed)))
    return isLetIn(maps, client, 1)
  }
  fc.assert(
    fc.property(list, list, (a, b) => {
      for (const client of clients)
        assert.equal(letsIn(unionOf([a, b]), client), letsIn(a, client) || letsIn(b, client), client)
    }),
    { numRuns: 60 },
  )
})

const hosts = (count: number, net = 0): readonly SourceRange[] =>
  allow(...Array.from({ length: count }, (_, n) => `10.${net}.${n >> 8}.${n & 255}/32`).sort())

/** The same maps, with the calls for ranges counted. */
function counting(maps: MemoryMaps): { readonly maps: Maps; readonly calls: () => number } {
  let calls = 0
  const counted = <T>(result: T): T => {
    calls++
    return result
  }
  const of = (store: MapStore): MapStore => ({
    name: store.name,
    keyBytes: store.keyBytes,
    valueBytes: store.valueBytes,
    maxEntries: store.maxEntries,
    get: (key) => counted(store.get(key)),
    put: (key, value, mode) => counted(store.put(key, value, mode)),
    putAll: (all) => all.forEach(([key, value]) => counted(store.put(key, value))),
    delete: (key) => counted(store.delete(key)),
    entries: () => store.entries(),
    used: () => store.used(),
  })
  const ranges = of(maps.store('ranges'))
  const store: Maps['store'] = (name) => (name === 'ranges' ? ranges : maps.store(name))
  return {
    maps: {
      memory: (name) => maps.memory(name),
      shared: (name) => maps.shared(name),
      windows: (name) => maps.windows(name),
      store,
    },
    calls: () => calls,
  }
}

test('what a port costs that names many ranges does not grow with them, once they are written and read back', () => {
  const { maps, calls } = counting(new MemoryMaps({ ...small, ranges: 4096 }))
  const table = new ServiceTable(maps, times)
  const sources = hosts(400)
  table.upsert(limited(sources))
  assert.ok(calls() >= 2 * sources.length, 'they were written and read')
  const before = calls()
  for (let port = 81; port <= 90; port++) table.upsert(limited(sources, port))
  assert.ok(calls() - before < 10 * 4 * 64, `${calls() - before} calls for ten ports`)
  for (let port = 80; port <= 90; port++) assert.equal(table.read(limited(sources, port).id)?.sources?.length, 400)
})

test('what somebody else changes in a large set is found in as many readings as it has parts, and is mended', () => {
  const maps = new MemoryMaps({ ...small, ranges: 4096 })
  const table = new ServiceTable(maps, times)
  const sources = hosts(300)
  table.upsert(limited(sources))
  const at = (n: number): Uint8Array => encodeRangeKey({ set: 1, prefix: sources[n]?.prefix ?? '' }) ?? new Uint8Array()
  const edits = [
    () => void maps.store('ranges').delete(at(7)),
    () => maps.store('ranges').put(at(299), indexKey(0)),
    () => sources.forEach((_, n) => void maps.store('ranges').delete(at(n))),
  ]
  for (const edit of edits) {
    edit()
    const readings = Array.from({ length: 5 }, () => table.read(limited(sources).id)?.sources)
    assert.notDeepEqual(readings.at(-1), sources)
    assert.deepEqual(table.upsert(limited(sources)).sources, sources)
    for (const [n] of sources.entries()) assert.deepEqual(maps.store('ranges').get(at(n)), indexKey(1))
  }
})

test('hundreds who share a VIP, each with ranges of its own, take no room for their union, and it answers nobody', () => {
  const maps = new MemoryMaps({ ...small, ranges: 3900 })
  const table = new ServiceTable(maps, times)
  for (let n = 0; n < 7; n++) table.upsert(limited(hosts(300, n), 80 + n))
  nowNs += 2_000_000_000n
  table.upsert(limited(hosts(300, 6), 86))
  assert.equal(maps.store('ranges').used(), 2100)
  assert.deepEqual([opens(maps, '10.3.0.9', 83), opens(maps, '10.3.0.9', 84)], [true, false])
  assert.equal(isAnswered(maps, '10.3.0.9'), false)
  for (let n = 1; n < 7; n++) table.remove(limited(undefined, 80 + n).id)
  assert.ok(isAnswered(maps, '10.0.0.9'))
})

test('deny lists that are many are not looked up in one another, and let nobody in together', () => {
  const denied = (net: number): readonly SourceRange[] => [
    { prefix: '0.0.0.0/0', isAllowed: true },
    ...hosts(50, net).map(({ prefix }) => ({ prefix, isAllowed: false })),
  ]
  assert.equal(unionOf([denied(1), denied(2)]).filter(({ isAllowed }) => !isAllowed).length, 0)
  assert.deepEqual(unionOf(Array.from({ length: 15 }, (_, net) => denied(net))), [])
  const [first = [], second = []] = [hosts(500, 1), hosts(500, 2)]
  assert.equal(unionOf([first, second]).length, 1000)
  assert.deepEqual(unionOf([first, second, hosts(500, 3)]), [])
})

test('when the union of what a VIP answers finds no room, what its Services let in is in force all the same', () => {
  const maps = new MemoryMaps({ ...small, ranges: 7 })
  const table = new ServiceTable(maps, times)
  table.upsert(limited(allow('10.0.0.0/8', '10.1.0.0/16', '10.2.0.0/16'), 80))
  table.upsert(limited(allow('172.16.0.0/12', '172.17.0.0/16'), 81))
  assert.deepEqual([opens(maps, '10.0.0.1', 80), opens(maps, both, 81), opens(maps, both, 80)], [true, true, false])
  assert.deepEqual([isAnswered(maps, '10.0.0.1'), isAnswered(maps, both)], [false, false])
  table.remove(limited(undefined, 81).id)
  assert.ok(isAnswered(maps, '10.0.0.1'))
})

test('a Service that is to be limited, and whose ranges find no room, lets in nobody rather than everybody', () => {
  const maps = new MemoryMaps({ ...small, ranges: 2 })
  const table = new ServiceTable(maps, times)
  table.upsert(limited())
  assert.ok(opens(maps, neither) && isAnswered(maps, neither))
  for (let round = 0; round < 3; round++) {
    assert.throws(() => table.upsert(limited(lists[1])), { code: 'ERR_MAP_FULL' })
    assert.deepEqual([opens(maps, neither), isAnswered(maps, neither), opens(maps, both)], [false, false, false])
    assert.deepEqual(table.read(limited().id)?.sources, [])
  }
  assert.deepEqual(new ServiceTable(maps, times).read(limited().id)?.sources, [])
  table.upsert(limited(lists[0]))
  assert.throws(() => table.upsert(limited(lists[1])), { code: 'ERR_MAP_FULL' })
  assert.deepEqual([opens(maps, both), opens(maps, neither)], [true, false], 'the list before stays')
  table.upsert(limited())
  assert.ok(opens(maps, neither))
})

test('entries of no set are removed by whoever takes over, and 0 is never given to a set', () => {
  const maps = new MemoryMaps(small)
  maps.store('ranges').put(encodeRangeKey({ set: 0, prefix: '0.0.0.0/0' }) ?? new Uint8Array(), indexKey(1))
  const table = new ServiceTable(maps, times)
  assert.equal(maps.store('ranges').used(), 0)
  table.upsert(limited(lists[0]))
  table.upsert(limited([], 81))
  assert.deepEqual([opens(maps, neither), opens(maps, neither, 81), opens(maps, both)], [false, false, true])
})

test('every backend that a client may stay with is found within 16 steps, and none that is not there', () => {
  const ids = fc.uniqueArray(fc.nat(1 << 20), { minLength: 2, maxLength: 300 })
  fc.assert(
    fc.property(ids, (list) => {
      const slots = memberSlots(list.map((id) => ({ id, generation: 1 })))
      assert.equal(slots.length & (slots.length - 1), 0)
      assert.deepEqual(slots, memberSlots(list.toReversed().map((id) => ({ id, generation: 1 }))))
      for (const id of list) {
        const hash = Math.imul(id, 0x9e3779b1) >>> 0
        const place = (hash ^ (hash >>> 15)) >>> 0
        const steps = Array.from({ length: 16 }, (_, n) => slots[(place + n) & (slots.length - 1)])
        assert.ok(steps.findIndex((slot) => slot?.id === id) < (steps.indexOf(undefined) + 17) % 17)
      }
    }),
    { numRuns: 50 },
  )
})
