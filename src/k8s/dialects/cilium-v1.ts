/** CiliumBGPPeeringPolicy -> NodePlan: the oldest policy that selects the node, and nothing of the others. Pure. */
import { type LabelSelector, selectorMatches } from '../../desired/label-selector.ts'
import type { AddressFamilyName, RouteAttributes } from '../../desired/model.ts'
import type { AdvertisedAttributes, PolicyNeighbor, VirtualRouter } from '../kinds/cilium-bgp-peering-policy.ts'
import { fault, type FieldPath } from '../kinds/narrow.ts'
import { overridesFor } from '../kinds/neighbor-annotation.ts'
import { problemOf } from '../kinds/problems.ts'
import { byAge, type Stored } from '../kinds/table.ts'
import { ciliumAttributes } from './cilium-attributes.ts'
import type { Advertisement, AttributeRule, Dialect, NodeFacts, NodePlan, PlanNeighbor } from './node-plan.ts'

type Policy = Stored<'CiliumBGPPeeringPolicy'>

export const ciliumV1: Dialect = {
  loadBalancerClasses: ['io.cilium/bgp-control-plane'],
  planKinds: ['CiliumBGPPeeringPolicy'],
  rivalKinds: ['CiliumBGPPeeringPolicy'],
  plan({ CiliumBGPPeeringPolicy: policies }, node, { secretsNamespace }) {
    const [chosen, ...others] = [...policies.values()]
      .filter(({ value }) => node.isStandIn || selectorMatches(value.nodeSelector ?? {}, node.labels))
      .sort(byAge)
    const problems = others.map(({ key, origin }) => problemOf(conflict(chosen, node), key, origin))
    const noPlan = {
      isConfigured: policies.size > 0,
      message:
        policies.size === 0
          ? 'there is no CiliumBGPPeeringPolicy'
          : `no CiliumBGPPeeringPolicy selects node ${node.name}`,
      remedy: 'Create a CiliumBGPPeeringPolicy whose nodeSelector matches this node.',
    }
    const plan = chosen === undefined ? undefined : planOf(chosen, node, secretsNamespace)
    return { plan, noPlan, problems }
  },
}

function conflict(chosen: Policy | undefined, { name }: NodeFacts) {
  const message =
    `policy ${chosen?.key.name ?? ''}, which is older, applies to node ${name}; this one has no ` + `effect there`
  const remedy = 'Let their node selectors exclude each other.'
  return fault('error', ['spec', 'nodeSelector'], 'PolicyConflict', message, remedy)
}

function planOf(policy: Policy, node: NodeFacts, secretsNamespace: string): NodePlan {
  const { value } = policy
  const neighbors = value.virtualRouters.flatMap((router) =>
    router.neighbors.map((spec) => neighborOf({ policy, router, spec, node, secretsNamespace })),
  )
  return {
    names: [nameOf(policy)],
    neighbors,
    podCidrExports: value.virtualRouters.some(({ exportPodCIDR }) => exportPodCIDR)
      ? [{ from: policy, name: nameOf(policy), field: 'exportPodCIDR', path: ['spec', 'virtualRouters'] }]
      : [],
  }
}

const nameOf = ({ key }: Policy): string => `policy ${key.name}`

interface NeighborInput {
  readonly policy: Policy
  readonly router: VirtualRouter
  readonly spec: PolicyNeighbor
  readonly node: NodeFacts
  readonly secretsNamespace: string
}

function neighborOf({ policy, router, spec, node, secretsNamespace }: NeighborInput): PlanNeighbor {
  const { peerAddress, authSecretRef: secret } = spec
  const { neighborKeys } = node
  const families = familiesOf(spec)
  return {
    from: policy,
    path: spec.path,
    virtualRouter: String(router.localASN),
    localAsn: router.localASN,
    peerAsn: spec.peerASN,
    peerAddress,
    peerPort: spec.peerPort,
    families,
    holdTimeSec: spec.holdTimeSeconds,
    keepaliveSec: spec.keepAliveTimeSeconds,
    connectRetrySec: spec.connectRetryTimeSeconds,
    multihopTtl: spec.eBGPMultihopTTL,
    ...(spec.gracefulRestart?.enabled === true
      ? { gracefulRestart: { restartTimeSec: spec.gracefulRestart.restartTimeSeconds } }
      : {}),
    ...(secret ? { secret: { id: `${secretsNamespace}/${secret}`, field: 'authSecretRef' } } : {}),
    overrides: overridesFor(peerAddress, [policy.value.neighborKeys, neighborKeys]),
    ownKeys: new Set(overridesFor(peerAddress, [neighborKeys]).flatMap((keys) => Object.keys(keys))),
    advertisements: families.flatMap((family) => advertisementsOf({ policy, router, spec, node }, family)),
  }
}

function familiesOf({ families }: PolicyNeighbor): readonly AddressFamilyName[] {
  if (!families) return ['ipv4-unicast', 'ipv6-unicast']
  return (['ipv4', 'ipv6'] as const)
    .filter((name) => families.some(({ afi, safi }) => afi === name && safi === 'unicast'))
    .map((name) => `${name}-unicast` as const)
}

function advertisementsOf(
  { policy, router, spec, node }: Omit<NeighborInput, 'secretsNamespace'>,
  family: AddressFamilyName,
): readonly Advertisement[] {
  const selector = spec.serviceSelector ?? router.serviceSelector ?? undefined
  const services = rulesOf(spec, 'CiliumLoadBalancerIPPool').map(
    ({ selector: poolSelector, ...rule }): AttributeRule => ({ from: policy, poolSelector, ...rule }),
  )
  const podCidrs = rulesOf(spec, 'PodCIDR').flatMap(({ selector: nodes, ...rule }): AttributeRule[] =>
    selectorMatches(nodes, node.labels) ? [{ from: policy, ...rule }] : [],
  )
  const said = { name: nameOf(policy), family }
  const addressTypes = router.serviceAdvertisements
  return [
    ...(selector === undefined || addressTypes?.length === 0
      ? []
      : [
          {
            ...said,
            type: 'Service' as const,
            selector,
            ...(addressTypes ? { addressTypes } : {}),
            attributes: services,
          },
        ]),
    ...(router.exportPodCIDR ? [{ ...said, type: 'PodCIDR' as const, attributes: podCidrs }] : []),
  ]
}

interface WrittenRule {
  readonly path: FieldPath
  readonly selector: LabelSelector
  readonly attributes: RouteAttributes
}

function rulesOf(spec: PolicyNeighbor, type: AdvertisedAttributes['selectorType']): readonly WrittenRule[] {
  return (spec.advertisedPathAttributes ?? []).flatMap((entry, index): WrittenRule[] =>
    entry.selectorType === type
      ? [
          {
            path: [...spec.path, 'advertisedPathAttributes', index],
            selector: entry.selector ?? {},
            attributes: ciliumAttributes(entry),
          },
        ]
      : [],
  )
}
