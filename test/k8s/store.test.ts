/** The objects in force: what replaces what, what is a change, and what outlives its deletion. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ObjectStore } from '../../src/k8s/translate/store.ts'
import { kinds } from '../../src/k8s/kinds/table.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'

const key = (kind: string, name: string, apiVersion = 'v1', namespace = ''): ObjectKey => ({
  apiVersion,
  kind,
  namespace,
  name,
})
const nodeKey = key('Node', 'n1')
const nodeOf = (labels: Readonly<Record<string, unknown>>, more: RawObject = {}): RawObject => ({
  metadata: { name: 'n1', labels, ...more },
})

test('a first version is a change, an equal one is none, whatever else the object says', () => {
  const store = new ObjectStore()
  assert.deepEqual(store.upsert(nodeKey, nodeOf({ a: 'b' }), undefined), { kind: 'Node', id: 'n1' })
  const { value } = store.objects.Node.get('n1') ?? {}
  const beat = { ...nodeOf({ a: 'b' }), status: { conditions: [{ type: 'Ready' }], nodeInfo: { kernelVersion: '6' } } }
  assert.equal(store.upsert(nodeKey, beat, undefined), undefined)
  assert.equal(store.objects.Node.get('n1')?.value, value, 'the same reference')
  assert.deepEqual(store.upsert(nodeKey, nodeOf({ a: 'c' }), undefined), { kind: 'Node', id: 'n1' })
})

test('a broken version is no change, is said, and is forgotten with the next good one', () => {
  const store = new ObjectStore()
  store.upsert(nodeKey, nodeOf({ a: 'b' }), undefined)
  const before = store.problemsVersion
  assert.equal(store.upsert(nodeKey, nodeOf({ a: 7 }), undefined), undefined)
  assert.deepEqual(
    [store.hasProblems('Node', 'n1'), store.problems()[0]?.code, store.objects.Node.get('n1')?.value.metadata.labels],
    [true, 'InvalidField', { a: 'b' }],
  )
  assert.ok(store.problemsVersion > before)
  store.upsert(nodeKey, nodeOf({ a: 'b' }), undefined)
  assert.deepEqual([store.hasProblems('Node', 'n1'), store.problems()], [false, []])
})

test('of an object that was never good nothing is said to stay in force, whatever its kind', () => {
  for (const [kind, { versions, scope }] of Object.entries(kinds)) {
    const at = key(kind, 'x', versions[0], scope === 'Cluster' ? '' : 'ns')
    const remedies = (store: ObjectStore, raw: RawObject): string => {
      store.upsert(at, raw, undefined)
      return store
        .problems()
        .flatMap(({ severity, remedy }) => (severity === 'error' ? [remedy] : []))
        .join(' ')
    }
    const broken = { metadata: { name: 'x', labels: { a: 7 } }, spec: 5 }
    const said = remedies(new ObjectStore(), broken)
    assert.doesNotMatch(said, /last good|good before/, kind)
    assert.match(said, /until then|^$/, kind)
  }
  const store = new ObjectStore()
  const web = key('Service', 'web', 'v1', 'shop')
  const ports = (port: number): RawObject => ({ metadata: { name: 'web' }, spec: { ports: [{ port }] } })
  store.upsert(web, ports(70_000), undefined)
  assert.match(store.problems()[0]?.remedy ?? '', /; the object is not used until then\.$/)
  store.upsert(web, ports(80), undefined)
  store.upsert(web, ports(70_000), undefined)
  assert.match(store.problems()[0]?.remedy ?? '', /; the last good version stays in force\.$/)
})

test('an object goes with its problems; one that is to outlive its deletion stays until it is let go', () => {
  let isNeeded = true
  const store = new ObjectStore((kind, id) => isNeeded && kind === 'Secret' && id === 'kube-system/tor')
  const [tor, other] = ['tor', 'other'].map((name) => key('Secret', name, 'v1', 'kube-system'))
  assert.ok(tor !== undefined && other !== undefined)
  for (const each of [tor, other])
    store.upsert(each, { metadata: { name: each.name }, stringData: { password: 'x' } }, undefined)
  assert.deepEqual(store.remove(other), { kind: 'Secret', id: 'kube-system/other' })
  assert.deepEqual(store.remove(tor), { kind: 'Secret', id: 'kube-system/tor' })
  assert.deepEqual([...store.objects.Secret.keys()], ['kube-system/tor'])
  assert.equal(store.objects.Secret.get('kube-system/tor')?.isGone, true)
  const again = { metadata: { name: 'tor' }, stringData: { password: 'x' } }
  assert.deepEqual(store.upsert(tor, again, undefined), { kind: 'Secret', id: 'kube-system/tor' }, 'it is back')
  store.forgetGone()
  isNeeded = false
  store.forgetGone()
  assert.equal(store.objects.Secret.size, 1, 'what is there is not let go')
  isNeeded = true
  store.remove(tor)
  store.forgetGone()
  assert.equal(store.objects.Secret.size, 1, 'it is needed')
  isNeeded = false
  store.forgetGone()
  assert.equal(store.objects.Secret.size, 0)
  assert.equal(store.remove(tor), undefined)
})

test('kinds are served in the versions of their rows; related ones are said, others are nothing', () => {
  const store = new ObjectStore()
  for (const [kind, { versions }] of Object.entries(kinds))
    for (const apiVersion of versions) {
      store.upsert(key(kind, `${kind}-x`, apiVersion), { metadata: {} }, undefined)
      assert.ok(
        store.problems().some(({ object }) => object.kind === kind),
        `${kind} is judged`,
      )
      store.remove(key(kind, `${kind}-x`, apiVersion))
    }
  assert.deepEqual(store.problems(), [])
  for (const [kind, apiVersion, said] of [
    ['Node', 'v2', false],
    ['Deployment', 'apps/v1', false],
    ['toString', 'v1', false],
    ['BGPPeer', 'metallb.io/v1beta2', true],
    ['CiliumBGPClusterConfig', 'cilium.io/v2', true],
    ['CiliumNetworkPolicy', 'cilium.io/v2', false],
  ] as const) {
    assert.equal(store.upsert(key(kind, 'x', apiVersion), { metadata: { name: 'x' } }, undefined), undefined)
    assert.equal(store.problems().length, said ? 1 : 0, kind)
    store.remove(key(kind, 'x', apiVersion))
    assert.deepEqual(store.problems(), [])
  }
})

test('one object in two versions of its group is one object', () => {
  const store = new ObjectStore()
  const [old, now] = ['cilium.io/v2alpha1', 'cilium.io/v2'].map((version) =>
    key('CiliumLoadBalancerIPPool', 'p', version),
  )
  assert.ok(old !== undefined && now !== undefined)
  const pool = (blocks: unknown): RawObject => ({ metadata: { name: 'p' }, spec: { blocks } })
  store.upsert(old, pool('none'), undefined)
  assert.equal(store.problems().length, 1)
  store.upsert(now, pool([{ cidr: '192.0.2.0/28' }]), undefined)
  assert.deepEqual([store.problems(), store.objects.CiliumLoadBalancerIPPool.size], [[], 1])
})

test('another uid is another object; the same uid, or none, is the same one', () => {
  const settings = (uid: string | undefined, text: string): RawObject =>
    nodeOf({}, { ...(uid === undefined ? {} : { uid }), annotations: { 'cilium.io/bgp-virtual-router.1': text } })
  const after = (first: string | undefined, second: string | undefined): unknown => {
    const store = new ObjectStore()
    store.upsert(nodeKey, settings(first, 'router-id=10.0.0.1'), undefined)
    store.upsert(nodeKey, settings(second, 'router-id=nonsense'), undefined)
    return store.objects.Node.get('n1')?.value.routers[0]?.routerId
  }
  assert.equal(after('a', 'a'), '10.0.0.1')
  assert.equal(after(undefined, undefined), '10.0.0.1')
  assert.equal(after('a', 'b'), undefined)
})

test('a time that cannot be read is a warning of any kind of object, and counts as none', () => {
  const store = new ObjectStore()
  for (const [written, stored] of [
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00Z'],
    ['2026-01-31T12:00:00.5+02:00', '2026-01-31T10:00:00Z'],
    ['2026-01-31', undefined],
    ['2026-02-31T25:00:00Z', undefined],
    [1769860800, undefined],
    [null, undefined],
  ] as const) {
    store.upsert(nodeKey, nodeOf({}, { creationTimestamp: written }), undefined)
    assert.equal(store.objects.Node.get('n1')?.value.metadata.creationTimestamp, stored, String(written))
    const isSaid = stored === undefined && written !== null
    assert.deepEqual(
      store.problems().map(({ code, field }) => [code, field]),
      isSaid ? [['InvalidTimestamp', 'metadata.creationTimestamp']] : [],
    )
  }
})
