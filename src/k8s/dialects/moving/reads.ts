/**
 * What of a cluster is read for a report. Lists and single objects, by GET alone; Secrets only by name. Pure.
 */
import { kinds, type ServedKind } from '../../kinds/table.ts'

export interface ClusterRead {
  /** Of the items, which lists do not repeat. */
  readonly kind: string
  /** Tried in this order until one is served. */
  readonly versions: readonly string[]
  /** Below the version: `nodes`, `namespaces/kube-system/configmaps/kube-proxy`. */
  readonly place: string
  readonly query?: string
  /** One object and no list. */
  readonly isSingle?: boolean
}

/** Versions that read the same; the newer ones first. */
function readsOfKinds(): readonly ClusterRead[] {
  return (Object.keys(kinds) as ServedKind[])
    .filter((kind) => kind !== 'Secret' && kind !== 'Lease')
    .map((kind) => ({ kind, versions: kinds[kind].versions.toReversed(), place: kinds[kind].resource }))
}

const single = (kind: string, version: string, place: string): ClusterRead => ({
  kind,
  versions: [version],
  place,
  isSingle: true,
})

const crds = ['bgppeers', 'ipaddresspools', 'bgpadvertisements', 'l2advertisements', 'communities', 'bfdprofiles']

export const clusterReads: readonly ClusterRead[] = [
  ...readsOfKinds(),
  { kind: 'DaemonSet', versions: ['apps/v1'], place: 'daemonsets' },
  { kind: 'Deployment', versions: ['apps/v1'], place: 'deployments' },
  {
    kind: 'ValidatingWebhookConfiguration',
    versions: ['admissionregistration.k8s.io/v1'],
    place: 'validatingwebhookconfigurations',
  },
  ...crds.map((name) =>
    single('CustomResourceDefinition', 'apiextensions.k8s.io/v1', `customresourcedefinitions/${name}.metallb.io`),
  ),
  { kind: 'FRRConfiguration', versions: ['frrk8s.metallb.io/v1beta1'], place: 'frrconfigurations' },
  { kind: 'AddressPool', versions: ['metallb.io/v1beta1', 'metallb.io/v1alpha1'], place: 'addresspools' },
  { kind: 'MetalLB', versions: ['metallb.io/v1beta1'], place: 'metallbs' },
  ...['bgpextras', 'metallb-excludel2', 'config', 'bgp-config'].map((name) => ({
    kind: 'ConfigMap',
    versions: ['v1'],
    place: 'configmaps',
    query: `fieldSelector=metadata.name%3D${name}`,
  })),
  single('ConfigMap', 'v1', 'namespaces/kube-system/configmaps/kube-proxy'),
  single('ConfigMap', 'v1', 'namespaces/kube-system/configmaps/cilium-config'),
]

export function secretRead(id: string): ClusterRead {
  const [namespace = '', name = ''] = id.split('/')
  return single('Secret', 'v1', `namespaces/${namespace}/secrets/${name}`)
}
