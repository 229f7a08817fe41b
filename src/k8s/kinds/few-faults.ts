/**
 * Of the faults of an object ten errors and ten warnings are told, and how many more there are; each is a line of every
 * agent's log and of what is told of the object, and its writer may have made a hundred thousand. Pure.
 */
import type { ProblemCode } from '../../desired/codes.ts'
import type { Fault } from './narrow.ts'

type Severity = Fault['severity']

export const mostFaults = 10

/** Errors come first where there are too many. */
export function fewOf(faults: readonly Fault[]): readonly Fault[] {
  return faults.length <= mostFaults ? faults : [...fewOfOne('error', faults), ...fewOfOne('warning', faults)]
}

function fewOfOne(severity: Severity, faults: readonly Fault[]): readonly Fault[] {
  const own = faults.filter((each) => each.severity === severity)
  const single = own.filter(({ others }) => others === undefined)
  const first = single[mostFaults]
  if (first === undefined) return own
  const counted = own.reduce((sum, { others = 0 }) => sum + others, 0)
  return [...single.slice(0, mostFaults), othersOf(single.length - mostFaults + counted, severity, first.code)]
}

/** Stands for faults of which nothing else is said. */
export function othersOf(count: number, severity: Severity, code: ProblemCode): Fault {
  const message = `${count} more ${severity === 'error' ? 'errors' : 'warnings'} of this object are not told`
  return { severity, path: [], code, message, remedy: 'Correct those that are told.', others: count }
}

/** Faults of one kind, of which only those are made that are told. */
export class FewFaults {
  readonly #told: Fault[] = []
  #others = 0

  add(make: () => Fault): void {
    if (this.#told.length < mostFaults) this.#told.push(make())
    else this.#others++
  }

  all(): readonly Fault[] {
    const [first] = this.#told
    if (first === undefined || this.#others === 0) return this.#told
    return [...this.#told, othersOf(this.#others, first.severity, first.code)]
  }
}
