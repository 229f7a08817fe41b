/** What the agent and the operator keep of a Service with an address and one slice: bounded, whatever was around it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'

const source = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)

/** Objects as they are read of an API server: no text is shared with another. */
const objects = `
  const fresh = (value) => JSON.parse(JSON.stringify(value))
  const metadataOf = (i) => ({
    name: 'service-' + i, namespace: 'team', uid: '0b5e0f8c-0000-4000-8000-' + String(i).padStart(12, '0'),
    resourceVersion: String(1000 + i), creationTimestamp: '2026-01-01T00:00:00Z',
  })
  const serviceOf = (i) => fresh({
    metadata: metadataOf(i),
    spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ipFamilies: ['IPv4'], ports: [{ port: 80 }] },
    status: { loadBalancer: { ingress: [{ ip: '10.128.' + (i >> 8) + '.' + (i & 255), ipMode: 'VIP' }] } },
  })
  const sliceOf = (i) => fresh({
    metadata: { ...metadataOf(i), labels: { 'kubernetes.io/service-name': 'service-' + i } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready: true } }],
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  })
  const keyOf = (kind, apiVersion, name, namespace = 'team') => ({ apiVersion, kind, namespace, name })
  const pool = { metadata: { name: 'blue' }, spec: { blocks: [{ cidr: '10.128.0.0/15' }] } }
  const poolKey = keyOf('CiliumLoadBalancerIPPool', 'cilium.io/v2', 'blue', '')
  const announcing = [
    { kind: 'Node', apiVersion: 'v1', metadata: { name: 'node1', labels: {} },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] } },
    { kind: 'CiliumBGPPeeringPolicy', apiVersion: 'cilium.io/v2alpha1', metadata: { name: 'rack' }, spec: {
      virtualRouters: [{ localASN: 64512, serviceSelector: {},
        neighbors: [{ peerAddress: '192.0.2.1/32', peerASN: 64513 }] }] } },
  ]
  const heap = () => {
    for (let i = 0; i < 3; i++) gc()
    return process.memoryUsage().heapUsed
  }
  const [warm, counted] = [1000, 4000]
  /** Octets of each of those that come after the first thousand, with which code and its types are compiled. */
  const measured = (put, settle) => {
    const some = (from, to) => {
      for (let i = from; i < to; i++) put(i)
      settle()
    }
    some(0, warm)
    const before = heap()
    some(warm, warm + counted)
    process.stdout.write(String((heap() - before) / counted))
  }
`

const octetsOf = (program: string): number => {
  const flags = ['--expose-gc', '--input-type=module', '--eval', objects + program]
  return Number(execFileSync(process.execPath, flags, { encoding: 'utf8', timeout: 120_000 }))
}

const translated = (datapath: 'none' | 'ebpf'): string => `
  const { createTranslator } = await import(${source('k8s/translate/translator.ts')})
  const served = { datapath: '${datapath}', isAllocatedElsewhere: true }
  const translator = createTranslator({ nodeName: 'node1', secretsNamespace: 'kube-system', ...served })
  const put = ({ kind, apiVersion, ...object }) => {
    const { name, namespace = '' } = object.metadata
    translator.upsert(keyOf(kind, apiVersion, name, namespace), { kind, apiVersion, ...object }, undefined)
  }
  translator.upsert(poolKey, pool, undefined)
  if (served.datapath === 'ebpf') for (const each of announcing) put(each)
  translator.synced()
  measured((i) => {
    translator.upsert(keyOf('EndpointSlice', 'discovery.k8s.io/v1', 'service-' + i), sliceOf(i), undefined)
    translator.upsert(keyOf('Service', 'v1', 'service-' + i), serviceOf(i), undefined)
  }, () => {
    do translator.flush()
    while (translator.hasMore)
  })`

test('what translation keeps of a Service and its slice is bounded', () => {
  const octets = octetsOf(translated('none'))
  assert.ok(octets < 2_150, `${octets} octets`)
})

test('what translation keeps of a Service that is served and announced is bounded', () => {
  const octets = octetsOf(translated('ebpf'))
  assert.ok(octets < 2_680, `${octets} octets`)
})

test('what the operator knows of the status of a Service is bounded', () => {
  const octets = octetsOf(`
    const { factsOf } = await import(${source('operator/service-status.ts')})
    const known = new Map()
    measured((i) => {
      const key = keyOf('Service', 'v1', 'service-' + i)
      const { metadata: { uid, resourceVersion }, ...rest } = serviceOf(i)
      known.set(key.name, factsOf(key, { metadata: {}, ...rest }, { uid, resourceVersion }))
    }, () => undefined)`)
  assert.ok(octets < 750, `${octets} octets`)
})
