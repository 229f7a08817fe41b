/**
 * The annotation `herald.dev/neighbors`: what foreign schemas lack, as YAML text keyed by the peer address ("*": all).
 * Keys of the contract that this version does not honour are reported, as unknown ones are. Pure.
 */
import { parse } from 'yaml'
import { z } from 'zod'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import { fault, narrow, type Fault } from '../kinds/narrow.ts'

const neighborsAnnotation = 'herald.dev/neighbors'

const address = z.string().transform((text, context) => {
  const parsed = parseAddress(text)
  if (parsed !== undefined) return formatAddress(parsed)
  context.addIssue(`${text} is not an address`)
  return z.NEVER
})

const overridesSchema = z.strictObject({
  passive: z.boolean(),
  /** GTSM in hops: 1 is directly connected. */
  ttlSecurity: z.number().int().min(1).max(254),
  sourceAddress: address,
  /** RFC 8538 N bit. */
  notification: z.boolean(),
  nextHop: address,
  med: z.number().int().min(0).max(4294967295),
}).partial()

export type NeighborOverrides = z.infer<typeof overridesSchema>

export interface ParsedOverrides {
  of(peerAddress: string): NeighborOverrides
  readonly faults: readonly Fault[]
}

export function parseOverrides(annotations: Readonly<Record<string, string>>): ParsedOverrides {
  const text = annotations[neighborsAnnotation]
  if (text === undefined) return { of: () => ({}), faults: [] }
  const path = ['metadata', 'annotations', neighborsAnnotation]
  const read = readMap(text)
  if (read === undefined) return { of: () => ({}), faults: [fault('error', path, 'InvalidAnnotation', `${neighborsAnnotation} is no YAML map of neighbors`, `Write '{"192.0.2.1": {ttlSecurity: 1}}'.`)] }
  const byAddress = new Map<string, NeighborOverrides>()
  const faults: Fault[] = []
  for (const [key, value] of Object.entries(read)) {
    const peer = parseAddress(key)
    if (key !== '*' && peer === undefined) {
      faults.push(fault('error', path, 'InvalidAnnotation', `${neighborsAnnotation}: ${key} is not an address`, 'Key by the peer address without mask, or by "*".'))
      continue
    }
    const narrowed = narrow(overridesSchema, value, () => [], { at: [...path, key], meanwhile: 'the neighbor keeps its defaults' })
    faults.push(...narrowed.faults)
    if (narrowed.value !== undefined) byAddress.set(peer === undefined ? key : formatAddress(peer), narrowed.value)
  }
  return { of: (peerAddress) => ({ ...byAddress.get('*'), ...byAddress.get(peerAddress) }), faults }
}

function readMap(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined
  } catch {
    // The parser's words are about a fragment of an annotation; ours name the object.
    return undefined
  }
}
