/** External IPs that are somebody else's wherever that is written, and Services with more addresses than are served. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTranslator, type TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import {
  change,
  deliver,
  node,
  pool,
  service,
  serviceOf,
  slice,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const local = [{ interface: 'eth0', address: '192.168.1.10' }]
const proxying: Partial<TranslatorOptions> = {
  leadsSockets: true,
  localAddresses: () => local,
  proxying: () => ({ listeners: new Set() }),
}
/** External IPs are announced. */
const asking = smallestPolicy.replace('exportPodCIDR: true', 'serviceAdvertisements: [ExternalIP]')
const claiming = (name: string, ip: string): string =>
  service(name, `, clusterIP: 10.96.0.10, externalIPs: ["${ip}"]`).replace('type: LoadBalancer', 'type: ClusterIP') +
  slice(name)
/** Of another Service, in another namespace and outside of every PodCIDR. */
const pods = (...addresses: readonly string[]): string =>
  slice('db', 'node-b')
    .replace('namespace: default', 'namespace: other')
    .replace(
      /endpoints: .*/,
      `endpoints: [${addresses.map((address) => `{addresses: ["${address}"], nodeName: node-b}`).join(', ')}]`,
    )
const said = /203.0.113.9 is the address of an endpoint of another Service/

test('an external IP that is the address of a pod outside of every PodCIDR is neither served nor announced', () => {
  for (const options of [{}, proxying]) {
    const text = asking + node + pool + claiming('web', '203.0.113.9') + pods('203.0.113.8', '203.0.113.9')
    const delta = translatorWith(text, options).flush()
    const web = serviceOf(delta, 'web')
    assert.deepEqual([web.frontends, web.routes], [[], []])
    assert.equal(verdictOf(web, 'allocated')?.code, 'ReservedAddress')
    assert.match(verdictOf(web, 'allocated')?.message ?? '', said)
    assert.equal(delta.sockets?.has('203.0.113.9:80/TCP') ?? false, false)
  }
})

test('pods that get an external IP, give it up or share it are followed, slice by slice', () => {
  const translator = translatorWith(asking + node + pool + claiming('web', '203.0.113.9'), proxying)
  const served = (delta: ReturnType<typeof translator.flush>): number => serviceOf(delta, 'web').frontends.length
  assert.equal(served(translator.flush()), 1)
  const taken = change(translator, pods('203.0.113.8', '203.0.113.9'))
  assert.equal(served(taken), 0)
  assert.match(verdictOf(serviceOf(taken, 'web'), 'proxied')?.message ?? '', said)
  // A second slice has it, too: that the first one loses it is nothing.
  const second = pods('203.0.113.9').replace('db-1', 'db-2')
  assert.equal(change(translator, second).services.size, 0)
  assert.equal(change(translator, pods('203.0.113.8')).services.size, 0)
  const back = change(translator, second.replace('203.0.113.9', '203.0.113.7'))
  assert.equal(served(back), 1)
  assert.equal(back.services.size, 1)
})

test('a Service whose own endpoint it is says so, and the address of a pod is given to nobody who only follows', () => {
  const text = asking + node + pool + claiming('web', '203.0.113.9').replace('10.244.1.5', '203.0.113.9')
  const web = serviceOf(translatorWith(text, proxying).flush(), 'web')
  assert.match(verdictOf(web, 'allocated')?.message ?? '', /the address of an endpoint of the Service/)
  assert.deepEqual([web.frontends, web.routes], [[], []])
})

test('thousands of external IPs beside thousands of slices: each slice that changes costs its own Services', () => {
  const many = Array.from({ length: 300 }, (_, n) => n)
  const text =
    asking + node + pool + many.map((n) => claiming(`s${n}`, `203.0.${n >> 8}.${n & 255}`)).join('') + pods('10.9.9.1')
  const translator = translatorWith(text, proxying)
  while (translator.flush().services.size > 0 || translator.hasMore);
  const { services } = change(translator, pods('10.9.9.1', '203.0.0.77'))
  assert.deepEqual([...services.keys()], ['default/s77'])
})

const portsOf = (count: number): string =>
  Array.from({ length: count }, (_, n) => `{name: p${n}, port: ${n + 1}}`).join(', ')
const wide = pool.replace('198.51.100.0/28', '198.51.100.0/24')

test('of one load balancer as many addresses are given as have 2 000 ports together, and it is said', () => {
  const ips = Array.from({ length: 64 }, (_, n) => `198.51.100.${n + 1}`)
  for (const [ports, addresses] of [
    [1_000, 2],
    [400, 5],
    [31, 64],
  ] as const) {
    const web = service('web', '', `{lbipam.cilium.io/ips: "${ips.join(',')}"}`)
    const text = smallestPolicy + node + wide + web.replace('{name: http, port: 80}', portsOf(ports)) + slice('web')
    const delta = translatorWith(text).flush()
    const { frontends, addresses: given } = serviceOf(delta, 'web')
    assert.deepEqual([frontends.length, given.length], [ports * addresses, addresses])
    const limits = (delta.problems ?? []).filter(({ code }) => code === 'LimitExceeded')
    const message = `64 addresses with ${ports} ports: the first ${addresses} are given`
    assert.deepEqual(
      limits.map((each) => [each.severity, each.field, each.message]),
      addresses < 64 ? [['warning', 'metadata.annotations.lbipam.cilium.io/ips', message]] : [],
    )
  }
})

test('a status that lists more addresses than are given is served as far, and explain says which part', () => {
  const ingress = Array.from({ length: 64 }, (_, n) => `{ip: 198.51.100.${n + 1}}`).join(', ')
  const web =
    service('web').replace('{name: http, port: 80}', portsOf(1_000)).trimEnd() +
    `\nstatus: {loadBalancer: {ingress: [${ingress}]}}\n`
  const translator = createTranslator({
    nodeName: 'node-a',
    datapath: 'ebpf',
    secretsNamespace: 'kube-system',
    isAllocatedElsewhere: true,
  })
  deliver(translator, smallestPolicy + node + wide + web + slice('web').replace('name: http', 'name: p0'))
  translator.synced()
  const served = serviceOf(translator.flush(), 'web')
  assert.deepEqual([served.frontends.length, served.addresses.length, served.routes.length], [2_000, 2, 2])
  const { ok, code, message } = verdictOf(served, 'allocated') ?? {}
  assert.deepEqual([ok, code], [true, 'AddressLeftOut'])
  assert.match(message ?? '', /64 addresses with 1000 ports: the first 2 are taken/)
})

test('a Service of a folder with more cluster IPs than an API server takes is refused, and its last version stays', () => {
  const text = service('web', ', clusterIPs: [10.96.0.10]') + slice('web')
  const translator = translatorWith(smallestPolicy + node + pool + text, proxying)
  const led = (delta: ReturnType<typeof translator.flush>): readonly string[] => [
    ...(delta.sockets ?? new Map()).keys(),
  ]
  assert.ok(led(translator.flush()).includes('10.96.0.10:80/TCP'))
  const many = Array.from({ length: 300 }, (_, n) => `10.96.${n >> 8}.${n & 255}`)
  const delta = change(translator, service('web', `, clusterIPs: [${many.join(', ')}]`))
  assert.deepEqual([led(delta), delta.services.size], [[], 0])
  const [problem] = (delta.problems ?? []).filter(({ code }) => code === 'LimitExceeded')
  assert.deepEqual([problem?.severity, problem?.field], ['error', 'spec.clusterIPs'])
})
