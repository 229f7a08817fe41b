import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type PathAttributes,
  type UpdateMessage,
  type UpdateProblem,
} from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import { type Prefix, parsePrefix, prefixFamily, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn, type ReceivedPath } from '../../src/rib/adj-rib-in.ts'
import { AttributeTable } from '../../src/rib/attribute-table.ts'

const plainContext: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [],
}
const multipath: CodecContext = { ...plainContext, addPathReceive: [ipv4Unicast, ipv6Unicast] }
const prefix = (text: string): Prefix => parsePrefix(text) ?? assert.fail(text)
const attributes: PathAttributes = { origin: 0, asPath: [{ type: 2, asns: [65001] }], nextHop: 0x0a000001 }
const v6NextHop = String.fromCharCode(0x20, 1, 0xd, 0xb8, ...Array.from({ length: 11 }, () => 0), 9)

/** The UPDATE as the decoder hands it over: encoded and decoded, block and all. */
function say(
  rib: AdjRibIn,
  part: Partial<UpdateMessage>,
  now: number,
  {
    ctx = plainContext,
    problems = [] as readonly UpdateProblem[],
    touched = undefined as ((prefix: Prefix) => void) | undefined,
  } = {},
): void {
  const decoded = decodeUpdate(
    encodeUpdate({ type: 'update', withdrawn: [], attributes, nlri: [], ...part }, ctx).subarray(19),
    ctx,
  )
  if (!decoded.ok) return assert.fail(decoded.fault.reason)
  rib.apply({ ...decoded.value, problems: [...decoded.value.problems, ...problems] }, ctx, now, touched)
}

const everything = Number.POSITIVE_INFINITY
const only = (rib: AdjRibIn, text: string): ReceivedPath | undefined => rib.paths(prefix(text))[0]

test('attribute sets of equal content are one object, whatever the order of their fields', () => {
  const table = new AttributeTable()
  const one = table.intern({
    med: 1,
    communities: [2],
    unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 2) }],
  })
  assert.equal(
    table.intern({ unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 2) }], communities: [2], med: 1 }),
    one,
  )
  assert.notEqual(
    table.intern({ med: 1, communities: [2], unknown: [{ flags: 0xc0, type: 99, value: Uint8Array.of(1, 3) }] }),
    one,
  )
  table.keepOnly(new Set([one]))
  assert.equal(table.size, 1)
})

test('announcements replace, withdrawals remove, both families count (RFC 4271 3.2, 9.1)', () => {
  const rib = new AdjRibIn()
  say(rib, { nlri: [prefix('192.0.2.0/24'), prefix('198.51.100.0/24')] }, 1000)
  say(rib, { nlri: [prefix('192.0.2.0/24')], attributes: { ...attributes, med: 5 } }, 2000)
  say(rib, { mpReach: { family: ipv6Unicast, nextHop: v6NextHop, prefixes: [prefix('2001:db8::/64')] } }, 3000)
  assert.deepEqual([rib.count('ipv4'), rib.count('ipv6')], [2, 1])
  assert.deepEqual(only(rib, '192.0.2.0/24'), { attributes: { ...attributes, med: 5 }, at: 2000, isStale: false })
  assert.equal(only(rib, '2001:db8::/64')?.attributes.nextHop, v6NextHop)
  say(
    rib,
    { withdrawn: [prefix('192.0.2.0/24')], mpUnreach: { family: ipv6Unicast, prefixes: [prefix('2001:db8::/64')] } },
    4000,
  )
  assert.deepEqual([rib.count('ipv4'), rib.count('ipv6')], [1, 0])
})

test('a prefix that is withdrawn and announced in one UPDATE is announced (RFC 4271 4.3)', () => {
  const rib = new AdjRibIn()
  say(rib, { withdrawn: [prefix('192.0.2.0/24')], nlri: [prefix('192.0.2.0/24')] }, 1000)
  assert.equal(rib.count('ipv4'), 1)
})

test('a treat-as-withdraw error withdraws the prefixes that the UPDATE announces (RFC 7606 2)', () => {
  const rib = new AdjRibIn()
  say(rib, { nlri: [prefix('192.0.2.0/24')] }, 1000)
  say(rib, { nlri: [prefix('192.0.2.0/24')] }, 2000, { problems: [{ action: 'attribute-discard', reason: 'x' }] })
  assert.equal(rib.count('ipv4'), 1)
  say(rib, { nlri: [prefix('192.0.2.0/24')] }, 3000, { problems: [{ action: 'treat-as-withdraw', reason: 'x' }] })
  assert.equal(rib.count('ipv4'), 0)
})

test('prefixes beyond the bound are counted and not kept', () => {
  const rib = new AdjRibIn({ maxPrefixes: 2 })
  const four = ['192.0.2.0/32', '192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32'].map(prefix)
  say(rib, { nlri: four }, 1000)
  assert.equal([...rib.entries()].length, 2)
  assert.equal(rib.count('ipv4'), 4)
  assert.equal(rib.isIncomplete, true)
  say(rib, { withdrawn: four }, 2000)
  assert.equal(rib.count('ipv4'), 0)
})

test(
  'a peer that makes attribute sets without end is held to the bound, what it replaced is not shown, and ' +
    'what it gives up is room again',
  () => {
    const rib = new AdjRibIn({ maxAttributeBytes: 2_000 })
    const hosts = Array.from({ length: 50 }, (_, i) => prefix(`192.0.2.${i}/32`))
    const bulky = (med: number): PathAttributes => ({
      ...attributes,
      med,
      unknown: [{ flags: 0xc0, type: 200, value: new Uint8Array(400) }],
    })
    hosts.forEach((host, med) => say(rib, { nlri: [host], attributes: bulky(med) }, 1000))
    assert.equal([...rib.entries()].length, 4)
    assert.equal(rib.count('ipv4'), 50)
    say(
      rib,
      {
        nlri: [hosts[0] as Prefix],
        attributes: { ...bulky(0), unknown: [{ flags: 0xc0, type: 200, value: new Uint8Array(900) }] },
      },
      2000,
    )
    assert.equal(only(rib, '192.0.2.0/32'), undefined)
    say(rib, { withdrawn: hosts }, 3000)
    assert.deepEqual([rib.count('ipv4'), rib.attributeSets], [0, 0])
    for (let round = 0; round < 20_000; round++)
      say(rib, { nlri: [hosts[0] as Prefix], attributes: bulky(round) }, 4000)
    assert.equal(only(rib, '192.0.2.0/32')?.attributes.med, 19_999)
    assert.ok(rib.bytes < 8 * 2 ** 20, `${rib.bytes} octets for one path`)
  },
)

test('a hundred thousand prefixes of twenty thousand attribute sets take less than 200 octets each', () => {
  const rib = new AdjRibIn({ seed: 7 })
  for (let i = 0; i < 20_000; i++)
    say(
      rib,
      {
        attributes: {
          ...attributes,
          communities: [i, i + 1],
          asPath: [{ type: 2, asns: [65001, i + 1, i + 2, i + 3] }],
        },
        nlri: Array.from({ length: 5 }, (_, j) => prefixOf(0x0a000000 + (i * 5 + j) * 256, 24)),
      },
      1000,
    )
  assert.equal(rib.count('ipv4'), 100_000)
  assert.ok(rib.bytes / 100_000 < 200, `${rib.bytes / 100_000} octets`)
  assert.equal(only(rib, '10.0.5.0/24')?.attributes.communities?.[0], 1)
})

test('several paths of a prefix are kept by their identifier and withdrawn one by one (RFC 7911 3)', () => {
  const rib = new AdjRibIn()
  const announce = (pathId: number, med: number, now = 1000): void =>
    say(rib, { nlri: [prefix('192.0.2.0/24')], nlriPathIds: [pathId], attributes: { ...attributes, med } }, now, {
      ctx: multipath,
    })
  announce(1, 10)
  announce(2, 20)
  announce(0, 5)
  const found = (): unknown =>
    rib
      .paths(prefix('192.0.2.0/24'))
      .map(({ pathId = 0, attributes: { med } }) => [pathId, med])
      .sort()
  assert.deepEqual(found(), [
    [0, 5],
    [1, 10],
    [2, 20],
  ])
  announce(2, 21)
  say(rib, { withdrawn: [prefix('192.0.2.0/24')], withdrawnPathIds: [1] }, 2000, { ctx: multipath })
  assert.deepEqual(found(), [
    [0, 5],
    [2, 21],
  ])
  for (let pathId = 10; pathId < 1010; pathId++) announce(pathId, pathId)
  assert.equal(rib.paths(prefix('192.0.2.0/24')).length, 64, 'a prefix has a bound of its own')
  assert.equal(rib.count('ipv4'), 1002)
})

test('all stale paths of a prefix go, not only one of them (RFC 4724 4.2, RFC 7911)', () => {
  const rib = new AdjRibIn()
  say(
    rib,
    { nlri: [prefix('192.0.2.0/24'), prefix('192.0.2.0/24'), prefix('192.0.2.0/24')], nlriPathIds: [1, 2, 3] },
    1000,
    { ctx: multipath },
  )
  rib.markStale()
  say(rib, { nlri: [prefix('192.0.2.0/24')], nlriPathIds: [2] }, 2000, { ctx: multipath })
  const gone: Prefix[] = []
  rib.sweepStale(ipv4Unicast)
  rib.sweep(everything, (one) => gone.push(one))
  assert.deepEqual(
    rib.paths(prefix('192.0.2.0/24')).map(({ pathId, isStale }) => [pathId, isStale]),
    [[2, false]],
  )
  assert.equal(gone.length, 2)
})

test('BoRR to EoRR removes what was not announced again, and stale marks are another thing (RFC 7313 4)', () => {
  const rib = new AdjRibIn()
  say(rib, { nlri: [prefix('192.0.2.0/24'), prefix('198.51.100.0/24')] }, 1000)
  rib.endRefresh(ipv4Unicast)
  rib.sweep(everything)
  assert.equal(rib.count('ipv4'), 2, 'EoRR without BoRR removes nothing')
  rib.markStale()
  rib.beginRefresh(ipv4Unicast)
  say(rib, { nlri: [prefix('192.0.2.0/24')] }, 2000)
  rib.endRefresh(ipv6Unicast)
  rib.sweep(everything)
  assert.equal(rib.count('ipv4'), 2)
  rib.endRefresh(ipv4Unicast)
  rib.sweep(everything)
  assert.deepEqual(
    [...rib.entries()].map(([, { isStale }]) => isStale),
    [false],
  )
})

test('a refresh of more than there is room for counts each prefix once (RFC 7313 4)', () => {
  const rib = new AdjRibIn({ maxPrefixes: 1 })
  const both = [prefix('192.0.2.0/24'), prefix('198.51.100.0/24')]
  say(rib, { nlri: both }, 1000)
  rib.beginRefresh(ipv4Unicast)
  say(rib, { nlri: both }, 2000)
  rib.endRefresh(ipv4Unicast)
  rib.sweep(everything)
  assert.equal(rib.count('ipv4'), 2)
})

/** The same as a Map would have it. */
class Model {
  readonly paths = new Map<string, { readonly med: number; isStale: boolean; isOld?: boolean }>()
  key = (one: Prefix, pathId: number): string => `${String(one)}#${pathId}`
}

const operation = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('announce' as const),
      host: fc.nat({ max: 40 }),
      pathId: fc.nat({ max: 2 }),
      med: fc.nat({ max: 9 }),
      isIpv6: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('withdraw' as const),
      host: fc.nat({ max: 40 }),
      pathId: fc.nat({ max: 2 }),
      isIpv6: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'markStale' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sweepStale' as const), isIpv6: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('beginRefresh' as const), isIpv6: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('endRefresh' as const), isIpv6: fc.boolean() }) },
)

test('whatever is announced, withdrawn, marked and swept, the table holds what a plain map would', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), fc.nat(), (operations, seed) => {
      const rib = new AdjRibIn({ seed })
      const model = new Model()
      const prefixFor = (host: number, isIpv6: boolean): Prefix =>
        isIpv6
          ? prefix(`2001:db8::${host.toString(16)}/${120 + (host % 9)}`)
          : prefixOf(0xc0000200 + host, 32 - (host % 3))
      for (const one of operations) {
        if (one.kind === 'markStale') {
          rib.markStale()
          for (const path of model.paths.values()) Object.assign(path, { isStale: true, isOld: false })
        } else if (one.kind === 'sweepStale') {
          rib.sweepStale(one.isIpv6 ? ipv6Unicast : ipv4Unicast)
          rib.sweep(everything)
          for (const [key, { isStale }] of model.paths)
            if (isStale && /^\d+#/.test(key) !== one.isIpv6) model.paths.delete(key)
        } else if (one.kind === 'beginRefresh' || one.kind === 'endRefresh') {
          rib[one.kind](one.isIpv6 ? ipv6Unicast : ipv4Unicast)
          rib.sweep(everything)
          for (const [key, path] of model.paths) {
            if (/^\d+#/.test(key) === one.isIpv6) continue
            if (one.kind === 'beginRefresh') path.isOld = true
            else if (path.isOld === true) model.paths.delete(key)
          }
        } else {
          const target = prefixFor(one.host, one.isIpv6)
          const ids = [one.pathId]
          if (one.kind === 'withdraw') {
            say(
              rib,
              one.isIpv6
                ? { mpUnreach: { family: ipv6Unicast, prefixes: [target], pathIds: ids } }
                : { withdrawn: [target], withdrawnPathIds: ids, nlriPathIds: [] },
              1000,
              { ctx: multipath },
            )
            model.paths.delete(model.key(target, one.pathId))
          } else {
            const med = { ...attributes, med: one.med }
            say(
              rib,
              one.isIpv6
                ? {
                    attributes: med,
                    mpReach: { family: ipv6Unicast, nextHop: v6NextHop, prefixes: [target], pathIds: ids },
                  }
                : { attributes: med, nlri: [target], nlriPathIds: ids },
              1000,
              { ctx: multipath },
            )
            model.paths.set(model.key(target, one.pathId), { med: one.med, isStale: false })
          }
        }
      }
      const found = new Map(
        [...rib.entries()].map(
          ([
            at,
            {
              attributes: { med },
              pathId,
              isStale,
            },
          ]) => [model.key(at, pathId ?? 0), { med, isStale }],
        ),
      )
      const expected = new Map([...model.paths].map(([key, { med, isStale }]) => [key, { med, isStale }]))
      assert.deepEqual(new Map([...found].sort()), new Map([...expected].sort()))
      assert.equal([...rib.entries()].filter(([at]) => prefixFamily(at) === 'ipv4').length, rib.count('ipv4'))
      assert.ok(rib.attributeSets <= 20)
    }),
    { numRuns: 200 },
  )
})
