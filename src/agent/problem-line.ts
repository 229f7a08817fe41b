/** A problem with what it is of, as a line of the log has it. Pure. */
import type { Problem } from '../desired/model.ts'

export function problemLine(problem: Problem): string {
  const { object } = problem
  const name = [object.kind, object.namespace, object.name]
    .filter((part) => part !== undefined && part !== '')
    .join('/')
  const place = object.file === undefined ? '' : `${object.file}${object.line === undefined ? '' : `:${object.line}`}: `
  return `${place}${name}${problem.field === '' ? '' : ` ${problem.field}`}: ${problem.message}. ${problem.remedy}`
}
