/** The one text of a value, whatever the order of its keys, within bounds. Pure. */
import { maxDepth, type Path } from './yaml.ts'

/** More values than any object that an API server takes. */
const maxValues = 200_000

export interface CanonicalFault {
  readonly path: Path
  readonly message: string
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** JSON with sorted keys. An alias is written out where it stands, so that one of an alias without end is refused. */
export function canonicalJson(value: unknown): string | CanonicalFault {
  const path: (string | number)[] = []
  let values = 0
  let fault: CanonicalFault | undefined
  const refuse = (message: string): string => {
    fault ??= { path: [...path], message }
    return 'null'
  }
  const write = (each: unknown): string => {
    values++
    if (fault !== undefined) return 'null'
    if (values > maxValues) return refuse(`the object has more than ${maxValues} values: aliases (*) multiply`)
    if (typeof each === 'number' && !Number.isFinite(each)) return refuse('a number is infinite or none')
    if (typeof each !== 'object' || each === null) return JSON.stringify(each ?? null)
    if (path.length >= maxDepth) return refuse(`more than ${maxDepth} collections stand inside each other`)
    const inside = Array.isArray(each)
      ? each.map((item, index) => below(index, item))
      : Object.keys(each)
          .sort()
          .map((key) => `${JSON.stringify(key)}:${below(key, Reflect.get(each, key))}`)
    return Array.isArray(each) ? `[${inside.join()}]` : `{${inside.join()}}`
  }
  const below = (step: string | number, each: unknown): string => {
    path.push(step)
    const written = write(each)
    path.pop()
    return written
  }
  const text = write(value)
  return fault ?? text
}
