/** Communities as Cilium's kinds spell them, narrowed to what goes on the wire. Pure. */
import * as z from 'zod'

const wellKnown: ReadonlyMap<string, number> = new Map([
  ['internet', 0],
  ['planned-shut', 0xffff0000],
  ['accept-own', 0xffff0001],
  ['route-filter-translated-v4', 0xffff0002],
  ['route-filter-v4', 0xffff0003],
  ['route-filter-translated-v6', 0xffff0004],
  ['route-filter-v6', 0xffff0005],
  ['llgr-stale', 0xffff0006],
  ['no-llgr', 0xffff0007],
  ['blackhole', 0xffff029a],
  ['no-export', 0xffffff01],
  ['no-advertise', 0xffffff02],
  ['no-export-subconfed', 0xffffff03],
  ['no-peer', 0xffffff04],
])

export const wellKnownCommunityNames: readonly string[] = [...wellKnown.keys()]

/** `65000:100`, or one unsigned 32-bit number. */
export const standardCommunity = z.union([z.string(), z.number()]).transform((text, context) => {
  const parts = decimals(String(text))
  const [high = 0, low] = parts
  if (parts.length === 1 && high <= 0xffffffff) return high
  if (parts.length === 2 && high <= 0xffff && low !== undefined && low <= 0xffff) return high * 65536 + low
  context.addIssue(`${text} is no community; write 65000:100, each half at most 65535`)
  return z.NEVER
})

export const wellKnownCommunity = z.string().transform((name, context) => {
  const value = wellKnown.get(name)
  if (value !== undefined) return value
  context.addIssue(`${name} is no well-known community; write one of ${wellKnownCommunityNames.join(', ')}`)
  return z.NEVER
})

/** RFC 8092 `65000:1:2`. */
export const largeCommunity = z.string().transform((text, context) => {
  const parts = decimals(text)
  if (parts.length === 3 && parts.every((part) => part <= 0xffffffff)) return text
  context.addIssue(`${text} is no large community; write 65000:1:2, each part at most 4294967295`)
  return z.NEVER
})

/** Empty when a part is not a plain decimal. */
function decimals(text: string): readonly number[] {
  const parts = text.split(':')
  return parts.every((part) => /^(0|[1-9][0-9]{0,9})$/.test(part)) ? parts.map(Number) : []
}
