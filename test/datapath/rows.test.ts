/** Many frontends written in a row, over maps in memory: what a packet meets in between, and after any write failed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeAddressKey } from '../../src/datapath/address-octets.ts'
import { decodeFrontend, encodeFrontendKey, readBackend, type FrontendRecord } from '../../src/datapath/layout.ts'
import type { MapEntry, Maps, MapStore } from '../../src/datapath/maps.ts'
import { MemoryMaps } from '../../src/datapath/memory-maps.ts'
import { ServiceTable } from '../../src/datapath/tables/services.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'
import { frontendOf } from './fixture.ts'

const small = { addresses: 64, frontends: 32, backends: 64, tables: 1 << 14, counters: 32, ranges: 64 }
const times = { nowNs: () => 1n, drainNs: 0n, settleNs: 0n, previousNs: 0n }
const pods = Array.from({ length: 12 }, (_, n) => ({ address: `10.1.0.${n + 1}`, port: 8080 }))

/** Two ports on each of four VIPs, of which neighbors share pods. */
const rowOf = (shift: number): readonly Frontend[] =>
  [0, 1, 2, 3].flatMap((n) =>
    [80, 443].map((port) => ({
      ...frontendOf(`192.0.2.${n + 1}`, port, pods.slice(n + shift, n + shift + 1 + (n % 3))),
      resting: pods.slice(n + 8, n + 9),
      ...(n === 1 ? { sources: [{ prefix: '198.51.100.0/24', isAllowed: true }] } : {}),
      ...(n === 2 ? { affinitySec: 60 } : {}),
    })),
  )

/** The same maps; `before` each entry that is written and each deletion, which it may refuse. */
function watched(maps: MemoryMaps, before: (name: string, key: Uint8Array) => void): { maps: Maps; calls: string[] } {
  const calls: string[] = []
  const stores = new Map<string, MapStore>()
  const of = (store: MapStore): MapStore => ({
    name: store.name,
    keyBytes: store.keyBytes,
    valueBytes: store.valueBytes,
    maxEntries: store.maxEntries,
    get: (key) => store.get(key),
    put: (key, value, mode) => {
      calls.push(`put ${store.name}`)
      before(store.name, key)
      store.put(key, value, mode)
    },
    putAll: (entries: readonly MapEntry[]) => {
      calls.push(`putAll ${store.name}`)
      for (const [key, value] of entries) {
        before(store.name, key)
        store.put(key, value)
      }
    },
    delete: (key) => {
      calls.push(`delete ${store.name}`)
      before(store.name, key)
      return store.delete(key)
    },
    entries: () => store.entries(),
    used: () => store.used(),
  })
  const store: Maps['store'] = (name) => {
    const found = stores.get(name) ?? of(maps.store(name))
    stores.set(name, found)
    return found
  }
  return {
    maps: {
      memory: (name) => maps.memory(name),
      shared: (name) => maps.shared(name),
      windows: (name) => maps.windows(name),
      store,
    },
    calls,
  }
}

/** What a packet needs that finds the frontend: backends of its generation, and what their replies are known by. */
function assertServed(maps: MemoryMaps, { address, protocol, port, backends }: Frontend, when: string): void {
  const value = maps.store('frontends').get(encodeFrontendKey({ address, protocol, port }) ?? new Uint8Array())
  if (value === undefined) return
  const record: FrontendRecord = decodeFrontend(value)
  const memory = maps.memory('tables')
  const slots = Array.from({ length: record.table.length }, (_, n) => (record.table.offset + n) * 8)
  const refs = slots.map((at) => ({ id: memory.getUint32(at, true), generation: memory.getUint32(at + 4, true) }))
  for (const { id, generation } of record.backends === 1 ? [record.only] : refs) {
    const backend = readBackend(maps.memory('backends'), id)
    assert.equal(backend.generation, generation, `${when}: ${address}:${port} names a backend that is not there`)
    const source = encodeFrontendKey({ ...backend, protocol })
    assert.ok(maps.store('sources').get(source ?? new Uint8Array()), `${when}: no source of ${backend.address}`)
    assert.ok(maps.store('addresses').get(encodeAddressKey(backend.address) ?? new Uint8Array()), when)
  }
  assert.ok(record.backends <= Math.max(backends.length, 3), when)
}

/** As the agent does it: what a row did not write is written by itself. */
function write(table: ServiceTable, row: readonly Frontend[]): void {
  for (const [n, held] of table.upsertAll(row).entries())
    if (held === undefined && row[n] !== undefined) table.upsert(row[n])
}

const held = (table: ServiceTable): unknown =>
  [...table.readAll()].map(({ serviceId: _, ...each }) => each).sort((a, b) => (a.id < b.id ? -1 : 1))

test('at no write of a row does a frontend name what is not in the maps, and each map is written once at a step', () => {
  const maps = new MemoryMaps(small)
  const all = [...rowOf(0), ...rowOf(2)]
  const { maps: seen, calls } = watched(maps, (name) => {
    for (const each of all) assertServed(maps, each, `before a write of ${name}`)
  })
  const table = new ServiceTable(seen, times)
  calls.length = 0
  assert.ok(table.upsertAll(rowOf(0)).every((each) => each !== undefined))
  assert.deepEqual(
    calls.filter((call) => !call.endsWith(' ranges')),
    [...['addresses', 'sources', 'backend_counts', 'counters'], 'frontends', 'addresses'].map(
      (name) => `putAll ${name}`,
    ),
  )
  assert.ok(table.upsertAll(rowOf(2)).every((each) => each !== undefined))
  assert.deepEqual(maps.check(), [])
  const alone = new ServiceTable(new MemoryMaps(small), times)
  for (const each of [...rowOf(0), ...rowOf(2)]) alone.upsert(each)
  assert.deepEqual(held(table), held(alone))
})

test('each entry of new Services is written once, in as many calls as there are rows, and each is read back once', () => {
  const maps = new MemoryMaps({
    ...small,
    addresses: 1024,
    frontends: 256,
    backends: 512,
    tables: 1 << 16,
    counters: 256,
  })
  const [written, read] = [new Map<string, number>(), new Map<string, number>()]
  const count = (counts: Map<string, number>, name: string): unknown => counts.set(name, (counts.get(name) ?? 0) + 1)
  const { maps: seen, calls } = watched(maps, (name) => count(written, name))
  const store: Maps['store'] = (name) => {
    const found = seen.store(name)
    return Object.assign(Object.create(found) as MapStore, {
      get: (key: Uint8Array) => {
        count(read, name)
        return found.get(key)
      },
    })
  }
  const { memory, shared, windows } = seen
  const table = new ServiceTable({ memory, shared, windows, store }, times)
  calls.length = 0
  const [rows, inARow] = [4, 32]
  for (let first = 0; first < rows * inARow; first += inARow) {
    const row = Array.from({ length: inARow }, (_, n) => {
      const place = first + n
      const backends = [1, 2].map((pod) => ({ address: `10.1.${place}.${pod}`, port: 8080 }))
      return frontendOf(`192.0.2.${place}`, 80, backends)
    })
    assert.ok(table.upsertAll(row).every((each) => each !== undefined))
  }
  const services = rows * inARow
  assert.deepEqual(Object.fromEntries(written), {
    addresses: 3 * services,
    sources: 2 * services,
    backend_counts: 2 * services,
    counters: services,
    frontends: services,
  })
  assert.deepEqual(Object.fromEntries(read), { frontends: services, addresses: services })
  assert.equal(calls.length, 6 * rows, calls.join(' '))
})

test('a write of a row that the kernel refuses once leaves everything as it was, and then all is written', () => {
  let refusals = 0
  for (let nth = 1; ; nth++) {
    const maps = new MemoryMaps(small)
    const inForce = new ServiceTable(maps, times)
    write(inForce, rowOf(0))
    let writes = 0
    const { maps: refusing } = watched(maps, (name) => {
      if (++writes === nth) throw new HeraldError('ERR_SYSCALL', `write to ${name}: EBUSY`, { errno: 'EBUSY' })
    })
    let table: ServiceTable
    try {
      table = new ServiceTable(refusing, times)
    } catch {
      continue
    }
    const wanted = [...rowOf(2), frontendOf('192.0.2.9', 80, pods.slice(0, 1))]
    const begun = writes
    const results = table.upsertAll(wanted)
    const isRefused = begun < nth && results.every((each) => each === undefined)
    if (isRefused) {
      refusals++
      assert.deepEqual(maps.check(), [], `write ${nth}`)
      assert.equal(table.readAll().length, rowOf(0).length, `write ${nth}`)
      for (const each of rowOf(0)) assert.deepEqual(table.read(each.id)?.backends, each.backends, `write ${nth}`)
    }
    write(table, wanted)
    assert.deepEqual(maps.check(), [], `write ${nth}`)
    for (const each of wanted) assert.deepEqual(table.read(each.id)?.backends, each.backends)
    if (writes < nth) break
  }
  assert.ok(refusals > 10, `${refusals} rows were refused`)
})

test('a process that ends before any write of a row leaves what its successor serves and finishes', () => {
  for (let kill = 1; ; kill++) {
    const maps = new MemoryMaps(small)
    write(new ServiceTable(maps, times), rowOf(0))
    const table = new ServiceTable(maps, times)
    const shared = (['backends', 'tables'] as const).map((name) => new Uint8Array(maps.memory(name).buffer))
    let writes = 0
    let asKilled: readonly Uint8Array[] | undefined
    const { maps: mortal } = watched(maps, () => {
      if (++writes < kill) return
      // What would be undone is not: the process is gone.
      asKilled ??= shared.map((octets) => octets.slice())
      throw new Error('killed')
    })
    assert.equal(table.readAll().length, 8)
    try {
      write(new ServiceTable(mortal, times), rowOf(2))
    } catch (error) {
      assert.match(String(error), /killed/)
    }
    for (const [n, octets] of shared.entries()) octets.set(asKilled?.[n] ?? octets)
    for (const each of [...rowOf(0), ...rowOf(2)]) assertServed(maps, each, `killed before write ${kill}`)
    const successor = new ServiceTable(maps, times)
    assert.deepEqual(maps.check(), [], `killed before write ${kill}`)
    write(successor, rowOf(2))
    assert.deepEqual(maps.check(), [])
    for (const each of rowOf(2)) assert.deepEqual(successor.read(each.id)?.backends, each.backends)
    if (asKilled === undefined) {
      assert.ok(kill > 20, 'there was something to be killed in')
      return
    }
  }
})

for (const refused of ['backends', 'tables'] as const)
  test(`what finds ${refused} that cannot be mapped is not written, and takes no place of the next one`, () => {
    const maps = new MemoryMaps({ backends: 2, tables: 2 * 251 })
    let isRefused = false
    const check = (name: string, length: number): void => {
      if (isRefused && name === refused && length > 0)
        throw new HeraldError('ERR_SYSCALL', `mmap ${name}: ENOMEM`, { errno: 'ENOMEM' })
    }
    const shared: Maps['shared'] = (name) => {
      const memory = maps.shared(name)
      const reach = (octets: number): DataView => {
        check(name, octets)
        return memory.reach(octets)
      }
      return { byteLength: memory.byteLength, reach, whole: (read) => memory.whole(read) }
    }
    const windows: Maps['windows'] = (name) => ({ ...maps.windows(name), hold: (_, words) => check(name, words) })
    const memory: Maps['memory'] = (name) => maps.memory(name)
    const table = new ServiceTable({ memory, shared, windows, store: (name) => maps.store(name) }, times)
    const backends = [1, 2].map((pod) => ({ address: `10.1.0.${pod}`, port: 8080 }))
    const frontend = frontendOf('192.0.2.1', 80, backends)
    isRefused = true
    assert.throws(() => table.upsert(frontend), { code: 'ERR_SYSCALL', errno: 'ENOMEM' })
    assert.deepEqual([table.readAll(), maps.check()], [[], []])
    const used = table.usage().filter(({ name }) => name === 'tables' || name === 'backend_counts')
    assert.deepEqual(
      used.map(({ entries }) => entries),
      [0, 0],
    )
    isRefused = false
    assert.deepEqual(table.upsert(frontend).backends, backends)
    assert.deepEqual(maps.check(), [])
  })
