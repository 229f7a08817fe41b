/** cilium.io CiliumLoadBalancerIPPool, v2alpha1 and v2: blocks of addresses for Services. */
import * as z from 'zod'
import {
  type Address,
  addressBytes,
  addressFromBytes,
  compareAddresses,
  type Family,
  familyOfAddress,
  formatAddress,
  parseAddress,
  parseIpv4,
} from '../../ip/address.ts'
import { hasHostBits, parsePrefix, prefixAddress, prefixFamily, prefixLength, splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import { fault, formatPath, metadataSchema, narrow, type Fault, type FieldPath, type Narrowed } from './narrow.ts'
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
export type PoolBlock = z.infer<typeof blockSchema>

/** The largest address of a family. */
const largest = { ipv4: 2n ** 32n - 1n, ipv6: 2n ** 128n - 1n } as const

export function parseIpPool(raw: RawObject, before?: CiliumLoadBalancerIpPool): Narrowed<CiliumLoadBalancerIpPool> {
  const part = { at: [], meanwhile: 'the last good version stays in force', before }
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
    return [...faults, ...overlapFaults(written)]
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

interface WrittenBlock {
  readonly block: PoolBlock
  readonly path: FieldPath
}

/** An address in two blocks is given once all the same; the writer may have meant another. */
function overlapFaults(written: readonly WrittenBlock[]): readonly Fault[] {
  const ranges = written.flatMap(({ block, path }) => {
    const range = rangeOfBlock(block)
    return range === undefined ? [] : [{ ...range, path }]
  })
  const sorted = ranges.sort((a, b) =>
    a.family === b.family ? (a.first < b.first ? -1 : 1) : a.family < b.family ? -1 : 1,
  )
  const faults: Fault[] = []
  let widest = sorted[0]
  for (const range of sorted.slice(1)) {
    if (widest?.family === range.family && range.first <= widest.last) {
      const message = `${rangeText(range)} overlaps ${rangeText(widest)} (${formatPath(widest.path)}) of the same pool`
      faults.push(fault('warning', range.path, 'OverlappingBlocks', message, 'Write each address in one block.'))
    }
    if (widest?.family !== range.family || range.last > widest.last) widest = range
  }
  return faults
}

interface Range {
  readonly family: Family
  readonly first: bigint
  readonly last: bigint
}

/** The addresses that a checked block stands for. */
export function rangeOfBlock({ cidr, start, stop }: PoolBlock): Range | undefined {
  if (cidr !== undefined) {
    const prefix = parsePrefix(cidr)
    if (prefix === undefined) return undefined
    const family = prefixFamily(prefix)
    const first = integerOf(prefixAddress(prefix))
    return { family, first, last: first + (1n << BigInt((family === 'ipv4' ? 32 : 128) - prefixLength(prefix))) - 1n }
  }
  const [first, last] = [parseAddress(start ?? ''), parseAddress(stop ?? start ?? '')]
  if (first === undefined || last === undefined) return undefined
  return { family: familyOfAddress(first), first: integerOf(first), last: integerOf(last) }
}

function integerOf(address: Address): bigint {
  return addressBytes(address).reduce((value, octet) => value * 256n + BigInt(octet), 0n)
}

function rangeText({ family, first, last }: Range): string {
  return `${textOf(first, family)}-${textOf(last, family)}`
}

function textOf(value: bigint, family: Family): string {
  const octets = family === 'ipv4' ? 4 : 16
  const bytes = Uint8Array.from({ length: octets }, (_, i) => Number((value >> BigInt(8 * (octets - 1 - i))) & 255n))
  return formatAddress(addressFromBytes(bytes))
}

/**
 * A prefix with bits beyond its length is wider than its writer may have meant, on one side, and narrower on the other.
 */
function hostBitsFault(cidr: string, path: FieldPath): readonly Fault[] {
  const parts = splitPrefix(cidr)
  const range = rangeOfBlock({ cidr, start: undefined, stop: undefined })
  if (parts === undefined || range === undefined || !hasHostBits(cidr)) return []
  const first = integerOf(parts.address)
  const last = first + (range.last - range.first)
  const meant = { ...range, first, last: last > largest[range.family] ? largest[range.family] : last }
  return [
    fault(
      'warning',
      [...path, 'cidr'],
      'HostBits',
      `${cidr} is ${rangeText(range)}`,
      `Write start and stop if you mean ${rangeText(meant)}, or ${textOf(range.first, range.family)}/${parts.length}.`,
    ),
  ]
}

/** What a text that is no prefix was meant to be, where it can be told. */
function prefixRemedy(cidr: string): string {
  const bare = cidr.replace(/\s+/g, '')
  const address = parseAddress(bare)
  if (address !== undefined)
    return `Write ${bare}/${typeof address === 'number' ? 32 : 128}, or the length that is meant.`
  const [start = '', stop = ''] = bare.split('-')
  if (parseAddress(start) !== undefined && parseAddress(stop) !== undefined)
    return `Write start: ${start} and stop: ${stop}.`
  const [network = '', mask = ''] = bare.split('/')
  const bits = integerOf(parseIpv4(mask) ?? 0).toString(2)
  if (parseAddress(network) !== undefined && /^1{1,32}0*$/.test(bits) && bits.length === 32)
    return `Write ${network}/${bits.replaceAll('0', '').length}.`
  return parsePrefix(bare) === undefined ? 'Write an address and a length such as 192.0.2.0/28.' : `Write ${bare}.`
}

function checkBlock({ cidr, start, stop }: PoolBlock, path: FieldPath): readonly Fault[] {
  if (cidr !== undefined && (start !== undefined || stop !== undefined)) {
    return [fault('error', path, 'InvalidBlock', 'it has both cidr and a range', 'Write two blocks.')]
  }
  if (cidr !== undefined) {
    return splitPrefix(cidr) !== undefined
      ? hostBitsFault(cidr, path)
      : [fault('error', [...path, 'cidr'], 'InvalidPrefix', `cidr ${cidr} is not a prefix`, prefixRemedy(cidr))]
  }
  const first = parseAddress(start ?? '')
  if (first === undefined)
    return [
      fault(
        'error',
        [...path, 'start'],
        'InvalidAddress',
        start === undefined ? 'it is missing' : `${start} is not an address`,
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
        `${stop ?? ''} is not an address`,
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
