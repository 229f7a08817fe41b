/** The values of MetalLB's chart (0.13 to 0.16), with the configuration that older ones had in them. Pure. */
import { olderRemedy } from '../../kinds/older.ts'
import { isRecord } from '../../source.ts'
import { isEmpty, type Tree, valueAt, type ValueNote, type ValueRow, type ValueTable } from './values.ts'

const isTrue = (value: unknown): boolean => value === true
const isFalse = (value: unknown): boolean => value === false
const always = (): boolean => true

const same = (path: string): ValueRow => ({ from: path, to: path })
const dropped = (from: string, why: string, decides?: (value: unknown) => boolean): ValueRow => ({
  from,
  why,
  ...(decides === undefined ? {} : { decides }),
})

/** Levels beyond ours mean the nearest one. */
const levels: Readonly<Record<string, string>> = {
  all: 'debug',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  error: 'error',
  none: 'error',
}

const ownImage = "Herald's image is named by image.repository"
const noWebhook = 'there is no webhook'
const plainMetrics = 'metrics are plain HTTP without a proxy; who may ask is up to agent.http.address'
const ownAlerts = 'alerts have other names; prometheus.prometheusRule.disabled leaves some out'

function probe(part: string, name: string, to: string): readonly ValueRow[] {
  const [from, ours] = [`${part}.${name}`, `${to}.${name}`]
  const moved = ['enabled', 'failureThreshold', 'periodSeconds', 'timeoutSeconds']
  return [
    ...moved.map((key): ValueRow => ({ from: `${from}.${key}`, to: `${ours}.${key}` })),
    ...['initialDelaySeconds', 'successThreshold'].map((key) => dropped(`${from}.${key}`, 'the startup has no delay')),
  ]
}

/** What speaker and controller have alike. */
function part(from: 'speaker' | 'controller', to: 'agent' | 'operator'): readonly ValueRow[] {
  const renamed = ['enabled', 'resources', 'nodeSelector', 'affinity', 'podAnnotations', 'priorityClassName']
  return [
    ...renamed.map((key): ValueRow => ({ from: `${from}.${key}`, to: `${to}.${key}` })),
    { from: `${from}.labels`, to: `${to}.podLabels` },
    { from: `${from}.extraContainers`, to: `${to}.extraContainers` },
    { from: `${from}.serviceAccount.create`, to: `${to}.serviceAccount.create` },
    { from: `${from}.serviceAccount.annotations`, to: `${to}.serviceAccount.annotations` },
    dropped(`${from}.serviceAccount.name`, `accounts are of the release: ${to}.serviceAccount.name`, always),
    dropped(`${from}.image`, ownImage),
    dropped(`${from}.securityContext`, `${to}.securityContext has the least that is needed`),
    dropped(`${from}.runtimeClassName`, 'there is no such key', always),
    ...['livenessProbe', 'readinessProbe'].flatMap((name) => probe(from, name, to)),
  ]
}

const monitor = (kind: string): readonly ValueRow[] => [
  ...['enabled', 'interval', 'relabelings', 'metricRelabelings'].map((key) => same(`prometheus.${kind}.${key}`)),
  dropped(`prometheus.${kind}.jobLabel`, 'the job is that of the object'),
  dropped(`prometheus.${kind}.annotations`, 'there is no such key'),
]

const rows: readonly ValueRow[] = [
  dropped('configInline', olderRemedy, always),
  dropped('existingConfigMap', olderRemedy, always),
  same('imagePullSecrets'),
  dropped('nameOverride', "names of MetalLB's objects: Herald's are of its own release"),
  dropped('fullnameOverride', "names of MetalLB's objects: Herald's are of its own release"),
  same('loadBalancerClass'),
  same('rbac.create'),
  { from: 'networkpolicies.enabled', to: 'operator.networkPolicy.enabled', why: 'agents use the network of the node' },
  { from: 'networkpolicies.apiPort', to: 'operator.networkPolicy.apiPort' },
  dropped('networkpolicies.defaultDeny', 'the policy is for the pods of the operator alone'),
  dropped('tls', plainMetrics),
  same('prometheus.scrapeAnnotations'),
  dropped('prometheus.metricsPort', 'agents answer on agent.http.port, the operator on operator.http.port'),
  dropped('prometheus.secureMetricsPort', plainMetrics),
  dropped('prometheus.rbacPrometheus', plainMetrics),
  dropped('prometheus.serviceAccount', plainMetrics),
  dropped('prometheus.namespace', plainMetrics),
  dropped('prometheus.rbacProxy', plainMetrics),
  dropped('prometheus.controllerMetricsTLSSecret', plainMetrics),
  dropped('prometheus.speakerMetricsTLSSecret', plainMetrics),
  ...monitor('podMonitor'),
  same('prometheus.podMonitor.additionalLabels'),
  ...monitor('serviceMonitor'),
  ...['speaker', 'controller'].flatMap((name): readonly ValueRow[] => [
    {
      from: `prometheus.serviceMonitor.${name}.additionalLabels`,
      to: 'prometheus.serviceMonitor.additionalLabels',
      why: 'of both monitors',
    },
    dropped(`prometheus.serviceMonitor.${name}.annotations`, 'there is no such key'),
    dropped(`prometheus.serviceMonitor.${name}.tlsConfig`, plainMetrics),
  ]),
  same('prometheus.prometheusRule.enabled'),
  same('prometheus.prometheusRule.additionalLabels'),
  same('prometheus.prometheusRule.extraAlerts'),
  dropped('prometheus.prometheusRule.annotations', 'there is no such key'),
  ...['staleConfig', 'configNotLoaded', 'addressPoolExhausted', 'addressPoolUsage', 'bgpSessionDown'].map((name) =>
    dropped(`prometheus.prometheusRule.${name}`, ownAlerts, (value) => isFalse(valueAt(value, 'enabled'))),
  ),
  ...part('controller', 'operator'),
  dropped('controller.logLevel', 'one level is for agents and operator: that of the speaker'),
  dropped('controller.webhookMode', noWebhook),
  { from: 'controller.strategy', to: 'operator.strategy' },
  { from: 'controller.tolerations', to: 'operator.tolerations' },
  ...['tlsMinVersion', 'tlsCipherSuites', 'tlsCurvePreferences'].map((name) =>
    dropped(`controller.${name}`, plainMetrics),
  ),
  ...part('speaker', 'agent'),
  { from: 'speaker.logLevel', to: 'logLevel', as: (value) => levels[String(value)] },
  { from: 'speaker.updateStrategy', to: 'agent.updateStrategy' },
  { from: 'speaker.ignoreExcludeLB', to: 'agent.ignoreExcludeLB' },
  { from: 'speaker.tolerations', to: 'agent.tolerations' },
  dropped('speaker.tolerateMaster', 'agent.tolerations decides; every taint by default', isFalse),
  dropped('speaker.memberlist', 'there is no gossip between nodes: port 7946 and the Secret can go'),
  dropped('speaker.excludeInterfaces', 'for layer 2, which is not served'),
  dropped('speaker.bgpDebounceTimeout', 'nothing is held back'),
  ...probe('speaker', 'startupProbe', 'agent'),
  ...['frr', 'frrMetrics', 'reloader', 'initContainers', 'secretName'].map((name) =>
    dropped(`speaker.${name}`, 'BGP is part of the agent'),
  ),
  { from: 'crds.enabled', to: 'crds.metallb', why: 'kinds that are there are left alone' },
  dropped('crds.validationFailurePolicy', noWebhook),
  dropped('frrk8s.external', 'FRRConfiguration objects of others are not read', isTrue),
  ...['enabled', 'namespace', 'secretPassthrough'].map((name) => dropped(`frrk8s.${name}`, 'BGP is part of the agent')),
  dropped('frr-k8s', 'BGP is part of the agent'),
]

/** As MetalLB's chart adds them for control planes. */
const controlPlane = ['master', 'control-plane'].map((role) => ({
  key: `node-role.kubernetes.io/${role}`,
  effect: 'NoSchedule',
  operator: 'Exists',
}))

function together(values: Readonly<Record<string, unknown>>, moved: Tree): readonly ValueNote[] {
  const notes: ValueNote[] = []
  const { loadBalancerClass } = values
  if (!isEmpty(loadBalancerClass)) {
    moved.set('requireLoadBalancerClass', true)
    const reason = 'MetalLB with a class leaves Services without one alone'
    notes.push({ needsDecision: false, key: 'loadBalancerClass', becomes: 'requireLoadBalancerClass', reason })
  }
  const tolerations = moved.get('agent.tolerations')
  if (Array.isArray(tolerations) && !isFalse(valueAt(values, 'speaker.tolerateMaster'))) {
    moved.set('agent.tolerations', [...tolerations, ...controlPlane])
    const reason = "MetalLB's chart adds those of the control plane"
    notes.push({ needsDecision: false, key: 'speaker.tolerateMaster', becomes: 'agent.tolerations', reason })
  }
  const kinds = ['podMonitor', 'serviceMonitor'].filter((kind) => isTrue(moved.get(`prometheus.${kind}.enabled`)))
  if (kinds.length === 2) {
    moved.set('prometheus.serviceMonitor.enabled', false)
    const reason = 'with both everything would be scraped twice: the PodMonitor is kept'
    notes.push({ needsDecision: true, key: 'prometheus.serviceMonitor.enabled', reason })
  }
  return [...notes, ...strategies(moved)]
}

/** Only of a rolling update there is a part of its own. */
function strategies(moved: Tree): readonly ValueNote[] {
  return ['agent.updateStrategy', 'operator.strategy'].flatMap((key): readonly ValueNote[] => {
    const strategy = moved.get(key)
    if (!isRecord(strategy) || strategy['type'] === undefined || strategy['type'] === 'RollingUpdate') return []
    if (strategy['rollingUpdate'] === undefined) return []
    const reason = 'only a RollingUpdate has rollingUpdate: the API server refuses it beside another type'
    return [{ needsDecision: true, key: `${key}.rollingUpdate`, reason }]
  })
}

export const metallbValues: ValueTable = { rows, together }
