/** cilium.io/v2alpha1 CiliumBGPPeeringPolicy: virtual routers and their neighbors. */
import { z } from 'zod'
import { familyOfAddress } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { fault, formatPath, labelSelectorSchema, metadataSchema, narrow, type Fault, type FieldPath, type Narrowed } from './narrow.ts'

const asn = z.number().int().min(0, 'an AS number is at least 0').max(4294967295, 'an AS number is at most 4294967295')
const selector = labelSelectorSchema.nullish()

const attributes = z.strictObject({
  selectorType: z.enum(['PodCIDR', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool']),
  selector,
  communities: z.strictObject({ standard: z.array(z.union([z.string(), z.number().transform(String)])).nullish(), wellKnown: z.array(z.string()).nullish(), large: z.array(z.string()).nullish() }).nullish(),
  localPreference: z.number().int().min(0).max(4294967295).nullish(),
})

const neighbor = z.strictObject({
  peerAddress: z.string(),
  peerPort: z.number().int().min(1).max(65535).nullish().transform((port) => port ?? 179),
  peerASN: asn,
  authSecretRef: z.string().nullish(),
  eBGPMultihopTTL: z.number().int().min(1).max(255).nullish().transform((ttl) => ttl ?? 1),
  connectRetryTimeSeconds: z.number().int().min(1).max(2147483647).nullish().transform((seconds) => seconds ?? 120),
  holdTimeSeconds: z.number().int().min(3).max(65535).nullish().transform((seconds) => seconds ?? 90),
  keepAliveTimeSeconds: z.number().int().min(1).max(65535).nullish(),
  gracefulRestart: z.strictObject({ enabled: z.boolean(), restartTimeSeconds: z.number().int().min(1).max(4095).nullish().transform((seconds) => seconds ?? 120) }).nullish(),
  families: z.array(z.strictObject({ afi: z.string(), safi: z.string() })).nullish(),
  advertisedPathAttributes: z.array(attributes).nullish(),
  serviceSelector: selector,
}).transform((peer) => ({ ...peer, keepAliveTimeSeconds: peer.keepAliveTimeSeconds ?? Math.min(30, Math.floor(peer.holdTimeSeconds / 3)) }))

const router = z.strictObject({
  localASN: asn.min(1, 'a local AS number is at least 1'),
  exportPodCIDR: z.boolean().nullish().transform((isExported) => isExported ?? false),
  podIPPoolSelector: selector,
  serviceSelector: selector,
  serviceAdvertisements: z.array(z.string()).nullish(),
  neighbors: z.array(neighbor).min(1, 'at least one neighbor is needed'),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({ nodeSelector: selector, virtualRouters: z.array(router).min(1, 'at least one virtual router is needed') }),
})

export type CiliumBgpPeeringPolicy = z.infer<typeof schema>
export type VirtualRouter = z.infer<typeof router>
export type PolicyNeighbor = z.infer<typeof neighbor>

export function parsePeeringPolicy(raw: RawObject): Narrowed<CiliumBgpPeeringPolicy> {
  return narrow(schema, raw, (policy) => {
    const faults: Fault[] = []
    const { nodeSelector, virtualRouters } = policy.spec
    if (!nodeSelector) faults.push(fault('warning', ['spec', 'nodeSelector'], 'NoNodeSelector', 'spec.nodeSelector is absent: the policy applies to every node', 'Write nodeSelector: {} to say so, or matchLabels to choose nodes.'))
    const seenAsn = new Set<number>()
    virtualRouters.forEach((entry, index) => {
      const path = ['spec', 'virtualRouters', index]
      if (seenAsn.has(entry.localASN)) faults.push(fault('error', [...path, 'localASN'], 'DuplicateRouter', `AS ${entry.localASN} has two virtual routers`, 'Put the neighbors into one virtual router.'))
      seenAsn.add(entry.localASN)
      faults.push(...checkRouter(entry, path))
    })
    return faults
  })
}

function checkRouter(entry: VirtualRouter, path: FieldPath): Fault[] {
  const faults: Fault[] = []
  if (!entry.serviceSelector && !entry.neighbors.some((peer) => peer.serviceSelector)) {
    faults.push(fault('warning', [...path, 'serviceSelector'], 'NoServiceSelector', `${formatPath(path)}.serviceSelector is absent: no Service is announced`, 'Write serviceSelector with matchLabels, or {} for every Service.'))
  }
  if (entry.podIPPoolSelector) faults.push(fault('warning', [...path, 'podIPPoolSelector'], 'NotServed', 'podIPPoolSelector is not served: pod IP pools exist in Cilium only', 'Use exportPodCIDR.'))
  for (const kind of entry.serviceAdvertisements ?? []) {
    if (kind !== 'LoadBalancerIP') faults.push(fault('warning', [...path, 'serviceAdvertisements'], 'NotServed', `serviceAdvertisements ${kind} is not served in this version`, 'Use LoadBalancerIP.'))
  }
  const seen = new Set<string>()
  entry.neighbors.forEach((peer, index) => {
    const at = [...path, 'neighbors', index]
    if (seen.has(peer.peerAddress)) faults.push(fault('error', [...at, 'peerAddress'], 'DuplicateNeighbor', `${peer.peerAddress} is listed twice in one virtual router`, 'Remove one of the two.'))
    seen.add(peer.peerAddress)
    faults.push(...checkNeighbor(peer, at))
  })
  return faults
}

function checkNeighbor(peer: PolicyNeighbor, at: FieldPath): Fault[] {
  const faults: Fault[] = []
  const parts = splitPrefix(peer.peerAddress)
  if (parts === undefined) {
    faults.push(fault('error', [...at, 'peerAddress'], 'InvalidPeerAddress', `peerAddress ${peer.peerAddress} is not an address with a mask`, 'Write 192.0.2.1/32 or 2001:db8::1/128.'))
  } else if (parts.length !== (familyOfAddress(parts.address) === 'ipv4' ? 32 : 128)) {
    faults.push(fault('error', [...at, 'peerAddress'], 'InvalidPeerMask', `peerAddress ${peer.peerAddress} is a network, not one router`, 'End the address with /32 (IPv4) or /128 (IPv6).'))
  }
  const { holdTimeSeconds: hold, keepAliveTimeSeconds: keepalive } = peer
  if (keepalive > hold) faults.push(fault('error', [...at, 'keepAliveTimeSeconds'], 'KeepaliveAboveHold', `keepAliveTimeSeconds ${keepalive} is above holdTimeSeconds ${hold}`, 'Use a third of the hold time.'))
  if (peer.serviceSelector) faults.push(fault('warning', [...at, 'serviceSelector'], 'SelectorUnderNeighbor', 'serviceSelector belongs under the virtual router; here it applies to this neighbor only', 'Move it up one level if it is meant for all neighbors.'))
  peer.families?.forEach(({ afi, safi }, index) => {
    if (!['ipv4', 'ipv6'].includes(afi) || safi !== 'unicast') faults.push(fault('warning', [...at, 'families', index], 'FamilyNotServed', `family ${afi}/${safi} is not served`, 'Use ipv4/unicast or ipv6/unicast.'))
  })
  peer.advertisedPathAttributes?.forEach(({ selectorType }, index) => {
    if (selectorType === 'CiliumPodIPPool') faults.push(fault('warning', [...at, 'advertisedPathAttributes', index, 'selectorType'], 'NotServed', 'selectorType CiliumPodIPPool is not served', 'Use PodCIDR.'))
  })
  return faults
}
