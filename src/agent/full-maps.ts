/** Maps that fill and cannot be made larger: a fault before anything is refused for it, for as long as it lasts. */
import type { Datapath } from '../datapath/datapath.ts'
import type { Faults } from './faults.ts'

export class FullMaps {
  readonly #datapath: Pick<Datapath, 'status'>
  readonly #faults: Pick<Faults, 'raise' | 'clear'>
  /** By map: how often it failed when that was raised. */
  readonly #raised = new Map<string, number>()

  constructor(datapath: Pick<Datapath, 'status'>, faults: Pick<Faults, 'raise' | 'clear'>) {
    this.#datapath = datapath
    this.#faults = faults
  }

  /** After each change, and now and then: a removal at the end of a drain makes room as well. */
  judge(): void {
    const problems = this.#datapath.status.problems ?? []
    for (const subject of this.#raised.keys()) {
      if (problems.some((problem) => problem.subject === subject)) continue
      this.#raised.delete(subject)
      this.#faults.clear('map', subject)
    }
    for (const { subject, text, times } of problems) {
      if (this.#raised.get(subject) === times) continue
      this.#raised.set(subject, times)
      this.#faults.raise('map', subject, text)
    }
  }
}
