/**
 * cilium.io CiliumNode: what Cilium knows of a node, of which the prefixes of its pods are read. With Cilium's own
 * allocation (cluster-pool, the default of its chart) they are others than those of the Node, which no pod has. Pure.
 */
import * as z from 'zod'
import type { Labels } from '../../desired/label-selector.ts'
import { formatPrefix, hasHostBits } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, tooLong, type Fault, type Metadata, type Narrowed } from './narrow.ts'
import { parsePodPrefix, whyNoPodPrefix } from './pod-prefix.ts'
import { optionalList } from './schemas.ts'

const schema = z.object({
  metadata: metadataSchema,
  spec: z.object({ ipam: z.object({ podCIDRs: optionalList(z.string()) }).nullish() }).nullish(),
})

export interface CiliumNode {
  readonly metadata: Metadata
  /** Canonical, unique. */
  readonly podCidrs: readonly string[]
}

const list = ['spec', 'ipam', 'podCIDRs'] as const
const nothing: Labels = {}

/** Of labels and annotations, which are Cilium's own, nothing is kept. */
export function parseCiliumNode(raw: RawObject, before?: CiliumNode): Narrowed<CiliumNode> {
  const long = tooLong(raw, [[list, 64]])
  if (long.length > 0) return { faults: long }
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { name, creationTimestamp } = value.metadata
  const said: Fault[] = [...faults]
  const prefixes = (value.spec?.ipam?.podCIDRs ?? []).map((text, index) => {
    const prefix = parsePodPrefix(text)
    if (prefix !== undefined && !hasHostBits(text)) return formatPrefix(prefix)
    const rest = before === undefined ? 'it is left out until then' : 'what was good before stays in force'
    const remedy = `Write a prefix such as 10.244.1.0/24 or 2001:db8:1::/64; ${rest}.`
    said.push(fault('error', [...list, index], 'InvalidPrefix', whyNoPodPrefix(text), remedy))
    return undefined
  })
  const isBroken = prefixes.includes(undefined)
  const podCidrs =
    isBroken && before !== undefined ? before.podCidrs : [...new Set(prefixes.flatMap((each) => each ?? []))]
  return {
    value: { metadata: { name, labels: nothing, annotations: nothing, creationTimestamp }, podCidrs },
    faults: said,
  }
}
