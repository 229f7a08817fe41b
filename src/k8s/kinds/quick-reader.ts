/**
 * Reads by a zod schema what zod would accept, at a fraction of its cost, and refuses everything else: thousands of
 * objects are right, and what is wrong with the others zod tells in words. By a schema with a piece that is not known
 * here it refuses everything. Pure.
 */
import * as z from 'zod'
import { isRecord } from '../source.ts'

/** In place of a value: zod judges. */
export const refused: unique symbol = Symbol('refused')

type Read = (value: unknown) => unknown
type Schema = z.core.$ZodType
type Check = (value: never) => boolean

const readers = new WeakMap<Schema, Read>()

/** What `schema.parse` would make of it, or `refused`, also of what it would take. */
export function readQuickly<T>(schema: z.ZodType<T>, raw: unknown): T | typeof refused {
  let read = readers.get(schema)
  // Made when it is needed: most kinds are not there, or once.
  if (read === undefined) readers.set(schema, (read = reader(schema) ?? (() => refused)))
  // What the pieces make together is what the schema is of.
  return read(raw) as T | typeof refused
}

function reader(schema: Schema): Read | undefined {
  const read = unchecked(schema)
  const checks = schema._zod.def.checks?.map(checkOf) ?? []
  if (read === undefined || checks.includes(undefined)) return undefined
  if (checks.length === 0) return read
  const known = checks.filter((check) => check !== undefined)
  return (raw) => {
    const value = read(raw)
    return value === refused || known.every((check) => check(value as never)) ? value : refused
  }
}

function unchecked(schema: Schema): Read | undefined {
  if (schema instanceof z.ZodObject) return objectReader(schema)
  if (schema instanceof z.ZodOptional) return readerBeside(undefined, schema.unwrap())
  if (schema instanceof z.ZodNullable) return readerBeside(null, schema.unwrap())
  if (schema instanceof z.ZodArray) return arrayReader(schema)
  if (schema instanceof z.ZodRecord) return recordReader(schema)
  if (schema instanceof z.ZodPipe) return pipeReader(schema)
  if (schema instanceof z.ZodTransform) return transformReader(schema)
  if (schema instanceof z.ZodEnum) return wordReader(schema)
  if (schema instanceof z.ZodUnknown) return (value) => value
  if (schema instanceof z.ZodBoolean) return (value) => (typeof value === 'boolean' ? value : refused)
  // Of formats, which are classes of their own, nothing is known.
  if (schema.constructor === z.ZodString) return (value) => (typeof value === 'string' ? value : refused)
  if (schema.constructor === z.ZodNumber) return (value) => (Number.isFinite(value) ? value : refused)
  return undefined
}

interface Field {
  readonly key: string
  readonly read: Read
  readonly isRequired: boolean
  /** Nothing is made of a field that is not there. */
  readonly isAbsentWithout: boolean
}

function objectReader(schema: z.ZodObject): Read | undefined {
  const fields: Field[] = []
  for (const [key, field] of Object.entries<Schema>(schema.shape)) {
    const read = reader(field)
    const { optin, optout } = field._zod
    if (read === undefined || optin === 'defaulted') return undefined
    const isRequired = optin === undefined
    fields.push({ key, read, isRequired, isAbsentWithout: !isRequired && optout === 'optional' })
  }
  const { catchall } = schema._zod.def
  if (catchall !== undefined && catchall._zod.def.type !== 'never') return undefined
  const known = catchall === undefined ? undefined : new Set(fields.map(({ key }) => key))
  return (raw) => {
    if (!isRecord(raw)) return refused
    if (known !== undefined) for (const key in raw) if (!known.has(key)) return refused
    const made: Record<string, unknown> = {}
    for (const { key, read, isRequired, isAbsentWithout } of fields) {
      const written = raw[key]
      const isAbsent = written === undefined && !(key in raw)
      if (isAbsent && isAbsentWithout) continue
      if (isAbsent && isRequired) return refused
      const value = read(written)
      if (value === refused) return refused
      if (value !== undefined || !isAbsent) made[key] = value
    }
    return made
  }
}

/** A value of its own, null or nothing, beside what the schema takes. */
function readerBeside(own: null | undefined, inner: Schema): Read | undefined {
  const read = reader(inner)
  return read === undefined ? undefined : (value) => (value === own ? own : read(value))
}

function arrayReader(schema: z.ZodArray<Schema>): Read | undefined {
  const read = reader(schema.element)
  if (read === undefined) return undefined
  return (raw) => {
    if (!Array.isArray(raw)) return refused
    const made: unknown[] = []
    for (const item of raw) {
      const value = read(item)
      if (value === refused) return refused
      made.push(value)
    }
    return made
  }
}

/** Of any text to something. */
function recordReader({ keyType, valueType }: z.ZodRecord): Read | undefined {
  const read = reader(valueType)
  if (read === undefined || keyType.constructor !== z.ZodString || keyType._zod.def.checks?.length) return undefined
  return (raw) => {
    if (!isRecord(raw)) return refused
    const made: Record<string, unknown> = {}
    for (const key of Object.keys(raw)) {
      // It is no name, and would be no key.
      if (key === '__proto__') continue
      const value = read(raw[key])
      if (value === refused) return refused
      made[key] = value
    }
    return made
  }
}

function pipeReader(schema: z.ZodPipe): Read | undefined {
  const [first, second] = [reader(schema.in), reader(schema.out)]
  if (first === undefined || second === undefined) return undefined
  return (raw) => {
    const value = first(raw)
    return value === refused ? refused : second(value)
  }
}

function transformReader({ def: { transform } }: z.ZodTransform): Read | undefined {
  // With a second parameter it may say that something is wrong.
  return transform.length > 1 ? undefined : (value) => transform(value, noContext)
}

const noContext = { value: undefined, issues: [] }

function wordReader(schema: z.ZodEnum): Read {
  const words = new Set<unknown>(schema.options)
  return (value) => (words.has(value) ? value : refused)
}

function checkOf({ _zod: { def } }: z.core.$ZodCheck): Check | undefined {
  const { check, value, inclusive, minimum, maximum, format }: Partial<Record<string, unknown>> = { ...def }
  if (check === 'number_format' && format === 'safeint') return Number.isSafeInteger
  if (check === 'greater_than' && typeof value === 'number')
    return inclusive === true ? (each: number) => each >= value : (each: number) => each > value
  if (check === 'less_than' && typeof value === 'number')
    return inclusive === true ? (each: number) => each <= value : (each: number) => each < value
  if (check === 'min_length' && typeof minimum === 'number')
    return (each: Sized) => each.length >= 2 * minimum || sizeOf(each) >= minimum
  if (check === 'max_length' && typeof maximum === 'number')
    return (each: Sized) => each.length <= maximum || sizeOf(each) <= maximum
  return undefined
}

type Sized = string | readonly unknown[]

/** Of a text in characters, of which one has up to two of the units that its length is in. */
function sizeOf(sized: Sized): number {
  return [...sized].length
}
