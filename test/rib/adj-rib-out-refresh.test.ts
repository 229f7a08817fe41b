/** Adj-RIB-Out while members are refreshed and change places, against what each of them really holds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibOut, Batches, type Refresh, type WantedPath } from '../../src/rib/adj-rib-out.ts'

const sets: readonly PathAttributes[] = [{ med: 1 }, { med: 2 }]
const prefixes: readonly Prefix[] = [0, 1, 2, 3, 4].map((host) => prefixOf(0x0a000000 + host, 32))
const bits = [1, 2, 4] as const

/** One group without sockets: what is wanted of everybody, and what each member was told. */
class Group {
  readonly out = new AdjRibOut((prefix, isPresent) =>
    isPresent ? this.present.add(prefix) : this.present.delete(prefix),
  )
  readonly present = new Set<Prefix>()
  readonly told = new Map(bits.map((bit) => [bit as number, new Map<Prefix, PathAttributes>()]))
  /** Announcements of each member since its refresh began. */
  readonly again = new Map<number, Prefix[]>()
  readonly wanted = new Map<Prefix, number>()
  #round = 0
  #refreshes: Refresh[] = []

  diff(prefix: Prefix, ready: number): void {
    const set = sets[this.wanted.get(prefix) ?? -1]
    const want: readonly WantedPath[] = set === undefined ? [] : [{ attributes: set, members: 7 }]
    const batches = new Batches(1, this.#round)
    this.out.diff(prefix, want, ready, batches, this.#refreshes)
    for (const { attributes, members, prefixes: sent } of batches.list())
      for (const [bit, table] of this.told)
        for (const one of (members & bit) === 0 ? [] : sent) {
          if (attributes === undefined) table.delete(one)
          else {
            table.set(one, attributes)
            this.again.get(bit)?.push(one)
          }
        }
  }

  beginRefresh(member: number): void {
    this.endRefresh(member)
    this.#refreshes.push({ member, round: ++this.#round })
    this.again.set(member, [])
    this.out.keepsRounds = true
  }

  endRefresh(member: number): void {
    this.#refreshes = this.#refreshes.filter((one) => one.member !== member)
    this.again.delete(member)
    this.out.keepsRounds = this.#refreshes.length > 0
  }

  check(): void {
    for (const [bit, table] of this.told) {
      assert.deepEqual(new Map(this.out.sentToMember(bit)).size, table.size)
      for (const [prefix, attributes] of table) assert.equal(this.out.sentTo(prefix, bit)?.attributes, attributes)
      assert.equal(this.out.count(bit, 'ipv4'), table.size)
    }
    const atAnybody = new Set([...this.told.values()].flatMap((table) => [...table.keys()]))
    assert.deepEqual([...this.present].sort(), [...atAnybody].sort())
    assert.deepEqual([...this.out.prefixes()].sort(), [...atAnybody].sort())
  }
}

interface Event {
  readonly kind: 'want' | 'diff' | 'refresh' | 'end' | 'leave'
  readonly prefix: Prefix
  readonly bit: number
  /** Of the attribute sets, -1 for none. */
  readonly set: number
  readonly ready: number
}

const event: fc.Arbitrary<Event> = fc.record({
  kind: fc.constantFrom('want', 'want', 'diff', 'diff', 'refresh', 'end', 'leave'),
  prefix: fc.constantFrom(...prefixes),
  bit: fc.constantFrom(...bits),
  set: fc.integer({ min: -1, max: 1 }),
  ready: fc.nat({ max: 7 }),
})

function happen(group: Group, { kind, prefix, bit, set, ready }: Event): void {
  switch (kind) {
    case 'want':
      return void (set < 0 ? group.wanted.delete(prefix) : group.wanted.set(prefix, set))
    case 'diff':
      return group.diff(prefix, ready)
    case 'refresh':
      return group.beginRefresh(bit)
    case 'end':
      return group.endRefresh(bit)
    case 'leave':
      group.endRefresh(bit)
      for (const one of [...group.out.prefixes()]) group.out.retract(one, bit)
      return group.told.get(bit)?.clear()
  }
}

test('what counts as sent is what each member holds, with refreshes and departures in any order', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 100, size: 'max' }), (events) => {
      const group = new Group()
      for (const one of events) {
        happen(group, one)
        group.check()
      }
    }),
    { numRuns: 200 },
  )
})

test('a refresh sends each prefix that a member has once more and no other member anything (RFC 2918 4)', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60, size: 'max' }), fc.constantFrom(...bits), (events, member) => {
      const group = new Group()
      for (const one of events) happen(group, one)
      for (const prefix of prefixes) group.diff(prefix, 7)
      for (const bit of bits) group.endRefresh(bit)
      group.beginRefresh(member)
      const others = new Map([...group.told].map(([bit, table]) => [bit, [...table]]))
      // Twice: who asks again for what was sent gets nothing.
      for (const prefix of [...prefixes, ...prefixes]) group.diff(prefix, 7)
      assert.deepEqual([...(group.again.get(member) ?? [])].sort(), [...group.wanted.keys()].sort())
      for (const [bit, before] of others) assert.deepEqual([...(group.told.get(bit) ?? [])].sort(), before.sort())
    }),
  )
})

test('what another group has sent is taken over as it is, and sent again only where a refresh asks for it', () => {
  const group = new Group()
  const [first] = prefixes as readonly [Prefix]
  group.wanted.set(first, 0)
  group.out.adopt(first, { attributes: sets[0] as PathAttributes, at: 5 }, 2)
  group.told.get(2)?.set(first, sets[0] as PathAttributes)
  group.check()
  assert.equal(group.out.sentTo(first, 2)?.at, 5)
  group.beginRefresh(4)
  group.diff(first, 2)
  assert.equal(group.out.sentTo(first, 2)?.at, 5, 'nothing differs')
  group.beginRefresh(2)
  group.diff(first, 7)
  assert.deepEqual(group.again.get(2), [first])
  assert.equal(group.out.sentTo(first, 2)?.at, 1)
  group.check()
})
