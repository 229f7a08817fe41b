/** `herald migrate`: what is to be looked at first, each with what is found and each silent without it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { node, pool, service, smallestPolicy } from './manifests.ts'
import { everywhere, ipPool, production, tor } from './metallb-manifests.ts'
import { controller, judged, reportOf, saidOf, speaker, workload } from './moving-report.ts'

const base = tor + production + everywhere + node
const namesOf = (text: string, code: string, options = {}): readonly string[] =>
  saidOf(reportOf(base + text, options), code).map(({ object }) => object)

const crd = (more: string, annotations = 'meta.helm.sh/release-name: metallb'): string => `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bgppeers.metallb.io, annotations: {${annotations}}}
spec: {${more}}
`
const config = (name: string, data: string): string =>
  `---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: kube-system}\ndata: {${data}}\n`

test('P1: a CRD of a helm release that is not kept goes with it', () => {
  assert.deepEqual(namesOf(crd(''), 'CrdOfRelease'), ['CustomResourceDefinition/bgppeers.metallb.io'])
  const kept = 'meta.helm.sh/release-name: metallb, helm.sh/resource-policy: keep'
  assert.deepEqual(namesOf(crd('', kept), 'CrdOfRelease'), [])
  assert.deepEqual(namesOf(crd('', 'a: b'), 'CrdOfRelease'), [])
})

test('P2: a webhook about metallb.io that fails refuses edits, also where it says nothing of failing', () => {
  const hook = (group: string, policy: string): string => `---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hooks}
webhooks: [{name: a.metallb.io, rules: [{apiGroups: [${group}]}]${policy}}]
`
  const one = ['ValidatingWebhookConfiguration/hooks']
  assert.deepEqual(namesOf(hook('metallb.io', ', failurePolicy: Fail'), 'WebhookRefuses'), one)
  assert.deepEqual(namesOf(hook('metallb.io', ''), 'WebhookRefuses'), one)
  assert.deepEqual(namesOf(hook('metallb.io', ', failurePolicy: Ignore'), 'WebhookRefuses'), [])
  assert.deepEqual(namesOf(hook('apps', ''), 'WebhookRefuses'), [])
})

test('P3: a conversion webhook, objects stored in an older version, and a list that fails for it', () => {
  const versions = 'versions: [{name: v1beta1, storage: false}, {name: v1beta2, storage: true}]'
  const one = ['CustomResourceDefinition/bgppeers.metallb.io']
  assert.deepEqual(namesOf(crd(`${versions}, conversion: {strategy: Webhook}`), 'ConversionWebhook'), one)
  assert.deepEqual(namesOf(crd(`${versions}, conversion: {strategy: None}`), 'ConversionWebhook'), [])
  const stored = (names: string): string => `${crd(versions)}status: {storedVersions: [${names}]}\n`
  assert.deepEqual(namesOf(stored('v1beta1, v1beta2'), 'StoredVersion'), one)
  assert.deepEqual(namesOf(stored('v1beta2'), 'StoredVersion'), [])
  const why = 'conversion webhook for metallb.io/v1beta1, Kind=BGPPeer failed: connection refused'
  const unread = [{ what: 'bgppeers', status: 500, why }]
  const failed = reportOf(base, {}, { unread, isWhole: true })
  assert.equal(saidOf(failed, 'ConversionWebhook').length, 1)
  assert.equal(saidOf(failed, 'Unreadable').length, 1)
})

test('P4: what speaks BGP on the nodes is named, the one that is replaced apart from the others', () => {
  const kubeRouter = (args: string): string =>
    workload('DaemonSet', 'kube-router', `image: cloudnativelabs/kube-router, args: [${args}]`)
  const calico = (backend: string): string =>
    workload(
      'DaemonSet',
      'calico-node',
      `image: "docker.io/calico/node:v3.31", env: [{name: CALICO_NETWORKING_BACKEND, value: ${backend}}]`,
    )
  const cilium = workload('DaemonSet', 'cilium', 'image: "quay.io/cilium/cilium:v1.18@sha256:00"')
  const speaks = config('cilium-config', 'enable-bgp-control-plane: "true"')
  assert.deepEqual(namesOf(speaker('frr'), 'SpeakerRuns'), ['DaemonSet/metallb-system/metallb-speaker'])
  assert.deepEqual(namesOf(speaker('frr'), 'OtherSpeaker'), [])
  assert.deepEqual(namesOf(speaker('frr'), 'OtherSpeaker', { from: 'cilium' }).length, 1)
  assert.deepEqual(namesOf(calico('bird'), 'OtherSpeaker').length, 1)
  assert.deepEqual(namesOf(calico('vxlan'), 'OtherSpeaker'), [])
  assert.deepEqual(namesOf(kubeRouter('--run-router=true'), 'OtherSpeaker').length, 1)
  assert.deepEqual(namesOf(kubeRouter('--run-router=false'), 'OtherSpeaker'), [])
  assert.deepEqual(namesOf(cilium, 'OtherSpeaker'), [])
  assert.deepEqual(namesOf(cilium + speaks, 'OtherSpeaker').length, 1)
  assert.deepEqual(namesOf(cilium + speaks, 'SpeakerRuns', { from: 'cilium' }).length, 1)
  const vip = workload(
    'DaemonSet',
    'kube-vip',
    'image: ghcr.io/kube-vip/kube-vip, env: [{name: bgp_enable, value: "true"}]',
  )
  assert.deepEqual(namesOf(vip, 'OtherSpeaker').length, 1)
})

test('P7: who else gives addresses; a controller at 0 does not', () => {
  assert.deepEqual(namesOf(controller(), 'AllocatorRuns'), ['Deployment/metallb-system/metallb-controller'])
  const stopped = workload('Deployment', 'c', 'image: quay.io/metallb/controller:v1', ', replicas: 0')
  assert.deepEqual(namesOf(stopped, 'AllocatorRuns'), [])
  assert.deepEqual(namesOf(pool, 'OtherAllocator'), ['CiliumLoadBalancerIPPool/pool'])
  assert.deepEqual(namesOf('', 'OtherAllocator'), [])
  assert.deepEqual(namesOf('', 'OtherAllocator', { from: 'cilium' }), ['IPAddressPool/metallb-system/production'])
})

test('P8: a kube-proxy replacement serves the addresses already', () => {
  const cilium = workload('DaemonSet', 'cilium', 'image: quay.io/cilium/cilium:v1.18')
  const replaced = (value: string): string => cilium + config('cilium-config', `kube-proxy-replacement: "${value}"`)
  assert.equal(namesOf(replaced('true'), 'ServedElsewhere').length, 1)
  assert.equal(namesOf(replaced('strict'), 'ServedElsewhere').length, 1)
  assert.deepEqual(namesOf(replaced('false'), 'ServedElsewhere'), [])
})

test('P9, P10: strictARP under IPVS, and a service proxy that drops what is outside its ranges', () => {
  const proxy = (text: string): string => config('kube-proxy', `config.conf: ${JSON.stringify(text)}`)
  assert.equal(namesOf(proxy('ipvs:\n  strictARP: true\nmode: ipvs\n'), 'StrictArp').length, 1)
  assert.deepEqual(namesOf(proxy('ipvs:\n  strictARP: true\nmode: iptables\n'), 'StrictArp'), [])
  const router = (args: string): string =>
    workload('DaemonSet', 'kr', `image: cloudnativelabs/kube-router, args: [${args}]`)
  assert.equal(namesOf(router('--run-router=true'), 'StrictExternalIps').length, 1)
  assert.deepEqual(namesOf(router('--loadbalancer-ip-range=192.168.10.0/24'), 'StrictExternalIps'), [])
  assert.deepEqual(namesOf(router('--strict-external-ip-validation=false'), 'StrictExternalIps'), [])
})

test('P13 to P15: hashing, ping, the listener, and what of memberlist is left', () => {
  const report = reportOf(base)
  for (const code of ['HashingMoves', 'PingAnswered', 'ListensNow']) assert.equal(saidOf(report, code).length, 1, code)
  assert.deepEqual(saidOf(reportOf(base, { from: 'cilium' }), 'PingAnswered'), [])
  const members = speaker('frr').replace('}]}]', '}, {name: METALLB_ML_SECRET_KEY_PATH, value: /etc/x}]}]')
  assert.equal(namesOf(members, 'Leftovers').length, 1)
  assert.deepEqual(namesOf(speaker('frr'), 'Leftovers'), [])
})

const layer2 =
  '---\napiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata: {name: l2, namespace: metallb-system}\n'

test('P16 and layer 2: what was announced by ARP and NDP, and who shared an address there under Local', () => {
  const shared = ['web', 'dns'].map((name) => {
    const one = service(name, ', externalTrafficPolicy: Local', '{metallb.io/allow-shared-ip: k}')
    return `${one}status: {loadBalancer: {ingress: [{ip: 192.168.10.9}]}}\n`
  })
  const said = saidOf(reportOf(base + layer2 + shared.join('')), 'SharedLocal')
  assert.deepEqual(
    said.map(({ object }) => object),
    ['default/web, default/dns'],
  )
  assert.deepEqual(namesOf(shared.join(''), 'SharedLocal'), [])
  assert.match(saidOf(reportOf(base + layer2), 'NotAnnouncedAtLayer2')[0]?.before ?? '', /production/)
})

test('M11, M12: raw configuration of FRR line by line, and what somebody wrote for frr-k8s', () => {
  const raw = 'router bgp 64512\n! a comment\n neighbor 192.168.1.1 weight 5\n'
  const extras = saidOf(reportOf(base + config('bgpextras', `extras: ${JSON.stringify(raw)}`)), 'ExtraConfiguration')
  assert.deepEqual(
    extras.map(({ before }) => before),
    ['router bgp 64512', 'neighbor 192.168.1.1 weight 5'],
  )
  const frr = (name: string): string => `---
apiVersion: frrk8s.metallb.io/v1beta1
kind: FRRConfiguration
metadata: {name: ${name}, namespace: metallb-system}
spec:
  raw: {rawConfig: x}
  bgp: {routers: [{asn: 1, neighbors: [{address: 1.2.3.4, toReceive: {allowed: {mode: all}}}]}]}
`
  const fields = saidOf(reportOf(base + frr('mine')), 'ExtraConfiguration').map(({ field }) => field)
  assert.deepEqual(fields, ['spec.raw.rawConfig', 'spec.bgp.routers[0].neighbors[0].toReceive'])
  assert.deepEqual(namesOf(frr('metallb-node-a'), 'ExtraConfiguration'), [])
  assert.equal(namesOf(config('metallb-excludel2', 'excludel2.yaml: x'), 'ExcludedInterfaces').length, 1)
})

test('M4, M10: the class that MetalLB serves, Services that it leaves alone, and nodes with the exclude label', () => {
  const classed = controller(', args: [--lb-class=metallb]')
  const said = (options: object): readonly string[] =>
    reportOf(base + service('web') + classed, options)
      .preflight.map(({ code }) => code)
      .filter((code) => code.startsWith('Class'))
  assert.deepEqual(said({}), ['ClassNotServed', 'ClassTakesMore'])
  assert.deepEqual(said({ loadBalancerClass: 'metallb' }), ['ClassTakesMore'])
  assert.deepEqual(said({ isClassRequired: true }), ['ClassNotServed'])
  assert.deepEqual(namesOf(service('web') + controller(), 'ClassTakesMore'), [])
  assert.equal(namesOf(speaker('frr', ', args: [--ignore-exclude-lb]'), 'ExcludeLabelHeeded').length, 1)
  assert.deepEqual(namesOf(speaker('frr'), 'ExcludeLabelHeeded'), [])
})

test('the backend is read off the speaker, else it is taken for the default and said so', () => {
  const backendOf = (text: string) => judged(base + text)
  assert.equal(backendOf(speaker('native')).backend, 'native')
  assert.equal(backendOf(speaker('frr')).backend, 'frr')
  assert.equal(backendOf(workload('DaemonSet', 's', 'image: quay.io/metallb/speaker')).backend, 'native')
  const assumed = backendOf('')
  assert.deepEqual([assumed.backend, saidOf(assumed, 'BackendAssumed').length], ['frr-k8s', 1])
  assert.deepEqual(saidOf(backendOf(speaker('frr')), 'BackendAssumed'), [])
})

test('what could not be read is said: a report that is not whole needs a decision', () => {
  const report = reportOf(base, {}, { unread: [{ what: 'daemonsets', status: 403, why: 'forbidden' }], isWhole: true })
  const [said] = saidOf(report, 'Unreadable')
  assert.deepEqual([said?.object, said?.needsDecision], ['daemonsets', true])
})

test('a mirror of an image, and one with a digest, is what it is', () => {
  const mirrored = workload('DaemonSet', 's', 'image: "mirror.local:5000/quay.io/metallb/speaker:v0.16@sha256:00"')
  assert.deepEqual(namesOf(mirrored, 'SpeakerRuns'), ['DaemonSet/metallb-system/s'])
  assert.deepEqual(namesOf(smallestPolicy + ipPool('x', 'addresses: [10.9.0.0/24]'), 'SpeakerRuns'), [])
})

test('what early releases were configured by is named: nothing of it is read', () => {
  const older = 'AddressPool/metallb-system/old'
  const of = (version: string): string =>
    `---\napiVersion: metallb.io/${version}\nkind: AddressPool\nmetadata: {name: old, namespace: metallb-system}\n`
  for (const version of ['v1alpha1', 'v1beta1']) assert.deepEqual(namesOf(of(version), 'OlderConfiguration'), [older])
  const data = 'config: "peers:\\n- peer-asn: 64500\\n  peer-address: 192.0.2.1\\n"'
  assert.deepEqual(namesOf(config('config', data), 'OlderConfiguration'), ['ConfigMap/kube-system/config'])
  assert.deepEqual(namesOf(config('config', 'config: "peers: []"'), 'OlderConfiguration'), [])
  const fromCilium = reportOf(smallestPolicy + node + config('bgp-config', data), { from: 'cilium' })
  assert.equal(saidOf(fromCilium, 'OlderConfiguration').length, 1)
})

test("the object of MetalLB's operator says how it speaks, and of which class it is, where no workload does", () => {
  const operated = (spec: string): string =>
    `---\napiVersion: metallb.io/v1beta1\nkind: MetalLB\nmetadata: {name: metallb, namespace: metallb-system}\nspec: {${spec}}\n`
  assert.equal(judged(base + operated('bgpBackend: native')).backend, 'native')
  assert.equal(judged(base + operated('')).backend, 'frr-k8s')
  assert.equal(judged(base + operated('bgpBackend: native') + speaker('frr')).backend, 'frr')
  const classed = 'loadBalancerClass: edge.example.org/lb'
  assert.deepEqual(namesOf(operated(classed), 'ClassNotServed'), ['--lb-class'])
  assert.deepEqual(namesOf(operated(classed), 'ClassNotServed', { loadBalancerClass: 'edge.example.org/lb' }), [])
})
