/** Objects that are written twice: the first by file and place is in force, and the others are told. Pure. */
import type { Problem } from '../desired/model.ts'
import type { ObjectKey, Origin } from './source.ts'

type Place = Pick<Origin, 'file' | 'line'>

export function duplicateProblem(key: ObjectKey, { file, line }: Place, first: Place): Problem {
  const { kind, namespace, name } = key
  return {
    severity: 'error',
    object: { kind, ...(namespace === '' ? {} : { namespace }), name, file, line },
    field: '',
    code: 'DuplicateObject',
    message: `${kind} ${name} is in ${first.file} line ${first.line} already, which is in force`,
    remedy: 'Remove one of the two.',
    column: 1,
  }
}

interface Written {
  readonly id: string
  readonly key: ObjectKey
  readonly origin: Origin
}

/** The first of each, and what is said of the others. */
export function withoutDuplicates<T extends Written>(
  objects: readonly T[],
): { readonly firsts: readonly T[]; readonly problems: readonly Problem[] } {
  const byId = new Map<string, T>()
  const problems: Problem[] = []
  for (const object of objects) {
    const first = byId.get(object.id)
    if (first === undefined) byId.set(object.id, object)
    else problems.push(duplicateProblem(object.key, object.origin, first.origin))
  }
  return { firsts: [...byId.values()], problems }
}
