/** cilium.io CiliumLoadBalancerIPPool, v2alpha1 and v2: blocks of addresses for Services. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { checkBlock, overlapFaults } from './address-blocks.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import { fault, lastGoodStays, metadataSchema, narrow, type Fault, type Narrowed } from './narrow.ts'
import { choice, optionalList, optionalText } from './schemas.ts'

const blockSchema = z.strictObject({ cidr: optionalText, start: optionalText, stop: optionalText })
const blocks = optionalList(blockSchema)

export const ipPoolSpec = z.strictObject({
  blocks,
  /** What `blocks` was called in early versions. */
  cidrs: blocks,
  serviceSelector: labelSelectorSchema.nullish(),
  allowFirstLastIPs: choice(['Yes', 'No'], 'Yes'),
  disabled: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
})

const schema = z.object({ metadata: metadataSchema, spec: ipPoolSpec })

export type CiliumLoadBalancerIpPool = z.infer<typeof schema>

export function parseIpPool(raw: RawObject, before?: CiliumLoadBalancerIpPool): Narrowed<CiliumLoadBalancerIpPool> {
  const part = { at: [], meanwhile: lastGoodStays, before }
  const check = ({ spec }: CiliumLoadBalancerIpPool): readonly Fault[] => {
    const halves = halfWritten(raw)
    if (halves.length > 0) return halves
    if (spec.blocks.length + spec.cidrs.length === 0) {
      const remedy = 'Add a block with cidr, or with start and stop.'
      return [fault('warning', ['spec', 'blocks'], 'NoBlocks', 'the pool has no addresses', remedy)]
    }
    const written = (['blocks', 'cidrs'] as const).flatMap((field) =>
      spec[field].map((block, index) => ({ block, path: ['spec', field, index] })),
    )
    const faults = written.flatMap(({ block, path }) => checkBlock(block, path))
    if (faults.some(({ severity }) => severity === 'error')) return faults
    return [...faults, ...overlapFaults(written, 'warning')]
  }
  return narrow(schema, raw, check, part)
}

const someBlocks = z.array(z.record(z.string(), z.unknown()).catch({})).catch([])
const blocksAsWritten = z.object({ spec: z.object({ blocks: someBlocks, cidrs: someBlocks }) })

/** Blocks with a start and another word for its end: they would be one address. */
function halfWritten(raw: RawObject): readonly Fault[] {
  const { data } = blocksAsWritten.safeParse(raw)
  return (['blocks', 'cidrs'] as const).flatMap((field) =>
    (data?.spec[field] ?? []).flatMap((block, index): Fault[] => {
      const other = Object.keys(block).find((key) => !['cidr', 'start', 'stop'].includes(key))
      if (other === undefined || !block['start'] || block['stop']) return []
      const message = `${other} is not a field of a block, which would be one address without its stop`
      return [fault('error', ['spec', field, index, other], 'InvalidBlock', message, 'Write stop.')]
    }),
  )
}
