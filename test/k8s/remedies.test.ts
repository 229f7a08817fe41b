/** Messages say what is written, remedies exactly what to write, and neither repeats the field. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { codesOf, node, policyWith, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const problemsOf = (text: string): readonly Problem[] => validateManifests([{ name: 'f.yaml', text }])
const peer = (more: string): string => policyWith(`{peerAddress: 192.168.1.1/32, peerASN: 65000${more}}`)
const labelled = (text: string, labels: string): string => text.replace(/labels: \{[^}]*\}/, `labels: ${labels}`)

const cases: readonly (readonly [text: string, field: string, message: RegExp, remedy: RegExp])[] = [
  [peer(', peerPort: "179"'), 'peerPort', /"179" is a text, not a number/, /without quotes, peerPort: 179;/],
  [peer(', holdTimeSeconds: 2'), 'holdTimeSeconds', /2 is below 3/, /at least 3/],
  [peer(', holdTimeSeconds: 65536'), 'holdTimeSeconds', /65536 is above 65535/, /at most 65535/],
  [peer(', holdTimeSeconds: 9.5'), 'holdTimeSeconds', /9\.5 is a fraction/, /whole number/],
  [peer(', gracefulRestart: {enabled: "true"}'), 'enabled', /"true" is a text/, /without quotes, enabled: true;/],
  [peer(', authSecretRef: 7'), 'authSecretRef', /7 is a number, not a text/, /in quotes, authSecretRef: "7";/],
  [policyWith('{peerAddress: 192.168.1.1/32}'), 'peerASN', /it is missing/, /Write peerASN: and a/],
  [policyWith('{peerAddress: 192.168.1.1, peerASN: 65000}'), 'peerAddress', /has no mask/, /Write 192\.168\.1\.1\/32/],
  [policyWith('{peerAddress: "2001:db8::1", peerASN: 1}'), 'peerAddress', /has no mask/, /Write 2001:db8::1\/128/],
  [labelled(service('web'), '{port: 80}'), 'metadata.labels.port', /80 is a number/, /in quotes, port: "80";/],
  [labelled(node, '{big: true}'), 'metadata.labels.big', /true is a boolean/, /in quotes, big: "true";/],
  [
    service('web', '', '{herald.dev/x: false}'),
    'metadata.annotations.herald.dev/x',
    /boolean/,
    /herald\.dev\/x: "false";/,
  ],
  [
    node.replace('10.244.1.0/24', '10.244.1.9/24'),
    'spec.podCIDR',
    /taken as 10\.244\.1\.0\/24/,
    /Write 10\.244\.1\.0\/24/,
  ],
  [node.replace('192.168.1.10}', '192.168.1.10/24}'), 'address', /is not an address/, /without a length/],
  [
    pool.replace('name: pool', 'name: pool, creationTimestamp: yesterday'),
    'creationTimestamp',
    /no time/,
    /2026-01-31T/,
  ],
  [
    pool.replace('name: pool', 'name: pool, creationTimestamp: "2026-13-41T00:00:00Z"'),
    'creationTimestamp',
    /no time/,
    /leave/,
  ],
]

test('what is written and what to write instead are said for every kind of slip', () => {
  for (const [text, field, message, remedy] of cases) {
    const found = problemsOf(text).find((problem) => problem.field.endsWith(field))
    assert.ok(found, `${field}: ${JSON.stringify(problemsOf(text))}`)
    assert.match(found.message, message)
    assert.match(found.remedy, remedy)
  }
})

test('no message repeats the path of its field', () => {
  const more = [
    smallestPolicy.replace('nodeSelector: {matchLabels: {kubernetes.io/os: linux}}', 'extra: 1'),
    smallestPolicy.replace('serviceSelector', 'serviceSelectors'),
    pool.replace('cidr: 198.51.100.0/28', 'cidr: 1.2.3.4'),
    policyWith('{peerAddress: x, peerASN: 1}', 'text'),
    node.replace('10.244.1.0/24', 'everything'),
  ]
  for (const text of [...cases.map(([written]) => written), ...more])
    for (const { field, message, remedy } of problemsOf(text)) {
      const name = /\w+$/.exec(field)?.[0] ?? field
      assert.ok(field === '' || !message.includes(field), `${field}: ${message}`)
      assert.ok(!message.startsWith(`${name}:`) && !message.startsWith(`${name} is`), `${field}: ${message}`)
      assert.match(remedy, /^[A-Z].*[.?)]$/s)
    }
})

test('a text of nothing or of blanks is shown in quotes, and stands for no word', () => {
  const pools = 'apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p, namespace: m}\n'
  const config = 'apiVersion: cilium.io/v2\nkind: CiliumBGPPeerConfig\nmetadata: {name: c}\n'
  for (const blanks of ['', '  ']) {
    const shown = JSON.stringify(blanks)
    const texts = [
      node.replace('podCIDR: 10.244.1.0/24', `podCIDRs: [${shown}]`),
      node.replace('192.168.1.10}', `${shown}}`),
      policyWith(`{peerAddress: ${shown}, peerASN: 1}`),
      peer(`, advertisedPathAttributes: [{selectorType: PodCIDR, communities: {standard: [${shown}]}}]`),
      `${pools}spec: {addresses: [${shown}]}`,
      `${config}spec: {families: [{afi: ipv4, safi: ${shown}}]}`,
    ]
    for (const text of texts) {
      const found = problemsOf(text).find(({ message }) => message.startsWith(`${shown} `))
      assert.ok(found, `${text}\n${JSON.stringify(problemsOf(text))}`)
      assert.doesNotMatch(found.remedy, /Did you mean/)
    }
  }
})

test('null is "" in labels and annotations and nothing in what may be left out', () => {
  const texts = [
    labelled(service('web'), '{expose-via-bgp: , tier: null}'),
    service('web', '', '{example.org/owner: }'),
    labelled(node, '{kubernetes.io/os: linux, tier: }'),
    node.replace('name: node-a,', 'name: node-a, annotations: {herald.dev/neighbors: , herald.dev/drain: ""},'),
    node.replace('spec: {', 'spec: {podCIDRs: null, ').replace('status: {', 'status: {conditions: null, '),
    peer(', peerPort: null, authSecretRef: null, authSecretRef2: null').replace(', authSecretRef2: null', ''),
    peer(', gracefulRestart: null, families: null, advertisedPathAttributes: null, keepAliveTimeSeconds: null'),
    smallestPolicy.replace(
      'name: bgp-peering',
      'name: bgp-peering, labels: null, annotations: null, creationTimestamp: null',
    ),
  ]
  for (const text of texts) assert.deepEqual(codesOf(problemsOf(text)), [], text)
  const delta = translatorWith(smallestPolicy.replace('"true"', '""') + node + pool + texts[0] + slice('web')).flush()
  assert.equal(delta.services.get('default/web')?.routes.length, 1)
})

test('a value that is long or secret is not printed', () => {
  const long = problemsOf(peer(`, peerPort: "${'9'.repeat(5000)}"`))
  assert.ok(long.every(({ message, remedy }) => message.length < 200 && remedy.length < 6000))
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: tor, labels: {a: hunter2}, namespace: kube-system}\n'
  for (const text of ['data: {password: hunter2hunter2!}', 'stringData: {password: [hunter2]}', 'data: hunter2'])
    assert.doesNotMatch(JSON.stringify(problemsOf(`${secret}${text}\n`)), /hunter2/)
})
