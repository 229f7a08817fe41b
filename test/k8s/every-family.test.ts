/** All families of configuration at once, in random histories: order, tenants, anything at all, and effort. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import { kinds } from '../../src/k8s/kinds/table.ts'
import { everyObject, InForce } from './every-family.ts'

const all = everyObject.map((_, index) => index)
const wrong = [null, '', 'x', -1, [], {}, { x: 1 }] as const

test('whatever was removed, spoilt and mended in whatever order, the end is that of a fresh start', () => {
  const fresh = new InForce(everyObject)
  const step = fc.record({
    at: fc.nat(all.length - 1),
    how: fc.constantFrom('put', 'remove', 'spoil'),
    value: fc.nat(6),
  })
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 40 }),
      fc.shuffledSubarray(all, { minLength: all.length }),
      (steps, order) => {
        const world = new InForce()
        for (const { at, how, value } of steps) {
          const one = everyObject[at]
          assert.ok(one)
          if (how === 'remove') world.translator.remove(one.key)
          else world.put(how === 'put' ? one : { ...one, object: { ...one.object, spec: wrong[value] } })
          world.flush()
        }
        for (const index of order) {
          const one = everyObject[index]
          if (one !== undefined) world.put(one)
          world.flush()
        }
        assert.deepEqual(world.state, fresh.state)
        assert.deepEqual(world.problems.map(({ code }) => code).sort(), fresh.problems.map(({ code }) => code).sort())
      },
    ),
    { numRuns: 60 },
  )
})

const address = fc.constantFrom(
  ...['192.168.1.1', '192.168.1.2', '192.168.1.5', '192.168.1.10', '10.244.1.7', '198.51.100.3', '192.168.10.9'],
  ...[
    '203.0.113.9',
    '8.8.8.8',
    '127.0.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '10.96.0.1',
    '::1',
    '::ffff:192.168.1.10',
    'x',
    '',
  ],
)
const tenantService = fc.record({
  name: fc.constantFrom('t1', 't2', 'a-1'),
  type: fc.constantFrom('LoadBalancer', 'ClusterIP', 'NodePort', 'ExternalName'),
  labels: fc.constantFrom({ 'expose-via-bgp': 'true' }, {}),
  annotations: fc.dictionary(
    fc.constantFrom('herald.dev/neighbors', 'metallb.io/loadBalancerIPs', 'lbipam.cilium.io/ips', 'herald.dev/drain'),
    fc.constantFrom('{"*": {passive: true}}', 'true', '192.168.1.1', '198.51.100.4'),
  ),
  externalIPs: fc.array(address, { maxLength: 3 }),
  ingress: fc.array(address, { maxLength: 2 }),
  endpoint: address,
})

test('who may write Services and slices announces only what pools and asked-for external IPs allow, and no session moves', () => {
  const taken = new Set(['192.168.1.1', '192.168.1.2', '192.168.1.3', '192.168.1.4', '192.168.1.5', '192.168.1.10'])
  const isFree = (prefix: string): boolean => {
    const [host = ''] = prefix.split('/')
    const isPool = host.startsWith('198.51.100.') || host.startsWith('192.168.10.') || host.startsWith('192.168.11.')
    return isPool || ['203.0.113.7', '203.0.113.9', '8.8.8.8', '10.96.0.1'].includes(host)
  }
  fc.assert(
    fc.property(fc.array(tenantService, { maxLength: 8 }), (written) => {
      const world = new InForce(everyObject)
      const others = ['default/a', 'default/b'].map((key) => structuredClone(world.services.get(key)))
      for (const { name, type, labels, annotations, externalIPs, ingress, endpoint } of written) {
        const metadata = { name, namespace: 'tenant', labels, annotations }
        const ports = [{ name: 'http', port: 80, protocol: 'TCP' }]
        const status = { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } }
        const service = { apiVersion: 'v1', kind: 'Service', metadata, spec: { type, ports, externalIPs }, status }
        const own = { ...metadata, labels: { 'kubernetes.io/service-name': name } }
        const endpoints = [{ addresses: [endpoint], nodeName: 'node-a', conditions: { ready: true } }]
        const slice = { metadata: own, addressType: 'IPv4', endpoints, ports: [{ name: 'http', port: 80 }] }
        const key = { namespace: 'tenant', name }
        const sliceOf = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' }
        world.translator.upsert({ apiVersion: 'v1', kind: 'Service', ...key }, service, undefined)
        world.translator.upsert({ ...sliceOf, ...key }, { ...sliceOf, ...slice }, undefined)
        const { speaker, podCidrs } = world.flush()
        assert.deepEqual([speaker, podCidrs], [undefined, undefined])
        for (const service of world.services.values())
          for (const { prefix } of (service as DesiredService).routes) {
            assert.ok(isFree(prefix), `${prefix} is announced`)
            assert.ok(!taken.has(prefix.split('/')[0] ?? ''), `${prefix} is taken`)
          }
      }
      assert.deepEqual(
        ['default/a', 'default/b'].map((key) => (world.services.get(key) as DesiredService | undefined)?.routes.length),
        others.map((service) => (service as DesiredService | undefined)?.routes.length),
      )
    }),
    { numRuns: 100 },
  )
})

test('objects of every kind and any content cost no exception, and no other object anything', () => {
  const world = new InForce(everyObject)
  const before = world.state
  const anything = fc.jsonValue({ maxDepth: 4 })
  fc.assert(
    fc.property(fc.constantFrom(...Object.entries(kinds)), anything, anything, ([kind, { versions }], spec, more) => {
      const apiVersion = versions.at(-1) ?? ''
      const metadata = { name: 'hostile', namespace: 'hostile', labels: more, annotations: more }
      const object = { apiVersion, kind, metadata, spec, status: more, data: spec, endpoints: spec, ports: more }
      const key = { apiVersion, kind, namespace: 'hostile', name: 'hostile' }
      world.translator.upsert(key, object, undefined)
      world.flush()
      world.translator.remove(key)
      world.flush()
    }),
    { numRuns: 400 },
  )
  assert.deepEqual(world.state, before)
})

test('an event costs the Services that it is about: what others write into statuses, labels and times costs none', () => {
  let clock = 0
  const world = new InForce(everyObject, { nowMs: () => clock++ / 1e6 })
  const idle = (): number => {
    const before = clock
    world.flush()
    return clock - before
  }
  const least = idle()
  for (const one of everyObject) {
    const heartbeat = { ...one.object, status: { ...(one.object['status'] as object), counters: { used: clock } } }
    world.put({ ...one, object: heartbeat })
    assert.equal(idle(), least, `a status of ${one.key.kind}`)
    const metadata = { ...(one.object.metadata as object), resourceVersion: String(clock), managedFields: [] }
    world.put({ ...one, object: { ...one.object, metadata } })
    assert.equal(idle(), least, `a version of ${one.key.kind}`)
  }
  const slice = everyObject.find(({ key }) => key.name === 'a-1')
  assert.ok(slice)
  world.put({ ...slice, object: { ...slice.object, endpoints: [] } })
  const { services } = world.flush()
  assert.deepEqual([...services.keys()], ['default/a'])
})
