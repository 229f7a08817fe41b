/**
 * What an allocator gives against what a person with a list of all addresses would give: pools of every kind, both
 * families, requests of every kind, through random histories. The oracle looks at every address and every Service.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type AddressRequest, type Assignment, type Holding, Ipam, isRefusal } from '../../src/allocation/allocate.ts'
import { fromInteger, IntervalIndex } from '../../src/allocation/intervals.ts'
import type { AddressRange, Pool } from '../../src/allocation/pool-table.ts'
import type { Refusal } from '../../src/allocation/refusals.ts'
import { Reserved } from '../../src/allocation/reserved.ts'
import { type SharingTerms, sharingObstacle } from '../../src/allocation/sharing.ts'
import { type Family, formatAddress } from '../../src/ip/address.ts'
import { pool, range, request } from './requests.ts'

const familyOf = (address: string): Family => (address.includes(':') ? 'ipv6' : 'ipv4')
const places = ['10.0.0.0-10.0.0.3', '10.0.0.2-10.0.0.6', '10.0.1.254-10.0.2.1', '2001:db8::-2001:db8::2', 'fd00::7']

const anyRange: fc.Arbitrary<AddressRange> = fc
  .record({ place: fc.constantFrom(...places), sparesEnds: fc.boolean(), sparesBuggy: fc.boolean() })
  // A block of one or two addresses has no ends to spare: the reader of pools sees to it.
  .map(({ place, sparesEnds, sparesBuggy }) => ({
    ...range(place, sparesEnds && place.includes('-')),
    sparesBuggy,
  }))
const anyPool = fc.record(
  {
    ranges: fc.array(anyRange, { minLength: 1, maxLength: 3 }),
    priority: fc.constantFrom(0, 0, 5),
    autoAssign: fc.constantFrom(true, true, true, false),
    isWhole: fc.constantFrom(false, false, true),
    closed: fc.constantFrom(...Array.from({ length: 7 }, () => undefined), 'disabled'),
    namespaces: fc.constantFrom(undefined, undefined, undefined, ['default'], ['other', 'default'], ['other']),
    selectors: fc.constantFrom<Pool['selectors']>(
      [],
      [],
      [],
      [{ matchLabels: { app: 'web' }, matchExpressions: [] }],
      [
        { matchLabels: { app: 'db' }, matchExpressions: [] },
        { matchLabels: { app: 'web' }, matchExpressions: [] },
      ],
    ),
  },
  { noNullPrototype: true },
)
const anyPools: fc.Arbitrary<readonly Pool[]> = fc.array(anyPool, { minLength: 1, maxLength: 3 }).map((all) =>
  all.map(({ namespaces, closed, ...more }, i) =>
    pool(`p${i}`, [], {
      ...more,
      ...(namespaces === undefined ? {} : { namespaces }),
      ...(closed === undefined ? {} : { closed }),
    }),
  ),
)
const reservedPlaces = fc.subarray(['10.0.0.2', '2001:db8::1', '10.0.2.0/31'], { maxLength: 2 })

const terms: fc.Arbitrary<SharingTerms> = fc.record(
  {
    key: fc.constantFrom('k', 'k', 'k', 'l'),
    namespace: fc.constant('default'),
    sharedWith: fc.constantFrom([], ['*'], ['default'], ['*', 'x']),
    trafficKey: fc.constantFrom('Cluster', 'Cluster', 'Cluster', 'Cluster', 'Local'),
    ports: fc.subarray(['80/TCP', '443/TCP', '53/UDP', '53/TCP', '22/TCP'], { minLength: 1, maxLength: 1 }),
  },
  { noNullPrototype: true },
)
const asking = fc.record(
  {
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g'),
    namespace: fc.constantFrom('default', 'default', 'default', 'other'),
    labels: fc.constantFrom<Record<string, string>>({ app: 'web' }, { app: 'web' }, { app: 'db' }),
    families: fc.constantFrom<readonly Family[]>(['ipv4'], ['ipv4'], ['ipv6'], ['ipv4', 'ipv6'], ['ipv6', 'ipv4']),
    needsAllFamilies: fc.boolean(),
    poolName: fc.constantFrom(...Array.from({ length: 9 }, () => undefined), 'p0', 'p1', 'none'),
    sharing: fc.option(terms, { nil: undefined, freq: 4 }),
  },
  { noNullPrototype: true },
)
const anyStep = fc.oneof(
  { weight: 5, arbitrary: asking },
  { weight: 1, arbitrary: fc.record({ gone: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g') }) },
)

interface Held {
  readonly addresses: readonly string[]
  readonly sharing: SharingTerms | undefined
}

class Oracle {
  readonly held = new Map<string, Held>()
  readonly #pools: readonly Pool[]
  readonly #reserved: Reserved

  constructor(pools: readonly Pool[], reserved: Reserved) {
    this.#pools = pools.toSorted((a, b) => a.priority - b.priority)
    this.#reserved = reserved
  }

  /** Every address of a pool that it gives away, in the order in which it does. */
  given({ ranges }: Pool, family: Family): readonly string[] {
    return ranges.flatMap(({ first, last, sparesEnds, sparesBuggy, ...of }) => {
      if (of.family !== family) return []
      const all = Array.from({ length: Number(last - first) + 1 }, (_, i) => first + BigInt(i))
      return all
        .filter((value) => !(sparesEnds && (value === first || value === last)))
        .filter((value) => !(sparesBuggy === true && family === 'ipv4' && [0n, 255n].includes(value & 255n)))
        .map((value) => formatAddress(fromInteger(value, family)))
        .filter((address) => this.#reserved.reasonOf(address) === undefined)
    })
  }

  isOpen(one: Pool, { namespace, labels, poolName }: AddressRequest): boolean {
    const isSelected =
      one.selectors.length === 0 || one.selectors.some(({ matchLabels }) => matchLabels?.['app'] === labels['app'])
    return (
      (poolName === undefined ? one.autoAssign : one.name === poolName) &&
      one.closed === undefined &&
      one.namespaces?.includes(namespace) !== false &&
      isSelected
    )
  }

  ownersOf(address: string, besides: string): readonly Held[] {
    return [...this.held].flatMap(([key, each]) => (key !== besides && each.addresses.includes(address) ? [each] : []))
  }

  mayJoin({ key, sharing }: AddressRequest, address: string): boolean {
    const owners = this.ownersOf(address, key)
    return (
      sharing !== undefined &&
      owners.some((other) => other.sharing?.key === sharing.key) &&
      owners.every((other) => sharingObstacle(sharing, other.sharing) === undefined)
    )
  }

  #from(asked: AddressRequest, pools: readonly Pool[]): { readonly found: Map<Family, string>; isShared: boolean } {
    const choice = { found: new Map<Family, string>(), isShared: false }
    for (const family of asked.families) {
      const contained = (address: string): boolean =>
        pools.some(({ ranges }) => ranges.some((each) => this.#contains(each, address)))
      const all = [...new Set([...this.held.values()].flatMap(({ addresses }) => addresses))]
      const byValue = all.filter((address) => familyOf(address) === family && contained(address))
      const [shared] = byValue.filter((address) => this.mayJoin(asked, address)).sort(byNumber)
      const free = pools.flatMap((one) => this.given(one, family)).find((each) => this.ownersOf(each, '').length === 0)
      if (shared !== undefined) choice.isShared = true
      const address = shared ?? free
      if (address !== undefined) choice.found.set(family, address)
    }
    return choice
  }

  #contains({ family, first, last }: AddressRange, address: string): boolean {
    const found = range(address)
    return found.family === family && found.first >= first && found.first <= last
  }

  /** Of one that holds nothing. */
  choose(asked: AddressRequest): readonly string[] {
    const open = this.#pools.filter((one) => this.isOpen(one, asked))
    const together = open.filter(({ isWhole }) => isWhole !== true)
    const sources = open.flatMap((one) => (one.isWhole === true ? [[one]] : one === together[0] ? [together] : []))
    const choices = sources.map((pools) => this.#from(asked, pools))
    const isComplete = ({ found }: (typeof choices)[0]): boolean => asked.families.every((family) => found.has(family))
    const best =
      choices.find((choice) => choice.isShared && isComplete(choice)) ??
      choices.find(isComplete) ??
      choices.find(({ found }) => found.has(asked.families[0] ?? 'ipv4')) ??
      choices.find(({ found }) => found.size > 0)
    const addresses = asked.families.flatMap((family) => best?.found.get(family) ?? [])
    return asked.needsAllFamilies && addresses.length < asked.families.length ? [] : addresses
  }
}

function byNumber(a: string, b: string): number {
  const [x, y] = [range(a).first, range(b).first]
  return x < y ? -1 : x > y ? 1 : 0
}

const fresh: Holding = { addresses: [], isRecorded: true, mayChoose: true }
const addressesIn = (found: Assignment | Refusal): readonly string[] => (isRefusal(found) ? [] : found.addresses)

test('of pools, requests and sharing of every kind come the addresses that one finds who looks at all of them', () => {
  let [granted, shared, refused] = [0, 0, 0]
  fc.assert(
    fc.property(
      anyPools,
      reservedPlaces,
      fc.array(anyStep, { minLength: 4, maxLength: 25 }),
      (pools, places, steps) => {
        const reserved = new Reserved(places.map((place) => ({ place, reason: 'of a test' })))
        const [ipam, oracle] = [new Ipam(), new Oracle(pools, reserved)]
        ipam.setPools(pools)
        ipam.setReserved(reserved)
        for (const step of steps) {
          if ('gone' in step) {
            ipam.release(`default/${step.gone}`)
            oracle.held.delete(`default/${step.gone}`)
            continue
          }
          const { name, sharing, ...more } = step
          const asked = request(name, { ...more, sharing: sharing && { ...sharing, namespace: more.namespace } })
          // Who comes again starts anew.
          ipam.release(asked.key)
          oracle.held.delete(asked.key)
          const expected = oracle.choose(asked)
          const found = addressesIn(ipam.assign(asked, fresh))
          assert.deepEqual(found, expected, name)
          if (expected.some((address) => oracle.ownersOf(address, asked.key).length > 0)) shared++
          if (expected.length > 0) {
            oracle.held.set(asked.key, { addresses: expected, sharing: asked.sharing })
            granted++
          } else refused++
        }
      },
    ),
    { numRuns: 1500 },
  )
  assert.ok(
    granted > 3000 && shared > 200 && refused > 1000,
    `${granted} granted, ${shared} shared, ${refused} refused`,
  )
})

test('an address that is asked for by name is given if and only if a pool gives it to the Service and nobody is in the way', () => {
  let [given, not] = [0, 0]
  const all = ['10.0.0.0', '10.0.0.2', '10.0.0.4', '10.0.1.255', '10.0.2.1', '2001:db8::', '2001:db8::2', 'fd00::7']
  fc.assert(
    fc.property(
      ...[anyPools, reservedPlaces, fc.array(asking, { maxLength: 6 }), asking, fc.constantFrom(...all)],
      (pools, places, others, one, address) => {
        const reserved = new Reserved(places.map((place) => ({ place, reason: 'of a test' })))
        const [ipam, oracle] = [new Ipam(), new Oracle(pools, reserved)]
        ipam.setPools(pools)
        ipam.setReserved(reserved)
        for (const { name, sharing, ...more } of others) {
          const asked = request(name, { ...more, sharing: sharing && { ...sharing, namespace: more.namespace } })
          ipam.release(asked.key)
          const addresses = addressesIn(ipam.assign(asked, fresh))
          oracle.held.set(asked.key, { addresses, sharing: asked.sharing })
        }
        const { name: _, sharing, ...more } = one
        const asked = request('asks', {
          ...more,
          families: [familyOf(address)],
          explicit: [address],
          sharing: sharing && { ...sharing, namespace: more.namespace },
        })
        const isGiven = pools.some(
          (each) =>
            oracle.isOpen({ ...each, autoAssign: true }, asked) &&
            oracle.given(each, familyOf(address)).includes(address),
        )
        const isFree = oracle.ownersOf(address, asked.key).length === 0 || oracle.mayJoin(asked, address)
        const found = ipam.assign(asked, fresh)
        assert.deepEqual(addressesIn(found), isGiven && isFree ? [address] : [], JSON.stringify(found))
        if (isGiven && isFree) given++
        else not++
      },
    ),
    { numRuns: 1000 },
  )
  assert.ok(given > 100 && not > 100, `${given} given, ${not} not`)
})

test('intervals that another one touches, and those that hold a value, are those that a look at each of them finds', () => {
  const interval = fc
    .tuple(fc.constantFrom('ipv4' as const, 'ipv6' as const), fc.nat(30), fc.nat(10))
    .map(([family, first, size]) => ({ family, first: BigInt(first), last: BigInt(first + size) }))
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 12 }), interval, (all, one) => {
      const index = new IntervalIndex(all)
      const byHand = all.filter(
        ({ family, first, last }) => family === one.family && first <= one.last && one.first <= last,
      )
      const found = index.touching(one)
      assert.equal(found.length, byHand.length)
      assert.deepEqual(new Set(found), new Set(byHand))
      for (let value = one.first; value <= one.last; value++)
        assert.deepEqual(
          index.at(one.family, value),
          byHand.filter(({ first, last }) => first <= value && value <= last),
        )
    }),
    { numRuns: 500 },
  )
})
