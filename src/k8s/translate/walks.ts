/**
 * What a change of the node, of its pools or of other nodes means to each Service is found in a walk over all of them:
 * of thousands some in each turn, one walk after the other. Pure.
 */
import { goOn, type Work } from '../../allocation/work.ts'

/** So many are looked at between two looks at the clock. */
const together = 64

export class Walks {
  readonly #touch: (id: string) => void
  readonly #due = new Map<unknown, Work<void>>()

  constructor(touch: (id: string) => void) {
    this.#touch = touch
  }

  get areDue(): boolean {
    return this.#due.size > 0
  }

  /**
   * Touches those of which it is true. What comes while it is under way is walked over, too. Of one `name` one that is
   * due is enough.
   */
  add<T>(
    of: Iterable<readonly [string, T]>,
    isMeant: (value: T, id: string) => boolean,
    name: unknown = isMeant,
  ): void {
    if (!this.#due.has(name)) this.#due.set(name, this.#walk(of, isMeant))
  }

  /** False: the turn is over, and there is more. */
  goOn(isOver: () => boolean): boolean {
    for (const [name, work] of this.#due) {
      if (goOn(work, isOver) === undefined) return false
      this.#due.delete(name)
    }
    return true
  }

  *#walk<T>(of: Iterable<readonly [string, T]>, isMeant: (value: T, id: string) => boolean): Work<void> {
    let count = 0
    for (const [id, value] of of) {
      if (isMeant(value, id)) this.#touch(id)
      if (++count % together === 0) yield
    }
  }
}
