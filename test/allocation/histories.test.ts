/** What comes of a history depends on where it ends, and of one that was undone nothing is left: random histories. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AddressRequest, Holding } from '../../src/allocation/allocate.ts'
import { Ipam } from '../../src/allocation/allocate.ts'
import { Freed } from '../../src/allocation/freed.ts'
import type { Pool } from '../../src/allocation/pool-table.ts'
import { Reserved } from '../../src/allocation/reserved.ts'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import { byRank, Waiting } from '../../src/allocation/waiting.ts'
import { allOf } from '../../src/allocation/work.ts'
import { pool, request } from './requests.ts'

const names = ['a', 'b', 'c', 'd', 'e'] as const
const some = ['10.0.0.0', '10.0.0.1', '10.0.0.2', '2001:db8::1', '192.0.2.1'] as const
const sharing = fc.option(
  fc.record(
    {
      key: fc.constantFrom('k', 'l'),
      namespace: fc.constant('default'),
      sharedWith: fc.constantFrom([], ['*']),
      trafficKey: fc.constantFrom('Cluster', 'Local'),
      ports: fc.constantFrom(['80/TCP'], ['443/TCP'], ['80/TCP', '443/TCP']),
    },
    { noNullPrototype: true },
  ),
  { nil: undefined },
)
const tenure = fc.option(
  fc.record(
    {
      terms: fc.constantFrom('["k",[],"Cluster"]', '["k",["*"],"Cluster"]', '["l",[],"Local"]'),
      ports: fc
        .uniqueArray(
          fc.tuple(fc.constantFrom('10.0.0.0', '10.0.0.1', '2001:db8::1'), fc.subarray(['80/TCP', '443/TCP'])),
          { maxLength: 2, selector: ([address]) => address },
        )
        .map((list) => new Map<string, readonly string[]>(list)),
    },
    { noNullPrototype: true },
  ),
  { nil: undefined },
)
const families = fc.constantFrom(['ipv4'] as const, ['ipv6'] as const, ['ipv4', 'ipv6'] as const)
const wanted: fc.Arbitrary<Partial<AddressRequest>> = fc.record(
  {
    families,
    needsAllFamilies: fc.boolean(),
    createdMs: fc.constantFrom(1, 2, Number.POSITIVE_INFINITY),
    explicit: fc.constantFrom([], [], ['10.0.0.2'], ['10.9.9.9']),
    status: fc.subarray([...some], { maxLength: 2 }),
    sharing,
    tenure,
  },
  { noNullPrototype: true },
)
const poolsOfAll: readonly (readonly Pool[])[] = [
  [pool('p', ['10.0.0.0-10.0.0.2', '2001:db8::1'])],
  [pool('p', ['10.0.0.0-10.0.0.2'], { closed: 'disabled' }), pool('q', ['2001:db8::-2001:db8::2'])],
  [pool('q', ['10.0.0.1-10.0.0.3']), pool('p', ['10.0.0.0-10.0.0.2'])],
]
const anyPools = fc.constantFrom(...poolsOfAll)

/** What a test does to an allocator. */
const act = fc.oneof(
  fc.record({ do: fc.constant('assign' as const), name: fc.constantFrom(...names), wanted, isRecorded: fc.boolean() }),
  fc.record({ do: fc.constant('release' as const), name: fc.constantFrom(...names) }),
  fc.record({
    do: fc.constant('reserve' as const),
    name: fc.constantFrom(...names),
    addresses: fc.subarray([...some], { maxLength: 2 }),
    by: fc.constantFrom('recorded' as const, 'claimed' as const),
  }),
)
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never

function perform(ipam: Ipam, each: Act): unknown {
  const key = `default/${each.name}`
  if (each.do === 'release') return ipam.release(key)
  if (each.do === 'reserve') return ipam.reserve(key, each.addresses, { by: each.by })
  const had = ipam.addressesOf(key)
  const asked = request(each.name, each.wanted)
  const addresses = had.length > 0 ? had : asked.status
  const holding: Holding = { addresses, isRecorded: each.isRecorded, mayChoose: true }
  return [ipam.assign(asked, holding), allOf(ipam.portsOf(key, new Map()))]
}

/** Everything that can be seen of it. */
const shown = (ipam: Ipam): unknown => [
  names.map((name) => [ipam.addressesOf(`default/${name}`), ipam.isReservation(`default/${name}`)]),
  ['10.0.0.3', ...some].map((address) => [...ipam.holdersOf(address)].sort()),
]

test('what was undone leaves no trace: neither in who has what nor in what anybody is given afterwards', () => {
  const acts = fc.array(act, { maxLength: 8 })
  fc.assert(
    fc.property(anyPools, acts, acts, acts, (pools, before, undone, after) => {
      const [own, twin] = [new Ipam(), new Ipam()]
      for (const ipam of [own, twin]) {
        ipam.setPools(pools)
        for (const each of before) perform(ipam, each)
      }
      own.begin()
      for (const each of undone) perform(own, each)
      allOf(own.rollback())
      assert.deepEqual(shown(own), shown(twin))
      for (const each of after) assert.deepEqual(perform(own, each), perform(twin, each))
      assert.deepEqual(shown(own), shown(twin))
    }),
    { numRuns: 2000 },
  )
})

test('a refusal names the same holder in whatever order the holders came', () => {
  const refusals = [
    ['a', 'b'],
    ['b', 'a'],
  ].map((order) => {
    const ipam = new Ipam()
    ipam.setPools(poolsOfAll[0] ?? [])
    for (const name of order) ipam.reserve(`default/${name}`, ['10.0.0.2'])
    const holding: Holding = { addresses: [], isRecorded: false, mayChoose: true }
    return ipam.assign(request('c', { explicit: ['10.0.0.2'] }), holding)
  })
  assert.match(JSON.stringify(refusals[0]), /recorded for default\/a/)
  assert.deepEqual(refusals[1], refusals[0])
})

test('the book of who holds an address and what each holds are the same book, whatever happened', () => {
  fc.assert(
    fc.property(anyPools, fc.array(act, { maxLength: 20 }), (pools, acts) => {
      const ipam = new Ipam()
      ipam.setPools(pools)
      for (const each of acts) {
        perform(ipam, each)
        const held = names.flatMap((name) => ipam.addressesOf(`default/${name}`).map((address) => [address, name]))
        for (const address of ['10.0.0.3', '2001:db8::', '2001:db8::2', ...some])
          assert.deepEqual(
            [...ipam.holdersOf(address)].sort(),
            held.flatMap(([of, name]) => (of === address ? [`default/${name}`] : [])).sort(),
          )
      }
    }),
    { numRuns: 300 },
  )
})

/** A Service that comes, changes or goes, and pools or reserved places that do. */
const event = fc.record({
  name: fc.constantFrom(...names),
  wanted: fc.option(wanted, { nil: undefined }),
  pools: fc.option(anyPools, { nil: undefined, freq: 3 }),
  reserved: fc.option(fc.subarray([...some], { maxLength: 1 }), { nil: undefined, freq: 3 }),
})

class StatusWorld {
  readonly source = new StatusAddresses()
  readonly requests = new Map<string, AddressRequest>()
  pools: readonly Pool[] = poolsOfAll[0] ?? []

  settle(keys: Iterable<string>): readonly string[] {
    return allOf(
      this.source.settle(keys, (key) => {
        const found = this.requests.get(key)
        return found === undefined ? undefined : { subject: found, request: () => found }
      }),
    )
  }

  get answers(): readonly unknown[] {
    return names.map((name) => {
      const { addresses, verdict, lostPorts, tenure: own } = this.source.answerOf(`default/${name}`)
      return [addresses, verdict, [...(lostPorts ?? [])].sort(), [...(own?.ports ?? [])].sort()]
    })
  }
}

test('the answers from statuses depend on what is there, not on how it came about', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 12 }), (events) => {
      const world = new StatusWorld()
      world.source.setPools(world.pools)
      let reserved: readonly string[] = []
      for (const { name, wanted: more, pools, reserved: places } of events) {
        const key = `default/${name}`
        if (more === undefined) world.requests.delete(key)
        else world.requests.set(key, request(name, more))
        if (pools !== undefined) world.source.setPools((world.pools = pools))
        if (places !== undefined) {
          reserved = places
          world.source.setReserved(new Reserved(places.map((place) => ({ place, reason: 'of a test' }))))
        }
        const isForAll = pools !== undefined || places !== undefined
        const before = world.answers
        const changed = world.settle(isForAll ? names.map((each) => `default/${each}`) : [key])
        for (const [index, each] of names.entries())
          if (!changed.includes(`default/${each}`))
            assert.deepEqual(world.answers[index], before[index], `${each} changed and nobody was told`)
      }
      const fresh = new StatusWorld()
      for (const [key, each] of world.requests) fresh.requests.set(key, each)
      fresh.source.setPools(world.pools)
      fresh.source.setReserved(new Reserved(reserved.map((place) => ({ place, reason: 'of a test' }))))
      fresh.settle(fresh.requests.keys())
      assert.deepEqual(world.answers, fresh.answers)
    }),
    { numRuns: 500 },
  )
})

test('who waits is served in the order of rank, and is in line once, whatever came and went', () => {
  const step = fc.record({ name: fc.constantFrom(...names), wanted: fc.option(wanted, { nil: undefined }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const line = new Waiting()
      const model = new Map<string, AddressRequest>()
      for (const { name, wanted: more } of steps) {
        const each = request(name, more)
        if (more === undefined) {
          line.delete(each.key)
          model.delete(each.key)
        } else {
          line.add(each)
          model.set(each.key, each)
        }
        assert.deepEqual(line.inOrder(), [...model.values()].sort(byRank))
        assert.deepEqual([line.size, line.has(each.key)], [model.size, model.has(each.key)])
      }
    }),
  )
})

test('freed addresses serve who could have one of them, and nobody any more once they are taken', () => {
  fc.assert(
    fc.property(anyPools, fc.subarray([...some], { minLength: 1 }), wanted, (pools, addresses, more) => {
      const ipam = new Ipam()
      ipam.setPools(pools)
      const waiter = request('w', more)
      const freed = new Freed(ipam)
      for (const address of addresses) freed.add(address)
      // Whoever could be given one of them is served; who is served has at least a pool that may have one for it.
      const found = ipam.assign(waiter, { addresses: [], isRecorded: false, mayChoose: true })
      const gained = 'addresses' in found ? found.addresses : []
      ipam.release(waiter.key)
      if (gained.some((address) => addresses.includes(address as (typeof some)[number])))
        assert.ok(freed.serves(waiter), `${gained.join()} is free and would be given`)
      freed.take(addresses)
      assert.deepEqual([freed.size, freed.serves(waiter)], [0, false])
    }),
    { numRuns: 300 },
  )
})
