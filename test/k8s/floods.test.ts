/**
 * One Service may fill 256 KiB of annotations, a megabyte of spec.loadBalancerIP and a thousand ports: what comes of it
 * at every node and at the operator stays small.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RawObject } from '../../src/k8s/source.ts'
import { parseService } from '../../src/k8s/kinds/service.ts'
import { parseObject } from '../../src/k8s/kinds/table.ts'
import { flushAll, node, pool, smallestPolicy, translatorWith } from './manifests.ts'

const key = { apiVersion: 'v1', kind: 'Service', namespace: 'default' }

function service(
  name: string,
  annotations: Readonly<Record<string, string>>,
  spec: RawObject = {},
  ip?: string,
): RawObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', labels: { 'expose-via-bgp': 'true' }, annotations },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }], ...spec },
    status: { loadBalancer: { ingress: ip === undefined ? [] : [{ ip }] } },
  }
}

const words = (count: number, word: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => word(i)).join()
const names = (prefix: string): Readonly<Record<string, string>> =>
  Object.fromEntries(Array.from({ length: 8_000 }, (_, i) => [`${prefix}${i.toString(36)}`, 'x']))

for (const [what, annotations, spec] of [
  ['a request of 100 000 words', { 'lbipam.cilium.io/ips': words(100_000, (i) => i.toString(36)) }, {}],
  ['a request of one word of 256 KiB', { 'metallb.io/loadBalancerIPs': 'x'.repeat(262_000) }, {}],
  ['a spec.loadBalancerIP of 100 000 words', {}, { loadBalancerIP: words(100_000, (i) => `${i}`) }],
  [
    'a spec.loadBalancerIP of 1 MiB beside a request',
    { 'metallb.io/loadBalancerIPs': '192.0.2.1' },
    { loadBalancerIP: 'y'.repeat(1 << 20) },
  ],
  [
    'a second spelling of 50 000 words',
    { 'lbipam.cilium.io/ips': '198.51.100.1', 'io.cilium/lb-ipam-ips': words(50_000, () => 'a') },
    {},
  ],
  [
    '50 000 namespaces to share with',
    { 'lbipam.cilium.io/sharing-key': 'k', 'lbipam.cilium.io/sharing-cross-namespace': words(50_000, (i) => `n${i}`) },
    {},
  ],
  ['a sharing key of 256 KiB', { 'lbipam.cilium.io/sharing-key': 'k'.repeat(262_000) }, {}],
  ['a pool name of 256 KiB', { 'metallb.io/address-pool': 'p'.repeat(262_000) }, {}],
  ['8 000 annotations that nobody reads', names('metallb.io/'), {}],
  ['8 000 annotations that are nearly right', names('lbipam.cilium.io/sharing-ke'), {}],
] as const)
  test(`${what}: a few problems of a few words, and nobody else is disturbed`, () => {
    const translator = translatorWith(smallestPolicy + node + pool)
    translator.upsert({ ...key, name: 'other' }, service('other', {}), undefined)
    translator.flush()
    translator.upsert({ ...key, name: 'flood' }, service('flood', annotations, spec), undefined)
    const { problems = [], services } = translator.flush()
    const own = problems.filter(({ object }) => object.name === 'flood')
    assert.ok(own.length <= 20, `${own.length} problems`)
    assert.ok(JSON.stringify(own).length < 16_384, `${JSON.stringify(own).length} letters of problems`)
    const verdicts = JSON.stringify(services.get('default/flood')?.verdicts ?? [])
    assert.ok(verdicts.length < 4_096, `${verdicts.length} letters of verdicts`)
    assert.equal(services.has('default/other'), false)
  })

test('what a Service shares, and asks for, in lists as long as anything real is taken', () => {
  const across = words(256, (i) => `n${i}`)
  const { value, faults } = parseService(
    service('web', { 'lbipam.cilium.io/sharing-key': 'k', 'lbipam.cilium.io/sharing-cross-namespace': across }),
  )
  assert.deepEqual([value?.metadata.name, faults], ['web', []])
})

test('ten annotations that nobody reads are named, and of the others it is said how many there are', () => {
  const { faults } = parseService(service('web', names('metallb.io/')))
  assert.equal(faults.length, 11)
  assert.equal(faults.at(-1)?.message, '7990 more warnings of this object are not told')
})

test('a thousand ports of two addresses that another Service has are a few words of its verdict', () => {
  const ports = Array.from({ length: 1_000 }, (_, i) => ({ port: i + 1, name: `p${i}` }))
  const shared = { 'lbipam.cilium.io/sharing-key': 'k' }
  const translator = translatorWith(smallestPolicy + node + pool, { isAllocatedElsewhere: true })
  for (const name of ['a', 'b', 'c'])
    translator.upsert({ ...key, name }, service(name, shared, { ports }, '198.51.100.1'), undefined)
  const { services } = flushAll(translator)
  for (const name of ['a', 'b', 'c'])
    assert.ok(JSON.stringify(services.get(`default/${name}`)?.verdicts).length < 4_096, name)
  const taken = services.get('default/b')?.verdicts.find(({ step }) => step === 'allocated')
  assert.match(
    taken?.message ?? '',
    /^port 1\/TCP of 198\.51\.100\.1 belongs to default\/a, .*; and 992 more like these$/,
  )
})

test('each of 150 000 parts of an object may be wrong', () => {
  const metadata = { name: 'flood' }
  const neighbors = Array.from({ length: 150_000 }, () => 0)
  const spec = { virtualRouters: [{ localASN: 65_000, neighbors }] }
  const raw = { apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata, spec }
  const { faults } = parseObject('CiliumBGPPeeringPolicy', raw, undefined, 'server')
  assert.ok(faults.length > 0 && faults.length < 30, `${faults.length}`)
})
