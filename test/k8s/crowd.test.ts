/** Thousands of Services that have something in common: what one of them costs does not grow with the others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PrefixTable } from '../../src/agent/prefix-table.ts'
import { Waiting } from '../../src/allocation/waiting.ts'
import type { Service } from '../../src/k8s/kinds/service.ts'
import { parseService } from '../../src/k8s/kinds/service.ts'
import { ObjectStore } from '../../src/k8s/translate/store.ts'
import { NodePorts } from '../../src/k8s/translate/node-ports.ts'
import { OwnAddresses, toldByName } from '../../src/k8s/translate/own-addresses.ts'
import { advertisement, clusterConfig, peerConfig, services } from './cilium-v2.ts'
import { change, flushAll, node, pool, remove, service, slice, translatorWith } from './manifests.ts'

const address = '203.0.113.7'
const port = { name: '', protocol: 'TCP', port: 80 } as const
const count = 4_000
const keyOf = (i: number): string => `default/s${i}`

/** `onLook` is told whenever somebody looks at how old it is. */
function claiming(i: number, ageSec: number, onLook: () => void = () => undefined, spec: object = {}): Service {
  const { value } = parseService({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `s${i}`, namespace: 'default' },
    spec: { externalIPs: [address], ports: [{ port: 80 }], ...spec },
  })
  assert.ok(value)
  const creationTimestamp = new Date(1_700_000_000_000 - ageSec * 1000).toISOString()
  const metadata = Object.defineProperty({ ...value.metadata }, 'creationTimestamp', {
    get: () => {
      onLook()
      return creationTimestamp
    },
  })
  return { ...value, metadata }
}

for (const [order, ageOf] of [
  ['the oldest first', (i: number) => -i],
  ['the youngest first', (i: number) => i],
  ['in no order', (i: number) => (i * 7919) % count],
] as const)
  test(`${count} Services claim one address and port, ${order}: each costs a search in the line, and tells a few`, () => {
    const own = new OwnAddresses()
    let looks = 0
    let told = 0
    for (let i = 0; i < count; i++) {
      own.set(
        keyOf(i),
        claiming(i, ageOf(i), () => looks++),
      )
      told += own.takeRivals().size
    }
    assert.ok(looks / count < 10 * Math.log2(count), `${looks / count} looks at an age for each`)
    assert.ok(told / count <= toldByName + 2, `${told / count} told of each`)
    looks = told = 0
    for (let i = 0; i < count; i++) {
      assert.notEqual(own.portOwner(address, port, keyOf(i)), keyOf(i))
      own.set(keyOf(i), undefined)
      told += own.takeRivals().size
    }
    assert.ok(looks / count < 10 * Math.log2(count), `${looks / count} looks at an age for each that ends`)
    assert.ok(told / count <= toldByName + 2, `${told / count} told of each that ends`)
  })

test('a claimant that changes something else tells nobody', () => {
  const own = new OwnAddresses()
  for (let i = 0; i < 20; i++) own.set(keyOf(i), claiming(i, -i))
  own.takeRivals()
  own.set(
    keyOf(0),
    claiming(0, 0, () => undefined, { sessionAffinity: 'ClientIP' }),
  )
  assert.deepEqual([...own.takeRivals()], [])
  own.set(
    keyOf(0),
    claiming(0, 0, () => undefined, { ports: [{ port: 81 }] }),
  )
  assert.ok(own.takeRivals().has(keyOf(1)))
})

const claims = fc.array(
  fc.record({
    i: fc.nat({ max: 30 }),
    age: fc.nat({ max: 5 }),
    ports: fc.uniqueArray(fc.constantFrom(80, 81), { minLength: 1 }),
    isCluster: fc.boolean(),
    isGone: fc.boolean(),
  }),
  { maxLength: 60 },
)

test('whose a port or a cluster IP is, is the same as by a look at everybody; whoever is told otherwise is a rival', () => {
  fc.assert(
    fc.property(claims, (steps) => {
      const own = new OwnAddresses()
      const all = new Map<string, Service>()
      let said = new Map<string, string>()
      for (const { i, age, ports, isCluster, isGone } of steps) {
        const spec = { ports: ports.map((each) => ({ port: each })), ...(isCluster ? { clusterIP: address } : {}) }
        const now = isGone ? undefined : claiming(i, age, () => undefined, spec)
        own.set(keyOf(i), now)
        if (now === undefined) all.delete(keyOf(i))
        else all.set(keyOf(i), now)
        const rivals = own.takeRivals()
        const after = saidOf(own, all)
        for (const [key, text] of after)
          if (key !== keyOf(i) && said.get(key) !== text) assert.ok(rivals.has(key), `${key} is not told: ${text}`)
        said = after
      }
    }),
  )
})

test('whose a node port is, is the same as by a look at everybody; whoever is told otherwise is a rival, and few are', () => {
  fc.assert(
    fc.property(claims, (steps) => {
      const nodePorts = new NodePorts()
      const all = new Map<string, Service>()
      let said = new Map<string, string>()
      for (const { i, age, ports, isGone } of steps) {
        const spec = { type: 'NodePort', ports: ports.map((each) => ({ port: each, nodePort: 30_000 + each })) }
        const now = isGone ? undefined : claiming(i, age, () => undefined, spec)
        nodePorts.set(keyOf(i), now)
        if (now === undefined) all.delete(keyOf(i))
        else all.set(keyOf(i), now)
        const rivals = new Set(nodePorts.takeRivals())
        assert.ok(rivals.size <= 2 * (toldByName + 2))
        const after = ownersOf(nodePorts, all)
        for (const [key, text] of after)
          if (key !== keyOf(i) && said.get(key) !== text) assert.ok(rivals.has(key), `${key} is not told: ${text}`)
        said = after
        if (now !== undefined) nodePorts.set(keyOf(i), { ...now })
        assert.deepEqual(nodePorts.takeRivals(), [], 'who changes something else tells nobody')
      }
    }),
  )
})

function ownersOf(nodePorts: NodePorts, all: ReadonlyMap<string, Service>): Map<string, string> {
  const ageOf = ({ metadata: { creationTimestamp = '', name } }: Service): string => `${creationTimestamp} ${name}`
  const byAge = [...all].toSorted(([, a], [, b]) => (ageOf(a) < ageOf(b) ? -1 : 1))
  return new Map(
    byAge.map(([key, service_]) => {
      const owners = service_.nodePorts.map((place) => {
        const line = byAge.flatMap(([other, rival]) => (rival.nodePorts.includes(place) ? [other] : []))
        const rank = line.indexOf(key)
        const owner = nodePorts.ownerOf(`${place}/TCP`, key)
        assert.equal(rank > toldByName ? line[0] : owner, rank === 0 ? undefined : line[0])
        return owner
      })
      return [key, JSON.stringify(owners)]
    }),
  )
}

/** What each Service is told, compared with a look at all of them. */
function saidOf(own: OwnAddresses, all: ReadonlyMap<string, Service>): Map<string, string> {
  const byAge = [...all].toSorted(([, a], [, b]) => {
    const [x, y] = [a, b].map(({ metadata: { creationTimestamp = '', name } }) => `${creationTimestamp} ${name}`)
    return (x ?? '') < (y ?? '') ? -1 : 1
  })
  const isCluster = ({ own: addresses }: Service): boolean => addresses.some(({ type }) => type === 'ClusterIP')
  return new Map(
    byAge.map(([key, { spec }]) => {
      const owners = spec.ports.map((each) => own.portOwner(address, each, key))
      const expected = spec.ports.map((each) => {
        const line = byAge.filter(([, rival]) => rival.spec.ports.some((its) => its.port === each.port))
        const rank = line.findIndex(([other]) => other === key)
        return rank === 0 ? undefined : rank <= toldByName ? line[0]?.[0] : owners[spec.ports.indexOf(each)]
      })
      assert.deepEqual(owners, expected)
      const cluster = own.clusterOwner({ type: 'ExternalIP', address }, key)
      assert.equal(cluster, byAge.find(([other, service_]) => other !== key && isCluster(service_))?.[0])
      return [key, JSON.stringify([owners, cluster])]
    }),
  )
}

test('with hundreds that claim one external IP, one that comes or goes has a bounded number translated', () => {
  const config = clusterConfig() + peerConfig() + advertisement('own', services('ExternalIP')) + node + pool
  const aged = (i: number): string =>
    service(`s${i}`, `, externalIPs: [${address}]`)
      .replace('type: LoadBalancer', 'type: ClusterIP')
      .replace('labels:', `creationTimestamp: "${new Date(i * 1000).toISOString()}", labels:`)
  const many = Array.from({ length: 300 }, (_, i) => aged(i + 10) + slice(`s${i + 10}`)).join('')
  const translator = translatorWith(config + many)
  assert.equal(flushAll(translator).services.size, 300)
  assert.ok(change(translator, aged(1) + slice('s1')).services.size <= toldByName + 3)
  const after = remove(translator, 'Service', 's1').services
  assert.ok(after.size <= toldByName + 3, `${after.size}`)
  assert.equal(after.get('default/s10')?.routes[0]?.prefix, `${address}/32`)
})

test('thousands of Services in one aggregate: the speaker is told of the first and of the last', () => {
  const table = new PrefixTable()
  const route = { prefix: '203.0.113.0/24', neighbors: ['n1', 'n2'], attributes: { communities: [1] } }
  const told = (act: (i: number) => ReadonlySet<string>): number =>
    Array.from({ length: count }, (_, i) => act(i).size).reduce((sum, size) => sum + size, 0)
  assert.equal(
    told((i) => table.set(`s${i}`, [structuredClone(route)])),
    1,
  )
  assert.equal(
    told((i) => table.set(`s${i}`, [])),
    1,
  )
  assert.deepEqual([table.size, table.merged(route.prefix).routes], [0, []])
})

test('those who wait for an address are in line, whatever order they came in, and each costs a search in it', () => {
  const waiting = new Waiting()
  let looks = 0
  const request = (i: number) => {
    const asked = { families: [], needsAllFamilies: false, explicit: [], status: [], labels: {}, sharing: undefined }
    const created = {
      get: () => {
        looks++
        return (i * 7919) % count
      },
    }
    return Object.defineProperty({ key: keyOf(i), namespace: 'default', createdMs: 0, ...asked }, 'createdMs', created)
  }
  for (let i = 0; i < count; i++) waiting.add(request(i))
  assert.ok(looks / count < 10 * Math.log2(count), `${looks / count} looks at an age for each`)
  const ages = waiting.inOrder().map(({ createdMs }) => createdMs)
  assert.deepEqual(
    ages,
    ages.toSorted((a, b) => a - b),
  )
  for (let i = 0; i < count; i++) waiting.delete(keyOf(i))
  assert.deepEqual([waiting.size, waiting.inOrder()], [0, []])
})

test('an object with problems that is delivered again with the same ones is no news of problems', () => {
  const store = new ObjectStore()
  const key = { apiVersion: 'v1', kind: 'Service', namespace: 'default', name: 'web' }
  const broken = { ...key, metadata: { name: 'web', namespace: 'default' }, spec: { type: 'Nonsense' } }
  store.upsert(key, broken, undefined)
  const { problemsVersion } = store
  assert.ok(store.problemsOf('Service', 'default/web').length > 0)
  store.upsert(key, { ...broken, metadata: { ...broken.metadata, labels: { a: 'b' } } }, undefined)
  assert.equal(store.problemsVersion, problemsVersion)
})
