/** Annotations whose name begins like one that is read, and which nothing reads: probably misspelt. Pure. */
import { FewFaults } from './few-faults.ts'
import { fault, type Fault } from './narrow.ts'
import { nearest } from './nearest.ts'

export interface ReadAnnotations {
  /** Every name that begins so is meant for what reads the object here. */
  readonly prefixes: readonly string[]
  readonly names: readonly string[]
  /** Names that end in something of the writer's choice begin so. */
  readonly beginnings?: readonly string[]
}

export function unknownAnnotations(
  annotations: Readonly<Record<string, string>>,
  { prefixes, names, beginnings = [] }: ReadAnnotations,
): readonly Fault[] {
  const found = new FewFaults()
  for (const name of Object.keys(annotations)) {
    const isMeant = prefixes.some((prefix) => name.startsWith(prefix)) && !names.includes(name)
    if (isMeant && !beginnings.some((beginning) => name.startsWith(beginning)))
      found.add(() => unknownName(name, names, beginnings))
  }
  return found.all()
}

function unknownName(name: string, names: readonly string[], beginnings: readonly string[]): Fault {
  const near = nearest(name, [...names, ...beginnings])
  const remedy =
    near === undefined
      ? `Remove it; there is ${[...names, ...beginnings].join(', ')}.`
      : beginnings.includes(near)
        ? `Begin it with "${near}".`
        : `Write ${near}.`
  const message = 'no annotation that is known here: it has no effect'
  return fault('warning', ['metadata', 'annotations', name], 'UnknownField', message, remedy)
}
