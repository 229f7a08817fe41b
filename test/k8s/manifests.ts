/** Manifests that several tests start from, and what is done with them. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DesiredDelta, DesiredService, Problem, Verdict } from '../../src/desired/model.ts'
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

/** The smallest policy with other neighbors, each the YAML of one. */
export function policyWith(...neighbors: readonly string[]): string {
  return smallestPolicy.replace(/ {4}- \{peer.*\n/, neighbors.map((text) => `    - ${text}\n`).join(''))
}

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

export function service(name: string, more = '', annotations = '{}'): string {
  return `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: default, labels: {expose-via-bgp: "true"}, annotations: ${annotations}}
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

/** A second slice of a Service, with an IPv6 endpoint. */
export function slice6(name: string, nodeName = 'node-a'): string {
  return slice(name, nodeName)
    .replace('-1,', '-2,')
    .replace('addressType: IPv4', 'addressType: IPv6')
    .replace('10.244.1.5', '"fd00:10::5"')
}

export function deliver(translator: Translator, text: string): void {
  for (const { objects } of readDocuments('test.yaml', text))
    for (const { key, object, origin } of objects) translator.upsert(key, object, origin)
}

/** Delivers and translates. */
export function change(translator: Translator, text: string): DesiredDelta {
  deliver(translator, text)
  return translator.flush()
}

export function remove(
  translator: Translator,
  kind: 'Service' | 'CiliumBGPPeeringPolicy' | 'CiliumLoadBalancerIPPool',
  name: string,
): DesiredDelta {
  const apiVersion = {
    Service: 'v1',
    CiliumBGPPeeringPolicy: 'cilium.io/v2alpha1',
    CiliumLoadBalancerIPPool: 'cilium.io/v2',
  }[kind]
  translator.remove({ apiVersion, kind, namespace: kind === 'Service' ? 'default' : '', name })
  return translator.flush()
}

/** Every flush that waits, as one delta. */
export function flushAll(translator: Translator): DesiredDelta {
  let all = translator.flush()
  while (translator.hasMore) {
    const next = translator.flush()
    all = { ...all, ...next, services: new Map([...all.services, ...next.services]) }
  }
  return all
}

export function translatorWith(text: string, options: Partial<TranslatorOptions> = {}): Translator {
  const translator = createTranslator({
    nodeName: 'node-a',
    datapath: 'ebpf',
    secretsNamespace: 'kube-system',
    ...options,
  })
  deliver(translator, text)
  translator.synced()
  return translator
}

/** The Service `default/<name>` of a delta; the test ends when it is not there. */
export function serviceOf(delta: DesiredDelta, name: string): DesiredService {
  const found = delta.services.get(`default/${name}`)
  if (found === undefined) throw new TypeError(`the delta has no Service ${name}`)
  return found
}

export function verdictOf({ verdicts }: DesiredService, step: Verdict['step']): Verdict | undefined {
  return verdicts.find((verdict) => verdict.step === step)
}

export function addressesOf(delta: DesiredDelta, ...names: readonly string[]): readonly (string | undefined)[] {
  return names.map((name) => delta.services.get(`default/${name}`)?.addresses.join())
}

export function codesOf(problems: readonly Problem[] | undefined): readonly string[] {
  return (problems ?? []).map(({ code }) => code)
}

export async function inFolder(run: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-k8s-'))
  try {
    await run(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Replaces a file at once, as careful tools do. */
export function write(folder: string, name: string, text: string): void {
  writeFileSync(join(folder, '.new'), text)
  renameSync(join(folder, '.new'), join(folder, name))
}
