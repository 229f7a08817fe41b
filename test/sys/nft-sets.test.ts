/** What a set of nftables holds, read from its elements as the kernel lists them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReadSet } from '../../src/sys/nft-sets.ts'
import { elementsIn } from '../../src/sys/nft-sets.ts'
import { rulesIn } from '../../src/sys/nft-rules.ts'
import { attributesOf, big, expression } from '../datapath/netfilter.ts'

const value = (...octets: readonly number[]): Buffer => attributesOf([[1, Uint8Array.from(octets)]])
const element = (key: readonly number[], flags = 0): ReadonlyMap<number, Uint8Array> =>
  new Map([
    [1, value(...key)],
    [3, big(flags)],
  ])
const [end, anyOther] = [1, 2]
const spans = (...listed: readonly ReadonlyMap<number, Uint8Array>[]): readonly string[] =>
  elementsIn(listed, true, 1).map(({ from, to }) => `${from.join('.')}-${to.join('.')}`)

test('an interval goes from its beginning to before the next bound, in whatever order they are listed', () => {
  assert.deepEqual(spans(element([0], end), element([5]), element([9], end)), ['5-8'])
  assert.deepEqual(spans(element([9], end), element([5])), ['5-8'])
  assert.deepEqual(spans(element([5]), element([9]), element([9], end), element([12], end)), ['5-8', '9-11'])
  assert.deepEqual(spans(element([5]), element([9])), ['5-8', '9-255'], 'without ends, as of adjacent ones')
  assert.deepEqual(spans(element([0])), ['0-255'])
  assert.deepEqual(spans(), [])
})

test('a verdict of a map asks what its key is, and that of every other key that it is none of them', () => {
  const verdict = attributesOf([[2, attributesOf([[1, big(0)]])]])
  const accept = attributesOf([[2, attributesOf([[1, big(1)]])]])
  const set: ReadSet = {
    elements: [
      { from: Uint8Array.of(10, 1, 0, 5), to: Uint8Array.of(10, 1, 0, 6), verdict, isAnyOther: false },
      { from: new Uint8Array(), to: new Uint8Array(), verdict: accept, isAnyOther: true },
    ],
  }
  const load = expression('payload', [1, big(1)], [2, big(1)], [3, big(16)], [4, big(4)])
  const rule = (...more: readonly Uint8Array[]): Uint8Array =>
    Buffer.concat([load, expression('lookup', [1, 'map'], [2, big(1)], [3, big(0)]), ...more])
  const rules = rulesIn(rule(), 'ipv4', () => set)
  assert.deepEqual(
    rules.map(({ effect }) => effect),
    [{ does: 'other', what: 'the verdict drop' }, { does: 'accept' }],
  )
  const nets = [5, 6].map((last) => [
    { of: 'destination', net: { octets: Uint8Array.of(10, 1, 0, last), bits: 32 }, isNot: false },
  ])
  const each = [{ of: 'any', each: nets, isNot: false }]
  assert.deepEqual(rules[0]?.when, each)
  assert.deepEqual(rules[1]?.when, [{ of: 'any', each: [each], isNot: true }])
  assert.deepEqual(
    rulesIn(rule(), 'ipv4', () => ({ why: 'it is large' })),
    [
      {
        when: [{ of: 'other', why: 'it is large', isNot: false }],
        effect: { does: 'other', what: 'a map of verdicts' },
      },
    ],
  )
  assert.equal(rulesIn(rule(expression('counter')), 'ipv4', () => set).length, 1, 'an element may say to go on')
  assert.equal(elementsIn([element([], anyOther)], false, 4)[0]?.isAnyOther, true)
})
