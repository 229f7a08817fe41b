import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { deliver, node, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const all = smallestPolicy + node + pool + service('web') + slice('web')

test('the smallest policy gives a session, the PodCIDR and a served, announced Service', () => {
  const delta = translatorWith(all).flush()
  const [neighbor] = delta.speaker?.neighbors ?? []
  assert.equal(neighbor?.id, '65001/192.168.1.1')
  assert.deepEqual([neighbor?.peerPort, neighbor?.holdTimeSec, neighbor?.keepaliveSec, neighbor?.connectRetrySec, neighbor?.routerId], [179, 90, 30, 120, '192.168.1.10'])
  assert.deepEqual(delta.podCidrs?.map(({ prefix, routes }) => [prefix, routes[0]?.neighbors]), [['10.244.1.0/24', ['65001/192.168.1.1']]])
  const web = delta.services.get('default/web')
  assert.deepEqual(web?.routes, [{ prefix: '198.51.100.0/32', neighbors: ['65001/192.168.1.1'], attributes: {} }])
  assert.deepEqual(web?.frontends.map(({ id, backends }) => ({ id, backends })), [{ id: '198.51.100.0:80/TCP', backends: [{ address: '10.244.1.5', port: 8080 }] }])
  assert.deepEqual(web?.verdicts.map(({ step, ok }) => [step, ok]), [['class', true], ['allocated', true], ['selected', true], ['supported', true], ['eligible', true]])
  assert.equal(delta.problems, undefined)
})

test('nothing is said before every kind was delivered once', () => {
  const translator = createTranslator({ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system' })
  deliver(translator, all)
  assert.deepEqual(translator.flush(), { services: new Map() })
})

test('a change of one EndpointSlice among many Services yields that Service alone', () => {
  const many = Array.from({ length: 50 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
  const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/24') + many)
  assert.equal(translator.flush().services.size, 50)
  deliver(translator, slice('s7', 'node-b'))
  const delta = translator.flush()
  assert.deepEqual([...delta.services.keys()], ['default/s7'])
  assert.deepEqual([delta.speaker, delta.podCidrs, delta.problems], [undefined, undefined, undefined])
  assert.deepEqual(delta.services.get('default/s7')?.routes, [])
  assert.equal(delta.services.get('default/s7')?.remoteBackends, 1)
})

test('a broken policy leaves its last good version in force and is listed with its field and line', () => {
  const translator = translatorWith(all)
  translator.flush()
  deliver(translator, smallestPolicy.replace('65001', '99999999999'))
  const delta = translator.flush()
  assert.equal(delta.speaker, undefined)
  assert.deepEqual(delta.problems?.map(({ severity, field, object }) => [severity, field, object.line]), [['error', 'spec.virtualRouters[0].localASN', 7]])
})

test('what this version cannot enforce is not announced, and the verdict says why', () => {
  for (const [more, code] of [[', loadBalancerSourceRanges: [10.0.0.0/8]', 'SourceRangesNotServed'], [', sessionAffinity: ClientIP', 'SessionAffinityNotServed']]) {
    const web = translatorWith(smallestPolicy + node + pool + service('web', more) + slice('web')).flush().services.get('default/web')
    assert.deepEqual([web?.routes, web?.frontends, web?.verdicts.find(({ ok }) => !ok)?.code], [[], [], code])
  }
})

test('an endpoint that serves while it terminates still counts, one that does not is withdrawn', () => {
  const of = (conditions: string): number | undefined => translatorWith(smallestPolicy + node + pool + service('web') + slice('web', 'node-a', conditions)).flush().services.get('default/web')?.routes.length
  assert.equal(of('ready: false, serving: true, terminating: true'), 1)
  assert.equal(of('ready: false, serving: false, terminating: true'), 0)
})

test('a neighbor whose Secret is missing is not dialled', () => {
  const delta = translatorWith(all.replace('peerASN: 65000', 'peerASN: 65000, authSecretRef: key')).flush()
  assert.equal(delta.speaker?.neighbors.length ?? 0, 0)
  assert.match(delta.problems?.[0]?.message ?? '', /not dialled/)
})

test('of two policies on one node the older one stays, the other is a problem', () => {
  const translator = translatorWith(all)
  translator.flush()
  deliver(translator, smallestPolicy.replace('name: bgp-peering', 'name: another').replace('65001', '65009'))
  const delta = translator.flush()
  assert.equal(delta.speaker, undefined)
  assert.deepEqual(delta.problems?.map(({ code, object }) => [code, object.name]), [['PolicyConflict', 'another']])
})

test('addresses do not depend on the order of arrival, and no two Services share one', () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const addressesOf = (order: readonly string[]): Map<string, string> => {
    const { services } = translatorWith(smallestPolicy + node + pool + order.map((name) => service(name)).join('')).flush()
    return new Map(names.map((name) => [name, services.get(`default/${name}`)?.addresses.join() ?? '']))
  }
  const expected = addressesOf(names)
  assert.equal(new Set(expected.values()).size, names.length)
  fc.assert(fc.property(fc.shuffledSubarray(names, { minLength: names.length }), (order) => assert.deepEqual(addressesOf(order), expected)), { numRuns: 30 })
})

test('an address in use stays when an older Service arrives and when the pool is disabled', () => {
  const translator = translatorWith(all)
  translator.flush()
  deliver(translator, service('aaa') + pool.replace('blocks:', 'disabled: true, blocks:'))
  const { services } = translator.flush()
  assert.deepEqual(services.get('default/web')?.addresses, ['198.51.100.0'])
  assert.equal(services.get('default/aaa')?.verdicts.find(({ ok }) => !ok)?.step, 'allocated')
})
