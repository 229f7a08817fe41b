/** core/v1 Node: labels, annotations, PodCIDRs and addresses. */
import * as z from 'zod'
import { formatPrefix, parsePrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, type Narrowed } from './narrow.ts'

const schema = z.object({
  metadata: metadataSchema,
  spec: z.object({ podCIDR: z.string().nullish(), podCIDRs: z.array(z.string()).nullish() }).nullish(),
  status: z.object({ addresses: z.array(z.object({ type: z.string(), address: z.string() })).nullish() }).nullish(),
})

export type Node = z.infer<typeof schema>

export function parseNode(raw: RawObject): Narrowed<Node> {
  return narrow(schema, raw, (node) =>
    writtenPodCidrs(node)
      .filter((cidr) => parsePrefix(cidr) === undefined)
      .map((cidr) =>
        fault(
          'error',
          ['spec', 'podCIDRs'],
          'InvalidPrefix',
          `spec.podCIDRs: ${cidr} is not a prefix`,
          'Write a prefix such as 10.244.1.0/24.',
        ),
      ),
  )
}

/** Canonical prefixes, unique. */
export function podCidrsOf(node: Node): readonly string[] {
  return [
    ...new Set(
      writtenPodCidrs(node).flatMap((cidr) => {
        const prefix = parsePrefix(cidr)
        return prefix === undefined ? [] : [formatPrefix(prefix)]
      }),
    ),
  ]
}

function writtenPodCidrs({ spec }: Node): readonly string[] {
  const list = spec?.podCIDRs ?? []
  return list.length > 0 ? list : spec?.podCIDR ? [spec.podCIDR] : []
}
