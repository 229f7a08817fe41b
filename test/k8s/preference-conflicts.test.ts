import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { change, node, policyWith, pool, service, serviceOf, slice, translatorWith } from './manifests.ts'

const conflictsOf = ({ problems = [] }: DesiredDelta): readonly (readonly [string, string])[] =>
  problems.filter(({ code }) => code === 'PreferenceConflict').map(({ field, message }) => [field, message])
const rules = (...list: readonly string[]): string =>
  policyWith(`{peerAddress: 192.168.1.1/32, peerASN: 65001, advertisedPathAttributes: [${list.join(', ')}]}`)
const rule = (type: string, preference: number, labels: string): string =>
  `{selectorType: ${type}, selector: {matchLabels: ${labels}}, localPreference: ${preference}}`
const gold = pool.replace('name: pool', 'name: pool, labels: {tier: gold, site: a}')
const rest = node + service('web') + slice('web')

test('local preferences that meet in one route are told to each rule, and the highest holds (RFC 4271 5.1.5)', () => {
  const text = rules(
    rule('CiliumLoadBalancerIPPool', 200, '{tier: gold}'),
    rule('CiliumLoadBalancerIPPool', 100, '{site: a}'),
    rule('CiliumLoadBalancerIPPool', 300, '{tier: iron}'),
  )
  const delta = translatorWith(text + gold + rest).flush()
  const at = (index: number): string =>
    `spec.virtualRouters[0].neighbors[0].advertisedPathAttributes[${index}].localPreference`
  const message = '200 and 100 meet for neighbor 192.168.1.1: 200 holds'
  assert.deepEqual(conflictsOf(delta), [
    [at(0), message],
    [at(1), message],
  ])
  assert.equal(serviceOf(delta, 'web').routes[0]?.attributes.localPreference, 200)
})

test('PodCIDRs are judged too; equal preferences, other pools and neighbors of another AS are no conflict', () => {
  const pod = [rule('PodCIDR', 5, '{kubernetes.io/os: linux}'), rule('PodCIDR', 6, '{}')]
  assert.equal(conflictsOf(translatorWith(rules(...pod) + rest).flush()).length, 2)
  assert.deepEqual(
    conflictsOf(translatorWith(rules(...pod).replace('peerASN: 65001', 'peerASN: 65000') + rest).flush()),
    [],
  )
  for (const [first, second] of [
    [rule('CiliumLoadBalancerIPPool', 7, '{tier: gold}'), rule('CiliumLoadBalancerIPPool', 7, '{site: a}')],
    [rule('CiliumLoadBalancerIPPool', 7, '{tier: gold}'), rule('CiliumLoadBalancerIPPool', 8, '{tier: iron}')],
    [rule('CiliumLoadBalancerIPPool', 7, '{tier: gold}'), rule('PodCIDR', 8, '{}')],
  ] as const)
    assert.deepEqual(conflictsOf(translatorWith(rules(first, second) + gold + rest).flush()), [], second)
})

test('the warning comes with the pool in which they meet', () => {
  const text = rules(
    rule('CiliumLoadBalancerIPPool', 7, '{tier: gold}'),
    rule('CiliumLoadBalancerIPPool', 8, '{site: a}'),
  )
  const translator = translatorWith(text + pool + rest)
  assert.deepEqual(conflictsOf(translator.flush()), [])
  assert.equal(conflictsOf(change(translator, gold)).length, 2)
})
