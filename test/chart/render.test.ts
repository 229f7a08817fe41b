/** What the chart makes of values, and which it refuses: by the real helm, without a cluster. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'
import { deployFiles } from '../../scripts/chart.ts'
import { kinds } from '../../src/k8s/kinds/table.ts'
import { presentHelm } from '../helm/binary.ts'
import { chart, helm, nameOf, objectsOf, only, render, skip } from './helm.ts'

const folder = new URL('values/', import.meta.url)
const file = (name: string): string => fileURLToPath(new URL(`${name}.yaml`, folder))
const files = readdirSync(folder).map((name) => name.replace('.yaml', ''))

/** Of a DaemonSet or Deployment. */
interface PodSpec {
  readonly hostNetwork?: boolean
  readonly priorityClassName: string
  readonly tolerations: unknown
  readonly containers: readonly {
    readonly image: string
    readonly args: readonly string[]
    readonly securityContext: unknown
    readonly volumeMounts?: readonly { readonly mountPath: string; readonly readOnly?: boolean }[]
    readonly livenessProbe?: { readonly httpGet: { readonly host?: string } }
  }[]
  readonly volumes: readonly { readonly name: string; readonly hostPath?: object }[]
}
const podOf = (object: unknown): PodSpec => (object as { spec: { template: { spec: PodSpec } } }).spec.template.spec
const argsOf = (object: unknown): readonly string[] => podOf(object).containers[0]?.args ?? []

test('helm lint --strict has nothing to say, with the defaults and with every file of values', { skip }, async () => {
  for (const args of [[], ...files.map((name) => ['--values', file(name)])])
    assert.match(await helm('lint', '--strict', chart, ...args), /1 chart\(s\) linted, 0 chart\(s\) failed/)
})

test('the defaults make agents, operators and what they need, and nothing for who has no Prometheus', {
  skip,
}, async () => {
  assert.deepEqual((await render()).map(nameOf).sort(), [
    'ClusterRole herald-system-herald-agent',
    'ClusterRole herald-system-herald-operator',
    'ClusterRoleBinding herald-system-herald-agent',
    'ClusterRoleBinding herald-system-herald-operator',
    'DaemonSet herald-system/herald-agent',
    'Deployment herald-system/herald-operator',
    'Namespace herald-system-herald-node-lease',
    'NetworkPolicy herald-system/herald-operator',
    'PodDisruptionBudget herald-system/herald-operator',
    'Role herald-system-herald-node-lease/herald-system-herald-agent-leases',
    'Role herald-system/herald-operator',
    'Role kube-system/herald-system-herald-agent-secrets',
    'RoleBinding herald-system-herald-node-lease/herald-system-herald-agent-leases',
    'RoleBinding herald-system/herald-operator',
    'RoleBinding kube-system/herald-system-herald-agent-secrets',
    'ServiceAccount herald-system/herald-agent',
    'ServiceAccount herald-system/herald-operator',
  ])
})

test('the agent has five capabilities, a root file system that it cannot write, and every node', { skip }, async () => {
  const pod = podOf(only(await render(), 'DaemonSet'))
  assert.deepEqual(pod.containers[0]?.securityContext, {
    runAsUser: 0,
    runAsGroup: 0,
    privileged: false,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'], add: ['BPF', 'NET_ADMIN', 'NET_RAW', 'PERFMON', 'NET_BIND_SERVICE'] },
    seccompProfile: { type: 'RuntimeDefault' },
    // What is on the node has other labels than containers may write.
    seLinuxOptions: { level: 's0', type: 'spc_t' },
  })
  assert.deepEqual(pod.tolerations, [{ operator: 'Exists' }])
  assert.equal(pod.priorityClassName, 'system-node-critical')
  assert.equal(pod.hostNetwork, true)
  assert.deepEqual(
    pod.volumes.map(({ name, hostPath }) => [name, hostPath]),
    [
      ['state', { path: '/var/lib/herald', type: 'DirectoryOrCreate' }],
      ['run', undefined],
      ['bpffs', { path: '/sys/fs/bpf', type: 'DirectoryOrCreate' }],
    ],
  )
})

test('nothing that a pod writes is below /sys or /proc, where AppArmor profiles of runtimes refuse it', {
  skip,
}, async () => {
  const switched = ['--set', 'agent.socketLB.enabled=true,agent.kubeProxyReplacement=true']
  for (const kind of ['DaemonSet', 'Deployment'])
    for (const { volumeMounts = [] } of podOf(only(await render(...switched), kind)).containers)
      for (const { mountPath, readOnly } of volumeMounts)
        assert.ok(readOnly === true || !/^\/(sys|proc)(\/|$)/.test(mountPath), `${kind}: ${mountPath}`)
})

test('the cgroups of the node are mounted where sockets are led, and not else', { skip }, async () => {
  const cgroups = (pod: ReturnType<typeof podOf>): unknown =>
    pod.volumes.find(({ name }) => name === 'cgroup')?.hostPath
  assert.equal(cgroups(podOf(only(await render(), 'DaemonSet'))), undefined)
  const led = only(await render('--set', 'agent.socketLB.enabled=true'), 'DaemonSet')
  assert.deepEqual(cgroups(podOf(led)), { path: '/sys/fs/cgroup', type: 'Directory' })
  assert.ok(argsOf(led).includes('--socket-lb'))
  assert.ok(argsOf(led).includes('--cgroup-root=/run/cgroup'))
  // In the place of kube-proxy is a part of the name that users of other charts know, and asks for sockets.
  const replacing = only(await render('--set', 'agent.kubeProxyReplacement=true'), 'DaemonSet')
  assert.deepEqual(cgroups(podOf(replacing)), { path: '/sys/fs/cgroup', type: 'Directory' })
  const args = argsOf(replacing)
  assert.deepEqual(
    ['--kube-proxy-replacement', '--cgroup-root=/run/cgroup', '--socket-lb'].map((each) => args.includes(each)),
    [true, true, false],
  )
  assert.ok(!args.some((each) => each.startsWith('--nodeport-addresses')))
})

test('the networks of pods are entered, with the capability for it, where that is asked for and sockets are led', {
  skip,
}, async () => {
  const shown = async (...set: readonly string[]): Promise<unknown> => {
    const daemonSet = only(await render(...set.flatMap((each) => ['--set', each])), 'DaemonSet')
    const { containers, volumes } = podOf(daemonSet)
    const [agent] = containers
    const path = volumes.find(({ name }) => name === 'netns')?.hostPath
    const args = argsOf(daemonSet)
    const isEntered = args.includes('--pod-networks=/run/netns')
    return [path, isEntered, JSON.stringify(agent?.securityContext).includes('"SYS_ADMIN"'), args.includes('--end-tcp')]
  }
  const networks = 'agent.socketLB.podNetworks=/var/run/netns'
  assert.deepEqual(await shown('agent.socketLB.enabled=true'), [undefined, false, false, false])
  assert.deepEqual(await shown(networks), [undefined, false, false, false])
  const path = { path: '/var/run/netns', type: 'DirectoryOrCreate' }
  assert.deepEqual(await shown(networks, 'agent.socketLB.enabled=true'), [path, true, true, false])
  assert.deepEqual(await shown(networks, 'agent.kubeProxyReplacement=true', 'agent.socketLB.endTcp=true'), [
    ...[path, true, true, true],
  ])
})

test('the operator runs as nobody, without any capability', { skip }, async () => {
  const pod = podOf(only(await render(), 'Deployment'))
  assert.deepEqual(pod.containers[0]?.securityContext, {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  assert.equal(pod.volumes, undefined)
  assert.equal(pod.hostNetwork, undefined)
})

test('the role of the agent reads every kind that the agent reads, and writes none of them', { skip }, async () => {
  const { rules } = only(await render(), 'ClusterRole', 'agent') as unknown as {
    rules: readonly { apiGroups: string[]; resources: string[]; verbs: string[] }[]
  }
  const reading = rules.filter(({ verbs }) => verbs.join() === 'list,watch')
  const named = reading.flatMap(({ apiGroups: [group = ''], resources }) => resources.map((name) => `${group}/${name}`))
  const groupOf = (version: string): string => (version.includes('/') ? (version.split('/')[0] ?? '') : '')
  const read = Object.entries(kinds)
    .filter(([kind]) => kind !== 'Secret' && kind !== 'Lease')
    .map(([, { versions, resource }]) => `${groupOf(versions[0])}/${resource}`)
  assert.deepEqual(named.sort(), read.sort())
})

test('agents read the Leases of their namespace while backends on other nodes are served, and not else', {
  skip,
}, async () => {
  for (const [how, verbs] of [
    ['tunnel', ['get,create,update', 'list,watch']],
    ['none', ['get,create,update']],
  ] as const) {
    const objects = await render('--set', `agent.remoteBackends=${how}`)
    const role = objects.find((each) => nameOf(each).startsWith('Role ') && nameOf(each).endsWith('-agent-leases'))
    const { rules } = role as unknown as { rules: readonly { resources: string[]; verbs: string[] }[] }
    assert.ok(rules.every(({ resources }) => resources.join() === 'leases'))
    assert.deepEqual(
      rules.map((rule) => rule.verbs.join()),
      verbs,
    )
    assert.ok(argsOf(only(objects, 'DaemonSet')).includes(`--remote-backends=${how}`))
  }
  await assert.rejects(render('--set', 'agent.remoteBackends=geneve'), /remoteBackends/)
})

test('every value that is set is in what is made', { skip }, async () => {
  const objects = await render('--values', file('everything'))
  const agent = only(objects, 'DaemonSet')
  assert.equal(nameOf(agent), 'DaemonSet herald-system/herald-bgp-agent')
  assert.deepEqual(argsOf(agent), [
    'agent',
    '--datapath=ebpf',
    '--remote-backends=tunnel',
    '--attach=tcx',
    '--datapath-mode=stack',
    '--lb-acceleration=best-effort',
    '--bgp-listen=none',
    '--http=[2001:db8::1]:19472',
    '--state-dir=/srv/herald',
    '--bpffs=/run/bpffs',
    '--socket-lb',
    '--kube-proxy-replacement',
    '--nodeport-addresses=192.0.2.0/24,2001:db8::/64',
    '--cgroup-root=/run/cgroup',
    '--pod-networks=/run/netns',
    '--end-tcp',
    '--flow-events=always',
    '--bgp-secrets-namespace=bgp-secrets',
    '--lease-namespace=node-leases',
    '--service-status-namespace=herald-system',
    '--interfaces=^(eth|bond)[0-9]+$',
    '--load-balancer-class=example.com/bgp',
    '--require-load-balancer-class',
    '--ignore-exclude-lb',
    '--withdraw-on=unschedulable,taint:example.org/maintenance',
    '--metric-aliases',
    '--log-level=debug',
    '--log-format=text',
    '--record=/var/log/herald: a #1.jsonl',
  ])
  for (const flag of ['--require-load-balancer-class', '--metric-aliases'])
    assert.ok(argsOf(only(objects, 'Deployment')).includes(flag))
  const pod = podOf(agent)
  assert.equal(pod.containers[0]?.livenessProbe?.httpGet.host, '2001:db8::1')
  assert.match(pod.containers[0]?.image ?? '', /^registry\.example\/herald@sha256:0+$/)
  assert.deepEqual(
    pod.containers.map((each) => Reflect.get(each, 'name')),
    ['agent', 'sidecar'],
  )
  assert.deepEqual(agent.metadata.labels?.['app.kubernetes.io/name'], 'bgp')
  const made = (name: string): boolean => objects.map(nameOf).includes(name)
  for (const name of [
    'ServiceAccount herald-system/my-agent',
    'Role herald-system/herald-bgp-agent-statuses',
    'Role bgp-secrets/herald-system-herald-bgp-agent-secrets',
    'Role metallb-system/herald-system-herald-bgp-agent-secrets',
    'CustomResourceDefinition ciliumloadbalancerippools.cilium.io',
    'PodMonitor herald-system/herald-bgp-agent',
    'PodMonitor herald-system/herald-bgp-operator',
    'PrometheusRule herald-system/herald-bgp',
    'ConfigMap monitoring/herald-bgp-dashboard',
    'ConfigMap herald-extra',
    'ConfigMap herald-bgp-text',
  ])
    assert.ok(made(name), name)
  const { spec } = only(objects, 'PrometheusRule') as unknown as {
    spec: { groups: { rules: { alert: string; labels?: object }[] }[] }
  }
  const alerts = spec.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert))
  assert.ok(!alerts.includes('HeraldLogLinesLost') && alerts.includes('Mine'))
})

test('everything of a release carries its labels, and the two parts select different pods', { skip }, async () => {
  for (const name of files)
    for (const object of await render('--values', file(name))) {
      if (object.kind === 'CustomResourceDefinition' || /-(extra|text)$/.test(object.metadata.name)) continue
      assert.equal(object.metadata.labels?.['app.kubernetes.io/instance'], 'herald', nameOf(object))
      if (name === 'everything') assert.equal(object.metadata.labels?.['team'], 'network', nameOf(object))
    }
})

test('two names of releases, and two namespaces, share no object', { skip }, async () => {
  const of = async (...args: readonly string[]): Promise<readonly string[]> =>
    objectsOf(await helm('template', ...args)).map(nameOf)
  const first = await of('one', chart, '--namespace', 'a')
  for (const other of [await of('two', chart, '--namespace', 'a'), await of('one', chart, '--namespace', 'b')])
    assert.deepEqual(
      other.filter((name) => first.includes(name)),
      [],
    )
})

test('names stay within what Kubernetes takes, however long the release is called', { skip }, async () => {
  const long = 'a'.repeat(53)
  for (const { metadata } of objectsOf(await helm('template', long, chart, '--namespace', 'b'.repeat(63))))
    assert.ok(metadata.name.length <= 253, metadata.name)
  const agent = only(objectsOf(await helm('template', long, chart)), 'DaemonSet')
  assert.ok(agent.metadata.name.length <= 63, agent.metadata.name)
})

test('metrics listen on loopback, unless something scrapes them; the kubelet asks on the node', { skip }, async () => {
  const agent = only(await render(), 'DaemonSet')
  assert.ok(argsOf(agent).includes('--http=127.0.0.1:9472'))
  const scraped = only(await render('--set', 'prometheus.podMonitor.enabled=true'), 'DaemonSet')
  assert.ok(argsOf(scraped).includes('--http=[::]:9472'))
  assert.equal(podOf(scraped).containers[0]?.livenessProbe?.httpGet.host, '127.0.0.1')
})

/** Fields of objects that are names or paths, with what they hold where it is no text. */
function notText(value: unknown, at = ''): readonly string[] {
  if (typeof value !== 'object' || value === null) {
    const isName = /\.(name|namespace|serviceAccountName|image|path|mountPath|dnsPolicy|interval)$/.test(at)
    const isText = isName || /\.(labels|matchLabels|selector|matchNames)\.[^.]/.test(at)
    return isText && typeof value !== 'string' ? [`${at}: ${String(value)}`] : []
  }
  return Object.entries(value).flatMap(([key, each]) => notText(each, `${at}.${key}`))
}

test('a name that YAML takes for a number or for nothing is a name everywhere', { skip }, async () => {
  const names = ['nameOverride', 'agent.serviceAccount.name', 'operator.serviceAccount.name', 'agent.dnsPolicy']
  const spaces = [
    'bgpControlPlane.secretsNamespace.name',
    'agent.leaseNamespace.name',
    'prometheus.dashboard.namespace',
  ]
  const paths = ['prometheus.podMonitor.interval', 'fullnameOverride']
  const on = ['prometheus.podMonitor.enabled', 'prometheus.prometheusRule.enabled', 'prometheus.dashboard.enabled']
  const switched = [...on, 'agent.socketLB.enabled', 'agent.serviceStatuses', 'bgpControlPlane.secretsNamespace.create']
  for (const word of ['2026', '1e3', '0x1f', 'yes', 'null']) {
    const texts = [...names, ...spaces, ...paths].flatMap((path) => ['--set-string', `${path}=${word}`])
    const more = switched.flatMap((path) => ['--set', `${path}=true`])
    const made = await helm('template', word, chart, '--namespace', word, ...texts, ...more)
    // Helm and the API server read YAML 1.1.
    const objects = parseAllDocuments(made, { version: '1.1' }).map((document): unknown => document.toJS())
    assert.deepEqual(notText(objects), [], word)
  }
})

const refused: readonly (readonly [what: string, set: string, words: RegExp])[] = [
  ['a misspelt key', 'agnet.datapath=none', /additional properties 'agnet' not allowed/],
  ['a misspelt key below', 'agent.datapth=none', /at '\/agent': additional properties 'datapth' not allowed/],
  ['a misspelt key far below', 'agent.http.prot=1', /at '\/agent\/http': additional properties 'prot' not allowed/],
  ['a word that is none', 'agent.datapath=xdp', /value must be one of 'auto', 'ebpf', 'none'/],
  ['a time to look that is none', 'agent.flowEvents=never', /value must be one of 'observed', 'always'/],
  ['a condition that is none', 'agent.withdrawOn={notready}', /agent\.withdrawOn: notready is none of unschedulable, /],
  ['a port that is none', 'agent.http.port=70000', /at '\/agent\/http\/port': maximum/],
  ['a number as a label', 'agent.nodeSelector.rack=1', /at '\/agent\/nodeSelector\/rack': got number, want string/],
  ['a text where a switch is', 'crds.cilium=yes', /at '\/crds\/cilium': got string, want boolean/],
  ["MetalLB's speaker", 'speaker.logLevel=debug', /speaker is no key of this chart; it is agent/],
  ["MetalLB's controller", 'controller.logLevel=debug', /controller is no key of this chart; it is operator/],
  ["Cilium's devices", 'devices=eth0', /devices is no key of this chart; it is agent\.interfaces/],
  ["Cilium's hubble", 'hubble.enabled=true', /hubble is no key of this chart; it is nothing: remove it/],
  [
    'both monitors',
    'prometheus.podMonitor.enabled=true,prometheus.serviceMonitor.enabled=true',
    /would scrape everything twice/,
  ],
  [
    'no namespace for Secrets',
    'bgpControlPlane.secretsNamespace.name=',
    /bgpControlPlane\.secretsNamespace\.name is a namespace/,
  ],
  ['a name that is none', 'nameOverride=Bad_Name', /objects would be called herald-Bad_Name-agent/],
  ['a name with a dot, as of a release', 'fullnameOverride=my.rel', /called my\.rel-agent, .* write fullnameOverride/],
  ['no image', 'image.repository=', /image\.repository is the name of the image/],
  ['a digest that is none', 'image.digest=latest', /image\.digest is sha256: and 64 digits/],
  [
    'an address without brackets',
    'operator.http.address=::',
    /operator\.http\.address :: is no address: write it as .* or \[::\]/,
  ],
  ['a name for an address', 'agent.http.address=localhost', /agent\.http\.address localhost is no address/],
  [
    'an operator that no kubelet can ask',
    'operator.http.address=127.0.0.1',
    /operator\.http\.address 127\.0\.0\.1 is loopback, where the kubelet cannot ask/,
  ],
  ['an operator without an address', 'operator.http.address=', /operator\.http\.address is empty/],
  ['a class that no Service can have', 'loadBalancerClass=my class', /loadBalancerClass "my class" is a name that no/],
  ['a state folder that is relative', 'agent.stateDir=herald', /agent\.stateDir is a folder on the node/],
  ['no port to listen on', 'agent.bgpListen=[::]', /agent\.bgpListen \[::\] is no address with a port/],
  ['a word to listen on', 'agent.bgpListen=all', /agent\.bgpListen all is no address with a port: .* or none/],
  ['an address for a prefix', 'agent.nodePort.addresses={192.0.2.1}', /nodePort\.addresses: 192\.0\.2\.1 is no prefix/],
  ['a length that is none', 'agent.nodePort.addresses={fd00::/129}', /nodePort\.addresses: fd00::\/129 is no prefix/],
  [
    'cgroups that are relative',
    'agent.kubeProxyReplacement=true,agent.socketLB.cgroupRoot=cgroup',
    /agent\.socketLB\.cgroupRoot is a folder/,
  ],
  [
    'networks of pods that are relative',
    'agent.socketLB.podNetworks=run/netns',
    /agent\.socketLB\.podNetworks is a folder/,
  ],
  [
    'a URL for the API server',
    'k8sServiceHost=https://192.0.2.1:6443',
    /k8sServiceHost https.* write it without https/,
  ],
  ['its port beside it', 'k8sServiceHost=api.example:6443', /k8sServiceHost api\.example:6443 is .* k8sServicePort/],
  ['a port of words', 'k8sServicePort=https', /k8sServicePort https is no port: write it as 6443/],
  [
    'an alert that is none',
    'prometheus.prometheusRule.enabled=true,prometheus.prometheusRule.disabled={HeraldDown}',
    /there is no alert HeraldDown; there are HeraldBGPSessionDown, /,
  ],
]
for (const [what, set, words] of refused)
  test(`${what} is refused, and what is said names it`, { skip }, async () => {
    await assert.rejects(render('--set', set), words)
  })

test('what the program takes is not refused', { skip }, async () => {
  for (const set of [
    'agent.bgpListen=none',
    'agent.bgpListen=192.0.2.1:1790',
    'agent.bgpListen=[2001:db8::1]:179',
    'agent.bgpListen=',
    'agent.nodePort.addresses={192.0.2.0/24,0.0.0.0/0,::/0,2001:db8::/64,::ffff:192.0.2.0/128}',
    'k8sServiceHost=fd00::1,k8sServicePort=6443',
    'k8sServiceHost=api-1.example.org',
  ])
    await render('--set', set)
})

test('values of a chart around this one may be global, and null takes a default away', { skip }, async () => {
  await render('--set', 'global.imageRegistry=x')
  await render('--set', 'agent.nodeSelector=null,agent.tolerations=null,agent.resources=null')
})

test('deploy/ is what the chart makes: write it anew with node scripts/chart.ts', { skip }, () => {
  for (const [path, text] of deployFiles(presentHelm() ?? ''))
    assert.equal(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'), text, path)
})

test('plain manifests name no owner, and have what the chart has', { skip }, async () => {
  const text = readFileSync(new URL('../../deploy/herald.yaml', import.meta.url), 'utf8')
  assert.doesNotMatch(text, /managed-by|helm\.sh/)
  const plain = objectsOf(text).map(nameOf)
  const made = (await render()).map(nameOf)
  assert.deepEqual(
    plain.sort(),
    [
      ...made,
      'CustomResourceDefinition ciliumbgpnodeconfigs.cilium.io',
      'CustomResourceDefinition ciliumbgppeeringpolicies.cilium.io',
      'Namespace herald-system',
    ].sort(),
  )
})

test('the chart and the program have one version', () => {
  const { version, appVersion } = parse(readFileSync(`${chart}Chart.yaml`, 'utf8'))
  const program = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  assert.deepEqual([version, appVersion], [program.version, program.version])
})
