/** The decision process against one that compares two paths at a time, where both must agree. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asPathLength, type Candidate, decide } from '../../src/rib/decision.ts'

/** Of one neighbor AS, so that MED is compared among all of them and any order of comparing gives the same. */
const candidate: fc.Arbitrary<Candidate> = fc.record({
  peer: fc.option(fc.constantFrom('a', 'b', 'c', 'd'), { nil: undefined }),
  attributes: fc.record(
    {
      origin: fc.nat({ max: 2 }),
      asPath: fc
        .array(fc.constantFrom(65_010, 65_011), { maxLength: 2 })
        .map((asns) => [{ type: 2, asns: [65_000, ...asns] }]),
      med: fc.nat({ max: 2 }),
      localPref: fc.constantFrom(50, 100, 200),
      originatorId: fc.nat({ max: 3 }),
      clusterList: fc.array(fc.nat({ max: 3 }), { maxLength: 2 }),
    },
    { requiredKeys: ['origin', 'asPath'] },
  ),
  isExternal: fc.boolean(),
  bgpId: fc.nat({ max: 3 }),
  peerAddress: fc.nat({ max: 3 }),
  pathId: fc.nat({ max: 3 }),
})

/** RFC 4271 9.1.1, 9.1.2.2 and RFC 4456 9, one number after the other; the least wins. */
function rank({ peer, attributes, isExternal, bgpId, peerAddress, pathId }: Candidate): readonly number[] {
  return [
    peer === undefined ? 0 : 1,
    -(attributes.localPref ?? 100),
    asPathLength(attributes.asPath),
    attributes.origin ?? 2,
    attributes.med ?? 0,
    isExternal ? 0 : 1,
    attributes.originatorId ?? bgpId,
    attributes.clusterList?.length ?? 0,
    Number(peerAddress),
    pathId,
    (peer ?? '').charCodeAt(0) || 0,
  ]
}

function isBetter(a: Candidate, b: Candidate): boolean {
  const [ranksOfA, ranksOfB] = [rank(a), rank(b)]
  for (const [i, value] of ranksOfA.entries()) {
    const other = ranksOfB[i] ?? 0
    if (value !== other) return value < other
  }
  return false
}

const several = fc.uniqueArray(candidate, {
  minLength: 1,
  maxLength: 7,
  selector: ({ peer, pathId }) => `${peer}/${pathId}`,
})

test('the best path is better than each other one, compared two at a time (RFC 4271 9.1.2.2)', () => {
  fc.assert(
    fc.property(several, (all) => {
      const { best } = decide(all) ?? assert.fail()
      for (const other of all) if (other !== best) assert.ok(isBetter(best, other), JSON.stringify([best, other]))
    }),
    { numRuns: 1_000 },
  )
})

test('without the best path the next best is chosen, and who lost before loses for a step that is named', () => {
  fc.assert(
    fc.property(several, (all) => {
      let left: readonly Candidate[] = all
      const order: Candidate[] = []
      while (left.length > 0) {
        const { best, losses } = decide(left) ?? assert.fail()
        assert.ok(losses.every(({ reason }) => /^[A-Za-z_ ]+( of the same neighbor AS)?: .+ against .+$/.test(reason)))
        order.push(best)
        left = left.filter((one) => one !== best)
      }
      assert.deepEqual(
        order,
        [...all].sort((a, b) => (isBetter(a, b) ? -1 : 1)),
      )
    }),
  )
})

test('nothing to choose among gives nothing, and one path is chosen whatever it is', () => {
  assert.equal(decide([]), undefined)
  fc.assert(fc.property(candidate, (one) => assert.deepEqual(decide([one]), { best: one, losses: [] })))
})

test('a path has the length of its sequences, and one for each set (RFC 4271 9.1.2.2 a, RFC 5065 5.3)', () => {
  const segment = fc.record({ type: fc.constantFrom(1, 2, 3, 4), asns: fc.array(fc.nat(), { maxLength: 4 }) })
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 4 }), (path) => {
      const expected = path.flatMap(({ type, asns }) => (type === 2 ? asns : type === 1 ? [0] : [])).length
      assert.equal(asPathLength(path), expected)
    }),
  )
  assert.equal(asPathLength(undefined), 0)
})
