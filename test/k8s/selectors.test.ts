/**
 * Label selectors are judged as the API server judges them: a wrong one is an error of its object, never "everything".
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { validateManifests } from '../../src/k8s/validate.ts'
import {
  codesOf,
  node,
  policyWith,
  pool,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
} from './manifests.ts'

const first = '{peerAddress: 192.168.1.1/32, peerASN: 65000}'
const wrong: readonly (readonly [selector: string, field: string, remedy: RegExp])[] = [
  ['{matchExpressions: [{key: tier, operator: In}]}', '.matchExpressions[0].values', /values: \[web\]/],
  ['{matchExpressions: [{key: tier, operator: NotIn, values: []}]}', '.matchExpressions[0].values', /at least one/],
  ['{matchExpressions: [{key: tier, operator: NotIn, values: null}]}', '.matchExpressions[0].values', /at least one/],
  [
    '{matchExpressions: [{key: tier, operator: Exists, values: [a]}]}',
    '.matchExpressions[0].values',
    /Remove the values/,
  ],
  [
    '{matchExpressions: [{key: tier, operator: DoesNotExist, values: [a, b]}]}',
    '.matchExpressions[0].values',
    /Remove/,
  ],
  ['{matchExpressions: [{key: tier, operator: Gt, values: ["1"]}]}', '.matchExpressions[0].operator', /In, NotIn/],
  ['{matchExpressions: [{key: tier, operator: exists}]}', '.matchExpressions[0].operator', /Did you mean Exists/],
  ['{matchExpressions: [{key: "a b", operator: Exists}]}', '.matchExpressions[0].key', /letters, digits/],
  [
    '{matchExpressions: [{key: tier, operator: In, values: ["no blanks"]}]}',
    '.matchExpressions[0].values[0]',
    /letters/,
  ],
  ['{matchExpressions: [{operator: Exists}]}', '.matchExpressions[0].key', /Write key/],
  ['{matchLabels: {"-a": b}}', '.matchLabels.-a', /letters/],
  ['{matchLabels: {"Example.org/a": b}}', '.matchLabels.Example.org/a', /letters/],
  ['{matchLabels: {a: "b-"}}', '.matchLabels.a', /letters/],
  [`{matchLabels: {a: ${'x'.repeat(64)}}}`, '.matchLabels.a', /63/],
  ['{matchLabels: {port: 80}}', '.matchLabels.port', /port: "80"/],
  ['{matchLabels: {flag: yes}}', '.matchLabels.flag', /flag: "true"/],
  ['{matchLabels: [a]}', '.matchLabels', /a map/],
  ['web', '', /a map/],
]

test('a wrong selector is an error at its field, wherever a selector stands, and selects nothing', () => {
  const places: readonly (readonly [string, (selector: string) => string])[] = [
    ['spec.nodeSelector', (text) => smallestPolicy.replace('{matchLabels: {kubernetes.io/os: linux}}', text)],
    [
      'spec.virtualRouters[0].serviceSelector',
      (text) => smallestPolicy.replace('{matchLabels: {expose-via-bgp: "true"}}', text),
    ],
    [
      'spec.virtualRouters[0].neighbors[0].advertisedPathAttributes[0].selector',
      (text) =>
        policyWith(first.replace('}', `, advertisedPathAttributes: [{selectorType: PodCIDR, selector: ${text}}]}`)),
    ],
    ['spec.serviceSelector', (text) => pool.replace('spec: {', `spec: {serviceSelector: ${text}, `)],
  ]
  for (const [place, write] of places)
    for (const [selector, field, remedy] of wrong) {
      const problems = validateManifests([{ name: 'f.yaml', text: write(selector) }])
      const found = problems.find((problem) => problem.field === place + field)
      assert.equal(found?.severity, 'error', `${place} ${selector}: ${JSON.stringify(problems)}`)
      assert.match(found.remedy, remedy, `${place} ${selector}`)
    }
  for (const [selector] of wrong) {
    const text = smallestPolicy.replace('{matchLabels: {expose-via-bgp: "true"}}', selector)
    const delta = translatorWith(text + node + pool + service('web') + slice('web')).flush()
    assert.deepEqual([serviceOf(delta, 'web').routes, delta.speaker?.neighbors], [[], []], selector)
  }
})

test('what the API server takes is taken: empty values, prefixed keys, null for ""', () => {
  for (const selector of [
    '{}',
    '{matchLabels: {}}',
    '{matchLabels: null, matchExpressions: null}',
    '{matchLabels: {example.org/tier: "", kubernetes.io/os: linux}}',
    '{matchLabels: {tier: }}',
    '{matchExpressions: [{key: a.b/c_d, operator: In, values: [x, ""]}, {key: e, operator: DoesNotExist, values: []}]}',
  ]) {
    const text = smallestPolicy.replace('{matchLabels: {expose-via-bgp: "true"}}', selector)
    assert.deepEqual(codesOf(validateManifests([{ name: 'f.yaml', text }])), [], selector)
  }
})
