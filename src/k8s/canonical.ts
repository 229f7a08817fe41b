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
  let text = ''
  let fault: CanonicalFault | undefined
  const refuse = (message: string): void => {
    fault ??= { path: [...path], message }
  }
  const write = (each: unknown): void => {
    values++
    if (fault !== undefined) return
    if (values > maxValues) return refuse(`the object has more than ${maxValues} values: aliases (*) multiply`)
    if (typeof each === 'string') text += quoted(each)
    else if (typeof each === 'number' && !Number.isFinite(each)) refuse('a number is infinite or none')
    else if (typeof each !== 'object' || each === null) text += JSON.stringify(each ?? null)
    else if (path.length >= maxDepth) refuse(`more than ${maxDepth} collections stand inside each other`)
    else if (Array.isArray(each)) writeList(each)
    else writeMapping(each as Readonly<Record<string, unknown>>)
  }
  const writeList = (list: readonly unknown[]): void => {
    text += '['
    for (let index = 0; index < list.length; index++) {
      if (index > 0) text += ','
      below(index, list[index])
    }
    text += ']'
  }
  const writeMapping = (mapping: Readonly<Record<string, unknown>>): void => {
    text += '{'
    let isFirst = true
    for (const key of Object.keys(mapping).sort()) {
      text += isFirst ? `${quoted(key)}:` : `,${quoted(key)}:`
      isFirst = false
      below(key, mapping[key])
    }
    text += '}'
  }
  const below = (step: string | number, each: unknown): void => {
    path.push(step)
    write(each)
    path.pop()
  }
  write(value)
  return fault ?? text
}

/** In a text that has none of these, quotes are all that JSON adds. */
const escaped = /["\\\u0000-\u001f\ud800-\udfff]/

export function quoted(text: string): string {
  return escaped.test(text) ? JSON.stringify(text) : `"${text}"`
}
