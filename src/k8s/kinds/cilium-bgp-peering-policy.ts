/**
 * cilium.io/v2alpha1 CiliumBGPPeeringPolicy: virtual routers and their neighbors, each a part with its last good
 * version, and so is what herald.dev/neighbors says. A policy of which no neighbor is left is not used at all.
 */
import * as z from 'zod'
import { type Address, familyOfAddress, formatAddress, parseAddress, unmapped } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import {
  afi,
  asn,
  communities,
  connectRetryTimeSeconds,
  familyFault,
  gracefulRestart,
  holdTimeSeconds,
  isServedFamily,
  keepaliveFaults,
  keepaliveOf,
  keepAliveTimeSeconds,
  localPreference,
  noFamily,
  numberOr,
  safi,
  serviceAddressTypes,
} from './cilium-bgp.ts'
import { fieldOf } from './fields.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import { unknownAnnotations } from './annotations.ts'
import {
  fault,
  metadataSchema,
  narrow,
  tooLong,
  wholeObject,
  type Fault,
  type FieldPath,
  type Narrowed,
  type Part,
  lastGoodStays,
} from './narrow.ts'
import {
  neighborsAnnotation,
  parseNeighborAnnotation,
  unmetEntries,
  type NeighborAnnotation,
} from './neighbor-annotation.ts'
import { narrowParts } from './parts.ts'
import { hostFaults } from './peer-host.ts'

const selector = labelSelectorSchema.nullish()

const attributesSchema = z.strictObject({
  selectorType: z.enum(['PodCIDR', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool']),
  selector,
  communities,
  localPreference,
})

const neighborSchema = z
  .strictObject({
    peerAddress: z.string(),
    peerPort: numberOr(1, 65535, 179),
    peerASN: asn,
    authSecretRef: z.string().nullish(),
    eBGPMultihopTTL: numberOr(1, 255, 1),
    connectRetryTimeSeconds,
    holdTimeSeconds,
    keepAliveTimeSeconds,
    gracefulRestart,
    families: z.array(z.strictObject({ afi, safi })).nullish(),
    advertisedPathAttributes: z.array(attributesSchema).nullish(),
    serviceSelector: selector,
  })
  .transform((peer) => ({
    ...peer,
    keepAliveTimeSeconds: keepaliveOf(peer.keepAliveTimeSeconds, peer.holdTimeSeconds),
  }))

const localAsn = asn.min(1)

const routerSchema = z.strictObject({
  localASN: localAsn,
  exportPodCIDR: z
    .boolean()
    .nullish()
    .transform((isExported) => isExported ?? false),
  podIPPoolSelector: selector,
  serviceSelector: selector,
  serviceAdvertisements: z.array(z.enum(serviceAddressTypes)).nullish(),
  neighbors: z.array(z.unknown()).min(1, 'no neighbor is written, and at least one is needed'),
})

const policySchema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({
    nodeSelector: selector,
    virtualRouters: z.array(z.unknown()).min(1, 'no virtual router is written, and at least one is needed'),
  }),
})

/** With its parts in place: what the API server checks. */
export const peeringPolicySpec = policySchema.shape.spec.extend({
  virtualRouters: z.array(routerSchema.extend({ neighbors: z.array(neighborSchema).min(1) })).min(1),
})

export type AdvertisedAttributes = z.infer<typeof attributesSchema>
/** `path`: where it stands in the object, for faults that are found later. `peerAddress` is canonical, without mask. */
export type PolicyNeighbor = z.infer<typeof neighborSchema> & { readonly path: FieldPath }
export type VirtualRouter = Omit<z.infer<typeof routerSchema>, 'neighbors'> & {
  readonly neighbors: readonly PolicyNeighbor[]
}

export interface CiliumBgpPeeringPolicy {
  readonly metadata: z.infer<typeof metadataSchema>
  readonly nodeSelector: z.infer<typeof labelSelectorSchema> | undefined
  readonly virtualRouters: readonly VirtualRouter[]
  readonly neighborKeys: NeighborAnnotation
}

/** Each is read by a schema of its own. */
const limits = [[['spec', 'virtualRouters'], 256]] as const

export function parsePeeringPolicy(raw: RawObject, before?: CiliumBgpPeeringPolicy): Narrowed<CiliumBgpPeeringPolicy> {
  const long = tooLong(raw, limits)
  if (long.length > 0) return { faults: long }
  const { value, faults: policyFaults } = narrow(
    policySchema,
    raw,
    ({ spec }) => checkNodeSelector(spec.nodeSelector),
    { ...wholeObject, before: before && { spec: { nodeSelector: before.nodeSelector } } },
  )
  if (value === undefined) return { faults: policyFaults }
  const { metadata, spec } = value
  const annotation = parseNeighborAnnotation(metadata.annotations, before?.neighborKeys)
  const { parts, faults: routerFaults } = narrowParts(
    spec.virtualRouters.map((entry, index) => [['spec', 'virtualRouters', index], entry]),
    {
      what: 'this virtual router',
      before: new Map((before?.virtualRouters ?? []).map((router) => [String(router.localASN), router])),
      keyOf: (entry) => numberKey(fieldOf(entry, 'localASN')),
      parse: parseRouter,
      twice: (at, key) =>
        fault(
          'error',
          [...at, 'localASN'],
          'DuplicateRouter',
          `AS ${key} has a virtual router already, which counts`,
          'Put the neighbors into one virtual router.',
        ),
    },
  )
  const virtualRouters = parts.map((part) => part.value)
  const addresses = new Set(virtualRouters.flatMap(({ neighbors }) => neighbors.map(({ peerAddress }) => peerAddress)))
  const faults = [
    ...policyFaults,
    ...unknownAnnotations(metadata.annotations, { prefixes: ['herald.dev/'], names: [neighborsAnnotation] }),
    ...annotation.faults,
    ...unmetEntries(annotation.keys, addresses, 'this policy'),
    ...routerFaults,
  ]
  if (virtualRouters.length === 0) return { faults }
  if (virtualRouters.every(({ neighbors }) => neighbors.length === 0)) {
    faults.push(
      fault(
        'error',
        ['spec', 'virtualRouters'],
        'NoNeighborLeft',
        'no neighbor of the policy is understood',
        `Correct the neighbors; ${lastGoodStays}.`,
      ),
    )
    return { faults }
  }
  return {
    value: { metadata, nodeSelector: spec.nodeSelector ?? undefined, virtualRouters, neighborKeys: annotation.keys },
    faults,
  }
}

function checkNodeSelector(nodeSelector: unknown): Fault[] {
  if (nodeSelector) return []
  const message = 'it is absent: the policy applies to every node'
  const remedy = 'Write nodeSelector: {} to say so, or matchLabels to choose nodes.'
  return [fault('warning', ['spec', 'nodeSelector'], 'NoNodeSelector', message, remedy)]
}

function parseRouter(entry: unknown, part: Part, before: VirtualRouter | undefined): Narrowed<VirtualRouter> {
  const { value, faults } = narrow(routerSchema, entry, (router) => checkRouter(router, part.at), {
    ...part,
    before,
  })
  if (value === undefined) return { faults }
  const { parts, faults: neighborFaults } = narrowParts(
    value.neighbors.map((each, index) => [[...part.at, 'neighbors', index], each]),
    {
      what: 'this neighbor',
      before: new Map<string, z.infer<typeof neighborSchema>>(
        (before?.neighbors ?? []).map((neighbor) => [neighbor.peerAddress, neighbor]),
      ),
      keyOf: (each) => neighborKey(fieldOf(each, 'peerAddress')),
      parse: (each, at, known) =>
        narrow(neighborSchema, each, (peer) => checkNeighbor(peer, at.at), { ...at, before: known }),
      twice: (at, key) =>
        fault(
          'error',
          [...at, 'peerAddress'],
          'DuplicateNeighbor',
          `${key} is listed twice in one virtual router; the first one counts`,
          'Remove one of the two.',
        ),
    },
  )
  const neighbors = parts.map(({ key, at, value: peer }) => ({ ...peer, peerAddress: key, path: at }))
  const router = { ...value, neighbors }
  return { value: router, faults: [...faults, ...neighborFaults, ...checkSelecting(router, part.at)] }
}

function checkSelecting({ serviceSelector, neighbors }: VirtualRouter, at: FieldPath): Fault[] {
  const isSelecting = serviceSelector || neighbors.some((neighbor) => neighbor.serviceSelector)
  if (isSelecting || neighbors.length === 0) return []
  const remedy = 'Write serviceSelector with matchLabels, or {} for every Service.'
  const message = 'it is absent: no Service is announced'
  return [fault('warning', [...at, 'serviceSelector'], 'NoServiceSelector', message, remedy)]
}

function checkRouter(
  { podIPPoolSelector, serviceAdvertisements }: z.infer<typeof routerSchema>,
  at: FieldPath,
): Fault[] {
  const faults: Fault[] = []
  if (podIPPoolSelector)
    faults.push(
      fault(
        'warning',
        [...at, 'podIPPoolSelector'],
        'NotServed',
        'it has no effect: pod IP pools exist in Cilium only',
        'Use exportPodCIDR.',
      ),
    )
  if (serviceAdvertisements?.length === 0) {
    const remedy = 'Leave it out for LoadBalancerIP, or name types of addresses.'
    const path = [...at, 'serviceAdvertisements']
    faults.push(
      fault('warning', path, 'NoServiceSelector', 'it is empty: no address of a Service is announced', remedy),
    )
  }
  return faults
}

/** A number that is no AS number does not say which virtual router it is of. */
function numberKey(value: unknown): string | undefined {
  return localAsn.safeParse(value).success ? String(value) : undefined
}

/** The canonical address of `192.0.2.1/32`; also where the mask is wrong or lost. */
function hostOf(written: unknown): string | undefined {
  const address = addressIn(written)
  return address === undefined ? undefined : formatAddress(address)
}

/** An address at which no router can be does not say which neighbor it is of. */
function neighborKey(written: unknown): string | undefined {
  const address = addressIn(written)
  if (address === undefined || hostFaults(address, []).some(({ severity }) => severity === 'error')) return undefined
  return formatAddress(address)
}

function addressIn(written: unknown): Address | undefined {
  if (typeof written !== 'string') return undefined
  const slash = written.indexOf('/')
  const address = parseAddress((slash < 0 ? written : written.slice(0, slash)).trim())
  return address === undefined ? undefined : unmapped(address)
}

/** What a text that is no address with a mask was meant to be, where it can be told. */
function addressRemedy(written: string): string {
  const bare = written.replace(/\s+/g, '')
  const [, link = '', zone = ''] = /^([^%]+)%([^/]+)(?:\/\d+)?$/.exec(bare) ?? []
  if (hostOf(link) !== undefined)
    return (
      `Write ${hostOf(link)}/128, and the interface as herald.dev/neighbors: '{"${hostOf(link)}": ` +
      `{interface: ${zone}}}'.`
    )
  const [, withPort = '', port = ''] = /^(\d+\.\d+\.\d+\.\d+)(?:\/32)?:(\d+)$/.exec(bare) ?? []
  if (hostOf(withPort) !== undefined) return `Write ${hostOf(withPort)}/32, and peerPort: ${port}.`
  const plain = bare.replace(/\/.*$/, '').replace(/^[\d.]+$/, (text) => text.replace(/(^|\.)0+(?=\d)/g, '$1'))
  const host = hostOf(plain)
  return host === undefined
    ? 'Write 192.0.2.1/32 or 2001:db8::1/128.'
    : `Write ${host}/${host.includes(':') ? 128 : 32}.`
}

function checkPeerAddress({ peerAddress }: z.infer<typeof neighborSchema>, at: FieldPath): Fault[] {
  const path = [...at, 'peerAddress']
  const host = hostOf(peerAddress)
  const parts = splitPrefix(peerAddress)
  if (host === undefined || (parts === undefined && peerAddress.includes('/'))) {
    const remedy = addressRemedy(peerAddress)
    return [fault('error', path, 'InvalidPeerAddress', `${peerAddress} is not an address with a mask`, remedy)]
  }
  if (parts !== undefined && parts.length === (familyOfAddress(parts.address) === 'ipv4' ? 32 : 128))
    return [...hostFaults(unmapped(parts.address), path)]
  const remedy = `Write ${host}/${host.includes(':') ? 128 : 32}.`
  if (parts === undefined) return [fault('error', path, 'InvalidPeerAddress', `${peerAddress} has no mask`, remedy)]
  return [fault('error', path, 'InvalidPeerMask', `${peerAddress} is a network, not one router`, remedy)]
}

function checkNeighbor(peer: z.infer<typeof neighborSchema>, at: FieldPath): Fault[] {
  const faults: Fault[] = checkPeerAddress(peer, at)
  faults.push(...keepaliveFaults(at, peer.keepAliveTimeSeconds, peer.holdTimeSeconds))
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
  const others = (peer.families ?? []).filter((family) => !isServedFamily(family))
  faults.push(...others.map((family) => familyFault(family, [...at, 'families'])))
  if (peer.families && peer.families.length === others.length) faults.push(noFamily([...at, 'families']))
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
