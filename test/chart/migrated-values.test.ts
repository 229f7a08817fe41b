/** `herald migrate --values` as a person runs it: helm renders our chart with what it prints. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { migrationParts } from '../../src/api/migration.ts'
import { only, render, skip } from './helm.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-values-'))
after(() => rmSync(folder, { recursive: true }))

function migrate(from: string, text: string, ...more: readonly string[]) {
  const file = join(folder, 'theirs.yaml')
  writeFileSync(file, text)
  return spawnSync(herald, ['migrate', from, '--values', file, ...more], { encoding: 'utf8' })
}

/** As MetalLB's own values.yaml has them, changed in the places where people change them. */
const metallb = `
imagePullSecrets: [{name: regcred}]
nameOverride: ""
fullnameOverride: ""
loadBalancerClass: "metallb.io/metallb"
rbac: {create: true}
networkpolicies: {enabled: false, defaultDeny: false, apiPort: 6443}
prometheus:
  scrapeAnnotations: true
  metricsPort: 7472
  secureMetricsPort: 9120
  rbacPrometheus: true
  serviceAccount: prometheus-k8s
  namespace: monitoring
  podMonitor: {enabled: true, additionalLabels: {release: stack}, jobLabel: "app.kubernetes.io/name", interval: 30s}
  serviceMonitor:
    enabled: false
    speaker: {additionalLabels: {a: b}, annotations: {}, tlsConfig: {insecureSkipVerify: true}}
    controller: {additionalLabels: {c: d}, annotations: {}, tlsConfig: {insecureSkipVerify: true}}
    jobLabel: "app.kubernetes.io/name"
    metricRelabelings: []
    relabelings: []
  prometheusRule:
    enabled: true
    additionalLabels: {release: stack}
    staleConfig: {enabled: true, labels: {severity: warning}}
    addressPoolUsage: {enabled: true, thresholds: [{percent: 75, labels: {severity: warning}}]}
    extraAlerts: [{alert: Mine, expr: vector(1)}]
controller:
  enabled: true
  logLevel: info
  webhookMode: enabled
  image: {repository: quay.io/metallb/controller}
  strategy: {type: RollingUpdate}
  serviceAccount: {create: true, name: "", annotations: {}}
  securityContext: {runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534}
  resources: {limits: {cpu: 100m, memory: 100Mi}}
  nodeSelector: {role: infra}
  tolerations: [{key: infra, operator: Exists}]
  priorityClassName: ""
  podAnnotations: {x: "y"}
  labels: {team: net}
  livenessProbe:
    {enabled: true, failureThreshold: 3, initialDelaySeconds: 10, periodSeconds: 10, successThreshold: 1}
speaker:
  enabled: true
  logLevel: warn
  tolerateMaster: true
  memberlist: {enabled: true, mlBindPort: 7946}
  excludeInterfaces: {enabled: true}
  ignoreExcludeLB: true
  updateStrategy: {type: OnDelete}
  resources: {requests: {cpu: 50m}}
  nodeSelector: {bgp: "true"}
  tolerations: [{key: bgp, operator: Exists, effect: NoSchedule}]
  startupProbe: {enabled: true, failureThreshold: 30, periodSeconds: 5}
  frr: {enabled: true, image: {repository: quay.io/frrouting/frr, tag: 9.1.0}, metricsPort: 7473}
  reloader: {resources: {}}
  frrMetrics: {resources: {}}
crds: {enabled: true, validationFailurePolicy: Fail}
frrk8s: {enabled: false}
`

interface PodTemplate {
  readonly spec: {
    readonly updateStrategy?: object
    readonly template: {
      readonly spec: Readonly<Record<string, unknown>> & {
        readonly containers: readonly { readonly args: readonly string[] }[]
      }
    }
  }
}

test("MetalLB's own values become values that our chart takes, and every key has its word", { skip }, async () => {
  const { status, stdout, stderr } = migrate('metallb', metallb)
  assert.deepEqual([status, stderr], [0, ''], stdout)
  const file = join(folder, 'ours.yaml')
  writeFileSync(file, stdout)
  const objects = await render('--values', file)
  const agent = only(objects, 'DaemonSet') as unknown as PodTemplate
  const pod = agent.spec.template.spec
  assert.deepEqual(agent.spec.updateStrategy, { type: 'OnDelete' })
  assert.deepEqual(pod['nodeSelector'], { 'kubernetes.io/os': 'linux', bgp: 'true' })
  assert.equal((pod['tolerations'] as readonly object[]).length, 3)
  const { args = [] } = pod.containers[0] ?? {}
  for (const word of [
    '--load-balancer-class=metallb.io/metallb',
    '--require-load-balancer-class',
    '--ignore-exclude-lb',
  ])
    assert.ok(args.includes(word), word)
  assert.ok(args.includes('--log-level=warn'))
  const operator = (only(objects, 'Deployment') as unknown as PodTemplate).spec.template.spec
  assert.deepEqual(operator['tolerations'], [{ key: 'infra', operator: 'Exists' }])
  assert.ok(objects.some(({ kind }) => kind === 'PodMonitor'))
  assert.ok(!objects.some(({ kind }) => kind === 'NetworkPolicy'))
  assert.match(JSON.stringify(only(objects, 'PrometheusRule')), /"Mine"/)
  for (const key of ['speaker.frr', 'controller.webhookMode', 'speaker.memberlist', 'frrk8s.enabled'])
    assert.match(stdout, new RegExp(`^# [.!] ${key.replaceAll('.', '\\.')}: `, 'm'))
})

test("Cilium's values become values that our chart takes", { skip }, async () => {
  const theirs =
    'bgpControlPlane: {enabled: true}\nkubeProxyReplacement: true\nk8sServiceHost: 10.0.0.1\ndevices: [eth+]\n'
  const { status, stdout } = migrate('cilium', theirs)
  assert.equal(status, 1, 'two speakers of one node need a decision')
  const file = join(folder, 'ours.yaml')
  writeFileSync(file, stdout)
  const { spec } = only(await render('--values', file), 'DaemonSet') as unknown as PodTemplate
  const { args = [] } = spec.template.spec.containers[0] ?? {}
  assert.ok(args.includes('--datapath=none') && args.includes('--interfaces=^(eth.*)$'), args.join(' '))
})

test('as JSON and YAML it is the same, in the words of docs/json.md', () => {
  const { status, stdout } = migrate('metallb', 'speaker: {frrr: 1}\nrbac: {create: false}\n', '-o', 'json')
  assert.equal(status, 1)
  const json: unknown = JSON.parse(stdout)
  const report = migrationParts.MigratedValues.strict().parse(json)
  assert.deepEqual(report.values, { rbac: { create: false } })
  assert.deepEqual(parse(migrate('metallb', 'speaker: {frrr: 1}\nrbac: {create: false}\n', '-o', 'yaml').stdout), json)
})

test('what is no file of values is a mistake of the one who asks', () => {
  for (const text of ['- a\n', 'a: [\n', 'text\n', 'a: *b\n']) {
    const { status, stderr } = migrate('metallb', text)
    assert.equal(status, 2, text)
    assert.match(stderr, /--values .*theirs\.yaml/)
  }
  assert.equal(spawnSync(herald, ['migrate', 'metallb', '--values', '/nonexistent']).status, 2)
  assert.equal(migrate('metallb', '{}', folder).status, 2)
  const empty = migrate('metallb', '')
  assert.deepEqual([empty.status, parse(empty.stdout)], [0, {}])
})
