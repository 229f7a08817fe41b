/** Services and slices as an API server has them, with what nobody reads. */
import type { RawObject } from '../src/k8s/source.ts'

export const namespaceOf = (i: number): string => `team-${i % 50}`
export const nameOf = (i: number): string => `service-${i}`

/** Spread over 16 bits and more, beginning with 10.128.0.1. */
export const addressOf = (i: number): string => `10.${128 + ((i + 1) >> 16)}.${((i + 1) >> 8) & 255}.${(i + 1) & 255}`

/** With an address in its status. */
export function serviceObject(i: number): RawObject {
  const name = nameOf(i)
  const metadata = {
    name,
    namespace: namespaceOf(i),
    uid: `0b5e0f8c-0000-4000-8000-${String(i).padStart(12, '0')}`,
    labels: { app: name, 'expose-via-bgp': 'true' },
    annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(600) },
    creationTimestamp: '2026-01-01T00:00:00Z',
    managedFields: [{ manager: 'kubectl', fieldsV1: { 'f:spec': { 'f:type': {}, 'f:ports': 'x'.repeat(300) } } }],
  }
  const spec = {
    type: 'LoadBalancer',
    clusterIP: `10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
    selector: { app: name },
    externalTrafficPolicy: 'Cluster',
    ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP', nodePort: 30_000 }],
  }
  return { metadata, spec, status: { loadBalancer: { ingress: [{ ip: addressOf(i), ipMode: 'VIP' }] } } }
}

export function sliceObject(i: number, part: number): RawObject {
  const name = nameOf(i)
  const metadata = {
    name: `${name}-${part}`,
    namespace: namespaceOf(i),
    uid: `0b5e0f8c-000${part + 1}-4000-8000-${String(i).padStart(12, '0')}`,
    labels: { 'kubernetes.io/service-name': name, 'endpointslice.kubernetes.io/managed-by': 'controller' },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid: `0b5e0f8c-0000-4000-8000-${i}` }],
    creationTimestamp: '2026-01-01T00:00:00Z',
  }
  const endpoints = Array.from({ length: 5 }, (_, n) => ({
    addresses: [`10.${i & 127}.${(i >> 7) & 255}.${part * 5 + n + 1}`],
    nodeName: `node${(i + n) % 100}`,
    targetRef: { kind: 'Pod', name: `${name}-${n}`, namespace: namespaceOf(i), uid: `pod-${i}-${part}-${n}` },
    conditions: { ready: true, serving: true, terminating: false },
  }))
  return { metadata, addressType: 'IPv4', endpoints, ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] }
}
