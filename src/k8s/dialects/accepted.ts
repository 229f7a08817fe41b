/** What is wrong with an object of the configuration, as a condition of the object itself and as events. Pure. */
import type { Problem } from '../../desired/model.ts'
import type { SaidCondition } from '../status.ts'

/** Problems of one object that have field and code in common: nodes that read the same say the same of it. */
export interface ToldProblem {
  readonly isError: boolean
  readonly code: string
  /** Names field and remedy. */
  readonly text: string
}

/** Errors first; in the same order and words whoever says it, in whatever order it came. */
export function toldProblems(problems: readonly Problem[]): readonly ToldProblem[] {
  const groups = new Map<string, Problem[]>()
  for (const problem of problems) {
    const { field, code } = problem
    // What is of no field may be how many more there are.
    const key = JSON.stringify([isError(problem) ? 0 : 1, field === '' ? 1 : 0, field, code])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [problem])
    else group.push(problem)
  }
  return [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, group]) => {
      const texts = [...new Set(group.map(textOf))].sort()
      const [first] = group
      if (first === undefined) return []
      // How many there are changes with every node that comes.
      const text = texts.length > 1 ? `${texts[0]} The same is so elsewhere.` : (texts[0] ?? '')
      return [{ isError: isError(first), code: first.code, text }]
    })
}

/** Whether the object is taken as it is written; `told` as {@link toldProblems} has it. */
export function acceptedCondition(told: readonly ToldProblem[]): SaidCondition {
  const [first] = told
  const message = told.map(({ text }) => text).join(' ')
  const type = 'herald.dev/Accepted'
  if (first === undefined) return { type, status: 'True', reason: 'Accepted', message: 'It is understood as a whole.' }
  if (!first.isError) return { type, status: 'True', reason: 'AcceptedWithWarnings', message }
  return { type, status: 'False', reason: first.code, message }
}

/** Also what is no fault of the object, and leaves it without any effect. */
function isError({ severity, code, field }: Problem): boolean {
  return severity === 'error' || (code === 'NotServed' && field === '')
}

function textOf({ field, message, remedy }: Problem): string {
  return `${field === '' ? '' : `${field}: `}${message}. ${remedy}`
}
