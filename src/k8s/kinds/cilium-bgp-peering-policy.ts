/**
 * cilium.io/v2alpha1 CiliumBGPPeeringPolicy: virtual routers and their neighbors. Each neighbor is narrowed by itself:
 * a
 * broken one is left out, the others stay. A policy of which nothing else is left is not used at all.
 */
import * as z from 'zod'
import { familyOfAddress } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { largeCommunity, standardCommunity, wellKnownCommunity } from './communities.ts'
import {
  fault,
  formatPath,
  labelSelectorSchema,
  metadataSchema,
  narrow,
  type Fault,
  type FieldPath,
  type Narrowed,
} from './narrow.ts'

const asn = z.number().int().min(0, 'an AS number is at least 0').max(4294967295, 'an AS number is at most 4294967295')
const selector = labelSelectorSchema.nullish()

const attributesSchema = z.strictObject({
  selectorType: z.enum(['PodCIDR', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool']),
  selector,
  communities: z
    .strictObject({
      standard: z.array(standardCommunity).nullish(),
      wellKnown: z.array(wellKnownCommunity).nullish(),
      large: z.array(largeCommunity).nullish(),
    })
    .nullish(),
  localPreference: z.number().int().min(0).max(4294967295).nullish(),
})

const neighborSchema = z
  .strictObject({
    peerAddress: z.string(),
    peerPort: z
      .number()
      .int()
      .min(1)
      .max(65535)
      .nullish()
      .transform((port) => port ?? 179),
    peerASN: asn,
    authSecretRef: z.string().nullish(),
    eBGPMultihopTTL: z
      .number()
      .int()
      .min(1)
      .max(255)
      .nullish()
      .transform((ttl) => ttl ?? 1),
    connectRetryTimeSeconds: z
      .number()
      .int()
      .min(1)
      .max(2147483647)
      .nullish()
      .transform((seconds) => seconds ?? 120),
    holdTimeSeconds: z
      .number()
      .int()
      .min(3)
      .max(65535)
      .nullish()
      .transform((seconds) => seconds ?? 90),
    keepAliveTimeSeconds: z.number().int().min(1).max(65535).nullish(),
    gracefulRestart: z
      .strictObject({
        enabled: z.boolean(),
        restartTimeSeconds: z
          .number()
          .int()
          .min(1)
          .max(4095)
          .nullish()
          .transform((seconds) => seconds ?? 120),
      })
      .nullish(),
    families: z.array(z.strictObject({ afi: z.string(), safi: z.string() })).nullish(),
    advertisedPathAttributes: z.array(attributesSchema).nullish(),
    serviceSelector: selector,
  })
  .transform((peer) => ({
    ...peer,
    keepAliveTimeSeconds: peer.keepAliveTimeSeconds ?? Math.min(30, Math.floor(peer.holdTimeSeconds / 3)),
  }))

const routerSchema = z.strictObject({
  localASN: asn.min(1, 'a local AS number is at least 1'),
  exportPodCIDR: z
    .boolean()
    .nullish()
    .transform((isExported) => isExported ?? false),
  podIPPoolSelector: selector,
  serviceSelector: selector,
  serviceAdvertisements: z.array(z.string()).nullish(),
  neighbors: z.array(z.unknown()).min(1, 'at least one neighbor is needed'),
})

const policySchema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({
    nodeSelector: selector,
    virtualRouters: z.array(routerSchema).min(1, 'at least one virtual router is needed'),
  }),
})

export type PathAttributes = z.infer<typeof attributesSchema>
/** `path`: where it stands in the object, for faults that are found later. */
export type PolicyNeighbor = z.infer<typeof neighborSchema> & { readonly path: FieldPath }
export type VirtualRouter = Omit<z.infer<typeof routerSchema>, 'neighbors'> & {
  readonly neighbors: readonly PolicyNeighbor[]
}

export interface CiliumBgpPeeringPolicy {
  readonly metadata: z.infer<typeof metadataSchema>
  readonly nodeSelector: z.infer<typeof labelSelectorSchema> | undefined
  readonly virtualRouters: readonly VirtualRouter[]
}

export function parsePeeringPolicy(raw: RawObject): Narrowed<CiliumBgpPeeringPolicy> {
  const { value, faults: policyFaults } = narrow(policySchema, raw, ({ spec }) => checkPolicy(spec))
  if (value === undefined) return { faults: policyFaults }
  const { metadata, spec } = value
  const faults = [...policyFaults]
  const virtualRouters = spec.virtualRouters.map((router, index) => {
    const path = ['spec', 'virtualRouters', index]
    const neighbors = parseNeighbors(router.neighbors, [...path, 'neighbors'], faults)
    const isSelecting = router.serviceSelector || neighbors.some(({ serviceSelector }) => serviceSelector)
    if (!isSelecting && neighbors.length > 0)
      faults.push(
        fault(
          'warning',
          [...path, 'serviceSelector'],
          'NoServiceSelector',
          `${formatPath(path)}.serviceSelector is absent: no Service is announced`,
          'Write serviceSelector with matchLabels, or {} for every Service.',
        ),
      )
    return { ...router, neighbors }
  })
  if (virtualRouters.every(({ neighbors }) => neighbors.length === 0)) {
    faults.push(
      fault(
        'error',
        ['spec', 'virtualRouters'],
        'NoNeighborLeft',
        'no neighbor of the policy is understood: its last good version stays in force',
        'Correct the neighbors.',
      ),
    )
    return { faults }
  }
  return { value: { metadata, nodeSelector: spec.nodeSelector ?? undefined, virtualRouters }, faults }
}

function checkPolicy({ nodeSelector, virtualRouters }: z.infer<typeof policySchema>['spec']): Fault[] {
  const faults: Fault[] = []
  if (!nodeSelector)
    faults.push(
      fault(
        'warning',
        ['spec', 'nodeSelector'],
        'NoNodeSelector',
        'spec.nodeSelector is absent: the policy applies to every node',
        'Write nodeSelector: {} to say so, or matchLabels to choose nodes.',
      ),
    )
  const seen = new Set<number>()
  virtualRouters.forEach(({ localASN, podIPPoolSelector, serviceAdvertisements }, index) => {
    const path = ['spec', 'virtualRouters', index]
    if (seen.has(localASN))
      faults.push(
        fault(
          'error',
          [...path, 'localASN'],
          'DuplicateRouter',
          `AS ${localASN} has two virtual routers`,
          'Put the neighbors into one virtual router.',
        ),
      )
    seen.add(localASN)
    if (podIPPoolSelector)
      faults.push(
        fault(
          'warning',
          [...path, 'podIPPoolSelector'],
          'NotServed',
          'podIPPoolSelector is not served: pod IP pools exist in Cilium only',
          'Use exportPodCIDR.',
        ),
      )
    for (const kind of serviceAdvertisements ?? []) {
      if (kind !== 'LoadBalancerIP')
        faults.push(
          fault(
            'warning',
            [...path, 'serviceAdvertisements'],
            'NotServed',
            `serviceAdvertisements ${kind} is not served in this version`,
            'Use LoadBalancerIP.',
          ),
        )
    }
  })
  return faults
}

function parseNeighbors(entries: readonly unknown[], at: FieldPath, faults: Fault[]): readonly PolicyNeighbor[] {
  const found = new Map<string, PolicyNeighbor>()
  entries.forEach((entry, index) => {
    const path = [...at, index]
    const narrowed = narrow(neighborSchema, entry, (peer) => checkNeighbor(peer, path), {
      at: path,
      meanwhile: 'this neighbor is left out until then',
    })
    faults.push(...narrowed.faults)
    const peer = narrowed.value
    if (peer === undefined) return
    if (found.has(peer.peerAddress))
      faults.push(
        fault(
          'error',
          [...path, 'peerAddress'],
          'DuplicateNeighbor',
          `${peer.peerAddress} is listed twice in one virtual router; the first one counts`,
          'Remove one of the two.',
        ),
      )
    else found.set(peer.peerAddress, { ...peer, path })
  })
  return [...found.values()]
}

function checkPeerAddress({ peerAddress }: z.infer<typeof neighborSchema>, at: FieldPath): Fault[] {
  const path = [...at, 'peerAddress']
  const parts = splitPrefix(peerAddress)
  if (parts === undefined) {
    const remedy = 'Write 192.0.2.1/32 or 2001:db8::1/128.'
    return [
      fault('error', path, 'InvalidPeerAddress', `peerAddress ${peerAddress} is not an address with a mask`, remedy),
    ]
  }
  if (parts.length === (familyOfAddress(parts.address) === 'ipv4' ? 32 : 128)) return []
  const remedy = 'End the address with /32 (IPv4) or /128 (IPv6).'
  return [fault('error', path, 'InvalidPeerMask', `peerAddress ${peerAddress} is a network, not one router`, remedy)]
}

function checkNeighbor(peer: z.infer<typeof neighborSchema>, at: FieldPath): Fault[] {
  const faults: Fault[] = checkPeerAddress(peer, at)
  const { holdTimeSeconds: hold, keepAliveTimeSeconds: keepalive } = peer
  if (keepalive > hold)
    faults.push(
      fault(
        'error',
        [...at, 'keepAliveTimeSeconds'],
        'KeepaliveAboveHold',
        `keepAliveTimeSeconds ${keepalive} is above holdTimeSeconds ${hold}`,
        'Use a third of the hold time.',
      ),
    )
  if (peer.serviceSelector)
    faults.push(
      fault(
        'warning',
        [...at, 'serviceSelector'],
        'SelectorUnderNeighbor',
        'serviceSelector belongs under the virtual router; here it applies to this neighbor only',
        'Move it up one level if it is meant for all neighbors.',
      ),
    )
  const others = (peer.families ?? []).filter(({ afi, safi }) => !['ipv4', 'ipv6'].includes(afi) || safi !== 'unicast')
  for (const { afi, safi } of others)
    faults.push(
      fault(
        'warning',
        [...at, 'families'],
        'FamilyNotServed',
        `family ${afi}/${safi} is not served`,
        'Use ipv4/unicast or ipv6/unicast.',
      ),
    )
  if (peer.families && peer.families.length === others.length)
    faults.push(
      fault(
        'error',
        [...at, 'families'],
        'NoFamily',
        'no family is left that is served: this neighbor is left out',
        'Use ipv4/unicast or ipv6/unicast.',
      ),
    )
  peer.advertisedPathAttributes?.forEach(({ selectorType }, index) => {
    if (selectorType === 'CiliumPodIPPool')
      faults.push(
        fault(
          'warning',
          [...at, 'advertisedPathAttributes', index, 'selectorType'],
          'NotServed',
          'selectorType CiliumPodIPPool is not served',
          'Use PodCIDR.',
        ),
      )
  })
  return faults
}
