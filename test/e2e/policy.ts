/**
 * What an agent on the rack of the datapath's tests has in any folder: its policy, with the client as peer, and its
 * Node.
 */
import { client } from '../datapath/rack.ts'

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
