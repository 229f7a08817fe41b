/** From the faults of an object to problems that say where it was written. Pure. */
import type { ObjectRef, Problem } from '../../desired/model.ts'
import { formatPath, type Fault } from './narrow.ts'
import type { ObjectKey, Origin } from '../source.ts'

export function refOf({ kind, namespace, name }: ObjectKey, origin: Origin | undefined): ObjectRef {
  return {
    kind,
    ...(namespace === '' ? {} : { namespace }),
    name,
    ...(origin === undefined ? {} : { file: origin.file, line: origin.line }),
  }
}

export function problemOf(fault: Fault, key: ObjectKey, origin: Origin | undefined): Problem {
  const at = origin?.locate(fault.path)
  const ref = refOf(key, origin)
  return {
    severity: fault.severity,
    object: at === undefined ? ref : { ...ref, line: at.line },
    field: formatPath(fault.path),
    code: fault.code,
    message: fault.message,
    remedy: fault.remedy,
    ...(at === undefined ? {} : { column: at.column }),
  }
}
