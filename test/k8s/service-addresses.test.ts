/** Cluster IPs and external IPs of Services: announced where an advertisement asks for them, and what forbids it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { advertisement, clusterConfig, peerConfig, services } from './cilium-v2.ts'
import {
  change,
  node,
  pool,
  remove,
  service,
  serviceOf,
  slice,
  slice6,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const families = '[{afi: ipv4, safi: unicast, advertisements: {}}, {afi: ipv6, safi: unicast, advertisements: {}}]'
const config = (addresses: string, more = ''): string =>
  clusterConfig() +
  peerConfig().replace(/families: .*/, `families: ${families}`) +
  advertisement('own', services(addresses, more)) +
  node +
  pool
const plain = (name: string, more: string): string =>
  service(name, more).replace('type: LoadBalancer', 'type: ClusterIP')
const prefixesOf = (delta: DesiredDelta, name: string): readonly string[] =>
  serviceOf(delta, name).routes.map(({ prefix }) => prefix)
const said = (delta: DesiredDelta, name: string, step: 'allocated' | 'selected' | 'class' = 'allocated') => {
  const verdict = verdictOf(serviceOf(delta, name), step)
  return `${verdict?.code}: ${verdict?.message}`
}

test('a cluster IP is announced, served and never allocated, of a Service that is no LoadBalancer too', () => {
  const text = config('ClusterIP') + plain('web', ', clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]') + slice('web')
  const delta = translatorWith(text).flush()
  const web = serviceOf(delta, 'web')
  assert.deepEqual(
    web.routes.map(({ prefix, neighbors }) => [prefix, neighbors]),
    [['10.96.0.10/32', ['65001/192.168.1.1']]],
  )
  assert.deepEqual(
    web.frontends.map(({ id, backends }) => [id, backends.length]),
    [['10.96.0.10:80/TCP', 1]],
    'it is programmed before it is announced',
  )
  assert.deepEqual([web.addresses, web.pool], [['10.96.0.10'], undefined])
  assert.equal(said(delta, 'web', 'class'), 'NoClassNeeded: of type ClusterIP: only addresses of its own count')
  assert.equal(said(delta, 'web'), 'OwnAddress: ClusterIP 10.96.0.10 is its own')
  assert.match(said(delta, 'web', 'selected'), /^PolicySelects: CiliumBGPAdvertisement own, neighbors/)
})

test('nobody who is not asked for is announced, and such a Service is nothing to this node', () => {
  const web = plain('web', ', clusterIP: 10.96.0.10, externalIPs: [203.0.113.7]') + slice('web')
  for (const text of [
    config('LoadBalancerIP') + web,
    config('ClusterIP, ExternalIP') + web.replace('expose-via-bgp: "true"', 'a: b'),
    smallestPolicy + node + pool + web,
    config('ClusterIP') + plain('web', ', clusterIP: None, clusterIPs: [None], externalIPs: [""]') + slice('web'),
    config('ExternalIP') + web.replace('type: ClusterIP', 'type: ExternalName'),
  ])
    assert.equal(translatorWith(text).flush().services.size, 0, text)
})

test('a LoadBalancer is announced by all of its addresses that are asked for', () => {
  const web = service(
    'web',
    ', clusterIPs: [10.96.0.10, "FD00:96::A"], externalIPs: [203.0.113.7], ipFamilyPolicy: PreferDualStack',
  )
  const of = (addresses: string) =>
    prefixesOf(
      translatorWith(config(addresses) + web + slice('web') + slice6('web'), { datapath: 'none' }).flush(),
      'web',
    ).toSorted()
  assert.deepEqual(of('LoadBalancerIP'), ['198.51.100.0/32'])
  assert.deepEqual(of('ClusterIP'), ['10.96.0.10/32', 'fd00:96::a/128'])
  assert.deepEqual(of('LoadBalancerIP, ClusterIP, ExternalIP'), [
    '10.96.0.10/32',
    '198.51.100.0/32',
    '203.0.113.7/32',
    'fd00:96::a/128',
  ])
  const other = translatorWith(
    config('ClusterIP, LoadBalancerIP') +
      service('web', ', loadBalancerClass: other.example/lb, clusterIP: 10.96.0.10') +
      slice('web'),
  ).flush()
  assert.deepEqual(prefixesOf(other, 'web'), ['10.96.0.10/32'], 'the address of another class is not ours')
  const onlyOwn = translatorWith(config('ClusterIP') + service('web') + slice('web')).flush()
  assert.match(
    said(onlyOwn, 'web', 'selected'),
    /^AddressNotAsked: CiliumBGPAdvertisement own announces ClusterIP, and/,
  )
})

test('each type has its own traffic policy: internal of cluster IPs, external of the others', () => {
  const of = (policies: string) =>
    prefixesOf(
      translatorWith(
        config('ClusterIP, ExternalIP') +
          plain('web', `, clusterIP: 10.96.0.10, externalIPs: [203.0.113.7]${policies}`) +
          slice('web', 'node-b'),
        { datapath: 'none' },
      ).flush(),
      'web',
    )
  assert.deepEqual(of(''), ['10.96.0.10/32', '203.0.113.7/32'])
  assert.deepEqual(of(', internalTrafficPolicy: Local'), ['203.0.113.7/32'])
  assert.deepEqual(of(', externalTrafficPolicy: Local'), ['10.96.0.10/32'])
  assert.deepEqual(of(', internalTrafficPolicy: Local, externalTrafficPolicy: Local'), [])
})

test('an external IP is never one that something else has, whoever wrote it into the Service', () => {
  const rival = plain('api', ', clusterIP: 10.96.0.1').replace('expose-via-bgp: "true"', 'a: b')
  const cases: readonly (readonly [string, RegExp])[] = [
    ['127.0.0.1', /a loopback address/],
    ['0.0.0.0', /this network/],
    ['224.0.0.1', /multicast/],
    ['169.254.169.254', /link-local/],
    ['192.168.1.10', /the address of node node-a/],
    ['192.168.1.1', /a neighbor/],
    ['::ffff:192.168.1.1', /a neighbor/],
    ['10.244.1.77', /of pods on node node-a/],
    ['10.244.1.5', /pods|endpoint/],
    ['198.51.100.3', /of pool pool/],
    ['10.96.0.1', /the cluster IP of default\/api/],
  ]
  for (const [ip, why] of cases) {
    const text = config('ExternalIP') + rival + plain('web', `, externalIPs: ["${ip}"]`) + slice('web')
    const delta = translatorWith(text, { datapath: 'none' }).flush()
    assert.deepEqual(prefixesOf(delta, 'web'), [], ip)
    assert.match(said(delta, 'web'), /^ReservedAddress: /, ip)
    assert.match(said(delta, 'web'), why, ip)
    assert.equal(verdictOf(serviceOf(delta, 'web'), 'allocated')?.ok, false)
  }
  const both = config('ExternalIP') + plain('web', ', externalIPs: [127.0.0.1, 203.0.113.7]') + slice('web')
  const delta = translatorWith(both).flush()
  assert.deepEqual(prefixesOf(delta, 'web'), ['203.0.113.7/32'], 'one that is wrong costs the others nothing')
  assert.match(said(delta, 'web'), /^OwnAddress: .*127\.0\.0\.1 is a loopback address: it is not announced/)
})

test('an external IP that is the address which a pool gave to the Service is its own', () => {
  const text = config('LoadBalancerIP, ExternalIP') + service('web', ', externalIPs: [198.51.100.0]') + slice('web')
  const delta = translatorWith(text).flush()
  assert.deepEqual(prefixesOf(delta, 'web'), ['198.51.100.0/32'])
  assert.equal(serviceOf(delta, 'web').frontends.length, 1)
})

test('of two Services with one external IP and port the oldest has it, in whatever order they come', () => {
  const aged = (name: string, time: string, port = 80) =>
    plain(name, ', externalIPs: [203.0.113.7]')
      .replace('labels:', `creationTimestamp: "${time}", labels:`)
      .replace('port: 80', `port: ${port}`) + slice(name)
  const [old, young] = [aged('old', '2026-01-01T00:00:00Z'), aged('young', '2026-02-01T00:00:00Z')]
  for (const text of [old + young, young + old]) {
    const delta = translatorWith(config('ExternalIP') + text).flush()
    assert.deepEqual([prefixesOf(delta, 'old').length, prefixesOf(delta, 'young').length], [1, 0])
    assert.deepEqual([serviceOf(delta, 'old').frontends.length, serviceOf(delta, 'young').frontends.length], [1, 0])
    assert.equal(said(delta, 'young'), 'PortTaken: port 80/TCP of 203.0.113.7 belongs to default/old, which is older')
  }
  const translator = translatorWith(config('ExternalIP') + young)
  assert.deepEqual(prefixesOf(translator.flush(), 'young'), ['203.0.113.7/32'])
  assert.deepEqual(prefixesOf(change(translator, old), 'young'), [])
  assert.deepEqual(prefixesOf(remove(translator, 'Service', 'old'), 'young'), ['203.0.113.7/32'])
  const shared = translatorWith(config('ExternalIP') + old + aged('young', '2026-02-01T00:00:00Z', 81)).flush()
  assert.deepEqual([prefixesOf(shared, 'old').length, prefixesOf(shared, 'young').length], [1, 1])
})

test('what becomes reserved later is withdrawn, and comes back', () => {
  const other = node.replace('node-a', 'node-b').replace('192.168.1.10', '203.0.113.7').replace('10.244.1', '10.244.2')
  const translator = translatorWith(config('ExternalIP') + plain('web', ', externalIPs: [203.0.113.7]') + slice('web'))
  assert.deepEqual(prefixesOf(translator.flush(), 'web'), ['203.0.113.7/32'])
  assert.deepEqual(prefixesOf(change(translator, other), 'web'), [])
  assert.deepEqual(prefixesOf(change(translator, other.replace('203.0.113.7', '192.168.1.11')), 'web'), [
    '203.0.113.7/32',
  ])
})

test('an advertisement that asks no more withdraws, and the Service is forgotten', () => {
  const text = config('ClusterIP') + plain('web', ', clusterIP: 10.96.0.10') + slice('web')
  const translator = translatorWith(text)
  assert.deepEqual(prefixesOf(translator.flush(), 'web'), ['10.96.0.10/32'])
  const after = change(translator, advertisement('own', services('LoadBalancerIP')))
  assert.deepEqual([...after.services], [['default/web', undefined]])
})

test('serviceAdvertisements of a policy is the same', () => {
  const policy = smallestPolicy.replace('exportPodCIDR: true', 'serviceAdvertisements: [ClusterIP, ExternalIP]')
  const web = service('web', ', clusterIP: 10.96.0.10, externalIPs: [203.0.113.7]') + slice('web')
  assert.deepEqual(prefixesOf(translatorWith(policy + node + pool + web).flush(), 'web').toSorted(), [
    '10.96.0.10/32',
    '203.0.113.7/32',
  ])
})

test('aggregates: Services share one; what nobody may have is in none', () => {
  const more = config('ClusterIP').replace(
    '[ClusterIP]',
    '[ClusterIP], aggregationLengthIPv4: 24, aggregationLengthIPv6: 64',
  )
  const [a, b] = [
    plain('a', ', clusterIP: 10.96.0.10') + slice('a'),
    plain('b', ', clusterIP: 10.96.0.200') + slice('b'),
  ]
  const delta = translatorWith(more + a + b).flush()
  assert.deepEqual([prefixesOf(delta, 'a'), prefixesOf(delta, 'b')], [['10.96.0.0/24'], ['10.96.0.0/24']])
  const wide = more.replace('aggregationLengthIPv4: 24', 'aggregationLengthIPv4: 4')
  const alone = translatorWith(wide + a).flush()
  assert.deepEqual(prefixesOf(alone, 'a'), ['10.96.0.10/32'], '0.0.0.0/4 holds 0.0.0.0/8')
  assert.match(said(alone, 'a', 'selected'), /0\.0\.0\.0\/4 holds addresses that nobody may have/)
  const local = translatorWith(more + a.replace('10.96.0.10', '10.96.0.10, internalTrafficPolicy: Local')).flush()
  assert.deepEqual(prefixesOf(local, 'a'), ['10.96.0.10/32'])
})

test("an external IP is announced by itself, whatever is aggregated: what is around it is nobody's", () => {
  const more = config('ClusterIP, ExternalIP').replace('ExternalIP]', 'ExternalIP], aggregationLengthIPv4: 24')
  const web = plain('web', ', clusterIP: 10.96.0.10, externalIPs: [203.0.113.7]') + slice('web')
  assert.deepEqual(prefixesOf(translatorWith(more + web).flush(), 'web'), ['10.96.0.0/24', '203.0.113.7/32'])
})
