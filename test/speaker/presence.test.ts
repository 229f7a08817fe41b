/** Whether any peer has a prefix, told through shared memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parsePrefix, type Prefix } from '../../src/ip/prefix.ts'
import { AdjRibOut, Batches } from '../../src/rib/adj-rib-out.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { packRoutes, unpackRoutes } from '../../src/speaker/packed-routes.ts'
import { Presence, PrefixMarks } from '../../src/speaker/presence.ts'
import type { PrefixRoutes } from '../../src/speaker/protocol.ts'

const parsed = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
const names = ['192.0.2.1/32', '192.0.2.2/32', '2001:db8::1/128']
const routes = [{ neighbors: ['a'], attributes: {} }]

/** The agent's end, the speaker's end and two groups, as the threads wire them. */
class Wired {
  readonly marks = new PrefixMarks()
  readonly locRib = new LocRib()
  readonly presence: Presence
  readonly groups: readonly AdjRibOut[]

  constructor() {
    this.presence = new Presence(this.marks.buffer, this.locRib, (prefix) => this.has(prefix))
    this.groups = [new AdjRibOut(this.presence.changed), new AdjRibOut(this.presence.changed)]
  }

  has(prefix: Prefix): boolean {
    return this.groups.some((group) => group.paths(prefix).length > 0)
  }

  post(prefixes: readonly PrefixRoutes[]): void {
    const packed = packRoutes(prefixes, (entry) => this.marks.markOf(entry))
    for (const { prefix, routes: wanted, mark } of unpackRoutes(packed).prefixes) {
      this.locRib.set(parsed(prefix), wanted, 1, mark)
      this.presence.marked(parsed(prefix), mark)
    }
  }

  /** A group brings one member's state in line with what is wanted. */
  flush(group: number, member: number, prefix: string): void {
    const isWanted = this.locRib.get(parsed(prefix)) !== undefined
    const want = isWanted ? [{ attributes: {}, members: member }] : []
    this.groups[group]?.diff(parsed(prefix), want, member, new Batches(1))
  }
}

const step = fc.record({
  what: fc.constantFrom('want', 'withdraw', 'flush', 'leave'),
  prefix: fc.constantFrom(...names),
  group: fc.constantFrom(0, 1),
  member: fc.constantFrom(1, 2),
})

test('for each prefix that is wanted, the agent reads what the groups hold, whatever comes in which order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const wired = new Wired()
      for (const { what, prefix, group, member } of steps) {
        if (what === 'want') wired.post([{ prefix, routes }])
        if (what === 'withdraw') wired.post([{ prefix, routes: [] }])
        if (what === 'flush') wired.flush(group, member, prefix)
        if (what === 'leave') for (const name of names) wired.groups[group]?.retract(parsed(name), member)
        for (const name of names) {
          const isWanted = wired.locRib.get(parsed(name)) !== undefined
          assert.equal(wired.marks.isAtAnyPeer(name), isWanted && wired.has(parsed(name)), name)
        }
      }
    }),
  )
})

test('a place that is given to another prefix says nothing of the one before', () => {
  const wired = new Wired()
  wired.post([{ prefix: '192.0.2.1/32', routes }])
  wired.flush(0, 1, '192.0.2.1/32')
  assert.equal(wired.marks.isAtAnyPeer('192.0.2.1/32'), true)
  // Withdrawn here, and not yet at the peer, whose queue is full.
  wired.post([{ prefix: '192.0.2.1/32', routes: [] }])
  wired.post([{ prefix: '192.0.2.2/32', routes }])
  assert.equal(wired.marks.isAtAnyPeer('192.0.2.2/32'), false)
  wired.flush(0, 1, '192.0.2.2/32')
  wired.flush(0, 1, '192.0.2.1/32')
  assert.deepEqual(
    ['192.0.2.1/32', '192.0.2.2/32'].map((name) => wired.marks.isAtAnyPeer(name)),
    [false, true],
  )
})

test('the memory grows with the prefixes, also for the thread that looked at it before', () => {
  const wired = new Wired()
  const many = Array.from({ length: 20_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}/32`)
  wired.post(many.map((prefix) => ({ prefix, routes })))
  const last = many.at(-1) ?? ''
  wired.flush(0, 1, last)
  assert.equal(wired.marks.isAtAnyPeer(last), true)
  assert.equal(wired.marks.isAtAnyPeer(many[0] ?? ''), false)
})
