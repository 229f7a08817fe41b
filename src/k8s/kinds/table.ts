/** Every kind that Herald knows, and what becomes of an object of it. */
import type { ObjectKey, RawObject } from '../source.ts'
import { parsePeeringPolicy, type CiliumBgpPeeringPolicy } from './cilium-bgp-peering-policy.ts'
import { parseIpPool, type CiliumLoadBalancerIpPool } from './cilium-load-balancer-ip-pool.ts'
import { parseEndpointSlice, type EndpointSlice } from './endpoint-slice.ts'
import { fault, type Fault, type Narrowed } from './narrow.ts'
import { parseNode, type Node } from './node.ts'
import { parseSecret, type Secret } from './secret.ts'
import { parseService, type Service } from './service.ts'

export interface KindTable {
  readonly Service: Service
  readonly EndpointSlice: EndpointSlice
  readonly Node: Node
  readonly Secret: Secret
  readonly CiliumBGPPeeringPolicy: CiliumBgpPeeringPolicy
  readonly CiliumLoadBalancerIPPool: CiliumLoadBalancerIpPool
}

export type ServedKind = keyof KindTable

export const parsers: { readonly [K in ServedKind]: (raw: RawObject) => Narrowed<KindTable[K]> } = {
  Service: parseService,
  EndpointSlice: parseEndpointSlice,
  Node: parseNode,
  Secret: parseSecret,
  CiliumBGPPeeringPolicy: parsePeeringPolicy,
  CiliumLoadBalancerIPPool: parseIpPool,
}

const versions: Readonly<Record<ServedKind, readonly string[]>> = {
  Service: ['v1'],
  EndpointSlice: ['discovery.k8s.io/v1'],
  Node: ['v1'],
  Secret: ['v1'],
  CiliumBGPPeeringPolicy: ['cilium.io/v2alpha1'],
  CiliumLoadBalancerIPPool: ['cilium.io/v2alpha1', 'cilium.io/v2'],
}

export function isServed(key: ObjectKey): key is ObjectKey & { readonly kind: ServedKind } {
  return Object.hasOwn(versions, key.kind) && versions[key.kind as ServedKind].includes(key.apiVersion)
}

/** Of a kind that means something to a load balancer and is not read: a warning. Of any other kind: nothing. */
export function notServed({ apiVersion, kind }: ObjectKey): readonly Fault[] {
  const isRelated =
    apiVersion.startsWith('metallb.io/') ||
    (apiVersion.startsWith('cilium.io/') && /^Cilium(BGP|L2|LoadBalancer)/.test(kind))
  return isRelated
    ? [
        fault(
          'warning',
          [],
          'KindNotServed',
          `${kind} of ${apiVersion} is not served yet and has no effect`,
          'Use CiliumBGPPeeringPolicy (cilium.io/v2alpha1) and CiliumLoadBalancerIPPool.',
        ),
      ]
    : []
}
