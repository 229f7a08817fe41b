/** Imported routes share their attributes by the block that came, however many blocks come in turn. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import v8 from 'node:v8'
import vm from 'node:vm'
import { type CodecContext, ipv4Unicast, type PathAttributes } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import type { BgpRole } from '../../src/desired/model.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { Importer } from '../../src/speaker/importer.ts'
import type { NegotiatedSession } from '../../src/speaker/session/types.ts'
import { collectGarbage } from '../../src/sys/heap.ts'
import { neighborOf } from './pair.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 4_096,
  extendedNextHop: false,
  addPathReceive: [],
}
const session = {
  codec,
  localAddress: 0xc0000201,
  remoteOpen: { bgpId: 1 },
  peerAsn: 65_011,
} as unknown as NegotiatedSession

v8.setFlagsFromString('--expose-gc')
globalThis.gc = vm.runInNewContext('gc') as NonNullable<typeof globalThis.gc>

const sets = 1_500
const prefixes = 6_000
const prefixAt = (i: number): Prefix => prefixOf(0x0b000000 + i * 256, 24)

/** A table whose neighbouring prefixes never share a set, with 700 communities in each set. */
class Table {
  readonly adjRibIn = new AdjRibIn({ seed: 3 })
  readonly locRib: LocRib
  readonly importer: Importer

  constructor(role?: BgpRole, maxImported = 100_000) {
    this.locRib = new LocRib({ maxImported })
    const neighbor = neighborOf(65_001, 65_011, '192.0.2.11', {
      importPrefixes: [{ prefix: '0.0.0.0/0', le: 32 }],
      ...(role === undefined ? {} : { role }),
    })
    this.importer = new Importer(neighbor, this.adjRibIn, this.locRib, { importDue: () => {}, locRibFull: () => {} })
    this.importer.established(0xc000020b, session)
  }

  say(set: number, nlri: readonly Prefix[], withdrawn: readonly Prefix[] = []): void {
    const attributes: PathAttributes = {
      origin: 0,
      asPath: [{ type: 2, asns: [65_011] }],
      nextHop: 0xc000020b,
      med: set,
      communities: [...(set % 3 === 0 ? [0xffff0000] : []), ...Array.from({ length: 700 }, (_, i) => i + 1)],
    }
    const decoded = decodeUpdate(
      encodeUpdate({ type: 'update', withdrawn, attributes, nlri }, codec).subarray(19),
      codec,
    )
    if (!decoded.ok) return assert.fail(decoded.fault.reason)
    this.adjRibIn.apply(decoded.value, codec, 1, this.importer.touched)
  }

  fill(from: number, to: number): void {
    for (let i = from; i < to; i++) this.say(i % sets, [prefixAt(i)])
    while (this.importer.work(4_000) <= 0);
  }

  attributesAt(i: number): PathAttributes | undefined {
    return this.locRib.decision(prefixAt(i))?.best.attributes
  }

  get used(): ReadonlySet<PathAttributes | undefined> {
    return new Set(Array.from({ length: prefixes }, (_, i) => this.attributesAt(i)))
  }
}

for (const role of [undefined, 'customer'] as const)
  test(`6 000 imports of ${sets} sets in turn keep ${sets} sets, ${role ?? 'without a role'}`, () => {
    const table = new Table(role)
    table.fill(0, 2_000)
    // What only the importer remembers may go; what the Loc-RIB has must not be made again.
    collectGarbage()
    table.fill(2_000, prefixes)
    assert.equal(table.used.size, sets)
    for (const i of [0, 1, 1_499, 1_500, prefixes - 1]) {
      const { med, localPref, otc, communities = [] } = table.attributesAt(i) ?? {}
      const isLeaving = (i % sets) % 3 === 0
      assert.deepEqual(
        [med, localPref, otc, communities.length],
        [i % sets, isLeaving ? 0 : undefined, role === undefined ? undefined : 65_011, isLeaving ? 701 : 700],
      )
    }
  })

test('a set that is withdrawn everywhere is not taken for the one that gets its number', () => {
  const table = new Table()
  table.fill(0, 200)
  const all = Array.from({ length: 200 }, (_, i) => prefixAt(i))
  for (const [i, prefix] of all.entries()) {
    table.say(0, [], [prefix])
    table.say(1_000 + i, [prefix])
  }
  while (table.importer.work(4_000) <= 0);
  for (const i of all.keys()) assert.equal(table.attributesAt(i)?.med, 1_000 + i)
})

test('what policy makes of a set is asked anew with each session', () => {
  const table = new Table('customer')
  table.fill(0, 10)
  assert.equal(table.attributesAt(1)?.otc, 65_011)
  table.importer.established(0xc000020b, { ...session, peerAsn: 65_012 })
  table.fill(0, 10)
  assert.equal(table.attributesAt(1)?.otc, 65_012)
})

test('sets of prefixes that have no room in the Loc-RIB are not kept for them', () => {
  const table = new Table(undefined, 100)
  table.fill(0, 300)
  assert.equal([...table.locRib.imported()].length, 100)
  assert.equal(new Set(Array.from({ length: 300 }, (_, i) => table.attributesAt(i))).size, 101, 'and undefined')
})
