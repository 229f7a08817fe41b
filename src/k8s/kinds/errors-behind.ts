/**
 * What else is wrong with an object that is not understood: where its schema fails, neither the checks that follow it
 * nor its parts are come to. So it is read once more without the fields that are wrong, and where one of them is
 * required, without what it is in. Pure.
 *
 *     raw - fields of the errors --read--> errors --> those of other fields that are written
 *              ^--- one step further out ----'   of the fields that went
 */
import type { RawObject } from '../source.ts'
import { mostFaults } from './few-faults.ts'
import type { Fault, FieldPath } from './narrow.ts'

/** From `matchExpressions[0].operator` to `matchExpressions`, and once more. */
const mostSteps = 4

export function errorsBehind(
  raw: RawObject,
  found: readonly Fault[],
  read: (version: RawObject) => readonly Fault[],
): readonly Fault[] {
  let without = found.filter(({ severity }) => severity === 'error').map(({ path }) => path)
  // Of so many no more are told, and an object may be large.
  if (without.length === 0 || without.length >= mostFaults) return []
  const behind = new Map<string, Fault>()
  for (let step = 0; step < mostSteps; step++) {
    const errors = read(withoutFields(raw, without)).filter(({ severity }) => severity === 'error')
    // What is said of a field that went, of one in it or around it, comes of its absence.
    for (const error of errors)
      if (isWritten(raw, error.path) && !without.some((each) => isOneOfOther(each, placeOf(error))))
        behind.set(JSON.stringify([error.path, error.message]), error)
    const isMissed = (path: FieldPath): boolean => errors.some((error) => isOneOfOther(path, error.path))
    if (!without.some((path) => isMissed(path) && path.length > 2)) break
    without = without.map((path) => (isMissed(path) && path.length > 2 ? path.slice(0, -1) : path))
  }
  return [...behind.values()]
}

/** What two fields have with each other is said of neither where one of them went. */
function placeOf({ code, path }: Fault): FieldPath {
  return code === 'KeepaliveAboveHold' ? path.slice(0, -1) : path
}

/** An item of a list stays, or the others would have other places. Nothing is copied but what holds such a field. */
function withoutFields(raw: RawObject, paths: readonly FieldPath[]): RawObject {
  return paths.reduce((rest, path) => withoutField(rest, path), raw)
}

function withoutField<T extends object>(holder: T, [step, ...below]: FieldPath): T {
  if (step === undefined) return holder
  const at: unknown = Reflect.get(holder, step)
  if (below.length > 0 && (typeof at !== 'object' || at === null)) return holder
  if (below.length === 0 && typeof step === 'number') return holder
  const copy: T = Array.isArray(holder) ? Object.assign([], holder) : { ...holder }
  if (below.length === 0) Reflect.deleteProperty(copy, step)
  else Reflect.set(copy, step, withoutField(Object(at), below))
  return copy
}

function isOneOfOther(a: FieldPath, b: FieldPath): boolean {
  const [outer, inner] = a.length < b.length ? [a, b] : [b, a]
  return outer.every((step, index) => inner[index] === step)
}

function isWritten(root: object, path: FieldPath): boolean {
  return valueAt(root, path) !== undefined
}

function valueAt(root: object, path: FieldPath): unknown {
  let found: unknown = root
  for (const step of path) found = typeof found === 'object' && found !== null ? Reflect.get(found, step) : undefined
  return found
}
