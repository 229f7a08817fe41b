/** What sockets on a node are led to, by the Services of the cluster. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, Frontend } from '../../src/desired/model.ts'
import type { LocalAddress } from '../../src/k8s/translate/types.ts'
import { change, node, pool, remove, service, slice, slice6, smallestPolicy, translatorWith } from './manifests.ts'

const base = smallestPolicy + node + pool
const own = ', clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]'
/** Of type ClusterIP, unless `more` says otherwise. */
const plain = (name: string, more = own): string => service(name, more).replace('type: LoadBalancer', 'type: ClusterIP')
const leading = { leadsSockets: true } as const

function ledBy(delta: DesiredDelta): Readonly<Record<string, readonly string[] | undefined>> {
  return Object.fromEntries(
    [...(delta.sockets ?? [])].map(([id, frontend]) => [
      id,
      frontend?.backends.map(({ address, port }) => `${address}:${port}`),
    ]),
  )
}

function frontendOf(delta: DesiredDelta, id: string): Frontend {
  const found = delta.sockets?.get(id)
  assert.ok(found, `${id} is led`)
  return found
}

test('without socket LB nothing is said of sockets', () => {
  assert.equal(translatorWith(base + plain('web') + slice('web')).flush().sockets, undefined)
})

test('a cluster IP leads to the pods of all nodes, also of a Service that no policy selects', () => {
  const elsewhere = slice('web', 'node-b').replace('web-1', 'web-2').replace('10.244.1.5', '10.244.2.7')
  const text = base + plain('web').replace('expose-via-bgp: "true"', 'a: b') + slice('web') + elsewhere
  const delta = translatorWith(text, leading).flush()
  assert.deepEqual(ledBy(delta), { '10.96.0.10:80/TCP': ['10.244.1.5:8080', '10.244.2.7:8080'] })
  assert.ok(frontendOf(delta, '10.96.0.10:80/TCP').backends.every((each) => each.node === undefined))
})

test('a Service of both families leads each address to pods of its family', () => {
  const both = ', ipFamilies: [IPv4, IPv6], clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, "fd00:96::a"]'
  const delta = translatorWith(base + plain('web', both) + slice('web') + slice6('web'), leading).flush()
  assert.deepEqual(ledBy(delta), {
    '10.96.0.10:80/TCP': ['10.244.1.5:8080'],
    '[fd00:96::a]:80/TCP': ['fd00:10::5:8080'],
  })
})

test('with internalTrafficPolicy Local a cluster IP leads to pods of this node alone, and to nobody without one', () => {
  const local = plain('web', `${own}, internalTrafficPolicy: Local`)
  const translator = translatorWith(base + local + slice('web'), leading)
  assert.deepEqual(ledBy(translator.flush()), { '10.96.0.10:80/TCP': ['10.244.1.5:8080'] })
  assert.deepEqual(ledBy(change(translator, slice('web', 'node-b'))), { '10.96.0.10:80/TCP': [] })
})

test('the address of a load balancer leads to all pods, whatever the external traffic policy', () => {
  const local = service('web', `${own}, externalTrafficPolicy: Local`)
  const delta = translatorWith(
    base + local + slice('web') + slice('web', 'node-b').replace('web-1', 'web-2').replace('1.5', '2.7'),
    leading,
  ).flush()
  const pods = ['10.244.1.5:8080', '10.244.2.7:8080']
  assert.deepEqual(ledBy(delta), { '10.96.0.10:80/TCP': pods, '198.51.100.0:80/TCP': pods })
})

test('with source ranges the address of a load balancer leads nowhere: a socket that asks has no source yet', () => {
  const limited = service('web', `${own}, loadBalancerSourceRanges: [192.0.2.0/24]`)
  const delta = translatorWith(base + limited + slice('web'), leading).flush()
  assert.deepEqual(Object.keys(ledBy(delta)), ['10.96.0.10:80/TCP'])
})

test('external IPs, headless Services and names lead nowhere', () => {
  const text =
    base +
    plain('a', ', clusterIP: None, clusterIPs: [None]') +
    slice('a') +
    plain('b', `${own}, externalIPs: [192.0.2.53]`) +
    slice('b') +
    plain('c', ', externalName: example.org').replace('type: ClusterIP', 'type: ExternalName')
  assert.deepEqual(Object.keys(ledBy(translatorWith(text, leading).flush())), ['10.96.0.10:80/TCP'])
})

test('an address that something else has leads nowhere: of the node, of an interface, of pods, of special use', () => {
  // As the DNS cache of a node takes the cluster IP of the DNS of the cluster.
  const localAddresses = () => [{ interface: 'nodelocaldns', address: '10.96.0.10' }]
  const cached = translatorWith(base + plain('dns') + slice('dns'), { ...leading, localAddresses })
  assert.deepEqual(ledBy(cached.flush()), {})
  for (const taken of ['192.168.1.10', '10.244.1.5', '10.244.1.77', '192.168.1.1', '127.0.0.1', '169.254.169.254']) {
    const text = base + plain('web', `, clusterIP: ${taken}, clusterIPs: [${taken}]`) + slice('web')
    assert.deepEqual(ledBy(translatorWith(text, leading).flush()), {}, taken)
  }
})

test('an address that something else gets later, or has no longer, is left and led again, and no other Service is asked', () => {
  let local: readonly LocalAddress[] = []
  const two = plain('dns') + slice('dns') + plain('web', ', clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11]')
  const translator = translatorWith(base + two, { ...leading, localAddresses: () => local })
  const [dns, web] = ['10.96.0.10:80/TCP', '10.96.0.11:80/TCP']
  const led = { [dns]: ['10.244.1.5:8080'] }
  assert.deepEqual(ledBy(translator.flush()), { ...led, [web]: [] })
  // As the DNS cache of a node comes after the agent.
  local = [{ interface: 'nodelocaldns', address: '10.96.0.10' }]
  assert.deepEqual(ledBy(translator.flush()), { [dns]: undefined })
  local = []
  assert.deepEqual(ledBy(translator.flush()), led)
  const other = node
    .replaceAll('node-a', 'node-z')
    .replaceAll('192.168.1.10', '10.96.0.11')
    .replaceAll('10.244.1', '10.244.9')
  assert.deepEqual(ledBy(change(translator, other)), { [web]: undefined })
  assert.deepEqual(ledBy(change(translator, other.replace('10.96.0.11', '192.168.1.12'))), { [web]: [] })
})

test('a Service that names another proxy is left to it, as kube-proxy does, until it names none', () => {
  const named = plain('web').replace('labels: {', 'labels: {service.kubernetes.io/service-proxy-name: mesh, ')
  const translator = translatorWith(base + named + slice('web'), leading)
  assert.deepEqual(ledBy(translator.flush()), {})
  const id = '10.96.0.10:80/TCP'
  assert.deepEqual(ledBy(change(translator, plain('web'))), { [id]: ['10.244.1.5:8080'] })
  assert.deepEqual(ledBy(change(translator, named)), { [id]: undefined })
  const ofLoadBalancer = service('web', own).replace(
    'labels: {',
    'labels: {service.kubernetes.io/service-proxy-name: "", ',
  )
  assert.equal(change(translator, ofLoadBalancer).sockets, undefined)
})

test('ready pods are led to, else those that still serve; the others rest, and affinity goes along', () => {
  const sticky = plain('web', `${own}, sessionAffinity: ClientIP`)
  const translator = translatorWith(base + sticky + slice('web', 'node-a', 'ready: false, serving: true'), leading)
  const id = '10.96.0.10:80/TCP'
  const first = frontendOf(translator.flush(), id)
  assert.deepEqual([first.backends.length, first.resting, first.affinitySec], [1, undefined, 10_800])
  const second = frontendOf(change(translator, slice('web', 'node-a', 'ready: false, serving: false')), id)
  assert.deepEqual(second.backends, [])
  assert.deepEqual(second.resting, [{ address: '10.244.1.5', port: 8080 }])
})

test('a Service without pods is led to nobody, which refuses; one that is gone is taken away', () => {
  const translator = translatorWith(base + plain('web'), leading)
  assert.deepEqual(ledBy(translator.flush()), { '10.96.0.10:80/TCP': [] })
  assert.deepEqual(ledBy(remove(translator, 'Service', 'web')), { '10.96.0.10:80/TCP': undefined })
})

test('of two Services with one cluster IP and port the older one has it, and the other after it is gone', () => {
  const aged = (name: string, year: number, port: number): string =>
    plain(name).replace('metadata: {', `metadata: {creationTimestamp: "${year}-01-01T00:00:00Z", `) +
    slice(name).replace('8080', String(port))
  const translator = translatorWith(base + aged('young', 2025, 2), leading)
  const id = '10.96.0.10:80/TCP'
  assert.deepEqual(ledBy(translator.flush()), { [id]: ['10.244.1.5:2'] })
  assert.deepEqual(ledBy(change(translator, aged('old', 2024, 1))), { [id]: ['10.244.1.5:1'] })
  assert.equal(change(translator, aged('youngest', 2026, 3)).sockets, undefined)
  assert.deepEqual(ledBy(remove(translator, 'Service', 'old')), { [id]: ['10.244.1.5:2'] })
})

test('what is told once is not told again: an equal slice, or a label, changes no frontend', () => {
  const translator = translatorWith(base + plain('web') + slice('web'), leading)
  translator.flush()
  assert.equal(change(translator, slice('web')).sockets, undefined)
  assert.equal(change(translator, plain('web').replace('"true"', '"false"')).sockets, undefined)
})

test('ports are led by name and protocol: UDP beside TCP, and none of SCTP', () => {
  const ports =
    'ports: [{name: http, port: 80}, {name: dns, protocol: UDP, port: 53}, {name: s, protocol: SCTP, port: 9}]'
  const dns = plain('web').replace('ports: [{name: http, port: 80}]', ports)
  const targets = 'ports: [{name: http, port: 8080}, {name: dns, protocol: UDP, port: 5353}]'
  const text = base + dns + slice('web').replace('ports: [{name: http, port: 8080}]', targets)
  assert.deepEqual(ledBy(translatorWith(text, leading).flush()), {
    '10.96.0.10:80/TCP': ['10.244.1.5:8080'],
    '10.96.0.10:53/UDP': ['10.244.1.5:5353'],
  })
})
