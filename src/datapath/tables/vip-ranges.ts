/**
 * To whom a VIP itself answers: pings, and packets that nobody serves. To whomever one of its frontends lets in. Pure.
 */
import type { SourceRange } from '../../desired/model.ts'
import { HeraldError } from '../../errors.ts'
import { parsePrefix, prefixAddress, prefixLength, prefixOf, type Prefix } from '../../ip/prefix.ts'
import type { RangeTable } from './ranges.ts'

/** So many ranges of several lists are made one; a VIP that would answer more answers nobody. */
const maxUnion = 1024
/** Each range is looked up in each list that keeps some out. */
const maxLookUps = 4 * maxUnion

export class VipRanges {
  readonly #ranges: RangeTable
  /** By address: how many frontends let everybody in. */
  readonly #open = new Map<string, number>()
  /** By address: how many others name which set. */
  readonly #sets = new Map<string, Map<number, number>>()
  /** By address: what was made one last, and of which sets. */
  readonly #unions = new Map<string, { readonly of: string; readonly ranges: readonly SourceRange[] }>()
  /** By address: the set that was taken for it. */
  readonly #taken = new Map<string, number>()

  constructor(ranges: RangeTable) {
    this.#ranges = ranges
  }

  /**
   * The set that is to be written for a VIP, one frontend of which names `to` in place of `from`; undefined: it is new,
   * or gone. Where the union of several finds no room in the map, or is too large, nobody is answered.
   */
  change(address: string, from: number | undefined, to: number | undefined): number {
    if (from !== undefined) this.#count(address, from, -1)
    if (to !== undefined) this.#count(address, to, 1)
    try {
      return this.#take(address, this.#union(address))
    } catch (error) {
      if (!(error instanceof HeraldError && error.code === 'ERR_MAP_FULL')) throw error
      return this.#take(address, [])
    }
  }

  #count(address: string, set: number, more: 1 | -1): void {
    if (set === 0) return countIn(this.#open, address, more)
    const sets = this.#sets.get(address) ?? new Map<number, number>()
    countIn(sets, set, more)
    if (sets.size > 0) this.#sets.set(address, sets)
    else this.#sets.delete(address)
  }

  /** undefined: everybody. */
  #union(address: string): readonly SourceRange[] | undefined {
    const sets = this.#open.has(address) ? [] : [...(this.#sets.get(address)?.keys() ?? [])]
    const [of, known] = [sets.join(), this.#unions.get(address)]
    if (known?.of === of) return known.ranges
    this.#unions.delete(address)
    if (sets.length === 0) return undefined
    const [first = [], ...others] = sets.map((set) => this.#ranges.known(set) ?? [])
    if (others.length === 0) return first
    const ranges = unionOf([first, ...others])
    this.#unions.set(address, { of, ranges })
    return ranges
  }

  #take(address: string, wanted: readonly SourceRange[] | undefined): number {
    const before = this.#taken.get(address) ?? 0
    const set = this.#ranges.take(wanted)
    if (set === 0) this.#taken.delete(address)
    else this.#taken.set(address, set)
    this.#ranges.give(before)
    return set
  }
}

function countIn<Key>(counts: Map<Key, number>, key: Key, more: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + more
  if (count > 0) counts.set(key, count)
  else counts.delete(key)
}

/**
 * What any of several lists lets in. The longest prefix of all that holds an address is as long as that of each list or
 * longer, so at each prefix of all the answer of each list is known. Of too many, who share the address in their
 * hundreds, nobody is let in: it is made anew with every change of one.
 */
export function unionOf(lists: readonly (readonly SourceRange[])[]): readonly SourceRange[] {
  const plain = lists.filter((list) => list.every(({ isAllowed }) => isAllowed))
  const mixed = lists.filter((list) => !plain.includes(list))
  const size = lists.reduce((sum, { length }) => sum + length, 0)
  if (size > maxUnion || size * mixed.length > maxLookUps) return []
  const judges = [...mixed, ...(plain.length === 0 ? [] : [plain.flat()])].map(judgeOf)
  const all = [...new Set(lists.flat().map(({ prefix }) => prefix))]
  return all.map((prefix) => ({ prefix, isAllowed: judges.some((letsIn) => letsIn(prefix)) }))
}

/** Whether a list lets in what a prefix holds, as far as it does not say more of parts of it. */
function judgeOf(ranges: readonly SourceRange[]): (prefix: string) => boolean {
  const known = new Map<Prefix, boolean>()
  for (const { prefix, isAllowed } of ranges) {
    const parsed = parsePrefix(prefix)
    if (parsed !== undefined) known.set(parsed, isAllowed)
  }
  const lengths = [...new Set([...known.keys()].map(prefixLength))].sort((a, b) => b - a)
  return (text) => {
    const prefix = parsePrefix(text)
    if (prefix === undefined) return false
    for (const length of lengths) {
      const found = length > prefixLength(prefix) ? undefined : known.get(prefixOf(prefixAddress(prefix), length))
      if (found !== undefined) return found
    }
    return false
  }
}
