/** Many path identifiers in one message (RFC 7911): what they cost, and what is told of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CodecContext, ipv4Unicast, type UpdateMessage } from '../../src/bgp/messages/types.ts'
import { decodeUpdate, encodeUpdate } from '../../src/bgp/messages/update.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { AdjRibIn } from '../../src/rib/adj-rib-in.ts'
import { maxPathsPerPrefix } from '../../src/rib/path-table.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 65_535,
  extendedNextHop: false,
  addPathReceive: [ipv4Unicast],
}
const attributes = { origin: 0, asPath: [{ type: 2, asns: [65_001] }], nextHop: 0x0a000001 } as const
/** As many as fit into one extended message. */
const most = 13_000
const anywhere = prefixOf(0, 0)
const ids = (from: number, count = most): number[] => Array.from({ length: count }, (_, i) => from + i)
const same = (prefix: Prefix, count = most): Prefix[] => Array.from({ length: count }, () => prefix)

class Table {
  readonly rib = new AdjRibIn({ seed: 3 })
  touched: Prefix[] = []

  /** Answers how many slots it went past. */
  say(part: Partial<UpdateMessage>): number {
    const update: UpdateMessage = { type: 'update', withdrawn: [], attributes, nlri: [], ...part }
    const decoded = decodeUpdate(encodeUpdate(update, codec).subarray(19), codec)
    if (!decoded.ok) return assert.fail(decoded.fault.reason)
    this.touched = []
    const before = this.rib.passed
    this.rib.apply(decoded.value, codec, 1_000, (prefix) => this.touched.push(prefix))
    return this.rib.passed - before
  }

  get ids(): readonly number[] {
    return this.rib.paths(anywhere).map(({ pathId = 0 }) => pathId)
  }
}

test('one UPDATE of 13 000 identifiers of one prefix passes its paths once for each of them (RFC 7911 3)', () => {
  const table = new Table()
  const first = table.say({ nlri: same(anywhere), nlriPathIds: ids(1) })
  assert.ok(first <= most * (maxPathsPerPrefix + 1), `${first} slots`)
  assert.deepEqual(
    table.ids.toSorted((a, b) => a - b),
    ids(1, maxPathsPerPrefix),
    'the first ones are kept',
  )
  assert.equal(table.touched.length, maxPathsPerPrefix, 'only what changed is looked at again')
  assert.equal(table.rib.count('ipv4'), most, 'the others are counted')

  const again = table.say({ nlri: same(anywhere), nlriPathIds: ids(100_000) })
  assert.ok(again <= most * (maxPathsPerPrefix + 1), `${again} slots`)
  assert.deepEqual(table.touched, [])
})

test('identifiers of a prefix in turn with those of another cost no more than alone', () => {
  const table = new Table()
  const other = prefixOf(0, 1)
  const cost = table.say({
    nlri: same(anywhere).map((prefix, i) => (i % 2 === 0 ? prefix : other)),
    nlriPathIds: ids(1),
  })
  assert.ok(cost <= most * 2 * (maxPathsPerPrefix + 1), `${cost} slots`)
  assert.deepEqual([table.rib.paths(anywhere).length, table.rib.paths(other).length], [64, 64])
})

test('13 000 withdrawals of identifiers that are not there touch nothing, those that are go one by one', () => {
  const table = new Table()
  table.say({ nlri: same(anywhere, 64), nlriPathIds: ids(1, 64) })
  table.say({ withdrawn: same(anywhere), withdrawnPathIds: ids(1_000) })
  assert.deepEqual(table.touched, [])
  assert.equal(table.ids.length, 64)
  table.say({ withdrawn: same(anywhere), withdrawnPathIds: ids(33) })
  assert.equal(table.touched.length, 32)
  assert.deepEqual(
    table.ids.toSorted((a, b) => a - b),
    ids(1, 32),
  )
})

test('a path whose new attributes have no room goes, and its prefix is looked at again', () => {
  const rib = new AdjRibIn({ seed: 3, maxAttributeBytes: 40 })
  const touched: Prefix[] = []
  const say = (med: number | undefined): void => {
    const nlri = { nlri: [anywhere], nlriPathIds: [7] }
    const update: UpdateMessage = {
      type: 'update',
      withdrawn: [],
      attributes: { ...attributes, ...(med === undefined ? {} : { communities: ids(med, 20) }) },
      ...nlri,
    }
    const decoded = decodeUpdate(encodeUpdate(update, codec).subarray(19), codec)
    if (!decoded.ok) return assert.fail(decoded.fault.reason)
    rib.apply(decoded.value, codec, 1_000, (prefix) => touched.push(prefix))
  }
  say(undefined)
  assert.equal(rib.paths(anywhere).length, 1)
  say(5)
  assert.equal(rib.paths(anywhere).length, 0)
  assert.deepEqual([touched.length, rib.isIncomplete], [2, true])
})
