/** The small parts of allocation against models that are too simple to be wrong. */
import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Interval, widestPrefixLength } from '../../src/allocation/intervals.ts'
import { LockFile } from '../../src/allocation/lock-file.ts'
import { PoolCounter } from '../../src/allocation/pool-counts.ts'
import { type Pool, PoolTable } from '../../src/allocation/pool-table.ts'
import { Reserved } from '../../src/allocation/reserved.ts'
import { byAge, type SharingTerms, sharingObstacle } from '../../src/allocation/sharing.ts'
import { byRank, Waiting } from '../../src/allocation/waiting.ts'
import { allOf } from '../../src/allocation/work.ts'
import { waitFor } from '../wait.ts'
import { pool, range, request } from './requests.ts'

const places = ['10.0.0.0/29', '10.0.0.4-10.0.0.9', '10.0.0.8/32', '10.0.0.255-10.0.1.1', 'fd00::/126']
const addresses = [
  ...Array.from({ length: 12 }, (_, i) => `10.0.0.${i}`),
  '10.0.0.255',
  '10.0.1.0',
  '10.0.1.1',
  'fd00::',
  'fd00::3',
  'fd00::4',
]

const terms: fc.Arbitrary<SharingTerms> = fc.record(
  {
    key: fc.constantFrom('a', 'b'),
    namespace: fc.constantFrom('x', 'y', 'z'),
    sharedWith: fc.subarray(['x', 'y', '*']),
    trafficKey: fc.constantFrom('Cluster', 'Local app=web'),
    ports: fc.subarray(['80/TCP', '80/UDP', '443/TCP']),
  },
  { noNullPrototype: true },
)

test('what stands between two Services that would share an address stands there for both', () => {
  const seen = new Set<string | undefined>()
  fc.assert(
    fc.property(terms, terms, (a, b) => {
      const found = sharingObstacle(a, b)
      seen.add(found?.kind)
      assert.deepEqual(found?.kind, sharingObstacle(b, a)?.kind)
      const isPermitted = (one: SharingTerms, other: SharingTerms): boolean =>
        one.namespace === other.namespace || one.sharedWith.some((each) => each === '*' || each === other.namespace)
      const kinds = [
        a.key === b.key ? undefined : 'key',
        isPermitted(a, b) && isPermitted(b, a) ? undefined : 'namespace',
        a.trafficKey === b.trafficKey ? undefined : 'traffic',
        new Set([...a.ports, ...b.ports]).size === a.ports.length + b.ports.length ? undefined : 'port',
      ]
      assert.equal(
        found?.kind,
        kinds.find((kind) => kind !== undefined),
      )
      if (found?.kind === 'port') assert.ok(a.ports.includes(found.port) && b.ports.includes(found.port))
    }),
    { numRuns: 1_000 },
  )
  assert.equal(seen.size, 5)
  const own: SharingTerms = { key: 'a', namespace: 'x', sharedWith: [], trafficKey: 'Cluster', ports: [] }
  assert.deepEqual(
    [sharingObstacle(undefined, own), sharingObstacle(own, undefined)],
    [{ kind: 'key' }, { kind: 'key' }],
  )
})

const waiter = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    createdMs: fc.constantFrom(0, 1, 2, Number.POSITIVE_INFINITY),
    explicit: fc.boolean(),
  })
  .map(({ name, createdMs, explicit }) => request(name, { createdMs, explicit: explicit ? ['10.0.0.1'] : [] }))

test('age and rank put any Services into one order, whatever order they come in', () => {
  for (const order of [byAge, byRank])
    fc.assert(
      fc.property(fc.uniqueArray(waiter, { selector: ({ key }) => key }), fc.nat(8), (all, turn) => {
        const names = (list: typeof all): readonly string[] =>
          list.toSorted(order).map(({ key, createdMs, explicit }) => `${key} ${createdMs} ${explicit.length}`)
        assert.deepEqual(names([...all.slice(turn), ...all.slice(0, turn)].toReversed()), names(all))
        for (const a of all)
          for (const b of all) {
            assert.equal(Math.sign(order(a, b)) + Math.sign(order(b, a)), 0)
            if (order(a, b) === 0) assert.equal(a.key, b.key)
          }
      }),
    )
})

test('who waits stands in line by rank, once, as it asked last', () => {
  const step = fc.oneof(
    waiter.map((add) => ({ add, remove: undefined })),
    fc.constantFrom('a', 'b', 'c').map((name) => ({ add: undefined, remove: `default/${name}` })),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const waiting = new Waiting()
      const model = new Map<string, ReturnType<typeof request>>()
      for (const { add, remove } of steps) {
        if (add !== undefined) {
          waiting.add(add)
          model.set(add.key, add)
        } else {
          waiting.delete(remove)
          model.delete(remove)
        }
        assert.deepEqual(waiting.inOrder(), [...model.values()].sort(byRank))
        assert.deepEqual([waiting.size, waiting.has('default/a')], [model.size, model.has('default/a')])
      }
    }),
  )
})

test('to whom an address matters that changed hands is to be looked at again, once, unless it was looked at since', () => {
  const place = fc.constantFrom('10.0.0.1', '10.0.0.2')
  const named = fc.record({ explicit: fc.subarray(['10.0.0.1', '10.0.0.2']), status: fc.subarray(['10.0.0.2']) })
  const name = fc.constantFrom('a', 'b', 'c')
  const step = fc.oneof(
    fc.record({
      do: fc.constant('add' as const),
      each: fc.tuple(name, named).map(([of, more]) => request(of, more)),
      hinges: fc.subarray(['10.0.0.1']),
    }),
    fc.record({ do: fc.constant('delete' as const), key: name.map((of) => `default/${of}`) }),
    fc.record({ do: fc.constant('changes' as const), at: place }),
    fc.record({ do: fc.constant('take' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const waiting = new Waiting()
      const named = new Map<string, Set<string>>()
      const outdated = new Set<string>()
      const forget = (key: string): unknown => [named.delete(key), outdated.delete(key)]
      for (const one of steps) {
        if (one.do === 'add') {
          waiting.add(one.each, one.hinges)
          forget(one.each.key)
          named.set(one.each.key, new Set([...one.each.explicit, ...one.each.status, ...one.hinges]))
        } else if (one.do === 'delete') {
          waiting.delete(one.key)
          forget(one.key)
        } else if (one.do === 'changes') {
          waiting.changedHands(one.at)
          // Of one change nobody is told twice.
          for (const [key, addresses] of named) if (addresses.delete(one.at)) outdated.add(key)
        } else {
          const taken = waiting.takeOutdated().map(({ key }) => key)
          assert.deepEqual([...taken].sort(), [...outdated].sort())
          outdated.clear()
        }
      }
    }),
  )
})

const pools = fc
  .array(fc.subarray(places, { minLength: 1 }), { maxLength: 3 })
  .map((all): readonly Pool[] => all.map((ranges, i) => pool(`p${i}`, ranges)))
const counted = fc.oneof(
  fc.record({ key: fc.constantFrom('a', 'b', 'c'), held: fc.subarray(addresses, { maxLength: 3 }) }),
  pools.map((found) => ({ pools: found })),
)

test('a pool counts each address that it may give once, and each that is held once, through any history', () => {
  const reserved = new Reserved([{ place: '10.0.0.2', reason: 'the address of node a' }])
  fc.assert(
    fc.property(pools, fc.array(counted, { maxLength: 15 }), (first, steps) => {
      const counter = new PoolCounter()
      const holders = new Map<string, readonly string[]>()
      let [now, table] = [first, new PoolTable(first, reserved)]
      const set = (all: readonly Pool[]): void => {
        now = all
        table = new PoolTable(all, reserved)
        const used = table
        allOf(counter.setPools(all, reserved, (address) => used.poolsOf(address)))
      }
      set(first)
      for (const step of steps) {
        if ('pools' in step) set(step.pools)
        else {
          counter.hold(step.key, step.held)
          holders.set(step.key, step.held)
          assert.deepEqual(counter.heldBy(step.key), step.held)
        }
        const held = new Set([...holders.values()].flat())
        for (const address of addresses) assert.equal(counter.isHeld(address), held.has(address))
        for (const [of, counts] of counter.counts())
          for (const family of ['ipv4', 'ipv6'] as const) {
            const isOfFamily = (address: string): boolean => address.includes(':') === (family === 'ipv6')
            const own = addresses.filter((address) => isOfFamily(address) && table.poolsOf(address).includes(of))
            assert.equal(counts[family].used, BigInt(own.filter((address) => held.has(address)).length))
          }
        assert.deepEqual([...counter.counts().keys()], now)
      }
    }),
  )
})

test('the total of a pool is what it gives, address by address: overlaps once, reserved and spared ones not at all', () => {
  const reserved = new Reserved([{ place: '10.0.0.2', reason: 'the address of node a' }])
  const shapes = fc.record({ chosen: fc.subarray(places, { minLength: 1 }), ends: fc.boolean(), buggy: fc.boolean() })
  fc.assert(
    fc.property(shapes, ({ chosen, ends, buggy }) => {
      const ranges = chosen.map((place) => ({ ...range(place, ends), sparesBuggy: buggy }))
      const one = pool('p', [], { ranges })
      const table = new PoolTable([one], reserved)
      const counter = new PoolCounter()
      allOf(counter.setPools([one], reserved, () => []))
      const all = [
        ...Array.from({ length: 258 }, (_, i) => `10.0.${i >> 8}.${i & 255}`),
        'fd00::',
        'fd00::1',
        'fd00::2',
        'fd00::3',
      ]
      const given = all.filter((address) => table.gives(one, address))
      const totals = counter.counts().get(one)
      assert.deepEqual(
        [totals?.ipv4.total, totals?.ipv6.total],
        [false, true].map((six) => BigInt(given.filter((address) => address.includes(':') === six).length)),
      )
    }),
  )
})

test('the widest prefix of a range is one that lies in it, and no wider one does', () => {
  fc.assert(
    fc.property(fc.nat(300), fc.nat(300), (a, b) => {
      const [first, last] = [BigInt(Math.min(a, b)), BigInt(Math.max(a, b))]
      const interval: Interval = { family: 'ipv4', first, last }
      const lies = (length: number): boolean => {
        const size = 2n ** BigInt(32 - length)
        for (let start = 0n; start <= last; start += size) if (start >= first && start + size - 1n <= last) return true
        return false
      }
      const found = widestPrefixLength(interval)
      assert.ok(lies(found))
      for (let wider = 23; wider < found; wider++) assert.ok(!lies(wider), `/${wider} lies in ${first}-${last}`)
    }),
  )
  assert.equal(widestPrefixLength({ family: 'ipv6', first: 0n, last: 2n ** 128n - 1n }), 0)
})

async function inFolder(run: (path: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-lock-file-'))
  try {
    await run(join(folder, 'lock'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('a lock file is held by one at a time; who waited in vain once does not wait again', () =>
  inFolder((path) => {
    const [own, other] = [new LockFile(path, 1_000, 60_000), new LockFile(path, 1_000, 60_000)]
    assert.ok(own.acquire() && own.isOurs())
    const waits = [0, 1].map(() => {
      const from = performance.now()
      assert.equal(other.acquire(), false)
      return performance.now() - from
    })
    assert.ok((waits[0] ?? 0) >= 990 && (waits[1] ?? 999) < 990, waits.join())
    assert.equal(other.isOurs(), false)
    other.release()
    assert.ok(own.isOurs(), 'a release of what is not held takes nothing away')
    own.release()
    assert.ok(other.acquire() && !own.isOurs())
  }))

test('a lock that stays the same for long is of a dead agent and is broken; one that changes hands is not', () =>
  inFolder(async (path) => {
    const [dead, other] = [new LockFile(path, 0, 60), new LockFile(path, 0, 60)]
    assert.ok(dead.acquire())
    const seenAt = performance.now()
    assert.equal(other.acquire(), false, 'seen for the first time')
    await waitFor('most of its time', () => performance.now() - seenAt > 50)
    // Its holder changes: the new one has its whole time again.
    writeFileSync(`${path}.other`, '')
    renameSync(`${path}.other`, path)
    const changedAt = performance.now()
    await waitFor('the lock', () => other.acquire(), { everyMs: 1 })
    assert.ok(performance.now() - changedAt >= 60)
    assert.deepEqual([other.isOurs(), dead.isOurs()], [true, false])
    dead.release()
    assert.ok(other.isOurs(), 'who was taken for dead does not release the lock of its heir')
  }))

test('where no lock can be made the reason is told, and not taken for a lock of another', () =>
  inFolder((path) => {
    assert.throws(() => new LockFile(join(path, 'absent'), 1_000, 1_000).acquire(), { code: 'ENOENT' })
  }))
