/**
 * Work that grows with a table, done in slices: each turn of the loop does so many units of it, whatever asked for it
 * and however often, and what else is due comes between two turns.
 *
 *     add --> chores, in turn --work(units)--> units left over: done, else again in the next turn
 */
import type { Environment } from './session/environment.ts'

/** A unit is about a microsecond. */
const unitsPerTurn = 4_096

export interface Chore {
  /** Does so many units of what is due; answers how many it had no use for: more than none, and nothing is due. */
  work(units: number): number
}

export class Chores {
  readonly #environment: Environment
  readonly #due = new Set<Chore>()
  #isTurnDue = false

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** Something is due. */
  add(chore: Chore): void {
    this.#due.add(chore)
    if (this.#isTurnDue) return
    this.#isTurnDue = true
    this.#environment.soon(() => this.#turn())
  }

  /** Nothing is done any more. */
  end(): void {
    this.#due.clear()
  }

  #turn(): void {
    this.#isTurnDue = false
    let units = unitsPerTurn
    for (const chore of [...this.#due]) {
      const share = Math.ceil(unitsPerTurn / this.#due.size)
      this.#due.delete(chore)
      const left = chore.work(Math.min(units, share))
      units -= Math.min(units, share) - left
      // Behind the others: what another one has caused meanwhile is due before it.
      if (left <= 0) this.add(chore)
      if (units <= 0) break
    }
    const [waiting] = this.#due
    if (waiting !== undefined) this.add(waiting)
  }
}
