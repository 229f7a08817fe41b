/**
 * unknown -> a narrow type, or faults that name the field and what to write instead.
 *
 *     raw --zod--> issues --> faults          an unknown field of a strict schema is a warning and is passed over
 *            `---> value  --> cross checks    without a value, this version of the object or part is not used
 */
import * as z from 'zod'
import type { ProblemCode } from '../../desired/codes.ts'
import { nearest } from './nearest.ts'
import { canonicalTime, textMap } from './schemas.ts'

export type FieldPath = readonly (string | number)[]

/** A problem of an object before it is known where the object was written. The message does not repeat the field. */
export interface Fault {
  readonly severity: 'error' | 'warning'
  readonly path: FieldPath
  readonly code: ProblemCode
  readonly message: string
  readonly remedy: string
}

/** `value` is absent when the object as a whole is not understood; an error beside a value costs a part of it only. */
export interface Narrowed<T> {
  readonly value?: T
  readonly faults: readonly Fault[]
}

/** A part of an object that is narrowed by itself: where it is, and what an error in it means. */
export interface Part {
  readonly at: FieldPath
  readonly meanwhile: string
  /** Its values are never shown. */
  readonly isSecret?: boolean
}

const wholeObject: Part = { at: [], meanwhile: 'the last good version stays in force' }

export const metadataSchema = z.object({
  name: z.string().min(1),
  namespace: z.string().nullish(),
  /** Another one is another object of the same name. */
  uid: z.string().nullish(),
  labels: textMap,
  annotations: textMap,
  /** Canonical; what is no time counts as absent. */
  creationTimestamp: z
    .unknown()
    .transform((time) => (typeof time === 'string' ? canonicalTime(time) : undefined))
    .optional(),
})

export type Metadata = z.infer<typeof metadataSchema>

/** `spec.virtualRouters[0].localASN` */
export function formatPath(path: FieldPath): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

export function fault(
  severity: 'error' | 'warning',
  path: FieldPath,
  code: ProblemCode,
  message: string,
  remedy: string,
): Fault {
  return { severity, path, code, message, remedy }
}

/** Narrows `raw`; `check` sees the parsed value and adds what a schema cannot say. */
export function narrow<T>(
  schema: z.ZodType<T>,
  raw: unknown,
  check: (value: T) => readonly Fault[] = () => [],
  part: Part = wholeObject,
): Narrowed<T> {
  let warnings: Fault[] = []
  let input = raw
  let result = schema.safeParse(raw)
  if (!result.success && result.error.issues.some((issue) => issue.code === 'unrecognized_keys')) {
    input = structuredClone(raw)
    warnings = result.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys' ? dropKeys(schema, input, plainPath(issue.path), issue.keys, part) : [],
    )
    result = schema.safeParse(input)
  }
  if (!result.success)
    return { faults: [...warnings, ...result.error.issues.map((issue) => faultOfIssue(issue, input, part))] }
  const faults = [...warnings, ...check(result.data).map((found) => withOutcome(found, part))]
  return faults.some(({ severity }) => severity === 'error') ? { faults } : { value: result.data, faults }
}

/** An error costs the object or part, and says so. */
function withOutcome(found: Fault, { meanwhile }: Part): Fault {
  return found.severity === 'error' ? { ...found, remedy: `${found.remedy.replace(/\.$/, '')}; ${meanwhile}.` } : found
}

function plainPath(path: readonly PropertyKey[]): FieldPath {
  return path.map((step) => (typeof step === 'number' ? step : String(step)))
}

function valueAt(root: unknown, path: FieldPath): unknown {
  let found = root
  for (const step of path) found = typeof found === 'object' && found !== null ? Reflect.get(found, step) : undefined
  return found
}

function dropKeys(
  schema: z.core.$ZodType,
  root: unknown,
  path: FieldPath,
  keys: readonly string[],
  { at }: Part,
): Fault[] {
  const holder = valueAt(root, path)
  const known = fieldsAt(schema, path)
  return keys.map((key) => {
    if (typeof holder === 'object' && holder !== null) Reflect.deleteProperty(holder, key)
    const near = nearest(key, known)
    return fault(
      'warning',
      [...at, ...path, key],
      'UnknownField',
      'not a field of this kind, so it has no effect',
      near === undefined ? 'Remove the field, or correct its spelling.' : `Did you mean ${near}?`,
    )
  })
}

/** The names of the fields that a schema has at a path. */
function fieldsAt(schema: z.core.$ZodType | undefined, path: FieldPath): readonly string[] {
  if (schema instanceof z.ZodPipe) return fieldsAt(schema.in, path)
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return fieldsAt(schema.unwrap(), path)
  if (schema instanceof z.ZodArray) return fieldsAt(schema.element, path.slice(1))
  if (!(schema instanceof z.ZodObject)) return []
  const [step, ...below] = path
  return step === undefined ? Object.keys(schema.shape) : fieldsAt(schema.shape[step], below)
}

function faultOfIssue(issue: z.core.$ZodIssue, raw: unknown, { at, meanwhile, isSecret = false }: Part): Fault {
  const path = plainPath(issue.path)
  const { message, remedy } = wordsFor(issue, isSecret ? undefined : { value: valueAt(raw, path) }, path.at(-1))
  return fault('error', [...at, ...path], 'InvalidField', message, `${remedy}; ${meanwhile}.`)
}

interface Words {
  readonly message: string
  readonly remedy: string
}

const kindsOfValue: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map',
}

/** What is wrong and exactly what to write; `written` is undefined where the value may not be shown. */
function wordsFor(
  issue: z.core.$ZodIssue,
  written: { readonly value: unknown } | undefined,
  step?: string | number,
): Words {
  const shown = written === undefined ? 'what is written' : shownValue(written.value)
  const value = written?.value
  if (issue.code === 'invalid_type') return wordsForType(issue.expected, written, step)
  if (issue.code === 'invalid_value') {
    const words = issue.values.map(String)
    const near = nearest(String(value), words)
    const list = words.length === 1 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
    return {
      message: `${shown} is none of ${words.join(', ')}`,
      remedy: near === undefined ? `Write ${list}` : `Did you mean ${near}? Write ${list}`,
    }
  }
  if (issue.code === 'too_small' && issue.origin === 'string')
    return { message: 'the text is empty', remedy: 'Write a text' }
  if (issue.code === 'too_small' && issue.origin !== 'array')
    return { message: `${shown} is below ${issue.minimum}`, remedy: `Write a number of at least ${issue.minimum}` }
  if (issue.code === 'too_big' && issue.origin !== 'array' && issue.origin !== 'string')
    return { message: `${shown} is above ${issue.maximum}`, remedy: `Write a number of at most ${issue.maximum}` }
  if (issue.code === 'invalid_union') {
    const inner = issue.errors.flat()
    const best = inner.find((each) => each.code === 'custom') ?? inner.find((each) => each.path.length > 0) ?? inner[0]
    if (best !== undefined) return wordsFor(best, written && { value: valueAt(value, plainPath(best.path)) }, step)
  }
  const remedy: unknown = issue.code === 'custom' ? issue.params?.['remedy'] : undefined
  return { message: issue.message, remedy: typeof remedy === 'string' ? remedy : 'Correct it' }
}

function wordsForType(
  expected: string,
  written: { readonly value: unknown } | undefined,
  step?: string | number,
): Words {
  const wanted = kindsOfValue[expected] ?? expected
  const label = typeof step === 'string' ? `${step}: ` : ''
  const write = `Write ${label === '' ? wanted : `${label}and ${wanted}`}`
  if (written === undefined) return { message: `not ${wanted}`, remedy: `Write ${wanted}` }
  const { value } = written
  if (value === undefined) return { message: 'it is missing', remedy: write }
  const message = `${shownValue(value)} is ${kindOf(value)}, not ${wanted}`
  if (expected === 'string' && (typeof value === 'number' || typeof value === 'boolean'))
    return { message, remedy: `Write it in quotes, ${label}"${value}"` }
  const bare = typeof value === 'string' ? value.trim() : ''
  const isBare =
    expected === 'boolean' ? /^(true|false)$/.test(bare) : /^(number|int)$/.test(expected) && /^-?\d+$/.test(bare)
  if (isBare) return { message, remedy: `Write it without quotes, ${label}${bare}` }
  return { message, remedy: write }
}

function kindOf(value: unknown): string {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'number' && !Number.isInteger(value)) return 'a fraction'
  return typeof value === 'boolean' ? 'a boolean' : (kindsOfValue[typeof value] ?? typeof value)
}

/** Short, on one line. */
function shownValue(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
