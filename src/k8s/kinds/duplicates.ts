/** Lists in which nothing may stand twice. Pure. */
import { FewFaults } from './few-faults.ts'
import { fault, type Fault, type FieldPath } from './narrow.ts'

/** MetalLB refuses them, so that nothing in force can have one. */
export function duplicateFaults(list: readonly unknown[], path: FieldPath): readonly Fault[] {
  const seen = new Map<string, number>()
  const found = new FewFaults()
  list.forEach((entry, index) => {
    const text = JSON.stringify(entry)
    const first = seen.get(text)
    if (first === undefined) return void seen.set(text, index)
    found.add(() => {
      const message = `${typeof entry === 'string' ? entry : 'it'} stands there already, as number ${first + 1}`
      return fault('error', [...path, index], 'DuplicateEntry', message, 'Write it once')
    })
  })
  return found.all()
}

/** Selectors, none twice, and no value twice in one of their lists. */
export function selectorFaults(
  selectors: readonly {
    readonly matchExpressions?: readonly { readonly values?: readonly string[] | undefined }[] | undefined
  }[],
  path: FieldPath,
): readonly Fault[] {
  return [
    ...duplicateFaults(selectors, path),
    ...selectors.flatMap(({ matchExpressions = [] }, index) =>
      matchExpressions.flatMap(({ values = [] }, at) =>
        duplicateFaults(values, [...path, index, 'matchExpressions', at, 'values']),
      ),
    ),
  ]
}
