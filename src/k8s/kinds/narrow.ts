/**
 * unknown -> a narrow type, or faults that name the field and what to write instead.
 *
 *     raw --zod--> issues --> faults          an unknown field of a strict schema is a warning and is passed over
 *            `---> value  --> cross checks    without a value, this version of the object is not used
 */
import * as z from 'zod'
import type { ProblemCode } from '../../desired/codes.ts'

export type FieldPath = readonly (string | number)[]

/** A problem of an object before it is known where the object was written. */
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
}

const wholeObject: Part = { at: [], meanwhile: 'the last good version stays in force' }

export const metadataSchema = z.object({
  name: z.string().min(1),
  namespace: z.string().nullish(),
  labels: z
    .record(z.string(), z.string())
    .nullish()
    .transform((labels) => labels ?? {}),
  annotations: z
    .record(z.string(), z.string())
    .nullish()
    .transform((annotations) => annotations ?? {}),
  creationTimestamp: z.string().nullish(),
})

export type Metadata = z.infer<typeof metadataSchema>

export const labelSelectorSchema = z.strictObject({
  matchLabels: z
    .record(z.string(), z.string())
    .nullish()
    .transform((value) => value ?? undefined),
  matchExpressions: z
    .array(
      z.strictObject({
        key: z.string().min(1),
        operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
        values: z
          .array(z.string())
          .nullish()
          .transform((value) => value ?? undefined),
      }),
    )
    .nullish()
    .transform((value) => value ?? undefined),
})

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
  let result = schema.safeParse(raw)
  if (!result.success && result.error.issues.some((issue) => issue.code === 'unrecognized_keys')) {
    const input = structuredClone(raw)
    warnings = result.error.issues.flatMap((issue) =>
      issue.code === 'unrecognized_keys' ? dropKeys(schema, input, plainPath(issue.path), issue.keys, part) : [],
    )
    result = schema.safeParse(input)
  }
  if (!result.success)
    return { faults: [...warnings, ...result.error.issues.map((issue) => faultOfIssue(issue, part))] }
  const faults = [...warnings, ...check(result.data)]
  return faults.some(({ severity }) => severity === 'error') ? { faults } : { value: result.data, faults }
}

function plainPath(path: readonly PropertyKey[]): FieldPath {
  return path.map((step) => (typeof step === 'number' ? step : String(step)))
}

function dropKeys(
  schema: z.core.$ZodType,
  root: unknown,
  path: FieldPath,
  keys: readonly string[],
  { at }: Part,
): Fault[] {
  let holder: unknown = root
  for (const step of path)
    holder = typeof holder === 'object' && holder !== null ? Reflect.get(holder, step) : undefined
  const known = fieldsAt(schema, path)
  return keys.map((key) => {
    if (typeof holder === 'object' && holder !== null) Reflect.deleteProperty(holder, key)
    const full = [...at, ...path, key]
    const near = nearest(key, known)
    return fault(
      'warning',
      full,
      'UnknownField',
      `${formatPath(full)} is not a field of this kind and has no effect`,
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

/** The known name that a misspelt one stands for, if any is near: a third of its letters may differ. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const [best] = known
    .map((each) => ({ each, distance: editDistance(name.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  return best !== undefined && best.distance <= Math.max(2, name.length / 3) ? best.each : undefined
}

/** Levenshtein: letters to insert, delete or replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)),
      )
    row = next
  }
  return row[b.length] ?? 0
}

function faultOfIssue(issue: z.core.$ZodIssue, { at, meanwhile }: Part): Fault {
  const path = [...at, ...plainPath(issue.path)]
  const name = formatPath(path) || 'the object'
  return fault('error', path, 'InvalidField', `${name}: ${issue.message}`, `Correct ${name}; ${meanwhile}.`)
}
