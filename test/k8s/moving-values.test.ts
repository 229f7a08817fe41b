/**
 * Values of MetalLB's and Cilium's charts as values of ours: a word about every key, and none that our chart refuses.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'yaml'
import { ciliumValues } from '../../src/k8s/dialects/moving/values-cilium.ts'
import { metallbValues } from '../../src/k8s/dialects/moving/values-metallb.ts'
import { type MovedValues, movedValues, valueAt } from '../../src/k8s/dialects/moving/values.ts'

const moved = (text: string, table = metallbValues): MovedValues => movedValues(parse(text), table)
const decisions = ({ notes }: MovedValues): readonly string[] =>
  notes.filter(({ needsDecision }) => needsDecision).map(({ key }) => key)

test('every key that a row names as ours is a key of our chart', () => {
  const own: unknown = parse(readFileSync(new URL('../../charts/herald/values.yaml', import.meta.url), 'utf8'))
  for (const { rows } of [metallbValues, ciliumValues])
    for (const row of rows) if ('to' in row) assert.notEqual(valueAt(own, row.to), undefined, row.to)
})

test('no key stands in two rows', () => {
  for (const { rows } of [metallbValues, ciliumValues]) {
    const keys = rows.map(({ from }) => from)
    assert.deepEqual(keys.toSorted(), [...new Set(keys)].toSorted())
  }
})

test('speaker and controller become agent and operator, with what is theirs', () => {
  const { values, notes } = moved(`
speaker:
  logLevel: all
  nodeSelector: {bgp: "yes"}
  resources: {limits: {memory: 200Mi}}
  ignoreExcludeLB: true
  labels: {team: net}
  livenessProbe: {enabled: false, periodSeconds: 5}
controller:
  resources: {requests: {cpu: 10m}}
  strategy: {type: Recreate}
`)
  assert.deepEqual(values, {
    logLevel: 'debug',
    agent: {
      nodeSelector: { bgp: 'yes' },
      resources: { limits: { memory: '200Mi' } },
      ignoreExcludeLB: true,
      podLabels: { team: 'net' },
      livenessProbe: { enabled: false, periodSeconds: 5 },
    },
    operator: { resources: { requests: { cpu: '10m' } }, strategy: { type: 'Recreate' } },
  })
  assert.deepEqual(decisions({ values, notes }), [])
  assert.ok(notes.some(({ key, becomes }) => key === 'speaker.labels' && becomes === 'agent.podLabels'))
})

test('a key that is not known needs a decision, and the one that may be meant is named', () => {
  const found = moved('speaker: {resurces: {limits: {cpu: 1}}, frr: {enabled: false}}\nspeeker: {logLevel: debug}')
  assert.deepEqual(decisions(found), ['speaker.resurces', 'speeker'])
  assert.match(found.notes[0]?.reason ?? '', /is speaker\.resources meant\?/)
  assert.match(found.notes[2]?.reason ?? '', /is speaker meant\?/)
})

test('a class means that Services without one are left alone, as MetalLB does', () => {
  assert.deepEqual(moved('loadBalancerClass: example.com/lb').values, {
    loadBalancerClass: 'example.com/lb',
    requireLoadBalancerClass: true,
  })
  assert.deepEqual(moved('loadBalancerClass: ""').values, {})
})

test("tolerations keep the control plane, as MetalLB's chart adds it unless it is told not to", () => {
  const tolerations = '[{key: a, operator: Exists}]'
  const keys = ({ values }: MovedValues): readonly unknown[] =>
    (valueAt(values, 'agent.tolerations') as readonly { readonly key: string }[]).map(({ key }) => key)
  assert.deepEqual(keys(moved(`speaker: {tolerations: ${tolerations}}`)), [
    'a',
    'node-role.kubernetes.io/master',
    'node-role.kubernetes.io/control-plane',
  ])
  assert.deepEqual(keys(moved(`speaker: {tolerations: ${tolerations}, tolerateMaster: false}`)), ['a'])
  // Ours tolerate everything by default.
  assert.deepEqual(moved('speaker: {tolerations: [], tolerateMaster: true}').values, {})
})

test('what would scrape everything twice, or has nothing to stand for it, needs a decision', () => {
  const monitors = moved('prometheus: {podMonitor: {enabled: true}, serviceMonitor: {enabled: true}}')
  assert.deepEqual(decisions(monitors), ['prometheus.serviceMonitor.enabled'])
  assert.equal(valueAt(monitors.values, 'prometheus.serviceMonitor.enabled'), false)
  assert.deepEqual(decisions(moved('frrk8s: {enabled: true, external: true}')), ['frrk8s.external'])
  assert.deepEqual(decisions(moved('speaker: {runtimeClassName: kata}')), ['speaker.runtimeClassName'])
  const alerts = 'prometheus: {prometheusRule: {enabled: true, bgpSessionDown: {enabled: false}}}'
  assert.deepEqual(decisions(moved(alerts)), ['prometheus.prometheusRule.bgpSessionDown'])
})

test('values that are empty, null or no map of ours make nothing and break nothing', () => {
  assert.deepEqual(moved('{}').values, {})
  assert.deepEqual(moved('speaker: null\ncontroller:\n  resources: {}\n  nodeSelector: null').values, {})
  assert.deepEqual(decisions(moved('speaker: 5')), ['speaker'])
  assert.deepEqual(moved('__proto__: {polluted: 1}\nconstructor: {prototype: 1}').values, {})
  assert.equal(Reflect.get({}, 'polluted'), undefined)
})

test("Cilium's values give what is BGP's and the addresses', and the rest stays with Cilium", () => {
  const found = moved(
    `
kubeProxyReplacement: true
k8sServiceHost: 10.0.0.1
k8sServicePort: 6443
devices: eth+ bond0
defaultLBServiceIPAM: none
bgpControlPlane: {enabled: true, secretsNamespace: {create: true, name: bgp-secrets}}
hubble: {relay: {enabled: true}}
l2announcements: {enabled: true}
`,
    ciliumValues,
  )
  assert.deepEqual(found.values, {
    agent: { datapath: 'none', interfaces: '^(eth.*|bond0)$' },
    k8sServiceHost: '10.0.0.1',
    k8sServicePort: 6443,
    requireLoadBalancerClass: true,
    bgpControlPlane: { secretsNamespace: { name: 'bgp-secrets' } },
  })
  assert.deepEqual(decisions(found), ['bgpControlPlane.enabled', 'l2announcements'])
  assert.match(found.notes.find(({ key }) => key === 'hubble')?.reason ?? '', /stays with Cilium/)
  assert.deepEqual(decisions(moved('k8sServiceHost: auto\ndefaultLBServiceIPAM: nodeipam', ciliumValues)), [
    'k8sServiceHost',
    'defaultLBServiceIPAM',
  ])
})

test('configuration that older values had in them needs a decision, and is told what to write', () => {
  const found = moved('configInline: {address-pools: [{name: a}]}\nexistingConfigMap: edge')
  assert.deepEqual(decisions(found), ['configInline', 'existingConfigMap'])
  for (const { reason } of found.notes) assert.match(reason, /IPAddressPool.*BGPPeer/)
})
