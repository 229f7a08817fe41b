/** Manifests of the v2 family of Cilium that several tests start from. */
import { readDocuments } from '../../src/k8s/documents.ts'
import { planNode } from '../../src/k8s/dialects/table.ts'
import type { DialectAnswer, NodeFacts, NodePlan } from '../../src/k8s/dialects/node-plan.ts'
import { ObjectStore } from '../../src/k8s/translate/store.ts'

export function clusterConfig(more: { readonly name?: string; readonly spec?: string; readonly meta?: string } = {}) {
  const {
    name = 'cilium-bgp',
    meta = '',
    spec = `nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  bgpInstances:
  - name: rack
    localASN: 65001
    peers:
    - {name: tor, peerASN: 65000, peerAddress: 192.168.1.1, peerConfigRef: {name: tor}}`,
  } = more
  return `---
apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata: {name: ${name}${meta}}
spec:
  ${spec}
`
}

/** A cluster configuration with other peers, each the YAML of one. */
export function peersOf(...peers: readonly string[]): string {
  return clusterConfig({
    spec: `bgpInstances:\n  - name: rack\n    localASN: 65001\n    peers: [${peers.join(', ')}]`,
  })
}

export function peerConfig(spec = '', name = 'tor'): string {
  return `---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: ${name}}
spec:
  families: [{afi: ipv4, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}]
  ${spec}
`
}

export function advertisement(name: string, entries: string, meta = ''): string {
  return `---
apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata: {name: ${name}, labels: {advertise: bgp}${meta}}
spec: {advertisements: [${entries}]}
`
}

export const services = (addresses = 'LoadBalancerIP', more = ''): string =>
  `{advertisementType: Service, service: {addresses: [${addresses}]}, selector: {matchLabels: {expose-via-bgp: "true"}}${more}}`

export const override = (spec: string, name = 'node-a'): string => `---
apiVersion: cilium.io/v2
kind: CiliumBGPNodeConfigOverride
metadata: {name: ${name}}
spec: {bgpInstances: [${spec}]}
`

export const linux = { 'kubernetes.io/os': 'linux' }

export function answerOf(text: string, facts: Partial<NodeFacts> = {}): DialectAnswer {
  const store = new ObjectStore()
  for (const { objects } of readDocuments('test.yaml', text))
    for (const { key, object, origin } of objects) store.upsert(key, object, origin)
  const node = { name: 'node-a', labels: linux, neighborKeys: [], isStandIn: false, ...facts }
  return planNode(store.objects, node, { secretsNamespace: 'keys' })
}

export function planOf(text: string, facts: Partial<NodeFacts> = {}): NodePlan {
  const { plan } = answerOf(text, facts)
  if (plan === undefined) throw new TypeError('there is no plan')
  return plan
}
