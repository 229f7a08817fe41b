/** What the folder of the stage holds beside the rack's nodes and policy: Services whose endpoints come and go. */
import { datagramPort, datagramServicePort, servicePort, tcpPort } from './ports.ts'

export interface Endpoint {
  readonly pod: string
  readonly address: string
  readonly node: string
  readonly ready: boolean
  readonly terminating: boolean
}

/** TEST-NET-2 for what carries traffic, and a network for benchmarks for what comes and goes. */
export const pools = `apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: stage}
spec:
  blocks: [{start: 198.51.100.1, stop: 198.51.100.254}]
  serviceSelector: {matchLabels: {pool: lasting}}
---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: passing}
spec: {blocks: [{cidr: 198.18.0.0/16}], serviceSelector: {matchLabels: {pool: passing}}}
`

/** Of the Service with this number. */
export function addressOf(n: number): string {
  return `198.51.100.${n + 1}`
}

/** Services that carry traffic, each at an address of its own. */
export function lastingServices(count: number, endpoints: readonly Endpoint[]): string {
  return documents(count, (n) =>
    serviceOf(`lasting-${n}`, 'lasting', `lbipam.cilium.io/ips: ${addressOf(n)}`, endpoints),
  )
}

/** Services that nobody asks. */
export function passingServices(from: number, count: number, endpoints: readonly Endpoint[]): string {
  return documents(count, (n) => serviceOf(`passing-${from + n}`, 'passing', '', endpoints))
}

function documents(count: number, textOf: (n: number) => string): string {
  return Array.from({ length: count }, (_, n) => textOf(n)).join('---\n')
}

function serviceOf(name: string, pool: string, annotation: string, endpoints: readonly Endpoint[]): string {
  const listed = endpoints.map(
    ({ pod, address, node, ready, terminating }) =>
      `  - {addresses: [${address}], nodeName: ${node}, targetRef: {kind: Pod, namespace: default, name: ${pod}},` +
      ` conditions: {ready: ${ready}, serving: ${ready || terminating}, terminating: ${terminating}}}`,
  )
  return `apiVersion: v1
kind: Service
metadata:
  name: ${name}
  namespace: default
  labels: {expose-via-bgp: "true", pool: ${pool}}
  annotations: {${annotation}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Cluster
  ports:
  - {name: tcp, protocol: TCP, port: ${servicePort}, targetPort: ${tcpPort}}
  - {name: udp, protocol: UDP, port: ${datagramServicePort}, targetPort: ${datagramPort}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: default, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
ports:
- {name: tcp, protocol: TCP, port: ${tcpPort}}
- {name: udp, protocol: UDP, port: ${datagramPort}}
endpoints:
${listed.join('\n')}
`
}
