/** A list that stays in order, whatever order its items come in; no two of them are equal in it. Pure. */
export class Sorted<T> {
  readonly #items: T[] = []
  readonly #compare: (a: T, b: T) => number

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare
  }

  get items(): readonly T[] {
    return this.#items
  }

  /** Where an item is, or would be. */
  positionOf(item: T): number {
    let [from, to] = [0, this.#items.length]
    while (from < to) {
      const middle = (from + to) >>> 1
      const found = this.#items[middle]
      if (found !== undefined && this.#compare(found, item) < 0) from = middle + 1
      else to = middle
    }
    return from
  }

  #holds(item: T, position: number): boolean {
    const found = this.#items[position]
    return found !== undefined && this.#compare(found, item) === 0
  }

  /** Replaces an equal one; answers where it is. */
  add(item: T): number {
    const position = this.positionOf(item)
    this.#items.splice(position, this.#holds(item, position) ? 1 : 0, item)
    return position
  }

  /** Answers where it was; undefined: it was not there. */
  delete(item: T): number | undefined {
    const position = this.positionOf(item)
    if (!this.#holds(item, position)) return undefined
    this.#items.splice(position, 1)
    return position
  }
}
