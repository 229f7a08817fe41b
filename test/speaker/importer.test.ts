/** Imports in slices: what is in the Loc-RIB in the end is what is true then, whatever happened between two slices. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CodecContext } from '../../src/bgp/messages/types.ts'
import { ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import type { Neighbor } from '../../src/desired/model.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { Importer, type ImporterHost } from '../../src/speaker/importer.ts'
import type { NegotiatedSession } from '../../src/speaker/session/types.ts'
import { neighborOf } from './pair.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}
const session: NegotiatedSession = {
  codec,
  holdTimeSec: 9,
  keepaliveSec: 3,
  localAddress: 0xc0000201,
  localPort: 179,
  remotePort: 179,
  remoteOpen: { type: 'open', version: 4, myAs: 65_011, holdTimeSec: 9, bgpId: 1, capabilities: [] },
  peerAsn: 65_011,
  families: [ipv4Unicast],
  routeRefresh: true,
  gracefulRestart: false,
  notificationRestart: false,
  enhancedRouteRefresh: true,
  capabilities: [],
}
/** Before anybody changes what sets do. */
const { has } = Set.prototype
const first = 0x0b000000
const networks = (count: number): readonly Prefix[] =>
  Array.from({ length: count }, (_, i) => prefixOf(first + i * 256, 24))

/** One peer, its Adj-RIB-In, and an importer that works only when it is told to. */
class Import implements ImporterHost {
  readonly adjRibIn = new AdjRibIn({ seed: 3 })
  readonly locRib: LocRib
  readonly importer: Importer
  readonly neighbor: Neighbor
  isDue = false
  refusals = 0

  constructor(importPrefix: string, locRib = new LocRib(), peer = '192.0.2.11') {
    this.locRib = locRib
    this.neighbor = neighborOf(65_001, 65_011, peer, { importPrefixes: [{ prefix: importPrefix, le: 32 }] })
    this.importer = new Importer(this.neighbor, this.adjRibIn, locRib, this)
    this.importer.established(0xc000020b, session)
  }

  importDue(): void {
    this.isDue = true
  }

  locRibFull(): void {
    this.refusals++
  }

  say(announced: readonly Prefix[], withdrawn: readonly Prefix[] = []): void {
    const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_011] }], nextHop: 0xc000020b }
    const update = { type: 'update', withdrawn, attributes, nlri: announced } as const
    const decoded = decodeUpdate(encodeUpdate(update, codec).subarray(19), codec)
    if (!decoded.ok) return assert.fail(decoded.fault.reason)
    this.adjRibIn.apply(decoded.value, codec, 1, this.importer.touched)
  }

  name(importPrefix: string): void {
    this.importer.configure(
      { ...this.neighbor, importPrefixes: [{ prefix: importPrefix, le: 32 }] },
      new Set(['importList']),
    )
  }

  /** Slices until nothing is due; `between` happens after each. */
  settle(units = 40, between: (slice: number) => void = () => {}): number {
    let slices = 0
    for (; this.isDue; slices++) {
      assert.ok(slices < 50_000, 'the work comes to an end')
      this.isDue = this.importer.work(units) <= 0
      if (slices < 200) between(slices)
    }
    return slices
  }

  get imported(): readonly Prefix[] {
    return [...this.locRib.imported()].sort()
  }
}

test('another list of importPrefixes is put in force over a whole table in slices, while routes come and go', () => {
  const one = new Import('11.0.0.0/16')
  const all = networks(2_000)
  one.say(all)
  one.settle()
  assert.equal(one.imported.length, 256)
  one.name('11.1.0.0/16')
  const gone = new Set<Prefix>()
  const slices = one.settle(40, (i) => {
    const prefix = all[(i * 37) % 700] as Prefix
    if (i % 2 === 0 && gone.delete(prefix)) one.say([prefix])
    else {
      gone.add(prefix)
      one.say([], [prefix])
    }
  })
  assert.ok(slices > 20, `${slices} slices`)
  assert.deepEqual(
    one.imported,
    all.slice(256, 512).filter((prefix) => !gone.has(prefix)),
  )
})

test('a slice of imports costs no more than it may, whatever one UPDATE has touched', () => {
  const one = new Import('11.0.0.0/8')
  one.settle()
  one.say(networks(5_000))
  assert.equal(one.imported.length, 0, 'nothing is decided while an UPDATE is read')
  const slices = one.settle(50)
  // A prefix costs five units.
  assert.ok(slices >= 500 && slices <= 520, `${slices} slices`)
  assert.equal(one.imported.length, 5_000)
})

test('the imports of a session that ended go in slices, and those of its successor stay', () => {
  const one = new Import('11.0.0.0/8')
  one.say(networks(1_000))
  one.settle()
  one.adjRibIn.clear()
  one.importer.forget()
  one.isDue = one.importer.work(40) <= 0
  // The peer is back before all is gone.
  one.say(networks(10))
  assert.ok(one.settle() > 10)
  assert.deepEqual(one.imported, networks(10))
})

test('what a full Loc-RIB refused is taken as soon as there is room, of this peer or of another', () => {
  const locRib = new LocRib({ maxImported: 100 })
  const one = new Import('11.0.0.0/8', locRib)
  const other = new Import('11.0.0.0/8', locRib, '192.0.2.12')
  locRib.onRoom = () => {
    for (const { importer } of [one, other]) importer.roomMade()
  }
  const all = networks(300)
  const settle = (): void => {
    for (let round = 0; round < 4; round++) for (const each of [one, other]) each.settle()
  }
  one.say(all.slice(0, 150))
  other.say(all.slice(150))
  settle()
  assert.equal(one.imported.length, 100)
  assert.ok(one.refusals >= 50 && other.refusals >= 150)
  for (const [i, prefix] of all.slice(0, 120).entries()) {
    one.say([], [prefix])
    settle()
    assert.equal(one.imported.length, 100, `after ${i + 1} withdrawals the room is used`)
  }
  one.say([], all.slice(120, 150))
  settle()
  assert.equal(one.imported.length, 100)
  other.say([], all.slice(150, 260))
  settle()
  assert.deepEqual(one.imported, all.slice(260), 'with room for all of it, all of it is there')
})

test('no prefix that a peer chooses is a number by which the engine finds a bucket', () => {
  const one = new Import('11.0.0.0/8', new LocRib({ maxImported: 50 }))
  const chosen = new Set<unknown>(networks(100))
  const added: unknown[] = []
  const ends = [Map.prototype, Set.prototype].map((of) => {
    const name = of === Map.prototype ? 'set' : 'add'
    const own: (...given: readonly unknown[]) => unknown = Reflect.get(of, name)
    Reflect.set(of, name, function (this: unknown, ...given: readonly unknown[]) {
      if (Reflect.apply(has, chosen, [given[0]])) added.push(given[0])
      return Reflect.apply(own, this, given)
    })
    return () => Reflect.set(of, name, own)
  })
  try {
    // Imported, refused for want of room, given room, looked at anew with another list, asked for, and withdrawn.
    one.say(networks(100))
    one.settle()
    one.say([], networks(10))
    one.settle()
    one.name('11.0.0.0/9')
    one.settle()
    for (const prefix of networks(100))
      for (const path of one.adjRibIn.paths(prefix)) one.importer.standing(prefix, path)
    one.importer.forget()
    one.settle()
  } finally {
    for (const end of ends) end()
  }
  assert.ok(one.refusals > 0)
  assert.deepEqual(added, [])
})
