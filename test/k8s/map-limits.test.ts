/** Maps with more keys than anything real: refused, of every kind, before one of them is looked at. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isServed, kinds, parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'
import { formatPath } from '../../src/k8s/kinds/narrow.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { everyObject, InForce } from './every-family.ts'

/** With so many keys; `count` hears of each that is read. */
function labels(keys: number, count: () => void = () => undefined): object {
  const plain = Object.fromEntries(Array.from({ length: keys }, (_, i) => [`tenant.example/${i}`, 'x']))
  return new Proxy(plain, {
    get: (map, key, self) => {
      count()
      return Reflect.get(map, key, self)
    },
  })
}

const limited = (kind: ServedKind, object: RawObject): readonly string[] =>
  parseObject(kind, object, undefined, 'server').faults.flatMap(({ code, path, severity, message }) =>
    code === 'LimitExceeded' ? [`${severity} ${formatPath(path)}: ${message}`] : [],
  )

for (const kind of Object.keys(kinds) as ServedKind[])
  test(`${kind}: more than 1 000 labels or annotations are refused, and none of them is read`, () => {
    const found = everyObject.find(({ key }) => key.kind === kind)?.object ?? {}
    for (const name of ['labels', 'annotations']) {
      const withKeys = (map: object): RawObject => ({ ...found, metadata: { name: 'a', namespace: 'b', [name]: map } })
      let read = 0
      assert.deepEqual(limited(kind, withKeys(labels(100_000, () => read++))), [
        `error metadata.${name}: it has 100000 keys, and at most 1000 are taken`,
      ])
      assert.equal(read, 0)
      assert.deepEqual(limited(kind, withKeys(labels(1_000))), [])
    }
  })

const selector = labels(1_001)
const withSelectors: readonly (readonly [ServedKind, string, object])[] = [
  ['Service', 'spec.selector', { selector }],
  ['CiliumLoadBalancerIPPool', 'spec.serviceSelector.matchLabels', { serviceSelector: { matchLabels: selector } }],
  ['CiliumBGPClusterConfig', 'spec.nodeSelector.matchLabels', { nodeSelector: { matchLabels: selector } }],
  ['BGPPeer', 'spec.nodeSelectors[0].matchLabels', { nodeSelectors: [{ matchLabels: selector }] }],
  [
    'IPAddressPool',
    'spec.serviceAllocation.serviceSelectors[0].matchLabels',
    { serviceAllocation: { serviceSelectors: [{ matchLabels: selector }] } },
  ],
]
for (const [kind, place, spec] of withSelectors)
  test(`${kind}: a selector of more than 1 000 labels is refused`, () => {
    assert.deepEqual(limited(kind, { metadata: { name: 'a', namespace: 'b' }, spec }), [
      `error ${place}: it has 1001 keys, and at most 1000 are taken`,
    ])
  })

test('a version with more labels than are taken leaves the one before in force, and nothing else changes', () => {
  const world = new InForce(everyObject)
  const before = world.state
  for (const { key, object } of everyObject.filter((each) => isServed(each.key))) {
    const { metadata } = object as { readonly metadata: object }
    world.translator.upsert(key, { ...object, metadata: { ...metadata, labels: labels(5_000) } }, undefined)
  }
  world.flush()
  assert.deepEqual(world.state, before)
})
