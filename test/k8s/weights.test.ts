/** `herald.dev/weights` of a Service: which pods get how much of what is new, and what is said of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend, DesiredService } from '../../src/desired/model.ts'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import {
  change,
  flushAll,
  node,
  pool,
  remove,
  service,
  serviceOf,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const annotation = 'herald.dev/weights'
const places = { 'node-a': 'one', 'node-b': 'one', 'node-c': 'two' } as const
type Place = keyof typeof places

const nodes = (['node-a', 'node-b', 'node-c'] as const)
  .map((name, n) =>
    node
      .replace('node-a', name)
      .replace('168.1.10', `168.1.1${n}`)
      .replace('244.1.0', `244.${n + 1}.0`),
  )
  .join('')
const base = smallestPolicy + nodes + pool
const weighing = (weights: string, spec = ''): string =>
  service('web', spec, weights === '' ? '{}' : `{${annotation}: ${JSON.stringify(weights)}}`)
/** A pod on each of these nodes, 10.244.1.1 and so on. */
const pods = (...at: readonly (Place | `${Place} not ready`)[]): string =>
  '---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n' +
  'metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}\n' +
  'addressType: IPv4\nendpoints:\n' +
  at
    .map((each, n) => {
      const [name = ''] = each.split(' ')
      const zone = places[name as Place]
      return `- {addresses: [10.244.1.${n + 1}], nodeName: ${name}, zone: ${zone}, conditions: {ready: ${name === each}}}\n`
    })
    .join('') +
  'ports: [{name: http, port: 8080}]\n'

const options: Partial<TranslatorOptions> = { tunnels: 'nodes', leadsSockets: true }
const translator = (text: string, more: Partial<TranslatorOptions> = {}): Translator =>
  translatorWith(base + text, { ...options, ...more })
const webOf = (text: string, more: Partial<TranslatorOptions> = {}): DesiredService =>
  serviceOf(flushAll(translator(text, more)), 'web')
/** `5 6*2`: the last parts of the addresses, with what each weighs. */
const named = (backends: readonly Backend[] = []): string =>
  backends.map(({ address, weight }) => `${address.slice(9)}${weight === undefined ? '' : `*${weight}`}`).join(' ')
const shown = ({ frontends: [first] }: DesiredService): readonly string[] => [
  named(first?.backends),
  named(first?.resting),
]

test('the weight of a pod is that of its node, else of its zone, else 1; where all have one it is none', () => {
  const three = pods('node-a', 'node-b', 'node-c')
  const written: readonly (readonly [string, string])[] = [
    ['{nodes: {node-a: 4}}', '1*4 2*1 3*1'],
    ['{zones: {two: 7}}', '1*1 2*1 3*7'],
    ['{nodes: {node-b: 2}, zones: {one: 5}}', '1*5 2*2 3*1'],
    ['{nodes: {node-a: 3, node-b: 3, node-c: 3}}', '1 2 3'],
    ['{nodes: {node-z: 9}}', '1 2 3'],
    ['{}', '1 2 3'],
    ['{nodes: , zones: {}}', '1 2 3'],
    ['nodes:\n  node-a: 100', '1*100 2*1 3*1'],
  ]
  for (const [weights, expected] of written)
    assert.deepEqual(shown(webOf(weighing(weights) + three)), [expected, ''], weights)
})

test('every node has the same weights, so that their tables are one', () => {
  const text = weighing('{nodes: {node-a: 4}, zones: {two: 2}}') + pods('node-a', 'node-b', 'node-c', 'node-a')
  for (const nodeName of ['node-a', 'node-b', 'node-c'])
    assert.deepEqual(shown(webOf(text, { nodeName })), ['1*4 2*1 3*2 4*4', ''], nodeName)
})

test('a pod of weight 0 takes nothing new and keeps what it has; sockets on the node are led by the same weights', () => {
  const text =
    weighing('{nodes: {node-a: 0, node-b: 3}}', ', clusterIP: 10.96.0.10') + pods('node-a', 'node-b', 'node-c')
  const delta = flushAll(translator(text))
  assert.deepEqual(shown(serviceOf(delta, 'web')), ['2*3 3*1', '1'])
  for (const address of ['10.96.0.10', '198.51.100.0']) {
    const { backends, resting } = delta.sockets?.get(`${address}:80/TCP`) ?? {}
    assert.deepEqual([named(backends), named(resting)], ['2*3 3*1', '1'], address)
  }
  const said = verdictOf(serviceOf(delta, 'web'), 'eligible')
  assert.match(said?.message ?? '', /^2 usable backends .*weights 0 on node-a, 3 on node-b, 1 elsewhere$/)
})

test('a node whose pods all have weight 0 announces nothing under Local, and where no other pod is left nobody does', () => {
  const text = pods('node-a', 'node-b')
  const local = (weights: string): DesiredService => webOf(weighing(weights, ', externalTrafficPolicy: Local') + text)
  assert.equal(local('{nodes: {node-b: 0}}').routes.length, 1)
  const off = local('{nodes: {node-a: 0}}')
  assert.deepEqual([off.routes.length, ...shown(off)], [0, '', '1'])
  const none = webOf(weighing('{zones: {one: 0}}') + text)
  assert.deepEqual([none.routes.length, ...shown(none)], [0, '', '1 2'])
  const { code, message, remedy } = verdictOf(none, 'eligible') ?? {}
  assert.equal(code, 'NoBackends')
  assert.match(`${message} ${remedy}`, /2 known, and 2 ready have weight 0 .* herald\.dev\/weights/)
})

test('of the ready pods it is whether one takes what is new, and none that ends is asked in their place', () => {
  const text = pods('node-a', 'node-b not ready').replace('{ready: false}', '{ready: false, serving: true}')
  assert.deepEqual(shown(webOf(weighing('') + text)), ['1', '2'])
  assert.deepEqual(shown(webOf(weighing('{nodes: {node-a: 0}}') + text)), ['2', '1'])
})

test('a name behind which no pod stands is told of, since it may be misspelt', () => {
  const said = (weights: string): string =>
    verdictOf(webOf(weighing(weights) + pods('node-a')), 'eligible')?.message ?? ''
  assert.match(said('{nodes: {nodea: 4}, zones: {thre: 2}}'), /no pod of it is on nodea, zone thre$/)
  assert.doesNotMatch(said('{nodes: {node-a: 4}, zones: {one: 2}}'), /no pod/)
})

test('where something else serves the address it is said that it knows nothing of weights', () => {
  const text = weighing('{nodes: {node-a: 4}}') + pods('node-a', 'node-b')
  const said = (more: Partial<TranslatorOptions>): string => verdictOf(webOf(text, more), 'eligible')?.message ?? ''
  assert.match(said({ datapath: 'none' }), /weights 4 on node-a, 1 elsewhere, of which what serves .* knows nothing/)
  assert.doesNotMatch(said({}), /knows nothing/)
})

test('an EndpointSlice gives its pods a weight as Cilium has it, unless the Service says otherwise of their node', () => {
  const weighty = (weight: string): string =>
    pods('node-a', 'node-b') +
    pods('node-c')
      .replace('web-1', 'web-2')
      .replace('10.244.1.1', '10.244.1.3')
      .replace('labels:', `annotations: {service.cilium.io/weight: "${weight}"}, labels:`)
  assert.deepEqual(shown(webOf(weighing('') + weighty('300'))), ['1*1 2*1 3*300', ''])
  assert.deepEqual(shown(webOf(weighing('') + weighty('0'))), ['1 2', '3'])
  assert.deepEqual(shown(webOf(weighing('{nodes: {node-c: 2}}') + weighty('300'))), ['1*1 2*1 3*2', ''])
  assert.deepEqual(shown(webOf(weighing('{zones: {one: 2}}') + weighty('300'))), ['1*2 2*2 3*300', ''])
  assert.match(verdictOf(webOf(weighing('') + weighty('0')), 'eligible')?.message ?? '', /weights 0 of 1 by EndpointSl/)
  for (const weight of ['65536', '-1', '1.5', 'x']) {
    const text = weighing('') + weighty(weight)
    assert.deepEqual(shown(webOf(text)), ['1 2 3', ''])
    const [problem] = validateManifests([{ name: 'web.yaml', text: base + text }])
    assert.deepEqual([problem?.code, problem?.object.kind], ['InvalidAnnotation', 'EndpointSlice'], weight)
  }
})

test('a pod that two slices name has the larger weight, on every node and in whatever order they come', () => {
  const web = (weight: string, name: string): string =>
    pods('node-a', 'node-b')
      .replace('web-1', name)
      .replace('labels:', `annotations: {service.cilium.io/weight: "${weight}"}, labels:`)
  const third = pods('node-c').replace('web-1', 'web-3').replace('10.244.1.1', '10.244.1.3')
  const slices = [web('7', 'web-1'), web('2', 'web-2'), web('0', 'web-4'), third]
  for (const nodeName of ['node-a', 'node-b', 'node-c'])
    for (const order of [slices, [...slices].reverse()]) {
      const all = translator(weighing('') + order.join(''), { nodeName })
      assert.deepEqual(shown(serviceOf(flushAll(all), 'web')), ['1*7 2*7 3*1', ''], nodeName)
    }
})

/** What is written, the field that is wrong, and what is said. */
const wrong: readonly (readonly [string, string, RegExp])[] = [
  ['[node-a]', '', /no YAML map.*Write herald\.dev\/weights/],
  ['node-a: 4', '.node-a', /neither nodes nor zones/],
  ['{node: {node-a: 4}}', '.node', /Did you mean nodes\?/],
  ['{nodes: [node-a]}', '.nodes', /no map of names and weights.*Write nodes: \{big-1: 4\}/],
  ['{zones: 4}', '.zones', /no map of names and weights/],
  ['{nodes: {node-a: 101}}', '.nodes.node-a', /101 is no whole number from 0 to 100.*Write node-a: 4/],
  ['{nodes: {node-a: -1}}', '.nodes.node-a', /-1 is no whole number/],
  ['{nodes: {node-a: 1.5}}', '.nodes.node-a', /1\.5 is no whole number/],
  ['{nodes: {node-a: "4"}}', '.nodes.node-a', /"4" is no whole number/],
  ['{nodes: {node-a: {weight: 4}}}', '.nodes.node-a', /it is no whole number/],
  ['{nodes: {node-a: }}', '.nodes.node-a', /it is no whole number/],
  ['{nodes: {"node a": 4}}', '.nodes.node a', /no node can have this name/],
  ['{zones: {"": 4}}', '.zones.', /no zone can have this name/],
  ['{nodes: {? : 4}}', '.nodes.', /no node can have this name/],
  ['{zones: {"-": 4}}', '.zones.-', /no zone can have this name/],
]

test('what is wrong is an error that names the field and what to write, and costs itself alone', () => {
  for (const [weights, field, said] of wrong) {
    const problems = validateManifests([{ name: 'web.yaml', text: base + weighing(weights) + pods('node-a') }])
    const [found, ...more] = problems.filter(({ object }) => object.kind === 'Service')
    assert.deepEqual([found?.severity, found?.code, more.length], ['error', 'InvalidAnnotation', 0], weights)
    assert.equal(found?.field, `metadata.annotations.${annotation}${field}`, weights)
    assert.match(`${found?.message} ${found?.remedy}`, said, weights)
    assert.equal(webOf(weighing(weights) + pods('node-a')).routes.length, 1, `${weights}: it is announced all the same`)
  }
  const two = pods('node-a', 'node-b', 'node-c')
  assert.deepEqual(shown(webOf(weighing('{nodes: {node-a: x, node-b: 3}}') + two)), ['1*1 2*3 3*1', ''])
})

test('of thousands of wrong names ten are told, and how many more there are; those that are right count', () => {
  const strange = Array.from({ length: 3_000 }, (_, n) => `a${n}: 1`).join(', ')
  const slips = Array.from({ length: 900 }, (_, n) => `b${n}: x`).join(', ')
  for (const [weights, more] of [
    [`{nodes: {${slips}, node-a: 4}}`, 890],
    [`{${strange}, nodes: {${slips}, node-a: 4}}`, 3_890],
  ] as const) {
    const text = weighing(weights) + pods('node-a', 'node-b')
    const problems = validateManifests([{ name: 'web.yaml', text: base + text }])
    const told = problems.filter(({ object }) => object.kind === 'Service').map(({ message }) => message)
    assert.deepEqual(
      [told.length, told.filter((each) => each === `${more} more errors of this object are not told`).length],
      [11, 1],
    )
    assert.deepEqual(shown(webOf(text)), ['1*4 2*1', ''])
  }
})

test('a slip leaves the weight that was in force, and one that is not written any more goes', () => {
  const two = pods('node-a', 'node-b')
  for (const [weights] of wrong) {
    const all = translator(weighing('{nodes: {node-a: 0}}') + two)
    assert.deepEqual(shown(serviceOf(all.flush(), 'web')), ['2', '1'])
    // Here another name is written, and that of the node is not.
    const expected = /node a|"-"|""|\?/.test(weights) ? ['1 2', ''] : ['2', '1']
    assert.deepEqual(shown(serviceOf(change(all, weighing(weights)), 'web')), expected, weights)
  }
  const all = translator(weighing('{nodes: {node-a: 0}, zones: {one: 3}}') + two)
  all.flush()
  assert.deepEqual(shown(serviceOf(change(all, weighing('{zones: {one: 3}}')), 'web')), ['1 2', ''])
})

test('the weights of a Service follow it through its life, and are of no other one', () => {
  const all = translator(weighing('{nodes: {node-a: 4}}') + pods('node-a', 'node-b'))
  assert.deepEqual(shown(serviceOf(all.flush(), 'web')), ['1*4 2*1', ''])
  assert.deepEqual(shown(serviceOf(change(all, weighing('{nodes: {node-a: 9}}')), 'web')), ['1*9 2*1', ''])
  assert.deepEqual(shown(serviceOf(change(all, weighing('')), 'web')), ['1 2', ''])
  assert.equal(change(all, weighing('')).services.size, 0)
  remove(all, 'Service', 'web')
  all.flush()
  assert.deepEqual(shown(serviceOf(change(all, weighing('')), 'web')), ['1 2', ''])
})
