/** From the faults of an object to problems that say where it was written. Pure. */
import type { ObjectRef, Problem } from '../../desired/model.ts'
import { formatPath, type Fault } from './narrow.ts'
import { type ObjectKey, type Origin, shortened } from '../source.ts'

export function refOf({ kind, namespace, name }: ObjectKey, origin: Origin | undefined): ObjectRef {
  // Spread, it would cost each of thousands of objects a temporary one or two.
  if (origin === undefined) return namespace === '' ? { kind, name } : { kind, namespace, name }
  const { file, line } = origin
  return namespace === '' ? { kind, name, file, line } : { kind, namespace, name, file, line }
}

/** Lines come and go above an object that stays as it is: where it stands is asked for when it is shown. */
function refAt(ref: ObjectRef, origin: Origin, line: number): ObjectRef {
  const below = line - origin.line
  return {
    ...ref,
    get file() {
      return origin.file
    },
    get line() {
      return origin.line + below
    },
  }
}

export function problemOf(fault: Fault, key: ObjectKey, origin: Origin | undefined): Problem {
  const at = origin?.locate(fault.path)
  const ref = refOf(key, origin)
  return {
    severity: fault.severity,
    object: at === undefined || origin === undefined ? ref : refAt(ref, origin, at.line),
    field: shortened(formatPath(fault.path)),
    code: fault.code,
    message: fault.message,
    remedy: fault.remedy,
    ...(at === undefined ? {} : { column: at.column }),
  }
}
