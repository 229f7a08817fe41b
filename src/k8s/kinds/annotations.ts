/** Annotations whose name begins like one that is read, and which nothing reads: probably misspelt. Pure. */
import { fault, type Fault } from './narrow.ts'
import { nearest } from './nearest.ts'

export interface ReadAnnotations {
  /** Every name that begins so is meant for what reads the object here. */
  readonly prefixes: readonly string[]
  readonly names: readonly string[]
  /** Names that end in something of the writer's choice begin so. */
  readonly beginnings?: readonly string[]
}

/** So many are told one by one: their writer may have filled all the room that an object has for annotations. */
const toldOneByOne = 16

export function unknownAnnotations(
  annotations: Readonly<Record<string, string>>,
  { prefixes, names, beginnings = [] }: ReadAnnotations,
): readonly Fault[] {
  const unknown = Object.keys(annotations).filter(
    (name) =>
      prefixes.some((prefix) => name.startsWith(prefix)) &&
      !names.includes(name) &&
      !beginnings.some((beginning) => name.startsWith(beginning)),
  )
  const told = unknown.slice(0, toldOneByOne).map((name): Fault => {
    const near = nearest(name, [...names, ...beginnings])
    const remedy =
      near === undefined
        ? `Remove it; there is ${[...names, ...beginnings].join(', ')}.`
        : beginnings.includes(near)
          ? `Begin it with "${near}".`
          : `Write ${near}.`
    const message = 'no annotation that is known here: it has no effect'
    return fault('warning', ['metadata', 'annotations', name], 'UnknownField', message, remedy)
  })
  if (unknown.length <= toldOneByOne) return told
  const message = `${unknown.length - toldOneByOne} more annotations are known to nobody here: they have no effect`
  return [...told, fault('warning', ['metadata', 'annotations'], 'UnknownField', message, 'Remove them.')]
}
