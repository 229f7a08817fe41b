/**
 * unknown -> a narrow type, or faults that name the field and what to write instead.
 *
 *     raw --zod--> issues --> faults          an unknown field of a foreign kind is a warning and is passed over
 *            `---> value  --> cross checks    an error means: this version of the object is not used
 */
import { z } from 'zod'
import type { RawObject } from '../source.ts'

export type FieldPath = readonly (string | number)[]

/** A problem of an object before it is known where the object was written. */
export interface Fault {
  /** Absent: a warning. */
  readonly severity?: 'error' | 'warning'
  readonly path: FieldPath
  /** Absent: InvalidField. */
  readonly code?: string
  readonly message: string
  readonly remedy: string
}

/** `value` is absent exactly when a fault is an error. */
export interface Narrowed<T> {
  readonly value?: T
  readonly faults: readonly Fault[]
}

export const metadataSchema = z.object({
  name: z.string().min(1),
  namespace: z.string().nullish(),
  labels: z.record(z.string(), z.string()).nullish().transform((labels) => labels ?? {}),
  annotations: z.record(z.string(), z.string()).nullish().transform((annotations) => annotations ?? {}),
  creationTimestamp: z.string().nullish(),
})

export type Metadata = z.infer<typeof metadataSchema>

export const labelSelectorSchema = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).nullish().transform((value) => value ?? undefined),
  matchExpressions: z
    .array(z.strictObject({ key: z.string().min(1), operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']), values: z.array(z.string()).nullish().transform((value) => value ?? undefined) }))
    .nullish()
    .transform((value) => value ?? undefined),
})

/** `spec.virtualRouters[0].localASN` */
export function formatPath(path: FieldPath): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

export function fault(severity: 'error' | 'warning', path: FieldPath, code: string, message: string, remedy: string): Fault {
  return { severity, path, code, message, remedy }
}

/** Narrows `raw`; `check` sees the parsed value and adds what a schema cannot say. */
export function narrow<T>(schema: z.ZodType<T>, raw: RawObject, check: (value: T) => readonly Fault[] = () => []): Narrowed<T> {
  let input: unknown = raw
  let warnings: Fault[] = []
  let result = schema.safeParse(input)
  if (!result.success && result.error.issues.some((issue) => issue.code === 'unrecognized_keys')) {
    input = structuredClone(raw)
    warnings = result.error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? dropKeys(input, plainPath(issue.path), issue.keys) : []))
    result = schema.safeParse(input)
  }
  if (!result.success) return { faults: [...warnings, ...result.error.issues.map(faultOfIssue)] }
  const faults = [...warnings, ...check(result.data)]
  return faults.some(({ severity }) => severity === 'error') ? { faults } : { value: result.data, faults }
}

function plainPath(path: readonly PropertyKey[]): FieldPath {
  return path.map((step) => (typeof step === 'number' ? step : String(step)))
}

function dropKeys(root: unknown, path: FieldPath, keys: readonly string[]): Fault[] {
  let holder: unknown = root
  for (const step of path) holder = typeof holder === 'object' && holder !== null ? Reflect.get(holder, step) : undefined
  return keys.map((key) => {
    if (typeof holder === 'object' && holder !== null) Reflect.deleteProperty(holder, key)
    return fault('warning', [...path, key], 'UnknownField', `${formatPath([...path, key])} is not a field of this kind and has no effect`, 'Remove the field, or correct its spelling.')
  })
}

function faultOfIssue(issue: z.core.$ZodIssue): Fault {
  const path = plainPath(issue.path)
  return fault('error', path, 'InvalidField', `${formatPath(path) || 'the object'}: ${issue.message}`, `Correct ${formatPath(path) || 'the object'}; the last good version stays in force.`)
}
