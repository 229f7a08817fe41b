/**
 * cilium.io CiliumBGPNodeConfigOverride: what one node, whose name it has, does otherwise than its cluster
 * configuration says. Each instance is a part with its last good version, and so is each of its peers.
 */
import * as z from 'zod'
import { formatAddress, isUnicastIpv4, parseAddress, parseIpv4, unmapped } from '../../ip/address.ts'
import type { RawObject } from '../source.ts'
import { asn, partName, port } from './cilium-bgp.ts'
import { nameOf } from './fields.ts'
import {
  fault,
  metadataSchema,
  narrow,
  tooLong,
  type Fault,
  type FieldPath,
  type Narrowed,
  type Part,
} from './narrow.ts'
import { narrowParts } from './parts.ts'
import { optionalText } from './schemas.ts'

const peerSchema = z.strictObject({
  name: partName,
  localAddress: optionalText,
  localPort: port.nullish(),
})

const instanceSchema = z.strictObject({
  name: partName,
  routerID: optionalText,
  localPort: port.nullish(),
  localASN: asn.min(1).nullish(),
  peers: z.array(z.unknown()).nullish(),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({
    bgpInstances: z.array(z.unknown()).min(1, 'no instance is written, and at least one is needed'),
  }),
})

/** With its parts in place: what the API server checks. */
export const nodeConfigOverrideSpec = z.strictObject({
  bgpInstances: z.array(instanceSchema.extend({ peers: z.array(peerSchema).nullish() })).min(1),
})

export interface PeerOverride {
  readonly name: string
  readonly path: FieldPath
  /** Canonical. */
  readonly localAddress: string | undefined
}

export interface InstanceOverride {
  readonly name: string
  readonly path: FieldPath
  /** Dotted IPv4, unicast. */
  readonly routerID: string | undefined
  readonly localPort: number | undefined
  readonly localASN: number | undefined
  readonly peers: readonly PeerOverride[]
}

export interface CiliumBgpNodeConfigOverride {
  readonly metadata: z.infer<typeof metadataSchema>
  readonly instances: readonly InstanceOverride[]
}

const list = ['spec', 'bgpInstances'] as const

export function parseNodeConfigOverride(
  raw: RawObject,
  before?: CiliumBgpNodeConfigOverride,
): Narrowed<CiliumBgpNodeConfigOverride> {
  const long = tooLong(raw, [[list, 256]])
  if (long.length > 0) return { faults: long }
  const { value, faults: ownFaults } = narrow(schema, raw)
  if (value === undefined) return { faults: ownFaults }
  const { parts, faults } = narrowParts<InstanceOverride>(
    value.spec.bgpInstances.map((entry, index) => [[...list, index], entry]),
    {
      what: 'this instance',
      before: new Map((before?.instances ?? []).map((instance) => [instance.name, instance])),
      keyOf: nameOf,
      parse: parseInstance,
      twice: (at, key) => twiceNamed(at, `an instance ${key}`),
    },
  )
  const said = [...ownFaults, ...faults]
  if (parts.length === 0) return { faults: said }
  return { value: { metadata: value.metadata, instances: parts.map((part) => part.value) }, faults: said }
}

function twiceNamed(at: FieldPath, what: string): Fault {
  const message = `there is ${what} already, which counts`
  return fault('error', [...at, 'name'], 'InvalidField', message, 'Give each a name of its own.')
}

function parseInstance(entry: unknown, part: Part, before: InstanceOverride | undefined): Narrowed<InstanceOverride> {
  const { value, faults } = narrow(instanceSchema, entry, ({ routerID }) => checkRouterId(routerID, part.at), {
    ...part,
    before,
  })
  if (value === undefined) return { faults }
  const { parts, faults: peerFaults } = narrowParts<PeerOverride>(
    (value.peers ?? []).map((each, index) => [[...part.at, 'peers', index], each]),
    {
      what: 'this peer',
      before: new Map((before?.peers ?? []).map((peer) => [peer.name, peer])),
      keyOf: nameOf,
      parse: parsePeer,
      twice: (at, key) => twiceNamed(at, `a peer ${key}`),
    },
  )
  const { name, routerID, localPort, localASN } = value
  const id = parseIpv4(routerID ?? '')
  return {
    value: {
      name,
      path: part.at,
      routerID: id === undefined ? undefined : formatAddress(id),
      localPort: localPort ?? undefined,
      localASN: localASN ?? undefined,
      peers: parts.map(({ at, value: peer }) => ({ ...peer, path: at })),
    },
    faults: [...faults, ...peerFaults],
  }
}

function checkRouterId(written: string | undefined, at: FieldPath): readonly Fault[] {
  const parsed = written === undefined ? undefined : parseIpv4(written)
  if (written === undefined || (parsed !== undefined && isUnicastIpv4(parsed))) return []
  const message = `${written} is no unicast IPv4 address`
  return [fault('error', [...at, 'routerID'], 'InvalidRouterId', message, 'Write routerID: 192.0.2.1.')]
}

function parsePeer(entry: unknown, part: Part, before: PeerOverride | undefined): Narrowed<PeerOverride> {
  const { value, faults } = narrow(peerSchema, entry, (peer) => checkPeer(peer, part.at), { ...part, before })
  if (value === undefined) return { faults }
  const local = parseAddress(value.localAddress ?? '')
  const localAddress = local === undefined ? undefined : formatAddress(unmapped(local))
  return { value: { name: value.name, path: part.at, localAddress }, faults }
}

function checkPeer({ localAddress, localPort }: z.infer<typeof peerSchema>, at: FieldPath): readonly Fault[] {
  const faults: Fault[] = []
  if (localAddress !== undefined && parseAddress(localAddress) === undefined) {
    const path = [...at, 'localAddress']
    const remedy = 'Write an address of the node, without a mask.'
    faults.push(fault('error', path, 'InvalidAddress', `${localAddress} is not an address`, remedy))
  }
  if (localPort !== undefined && localPort !== null) {
    const remedy = 'Write localPort of the instance.'
    faults.push(fault('warning', [...at, 'localPort'], 'NotServed', 'it has no effect, as in Cilium', remedy))
  }
  return faults
}
