import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, RouteAttributes } from '../../src/desired/model.ts'
import {
  change,
  codesOf,
  deliver,
  node,
  policyWith,
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

const rest = node + pool + service('web') + slice('web')
const first = '{peerAddress: 192.168.1.1/32, peerASN: 65000}'
const idsOf = ({ speaker }: DesiredDelta): readonly string[] | undefined => speaker?.neighbors.map(({ id }) => id)

test('a bad neighbor keeps its last good version; one that was never good is left out, the others and their routes stay', () => {
  const bad = [
    '{peerAddress: 192.168.1.2, peerASN: 65000}',
    '{peerAddress: 192.168.1.2/32, peerASN: 4294967296}',
    '{peerAddress: 192.168.1.2/32, peerASN: 65000, families: [{afi: l2vpn, safi: evpn}]}',
    '{peerAddress: 192.168.1.2/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: PodCIDR, ' +
      'communities: {standard: ["70000:1"]}}]}',
    '{peerAddress: 192.168.1.2/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: PodCIDR, ' +
      'communities: {wellKnown: [no-exports]}}]}',
    '{peerAddress: 192.168.1.2/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: PodCIDR, ' +
      'communities: {large: ["1:2"]}}]}',
    'just-text',
  ]
  for (const text of bad) {
    const translator = translatorWith(policyWith(first, '{peerAddress: 192.168.1.2/32, peerASN: 65000}') + rest)
    assert.deepEqual(idsOf(translator.flush()), ['65001/192.168.1.1', '65001/192.168.1.2'])
    assert.equal(change(translator, policyWith(first, text)).speaker, undefined, `it stays: ${text}`)
    const delta = translatorWith(policyWith(first, text) + rest).flush()
    assert.deepEqual(idsOf(delta), ['65001/192.168.1.1'], text)
    assert.deepEqual(
      serviceOf(delta, 'web').routes.map(({ neighbors }) => neighbors),
      [['65001/192.168.1.1']],
    )
    const problem = delta.problems?.find(({ severity }) => severity === 'error')
    assert.match(problem?.field ?? '', /^spec\.virtualRouters\[0\]\.neighbors\[1\]/, text)
    assert.match(problem?.remedy ?? '', /\S/)
  }
})

test('the problem of a community says what is wrong and what to write', () => {
  const delta = translatorWith(
    policyWith(
      first,
      '{peerAddress: 192.168.1.2/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: PodCIDR, ' +
        'communities: {standard: ["70000:1"]}}]}',
    ),
  ).flush()
  const problem = delta.problems?.find(({ severity }) => severity === 'error')
  assert.equal(
    problem?.field,
    'spec.virtualRouters[0].neighbors[1].advertisedPathAttributes[0].communities.standard[0]',
  )
  assert.match(problem?.message ?? '', /70000:1 is no community; write 65000:100/)
  assert.match(problem?.remedy ?? '', /this neighbor is left out/)
})

test('a policy that is not understood as a whole leaves its last good version in force', () => {
  const broken = [
    smallestPolicy.replace('65001', '99999999999'),
    smallestPolicy.replace('neighbors:', 'neighbours:'),
    policyWith('{peerAddress: 192.168.1.1, peerASN: 65000}'),
    smallestPolicy.replace(/ {2}virtualRouters:[\s\S]*/, ''),
  ]
  for (const text of broken) {
    const translator = translatorWith(smallestPolicy + rest)
    translator.flush()
    const delta = change(translator, text)
    assert.deepEqual([delta.speaker, delta.services.size], [undefined, 0])
    assert.ok(delta.problems?.some(({ severity }) => severity === 'error'))
    assert.deepEqual(change(translator, smallestPolicy).problems, [])
  }
})

test('of two policies on one node the older one stays, the other is a problem, and follows when the first goes', () => {
  const translator = translatorWith(smallestPolicy + rest)
  translator.flush()
  const delta = change(
    translator,
    smallestPolicy.replace('name: bgp-peering', 'name: the-other').replace('65001', '65009'),
  )
  assert.equal(delta.speaker, undefined)
  assert.deepEqual(
    delta.problems?.map(({ code, object }) => [code, object.name]),
    [['PolicyConflict', 'the-other']],
  )
  const after = remove(translator, 'CiliumBGPPeeringPolicy', 'bgp-peering')
  assert.deepEqual([idsOf(after), after.problems], [['65009/192.168.1.1'], []])
  const dated = smallestPolicy.replace('name: bgp-peering', 'name: first, creationTimestamp: "2026-01-01T00:00:00Z"')
  assert.deepEqual(idsOf(change(translator, dated)), ['65001/192.168.1.1'])
})

test('without a policy for this node there is no session, and the Service says why', () => {
  const none = translatorWith(rest).flush()
  assert.deepEqual(idsOf(none), [])
  assert.match(verdictOf(serviceOf(none, 'web'), 'selected')?.message ?? '', /^there is no CiliumBGPPeeringPolicy\b/)
  const other = translatorWith(smallestPolicy + rest.replace('os: linux', 'os: windows')).flush()
  assert.deepEqual([idsOf(other), verdictOf(serviceOf(other, 'web'), 'selected')?.code], [[], 'NoPolicy'])
  const absent = translatorWith(smallestPolicy.replace('{matchLabels: {kubernetes.io/os: linux}}', '{}') + pool).flush()
  assert.deepEqual([idsOf(absent)?.length, codesOf(absent.problems)], [1, ['NoNode', 'DerivedRouterId', 'NoPodCidr']])
})

test('a Node whose IPv4 InternalIPs cannot be a router ID is told which they are, not that it has none', () => {
  for (const [addresses, told] of [
    ['2001:db8::10', 'no IPv4 InternalIP'],
    ['127.0.0.1', 'no unicast address as IPv4 InternalIP (127.0.0.1)'],
    ['240.0.0.1}, {type: InternalIP, address: 0.0.0.0', 'no unicast address as IPv4 InternalIP (240.0.0.1, 0.0.0.0)'],
    ['224.0.0.1}, {type: Hostname, address: 127.0.0.1', 'no unicast address as IPv4 InternalIP (224.0.0.1)'],
  ] as const) {
    const [problem] = translatorWith(smallestPolicy + node.replace('192.168.1.10', addresses)).flush().problems ?? []
    assert.equal(problem?.message.split(':')[0], `node node-a has ${told}`)
  }
})

test(
  'the router ID is the annotation, else the InternalIP, else derived from the name; each departure is ' +
    'reported on the Node',
  () => {
    const annotated = (value: string, text = node): string =>
      text.replace('name: node-a,', `name: node-a, annotations: {cilium.io/bgp-virtual-router.65001: "${value}"},`)
    const cases: readonly (readonly [string, string | RegExp, readonly string[]])[] = [
      [annotated('router-id=10.9.9.9'), '10.9.9.9', []],
      [annotated('router-id=10.9.9.8, router-id=10.9.9.9'), '10.9.9.9', []],
      [annotated('nonsense,router-id=10.9.9.9,a=b=c'), '10.9.9.9', ['InvalidAnnotation', 'InvalidAnnotation']],
      [annotated('router-id=10.9.9.9,local-port=1179'), '10.9.9.9', []],
      [annotated('router-id=10.9.9.9,local-port=70000'), '10.9.9.9', ['InvalidLocalPort']],
      [annotated('router-id=224.0.0.5'), '192.168.1.10', ['InvalidRouterId']],
      [annotated('router-id=127.1.1.1'), '192.168.1.10', ['InvalidRouterId']],
      [annotated('router-id=10.9.9'), '192.168.1.10', ['InvalidRouterId']],
      [annotated('router-id=0.0.0.0'), '192.168.1.10', ['InvalidRouterId']],
      [annotated('router-id=2001:db8::1'), '192.168.1.10', ['InvalidRouterId']],
      [node.replace('192.168.1.10', '2001:db8::10'), /^\d+\.\d+\.\d+\.\d+$/, ['DerivedRouterId']],
      [annotated('router-id=10.9.9.9', node.replace('192.168.1.10', '2001:db8::10')), '10.9.9.9', []],
    ]
    for (const [text, expected, codes] of cases) {
      const delta = translatorWith(smallestPolicy + text).flush()
      const routerId = delta.speaker?.neighbors[0]?.routerId ?? ''
      assert.ok(
        typeof expected === 'string' ? routerId === expected : expected.test(routerId),
        `${routerId} for ${text}`,
      )
      assert.deepEqual(
        delta.problems?.map(({ code, object }) => [code, object.kind, object.name]) ?? [],
        codes.map((code) => [code, 'Node', 'node-a']),
      )
    }
  },
)

test('a serviceSelector under a neighbor applies to that neighbor only, with a warning', () => {
  const second =
    '{peerAddress: 192.168.1.2/32, peerASN: 65000, serviceSelector: {matchExpressions: [{key: tier, operator: ' +
    'NotIn, values: [back]}]}}'
  const delta = translatorWith(
    policyWith(first, second) + node + pool + service('web').replace('expose-via-bgp', 'other') + slice('web'),
  ).flush()
  assert.deepEqual(
    serviceOf(delta, 'web').routes.map(({ neighbors }) => neighbors),
    [['65001/192.168.1.2']],
  )
  assert.deepEqual(codesOf(delta.problems), ['SelectorUnderNeighbor'])
})

test('path attributes follow their selectors: PodCIDR by the labels of the node, Services by those of the pool', () => {
  const peer = (attributes: string): string =>
    `{peerAddress: 192.168.1.1/32, peerASN: 65000, advertisedPathAttributes: [${attributes}]}`
  const of = (attributes: string): readonly (RouteAttributes | undefined)[] => {
    const delta = translatorWith(
      policyWith(peer(attributes)) +
        node +
        pool.replace('name: pool', 'name: pool, labels: {tier: gold}') +
        service('web') +
        slice('web'),
    ).flush()
    return [delta.podCidrs?.[0]?.routes[0]?.attributes, serviceOf(delta, 'web').routes[0]?.attributes]
  }
  assert.deepEqual(
    of(
      '{selectorType: PodCIDR, communities: {standard: ["65000:100", 7], wellKnown: [no-export], large: ' +
        '["65000:1:2"]}}',
    ),
    [{ communities: [7, 65000 * 65536 + 100, 0xffffff01], largeCommunities: ['65000:1:2'] }, {}],
  )
  assert.deepEqual(
    of(
      '{selectorType: CiliumLoadBalancerIPPool, selector: {matchLabels: {tier: gold}}, localPreference: 200}, ' +
        '{selectorType: CiliumLoadBalancerIPPool, localPreference: 150, communities: {standard: ["1:1"]}}',
    ),
    [{}, { communities: [65537], localPreference: 200 }],
  )
  assert.deepEqual(
    of('{selectorType: CiliumLoadBalancerIPPool, selector: {matchLabels: {tier: iron}}, localPreference: 200}'),
    [{}, {}],
  )
  assert.deepEqual(
    of('{selectorType: PodCIDR, selector: {matchLabels: {kubernetes.io/os: windows}}, localPreference: 200}'),
    [{}, {}],
  )
})

test('each address of a Service has the attributes of its own pool', () => {
  const pools =
    pool.replace('name: pool', 'name: four, labels: {v: "4"}') +
    pool.replace('name: pool', 'name: six, labels: {v: "6"}').replace('198.51.100.0/28', '"2001:db8::/126"')
  const peer =
    '{peerAddress: 192.168.1.1/32, peerASN: 65001, advertisedPathAttributes: [{selectorType: ' +
    'CiliumLoadBalancerIPPool, selector: {matchLabels: {v: "6"}}, localPreference: 6}]}'
  const { routes } = serviceOf(
    translatorWith(
      policyWith(peer) +
        node +
        pools +
        service('web', ', ipFamilyPolicy: RequireDualStack') +
        slice('web') +
        slice6('web'),
      { datapath: 'none' },
    ).flush(),
    'web',
  )
  assert.deepEqual(
    routes.map(({ prefix, attributes }) => [prefix, attributes]),
    [
      ['198.51.100.0/32', {}],
      ['2001:db8::/128', { localPreference: 6 }],
    ],
  )
})

test('families decide who hears which prefix, and addresses are written canonically', () => {
  const four = '{peerAddress: 192.168.1.1/32, peerASN: 65000, families: [{afi: ipv4, safi: unicast}]}'
  const six = '{peerAddress: "2001:DB8:0::1/128", peerASN: 65000, families: [{afi: ipv6, safi: unicast}]}'
  const dual = node.replace('podCIDR: 10.244.1.0/24', 'podCIDRs: [10.244.1.7/24, "2001:DB8:1::/64"]')
  const delta = translatorWith(policyWith(four, six) + dual).flush()
  assert.deepEqual(
    delta.podCidrs?.map(({ prefix, routes }) => [prefix, routes.flatMap(({ neighbors }) => neighbors)]),
    [
      ['10.244.1.0/24', ['65001/192.168.1.1']],
      ['2001:db8:1::/64', ['65001/2001:db8::1']],
    ],
  )
})

test('herald.dev/neighbors sets what the schema lacks, for all or for one neighbor; what is not known is reported', () => {
  const annotated = (text: string): string =>
    policyWith(first, '{peerAddress: 192.168.1.2/32, peerASN: 65000}').replace(
      'name: bgp-peering',
      `name: bgp-peering, annotations: {herald.dev/neighbors: '${text}'}`,
    ) + node
  const delta = translatorWith(
    annotated(
      '{"*": {passive: true, med: 5}, "192.168.1.2": {ttlSecurity: 1, passive: false, sourceAddress: ' +
        '"192.168.1.10", nextHop: "2001:DB8::9"}}',
    ),
  ).flush()
  assert.deepEqual(
    delta.speaker?.neighbors.map(({ passive, ttlSecurityHops, sourceAddress, nextHops }) => [
      passive,
      ttlSecurityHops,
      sourceAddress,
      nextHops,
    ]),
    [
      [true, undefined, undefined, undefined],
      [false, 1, '192.168.1.10', { 'ipv6-unicast': '2001:db8::9' }],
    ],
  )
  assert.deepEqual(
    delta.podCidrs?.[0]?.routes.map(({ attributes }) => attributes),
    [{ med: 5 }, { med: 5 }],
  )
  for (const [text, code] of [
    ['{"192.168.1.2": {passiv: true}}', 'UnknownField'],
    ['{"192.168.1.2": {bfd: {receiveInterval: 5}}}', 'InvalidField'],
    ['{"192.168.1.2": {bfd: {echoMode: true}}}', 'InvalidField'],
    ['{"192.168.1.2": {role: client}}', 'InvalidField'],
    ['{"192.168.1.2": {importPrefixes: [10.0.0.1/8]}}', 'InvalidField'],
    ['{"192.168.1.2": {extendedCommunities: [rt:1]}}', 'InvalidField'],
    ['{"192.168.1.2": {ttlSecurity: 0}}', 'InvalidField'],
    ['{router: {passive: true}}', 'InvalidAnnotation'],
    ['- a', 'InvalidAnnotation'],
    ['{', 'InvalidAnnotation'],
  ] as const) {
    const { problems, speaker } = translatorWith(annotated(text)).flush()
    assert.deepEqual([codesOf(problems), speaker?.neighbors.length], [[code], 2], text)
  }
})

test('a neighbor whose Secret or key is missing is not dialled, and is when the Secret comes', () => {
  const secret = (data: string): string =>
    `---\napiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: kube-system}\n${data}\n`
  const translator = translatorWith(
    policyWith(first, '{peerAddress: 192.168.1.2/32, peerASN: 65000, authSecretRef: key}') + rest,
  )
  for (const text of [
    '',
    secret('data: {other: eA==}'),
    secret('data: {password: eA==}').replace('kube-system', 'default'),
  ]) {
    deliver(translator, text)
    const delta = translator.flush()
    assert.deepEqual(idsOf(delta) ?? ['65001/192.168.1.1'], ['65001/192.168.1.1'])
    if (delta.problems !== undefined) assert.match(delta.problems.at(-1)?.message ?? '', /not dialled/)
  }
  const delta = change(translator, secret('data: {password: c2VjcmV0}'))
  assert.deepEqual([delta.speaker?.neighbors[1]?.password, delta.problems], ['secret', []])
  assert.equal(change(translator, secret('stringData: {password: other}')).speaker?.neighbors[1]?.password, 'other')
})
