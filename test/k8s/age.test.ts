/**
 * "Oldest" is the same on every node and after every restart: time, then namespace and name, never order of arrival.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { byAge } from '../../src/k8s/kinds/table.ts'
import { codesOf, deliver, node, pool, smallestPolicy, translatorWith } from './manifests.ts'

const policy = (name: string, asn: number, time?: string): string =>
  `---\n${smallestPolicy
    .replace('name: bgp-peering', `name: ${name}${time === undefined ? '' : `, creationTimestamp: "${time}"`}`)
    .replace('65001', String(asn))}`
const winner = (...texts: readonly string[]): number | undefined =>
  translatorWith(node + texts.join('')).flush().speaker?.neighbors[0]?.localAsn

test('the older policy is in force whatever the order of arrival; equal times are told apart by name', () => {
  const same = '2026-03-01T00:00:00Z'
  const sets: readonly (readonly [number, ...string[]])[] = [
    [65002, policy('b', 65001, '2026-03-02T00:00:00Z'), policy('c', 65002, same), policy('a', 65003)],
    [65003, policy('b', 65001, same), policy('c', 65002, same), policy('a', 65003, same)],
    [65003, policy('b', 65001), policy('c', 65002), policy('a', 65003)],
    // The same instant in two notations, and an earlier one that looks later.
    [65001, policy('b', 65001, '2026-03-01T01:00:00+01:00'), policy('c', 65002, same)],
    [65002, policy('b', 65001, '2026-03-01T00:30:00Z'), policy('c', 65002, '2026-03-01T02:00:00+02:00')],
    // What is no time counts as none.
    [65002, policy('b', 65001, 'last year'), policy('c', 65002, same)],
  ]
  for (const [expected, ...texts] of sets) {
    assert.equal(winner(...texts), expected)
    assert.equal(winner(...texts.toReversed()), expected)
  }
})

test('a policy that comes later and is older takes over, and the other says so', () => {
  const translator = translatorWith(node + policy('b', 65001, '2026-03-02T00:00:00Z'))
  translator.flush()
  deliver(translator, policy('c', 65002, '2026-03-01T00:00:00Z'))
  const delta = translator.flush()
  assert.deepEqual([delta.speaker?.neighbors[0]?.localAsn, codesOf(delta.problems)], [65002, ['PolicyConflict']])
})

test('age is a total order', () => {
  const time = fc.constantFrom(undefined, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z')
  const thing = fc
    .tuple(time, fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y'))
    .map(([creationTimestamp, namespace, name]) => ({
      value: { metadata: { name, namespace, labels: {}, annotations: {}, creationTimestamp } },
    }))
  fc.assert(
    fc.property(thing, thing, thing, (a, b, c) => {
      assert.equal(byAge(a, b), -byAge(b, a) + 0)
      if (byAge(a, b) <= 0 && byAge(b, c) <= 0) assert.ok(byAge(a, c) <= 0)
    }),
  )
})

test('of two pools that overlap the older one gives addresses away', () => {
  const named = (name: string, time: string): string =>
    pool.replace('name: pool', `name: ${name}, creationTimestamp: "${time}"`)
  for (const order of [0, 1]) {
    const both = [named('a', '2026-02-02T00:00:00Z'), named('b', '2026-02-01T00:00:00Z')]
    const { problems } = translatorWith(node + (order === 0 ? both : both.toReversed()).join('')).flush()
    assert.deepEqual(
      problems?.map(({ code, object }) => [code, object.name]),
      [['PoolConflict', 'a']],
    )
  }
})
