/**
 * The addresses that Services have under each sharing key, and who wants which port of them: where one may join is
 * found without a look at all that are there. Pure.
 *
 *     add, delete --> key and traffic policy --> addresses in order; port -> on how many of them it is wanted
 *                                            `-> address: who is there; port -> who wants it
 */
import { compareAddresses, type Family, familyOfText, parseAddress } from '../ip/address.ts'
import type { SharingTerms } from './sharing.ts'
import { Sorted } from './sorted.ts'

interface Place {
  readonly members: Set<string>
  /** By port, who wants it. */
  readonly wanted: Map<string, Set<string>>
}

interface Group {
  readonly places: Map<string, Place>
  readonly inOrder: Readonly<Record<Family, Sorted<string>>>
  /** On how many addresses of a family somebody wants a port: `ipv4 80/TCP`. */
  readonly counts: Map<string, number>
}

export class SharedAddresses {
  readonly #groups = new Map<string, Group>()

  add(address: string, key: string, terms: SharingTerms): void {
    const group = this.#groups.get(groupOf(terms)) ?? newGroup()
    this.#groups.set(groupOf(terms), group)
    const family = familyOfText(address)
    const place = group.places.get(address) ?? { members: new Set(), wanted: new Map() }
    if (place.members.size === 0) {
      group.places.set(address, place)
      group.inOrder[family].add(address)
    }
    place.members.add(key)
    for (const port of terms.ports) {
      const wanting = place.wanted.get(port)
      if (wanting !== undefined) wanting.add(key)
      else {
        place.wanted.set(port, new Set([key]))
        count(group, `${family} ${port}`, 1)
      }
    }
  }

  /** With the terms under which it was added. */
  delete(address: string, key: string, terms: SharingTerms): void {
    const group = this.#groups.get(groupOf(terms))
    const place = group?.places.get(address)
    if (group === undefined || place === undefined) return
    const family = familyOfText(address)
    place.members.delete(key)
    for (const port of terms.ports) {
      const wanting = place.wanted.get(port)
      if (wanting?.delete(key) !== true || wanting.size > 0) continue
      place.wanted.delete(port)
      count(group, `${family} ${port}`, -1)
    }
    if (place.members.size > 0) return
    group.places.delete(address)
    group.inOrder[family].delete(address)
    if (group.places.size === 0) this.#groups.delete(groupOf(terms))
  }

  /** By port of an address, who wants it under these terms. */
  wantedAt(address: string, terms: SharingTerms): ReadonlyMap<string, ReadonlySet<string>> | undefined {
    return this.#groups.get(groupOf(terms))?.places.get(address)?.wanted
  }

  /** Lowest first: those on which nobody wants any of the ports. */
  *without(family: Family, terms: SharingTerms): Generator<string, void, undefined> {
    const { ports } = terms
    const group = this.#groups.get(groupOf(terms))
    if (group === undefined) return
    const { items } = group.inOrder[family]
    // Thousands that all want one port have an address each.
    if (ports.some((port) => group.counts.get(`${family} ${port}`) === items.length)) return
    for (const address of items) {
      const wanted = group.places.get(address)?.wanted
      if (wanted !== undefined && !ports.some((port) => wanted.has(port))) yield address
    }
  }
}

const groups = new WeakMap<SharingTerms, string>()

/** Services of two groups never share. */
function groupOf(terms: SharingTerms): string {
  const known = groups.get(terms)
  if (known !== undefined) return known
  const made = JSON.stringify([terms.key, terms.trafficKey])
  groups.set(terms, made)
  return made
}

function newGroup(): Group {
  const byValue = (a: string, b: string): number => compareAddresses(parseAddress(a) ?? 0, parseAddress(b) ?? 0)
  return { places: new Map(), inOrder: { ipv4: new Sorted(byValue), ipv6: new Sorted(byValue) }, counts: new Map() }
}

function count({ counts }: Group, what: string, step: number): void {
  const now = (counts.get(what) ?? 0) + step
  if (now > 0) counts.set(what, now)
  else counts.delete(what)
}
