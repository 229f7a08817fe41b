/**
 * cilium.io CiliumBGPClusterConfig: instances of BGP and their peers, each a part with its last good version, and so is
 * what herald.dev/neighbors says. What a peer is spoken with stands in a CiliumBGPPeerConfig.
 */
import * as z from 'zod'
import { formatAddress, isLinkLocal, parseAddress, splitZone, unmapped } from '../../ip/address.ts'
import type { RawObject } from '../source.ts'
import { asn, partName, port } from './cilium-bgp.ts'
import { nameOf } from './fields.ts'
import { labelSelectorSchema } from './label-syntax.ts'
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
import { unknownAnnotations } from './annotations.ts'
import {
  interfaceName,
  neighborsAnnotation,
  parseNeighborAnnotation,
  unmetEntries,
  type NeighborAnnotation,
} from './neighbor-annotation.ts'
import { narrowParts } from './parts.ts'
import { hostFaults } from './peer-host.ts'
import { optionalText } from './schemas.ts'

const discoverySchema = z.strictObject({
  mode: z.enum(['DefaultGateway', 'Unnumbered']),
  defaultGateway: z.strictObject({ addressFamily: z.enum(['ipv4', 'ipv6']) }).nullish(),
  unnumbered: z
    .strictObject({ interface: z.string().regex(interfaceName, 'it is not the name of an interface') })
    .nullish(),
})

const peerSchema = z.strictObject({
  name: partName,
  peerAddress: optionalText,
  peerASN: asn.nullish().transform((value) => value ?? 0),
  autoDiscovery: discoverySchema.nullish(),
  peerConfigRef: z
    .strictObject({
      name: z.string().min(1),
      /** Of early versions: there is one kind that it can be. */
      group: optionalText,
      kind: optionalText,
    })
    .nullish(),
})

const instanceSchema = z.strictObject({
  name: partName,
  localASN: asn.min(1).nullish(),
  localPort: port.nullish(),
  peers: z.array(z.unknown()).nullish(),
  bmpServers: z.array(z.unknown()).nullish(),
})

const instances = z.array(z.unknown()).min(1, 'no instance is written, and at least one is needed')

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({
    nodeSelector: labelSelectorSchema.nullish(),
    bgpInstances: instances.max(16, 'at most 16 instances are taken'),
  }),
})

/** With its parts in place: what the API server checks. */
export const clusterConfigSpec = schema.shape.spec.extend({
  bgpInstances: z
    .array(instanceSchema.extend({ peers: z.array(peerSchema).nullish() }))
    .min(1)
    .max(16),
})

/** Whom a peer is: an address, or what is found at run time. */
export type PeerTarget =
  /** Canonical; `device` of a link-local one that was written with it. */
  | { readonly kind: 'address'; readonly address: string; readonly device?: string }
  | { readonly kind: 'gateway'; readonly family: 'ipv4' | 'ipv6' }
  | { readonly kind: 'unnumbered'; readonly device: string }

export interface BgpPeer {
  readonly name: string
  /** Where it stands in the object. */
  readonly path: FieldPath
  readonly target: PeerTarget
  /** 0: whatever its OPEN says. */
  readonly peerASN: number
  /** A CiliumBGPPeerConfig; undefined: the defaults. */
  readonly peerConfigRef: { readonly name: string } | undefined
}

export interface BgpInstance {
  readonly name: string
  readonly path: FieldPath
  readonly localASN: number | undefined
  readonly localPort: number | undefined
  readonly peers: readonly BgpPeer[]
}

export interface CiliumBgpClusterConfig {
  readonly metadata: z.infer<typeof metadataSchema>
  /** undefined: every node. */
  readonly nodeSelector: z.infer<typeof labelSelectorSchema> | undefined
  readonly instances: readonly BgpInstance[]
  readonly neighborKeys: NeighborAnnotation
}

const list = ['spec', 'bgpInstances'] as const

export function parseClusterConfig(raw: RawObject, before?: CiliumBgpClusterConfig): Narrowed<CiliumBgpClusterConfig> {
  const long = tooLong(raw, [[list, 16]])
  if (long.length > 0) return { faults: long }
  const { value, faults: ownFaults } = narrow(schema, raw, () => [], {
    ...wholeObject,
    before: before && { spec: { nodeSelector: before.nodeSelector } },
  })
  if (value === undefined) return { faults: ownFaults }
  const { metadata, spec } = value
  const annotation = parseNeighborAnnotation(metadata.annotations, before?.neighborKeys)
  const { parts, faults } = narrowParts<BgpInstance>(
    spec.bgpInstances.map((entry, index) => [[...list, index], entry]),
    {
      what: 'this instance',
      before: new Map((before?.instances ?? []).map((instance) => [instance.name, instance])),
      keyOf: nameOf,
      parse: parseInstance,
      twice: (at, key) => twiceNamed(at, 'DuplicateRouter', `an instance ${key}`),
    },
  )
  const targets = parts.flatMap((part) => part.value.peers.map(({ target }) => target))
  const said = [
    ...ownFaults,
    ...unknownAnnotations(metadata.annotations, { prefixes: ['herald.dev/'], names: [neighborsAnnotation] }),
    ...annotation.faults,
    ...unmetKeys(annotation.keys, targets),
    ...faults,
  ]
  const nodeSelector = spec.nodeSelector ?? undefined
  const own = parts.map((part) => part.value)
  // Not even one instance is understood, and there was none before.
  if (own.length === 0) return { faults: said }
  if (faults.some(({ severity }) => severity === 'error') && own.every(({ peers }) => peers.length === 0)) {
    const remedy = `Correct the peers; ${lastGoodStays}.`
    return { faults: [...said, fault('error', list, 'NoNeighborLeft', 'no peer of it is understood', remedy)] }
  }
  return { value: { metadata, nodeSelector, instances: own, neighborKeys: annotation.keys }, faults: said }
}

/** What the gateway of a node is, only the node knows. */
function unmetKeys(keys: NeighborAnnotation, targets: readonly PeerTarget[]): readonly Fault[] {
  if (targets.some(({ kind }) => kind === 'gateway')) return []
  const addresses = targets.map((target) => (target.kind === 'address' ? target.address : '::'))
  return unmetEntries(keys, new Set(addresses), 'this configuration')
}

function twiceNamed(at: FieldPath, code: 'DuplicateRouter' | 'DuplicateNeighbor', what: string): Fault {
  const remedy = 'Give each a name of its own.'
  return fault('error', [...at, 'name'], code, `there is ${what} already, which counts`, remedy)
}

function parseInstance(entry: unknown, part: Part, before: BgpInstance | undefined): Narrowed<BgpInstance> {
  const { value, faults } = narrow(instanceSchema, entry, ({ bmpServers }) => bmpFaults(bmpServers, part.at), {
    ...part,
    before,
  })
  if (value === undefined) return { faults }
  const { parts, faults: peerFaults } = narrowParts<BgpPeer>(
    (value.peers ?? []).map((each, index) => [[...part.at, 'peers', index], each]),
    {
      what: 'this peer',
      before: new Map((before?.peers ?? []).map((peer) => [peer.name, peer])),
      keyOf: nameOf,
      parse: parsePeer,
      twice: (at, key) => twiceNamed(at, 'DuplicateNeighbor', `a peer ${key}`),
    },
  )
  const { name, localASN, localPort } = value
  const peers = parts.map(({ at, value: peer }) => ({ ...peer, path: at }))
  const instance = {
    name,
    path: part.at,
    localASN: localASN ?? undefined,
    localPort: localPort ?? undefined,
    peers,
  }
  return { value: instance, faults: [...faults, ...peerFaults] }
}

function bmpFaults(servers: readonly unknown[] | null | undefined, at: FieldPath): readonly Fault[] {
  if (!servers || servers.length === 0) return []
  const message = 'BMP is not spoken in this version'
  return [fault('warning', [...at, 'bmpServers'], 'NotServed', message, 'Watch the peers through /metrics.')]
}

function parsePeer(entry: unknown, part: Part, before: BgpPeer | undefined): Narrowed<BgpPeer> {
  const { value, faults } = narrow(peerSchema, entry, (peer) => checkPeer(peer, part.at), { ...part, before })
  if (value === undefined) return { faults }
  const target = targetOf(value)
  if (target === undefined) return { faults }
  const { name, peerASN, peerConfigRef } = value
  const reference = peerConfigRef ? { name: peerConfigRef.name } : undefined
  return { value: { name, path: part.at, target, peerASN, peerConfigRef: reference }, faults }
}

type WrittenPeer = z.infer<typeof peerSchema>

function targetOf({ peerAddress, autoDiscovery }: WrittenPeer): PeerTarget | undefined {
  if (peerAddress !== undefined) return addressOf(peerAddress)
  if (autoDiscovery?.mode === 'DefaultGateway' && autoDiscovery.defaultGateway)
    return { kind: 'gateway', family: autoDiscovery.defaultGateway.addressFamily }
  if (autoDiscovery?.mode === 'Unnumbered' && autoDiscovery.unnumbered)
    return { kind: 'unnumbered', device: autoDiscovery.unnumbered.interface }
  return undefined
}

function addressOf(written: string): PeerTarget | undefined {
  const [host, device] = splitZone(written)
  const parsed = parseAddress(host)
  if (parsed === undefined) return undefined
  const address = unmapped(parsed)
  if (device === undefined) return { kind: 'address', address: formatAddress(address) }
  return isLinkLocal(address) && interfaceName.test(device)
    ? { kind: 'address', address: formatAddress(address), device }
    : undefined
}

function checkPeer(peer: WrittenPeer, at: FieldPath): readonly Fault[] {
  const { peerAddress, autoDiscovery, peerConfigRef } = peer
  const faults: Fault[] = []
  const say = (path: FieldPath, message: string, remedy: string): void => {
    faults.push(fault('error', [...at, ...path], 'InvalidField', message, remedy))
  }
  const target = peerAddress === undefined ? undefined : addressOf(peerAddress)
  if (peerAddress !== undefined && target === undefined) faults.push(addressFault(peerAddress, [...at, 'peerAddress']))
  if (target?.kind === 'address') faults.push(...hostFaults(parseAddress(target.address) ?? 0, [...at, 'peerAddress']))
  if (peerAddress !== undefined && autoDiscovery) {
    const remedy = 'Write one of the two.'
    faults.push(fault('warning', [...at, 'autoDiscovery'], 'NotServed', 'peerAddress is written, and counts', remedy))
  } else if (autoDiscovery && targetOf(peer) === undefined) {
    const field = autoDiscovery.mode === 'DefaultGateway' ? 'defaultGateway' : 'unnumbered'
    const remedy = `Write ${field}: {${field === 'unnumbered' ? 'interface: eth0' : 'addressFamily: ipv4'}}.`
    say(['autoDiscovery', field], `mode ${autoDiscovery.mode} needs ${field}`, remedy)
  } else if (peerAddress === undefined && !autoDiscovery) {
    const message = 'there is neither a peerAddress nor autoDiscovery'
    const remedy = 'Write peerAddress: 192.0.2.1.'
    faults.push(fault('error', [...at, 'peerAddress'], 'InvalidPeerAddress', message, remedy))
  }
  if (!peerConfigRef) {
    const message = 'it is absent: nothing is announced to this peer'
    const remedy = 'Name a CiliumBGPPeerConfig whose families have advertisements.'
    faults.push(fault('warning', [...at, 'peerConfigRef'], 'NoAdvertisements', message, remedy))
  }
  const { group = 'cilium.io', kind = 'CiliumBGPPeerConfig' } = peerConfigRef ?? {}
  if (group !== 'cilium.io' || kind !== 'CiliumBGPPeerConfig')
    say(['peerConfigRef'], `${kind} of ${group} is no configuration of a peer`, 'Name a CiliumBGPPeerConfig.')
  return faults
}

function addressFault(written: string, path: FieldPath): Fault {
  const [, host = written, port] = /^\s*\[?([\d.]+|[^\s\]]+(?=\]))\]?:(\d+)\s*$/.exec(written) ?? []
  const bare = host.trim().replace(/\/\d*$/, '')
  // 10.0.0.01 is octal to some and decimal to others.
  const plain = bare.replace(/^[\d.]+$/, (text) => text.replace(/(^|\.)0+(?=\d)/g, '$1'))
  const parsed = parseAddress(plain)
  const what = parsed === undefined ? '192.0.2.1 or 2001:db8::1' : formatAddress(unmapped(parsed))
  const rest = parsed === undefined || port === undefined ? '' : `, and peerPort: ${port} in its CiliumBGPPeerConfig`
  const message = `${written} is not an address without a mask`
  return fault('error', path, 'InvalidPeerAddress', message, `Write ${what}${rest}.`)
}
