/** Every field that is read of the kinds that Kubernetes brings, by table, as its API server takes and completes it. */
import * as z from 'zod'
import { endpointSliceSchema } from '../../src/k8s/kinds/endpoint-slice.ts'
import { serviceSchema } from '../../src/k8s/kinds/service.ts'
import { type Field, testFields } from './fields.ts'

const notText = [7, true, ['a'], { a: 'b' }] as const
const lists = ['x', 7, true, { 0: 'x' }] as const
const flag = { good: [false, true], bad: ['true', 'no', 1, [], {}], absent: 'default' } as const
const choice = (...good: readonly string[]) => ({
  good,
  bad: [...notText, ...good.map((word) => word.toLowerCase()), `${good[0]}s`, ' '],
  absent: 'default' as const,
  empty: 'absent' as const,
})
const texts = (...good: readonly (readonly string[])[]) => ({
  good,
  bad: [...lists, [7], [null], [{}]],
  absent: 'default' as const,
})

const metadata: readonly Field[] = [
  {
    at: 'metadata.labels',
    good: [{ tier: 'gold' }, { tier: 'iron' }, { tier: null }, {}],
    bad: ['x', 7, ['a'], { a: 7 }, { a: ['b'] }, { a: false }, { a: {} }],
    absent: 'default',
  },
  { at: 'metadata.annotations', good: [], bad: ['x', 7, [], { a: 7 }, { a: [] }, { a: true }], absent: 'default' },
]

testFields({
  kind: 'Service',
  schema: z.object({ spec: serviceSchema.shape.spec, status: serviceSchema.shape.status }),
  root: '',
  isOpen: true,
  isBuiltIn: true,
  example: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'shop', labels: { tier: 'gold' }, annotations: { 'herald.dev/a': 'b' } },
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.7',
      clusterIPs: ['10.96.0.7', 'fd00::7'],
      externalIPs: ['203.0.113.7'],
      loadBalancerClass: 'herald.dev/bgp',
      loadBalancerIP: '198.51.100.7',
      loadBalancerSourceRanges: ['10.0.0.0/8'],
      externalTrafficPolicy: 'Local',
      internalTrafficPolicy: 'Local',
      healthCheckNodePort: 30100,
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
      selector: { app: 'web' },
      ipFamilies: ['IPv4', 'IPv6'],
      ipFamilyPolicy: 'RequireDualStack',
      ports: [
        { name: 'http', protocol: 'TCP', port: 80, targetPort: 'http', nodePort: 30080, appProtocol: 'http' },
        { name: 'dns', protocol: 'UDP', port: 53 },
      ],
    },
    status: {
      loadBalancer: { ingress: [{ ip: '198.51.100.7', ipMode: 'VIP' }] },
      conditions: [{ type: 'herald.dev/PortsHeld', message: '198.51.100.7 80/TCP' }],
    },
  },
  fields: [
    ...metadata,
    { at: 'spec.type', ...choice('LoadBalancer', 'NodePort', 'ExternalName') },
    {
      at: 'spec.clusterIP',
      good: ['10.96.0.7', 'fd00::7', 'None'],
      bad: notText,
      absent: 'default',
      empty: 'absent',
      without: ['spec.clusterIPs'],
    },
    { at: 'spec.clusterIPs', ...texts(['10.96.0.7'], ['10.96.0.7', 'fd00::7'], []), without: ['spec.clusterIP'] },
    { at: 'spec.externalIPs', ...texts(['203.0.113.7'], ['203.0.113.7', '2001:db8::7'], []) },
    { at: 'spec.loadBalancerClass', good: ['herald.dev/bgp', 'x'], bad: notText, absent: 'default', empty: 'absent' },
    { at: 'spec.loadBalancerIP', good: ['198.51.100.7', '::7'], bad: notText, absent: 'default', empty: 'absent' },
    { at: 'spec.loadBalancerSourceRanges', ...texts(['10.0.0.0/8'], ['10.0.0.0/8', '::/0'], []) },
    { at: 'spec.externalTrafficPolicy', ...choice('Local', 'Cluster') },
    { at: 'spec.internalTrafficPolicy', ...choice('Local', 'Cluster') },
    { at: 'spec.healthCheckNodePort', good: [30_100, 1], bad: ['x', -1, 65_536, 1.5, true], absent: 'default' },
    { at: 'spec.sessionAffinity', ...choice('ClientIP', 'None') },
    {
      at: 'spec.sessionAffinityConfig',
      good: [{ clientIP: { timeoutSeconds: 5 } }, {}],
      bad: ['x', 7, true, []],
      absent: 'default',
    },
    {
      at: 'spec.sessionAffinityConfig.clientIP',
      good: [{ timeoutSeconds: 1 }, {}],
      bad: ['x', 7, true, []],
      absent: 'default',
    },
    {
      at: 'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
      good: [1, 60, 86_400],
      bad: [0, -1, 86_401, 1.5, '60', true, [], {}],
      absent: 'default',
    },
    {
      at: 'spec.selector',
      good: [{ app: 'web' }, { app: null }, {}],
      bad: ['x', 7, [], { app: 7 }],
      absent: 'default',
    },
    {
      at: 'spec.ipFamilies',
      good: [
        ['IPv4', 'IPv6'],
        ['IPv6', 'IPv4'],
      ],
      bad: [...lists, ['IPv4', 'IPv4'], ['ipv4'], ['IPv5'], [''], [4]],
      absent: 'default',
    },
    {
      at: 'spec.ipFamilyPolicy',
      ...choice('RequireDualStack', 'PreferDualStack', 'SingleStack'),
    },
    { at: 'spec.ports', good: [], bad: [...lists, [7], [{}], [{ name: 'x' }]], absent: 'default' },
    { at: 'spec.ports[0].name', good: ['http', 'web'], bad: notText, absent: 'default', empty: 'absent' },
    { at: 'spec.ports[0].protocol', ...choice('TCP', 'UDP', 'SCTP') },
    {
      at: 'spec.ports[0].port',
      good: [80, 1, 65535],
      bad: [0, 65536, -1, 80.5, '80', true, [80]],
      absent: 'error',
    },
    { at: 'status.loadBalancer.ingress', good: [], bad: [...lists, [7], ['198.51.100.7']], absent: 'default' },
    {
      at: 'status.loadBalancer.ingress[0].ip',
      good: ['198.51.100.7', '2001:db8::7'],
      bad: notText,
      absent: 'default',
      empty: 'absent',
    },
    { at: 'status.conditions', good: [], bad: [], absent: 'default' },
  ],
})

testFields({
  kind: 'EndpointSlice',
  schema: endpointSliceSchema.omit({ metadata: true }),
  root: '',
  isOpen: true,
  isBuiltIn: true,
  example: {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [
      {
        addresses: ['10.244.1.5'],
        nodeName: 'node-a',
        targetRef: { kind: 'Pod', name: 'web-5' },
        conditions: { ready: false, serving: true, terminating: true },
      },
      { addresses: ['10.244.2.5'], nodeName: 'node-b' },
    ],
    ports: [
      { name: 'http', protocol: 'TCP', port: 8080 },
      { name: 'dns', protocol: 'UDP', port: 5353 },
    ],
  },
  fields: [
    {
      at: 'addressType',
      good: ['IPv4', 'IPv6', 'FQDN'],
      bad: [...notText, 'ipv4', 'IP', ' '],
      absent: 'error',
    },
    { at: 'endpoints', good: [], bad: [...lists, [7], [{}], [{ nodeName: 'a' }]], absent: 'default' },
    {
      at: 'endpoints[0].addresses',
      good: [['10.244.1.5'], ['10.244.1.5', '10.244.1.6'], []],
      bad: [...lists, [7], [null], Array.from({ length: 101 }, (_, index) => `10.244.1.${index}`)],
      absent: 'error',
    },
    { at: 'endpoints[0].nodeName', good: ['node-a', 'node-b'], bad: notText, absent: 'default', empty: 'absent' },
    // Only shown, so that whatever it is costs no endpoint.
    { at: 'endpoints[0].targetRef.kind', good: ['Pod', 'Node'], bad: [], absent: 'default', empty: 'absent' },
    { at: 'endpoints[0].targetRef.name', good: ['web-5', 'web-6'], bad: [], absent: 'default', empty: 'absent' },
    { at: 'endpoints[0].conditions.ready', ...flag },
    { at: 'endpoints[0].conditions.serving', ...flag },
    { at: 'endpoints[0].conditions.terminating', ...flag, isInert: true },
    { at: 'ports', good: [], bad: [...lists, [7]], absent: 'default' },
    { at: 'ports[0].name', good: ['http', 'web'], bad: notText, absent: 'default', empty: 'absent' },
    { at: 'ports[0].protocol', ...choice('TCP', 'UDP', 'SCTP') },
    {
      at: 'ports[0].port',
      good: [8080, 1, 65535],
      bad: [0, 65536, -1, 80.5, '80', true, [80]],
      absent: 'default',
    },
  ],
})

/** What is read of a Node; everything else in it is of others, and of any form. */
const nodeFields = z.object({
  spec: z.object({
    podCIDR: z.string(),
    podCIDRs: z.array(z.string()),
    unschedulable: z.unknown(),
    taints: z.unknown(),
  }),
  status: z.object({ addresses: z.unknown(), conditions: z.unknown() }),
})

testFields({
  kind: 'Node',
  schema: nodeFields,
  root: '',
  isOpen: true,
  isBuiltIn: true,
  example: {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node-a', labels: { tier: 'gold' }, annotations: { owner: 'us' } },
    spec: {
      podCIDR: '10.244.1.0/24',
      podCIDRs: ['10.244.1.0/24', '2001:db8:1::/64'],
      unschedulable: true,
      taints: [{ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }],
    },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.168.1.10' },
        { type: 'Hostname', address: 'node-a' },
      ],
      conditions: [{ type: 'Ready', status: 'False' }],
    },
  },
  fields: [
    ...metadata,
    {
      at: 'spec.podCIDR',
      good: ['10.244.1.0/24', '2001:db8:1::/64'],
      bad: [...notText, '10.244.1.0', '10.244.1.0/33', 'x', '10.244.1/24'],
      absent: 'default',
      empty: 'absent',
      without: ['spec.podCIDRs'],
    },
    {
      at: 'spec.podCIDRs',
      good: [['10.244.1.0/24'], ['10.244.1.0/24', '2001:db8:1::/64'], ['10.244.2.0/24']],
      bad: [...lists, [7], [null], ['10.244.1.0'], ['10.244.1.0/24', 'x'], [''], ['2001:db8:1::/129']],
      absent: 'default',
    },
    { at: 'spec.unschedulable', good: [true, false], bad: [], absent: 'default' },
    {
      at: 'spec.taints',
      good: [[{ key: 'a' }], [{ key: 'b' }], [], [{ key: 'a' }, { key: 'b' }]],
      bad: [],
      absent: 'default',
    },
    {
      at: 'status.addresses',
      good: [[{ type: 'InternalIP', address: '192.168.1.10' }], [{ type: 'ExternalIP', address: '192.168.1.10' }], []],
      bad: [...lists, [7], [{}], [{ type: 'InternalIP' }], [{ type: 'InternalIP', address: 'node-a' }]],
      absent: 'default',
    },
    {
      at: 'status.conditions',
      good: [
        [{ type: 'Ready', status: 'False' }],
        [{ type: 'Ready', status: 'True' }],
        [{ type: 'NetworkUnavailable', status: 'True' }],
      ],
      bad: [],
      absent: 'default',
    },
  ],
})
