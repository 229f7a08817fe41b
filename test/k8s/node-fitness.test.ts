/** Which nodes announce Services, by their Node and by the switches of the agent; and what an endpoint counts as. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import {
  change,
  node,
  pool,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const policy = `---\n${smallestPolicy}`
const rest = policy + pool + service('web') + slice('web')
const labelled = node.replace('labels: {', 'labels: {node.kubernetes.io/exclude-from-external-load-balancers: "", ')
const conditions = (...list: readonly string[]): string =>
  node.replace('status: {', `status: {conditions: [${list.map((each) => `{${each}}`).join(', ')}], `)
const spec = (text: string): string => node.replace('spec: {', `spec: {${text}, `)
const cordoned = spec('unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]')

const announced = (nodeText: string, options: Partial<TranslatorOptions> = {}): string | undefined => {
  const web = serviceOf(translatorWith(nodeText + rest, options).flush(), 'web')
  const { ok, code } = verdictOf(web, 'eligible') ?? {}
  assert.equal(web.routes.length > 0, ok)
  assert.equal(web.frontends.length, 1, 'what arrives is served all the same')
  return code
}

test('the label that excludes a node from load balancers withdraws its Services, unless it is to be ignored', () => {
  assert.equal(announced(node), 'HasLocalBackends')
  assert.equal(announced(labelled), 'NodeExcluded')
  assert.equal(announced(labelled.replace('balancers: ""', 'balancers: "false"')), 'NodeExcluded')
  assert.equal(announced(labelled, { ignoreExcludeLb: true }), 'HasLocalBackends')
  const translator = translatorWith(node + rest)
  translator.flush()
  const gone = change(translator, labelled)
  assert.deepEqual([serviceOf(gone, 'web').routes, gone.speaker], [[], undefined], 'the session stays')
  assert.equal(serviceOf(change(translator, node), 'web').routes.length, 1)
})

test('a node whose network is not available announces no Service', () => {
  assert.equal(announced(conditions('type: NetworkUnavailable, status: "True"')), 'NetworkUnavailable')
  assert.equal(announced(conditions('type: NetworkUnavailable, status: "False"')), 'HasLocalBackends')
  assert.equal(announced(conditions('type: NetworkUnavailable, status: Unknown')), 'HasLocalBackends')
})

test('a cordon, taints, pressure and not being ready withdraw nothing by themselves, and each does when it is asked', () => {
  const bad = [
    'type: Ready, status: Unknown',
    'type: DiskPressure, status: "True"',
    'type: MemoryPressure, status: "True"',
    'type: PIDPressure, status: "True"',
  ]
  for (const text of [cordoned, ...bad.map((each) => conditions(each))])
    assert.equal(announced(text), 'HasLocalBackends')
  const asked: readonly (readonly [string, string])[] = [
    [cordoned, 'unschedulable'],
    [cordoned, 'taint:node.kubernetes.io/unschedulable'],
    [conditions(bad[0] ?? ''), 'not-ready'],
    [conditions('type: Ready, status: "False"'), 'not-ready'],
    [conditions(bad[1] ?? ''), 'disk-pressure'],
    [conditions(bad[2] ?? ''), 'memory-pressure'],
    [conditions(bad[3] ?? ''), 'pid-pressure'],
  ]
  for (const [text, word] of asked) {
    assert.equal(announced(text, { withdrawOn: ['taint:example.org/other', word] }), 'NodeWithdrawn', word)
    assert.equal(
      announced(conditions('type: Ready, status: "True"', 'type: DiskPressure, status: "False"'), {
        withdrawOn: [word],
      }),
      'HasLocalBackends',
    )
  }
})

test('a heartbeat of the Node, and conditions that cannot be read, change nothing', () => {
  const translator = translatorWith(
    conditions('type: Ready, status: "True", lastHeartbeatTime: "2026-01-01T00:00:00Z"') + rest,
  )
  translator.flush()
  for (const text of [
    'type: Ready, status: "True", lastHeartbeatTime: "2026-01-01T00:00:10Z"',
    'nonsense: 1',
    'type: 5',
  ]) {
    const delta = change(translator, conditions(text))
    assert.deepEqual([delta.services.size, delta.speaker, delta.problems], [0, undefined, undefined])
  }
})

test('endpoints count as in the table of MetalLB: ready, or not said, or serving', () => {
  const table: readonly (readonly [string, boolean])[] = [
    ['ready: true', true],
    ['ready: true, serving: false', true],
    ['', true],
    ['serving: false', true],
    ['ready: false', false],
    ['ready: false, serving: true', true],
    ['ready: false, serving: true, terminating: true', true],
    ['ready: false, serving: false, terminating: true', false],
    // publishNotReadyAddresses is said by the slice.
    ['ready: true, serving: false, terminating: false', true],
  ]
  for (const traffic of ['Cluster', 'Local'])
    for (const [text, expected] of table) {
      const manifests =
        node + policy + pool + service('web', `, externalTrafficPolicy: ${traffic}`) + slice('web', 'node-a', text)
      assert.equal(
        serviceOf(translatorWith(manifests).flush(), 'web').routes.length > 0,
        expected,
        `${traffic}: ${text}`,
      )
    }
  const elsewhere = node + policy + pool + service('web', ', externalTrafficPolicy: Local') + slice('web', 'node-b')
  for (const datapath of ['ebpf', 'none'] as const)
    assert.deepEqual(serviceOf(translatorWith(elsewhere, { datapath }).flush(), 'web').routes, [])
})

test('with a class required, Services without one are left alone, as with a class of MetalLB', () => {
  const served = (spec: string, options: Partial<TranslatorOptions>): boolean =>
    verdictOf(serviceOf(translatorWith(node + policy + pool + service('web', spec), options).flush(), 'web'), 'class')
      ?.ok === true
  const required = { isClassRequired: true, loadBalancerClass: 'example.org/a' }
  assert.deepEqual([served('', {}), served('', required)], [true, false])
  const named = ', loadBalancerClass: example.org/a'
  assert.deepEqual([served(named, {}), served(named, required)], [false, true])
  assert.equal(served(', loadBalancerClass: example.org/b', required), false)
})
