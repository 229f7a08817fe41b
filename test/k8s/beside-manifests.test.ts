/** What stands beside manifests in the folders that people have, and what is in them before something fills it in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { following } from './directory-world.ts'
import { codesOf, node, policyWith, pool, service, smallestPolicy, write } from './manifests.ts'
import { everywhere, production, tor } from './metallb-manifests.ts'

const problemsOf = (text: string): readonly Problem[] => validateManifests([{ name: 'f.yaml', text }])

test('a kind that nothing reads says nothing, also where it has no name, or has the name of one of ours', () => {
  for (const text of [
    'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pool.yaml]\n',
    'resources: [pool.yaml]\nimages: [{name: a, newTag: b}]\n',
    'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: worker}]\n',
    'apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking: {podSubnet: 10.244.0.0/16}\n',
    'apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: seed-}\nspec: {}\n',
    'apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {peerIP: 192.0.2.1}\n',
    'apiVersion: crd.projectcalico.org/v1\nkind: BGPPeer\nmetadata: {name: tor}\nspec: {}\n',
    'apiVersion: fabric.example.org/v1alpha1\nkind: Community\nmetadata: {name: c}\n',
    'apiVersion: fabric.example.org/v2\nkind: AddressPool\nmetadata: {name: c}\n',
    'apiVersion: metallb.io/v1beta1\nkind: MetalLB\nmetadata: {name: metallb, namespace: metallb-system}\nspec: {}\n',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: "peers:\\n- name: x\\n"}\n',
  ])
    assert.deepEqual(problemsOf(text), [], text)
  for (const group of ['metalb.io', 'metallb', 'metallb.universe.tf', 'metallb.o'])
    assert.deepEqual(codesOf(problemsOf(production.replace('metallb.io', group))), ['NoObject'], group)
})

test('what nothing reads and has no name takes nothing from its file in the folder, nor holds anything there', async () => {
  const kustomization = '---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n'
  await following(
    (folder) => write(folder, 'a.yaml', service('web') + pool),
    ({ folder, log, look, confirm, problems }) => {
      log.length = 0
      write(folder, 'a.yaml', service('web') + kustomization)
      look(4)
      confirm()
      assert.equal(log.length, 1, log.join())
      assert.deepEqual(problems(), [])
    },
  )
})

test('a Kustomization that changes the files is told of, and a patch or a chart is called what it is', () => {
  const kustomization = (more: string): string =>
    `apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pool.yaml]\n${more}\n`
  for (const more of ['patches: [{path: p.yaml}]', 'namespace: edge', 'namePrefix: a-', 'components: [../c]']) {
    const [problem, ...others] = problemsOf(kustomization(more))
    assert.deepEqual([problem?.code, problem?.severity, others], ['KindNotServed', 'warning', []], more)
    assert.match(problem?.message ?? '', new RegExp(`\\(${more.split(':')[0]}\\)`))
    assert.match(problem?.remedy ?? '', /kubectl kustomize/)
  }
  for (const [text, message, remedy] of [
    ['- {op: replace, path: /spec/addresses, value: []}\n', /RFC 6902/, /kubectl kustomize/],
    ['apiVersion: v2\nname: edge\nversion: 1.0.0\n', /chart/, /helm template/],
  ] as const) {
    const [problem] = problemsOf(text)
    assert.equal(problem?.code, 'NoObject')
    assert.match(problem.message, message)
    assert.match(problem.remedy, remedy)
  }
})

test('what a template, a substitution or an encryption left is told as that, and not as a wrong value', () => {
  const peer = (address: string, asn: string): string => policyWith(`{peerAddress: "${address}", peerASN: ${asn}}`)
  const sealed = 'ENC[AES256_GCM,data:q83v,iv:AA==,tag:BB==,type:int]'
  for (const [text, remedy] of [
    [peer('192.168.1.1/32', '"${TOR_ASN}"'), /^Give what envsubst, or Flux, makes of it; /],
    [peer('${TOR}', '65000'), /^Give what envsubst, or Flux, makes of it; /],
    [peer('${TOR:=192.168.1.1}', '65000'), /^Give what envsubst/],
    [peer('{{ .Values.tor }}', '65000'), /^Give what the template renders to; /],
    [peer('<TOR-ADDRESS>', '65000'), /^Write the value that is meant; /],
    [peer('192.168.1.1/32', `"${sealed}"`), /^Give what `sops --decrypt` makes of it; /],
    [pool.replace('198.51.100.0/28', '"${POOL}"'), /^Give what envsubst/],
    [production.replace(/addresses: .*/, 'addresses: ["${FIRST}-${LAST}"]}'), /^Give what envsubst/],
    [tor.replace(/peerASN: \d+/, 'peerASN: "${TOR_ASN}"'), /^Give what envsubst/],
    [service('web', ', loadBalancerIP: "${VIP}"'), /^Give what envsubst/],
    [service('web').replace('name: web', 'name: "{{ .Release.Name }}-web"'), /^Give what the template renders to/],
    [
      production.replace(/addresses: .*/, 'addresses: {{ addresses | tojson }}}'),
      /^Give what the template renders to; /,
    ],
    [`{{- if .Values.pool }}\n${production}{{- end }}\n`, /^Give what the template renders to; /],
    [`${production}{% for each in pools %}\n    - {{ each }}\n{% endfor %}\n`, /^Give what the template renders to; /],
  ] as const) {
    const errors = problemsOf(text).filter(({ code, severity }) => severity === 'error' && code !== 'NoNeighborLeft')
    assert.match(errors[0]?.remedy ?? '', remedy, text)
  }
})

test('a key that is encrypted, or not put in yet, is no key, and is not shown', () => {
  const key = 'ENC[AES256_GCM,data:q83v,iv:AA==,tag:BB==,type:str]'
  for (const written of [key, '${BGP_PASSWORD}', '{{ .Values.password }}'])
    for (const field of ['data', 'stringData']) {
      const secret = `---\napiVersion: v1\nkind: Secret\nmetadata: {name: tor, namespace: kube-system}\n`
      const text = `${secret}${field}: {password: "${written}"}\n`
      const named = policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: tor}')
      const found = problemsOf(named + node + text)
      assert.ok(codesOf(found).includes('InvalidKey'), `${field} ${written}: ${codesOf(found).join()}`)
      assert.ok(codesOf(found).includes('NoPassword'), 'the neighbor is not dialled')
      assert.ok(!JSON.stringify(found).includes(written))
    }
  const plain = problemsOf(tor.replace('spec: {', `spec: {password: "${key}", `))
  assert.deepEqual(codesOf(plain), ['InvalidKey'])
})

test('the ConfigMap of early releases of MetalLB, and AddressPool, are told of with what to write', () => {
  const configMap = (data: string): string =>
    `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config, namespace: metallb-system}\ndata:\n  ${data}\n`
  const pools = 'address-pools:\\n- name: default\\n  protocol: layer2\\n  addresses: [192.0.2.0/28]\\n'
  const peers = 'peers:\\n- peer-address: 192.0.2.1\\n  peer-asn: 64500\\n  my-asn: 64501\\n'
  for (const text of [configMap(`config: "${pools}"`), configMap(`config.yaml: "${peers}"`)]) {
    const [problem, ...others] = problemsOf(text + smallestPolicy.replace(/^/, '---\n') + node)
    assert.deepEqual([problem?.code, problem?.severity, others], ['KindNotServed', 'warning', []])
    assert.match(problem?.remedy ?? '', /IPAddressPool.*BGPAdvertisement.*BGPPeer.*Community/)
  }
  const [older] = problemsOf('apiVersion: metallb.io/v1beta1\nkind: AddressPool\nmetadata: {name: p}\n')
  assert.match(older?.remedy ?? '', /IPAddressPool.*BGPAdvertisement/)
  const layer2 = 'apiVersion: cilium.io/v2alpha1\nkind: CiliumL2AnnouncementPolicy\nmetadata: {name: p}\nspec: {}\n'
  assert.match(problemsOf(layer2)[0]?.remedy ?? '', /ARP and NDP.*CiliumBGPAdvertisement/)
})

test('what a Service asks of another load balancer is told, unless its class says that it is for that one', () => {
  for (const annotation of [
    'kube-vip.io/loadbalancerIPs: 192.0.2.80',
    'purelb.io/service-group: edge',
    'purelb.io/addresses: 192.0.2.5',
    'purelb.io/allow-shared-ip: key',
    'eip.openelb.kubesphere.io/v1alpha2: edge',
    'eip.openelb.kubesphere.io/v1alpha1: 192.0.2.7',
  ]) {
    const [name = ''] = annotation.split(':')
    const [problem, ...others] = problemsOf(service('web', '', `{${annotation}}`))
    assert.deepEqual([problem?.code, problem?.field, others], ['NotServed', `metadata.annotations.${name}`, []])
    const classed = service('web', ', loadBalancerClass: kube-vip.io/kube-vip-class', `{${annotation}}`)
    assert.deepEqual(problemsOf(classed), [])
  }
  assert.deepEqual(problemsOf(service('web', '', '{kube-vip.io/vipHost: node-a}')), [])
  assert.deepEqual(problemsOf(tor + production + everywhere + node), [])
})
