/**
 * cilium.io CiliumBGPNodeConfig: what the sessions of one node, whose name it has, are and do. An operator writes its
 * spec out of the other kinds and the agent its status, so that nothing in it is asked of anybody. Pure.
 */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { asn, partName, port } from './cilium-bgp.ts'
import { metadataSchema, narrow, type Metadata, type Narrowed } from './narrow.ts'

const schema = z.object({ metadata: metadataSchema })

const peerSchema = z.strictObject({
  name: partName,
  peerAddress: z.string().nullish(),
  peerASN: asn.nullish(),
  localAddress: z.string().nullish(),
})

/** What the API server checks. */
export const nodeConfigSpec = z.strictObject({
  bgpInstances: z
    .array(
      z.strictObject({
        name: partName,
        localASN: asn.min(1).nullish(),
        localPort: port.nullish(),
        routerID: z.string().nullish(),
        peers: z.array(peerSchema).nullish(),
      }),
    )
    .min(1),
})

/** By which the operator tells an agent what of the pools something in the cluster has: `192.0.2.7, 10.1.0.0/24`. */
export const reservedAnnotation = 'herald.dev/reserved'
/** An annotation has room for 256 KiB. */
export const maxReserved = 4096

export interface CiliumBgpNodeConfig {
  readonly metadata: Metadata
  /** Addresses and prefixes that no Service may have. */
  readonly reserved: readonly string[]
}

export function parseNodeConfig(raw: RawObject): Narrowed<CiliumBgpNodeConfig> {
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { metadata } = value
  const places = (metadata.annotations[reservedAnnotation] ?? '').split(',').slice(0, maxReserved)
  return { value: { metadata, reserved: places.map((place) => place.trim()).filter((place) => place !== '') }, faults }
}
