/** Manifests that several tests start from. */
import { readDocuments } from '../../src/k8s/documents.ts'
import { createTranslator, type Translator, type TranslatorOptions } from '../../src/k8s/translate/translator.ts'

export const smallestPolicy = `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata: {name: bgp-peering}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  virtualRouters:
  - localASN: 65001
    exportPodCIDR: true
    serviceSelector: {matchLabels: {expose-via-bgp: "true"}}
    neighbors:
    - {peerAddress: 192.168.1.1/32, peerASN: 65000}
`

export const node = `---
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {kubernetes.io/os: linux}}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.168.1.10}]}
`

export const pool = `---
apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{cidr: 198.51.100.0/28}]}
`

export function service(name: string, more = ''): string {
  return `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: default, labels: {expose-via-bgp: "true"}}
spec: {type: LoadBalancer, ports: [{name: http, port: 80}]${more}}
`
}

export function slice(name: string, nodeName = 'node-a', conditions = 'ready: true'): string {
  return `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: default, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.5], nodeName: ${nodeName}, conditions: {${conditions}}}]
ports: [{name: http, port: 8080}]
`
}

export function deliver(translator: Translator, text: string): void {
  for (const { objects } of readDocuments('test.yaml', text)) for (const { key, object, origin } of objects) translator.upsert(key, object, origin)
}

export function translatorWith(text: string, options: Partial<TranslatorOptions> = {}): Translator {
  const translator = createTranslator({ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system', ...options })
  deliver(translator, text)
  translator.synced()
  return translator
}
