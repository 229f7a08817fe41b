/**
 * The annotation `herald.dev/neighbors`: what foreign schemas lack, as YAML text keyed by the peer address ("*": all).
 * Keys of the contract that this version does not honour are reported, as unknown ones are. Pure.
 */
import { parse } from 'yaml'
import { z } from 'zod'
import { parseAddress } from '../../ip/address.ts'
import { type Fault, formatPath } from '../kinds/narrow.ts'

export const neighborsAnnotation = 'herald.dev/neighbors'

const address = z.string().refine((text) => parseAddress(text) !== undefined, 'is no address')

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

export type NeighborOverrides = { readonly [K in keyof z.infer<typeof overridesSchema>]: z.infer<typeof overridesSchema>[K] | undefined }

export interface ParsedOverrides {
  of(peerAddress: string): NeighborOverrides
  readonly faults: readonly Fault[]
}

export function parseOverrides(annotations: Readonly<Record<string, string>>): ParsedOverrides {
  const text = annotations[neighborsAnnotation]
  if (text === undefined) return { of: () => ({}), faults: [] }
  const path = ['metadata', 'annotations', neighborsAnnotation]
  const byAddress = new Map<string, NeighborOverrides>()
  const faults: Fault[] = []
  const read = readMap(text)
  if (read === undefined) return { of: () => ({}), faults: [{ path, message: 'is no YAML map of neighbors', remedy: `Write '{"192.0.2.1": {ttlSecurity: 1}}'` }] }
  for (const [key, value] of Object.entries(read)) {
    if (key !== '*' && parseAddress(key) === undefined) faults.push({ path: [...path, key], message: `${key} is no address`, remedy: 'Key by the peer address without mask, or by "*"' })
    const result = overridesSchema.safeParse(value)
    if (result.success) byAddress.set(key, result.data)
    else for (const issue of result.error.issues) faults.push({ path: [...path, key], message: `${formatPath(issue.path.filter((part) => typeof part !== 'symbol'))} ${issue.message}`.trim(), remedy: `This version knows ${Object.keys(overridesSchema.shape).join(', ')}; the neighbor keeps its defaults` })
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
