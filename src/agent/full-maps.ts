/**
 * What the datapath has to say of itself, each a fault for as long as it lasts: above all maps that fill and cannot be
 * made larger, before anything is refused for it.
 */
import type { Datapath, DatapathProblem } from '../datapath/datapath.ts'
import type { Faults } from './faults.ts'

const keyOf = ({ kind, subject }: DatapathProblem): string => `${kind ?? 'map'} ${subject}`

export class FullMaps {
  readonly #datapath: Pick<Datapath, 'status'>
  readonly #faults: Pick<Faults, 'raise' | 'clear'>
  /** As they were raised. */
  readonly #raised = new Map<string, DatapathProblem>()

  constructor(datapath: Pick<Datapath, 'status'>, faults: Pick<Faults, 'raise' | 'clear'>) {
    this.#datapath = datapath
    this.#faults = faults
  }

  /** After each change, and now and then: a removal at the end of a drain makes room as well. */
  judge(): void {
    const problems = this.#datapath.status.problems ?? []
    for (const [key, { kind, subject }] of this.#raised) {
      if (problems.some((problem) => keyOf(problem) === key)) continue
      this.#raised.delete(key)
      this.#faults.clear(kind ?? 'map', subject)
    }
    for (const problem of problems) {
      const { kind, subject, text, times } = problem
      if (this.#raised.get(keyOf(problem))?.times === times) continue
      this.#raised.set(keyOf(problem), problem)
      this.#faults.raise(kind ?? 'map', subject, text)
    }
  }
}
