/**
 * Blocks of addresses as pools have them, `cidr` or `start` and `stop`: what is wrong with one, and its range. Pure.
 */
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
import { fault, formatPath, type Fault, type FieldPath } from './narrow.ts'

export interface AddressBlock {
  readonly cidr?: string | undefined
  readonly start?: string | undefined
  readonly stop?: string | undefined
}

/** The largest address of a family. */
const largest = { ipv4: 2n ** 32n - 1n, ipv6: 2n ** 128n - 1n } as const

export interface WrittenBlock {
  readonly block: AddressBlock
  readonly path: FieldPath
}

/** An address in two blocks is given once all the same; the writer may have meant another. */
export function overlapFaults(written: readonly WrittenBlock[], severity: Fault['severity']): readonly Fault[] {
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
      faults.push(fault(severity, range.path, 'OverlappingBlocks', message, 'Write each address in one block.'))
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
export function rangeOfBlock({ cidr, start, stop }: AddressBlock): Range | undefined {
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

interface HostBits {
  /** The range that it is taken as, and the one that was probably meant. */
  readonly is: string
  readonly meant: string
  /** Without those bits. */
  readonly network: string
}

/**
 * A prefix with bits beyond its length is wider than its writer may have meant, on one side, and narrower on the other.
 */
export function hostBitsOf(cidr: string): HostBits | undefined {
  const parts = splitPrefix(cidr)
  const range = rangeOfBlock({ cidr })
  if (parts === undefined || range === undefined || !hasHostBits(cidr)) return undefined
  const first = integerOf(parts.address)
  const last = first + (range.last - range.first)
  const meant = { ...range, first, last: last > largest[range.family] ? largest[range.family] : last }
  return {
    is: rangeText(range),
    meant: rangeText(meant),
    network: `${textOf(range.first, range.family)}/${parts.length}`,
  }
}

function hostBitsFault(cidr: string, path: FieldPath): readonly Fault[] {
  const wider = hostBitsOf(cidr)
  if (wider === undefined) return []
  const remedy = `Write start and stop if you mean ${wider.meant}, or ${wider.network}.`
  return [fault('warning', [...path, 'cidr'], 'HostBits', `${cidr} is ${wider.is}`, remedy)]
}

/** What to write for a text that is no prefix, where it can be told. */
export function prefixMeantBy(cidr: string): string | undefined {
  const bare = cidr.replace(/\s+/g, '')
  const address = parseAddress(bare)
  if (address !== undefined)
    return `Write ${bare}/${typeof address === 'number' ? 32 : 128}, or the length that is meant.`
  const [network = '', mask = ''] = bare.split('/')
  const bits = integerOf(parseIpv4(mask) ?? 0).toString(2)
  if (parseAddress(network) !== undefined && /^1{1,32}0*$/.test(bits) && bits.length === 32)
    return `Write ${network}/${bits.replaceAll('0', '').length}.`
  return parsePrefix(bare) === undefined ? undefined : `Write ${bare}.`
}

function prefixRemedy(cidr: string): string {
  const [start = '', stop = ''] = cidr.replace(/\s+/g, '').split('-')
  if (parseAddress(start) !== undefined && parseAddress(stop) !== undefined)
    return `Write start: ${start} and stop: ${stop}.`
  return prefixMeantBy(cidr) ?? 'Write an address and a length such as 192.0.2.0/28.'
}

export function checkBlock({ cidr, start, stop }: AddressBlock, path: FieldPath): readonly Fault[] {
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
