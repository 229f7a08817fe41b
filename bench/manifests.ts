/** A folder of manifests with n Services of two endpoints on node1, a hundred documents a file. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'

const servicesPerFile = 50

export function writeManifests(folder: string, services: number): void {
  mkdirSync(folder, { recursive: true })
  replace(folder, 'node.yaml', configuration())
  for (let file = 0; file * servicesPerFile < services; file++) {
    const documents = Array.from({ length: Math.min(servicesPerFile, services - file * servicesPerFile) }, (_, i) =>
      serviceDocuments(`svc-${file * servicesPerFile + i}`, true),
    )
    replace(folder, `services-${String(file).padStart(4, '0')}.yaml`, documents.join('---\n'))
  }
}

/** Replaces a file as an editor does: written beside, renamed over. */
export function replace(folder: string, name: string, text: string): void {
  writeFileSync(join(folder, `.${name}`), text)
  renameSync(join(folder, `.${name}`), join(folder, name))
}

/** A Service and its EndpointSlice; its pods are ready, or gone. */
export function serviceDocuments(name: string, isReady: boolean): string {
  const endpoints = isReady
    ? `
- addresses: [10.1.1.5]
  nodeName: node1
  conditions: {ready: true}
- addresses: [10.1.1.6]
  nodeName: node1
  conditions: {ready: true}`
    : ' []'
  return `apiVersion: v1
kind: Service
metadata:
  name: ${name}
  namespace: default
  labels: {expose-via-bgp: "true"}
spec:
  type: LoadBalancer
  ports:
  - name: http
    port: 80
    targetPort: 8080
    protocol: TCP
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${name}-abcde
  namespace: default
  labels: {kubernetes.io/service-name: ${name}}
addressType: IPv4
endpoints:${endpoints}
ports:
- name: http
  port: 8080
  protocol: TCP
`
}

function configuration(): string {
  return `apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{cidr: 10.128.0.0/12}]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata:
  name: bgp-peering
  annotations: {herald.dev/neighbors: '{"*": {nextHop: 192.0.2.9}}'}
spec:
  nodeSelector: {}
  virtualRouters:
  - localASN: 65001
    serviceSelector: {}
    neighbors:
${sinkAddresses
  .map(
    (address) =>
      `    - {peerAddress: ${address}/32, peerPort: ${sinkPort}, peerASN: ` +
      `${sinkAsn}, families: [{afi: ipv4, safi: unicast}]}`,
  )
  .join('\n')}
`
}
