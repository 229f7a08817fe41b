/** `herald migrate metallb`: what each backend of MetalLB has, and where Herald is another. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend, SessionView } from '../../src/k8s/dialects/moving/report.ts'
import { node, pool, service } from './manifests.ts'
import { advertisement, community, everywhere, ipPool, peer, production, tor } from './metallb-manifests.ts'
import { codesIn, reportOf, saidOf, speaker } from './moving-report.ts'

const held = (address: string, more = ''): string =>
  `${service('web', more)}status: {loadBalancer: {ingress: [{ip: ${address}}]}}\n`
const rest = production + everywhere + node + held('192.168.10.7')
const routed = tor.replace('spec: {', 'spec: {routerID: 10.0.0.1, ')
const sidesOf = (text: string, backend: Backend): readonly (SessionView | undefined)[] =>
  reportOf(text + rest, { backend }).sessions.flatMap(({ before, after }) => [before, after])

test('what is the same with both is no difference, and the address that a Service has is kept', () => {
  const report = reportOf(routed + rest)
  assert.deepEqual(report.differences, [])
  assert.deepEqual(report.services, [{ service: 'default/web', before: ['192.168.10.7'], after: ['192.168.10.7'] }])
  assert.deepEqual(report.sessions[0]?.before, report.sessions[0]?.after)
  assert.deepEqual(report.nodes, ['node-a'])
  const [heard] = report.advertisements
  assert.deepEqual([heard?.peer, heard?.before], ['192.168.1.1', heard?.after])
  assert.equal(heard?.after?.pools, 'production')
})

test('without a Node no router ID is made up, and one that is written is shown', () => {
  const idsOf = (text: string): readonly (string | undefined)[] => {
    const report = reportOf(text + production + everywhere)
    assert.deepEqual(report.differences, [])
    return report.sessions.flatMap(({ before, after }) => [before?.routerId, after?.routerId])
  }
  assert.deepEqual(idsOf(tor), [undefined, undefined])
  assert.deepEqual(idsOf(routed), ['10.0.0.1', '10.0.0.1'])
})

test('sourceAddress and localASN come into force where frr-k8s had dropped them, and only there', () => {
  const written = peer(
    'tor',
    'myASN: 64512, localASN: 64999, peerASN: 64513, peerAddress: 192.168.1.1, routerID: 10.0.0.1, sourceAddress: 192.168.1.10',
  )
  const report = reportOf(written + rest)
  assert.deepEqual(codesIn(report), ['LocalAsInForce', 'SourceAddressInForce'])
  const [source] = saidOf(report, 'SourceAddressInForce')
  assert.deepEqual(
    [source?.field, source?.before, source?.after, source?.needsDecision],
    ['sourceAddress', undefined, '192.168.1.10', true],
  )
  const [localAs] = saidOf(report, 'LocalAsInForce')
  assert.deepEqual([localAs?.before, localAs?.after], ['64512', '64999'])
  assert.deepEqual(reportOf(written + rest, { backend: 'frr' }).differences, [])
})

test('timers are shown as they are proposed: 180/60 of FRR, 90/30 of the native speaker, keepalive of it always a third', () => {
  const [native] = sidesOf(tor, 'native')
  assert.deepEqual([native?.holdTimeSeconds, native?.keepaliveSeconds], [90, 30])
  const [frr, here] = sidesOf(tor, 'frr')
  assert.deepEqual([frr?.holdTimeSeconds, frr?.keepaliveSeconds], [180, 60])
  assert.deepEqual([here?.holdTimeSeconds, here?.keepaliveSeconds], [180, 60])
  const fast = routed.replace('spec: {', 'spec: {holdTime: 9s, keepaliveTime: 1s, ')
  const report = reportOf(fast + rest, { backend: 'native' })
  assert.deepEqual(
    report.differences.map(({ code, field, before, after }) => [code, field, before, after]),
    [['TimersDiffer', 'keepaliveSeconds', '3', '1']],
  )
  assert.ok(report.differences.every(({ needsDecision }) => !needsDecision))
})

const profile = (spec: string): string =>
  `---\napiVersion: metallb.io/v1beta1\nkind: BFDProfile\nmetadata: {name: fast, namespace: metallb-system}\nspec: {${spec}}\n`

test('BFD that is not as before is told, a node whose host name label is another name comes in, and the router ID has another rule', () => {
  const profiled = tor.replace('spec: {', 'spec: {bfdProfile: fast, ')
  const moved = rest.replace('labels: {', 'labels: {kubernetes.io/hostname: elsewhere, ')
  const [missing] = saidOf(reportOf(profiled + rest), 'BfdDiffers')
  assert.deepEqual([missing?.before, missing?.after, missing?.needsDecision], ['fast', undefined, true])
  const served = reportOf(`${profiled}${profile('receiveInterval: 100')}${rest}`)
  assert.deepEqual(saidOf(served, 'BfdDiffers'), [])
  assert.equal(served.sessions[0]?.after?.bfd, '100/300 ms x 3')
  const [echo] = saidOf(reportOf(profiled + profile('echoMode: true') + rest), 'BfdDiffers')
  assert.deepEqual([echo?.before, echo?.after], ['300/300 ms x 3, echo', '300/300 ms x 3'])
  const [named] = saidOf(reportOf(tor + moved), 'SessionNew')
  assert.match(named?.reason ?? '', /hostname, which is elsewhere/)
  assert.deepEqual(saidOf(reportOf(tor + moved, { backend: 'frr' }), 'SessionNew'), [])
  const [router] = saidOf(reportOf(tor + rest), 'RouterIdDiffers')
  assert.deepEqual([router?.after, router?.needsDecision], ['192.168.1.10', false])
})

test('what the native speaker refuses as a whole is a new session, with the fields that it refuses', () => {
  for (const [field, named] of [
    ['enableGracefulRestart: true', /enableGracefulRestart/],
    ['vrf: red', /vrf/],
    ['localASN: 64999', /localASN/],
  ] as const) {
    const report = reportOf(tor.replace('spec: {', `spec: {${field}, `) + rest, { backend: 'native' })
    assert.match(saidOf(report, 'SessionNew')[0]?.reason ?? '', named)
    assert.equal(report.sessions[0]?.before, undefined)
  }
})

test('objects in another namespace than that of the speaker come into force', () => {
  const stray = [tor, production, everywhere].map((each) => each.replace('metallb-system', 'team')).join('')
  const report = reportOf(`${routed}${rest}${speaker('frr')}${stray.replaceAll('192.168.1', '192.168.2')}`, {
    backend: 'frr',
  })
  assert.match(saidOf(report, 'SessionNew')[0]?.reason ?? '', /metallb-system only, and this is in team/)
  assert.deepEqual(
    saidOf(report, 'OtherNamespace').map(({ object }) => object),
    ['IPAddressPool/team/production', 'BGPAdvertisement/team/everywhere'],
  )
})

test('the native speaker sends LOCAL_PREF 0 to internal peers where none is written', () => {
  const internal = routed.replace('peerASN: 64513', 'peerASN: 64512')
  const report = reportOf(internal + rest, { backend: 'native' })
  const [said] = saidOf(report, 'LocalPreferenceDiffers')
  assert.deepEqual([said?.before, said?.after, said?.needsDecision], ['0', undefined, false])
  assert.deepEqual(saidOf(reportOf(internal + rest, { backend: 'frr' }), 'LocalPreferenceDiffers'), [])
})

test('an annotation of Herald on a peer is a difference of what the peer hears, communities are shown by their value', () => {
  const prepended = routed.replace(
    'namespace: metallb-system}',
    `namespace: metallb-system, annotations: {herald.dev/neighbors: '{"192.168.1.1": {asPathPrepend: 2}}'}}`,
  )
  const named = advertisement('a', 'communities: [gold, "large:1:2:3"], localPref: 200')
  const more = `${prepended}${production}${named}${community('c', ['gold', '65000:9'])}${node}`
  const report = reportOf(more)
  const [said] = saidOf(report, 'AdvertisementDiffers')
  assert.deepEqual([said?.before, said?.after, said?.needsDecision], [undefined, '2', true])
  assert.deepEqual(report.advertisements[0]?.before?.communities, ['65000:9', '1:2:3'])
  assert.equal(report.advertisements[0]?.before?.localPreference, 200)
})

test('an address outside every pool stays in the status and is not announced; it needs a decision', () => {
  const report = reportOf(routed + production + everywhere + node + held('203.0.113.1'))
  const [said] = saidOf(report, 'OutsidePools')
  assert.deepEqual([said?.object, said?.before, said?.after], ['Service/default/web', '203.0.113.1', 'not announced'])
  assert.deepEqual(report.services, [{ service: 'default/web', before: ['203.0.113.1'], after: [] }])
})

test('a Service gets an address that it had not asked MetalLB for in vain', () => {
  const report = reportOf(
    `${routed}${ipPool('production', 'addresses: [192.168.10.0/24, "2001:db8::/120"]')}${everywhere}${node}` +
      held('192.168.10.7', ', ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4, IPv6]'),
  )
  const [said] = saidOf(report, 'AddressDiffers')
  assert.deepEqual([said?.before, said?.after], ['192.168.10.7', '192.168.10.7, 2001:db8::'])
})

test('a pool with an address of a node in it is told, and two pools without priority give by age', () => {
  const inside = reportOf(`${routed}${ipPool('wide', 'addresses: [192.168.1.0/24]')}${everywhere}${node}`)
  const [reserved] = saidOf(inside, 'ReservedAddresses')
  assert.equal(reserved?.needsDecision, true)
  assert.match(reserved?.reason ?? '', /192\.168\.1\.10/)
  const two = reportOf(`${routed}${production}${ipPool('other', 'addresses: [192.168.11.0/24]')}${everywhere}${node}`)
  assert.equal(saidOf(two, 'PoolOrder').length, 1)
  assert.deepEqual(saidOf(reportOf(routed + rest), 'PoolOrder'), [])
})

test('a pool of the other family gives addresses here too', () => {
  const report = reportOf(routed + rest + pool)
  assert.deepEqual(
    saidOf(report, 'PoolDiffers').map(({ object }) => object),
    ['CiliumLoadBalancerIPPool/pool'],
  )
  assert.equal(saidOf(report, 'OtherAllocator').length, 1)
})

test('a session that cannot be dialled here is left out, with the reason', () => {
  const keyed = routed.replace('spec: {', 'spec: {passwordSecret: {name: key}, ')
  const [missing] = saidOf(reportOf(keyed + rest, {}, { isWhole: true }), 'SessionLeftOut')
  assert.match(missing?.reason ?? '', /there is no Secret metallb-system\/key/)
  const folder = reportOf(keyed + rest)
  assert.deepEqual(saidOf(folder, 'SessionLeftOut'), [])
  assert.equal(saidOf(folder, 'SecretNotSeen').length, 1)
  assert.equal(folder.sessions[0]?.after?.password, 'Secret metallb-system/key')
  assert.doesNotMatch(JSON.stringify(folder), /not read"|bm90IHJlYWQ/)
})

test('a key in the object is named and never shown', () => {
  const keyed = routed.replace('spec: {', 'spec: {password: hunter2, ')
  const report = reportOf(keyed + rest)
  assert.equal(report.sessions[0]?.before?.password, 'in the object')
  assert.doesNotMatch(JSON.stringify(report), /hunter2/)
})

test('one node can be looked at, nodes that differ in nothing are said once, and without Nodes it is for any', () => {
  const second = node.replaceAll('node-a', 'node-b').replaceAll('192.168.1.10', '192.168.1.11')
  const profiled = routed.replace('spec: {', 'spec: {bfdProfile: fast, ')
  const both = reportOf(profiled + rest + second)
  assert.deepEqual(both.nodes, ['node-a', 'node-b'])
  assert.equal(saidOf(both, 'BfdDiffers')[0]?.node, 'node-a and 1 more')
  const one = reportOf(profiled + rest + second, { nodeName: 'node-b' })
  assert.deepEqual(
    one.sessions.map((row) => row.node),
    ['node-b'],
  )
  const any = reportOf(routed + production + everywhere)
  assert.deepEqual([any.nodes, any.sessions.length], [['any'], 1])
})
