/** What a node serves in the place of kube-proxy: external IPs and node ports of every Service, and whose they are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, DesiredService, Frontend } from '../../src/desired/model.ts'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import {
  change,
  deliver,
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

const base = node + pool
const nodeAddress = '192.168.1.10'
const local = [
  { interface: 'lo', address: '127.0.0.1' },
  { interface: 'eth0', address: nodeAddress },
]
const proxying: Partial<TranslatorOptions> = {
  leadsSockets: true,
  localAddresses: () => local,
  proxying: () => ({ listeners: new Set() }),
}
const cluster = ', clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]'
/** Nothing selects it, and it is of type ClusterIP. */
const plain = (name: string, more = '', ip = '10.96.0.10'): string =>
  service(name, `, clusterIP: ${ip}, clusterIPs: [${ip}]${more}`)
    .replace('type: LoadBalancer', 'type: ClusterIP')
    .replace('expose-via-bgp: "true"', 'a: b')
const withNodePort = (name: string, more = '', port = 30080): string =>
  plain(name, more)
    .replace('type: ClusterIP', 'type: NodePort')
    .replace('{name: http, port: 80}', `{name: http, port: 80, nodePort: ${port}}`)
const aged = (text: string, year: number): string =>
  text.replace('metadata: {', `metadata: {creationTimestamp: "${year}-01-01T00:00:00Z", `)

const shown = ({ id, backends }: Frontend): string =>
  `${id} ${backends.map((each) => `${each.address}:${each.port}`).join()}`
const servedOf = ({ frontends }: DesiredService): readonly string[] => frontends.map(shown)
const ledBy = ({ sockets }: DesiredDelta): readonly string[] =>
  [...(sockets ?? [])].flatMap(([, frontend]) => (frontend === undefined ? [] : [shown(frontend)])).sort()
const proxiedVerdict = (desired: DesiredService): string => {
  const { ok, code = '', message = '' } = verdictOf(desired, 'proxied') ?? {}
  return `${ok} ${code}: ${message}`
}

test('without it neither external IPs nor node ports are anything to this node', () => {
  const text = base + withNodePort('web', ', externalIPs: [203.0.113.7]') + slice('web')
  const delta = translatorWith(text, { leadsSockets: true, localAddresses: () => local }).flush()
  assert.deepEqual([delta.services.size, delta.nodePorts], [0, undefined])
  assert.deepEqual(ledBy(delta), ['10.96.0.10:80/TCP 10.244.1.5:8080'])
})

test('external IPs are served from outside and for sockets, and nothing of them is announced', () => {
  const text = smallestPolicy + base + plain('web', ', externalIPs: [203.0.113.7]') + slice('web')
  const delta = translatorWith(text, proxying).flush()
  const web = serviceOf(delta, 'web')
  assert.deepEqual(servedOf(web), ['203.0.113.7:80/TCP 10.244.1.5:8080'])
  assert.deepEqual([web.addresses, web.routes], [['203.0.113.7'], []])
  assert.ok(web.verdicts.every(({ ok }) => ok))
  assert.equal(verdictOf(web, 'selected'), undefined)
  assert.deepEqual(ledBy(delta), ['10.96.0.10:80/TCP 10.244.1.5:8080', '203.0.113.7:80/TCP 10.244.1.5:8080'])
})

test('with externalTrafficPolicy Local backends of this node alone are served from outside, all of them for sockets', () => {
  const elsewhere = slice('web', 'node-b').replace('web-1', 'web-2').replace('10.244.1.5', '10.244.2.7')
  for (const policy of ['Local', 'Cluster']) {
    const more = `, externalIPs: [203.0.113.7], externalTrafficPolicy: ${policy}`
    const text = base + withNodePort('web', more) + slice('web') + elsewhere
    const delta = translatorWith(text, { ...proxying, tunnels: 'nodes' }).flush()
    const pods = servedOf(serviceOf(delta, 'web'))
    assert.deepEqual(pods, [`203.0.113.7:80/TCP 10.244.1.5:8080`, `0.0.0.0:30080/TCP 10.244.1.5:8080`], policy)
    const all = '10.244.1.5:8080,10.244.2.7:8080'
    assert.deepEqual(
      ledBy(delta).filter((each) => !each.startsWith('10.96')),
      [
        // What is asked of another node goes there: it has to serve pods of its own.
        ...(policy === 'Local' ? [] : [`0.0.0.0:30080/TCP ${all}`]),
        `${nodeAddress}:30080/TCP ${all}`,
        `203.0.113.7:80/TCP ${all}`,
      ],
    )
  }
})

test('a node port is served at the addresses of the Node that an interface has, of each family of the Service', () => {
  const both = node.replace(
    '[{type: InternalIP, address: 192.168.1.10}]',
    '[{type: InternalIP, address: 192.168.1.10}, {type: ExternalIP, address: 198.18.0.9}, ' +
      '{type: InternalIP, address: "fd00::10"}]',
  )
  const addresses = [...local, { interface: 'eth0', address: 'fd00::10' }, { interface: 'eth1', address: '10.9.9.9' }]
  const dual = ', ipFamilies: [IPv4, IPv6]'
  const text = both + pool + withNodePort('web', dual) + slice('web') + slice6('web')
  const delta = translatorWith(text, { ...proxying, localAddresses: () => addresses }).flush()
  assert.deepEqual(delta.nodePorts, [nodeAddress, 'fd00::10'])
  const web = serviceOf(delta, 'web')
  assert.deepEqual(servedOf(web), ['0.0.0.0:30080/TCP 10.244.1.5:8080', '[::]:30080/TCP fd00:10::5:8080'])
  assert.deepEqual(web.addresses, [])
  assert.deepEqual(
    ledBy(delta).filter((each) => !each.startsWith('10.96')),
    [
      '0.0.0.0:30080/TCP 10.244.1.5:8080',
      `${nodeAddress}:30080/TCP 10.244.1.5:8080`,
      '[::]:30080/TCP fd00:10::5:8080',
      '[fd00::10]:30080/TCP fd00:10::5:8080',
    ],
  )
})

test('by prefixes node ports are served at what interfaces have of them, never at loopback or link-local addresses', () => {
  const addresses = [
    ...local,
    { interface: 'eth1', address: '10.9.9.9' },
    { interface: 'eth1', address: '169.254.3.3' },
    { interface: 'eth1', address: 'fe80::1' },
    { interface: 'kube-ipvs0', address: '10.9.9.10' },
  ]
  const at = (nodePortAddresses: readonly string[]): readonly string[] | undefined =>
    translatorWith(base, { ...proxying, localAddresses: () => addresses, nodePortAddresses }).flush().nodePorts
  assert.deepEqual(at(['0.0.0.0/0', '::/0']), ['10.9.9.9', nodeAddress])
  assert.deepEqual(at(['10.9.0.0/16', '127.0.0.0/8']), ['10.9.9.9'])
  assert.equal(at(['172.16.0.0/12']), undefined)
})

test('addresses of the node that come and go are followed by node ports, and a moment without one changes nothing', () => {
  let addresses: readonly { readonly interface: string; readonly address: string }[] = []
  const text = base + withNodePort('web') + slice('web')
  const translator = translatorWith(text, { ...proxying, localAddresses: () => addresses })
  const first = translator.flush()
  assert.deepEqual([first.nodePorts, ledBy(first).length], [undefined, 2])
  addresses = local
  const second = translator.flush()
  assert.deepEqual([second.nodePorts, ledBy(second)], [[nodeAddress], [`${nodeAddress}:30080/TCP 10.244.1.5:8080`]])
  // A link is down, or a lease is renewed: it is an address of the Node all the same.
  addresses = []
  const third = translator.flush()
  assert.deepEqual([third.nodePorts, third.sockets], [undefined, undefined])
  const moved = change(translator, node.replaceAll(nodeAddress, '192.168.1.11'))
  assert.deepEqual([moved.nodePorts, moved.sockets?.has(`${nodeAddress}:30080/TCP`)], [[], true])
  assert.equal(moved.sockets?.get(`${nodeAddress}:30080/TCP`), undefined)
})

test('of prefixes an address is followed from interface to interface alone, as one that moves between nodes', () => {
  let addresses = [...local, { interface: 'eth0', address: '192.168.1.200' }]
  const options = { ...proxying, localAddresses: () => addresses, nodePortAddresses: ['192.168.1.0/24'] }
  const translator = translatorWith(base + withNodePort('web') + slice('web'), options)
  assert.deepEqual(translator.flush().nodePorts, [nodeAddress, '192.168.1.200'])
  addresses = local
  assert.deepEqual(translator.flush().nodePorts, [nodeAddress])
})

test('a node port has no source ranges, which are about the load balancer; an external IP has them, and no socket', () => {
  const ranges = ', loadBalancerSourceRanges: [192.0.2.0/24], externalIPs: [203.0.113.7]'
  const text = smallestPolicy + base + service('web', `${cluster}${ranges}`) + slice('web')
  const delta = translatorWith(text.replace('port: 80}', 'port: 80, nodePort: 30080}'), proxying).flush()
  const web = serviceOf(delta, 'web')
  assert.deepEqual(
    web.frontends.map(({ id, sources }) => [id, sources?.length]),
    [
      ['198.51.100.0:80/TCP', 1],
      ['203.0.113.7:80/TCP', 1],
      ['0.0.0.0:30080/TCP', undefined],
    ],
  )
  assert.equal(web.routes.length, 1)
  assert.deepEqual(
    ledBy(delta).map((each) => each.split(' ')[0]),
    ['0.0.0.0:30080/TCP', '10.96.0.10:80/TCP', `${nodeAddress}:30080/TCP`],
  )
})

test('a load balancer of another class keeps its node ports and external IPs, and its addresses are left alone', () => {
  const text =
    smallestPolicy +
    base +
    service('web', `${cluster}, loadBalancerClass: example.org/other`).replace(
      'port: 80}',
      'port: 80, nodePort: 30080}',
    ) +
    slice('web') +
    'status: {loadBalancer: {ingress: [{ip: 198.51.100.3}]}}\n'
  const web = serviceOf(translatorWith(text, proxying).flush(), 'web')
  assert.deepEqual([servedOf(web), web.routes], [['0.0.0.0:30080/TCP 10.244.1.5:8080'], []])
  assert.match(verdictOf(web, 'class')?.message ?? '', /belongs to another implementation/)
})

test('no external IP that is somebody else is served, whoever asks, and each is said by name', () => {
  const api = plain('kubernetes', '', '10.96.0.1').replace('namespace: default', 'namespace: kube-system')
  const cases: Readonly<Record<string, RegExp>> = {
    '0.0.0.0': /0\.0\.0\.0 is /,
    '127.0.0.1': /127\.0\.0\.1 is /,
    '224.0.0.5': /224\.0\.0\.5 is /,
    '169.254.169.254': /169\.254\.169\.254 is /,
    '255.255.255.255': /255\.255\.255\.255 is /,
    '::1': /::1 is /,
    'ff02::1': /ff02::1 is /,
    [nodeAddress]: /the address of node node-a/,
    '192.168.1.1': /the address of a neighbor/,
    '10.244.1.77': /of pods on node node-a/,
    '10.244.1.5': /of pods on node|the address of an endpoint/,
    '10.96.0.1': /the cluster IP of kube-system\/kubernetes/,
    '198.51.100.4': /of pool pool/,
    '::ffff:192.168.1.10': /the address of node node-a/,
  }
  for (const [ip, said] of Object.entries(cases)) {
    const text = smallestPolicy + base + api + plain('web', `, externalIPs: ["${ip}"]`) + slice('web')
    const delta = translatorWith(text, proxying).flush()
    const web = serviceOf(delta, 'web')
    assert.deepEqual([web.frontends, web.routes, web.addresses], [[], [], []], ip)
    assert.match(proxiedVerdict(web), /^false NotProxied: nothing; .*: not served$/, ip)
    assert.match(proxiedVerdict(web), said, ip)
    // The cluster IP of the API server goes on to be its own.
    assert.ok(!ledBy(delta).some((each) => each.startsWith(`${ip}:80`) && each.includes('10.244')), ip)
  }
})

test('of two Services with one external IP and port the older has it, the other is told, and follows when it goes', () => {
  const two = (name: string, year: number, ip: string): string =>
    aged(plain(name, ', externalIPs: [203.0.113.7]', ip), year) + slice(name)
  const text = base + two('young', 2025, '10.96.0.11') + two('old', 2024, '10.96.0.12')
  const translator = translatorWith(text, proxying)
  const first = translator.flush()
  assert.deepEqual(servedOf(serviceOf(first, 'old')), ['203.0.113.7:80/TCP 10.244.1.5:8080'])
  const young = serviceOf(first, 'young')
  assert.deepEqual(young.frontends, [])
  assert.match(proxiedVerdict(young), /port 80\/TCP of 203.0.113.7 belongs to default\/old, which is older/)
  assert.equal(first.sockets?.get('203.0.113.7:80/TCP')?.service, 'default/old')
  const second = remove(translator, 'Service', 'old')
  assert.deepEqual(servedOf(serviceOf(second, 'young')), ['203.0.113.7:80/TCP 10.244.1.5:8080'])
  assert.equal(second.sockets?.get('203.0.113.7:80/TCP')?.service, 'default/young')
})

test('who comes into the way of a Service is seen by it also where what neighbors hear of it is another at once', () => {
  const heard = (community: number): string =>
    `---\n${smallestPolicy.replace(
      'peerASN: 65000',
      'peerASN: 65000, advertisedPathAttributes: [{selectorType: CiliumLoadBalancerIPPool, ' +
        `communities: {standard: ["65001:${community}"]}}]`,
    )}`
  const web = service('web', cluster).replace('port: 80}', 'port: 80, nodePort: 30080}')
  const translator = translatorWith(heard(1) + base + aged(web, 2025) + slice('web'), proxying)
  const first = serviceOf(translator.flush(), 'web')
  const [announced, nodePort] = servedOf(first)
  assert.equal(nodePort, '0.0.0.0:30080/TCP 10.244.1.5:8080')
  const rival = aged(withNodePort('old'), 2024)
  const told = change(translator, heard(2) + rival)
  assert.deepEqual(servedOf(serviceOf(told, 'web')), [announced])
  assert.match(proxiedVerdict(serviceOf(told, 'web')), /30080\/TCP: it belongs to default\/old, which is older/)
  assert.notDeepEqual(serviceOf(told, 'web').routes, first.routes)
  // It goes, and the community is another one again.
  deliver(translator, heard(3))
  assert.deepEqual(servedOf(serviceOf(remove(translator, 'Service', 'old'), 'web')), [announced, nodePort])
})

test('of two Services of a folder with one node port the older has it, and the other after it changed or went', () => {
  const two = (name: string, year: number, port = 30080): string => aged(withNodePort(name, '', port), year)
  const translator = translatorWith(base + two('young', 2025) + two('old', 2024) + slice('young'), proxying)
  const first = translator.flush()
  assert.equal(serviceOf(first, 'old').frontends.length, 1)
  assert.match(proxiedVerdict(serviceOf(first, 'young')), /^false .*30080\/TCP: it belongs to default\/old/)
  const second = change(translator, two('old', 2024, 30081))
  assert.deepEqual(servedOf(serviceOf(second, 'young')), ['0.0.0.0:30080/TCP 10.244.1.5:8080'])
  assert.deepEqual(servedOf(serviceOf(second, 'old')), ['0.0.0.0:30081/TCP '])
  // Whoever waits for it is told whose it is now.
  const waiting = change(translator, two('last', 2026))
  assert.match(proxiedVerdict(serviceOf(waiting, 'last')), /it belongs to default\/young/)
  // An older one that comes takes it.
  const third = change(translator, two('older', 2023))
  for (const name of ['young', 'last'])
    assert.match(proxiedVerdict(serviceOf(third, name)), /it belongs to default\/older/, name)
  assert.equal(serviceOf(remove(translator, 'Service', 'older'), 'young').frontends.length, 1)
})

test('a port on which a process of the node listens is its own, for sockets too, and its frontend stays', () => {
  for (const port of [22, 179, 10250, 30080]) {
    let listeners: ReadonlySet<string> = new Set([`${port}/TCP`, '53/UDP'])
    const options = { ...proxying, proxying: () => ({ listeners }) }
    const translator = translatorWith(base + withNodePort('web', '', port) + slice('web'), options)
    const first = translator.flush()
    // The programs ask for sockets: what is established goes on, and what other nodes hand on is served.
    assert.deepEqual(servedOf(serviceOf(first, 'web')), [`0.0.0.0:${port}/TCP 10.244.1.5:8080`])
    assert.match(proxiedVerdict(serviceOf(first, 'web')), new RegExp(`${port}/TCP: a process of this node listens`))
    assert.deepEqual(ledBy(first), ['10.96.0.10:80/TCP 10.244.1.5:8080'])
    listeners = new Set(['53/UDP', '9/TCP'])
    const second = translator.flush()
    assert.equal(serviceOf(second, 'web').frontends.length, 1)
    const led = ['0.0.0.0', nodeAddress].map((address) => `${address}:${port}/TCP 10.244.1.5:8080`)
    assert.deepEqual(ledBy(second), led)
    // Of other ports it is no news.
    listeners = new Set(['54/UDP'])
    assert.equal(translator.flush().services.size, 0)
  }
})

test('SCTP is served where no port changes, and the other ports of the Service are', () => {
  const [same, other] = ['{name: s, protocol: SCTP, port: 81, nodePort: 30081}', '{name: o, protocol: SCTP, port: 82}']
  const ports = `{name: http, port: 80, nodePort: 30080}, ${same}, ${other}`
  const text = withNodePort('web', ', externalIPs: [203.0.113.7]').replace(/\{name: http[^}]*\}/, ports)
  const targets = '{name: http, port: 8080}, {name: s, protocol: SCTP, port: 81}, {name: o, protocol: SCTP, port: 83}'
  const endpoints = slice('web').replace('{name: http, port: 8080}', targets)
  const web = serviceOf(translatorWith(base + text + endpoints, proxying).flush(), 'web')
  assert.deepEqual(
    web.frontends.map(({ id }) => id),
    ['203.0.113.7:80/TCP', '203.0.113.7:81/SCTP', '0.0.0.0:30080/TCP'],
  )
  const said = proxiedVerdict(web)
  assert.match(said, /^true ProxiedInPart: .*203\.0\.113\.7: port 82\/SCTP leads to port 83 of 10\.244\.1\.5/)
  assert.match(said, /30081\/SCTP: SCTP is served with its port unchanged/)
})

test('a UDP node port and a TCP one of one number are two', () => {
  const ports = '{name: http, port: 80, nodePort: 30080}, {name: dns, protocol: UDP, port: 53, nodePort: 30080}'
  const text = withNodePort('web').replace(/\{name: http[^}]*\}/, ports)
  const web = serviceOf(translatorWith(base + text + slice('web'), proxying).flush(), 'web')
  assert.deepEqual(servedOf(web), ['0.0.0.0:30080/TCP 10.244.1.5:8080', '0.0.0.0:30080/UDP '])
})

test('a Service that names another proxy is left to it', () => {
  const text = withNodePort('web', ', externalIPs: [203.0.113.7]')
  const named = text.replace('labels: {', 'labels: {service.kubernetes.io/service-proxy-name: mesh, ')
  const delta = translatorWith(base + named + slice('web'), proxying).flush()
  assert.deepEqual([delta.services.size, ledBy(delta)], [0, []])
})

test('kube-proxy that comes is left what is its, and what it leaves is taken over', () => {
  let isOn = false
  const facts = { listeners: new Set<string>() }
  const text = base + withNodePort('web', ', externalIPs: [203.0.113.7]') + slice('web')
  const translator = translatorWith(text, { ...proxying, proxying: () => (isOn ? facts : undefined) })
  assert.equal(translator.flush().services.size, 0)
  isOn = true
  const on = translator.flush()
  assert.deepEqual([serviceOf(on, 'web').frontends.length, on.nodePorts], [2, [nodeAddress]])
  isOn = false
  const off = translator.flush()
  assert.deepEqual([off.services.get('default/web'), off.services.size, off.nodePorts], [undefined, 1, []])
  assert.ok([...(off.sockets?.values() ?? [])].every((frontend) => frontend === undefined))
})

test('an advertisement that comes announces the external IP that was served, and a withdrawn one leaves it served', () => {
  const policy = smallestPolicy.replace('exportPodCIDR: true', 'serviceAdvertisements: [ExternalIP]')
  const labelled = plain('web', ', externalIPs: [203.0.113.7]').replace('a: b', 'expose-via-bgp: "true"')
  const translator = translatorWith(base + labelled + slice('web'), proxying)
  assert.equal(serviceOf(translator.flush(), 'web').routes.length, 0)
  const announced = serviceOf(change(translator, policy), 'web')
  assert.deepEqual([servedOf(announced), announced.routes.length], [['203.0.113.7:80/TCP 10.244.1.5:8080'], 1])
  const left = serviceOf(remove(translator, 'CiliumBGPPeeringPolicy', 'bgp-peering'), 'web')
  assert.deepEqual([servedOf(left), left.routes], [['203.0.113.7:80/TCP 10.244.1.5:8080'], []])
})

test('a node that announces nothing serves all the same, as kube-proxy does on it', () => {
  const excluded = node.replace('labels: {', 'labels: {node.kubernetes.io/exclude-from-external-load-balancers: "", ')
  const text = smallestPolicy + excluded + pool + service('web', cluster).replace('80}', '80, nodePort: 30080}')
  const web = serviceOf(translatorWith(text + slice('web'), proxying).flush(), 'web')
  assert.deepEqual(web.routes, [])
  assert.ok(servedOf(web).includes('0.0.0.0:30080/TCP 10.244.1.5:8080'))
})

test('of a Service with a healthCheckNodePort it is said how many ready pods the node has, ending ones not among them', () => {
  const local = ', externalTrafficPolicy: Local, healthCheckNodePort: 30100'
  const text = base + service('web', `${cluster}${local}`)
  const two = (conditions: string): string =>
    slice('web', 'node-a', conditions) + slice('web', 'node-b').replace('web-1', 'web-2').replace('1.5', '2.7')
  const translator = translatorWith(text + two('ready: true'), proxying)
  const checkOf = (delta: DesiredDelta): unknown => serviceOf(delta, 'web').healthCheck
  assert.deepEqual(checkOf(translator.flush()), { port: 30_100, localEndpoints: 1 })
  const ending = change(translator, two('ready: false, serving: true, terminating: true'))
  assert.deepEqual(checkOf(ending), { port: 30_100, localEndpoints: 0 })
  // With the policy Cluster the API server gives none, and in a folder it means nothing.
  const cluster2 = service('web', `${cluster}${local.replace('Local', 'Cluster')}`)
  assert.equal(checkOf(change(translator, cluster2)), undefined)
  // Where another proxy serves it that one answers.
  const named = text.replace('labels: {expose', 'labels: {service.kubernetes.io/service-proxy-name: mesh, expose')
  assert.notEqual(named, text)
  assert.equal(checkOf(translatorWith(named + two('ready: true'), proxying).flush()), undefined)
  assert.equal(checkOf(translatorWith(text + two('ready: true')).flush()), undefined)
})

test('an external IP that is the address of the API server is served to nobody, from the moment on when it is known', () => {
  const server = '203.0.113.50'
  const kubernetes = slice('kubernetes', '').replace('10.244.1.5', server)
  const text = base + plain('web', `, externalIPs: [${server}, 203.0.113.7]`) + slice('web')
  const translator = translatorWith(text, proxying)
  assert.equal(serviceOf(translator.flush(), 'web').frontends.length, 2)
  const delta = change(translator, kubernetes)
  const web = serviceOf(delta, 'web')
  assert.deepEqual(servedOf(web), ['203.0.113.7:80/TCP 10.244.1.5:8080'])
  assert.match(proxiedVerdict(web), /^true ProxiedInPart: .*203.0.113.50 is the address of the API server: not served/)
  assert.ok(delta.sockets?.has(`${server}:80/TCP`) && delta.sockets.get(`${server}:80/TCP`) === undefined)
  // It moves to another address.
  const moved = serviceOf(change(translator, kubernetes.replace(server, '203.0.113.51')), 'web')
  assert.equal(moved.frontends.length, 2)
})

test('an external IP that is the address of the API server is left alone where it is announced, and by its kubeconfig', () => {
  const policy = smallestPolicy.replace('exportPodCIDR: true', 'serviceAdvertisements: [ExternalIP]')
  const kubernetes = slice('kubernetes', '').replace('10.244.1.5', '203.0.113.50')
  for (const server of ['203.0.113.50', '2001:db8::50', '203.0.113.60']) {
    const options = { ...proxying, apiServer: server === '2001:db8::50' ? '2001:DB8:0::50' : '203.0.113.60' }
    const labelled = plain('web', `, externalIPs: ["${server}"]`).replace('a: b', 'expose-via-bgp: "true"')
    for (const config of [policy, '']) {
      const delta = translatorWith(
        config + base + kubernetes + labelled + slice('web') + slice6('web'),
        options,
      ).flush()
      const web = serviceOf(delta, 'web')
      assert.deepEqual([web.frontends, web.routes, web.addresses.length], [[], [], config === '' ? 0 : 1], server)
      assert.ok(!delta.sockets?.has(`${server}:80/TCP`) && !delta.sockets?.has(`[${server}]:80/TCP`), server)
      assert.match(JSON.stringify(web.verdicts), /is the address of the API server/)
    }
  }
  // A node that replaces nobody would draw its packets by a route all the same.
  const text =
    policy + base + kubernetes + plain('web', ', externalIPs: [203.0.113.50]').replace('a: b', 'expose-via-bgp: "true"')
  const alone = serviceOf(translatorWith(text + slice('web')).flush(), 'web')
  assert.deepEqual([alone.frontends, alone.routes], [[], []])
  assert.match(verdictOf(alone, 'allocated')?.message ?? '', /203.0.113.50 is the address of the API server/)
  // Of a name nothing is known.
  const named = plain('web', ', externalIPs: [203.0.113.7]') + slice('web')
  const options = { ...proxying, apiServer: 'api.example.com' }
  assert.equal(serviceOf(translatorWith(base + named, options).flush(), 'web').frontends.length, 1)
})

test('of one Service as many external IPs are taken as have 2 000 ports together, and one in any case', () => {
  const portsOf = (count: number): string =>
    Array.from({ length: count }, (_, n) => `{name: p${n}, port: ${n + 1}}`).join(', ')
  const ips = Array.from({ length: 64 }, (_, n) => `203.0.113.${n + 1}`)
  for (const [ports, addresses] of [
    [1_000, 2],
    [400, 5],
    [31, 64],
  ] as const) {
    const web = plain('web', `, externalIPs: [${ips.join(', ')}]`).replace('{name: http, port: 80}', portsOf(ports))
    const delta = translatorWith(base + web + slice('web'), proxying).flush()
    const served = serviceOf(delta, 'web')
    assert.deepEqual([served.frontends.length, served.addresses], [ports * addresses, ips.slice(0, addresses)])
    assert.equal(delta.sockets?.size, ports * (addresses + 1))
    const said = addresses < 64 ? [`64 addresses with ${ports} ports: the first ${addresses} are taken`] : []
    assert.deepEqual(
      (delta.problems ?? []).filter(({ code }) => code === 'LimitExceeded').map(({ message }) => message),
      said,
    )
  }
})

test('a Service that goes while kube-proxy serves leaves nobody without its node port', () => {
  let isOn = true
  const two = (name: string, year: number): string => aged(withNodePort(name), year) + slice(name)
  const options = { ...proxying, proxying: () => (isOn ? { listeners: new Set<string>() } : undefined) }
  const translator = translatorWith(base + two('young', 2025) + two('old', 2024), options)
  assert.equal(serviceOf(translator.flush(), 'young').frontends.length, 0)
  isOn = false
  translator.flush()
  remove(translator, 'Service', 'old')
  isOn = true
  assert.deepEqual(servedOf(serviceOf(translator.flush(), 'young')), ['0.0.0.0:30080/TCP 10.244.1.5:8080'])
})
