/** Custom resources as far as a list and a watch need them: any field goes. */
const crd = (group: string, versions: readonly string[], kind: string, plural: string): object => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${plural}.${group}` },
  spec: {
    group,
    scope: 'Cluster',
    names: { kind, plural, singular: kind.toLowerCase() },
    versions: versions.map((name, index) => ({
      name,
      served: true,
      storage: index === 0,
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      subresources: { status: {} },
    })),
  },
})

export const policyCrd = crd('cilium.io', ['v2alpha1'], 'CiliumBGPPeeringPolicy', 'ciliumbgppeeringpolicies')
export const poolCrd = crd('cilium.io', ['v2alpha1', 'v2'], 'CiliumLoadBalancerIPPool', 'ciliumloadbalancerippools')
