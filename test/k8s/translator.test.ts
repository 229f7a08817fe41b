import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import {
  change,
  codesOf,
  deliver,
  flushAll,
  node,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { processorMs } from '../processor-time.ts'

const base = smallestPolicy + node + pool
const all = base + service('web') + slice('web')

test('the smallest policy gives a session, the PodCIDR and a served, announced Service', () => {
  const delta = translatorWith(all).flush()
  const [neighbor] = delta.speaker?.neighbors ?? []
  assert.equal(neighbor?.id, '65001/192.168.1.1')
  assert.deepEqual(
    [neighbor?.peerPort, neighbor?.holdTimeSec, neighbor?.keepaliveSec, neighbor?.connectRetrySec, neighbor?.routerId],
    [179, 90, 30, 120, '192.168.1.10'],
  )
  assert.deepEqual(
    delta.podCidrs?.map(({ prefix, routes }) => [prefix, routes[0]?.neighbors]),
    [['10.244.1.0/24', ['65001/192.168.1.1']]],
  )
  const web = serviceOf(delta, 'web')
  assert.deepEqual(web.routes, [{ prefix: '198.51.100.0/32', neighbors: ['65001/192.168.1.1'], attributes: {} }])
  assert.deepEqual(
    web.frontends.map(({ id, backends }) => ({ id, backends })),
    [{ id: '198.51.100.0:80/TCP', backends: [{ address: '10.244.1.5', port: 8080 }] }],
  )
  assert.deepEqual(
    web.verdicts.map(({ step, ok }) => [step, ok]),
    [
      ['class', true],
      ['allocated', true],
      ['selected', true],
      ['supported', true],
      ['eligible', true],
    ],
  )
  assert.equal(delta.problems, undefined)
})

test('nothing is said before every kind was delivered once, and nothing twice', () => {
  const translator = createTranslator({ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system' })
  deliver(translator, all)
  assert.deepEqual(translator.flush(), { services: new Map() })
  translator.synced()
  assert.equal(translator.flush().services.size, 1)
  assert.deepEqual(translator.flush(), { services: new Map() })
})

test(
  'a change of one EndpointSlice among 5 000 Services yields that Service alone, and costs well under a ' +
    'millisecond',
  () => {
    const many = Array.from({ length: 5000 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
    const translator = translatorWith(base.replace('/28', '/16') + many)
    assert.equal(flushAll(translator).services.size, 5000)
    const durations = Array.from({ length: 51 }, (_, i) => {
      deliver(translator, slice(`s${i}`, 'node-b'))
      let delta: DesiredDelta = { services: new Map() }
      const took = processorMs(() => (delta = translator.flush()))
      assert.deepEqual([...delta.services.keys()], [`default/s${i}`])
      assert.deepEqual([delta.speaker, delta.podCidrs, delta.problems], [undefined, undefined, undefined])
      assert.deepEqual([serviceOf(delta, `s${i}`).routes, serviceOf(delta, `s${i}`).remoteBackends], [[], 1])
      return took
    })
    // Some tens of microseconds; the median, as one of them may be that of a collection.
    assert.ok((durations.sort((a, b) => a - b)[25] ?? 0) < 1, `${durations.map((x) => x.toFixed(2)).join()} ms`)
  },
)

test('problems are told when they change, and once', () => {
  const translator = translatorWith(all)
  translator.flush()
  assert.deepEqual(codesOf(change(translator, pool.replace('name: pool', 'name: other')).problems), ['PoolConflict'])
  assert.deepEqual(codesOf(change(translator, service('api').replace('port: 80', 'port: eighty')).problems), [
    'InvalidField',
    'PoolConflict',
  ])
  assert.equal(change(translator, slice('web', 'node-b')).problems, undefined)
  assert.deepEqual(codesOf(change(translator, service('api')).problems), ['PoolConflict'])
  assert.deepEqual(remove(translator, 'CiliumLoadBalancerIPPool', 'other').problems, [])
  const older = pool.replace('cilium.io/v2', 'cilium.io/v2alpha1')
  assert.deepEqual(codesOf(change(translator, older.replace('blocks:', 'size: 1, blocks:')).problems), ['UnknownField'])
  assert.deepEqual(change(translator, pool).problems, [], 'the same object in another version')
})

test('a broken Service leaves its last good version in force and is listed with its line', () => {
  const translator = translatorWith(all)
  translator.flush()
  const delta = change(translator, service('web').replace('port: 80', 'port: 99999'))
  assert.equal(delta.services.size, 0)
  assert.deepEqual(
    delta.problems?.map(({ severity, field, object }) => [severity, field, object.name, object.line]),
    [['error', 'spec.ports[0].port', 'web', 5]],
  )
})

test('SCTP is served with its port unchanged (RFC 9260 6.8): else nothing is announced, and the verdict says why', () => {
  const over = (port: number): string =>
    service('web').replace('port: 80', `port: ${port}, protocol: SCTP`) +
    slice('web').replace('port: 8080', 'port: 8080, protocol: SCTP')
  const translator = translatorWith(base + over(8080))
  const same = serviceOf(translator.flush(), 'web')
  assert.deepEqual(
    [same.routes.length, same.frontends.map(({ id, backends }) => [id, backends.map(({ port }) => port)])],
    [1, [['198.51.100.0:8080/SCTP', [8080]]]],
  )
  assert.equal(verdictOf(same, 'supported')?.code, 'Supported')
  // The next version of the pods listens elsewhere, and is not ready yet.
  const next = slice('web', 'node-a', 'ready: false')
    .replace('web-1', 'web-2')
    .replace('10.244.1.5', '10.244.1.6')
    .replace('port: 8080', 'port: 8081, protocol: SCTP')
  assert.equal(change(translator, next).services.size, 0)
  const other = serviceOf(change(translator, over(80)), 'web')
  assert.deepEqual([other.routes, other.frontends], [[], []])
  const { code, message = '' } = verdictOf(other, 'supported') ?? {}
  assert.equal(code, 'SctpPortChanged')
  assert.match(message, /port 80\/SCTP leads to port 8080 of 10\.244\.1\.5/)
})

test('endpoints count as ready or as serving while they terminate; a ready one is preferred', () => {
  const of = (conditions: string): number =>
    serviceOf(translatorWith(base + service('web') + slice('web', 'node-a', conditions)).flush(), 'web').routes.length
  assert.equal(of(''), 1)
  assert.equal(of('ready: false, serving: true, terminating: true'), 1)
  assert.equal(of('ready: false, serving: false, terminating: true'), 0)
  assert.equal(of('ready: false'), 0)
  const two = slice('web').replace(
    'endpoints: [',
    'endpoints: [{addresses: [10.244.1.4], nodeName: node-a, conditions: {ready: false, serving: true, ' +
      'terminating: true}}, ',
  )
  const [frontend] = serviceOf(translatorWith(base + service('web') + two).flush(), 'web').frontends
  assert.deepEqual(
    frontend?.backends.map(({ address }) => address),
    ['10.244.1.5'],
  )
})

test(
  'without a local endpoint a node does not announce under ebpf; under none it does when the traffic policy ' +
    'is Cluster',
  () => {
    const of = (datapath: 'ebpf' | 'none', more = ''): readonly (string | number | undefined)[] => {
      const web = serviceOf(
        translatorWith(base + service('web', more) + slice('web', 'node-b'), { datapath }).flush(),
        'web',
      )
      return [web.routes.length, verdictOf(web, 'eligible')?.code]
    }
    assert.deepEqual(of('ebpf'), [0, 'NoLocalBackends'])
    assert.deepEqual(of('none'), [1, 'HasEndpoints'])
    assert.deepEqual(of('none', ', externalTrafficPolicy: Local'), [0, 'NoLocalBackends'])
  },
)

test('a slice that moves to another Service changes both, one that goes withdraws', () => {
  const translator = translatorWith(base + service('web') + service('api') + slice('web'))
  translator.flush()
  const moved = change(translator, slice('web').replace('service-name: web', 'service-name: api'))
  assert.deepEqual([serviceOf(moved, 'web').routes.length, serviceOf(moved, 'api').routes.length], [0, 1])
  translator.remove({ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', namespace: 'default', name: 'web-1' })
  assert.equal(serviceOf(translator.flush(), 'api').routes.length, 0)
})

test('a Service that is no LoadBalancer any more is gone', () => {
  const translator = translatorWith(all)
  translator.flush()
  const delta = change(translator, service('web').replace('LoadBalancer', 'ClusterIP'))
  assert.deepEqual([...delta.services], [['default/web', undefined]])
  assert.deepEqual([...change(translator, service('other').replace('LoadBalancer', 'ClusterIP')).services], [])
})
