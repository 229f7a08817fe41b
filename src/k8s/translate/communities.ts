/** Communities as Cilium's kinds spell them. Pure. */

const wellKnown: Readonly<Record<string, number>> = {
  internet: 0,
  'planned-shut': 0xffff0000,
  'accept-own': 0xffff0001,
  'route-filter-translated-v4': 0xffff0002,
  'route-filter-v4': 0xffff0003,
  'route-filter-translated-v6': 0xffff0004,
  'route-filter-v6': 0xffff0005,
  'llgr-stale': 0xffff0006,
  'no-llgr': 0xffff0007,
  blackhole: 0xffff029a,
  'no-export': 0xffffff01,
  'no-advertise': 0xffffff02,
  'no-export-subconfed': 0xffffff03,
  'no-peer': 0xffffff04,
}

export function wellKnownCommunity(name: string): number | undefined {
  return Object.hasOwn(wellKnown, name) ? wellKnown[name] : undefined
}

/** `65000:100`, or one unsigned 32-bit number; undefined when it is neither. */
export function parseStandardCommunity(text: string): number | undefined {
  const parts = text.split(':')
  if (!parts.every((part) => /^(0|[1-9][0-9]*)$/.test(part))) return undefined
  const [high = 0, low] = parts.map(Number)
  if (low === undefined) return high <= 0xffffffff ? high : undefined
  return parts.length === 2 && high <= 0xffff && low <= 0xffff ? high * 65536 + low : undefined
}

export function isLargeCommunity(text: string): boolean {
  const parts = text.split(':')
  return parts.length === 3 && parts.every((part) => /^(0|[1-9][0-9]*)$/.test(part) && Number(part) <= 0xffffffff)
}
