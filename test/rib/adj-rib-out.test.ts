import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { PathAttributes } from '../../src/bgp/messages/types.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibOut, type Batch, Batches, type WantedPath } from '../../src/rib/adj-rib-out.ts'

const sets: readonly PathAttributes[] = [{ med: 1 }, { med: 2 }, { med: 3 }]
const prefixes: readonly Prefix[] = [0, 1, 2, 3].map((host) => prefixOf(0x0a000000 + host, 32))
const memberBits = [1, 2, 4]

const contents = ({ attributes, members, prefixes: list }: Batch) => [attributes, members, list]

/** What each member holds after it has read everything that was sent to it. */
class Receivers {
  readonly tables = new Map(memberBits.map((bit) => [bit, new Map<Prefix, PathAttributes>()]))

  read(batches: Batches): void {
    for (const { attributes, members, prefixes: sent } of batches.list()) {
      for (const [bit, table] of this.tables) {
        if ((bit & members) === 0) continue
        for (const prefix of sent) attributes === undefined ? table.delete(prefix) : table.set(prefix, attributes)
      }
    }
  }
}

/** Non-overlapping wants: the choice of each member, -1 for none. */
function wantOf(choices: readonly number[]): readonly WantedPath[] {
  return sets.flatMap((attributes, set) => {
    const members = memberBits.reduce((mask, bit, i) => (choices[i] === set ? mask | bit : mask), 0)
    return members === 0 ? [] : [{ attributes, members }]
  })
}

const change = fc.record({
  prefix: fc.constantFrom(...prefixes),
  choices: fc.array(fc.integer({ min: -1, max: 2 }), { minLength: 3, maxLength: 3 }),
  ready: fc.integer({ min: 0, max: 7 }),
})

test('applying the diff to what was sent gives what is wanted, whoever lagged behind meanwhile', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const out = new AdjRibOut()
      const receivers = new Receivers()
      const wanted = new Map<Prefix, readonly number[]>()
      const run = (prefix: Prefix, ready: number): void => {
        const batches = new Batches(0)
        out.diff(prefix, wantOf(wanted.get(prefix) ?? []), ready, batches)
        receivers.read(batches)
      }
      for (const { prefix, choices, ready } of changes) {
        wanted.set(prefix, choices)
        run(prefix, ready)
      }
      for (const prefix of prefixes) run(prefix, 7)
      for (const prefix of prefixes) {
        memberBits.forEach((bit, i) => {
          const want = sets[wanted.get(prefix)?.[i] ?? -1]
          assert.equal(receivers.tables.get(bit)?.get(prefix), want)
          assert.equal(out.sentTo(prefix, bit)?.attributes, want)
        })
      }
      for (const bit of memberBits) assert.equal(out.count(bit, 'ipv4'), receivers.tables.get(bit)?.size)
    }),
  )
})

test('a diff of what is already sent is empty', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const out = new AdjRibOut()
      for (const { prefix, choices, ready } of changes) {
        out.diff(prefix, wantOf(choices), ready, new Batches(0))
        const again = new Batches(0)
        out.diff(prefix, wantOf(choices), ready, again)
        assert.deepEqual(again.list(), [])
      }
    }),
  )
})

test('prefixes with the same attributes for the same members are one batch, withdrawals come first', () => {
  const out = new AdjRibOut()
  const first = new Batches(0)
  for (const prefix of prefixes) out.diff(prefix, wantOf([0, 0, 0]), 7, first)
  assert.deepEqual(first.list().map(contents), [[sets[0], 7, prefixes]])
  const second = new Batches(0)
  out.diff(prefixes[0] as Prefix, wantOf([1, 1, 1]), 7, second)
  out.diff(prefixes[1] as Prefix, [], 7, second)
  assert.deepEqual(
    second.list().map(({ attributes }) => attributes),
    [undefined, sets[1]],
  )
})

test('a member that left was sent nothing, the others keep theirs', () => {
  const out = new AdjRibOut()
  out.diff(prefixes[0] as Prefix, wantOf([0, 0, -1]), 7, new Batches(0))
  out.retract(prefixes[0] as Prefix, 1)
  assert.equal(out.sentTo(prefixes[0] as Prefix, 1), undefined)
  assert.equal(out.sentTo(prefixes[0] as Prefix, 2)?.attributes, sets[0])
  assert.deepEqual(
    [1, 2, 4].map((bit) => out.count(bit, 'ipv4')),
    [0, 1, 0],
  )
  out.retract(prefixes[0] as Prefix, 2)
  assert.equal(out.size, 0)
})

test('what a member was sent before its refresh began is sent again, once (RFC 2918 4)', () => {
  const out = new AdjRibOut()
  const [prefix] = prefixes as readonly [Prefix]
  out.diff(prefix, wantOf([0, 0, 0]), 7, new Batches(0, 1))
  out.keepsRounds = true
  const refreshes = [{ member: 2, round: 2 }]
  const again = (): readonly (readonly unknown[])[] => {
    const batches = new Batches(0, 2)
    out.diff(prefix, wantOf([0, 0, 0]), 7, batches, refreshes)
    return batches.list().map(contents)
  }
  assert.deepEqual(again(), [[sets[0], 2, [prefix]]])
  assert.deepEqual(again(), [])
  // When nobody is refreshed, one path for all of them is enough.
  out.keepsRounds = false
  out.diff(prefix, wantOf([0, 0, -1]), 7, new Batches(0, 2))
  assert.equal(out.paths(prefix).length, 1)
})

test('members that come one after the other share one record of all that is alike, whatever the number of prefixes', () => {
  const out = new AdjRibOut()
  const [attributes = {}] = sets
  const wanted = [{ attributes, members: 7 }]
  for (const [turn, ready] of [1, 3, 7].entries()) {
    const batches = new Batches(turn)
    for (const prefix of prefixes) out.diff(prefix, wanted, ready, batches)
    const [batch, ...more] = batches.list()
    assert.deepEqual(batch && contents(batch), [attributes, memberBits[turn], prefixes])
    assert.deepEqual(more, [])
    const [first, ...others] = prefixes.map((prefix) => out.paths(prefix))
    for (const record of others) assert.equal(record, first)
    assert.deepEqual(first, [{ attributes, members: ready, at: turn, round: 0 }])
    for (const [i, bit] of memberBits.entries()) assert.equal(out.count(bit, 'ipv4'), i <= turn ? prefixes.length : 0)
  }
  // Nobody lacks anything: nothing is said, and nothing recorded anew.
  const before = out.paths(prefixes[0] as Prefix)
  const nothing = new Batches(9)
  for (const prefix of prefixes) out.diff(prefix, wanted, 7, nothing)
  assert.deepEqual([nothing.list(), out.paths(prefixes[0] as Prefix)], [[], before])
})

test('a member that comes later does not hide who is to lose the prefix', () => {
  const out = new AdjRibOut()
  const [attributes = {}] = sets
  const prefix = prefixes[0] as Prefix
  out.diff(prefix, [{ attributes, members: 3 }], 3, new Batches(0))
  const batches = new Batches(1)
  // The third comes, the first is no longer meant: both in one look.
  out.diff(prefix, [{ attributes, members: 6 }], 7, batches)
  assert.deepEqual(batches.list().map(contents), [
    [undefined, 1, [prefix]],
    [attributes, 4, [prefix]],
  ])
  assert.deepEqual(
    memberBits.map((bit) => out.sentTo(prefix, bit) !== undefined),
    [false, true, true],
  )
})

test('a refresh that is owed is not taken for what a member has already', () => {
  const out = new AdjRibOut()
  const [attributes = {}] = sets
  const prefix = prefixes[0] as Prefix
  const wanted = [{ attributes, members: 3 }]
  out.diff(prefix, wanted, 3, new Batches(0))
  const refreshes = [{ member: 2, round: 1 }]
  const batches = new Batches(1, 1)
  out.keepsRounds = true
  out.diff(prefix, wanted, 3, batches, refreshes)
  assert.deepEqual(batches.list().map(contents), [[attributes, 2, [prefix]]])
  const again = new Batches(2, 1)
  out.diff(prefix, wanted, 3, again, refreshes)
  assert.deepEqual(again.list(), [], 'once')
})
