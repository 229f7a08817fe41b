/** `herald migrate cilium`: what Cilium has, and where Herald is another. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { node, policyWith, pool, service, slice, smallestPolicy } from './manifests.ts'
import { production } from './metallb-manifests.ts'
import { codesIn, reportOf, saidOf } from './moving-report.ts'

const held = `${service('web')}status: {loadBalancer: {ingress: [{ip: 198.51.100.3}]}}\n`
const rest = node + pool + held + slice('web')
const cilium = { from: 'cilium' } as const

const v2 = `---
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: cluster}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  bgpInstances:
  - name: main
    localASN: 65001
    peers: [{name: tor, peerAddress: 192.168.1.2, peerASN: 65000, peerConfigRef: {name: fast}}]
---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: fast}
spec:
  timers: {holdTimeSeconds: 9, keepAliveTimeSeconds: 3}
  families: [{afi: ipv4, safi: unicast, advertisements: {matchLabels: {a: b}}}]
---
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: lb, labels: {a: b}}
spec: {advertisements: [{advertisementType: Service, service: {addresses: [LoadBalancerIP]}, selector: {}}]}
`

test('a policy and the v2 kinds are the same with both, and addresses are kept', () => {
  for (const text of [smallestPolicy, v2]) {
    const report = reportOf(text + rest, cilium)
    assert.deepEqual(report.differences, [], text)
    assert.deepEqual(report.sessions[0]?.before, report.sessions[0]?.after)
    assert.deepEqual(report.services, [{ service: 'default/web', before: ['198.51.100.3'], after: ['198.51.100.3'] }])
  }
  const [session] = reportOf(v2 + rest, cilium).sessions
  assert.deepEqual([session?.before?.holdTimeSeconds, session?.before?.keepaliveSeconds], [9, 3])
})

test('two policies of one node end every session with Cilium, and the oldest counts here', () => {
  const second = smallestPolicy.replace('bgp-peering', 'other').replace('192.168.1.1', '192.168.1.9')
  const [said, ...others] = saidOf(reportOf(`${smallestPolicy}---\n${second}${rest}`, cilium), 'SessionNew')
  assert.match(said?.reason ?? '', /bgp-peering and other/)
  assert.deepEqual(others, [])
})

test('a policy without nodeSelector is for no node there, and for every node here', () => {
  const bare = smallestPolicy.replace(/ {2}nodeSelector.*\n/, '')
  assert.match(saidOf(reportOf(bare + rest, cilium), 'SessionNew')[0]?.reason ?? '', /no nodeSelector/)
})

test('a policy keeps Cilium from the v2 kinds, which count here as well', () => {
  const report = reportOf(smallestPolicy + v2 + rest, cilium)
  const [said] = saidOf(report, 'SessionNew')
  assert.match(said?.reason ?? '', /no CiliumBGPClusterConfig/)
  assert.equal(said?.after, '65001/192.168.1.2')
  assert.equal(report.sessions.length, 2)
})

test('without its Secret Cilium dials unsigned, and Herald does not dial', () => {
  const keyed = policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: key}')
  const [said] = saidOf(reportOf(keyed + rest, cilium, { isWhole: true }), 'SessionLeftOut')
  assert.match(said?.reason ?? '', /there is no Secret kube-system\/key/)
  const secret =
    '---\napiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: kube-system}\nstringData: {password: x}\n'
  assert.deepEqual(codesIn(reportOf(keyed + rest + secret, cilium, { isWhole: true })), [])
})

test('a node of IPv6 alone has no router ID with Cilium, and one that is derived here', () => {
  const v6 = rest.replace('address: 192.168.1.10', 'address: "2001:db8:9::1"')
  const [said] = saidOf(reportOf(smallestPolicy + v6, cilium), 'SessionNew')
  assert.match(said?.remedy ?? '', /bgp-virtual-router\.65001: "router-id/)
})

test('annotations of Herald mean nothing to Cilium, and something here', () => {
  const annotated = smallestPolicy.replace(
    'name: bgp-peering',
    `name: bgp-peering, annotations: {herald.dev/neighbors: '{"192.168.1.1": {sourceAddress: 192.168.1.10, med: 5}}'}`,
  )
  const report = reportOf(annotated + rest, cilium)
  assert.deepEqual(codesIn(report), ['AdvertisementDiffers', 'SourceAddressInForce'])
})

test('a Service without an endpoint is announced by Cilium under the policy Cluster, and not here', () => {
  const silent = reportOf(smallestPolicy + node + pool + held, cilium)
  const [said] = saidOf(silent, 'SilentWithoutEndpoints')
  assert.deepEqual([said?.object, said?.needsDecision], ['Service/default/web', false])
  const local = held.replace('type: LoadBalancer', 'type: LoadBalancer, externalTrafficPolicy: Local')
  assert.deepEqual(saidOf(reportOf(smallestPolicy + node + pool + local, cilium), 'SilentWithoutEndpoints'), [])
})

test('pools of MetalLB beside those of Cilium give addresses here too', () => {
  assert.equal(saidOf(reportOf(smallestPolicy + rest + production, cilium), 'PoolDiffers').length, 1)
})
