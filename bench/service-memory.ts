/**
 * Heap that a Service with two slices of five endpoints costs: what the kinds keep of it, its allocation, and its
 * translation. And what it costs to emit all of them, and one event while a pool is full and thousands wait.
 *
 *     node --expose-gc bench/service-memory.ts [services]
 */
import { FolderAllocator } from '../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../src/allocation/memory-book.ts'
import { allOf } from '../src/allocation/work.ts'
import { parseEndpointSlice } from '../src/k8s/kinds/endpoint-slice.ts'
import { parseService, type Service } from '../src/k8s/kinds/service.ts'
import { ServiceAddresses } from '../src/k8s/translate/addresses.ts'

const count = Number(process.argv[2] ?? 20_000)
const { gc } = globalThis

function heap(): number {
  gc?.()
  gc?.()
  return process.memoryUsage().heapUsed
}

/** As read from JSON: no text is shared with another object. */
function fresh<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T
}

function rawService(i: number): Record<string, unknown> {
  return fresh({
    metadata: {
      name: `service-${i}`,
      namespace: `team-${i % 50}`,
      labels: { app: `service-${i}`, 'expose-via-bgp': 'true' },
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(600) },
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: { type: 'LoadBalancer', selector: { app: `service-${i}` }, ports: [{ name: 'http', port: 80 }] },
  })
}

function rawSlice(i: number, part: number): Record<string, unknown> {
  const endpoints = Array.from({ length: 5 }, (_, n) => ({
    addresses: [`10.${i & 255}.${(i >> 8) & 255}.${part * 5 + n + 1}`],
    nodeName: `node-${(i + n) % 100}`,
    conditions: { ready: true, serving: true, terminating: false },
  }))
  const name = `service-${i}`
  const metadata = {
    name: `${name}-${part}`,
    namespace: `team-${i % 50}`,
    labels: { 'kubernetes.io/service-name': name },
  }
  return fresh({ metadata, addressType: 'IPv4', endpoints, ports: [{ name: 'http', protocol: 'TCP', port: 8080 }] })
}

const services = new Map<string, Service>()
const slices: unknown[] = []
const parts: string[] = []
let before = heap()
function measure(name: string, run: () => void): void {
  const started = performance.now()
  run()
  const ms = performance.now() - started
  const now = heap()
  parts.push(`${name}: ${Math.round((now - before) / count)} B a Service, ${ms.toFixed(1)} ms`)
  before = now
}

measure('Service objects', () => {
  for (let i = 0; i < count; i++) {
    const { value } = parseService(rawService(i))
    if (value !== undefined) services.set(`${value.metadata.namespace}/${value.metadata.name}`, value)
  }
})
measure('EndpointSlices', () => {
  for (let i = 0; i < count; i++) for (const part of [0, 1]) slices.push(parseEndpointSlice(rawSlice(i, part)).value)
})
const addresses = new ServiceAddresses(new FolderAllocator(new MemoryBook()))
const range = { family: 'ipv4', first: 0x0a800000n, last: 0x0a800000n + BigInt(count) - 1n, sparesEnds: false } as const
const shape = { kind: 'Pool', labels: {}, selectors: [], namespaces: [], autoAssign: true, priority: 0 } as const
addresses.setPools([{ ...shape, name: 'pool', ranges: [range] }])
measure('allocation', () => {
  allOf(addresses.settle(services.keys(), (key) => services.get(key)))
})
const waiting = 5000
measure(`${waiting} that wait`, () => {
  for (let i = 0; i < waiting; i++) {
    const { value } = parseService(rawService(count + i))
    if (value !== undefined) services.set(`late/${i}`, { ...value, metadata: { ...value.metadata, namespace: 'late' } })
  }
  allOf(
    addresses.settle(
      Array.from({ length: waiting }, (_, i) => `late/${i}`),
      (key) => services.get(key),
    ),
  )
})
measure('one changed Service beside them', () => {
  const [key = '', service] = [...services][0] ?? []
  if (service !== undefined) services.set(key, { ...service })
  allOf(addresses.settle([key], (each) => services.get(each)))
})
measure('one Service gone, one of them served', () => {
  const [key = ''] = [...services][1] ?? []
  services.delete(key)
  allOf(addresses.settle([key], (each) => services.get(each)))
})
process.stdout.write(`${count} Services with two slices of five endpoints\n${parts.join('\n')}\n`)
if (slices.length + services.size === 0) process.exitCode = 1
