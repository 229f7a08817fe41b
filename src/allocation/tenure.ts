/**
 * What a Service had of the addresses that it shares when that was recorded last. Who had a port first keeps it,
 * however old others are, and who keeps to the terms keeps the address; where nothing is recorded age decides. Pure.
 *
 *     80/TCP 443/TCP of 198.51.100.0, 2001:db8::1; none of 198.51.100.9; shared as ["k",[],"Cluster"]
 */
import { formatAddress, parseAddress } from '../ip/address.ts'
import type { SharingTerms } from './sharing.ts'

/** By address, `80/TCP`. */
export type PortsByAddress = ReadonlyMap<string, readonly string[]>

export interface Tenure {
  /** Under which it came to share, as {@link termsOf} writes them. */
  readonly terms: string
  readonly ports: PortsByAddress
}

/** Of longer ones nothing is recorded: a condition has room for 32 KiB. */
const maxText = 24 * 1024
const sharedAs = '; shared as '

const termsTexts = new WeakMap<SharingTerms, string>()

/** All of it on which it depends who may share, in ASCII. */
export function termsOf(sharing: SharingTerms | undefined): string {
  if (sharing === undefined) return ''
  const known = termsTexts.get(sharing)
  if (known !== undefined) return known
  const plain = JSON.stringify([sharing.key, [...sharing.sharedWith].sort(), sharing.trafficKey])
  const text = plain.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  termsTexts.set(sharing, text)
  return text
}

/** Of a Service of which nothing else is known: the terms that are recorded, with none of its ports. */
export function termsIn(service: string, tenure: Tenure | undefined): SharingTerms | undefined {
  if (tenure === undefined) return undefined
  let read: unknown
  try {
    read = JSON.parse(tenure.terms)
  } catch {
    return undefined
  }
  const [key, sharedWith, trafficKey, ...more]: readonly unknown[] = Array.isArray(read) ? read : []
  if (typeof key !== 'string' || typeof trafficKey !== 'string' || more.length > 0) return undefined
  const namespaces = Array.isArray(sharedWith) ? sharedWith.filter((each) => typeof each === 'string') : []
  return { key, namespace: service.slice(0, service.indexOf('/')), sharedWith: namespaces, trafficKey, ports: [] }
}

/** Undefined where there is nothing to record, or too much. */
export function formatTenure(tenure: Tenure | undefined): string | undefined {
  if (tenure === undefined || tenure.ports.size === 0) return undefined
  const groups = new Map<string, string[]>()
  for (const [address, ports] of tenure.ports) {
    const list = ports.length === 0 ? 'none' : ports.join(' ')
    groups.set(list, [...(groups.get(list) ?? []), address])
  }
  const parts = [...groups].map(([list, addresses]) => `${list} of ${addresses.join(', ')}`)
  const text = `${parts.join('; ')}${sharedAs}${tenure.terms}`
  return text.length > maxText ? undefined : text
}

/** Undefined for what {@link formatTenure} did not write: then nothing is recorded. */
export function parseTenure(text: string): Tenure | undefined {
  const end = text.indexOf(sharedAs)
  if (end < 0 || text.length > maxText) return undefined
  const ports = new Map<string, readonly string[]>()
  for (const part of text.slice(0, end).split('; ')) {
    const [, list, places = ''] = /^(none|\d+\/[A-Z]+(?: \d+\/[A-Z]+)*) of (.+)$/.exec(part) ?? []
    if (list === undefined) return undefined
    for (const place of places.split(', ')) {
      const address = parseAddress(place)
      if (address === undefined) return undefined
      ports.set(formatAddress(address), list === 'none' ? [] : list.split(' '))
    }
  }
  return { terms: text.slice(end + sharedAs.length), ports }
}

export function isSameTenure(a: Tenure | undefined, b: Tenure | undefined): boolean {
  return a === b || formatTenure(a) === formatTenure(b)
}

/** Whether a Service shares under other terms than those that are recorded. */
export function hasOtherTerms(tenure: Tenure | undefined, sharing: SharingTerms | undefined): boolean {
  return tenure !== undefined && tenure.terms !== termsOf(sharing)
}

/** Of several that have one address by their status: first who keeps to what is recorded, last who does not. */
export function standingOf(tenure: Tenure | undefined, sharing: SharingTerms | undefined): number {
  return tenure === undefined ? 1 : hasOtherTerms(tenure, sharing) ? 2 : 0
}
