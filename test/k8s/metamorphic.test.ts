/** Changes of the input that mean nothing change nothing: other names, other notations, and what is somebody else's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ManifestObject, readDocuments } from '../../src/k8s/documents.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { everyObject, InForce } from './every-family.ts'

const told = ['file', 'line', 'message', 'source', 'verdicts', 'pool', 'peerName']
const ordered = (text: unknown, other: unknown): number => (JSON.stringify(text) < JSON.stringify(other) ? -1 : 1)
/** Without names and places, and in an order of its own. */
const plain = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(plain).sort(ordered)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key]) => !told.includes(key))
  return Object.fromEntries(entries.map(([key, each]) => [key, plain(each)]))
}
const deeds = (world: InForce): string => JSON.stringify(plain(world.state))
const expected = deeds(new InForce(everyObject))
const changed = (change: (text: string) => string): readonly ManifestObject[] =>
  everyObject.map((each): ManifestObject => {
    const object = JSON.parse(change(JSON.stringify(each.object))) as RawObject & {
      readonly metadata: { readonly name: string; readonly namespace?: string }
    }
    const { name, namespace = '' } = object.metadata
    return { ...each, object, key: { ...each.key, name, namespace: each.key.namespace === '' ? '' : namespace } }
  })
const metadataOf = ({ object }: ManifestObject): object => object.metadata as object

test('what the objects of the configuration are called means nothing, as long as they find each other', () => {
  const names: readonly (readonly [string, string])[] = [
    ['"bgp-peering"', '"zz-policy"'],
    ['"cilium-bgp"', '"aa-config"'],
    ['"tor"', '"leaf-1"'],
    ['"spine"', '"leaf-2"'],
    ['"m1"', '"peer.with.dots"'],
    ['"m2"', '"9"'],
    ['"production"', '"lab"'],
    ['"md5"', '"key-of-metallb"'],
    ['"key"', '"key-of-cilium"'],
    ['"edge"', '"core"'],
    ['"metallb-system"', '"a-other"'],
    ['"e"', '"zz"'],
    ['"sum"', '"aa"'],
  ]
  fc.assert(
    fc.property(fc.subarray([...names], { minLength: 1 }), (renamed) => {
      const world = new InForce(
        changed((text) =>
          renamed.reduce(
            // A key of the language is no name: `"key":`.
            (all, [from, to]) => all.replace(new RegExp(`${from}(?!:)`, 'g'), to),
            text,
          ),
        ),
      )
      assert.equal(deeds(world), expected, renamed.map(([from]) => from).join())
    }),
    { numRuns: 40 },
  )
})

test('an address in another notation is the same address', () => {
  const world = new InForce(
    changed((text) =>
      text
        .replaceAll('"192.168.1.1/32"', '"::ffff:192.168.1.1/128"')
        .replaceAll('"peerAddress":"192.168.1.2"', '"peerAddress":"::FFFF:c0a8:102"')
        .replaceAll('"peerAddress":"192.168.1.4"', '"peerAddress":"0:0:0:0:0:ffff:192.168.1.4"')
        .replaceAll('"address":"192.168.1.10"', '"address":" ::ffff:192.168.1.10"')
        .replaceAll('"ip":"198.51.100.1"', '"ip":"::ffff:198.51.100.1"')
        .replaceAll('"203.0.113.7"', '"::ffff:203.0.113.7"')
        .replaceAll('{\\"192.168.1.2\\"', '{\\"::ffff:192.168.1.2\\"'),
    ),
  )
  assert.equal(deeds(world), expected)
})

test('labels, annotations and fields of others, on any object, mean nothing', () => {
  const others = {
    labels: { 'app.kubernetes.io/managed-by': 'Helm', 'example.org/tier': 'gold' },
    annotations: {
      'kubectl.kubernetes.io/last-applied-configuration': '{"spec": {"nodeSelector": {}}}',
      'argocd.argoproj.io/sync-wave': '-5',
      'example.org/herald.dev/neighbors': '{"*": {passive: true}}',
    },
    finalizers: ['example.org/hold'],
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'x', uid: 'u' }],
    managedFields: [{ manager: 'kubectl', fieldsV1: { 'f:spec': {} } }],
    generation: 7,
  }
  fc.assert(
    fc.property(fc.subarray([...everyObject]), (some) => {
      const world = new InForce(
        everyObject.map((each): ManifestObject => {
          if (!some.includes(each)) return each
          const { labels, annotations } = metadataOf(each) as Record<'labels' | 'annotations', object | undefined>
          const metadata = {
            ...metadataOf(each),
            ...others,
            labels: { ...labels, ...others.labels },
            annotations: { ...annotations, ...others.annotations },
          }
          return { ...each, object: { ...each.object, metadata } }
        }),
      )
      assert.equal(deeds(world), expected, some.map(({ key }) => key.name).join())
      assert.deepEqual(
        world.problems.filter(({ field }) => field.startsWith('metadata')),
        [],
      )
    }),
    { numRuns: 40 },
  )
})

/** Objects of other nodes, tenants and programs, each by its kind. */
const strangers: readonly RawObject[] = [
  {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node-z', labels: { 'kubernetes.io/os': 'linux' } },
    spec: { podCIDR: '10.244.99.0/24' },
    status: { addresses: [{ type: 'InternalIP', address: '192.168.1.99' }] },
  },
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'tenant', labels: { tier: 'gold' } } },
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'key', namespace: 'tenant' },
    stringData: { password: 'another' },
  },
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'other', namespace: 'kube-system' },
    data: { password: '!' },
  },
  {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPNodeConfigOverride',
    metadata: { name: 'node-z' },
    spec: { bgpInstances: [{ name: 'rack', localASN: 64999, routerID: '10.9.9.9' }] },
  },
  {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPPeerConfig',
    metadata: { name: 'unused' },
    spec: { timers: { holdTimeSeconds: 3 } },
  },
  {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumBGPAdvertisement',
    metadata: { name: 'unheard', labels: { advertise: 'nowhere' } },
    spec: { advertisements: [{ advertisementType: 'PodCIDR', attributes: { localPreference: 999 } }] },
  },
  {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumBGPPeeringPolicy',
    metadata: { name: 'windows' },
    spec: {
      nodeSelector: { matchLabels: { 'kubernetes.io/os': 'windows' } },
      virtualRouters: [{ localASN: 65001, neighbors: [{ peerAddress: '192.168.1.1/32', peerASN: 64999 }] }],
    },
  },
  {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'Community',
    metadata: { name: 'c', namespace: 'tenant' },
    spec: { communities: [{ name: 'edge', value: '1:1' }] },
  },
  {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'BGPAdvertisement',
    metadata: { name: 'e', namespace: 'tenant' },
    spec: { localPref: 999 },
  },
  {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'IPAddressPool',
    metadata: { name: 'production', namespace: 'tenant' },
    spec: { addresses: ['203.0.114.0/24'] },
  },
  {
    apiVersion: 'metallb.io/v1beta2',
    kind: 'BGPPeer',
    metadata: { name: 'm1', namespace: 'tenant' },
    spec: { myASN: 1, peerASN: 2, peerAddress: '192.168.1.66', nodeSelectors: [{ matchLabels: { rack: 'none' } }] },
  },
  {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'a-1', namespace: 'tenant', labels: { 'kubernetes.io/service-name': 'a' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.244.1.66'], nodeName: 'node-a' }],
    ports: [{ name: 'http', port: 9999 }],
  },
]

test('what is of other nodes, namespaces and configurations changes nothing, coming, going or being there first', () => {
  const objects = strangers.flatMap((object) =>
    readDocuments('strangers.yaml', JSON.stringify(object)).flatMap((document) => document.objects),
  )
  const world = new InForce(everyObject)
  for (const each of objects) {
    world.put(each)
    const { speaker, services, podCidrs } = world.flush()
    const name = `${each.key.kind} ${each.key.name}`
    assert.deepEqual([speaker, [...services.keys()], podCidrs], [undefined, [], undefined], `${name} came`)
  }
  for (const each of objects) {
    world.translator.remove(each.key)
    const { speaker, services, podCidrs } = world.flush()
    const name = `${each.key.kind} ${each.key.name}`
    assert.deepEqual([speaker, [...services.keys()], podCidrs], [undefined, [], undefined], `${name} went`)
  }
  assert.equal(deeds(world), expected)
  assert.equal(deeds(new InForce([...objects, ...everyObject])), expected)
})
