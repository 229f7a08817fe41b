/**
 * What an agent on the rack of the datapath's tests has in any folder: its policy, with the client as peer, its Node,
 * and a Service for those that ask for no more.
 */
import { client, pods, vip } from '../datapath/rack.ts'

export const policyAndNode = `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: bgp-peering}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  virtualRouters:
  - localASN: 65001
    serviceSelector: {matchLabels: {expose-via-bgp: "true"}}
    neighbors: [{peerAddress: ${client}/32, peerASN: 65000}]
---
apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
status: {addresses: [{type: InternalIP, address: 198.51.100.1}]}
---
`

/** That and a Service with one pod on the node. */
export const oneService = `${policyAndNode}apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{start: ${vip}, stop: ${vip}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {expose-via-bgp: "true"}}
spec: {type: LoadBalancer, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- addresses: [${pods[0]}]
  nodeName: node1
  conditions: {ready: true}
  targetRef: {kind: Pod, name: web-0, namespace: shop}
ports: [{port: 8080, protocol: TCP}]
`
