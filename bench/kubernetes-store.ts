/**
 * Services as an earlier operator left them, written into etcd beside the API server, which would take minutes for tens
 * of thousands of them: with a cluster IP, an address in the status, an EndpointSlice, and what the server keeps of the
 * cluster IP.
 */
import type { RawObject } from '../src/k8s/source.ts'
import { addressOf } from './kubernetes-objects.ts'

/** etcd takes 128 operations in one transaction. */
const together = 120
const creationTimestamp = '2026-01-01T00:00:00Z'

type Pair = readonly [key: string, value: object]

/** Both in the namespace default. */
export interface StoredService {
  readonly service: RawObject
  readonly slice: RawObject
}

export async function storeServices(etcdUrl: string, n: number, objects: (name: string) => StoredService) {
  let pairs: Pair[] = []
  for (let i = 0; i < n; i++) {
    const name = `present-${i}`
    pairs.push(...pairsOf(i, name, objects(name)))
    if (pairs.length + 3 <= together && i + 1 < n) continue
    await put(etcdUrl, pairs)
    pairs = []
  }
}

function pairsOf(i: number, name: string, { service, slice }: StoredService): readonly Pair[] {
  const clusterIP = `10.${97 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
  const address = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IPAddress',
    metadata: { name: clusterIP, uid: uidOf(0, i), creationTimestamp, labels: allocatorLabels },
    spec: { parentRef: { resource: 'services', namespace: 'default', name } },
  }
  const families = { clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' }
  const given = { internalTrafficPolicy: 'Cluster', sessionAffinity: 'None', healthCheckNodePort: 1_024 + i }
  return [
    [`ipaddresses/${clusterIP}`, address],
    [`endpointslices/default/${name}`, stored(slice, uidOf(1, i))],
    [
      `services/specs/default/${name}`,
      {
        ...stored(service, uidOf(2, i)),
        spec: { ...Object(service['spec']), ...families, ...given },
        status: { loadBalancer: { ingress: [{ ip: addressOf(i), ipMode: 'VIP' }] } },
      },
    ],
  ]
}

const allocatorLabels = {
  'ipaddress.kubernetes.io/ip-family': 'IPv4',
  'ipaddress.kubernetes.io/managed-by': 'ipallocator.k8s.io',
}

const uidOf = (kind: number, i: number): string => `0b5e0f8c-000${kind}-4000-8000-${String(i).padStart(12, '0')}`

function stored(object: RawObject, uid: string): RawObject {
  return { ...object, metadata: { ...Object(object['metadata']), uid, creationTimestamp } }
}

/** One transaction, through the gateway that etcd has for JSON. */
async function put(etcdUrl: string, pairs: readonly Pair[]): Promise<void> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const success = pairs.map(([key, value]) => ({
    requestPut: { key: base64(`/registry/${key}`), value: base64(JSON.stringify(value)) },
  }))
  const answer = await fetch(`${etcdUrl}/v3/kv/txn`, { method: 'POST', body: JSON.stringify({ success }) })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`etcd: ${answer.status} ${text.slice(0, 300)}`)
}
