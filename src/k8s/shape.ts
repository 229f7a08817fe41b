/**
 * What of an object may not be missing for a moment: its keys and the items of its lists, without the values. A new
 * version that lacks some of it may be half of a file. Pure.
 */
import type { Path } from './yaml.ts'
import { isRecord } from './source.ts'

/** Scalars are 0, texts of several lines the number of them, lists `[identity, shape]` each. */
type Shape = null | number | readonly (readonly [string, Shape])[] | { readonly [key: string]: Shape }

/** Of these the first that an item of a list has tells it from the others; another value of it is another item. */
const identities = ['name', 'peerAddress', 'key', 'cidr', 'start', 'ip', 'hostname', 'localASN', 'port'] as const

/** As text, which is the same for most objects of a kind. */
export function shapeOf(value: unknown): string {
  return measure(value, '')
}

/** The JSON of a {@link Shape}. */
function measure(value: unknown, key: string): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'string') return value.includes('\n') ? String(value.split('\n').length) : '0'
  if (typeof value !== 'object') return '0'
  let text = ''
  if (Array.isArray(value)) {
    for (const item of value) {
      const shape = `[${quoted(identityOf(item, key))},${measure(item, '')}]`
      text += text === '' ? shape : `,${shape}`
    }
    return `[${text}]`
  }
  for (const name of Object.keys(value)) {
    const shape = `${quoted(name)}:${measure(Reflect.get(value, name), name)}`
    text += text === '' ? shape : `,${shape}`
  }
  return `{${text}}`
}

/** In a text that has none of these, quotes are all that JSON adds. */
const escaped = /["\\\u0000-\u001f\ud800-\udfff]/

function quoted(text: string): string {
  return escaped.test(text) ? JSON.stringify(text) : `"${text}"`
}

/** Addresses of an endpoint have none: pods are replaced all the time. */
function identityOf(item: unknown, list: string): string {
  if (isRecord(item)) {
    const name = identities.find((each) => typeof item[each] === 'string' || typeof item[each] === 'number')
    return name === undefined ? '' : String(item[name])
  }
  return typeof item === 'object' || list === 'addresses' ? '' : String(item)
}

/** The list or mapping of which `after` lacks something that `before` has; undefined when nothing is missing. */
export function lossOf(before: string, after: string): Path | undefined {
  if (before === after) return undefined
  return lost(JSON.parse(before) as Shape, JSON.parse(after) as Shape, [])
}

function lost(before: Shape, after: Shape, path: Path): Path | undefined {
  if (before === null) return undefined
  if (after === null) return path
  if (typeof before === 'number') return typeof after === 'number' && after < before ? path : undefined
  if (isList(before)) return isList(after) ? lostItem(before, after, path) : path
  if (typeof after === 'number' || isList(after)) return path
  for (const [key, each] of Object.entries(before)) {
    const now = after[key]
    // A key without a value holds nothing that could be missing.
    if (now === undefined && each !== null) return path
    const found = now === undefined ? undefined : lost(each, now, [...path, key])
    if (found !== undefined) return found
  }
  return undefined
}

type ListShape = Extract<Shape, readonly unknown[]>

function isList(shape: Shape): shape is ListShape {
  return Array.isArray(shape)
}

function lostItem(before: ListShape, after: ListShape, path: Path): Path | undefined {
  const taken = new Set<number>()
  for (const [identity, shape] of before) {
    const at = after.findIndex(([other], index) => other === identity && !taken.has(index))
    const now = after[at]?.[1]
    if (now === undefined) return path
    taken.add(at)
    const found = lost(shape, now, [...path, at])
    if (found !== undefined) return found
  }
  return undefined
}
