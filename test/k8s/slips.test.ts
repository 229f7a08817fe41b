/** What a slip of the pen must not do: select everything, empty a pool, change a session, show a key, end a reading. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, Problem } from '../../src/desired/model.ts'
import { formatPath } from '../../src/k8s/kinds/narrow.ts'
import { parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { addressesOf, change, flushAll, node, policyWith, pool, service, serviceOf } from './manifests.ts'
import { slice, smallestPolicy, translatorWith, write } from './manifests.ts'
import { following } from './directory-world.ts'

const problemsOf = (text: string): readonly Problem[] => validateManifests([{ name: 'f.yaml', text }])
const errorsOf = (text: string): readonly Problem[] => problemsOf(text).filter(({ severity }) => severity === 'error')
const web = node + pool + service('web') + slice('web')
const selecting = (selector: string): string =>
  smallestPolicy.replace('serviceSelector: {matchLabels: {expose-via-bgp: "true"}}', `serviceSelector: ${selector}`)
const onNodes = (selector: string): string =>
  smallestPolicy.replace('nodeSelector: {matchLabels: {kubernetes.io/os: linux}}', `nodeSelector: ${selector}`)
const routesOf = (delta: DesiredDelta): number => serviceOf(delta, 'web').routes.length
const attributes = (rule: string): string =>
  policyWith(`{peerAddress: 192.168.1.1/32, peerASN: 65000, advertisedPathAttributes: [${rule}]}`)

const clusterConfig = (peer: string): string => `---
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: bgp}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  bgpInstances: [{name: i, localASN: 65001, peers: [${peer}]}]
`

test('a selector of which no field is known selects nothing new, and the remedy writes matchLabels', () => {
  const slips: readonly (readonly [string, RegExp])[] = [
    [selecting('{expose-via-bgp: "true"}'), /Write matchLabels: \{expose-via-bgp: "true"\}/],
    [selecting('{app: 5}'), /Write matchLabels: \{app: "5"\}/],
    [selecting('{matchLabel: {a: b}}'), /Write matchLabels/],
    [selecting('{matchExpression: [{key: a, operator: Exists}]}'), /Write matchExpressions/],
    [onNodes('{rack: a}'), /Write matchLabels: \{rack: "a"\}/],
    [attributes('{selectorType: PodCIDR, selector: {rack: a}}'), /Write matchLabels: \{rack: "a"\}/],
    [pool.replace('spec: {', 'spec: {serviceSelector: {team: red}, '), /Write matchLabels: \{team: "red"\}/],
  ]
  for (const [text, remedy] of slips) {
    assert.match(errorsOf(text).find(({ code }) => code === 'InvalidField')?.remedy ?? '', remedy, text)
    assert.equal(flushAll(translatorWith(text + node)).speaker?.neighbors.length ?? 0, 0)
  }
})

test('a slip in a selector leaves the selection that was in force', () => {
  const translator = translatorWith(smallestPolicy + web + service('other').replace('"true"', '"no"'))
  flushAll(translator)
  const delta = change(translator, selecting('{expose: "true"}'))
  assert.deepEqual([delta.services.size, delta.speaker], [0, undefined])
  assert.equal(delta.problems?.filter(({ severity }) => severity === 'error').length, 1)
})

test('a pool whose field or block is misspelt keeps the addresses that it had', () => {
  const range = pool.replace('cidr: 198.51.100.0/28', 'start: 198.51.100.1, stop: 198.51.100.9')
  const first = service('a') + service('b') + service('web') + slice('web')
  for (const slip of [
    range.replace('stop:', 'end:'),
    range.replace('stop:', 'last:'),
    range.replace('blocks:', 'blocs:'),
    range.replace('blocks:', 'addresses:'),
    range.replace('blocks:', 'disabled: false, block:'),
  ]) {
    const translator = translatorWith(smallestPolicy + node + range + first)
    assert.deepEqual(addressesOf(flushAll(translator), 'web'), ['198.51.100.3'])
    const delta = change(translator, slip)
    assert.equal(delta.services.size, 0, slip)
    assert.equal(
      delta.problems?.some(({ severity }) => severity === 'error'),
      true,
      slip,
    )
    assert.ok(problemsOf(slip).length > 0, slip)
  }
})

test('a misspelt field of a neighbor leaves what it said before in force; without a version before it is a warning', () => {
  const good = '{peerAddress: 192.168.1.1/32, peerASN: 65000, holdTimeSeconds: 9, peerPort: 1179, authSecretRef: tor}'
  const secret = `---
apiVersion: v1
kind: Secret
metadata: {name: tor, namespace: kube-system}
stringData: {password: hunter2}
`
  for (const slip of [
    good.replace('holdTimeSeconds', 'holdtimeseconds'),
    good.replace('peerPort', 'peerport'),
    good.replace('authSecretRef', 'authSecretref'),
  ]) {
    const translator = translatorWith(policyWith(good) + secret + web)
    flushAll(translator)
    const delta = change(translator, policyWith(slip))
    assert.equal(delta.speaker, undefined, slip)
    assert.match(
      delta.problems?.[0]?.remedy ?? '',
      /Write (holdTimeSeconds|peerPort|authSecretRef); the last good version/,
    )
    assert.deepEqual(errorsOf(policyWith(slip)), [])
  }
  const exported = translatorWith(smallestPolicy + web)
  flushAll(exported)
  assert.equal(change(exported, smallestPolicy.replace('exportPodCIDR', 'exportPodCidr')).podCidrs, undefined)
})

test('a misspelt key of herald.dev/neighbors leaves what it said before in force', () => {
  const annotated = (keys: string): string =>
    smallestPolicy.replace(
      'name: bgp-peering',
      `name: bgp-peering, annotations: {herald.dev/neighbors: '{"192.168.1.1": {${keys}}}'}`,
    )
  const translator = translatorWith(annotated('ttlSecurity: 1, passive: true') + web)
  flushAll(translator)
  const delta = change(translator, annotated('ttlSecurty: 1, passive: true'))
  assert.equal(delta.speaker, undefined)
  assert.match(delta.problems?.[0]?.remedy ?? '', /Write ttlSecurity; the last good version of this key/)
  const gone = change(translator, annotated('passive: true'))
  assert.equal(gone.speaker?.neighbors[0]?.ttlSecurityHops, undefined)
})

test('no message shows what a map or a list holds, nor anything of a Secret: it may be a key', () => {
  const secret = (metadata: string): string =>
    `apiVersion: v1\nkind: Secret\nmetadata: {name: tor, namespace: kube-system, ${metadata}}\n` +
    'stringData: {password: &key hunter2, more: hunter2}\n'
  for (const text of [
    policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: {name: tor, password: hunter2}}'),
    policyWith('{peerAddress: 192.168.1.1/32, peerASN: [hunter2]}'),
    policyWith('{peerAddress: {password: hunter2}, peerASN: 1}'),
    service('web', ', externalTrafficPolicy: {password: hunter2}'),
    secret('creationTimestamp: hunter2'),
    secret('creationTimestamp: {password: hunter2}'),
    secret('labels: {a: [hunter2]}'),
    pool.replace('name: pool', 'name: pool, creationTimestamp: {password: hunter2}'),
  ]) {
    const problems = problemsOf(text)
    assert.ok(problems.length > 0, text)
    assert.doesNotMatch(JSON.stringify(problems), /hunter2/)
    assert.doesNotMatch(JSON.stringify(translatorWith(text).flush().problems ?? []), /hunter2/)
  }
})

test('values that are no text for anybody are answered with a problem where one of a few words is expected', () => {
  for (const written of ['{toString: 1}', '{valueOf: 1, toString: 2}', '[{toString: x}]', '{__proto__: 1}'])
    for (const text of [
      service('web', `, externalTrafficPolicy: ${written}`),
      service('web').replace('type: LoadBalancer', `type: ${written}`),
      slice('web').replace('addressType: IPv4', `addressType: ${written}`),
      pool.replace('spec: {', `spec: {allowFirstLastIPs: ${written}, `),
    ]) {
      assert.equal(errorsOf(text).length, 1, text)
      assert.equal(routesOf(flushAll(translatorWith(smallestPolicy + web))), 1)
    }
})

test('a number or a prefix in other words is written out in the remedy', () => {
  const peer = (more: string): string => policyWith(`{peerAddress: 192.168.1.1/32, ${more}}`)
  const at = (address: string): string => policyWith(`{peerAddress: "${address}", peerASN: 65000}`)
  const profile = (text: string): string =>
    `apiVersion: metallb.io/v1beta1\nkind: BFDProfile\nmetadata: {name: fast}\nspec: {receiveInterval: ${text}}\n`
  const bgpPeer = (more: string): string =>
    `apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: tor}\n` +
    `spec: {myASN: 65001, peerASN: 65000, peerAddress: 192.168.1.1, ${more}}\n`
  const block = (text: string): string => pool.replace('cidr: 198.51.100.0/28', `cidr: ${text}`)
  for (const [text, remedy] of [
    [peer('peerASN: AS65000'), /Write peerASN: 65000;/],
    [peer('peerASN: "65,000"'), /Write peerASN: 65000;/],
    [peer('peerASN: 65ooo'), /Write peerASN: and a number;/],
    [peer('peerASN: 65000, holdTimeSeconds: 3m'), /Write holdTimeSeconds: and a number;/],
    [peer('peerASN: "1.10"'), /Write peerASN: 65546;/],
    [peer('peerASN: 65000, holdTimeSeconds: 9s'), /Write holdTimeSeconds: 9;/],
    [bgpPeer('passwordSecret: tor-key'), /^Write passwordSecret: \{name: tor-key\}; /],
    [profile('300ms'), /Write receiveInterval: 300;/],
    [profile('1s'), /Write receiveInterval: 1000;/],
    [at('fe80::1%eth0/128'), /Write fe80::1\/128.*interface: eth0/],
    [at('192.168.1.1:1179'), /Write 192\.168\.1\.1\/32, and peerPort: 1179;/],
    [at('192.168.001.001/32'), /Write 192\.168\.1\.1\/32;/],
    [at('192.168.1.1/255.255.255.255'), /Write 192\.168\.1\.1\/32;/],
    [block('198.51.100.9'), /Write 198\.51\.100\.9\/32,/],
    [block('198.51.100.1-198.51.100.9'), /Write start: 198\.51\.100\.1 and stop: 198\.51\.100\.9;/],
    [block('198.51.100.0/255.255.255.192'), /Write 198\.51\.100\.0\/26;/],
    [block('"198.51.100.0 / 24"'), /Write 198\.51\.100\.0\/24;/],
  ] as const)
    assert.match(
      errorsOf(text)
        .map((problem) => problem.remedy)
        .join('\n'),
      remedy,
      text,
    )
})

const kindSlips: readonly (readonly [string, RegExp])[] = [
  [service('web').replace('kind: Service', 'kind: Servce'), /Write kind: Service\./],
  [service('web').replace('kind: Service', 'kind: service'), /Write kind: Service\./],
  [service('web').replace('kind: Service', 'kind: Services'), /Write kind: Service\./],
  [service('web').replace('apiVersion: v1', 'apiVersion: V1'), /Write apiVersion: v1\./],
  [slice('web').replace('EndpointSlice', 'Endpointslice'), /Write kind: EndpointSlice\./],
  [slice('web').replace('k8s.io/v1', 'k8s.io/v1beta1'), /Write apiVersion: discovery\.k8s\.io\/v1\./],
  [slice('web').replace('discovery.k8s.io', 'discovery'), /Write apiVersion: discovery\.k8s\.io\/v1\./],
  [node.replace('kind: Node', 'kind: Nodes'), /Write kind: Node\./],
  [smallestPolicy.replace('v2alpha1', 'v2'), /Write apiVersion: cilium\.io\/v2alpha1\./],
  [smallestPolicy.replace('CiliumBGPPeering', 'CiliumBgpPeering'), /Write kind: CiliumBGPPeeringPolicy\./],
  [pool.replace('LoadBalancerIPPool', 'LoadbalancerIPPool'), /Write kind: CiliumLoadBalancerIPPool\./],
  [pool.replace('cilium.io/v2', 'cilium.io/v2beta1'), /Write apiVersion: cilium\.io\/v2 or cilium\.io\/v2alpha1\./],
]

test('a slip in kind or apiVersion is said with what to write, as kubectl refuses it', () => {
  for (const [text, remedy] of kindSlips) {
    const [problem, ...others] = problemsOf(text).filter(({ code }) => code === 'NoObject' || code === 'KindNotServed')
    assert.match(problem?.remedy ?? '', remedy, text)
    assert.deepEqual(others, [])
  }
  for (const other of [
    'apiVersion: serving.knative.dev/v1\nkind: Service',
    'apiVersion: v1\nkind: Pod',
    'apiVersion: v1\nkind: ServiceAccount',
    'apiVersion: v1\nkind: Endpoints',
    'apiVersion: cilium.io/v2\nkind: CiliumNode',
    'apiVersion: node.k8s.io/v1\nkind: RuntimeClass',
    'apiVersion: external-secrets.io/v1\nkind: Secret',
  ])
    assert.deepEqual(problemsOf(`${other}\nmetadata: {name: x}\n`), [], other)
})

test('an object whose kind is misspelt in its file stays in force', async () => {
  const held = service('web') + slice('web') + pool
  await following(
    (folder) => write(folder, 'a.yaml', held),
    ({ folder, log, look, confirm, problems }) => {
      log.length = 0
      for (const slip of [
        held.replace('kind: Service', 'kind: Servce'),
        held.replace('discovery.k8s.io/v1', 'discovery/v1'),
        held.replace('discovery.k8s.io/v1', 'discovery.k8s.io/v1.'),
        held.replace('cilium.io/v2', 'cilium.io/v2aplha1'),
        held.replace('cilium.io/v2', 'cilium.io/V2'),
        held.replace('cilium.io/v2', 'cilium.io/'),
        held.replace('CiliumLoadBalancerIPPool', 'CiliumLoadbalancerIPPool'),
      ]) {
        write(folder, 'a.yaml', slip)
        look(4)
        confirm()
        assert.deepEqual(log, [], slip)
        assert.equal(problems()[0]?.code, 'NoObject')
      }
      write(folder, 'a.yaml', held)
      look()
      assert.deepEqual(problems(), [])
    },
  )
})

test('a neighbor that no router can be is an error, a loopback one a warning (RFC 6890)', () => {
  const peer = (address: string): readonly Problem[] =>
    problemsOf(policyWith(`{peerAddress: "${address}", peerASN: 65000}`)).filter(({ field }) =>
      field.endsWith('peerAddress'),
    )
  for (const address of ['0.0.0.0/32', '0.1.2.3/32', '224.0.0.5/32', '239.1.1.1/32', '240.0.0.1/32', 'ff02::1/128'])
    assert.deepEqual(
      peer(address).map(({ code, severity }) => [code, severity]),
      [['InvalidPeerAddress', 'error']],
      address,
    )
  for (const address of ['255.255.255.255/32', '::ffff:224.0.0.5/128'])
    assert.equal(peer(address)[0]?.severity, 'error', address)
  for (const address of ['127.0.0.1/32', '127.99.0.1/32', '::1/128', '::ffff:127.0.0.1/128'])
    assert.deepEqual(
      peer(address).map(({ code, severity }) => [code, severity]),
      [['LoopbackPeer', 'warning']],
      address,
    )
  const v2 = (address: string): readonly string[] =>
    problemsOf(clusterConfig(`{name: tor, peerASN: 65000, peerAddress: "${address}"}`))
      .filter(({ field }) => field.endsWith('peerAddress'))
      .map(({ code }) => code)
  assert.deepEqual(['224.0.0.5', '0.0.0.0', '127.0.0.1', '192.168.1.1'].flatMap(v2), [
    'InvalidPeerAddress',
    'InvalidPeerAddress',
    'LoopbackPeer',
  ])
  for (const address of ['1.0.0.1/32', '223.255.255.254/32', '169.254.0.2/32', '2001:db8::1/128'])
    assert.deepEqual(peer(address), [], address)
  assert.deepEqual(
    peer('::/128').map(({ code }) => code),
    ['NoInterface'],
    'unnumbered: what lacks is its interface',
  )
})

test('an annotation that begins like one that is read, and is none, is told with the one that it may stand for', () => {
  const onService = (name: string): string => service('web', '', `{${name}: "198.51.100.4"}`)
  const onPolicy = (name: string): string =>
    smallestPolicy.replace('name: bgp-peering', `name: p, annotations: {${name}: "{}"}`)
  const onNode = (name: string): string => node.replace('name: node-a,', `name: node-a, annotations: {${name}: "{}"},`)
  const slips: readonly (readonly [string, string, string])[] = [
    [onService('lbipam.cilium.io/ip'), 'lbipam.cilium.io/ip', 'Write lbipam.cilium.io/ips.'],
    [onService('lbipam.cilium.io/sharing_key'), 'lbipam.cilium.io/sharing_key', 'Write lbipam.cilium.io/sharing-key.'],
    [onService('io.cilium/lb-ipam-ip'), 'io.cilium/lb-ipam-ip', 'Write io.cilium/lb-ipam-ips.'],
    [onPolicy('herald.dev/neighbours'), 'herald.dev/neighbours', 'Write herald.dev/neighbors.'],
    [onNode('herald.dev/drained'), 'herald.dev/drained', 'Write herald.dev/drain.'],
    [
      onNode('cilium.io/bgp-virtual-routers.65001'),
      'cilium.io/bgp-virtual-routers.65001',
      'Begin it with "cilium.io/bgp-virtual-router.".',
    ],
  ]
  for (const [text, name, remedy] of slips)
    assert.deepEqual(
      problemsOf(text)
        .filter(({ code }) => code === 'UnknownField')
        .map((each) => [each.field, each.severity, each.remedy]),
      [[`metadata.annotations.${name}`, 'warning', remedy]],
    )
  for (const name of ['lbipam.cilium.io/ips', 'example.org/lbipam', 'cilium.io/anything'])
    assert.deepEqual(problemsOf(onService(name)), [], name)
})

test('an entry of herald.dev/neighbors that names no neighbor is told, on a policy and on a Node', () => {
  const entries = '{"*": {med: 1}, "192.168.1.1": {med: 2}, "192.168.1.2": {med: 3}, "fe80::9%eth0": {}}'
  const annotated = `annotations: {herald.dev/neighbors: '${entries}'}`
  const unmet = (text: string): readonly (string | undefined)[] =>
    problemsOf(text)
      .filter(({ code }) => code === 'NoSuchNeighbor')
      .map(({ object, message }) => `${object.kind} ${message.split(' ')[0]}`)
  const policy = smallestPolicy.replace('name: bgp-peering', `name: bgp-peering, ${annotated}`)
  assert.deepEqual(unmet(policy), ['CiliumBGPPeeringPolicy 192.168.1.2', 'CiliumBGPPeeringPolicy fe80::9%eth0'])
  const v2 = (peers: string): string => clusterConfig(peers).replace('name: bgp', `name: bgp, ${annotated}`)
  assert.deepEqual(unmet(v2('{name: tor, peerASN: 65000, peerAddress: 192.168.1.1}')), [
    'CiliumBGPClusterConfig 192.168.1.2',
    'CiliumBGPClusterConfig fe80::9%eth0',
  ])
  const gateway =
    '{name: tor, peerASN: 65000, autoDiscovery: {mode: DefaultGateway, defaultGateway: {addressFamily: ipv4}}}'
  assert.deepEqual(unmet(v2(gateway)), [], 'the gateway may be any of them')
  const own = node.replace('name: node-a,', `name: node-a, ${annotated},`)
  assert.deepEqual(unmet(smallestPolicy + own), ['Node 192.168.1.2', 'Node fe80::9%eth0'])
  assert.deepEqual(unmet(own), [], 'without a policy nobody knows')
})

test('a misspelt nodeSelector does not put a configuration on every node', () => {
  const windows = node.replace('kubernetes.io/os: linux', 'kubernetes.io/os: windows')
  const configs = [smallestPolicy, `${clusterConfig('{name: tor, peerASN: 65000, peerAddress: 192.168.1.1}')}`]
  for (const text of configs) {
    const translator = translatorWith(text + windows)
    assert.deepEqual(flushAll(translator).speaker?.neighbors ?? [], [])
    const delta = change(translator, text.replace('nodeSelector', 'nodeSelectors'))
    assert.equal(delta.speaker, undefined, text)
    const said = delta.problems?.find(({ field }) => field === 'spec.nodeSelectors')
    assert.deepEqual([said?.severity, said?.remedy.split(';')[0]], ['error', 'Write nodeSelector'])
  }
})

test('what does not say which part it is may be any: a session stays when AS or address of its entry are none', () => {
  const two = (first: string, second: string): string => policyWith(first, second)
  const other = '{peerAddress: 192.168.1.2/32, peerASN: 65000}'
  for (const slip of ['0.168.1.1/32', '224.168.1.1/32', '255.255.255.255/32', '192.168.1.1.1/32', 'ff02::1/128']) {
    const translator = translatorWith(two('{peerAddress: 192.168.1.1/32, peerASN: 65000}', other) + node)
    assert.equal(flushAll(translator).speaker?.neighbors.length, 2)
    const delta = change(translator, two(`{peerAddress: "${slip}", peerASN: 65000}`, other))
    assert.equal(delta.speaker, undefined, slip)
    assert.match(delta.problems?.[0]?.remedy ?? '', /the last good version of this neighbor stays in force/, slip)
  }
  const router = (asn: number | string): string =>
    `${smallestPolicy}  - {localASN: ${asn}, serviceSelector: {}, neighbors: [${other}]}\n`
  for (const slip of [0, -65002, 65002.5, 4294967296, '"65002"']) {
    const translator = translatorWith(router(65002) + node)
    assert.equal(flushAll(translator).speaker?.neighbors.length, 2)
    assert.equal(change(translator, router(slip)).speaker, undefined, String(slip))
  }
})

test('what stands beside spec is told, and a field of a Service there takes nothing away', () => {
  const beside = (kind: ServedKind, object: RawObject, from: 'manifest' | 'server' = 'manifest'): readonly string[] =>
    parseObject(kind, { metadata: { name: 'a', namespace: 'b' }, ...object }, undefined, from).faults.map(
      ({ severity, code, path, remedy }) => `${severity} ${code} ${formatPath(path)}: ${remedy}`,
    )
  const web = { spec: { type: 'LoadBalancer', ports: [{ port: 80 }] } }
  const pool = { spec: { blocks: [{ cidr: '198.51.100.0/28' }] } }
  assert.deepEqual(beside('CiliumLoadBalancerIPPool', { ...pool, disabled: true, sops: {} }), [
    'warning UnknownField disabled: Write it under spec, or remove it.',
  ])
  const ranges = { loadBalancerSourceRanges: ['192.0.2.0/24'] }
  assert.deepEqual(beside('Service', { ...web, ...ranges, extra: 1 }), [
    'error InvalidField loadBalancerSourceRanges: Write it under spec; the last good version stays in force.',
    'warning UnknownField extra: Write it under spec, or remove it.',
  ])
  assert.deepEqual(beside('Secret', { data: {}, spec: {} }), ['warning UnknownField spec: Remove it.'])
  // A server has no field that is none.
  assert.deepEqual(beside('Service', { ...web, ...ranges }, 'server'), [])
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`q-${i}`, i]))
  assert.ok(beside('CiliumLoadBalancerIPPool', { ...pool, ...many }).length <= 20)
})
