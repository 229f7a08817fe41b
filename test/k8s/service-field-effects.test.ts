/**
 * Every field in the spec of a Service as Kubernetes 1.36 has it: what it changes where it is set, or that it changes
 * nothing, and by what name a value is refused that means nothing. A field without a row fails.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { V1ServicePort, V1ServiceSpec } from '@kubernetes/client-node'
import type { DesiredDelta } from '../../src/desired/model.ts'
import type { TranslatorOptions } from '../../src/k8s/translate/types.ts'
import { change, node, pool, service, slice, slice6, smallestPolicy, translatorWith } from './manifests.ts'

const base = smallestPolicy + node + pool
const options: Partial<TranslatorOptions> = {
  tunnels: 'nodes',
  leadsSockets: true,
  localAddresses: () => [{ interface: 'eth0', address: '192.168.1.10' }],
  proxying: () => ({ listeners: new Set() }),
}
const elsewhere =
  node.replace('node-a', 'node-b').replace('192.168.1.10', '192.168.1.11').replace('10.244.1.0', '10.244.2.0') +
  slice('web', 'node-b').replace('web-1', 'web-9').replace('10.244.1.5', '10.244.2.7')
const pods = slice('web') + slice6('web') + elsewhere

/** What of a delta a field decides: what is served, announced and led to, to whom, and why not. */
interface Seen {
  readonly frontends: readonly string[]
  readonly routes: readonly string[]
  readonly sockets: readonly string[]
  /** Answers no. */
  readonly refusals: readonly string[]
  readonly healthCheck: number | undefined
  /** Of the longest stay of a client, and of ranges: 0 where there is none. */
  readonly affinitySec: number
  readonly sources: number
}

function seen({ services, sockets }: DesiredDelta): Seen {
  const web = services.get('default/web')
  const shown = (id: string, backends: readonly { readonly address: string }[] = []): string =>
    `${id} ${backends.map(({ address }) => address).join()}`
  return {
    frontends: (web?.frontends ?? []).map(({ id, backends }) => shown(id, backends)),
    routes: (web?.routes ?? []).map(({ prefix }) => prefix),
    sockets: [...(sockets ?? [])].map(([id, frontend]) => shown(id, frontend?.backends)).sort(),
    refusals: (web?.verdicts ?? []).flatMap(({ ok, code }) => (ok ? [] : [code])),
    healthCheck: web?.healthCheck?.port,
    affinitySec: web?.frontends[0]?.affinitySec ?? 0,
    sources: web?.frontends[0]?.sources?.length ?? 0,
  }
}

const withText = (text: string): Seen => seen(translatorWith(base + text + pods, options).flush())
const port = '{name: http, port: 80}'
const [both, ownAlone, vip] = ['10.244.1.5,10.244.2.7', '10.244.1.5', '198.51.100.0:80/TCP']
const plain = withText(service('web'))

/** Written behind the ports; of a port in place of them. */
type Row = readonly [yaml: string, change: Partial<Seen> | 'nothing']

const ofSpec: Readonly<Record<string, Row>> = {
  allocateLoadBalancerNodePorts: [', allocateLoadBalancerNodePorts: false', 'nothing'],
  clusterIP: [', clusterIP: 10.96.0.10', { sockets: [`10.96.0.10:80/TCP ${both}`, `${vip} ${both}`] }],
  clusterIPs: [', clusterIPs: [10.96.0.11]', { sockets: [`10.96.0.11:80/TCP ${both}`, `${vip} ${both}`] }],
  externalIPs: [
    ', externalIPs: [203.0.113.7]',
    {
      frontends: [`${vip} ${both}`, `203.0.113.7:80/TCP ${both}`],
      sockets: [`${vip} ${both}`, `203.0.113.7:80/TCP ${both}`],
    },
  ],
  externalName: [', externalName: web.example', 'nothing'],
  externalTrafficPolicy: [', externalTrafficPolicy: Local', { frontends: [`${vip} ${ownAlone}`] }],
  healthCheckNodePort: [
    ', externalTrafficPolicy: Local, healthCheckNodePort: 32000',
    { frontends: [`${vip} ${ownAlone}`], healthCheck: 32_000 },
  ],
  internalTrafficPolicy: [
    ', clusterIP: 10.96.0.10, internalTrafficPolicy: Local',
    { sockets: [`10.96.0.10:80/TCP ${ownAlone}`, `${vip} ${both}`] },
  ],
  ipFamilies: [', ipFamilies: [IPv6]', { frontends: [], routes: [], sockets: [], refusals: ['OutOfAddresses'] }],
  ipFamilyPolicy: [
    ', ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv4, IPv6]',
    { frontends: [], routes: [], sockets: [], refusals: ['OutOfAddresses'] },
  ],
  loadBalancerClass: [
    ', loadBalancerClass: example.org/other',
    { frontends: [], routes: [], sockets: [], refusals: ['OtherClass'] },
  ],
  loadBalancerIP: [
    ', loadBalancerIP: 198.51.100.5',
    {
      frontends: [`198.51.100.5:80/TCP ${both}`],
      routes: ['198.51.100.5/32'],
      sockets: [`198.51.100.5:80/TCP ${both}`],
    },
  ],
  loadBalancerSourceRanges: [', loadBalancerSourceRanges: [192.0.2.0/24]', { sources: 1, sockets: [] }],
  publishNotReadyAddresses: [', publishNotReadyAddresses: true', 'nothing'],
  selector: [', selector: {app: web}', 'nothing'],
  sessionAffinity: [', sessionAffinity: ClientIP', { affinitySec: 10_800 }],
  sessionAffinityConfig: [
    ', sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}',
    { affinitySec: 60 },
  ],
  trafficDistribution: [', trafficDistribution: PreferSameZone', 'nothing'],
}
const ofType: Row = ['type: ClusterIP', { frontends: [], routes: [], sockets: [] }]
const ofPorts: Readonly<Record<string, Row>> = {
  appProtocol: ['{name: http, port: 80, appProtocol: kubernetes.io/h2c}', 'nothing'],
  name: [
    '{name: other, port: 80}',
    { frontends: [`${vip} `], routes: [], sockets: [`${vip} `], refusals: ['NoMatchingPort'] },
  ],
  nodePort: [
    '{name: http, port: 80, nodePort: 30080}',
    {
      frontends: [`${vip} ${both}`, `0.0.0.0:30080/TCP ${both}`],
      sockets: [`0.0.0.0:30080/TCP ${both}`, `192.168.1.10:30080/TCP ${both}`, `${vip} ${both}`],
    },
  ],
  port: [
    '{name: http, port: 81}',
    { frontends: [`198.51.100.0:81/TCP ${both}`], sockets: [`198.51.100.0:81/TCP ${both}`] },
  ],
  protocol: [
    '{name: http, port: 80, protocol: SCTP}',
    { frontends: ['198.51.100.0:80/SCTP '], routes: [], sockets: [], refusals: ['NoMatchingPort'] },
  ],
  targetPort: ['{name: http, port: 80, targetPort: web}', 'nothing'],
}

const namesOf = (type: { getAttributeTypeMap(): readonly { readonly baseName: string }[] }): readonly string[] =>
  type.getAttributeTypeMap().map(({ baseName }) => baseName)

test('every field that Kubernetes has in the spec of a Service has a row here', () => {
  assert.deepEqual([...Object.keys(ofSpec), 'ports', 'type'].sort(), [...namesOf(V1ServiceSpec)].sort())
  assert.deepEqual(Object.keys(ofPorts).sort(), [...namesOf(V1ServicePort)].sort())
})

test('a Service of which nothing is said is served, announced and led to', () => {
  assert.deepEqual(plain, {
    ...{ frontends: [`${vip} ${both}`], routes: ['198.51.100.0/32'], sockets: [`${vip} ${both}`], refusals: [] },
    ...{ healthCheck: undefined, affinitySec: 0, sources: 0 },
  })
})

const written = [
  ...Object.entries(ofSpec).map(([name, [more, effect]]) => [name, service('web', more), effect] as const),
  ['type', service('web').replace('type: LoadBalancer', ofType[0]), ofType[1]] as const,
  ...Object.entries(ofPorts).map(
    ([name, [text, effect]]) => [`ports[].${name}`, service('web').replace(port, text), effect] as const,
  ),
]
for (const [name, text, effect] of written)
  test(`spec.${name} ${effect === 'nothing' ? 'changes nothing' : 'does what it says, and nothing else'}`, () => {
    assert.deepEqual(withText(text), effect === 'nothing' ? plain : { ...plain, ...effect })
  })

test('a value that means nothing is named with its field, and what was in force stays', () => {
  const wrong: Readonly<Record<string, string>> = {
    type: service('web').replace('type: LoadBalancer', 'type: Balancer'),
    externalTrafficPolicy: service('web', ', externalTrafficPolicy: Near'),
    internalTrafficPolicy: service('web', ', internalTrafficPolicy: Near'),
    sessionAffinity: service('web', ', sessionAffinity: Cookie'),
    sessionAffinityConfig: service(
      'web',
      ', sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}',
    ),
    ipFamilies: service('web', ', ipFamilies: [IPv5]'),
    ipFamilyPolicy: service('web', ', ipFamilyPolicy: TripleStack'),
    healthCheckNodePort: service('web', ', externalTrafficPolicy: Local, healthCheckNodePort: 70000'),
    loadBalancerClass: service('web', ', loadBalancerClass: [a]'),
    loadBalancerIP: service('web', ', loadBalancerIP: nobody'),
    loadBalancerSourceRanges: service('web', ', loadBalancerSourceRanges: everybody'),
    clusterIP: service('web', ', clusterIP: 10.96.0.256'),
    clusterIPs: service('web', ', clusterIPs: [10.96.0.10, nobody]'),
    externalIPs: service('web', ', externalIPs: [nobody]'),
    selector: service('web', ', selector: web'),
    'ports[0].port': service('web').replace('port: 80', 'port: 0'),
    'ports[0].nodePort': service('web').replace('port: 80', 'port: 80, nodePort: 70000'),
    'ports[0].protocol': service('web').replace('port: 80', 'port: 80, protocol: QUIC'),
    'ports[0].name': service('web').replace('name: http', 'name: [http]'),
  }
  for (const [field, text] of Object.entries(wrong)) {
    const translator = translatorWith(base + service('web') + pods, options)
    translator.flush()
    const { problems = [], services } = change(translator, text)
    const about = problems.filter((each) => each.field.startsWith(`spec.${field}`))
    assert.ok(about.length > 0 && about.every(({ remedy }) => remedy !== ''), `${field}: ${JSON.stringify(problems)}`)
    const now = services.get('default/web')
    assert.ok(now === undefined || now.frontends.length > 0, `${field} took it away`)
  }
})
