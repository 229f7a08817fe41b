/** cilium.io CiliumLoadBalancerIPPool, v2alpha1 and v2: blocks of addresses for Services. */
import { z } from 'zod'
import { compareAddresses, parseAddress } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
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

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined)
const blockSchema = z.strictObject({ cidr: text, start: text, stop: text })
const blocks = z
  .array(blockSchema)
  .nullish()
  .transform((value) => value ?? undefined)

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({
    blocks,
    /** What `blocks` was called in early versions. */
    cidrs: blocks,
    serviceSelector: labelSelectorSchema.nullish(),
    allowFirstLastIPs: z
      .enum(['Yes', 'No'])
      .nullish()
      .transform((value) => value ?? 'Yes'),
    disabled: z
      .boolean()
      .nullish()
      .transform((value) => value ?? false),
  }),
})

export type CiliumLoadBalancerIpPool = z.infer<typeof schema>
export type PoolBlock = z.infer<typeof blockSchema>

export function parseIpPool(raw: RawObject): Narrowed<CiliumLoadBalancerIpPool> {
  return narrow(schema, raw, ({ spec }) => {
    const faults = (['blocks', 'cidrs'] as const).flatMap((field) =>
      (spec[field] ?? []).flatMap((entry, index) => checkBlock(entry, ['spec', field, index])),
    )
    const isEmpty = (spec.blocks ?? []).length + (spec.cidrs ?? []).length === 0
    return isEmpty
      ? [
          fault(
            'warning',
            ['spec', 'blocks'],
            'NoBlocks',
            'spec.blocks is empty: the pool has no addresses',
            'Add a block with cidr, or with start and stop.',
          ),
        ]
      : faults
  })
}

function checkBlock({ cidr, start, stop }: PoolBlock, path: FieldPath): readonly Fault[] {
  if (cidr !== undefined && (start !== undefined || stop !== undefined)) {
    return [fault('error', path, 'InvalidBlock', `${formatPath(path)} has both cidr and a range`, 'Write two blocks.')]
  }
  if (cidr !== undefined) {
    return splitPrefix(cidr) !== undefined
      ? []
      : [
          fault(
            'error',
            [...path, 'cidr'],
            'InvalidPrefix',
            `cidr ${cidr} is not a prefix`,
            'Write an address and a length such as 192.0.2.0/28.',
          ),
        ]
  }
  const first = parseAddress(start ?? '')
  if (first === undefined)
    return [
      fault(
        'error',
        [...path, 'start'],
        'InvalidAddress',
        `start ${start ?? '(absent)'} is not an address`,
        'Write cidr, or start with an optional stop.',
      ),
    ]
  const last = parseAddress(stop ?? start ?? '')
  if (last === undefined)
    return [
      fault(
        'error',
        [...path, 'stop'],
        'InvalidAddress',
        `stop ${stop ?? ''} is not an address`,
        'Write the last address of the range.',
      ),
    ]
  if (typeof first !== typeof last)
    return [
      fault(
        'error',
        [...path, 'stop'],
        'MixedFamilies',
        `the range ${start} to ${stop} mixes families`,
        'Write both ends in one family.',
      ),
    ]
  return compareAddresses(first, last) <= 0
    ? []
    : [
        fault(
          'error',
          [...path, 'stop'],
          'ReversedRange',
          `the range ${start} to ${stop} ends before it starts`,
          'Swap start and stop.',
        ),
      ]
}
