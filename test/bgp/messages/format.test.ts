/** Attributes as text: every number as people write it, and nothing of it left behind in memory. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatAsPath, formatCommunity, formatLargeCommunity, formatOrigin } from '../../../src/bgp/messages/format.ts'
import { SegmentType, wellKnownCommunities } from '../../../src/bgp/messages/numbers.ts'

const asn = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(0, 1, 9, 10, 99, 100, 999, 1_000, 1_001, 9_999, 10_000, 23_456, 65_535, 65_536, 99_999, 100_000),
  fc.constantFrom(999_999, 1_000_000, 1_000_001, 10_000_000, 999_999_999, 1_000_000_000, 4_199_999_999, 0xffffffff),
)

test('a community is two numbers, but for those that IANA has named', () => {
  fc.assert(
    fc.property(asn, (community) => {
      const name = wellKnownCommunities[community]
      const numbers = `${Math.floor(community / 65_536)}:${community % 65_536}`
      assert.equal(formatCommunity(community), name ?? numbers)
    }),
    { numRuns: 2_000 },
  )
  for (const [community, name] of Object.entries(wellKnownCommunities))
    assert.equal(formatCommunity(Number(community)), name)
})

test('a large community is three numbers (RFC 8092 5)', () => {
  fc.assert(
    fc.property(fc.tuple(asn, asn, asn), (community) => {
      assert.equal(formatLargeCommunity(community), community.map(String).join(':'))
    }),
  )
})

test('a path is its ASes in their order, with sets and confederations in brackets (RFC 5065 3)', () => {
  const kinds = [
    [SegmentType.asSequence, '', ''],
    [SegmentType.asSet, '{', '}'],
    [SegmentType.confederationSequence, '(', ')'],
    [SegmentType.confederationSet, '[', ']'],
  ] as const
  const segment = fc.record({ kind: fc.constantFrom(...kinds), asns: fc.array(asn, { minLength: 1, maxLength: 5 }) })
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 4 }), (segments) => {
      const text = formatAsPath(segments.map(({ kind: [type], asns }) => ({ type, asns })))
      assert.equal(
        text,
        segments.map(({ kind: [, open, close], asns }) => `${open}${asns.map(String).join(' ')}${close}`).join(' '),
      )
    }),
  )
})

test('an origin is its word, and one that is not sent counts as the last of them', () => {
  assert.deepEqual([0, 1, 2, undefined].map(formatOrigin), ['IGP', 'EGP', 'INCOMPLETE', 'INCOMPLETE'])
})

test('the texts of a hundred thousand paths are garbage while they are young', () => {
  // The engine's own conversion keeps each number until another takes its place: by then it is old.
  const program = `
    import { getHeapSpaceStatistics } from 'node:v8'
    import { formatAsPath } from ${JSON.stringify(new URL('../../../src/bgp/messages/format.ts', import.meta.url).href)}
    const old = () => getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space').space_used_size
    let seed = 1
    const next = () => (seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) % 400_000
    const list = (paths) => {
      let characters = 0
      for (let i = 0; i < paths; i++)
        characters += formatAsPath([{ type: 2, asns: [next(), next(), next(), next(), next()] }]).length
      return characters
    }
    list(20_000)
    globalThis.gc()
    const before = old()
    const characters = list(100_000)
    console.log(JSON.stringify({ characters, growth: old() - before }))
  `
  const flags = ['--expose-gc', '--max-semi-space-size=1', '--input-type=module', '--eval', program]
  const { stdout, stderr } = spawnSync(process.execPath, flags, { encoding: 'utf8' })
  assert.match(stdout, /^\{/, stderr)
  const { characters, growth } = JSON.parse(stdout)
  assert.ok(characters > 3_000_000)
  assert.ok(growth < 2 * 2 ** 20, `${growth} octets are old`)
})
