/** The CustomResourceDefinitions of the chart, and those that MetalLB alone brings, for clusters of tests. */
import { crdOf } from '../../scripts/crds.ts'

export const policyCrd = crdOf('CiliumBGPPeeringPolicy')
export const poolCrd = crdOf('CiliumLoadBalancerIPPool')

/** As MetalLB 0.15.3 ships them, without the descriptions. */
export const stateCrd = metallbCrd(
  'ConfigurationState',
  'configurationstates',
  { Result: '.status.result', ErrorSummary: '.status.errorSummary' },
  stateSchema(),
)

const unchanged = {
  ...{ type: 'string' },
  'x-kubernetes-validations': [{ message: 'Value is immutable', rule: 'self == oldSelf' }],
}
export const serviceStatusCrd = metallbCrd(
  'ServiceBGPStatus',
  'servicebgpstatuses',
  {
    ...{ Node: '.status.node', 'Service Name': '.status.serviceName' },
    ...{ 'Service Namespace': '.status.serviceNamespace' },
  },
  {
    type: 'object',
    properties: {
      ...{ node: unchanged, serviceName: unchanged, serviceNamespace: unchanged },
      peers: { type: 'array', items: { type: 'string' } },
    },
  },
)

/** As Cilium brings it, without what nobody here reads of its schema. */
export const ciliumNodeCrd: object = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'ciliumnodes.cilium.io' },
  spec: {
    group: 'cilium.io',
    scope: 'Cluster',
    names: { kind: 'CiliumNode', listKind: 'CiliumNodeList', plural: 'ciliumnodes', singular: 'ciliumnode' },
    versions: [
      {
        name: 'v2',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
}

function metallbCrd(kind: string, plural: string, columns: Readonly<Record<string, string>>, status: object): object {
  const text = { type: 'string' }
  const properties = { apiVersion: text, kind: text, metadata: { type: 'object' }, spec: { type: 'object' }, status }
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.metallb.io` },
    spec: {
      group: 'metallb.io',
      scope: 'Namespaced',
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() },
      versions: [
        {
          name: 'v1beta1',
          ...{ served: true, storage: true },
          subresources: { status: {} },
          additionalPrinterColumns: Object.entries(columns).map(([name, jsonPath]) => ({
            ...{ name, jsonPath },
            type: 'string',
          })),
          schema: { openAPIV3Schema: { type: 'object', properties } },
        },
      ],
    },
  }
}

function stateSchema(): object {
  const word = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'
  const part = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
  const condition = {
    type: 'object',
    required: ['lastTransitionTime', 'message', 'reason', 'status', 'type'],
    properties: {
      lastTransitionTime: { type: 'string', format: 'date-time' },
      message: { type: 'string', maxLength: 32768 },
      observedGeneration: { type: 'integer', format: 'int64', minimum: 0 },
      reason: {
        ...{ type: 'string', minLength: 1, maxLength: 1024 },
        pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$',
      },
      status: { type: 'string', enum: ['True', 'False', 'Unknown'] },
      type: { type: 'string', maxLength: 316, pattern: `^(${part}(\\.${part})*/)?(${word})$` },
    },
  }
  const conditions = {
    ...{ type: 'array', items: condition },
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
  }
  return {
    type: 'object',
    properties: {
      conditions,
      errorSummary: { type: 'string' },
      result: { type: 'string', enum: ['Valid', 'Invalid', 'Unknown'] },
    },
  }
}
