/** A node with all families of configuration at once, and what its translator yields in sum. */
import type { DesiredDelta, Problem } from '../../src/desired/model.ts'
import { type ManifestObject, readDocuments } from '../../src/k8s/documents.ts'
import { createTranslator, type Translator, type TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import * as cilium from './cilium-v2.ts'
import { flushAll, node, policyWith, pool, service, slice } from './manifests.ts'
import * as metallb from './metallb-manifests.ts'

const policy = policyWith(
  '{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: key, families: [{afi: ipv4, safi: unicast}], ' +
    'advertisedPathAttributes: [{selectorType: CiliumLoadBalancerIPPool, selector: {matchLabels: {tier: gold}}, ' +
    'communities: {standard: ["65000:5"]}, localPreference: 5}]}',
)
const config = cilium.clusterConfig({
  meta: `, annotations: {herald.dev/neighbors: '{"192.168.1.2": {passive: true, sourceAddress: 192.168.1.10}}'}`,
  spec: `nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  bgpInstances:
  - name: rack
    localASN: 65002
    localPort: 1790
    peers:
    - {name: tor, peerASN: 65000, peerAddress: 192.168.1.2, peerConfigRef: {name: tor}}
    - {name: spine, peerASN: 65000, peerAddress: 192.168.1.3, peerConfigRef: {name: tor}}`,
})
const settings = `---
apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata: {name: tor}
spec:
  authSecretRef: key
  ebgpMultihop: 4
  transport: {peerPort: 1799}
  timers: {holdTimeSeconds: 9, keepAliveTimeSeconds: 3, connectRetryTimeSeconds: 5}
  gracefulRestart: {enabled: true, restartTimeSeconds: 60}
  families:
  - {afi: ipv4, safi: unicast, advertisements: {matchLabels: {advertise: bgp}}}
  - {afi: ipv6, safi: unicast}
`
const heard = cilium.advertisement(
  'a',
  `${cilium.services(
    'LoadBalancerIP, ExternalIP',
    ', attributes: {localPreference: 7, communities: {standard: ["65000:1"], large: ["1:2:3"]}}',
  )}, {advertisementType: PodCIDR}`,
)
const ofNode = cilium.override(
  '{name: rack, localASN: 65009, routerID: 10.0.0.9, localPort: 1791, peers: [{name: tor, localAddress: 192.168.1.10}]}',
)
const linux = '[{matchLabels: {kubernetes.io/os: linux}}]'
const labelled = '[{matchLabels: {expose-via-bgp: "true"}}]'
const metal =
  metallb.peer(
    'm1',
    'myASN: 64512, peerASN: 64513, peerAddress: 192.168.1.4, holdTime: 90s, keepaliveTime: 30s, connectTime: 5s, ' +
      'passwordSecret: {name: md5}, routerID: 10.0.0.4, ebgpMultiHop: true, sourceAddress: 192.168.1.10, ' +
      `peerPort: 1790, nodeSelectors: ${linux}, dualStackAddressFamily: true, enableGracefulRestart: true`,
  ) +
  metallb.peer('m2', 'myASN: 64512, peerASN: 64513, peerAddress: 192.168.1.5, password: abcdef') +
  metallb.ipPool(
    'production',
    'addresses: [192.168.10.0/24, 192.168.11.1-192.168.11.9], autoAssign: true, avoidBuggyIPs: false, ' +
      `serviceAllocation: {priority: 1, namespaces: [default], serviceSelectors: ${labelled}}`,
    ', labels: {tier: gold}',
  ) +
  metallb.advertisement(
    'e',
    'communities: [edge, "64512:9", "large:1:2:3"], ipAddressPools: [production], peers: [m1, m2], localPref: 3, ' +
      `ipAddressPoolSelectors: [{matchLabels: {tier: iron}}], nodeSelectors: ${linux}, serviceSelectors: ${labelled}`,
  ) +
  metallb.advertisement('sum', 'aggregationLength: 30, aggregationLengthV6: 124') +
  metallb.community('c', ['edge', '64512:1'])
const keys = `---
apiVersion: v1
kind: Secret
metadata: {name: md5, namespace: metallb-system}
type: kubernetes.io/basic-auth
stringData: {password: topsecret}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: kube-system}
stringData: {password: topsecret}
`
const held = (name: string, address: string, more = ''): string =>
  service(name, more).replace(/\n$/, `\nstatus: {loadBalancer: {ingress: [{ip: ${address}}]}}\n`) + slice(name)
const all =
  policy +
  config +
  settings +
  heard +
  ofNode +
  metal +
  keys +
  held('a', '198.51.100.1', ', externalIPs: [203.0.113.7]') +
  held('b', '192.168.10.1') +
  node +
  pool.replace('name: pool', 'name: pool, labels: {tier: gold}')

export const everyObject: readonly ManifestObject[] = readDocuments('all.yaml', all).flatMap(({ objects }) => objects)

/** What is in force, as deltas add up to it. */
export class InForce {
  readonly translator: Translator
  readonly services = new Map<string, unknown>()
  #speaker: unknown
  #podCidrs: unknown
  problems: readonly Problem[] = []

  constructor(objects: Iterable<ManifestObject> = [], options: Partial<TranslatorOptions> = {}) {
    const given = { nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system' } as const
    this.translator = createTranslator({ ...given, isAllocatedElsewhere: true, ...options })
    for (const object of objects) this.put(object)
    this.translator.synced()
    this.flush()
  }

  put({ key, object, origin }: ManifestObject): void {
    this.translator.upsert(key, object, origin)
  }

  flush(): DesiredDelta {
    const delta = flushAll(this.translator)
    for (const [key, value] of delta.services)
      if (value === undefined) this.services.delete(key)
      else this.services.set(key, value)
    if (delta.speaker !== undefined) this.#speaker = delta.speaker
    if (delta.podCidrs !== undefined) this.#podCidrs = delta.podCidrs
    if (delta.problems !== undefined) this.problems = delta.problems
    return delta
  }

  /** Sorted where the order means nothing. */
  get state(): unknown {
    const services = [...this.services].sort(([a], [b]) => (a < b ? -1 : 1))
    return structuredClone({ services, speaker: this.#speaker, podCidrs: this.#podCidrs })
  }
}
