/**
 * unknown -> a narrow type, or faults that name the field and what to write instead.
 *
 *     raw --quick reader--> value ------------.
 *       `------> zod ------> value -----------+--> cross checks
 *                   `------> issues --> faults     an unknown field of a strict schema is a warning, and passed over
 *
 * Without a value, this version of the object or part is not used.
 */
import { shortened } from '../source.ts'
import * as z from 'zod'
import type { ProblemCode } from '../../desired/codes.ts'
import { mostFaults, othersOf } from './few-faults.ts'
import { nearest } from './nearest.ts'
import { readQuickly, refused } from './quick-reader.ts'
import { canonicalTime, optionalText, textMap } from './schemas.ts'

export type FieldPath = readonly (string | number)[]

/** A problem of an object before it is known where the object was written. The message does not repeat the field. */
export interface Fault {
  readonly severity: 'error' | 'warning'
  readonly path: FieldPath
  readonly code: ProblemCode
  readonly message: string
  readonly remedy: string
  /** It stands for so many that are not told, see {@link fewOf}. */
  readonly others?: number
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
  /** The version in force: a misspelt field that would change it is an error. */
  readonly before?: unknown
}

/** What an error costs that takes a whole object: nothing, where there was a good version. */
export const lastGoodStays = 'the last good version stays in force'

export const wholeObject: Part = { at: [], meanwhile: lastGoodStays }

export const metadataSchema = z.object({
  name: z.string().min(1),
  /** "" is none, as the API server has it. */
  namespace: optionalText.optional(),
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
  // A text of nothing, or of blanks, is seen in quotes alone.
  const seen = message.replace(/^(\s*) (?=(?:is|has) )/, (_all, blanks: string) => `${JSON.stringify(blanks)} `)
  return { severity, path, code, message: shortened(seen), remedy: shortened(remedy) }
}

/** Narrows `raw`; `check` sees the parsed value and adds what a schema cannot say. */
export function narrow<T>(
  schema: z.ZodType<T>,
  raw: unknown,
  check: (value: T) => readonly Fault[] = () => [],
  part: Part = wholeObject,
): Narrowed<T> {
  const quick = readQuickly(schema, raw)
  if (quick !== refused) return checked(quick, [], check, part)
  let warnings: UnknownField[] = []
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
    return {
      faults: [
        ...warnings.map(({ meant: _meant, ...found }) => found),
        ...fewIssues(withoutConsequences(result.error.issues), input, part).map((each) =>
          named(each, schema, input, part),
        ),
      ],
    }
  const { data } = result
  const said = warnings.map((each) => misspelt(each, data, part))
  return checked(data, said, check, part)
}

/** A name where a map with one is wanted, as `passwordSecret: tor`. */
function named(found: Fault, schema: z.core.$ZodType, input: unknown, { at, isSecret }: Part): Fault {
  const path = found.path.slice(at.length)
  const written = valueAt(input, path)
  if (isSecret === true || typeof written !== 'string' || !fieldsAt(schema, path).includes('name')) return found
  const [outcome = '.'] = /; [^;]*$/.exec(found.remedy) ?? []
  return { ...found, remedy: `Write ${String(path.at(-1))}: {name: ${written}}${outcome}` }
}

/** What has the wrong type is not also too short: the text of nothing where a list is expected. */
function withoutConsequences(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const mistyped = new Set(issues.flatMap(({ code, path }) => (code === 'invalid_type' ? [path.join('\0')] : [])))
  return issues.filter(({ code, path }) => code === 'invalid_type' || !mistyped.has(path.join('\0')))
}

function checked<T>(value: T, said: readonly Fault[], check: (value: T) => readonly Fault[], part: Part): Narrowed<T> {
  const faults = [...said, ...check(value).map((found) => withOutcome(found, part))]
  return faults.some(({ severity }) => severity === 'error') ? { faults } : { value, faults }
}

/** Lists that are longer than anything real, looked at before they are parsed: one object must not hold the loop. */
export function tooLong(raw: unknown, limits: readonly (readonly [FieldPath, number])[]): readonly Fault[] {
  return limits.flatMap(([path, most]) => {
    const list = valueAt(raw, path)
    if (!Array.isArray(list) || list.length <= most) return []
    const message = `it has ${list.length} entries, and at most ${most} are taken`
    const found = fault('error', path, 'LimitExceeded', message, 'Split it into several objects')
    return [withOutcome(found, wholeObject)]
  })
}

/** The same fault of an object of which no version was good: nothing of it stays. */
export function ofNeverGood(found: Fault): Fault {
  return { ...found, remedy: found.remedy.replace(lastGoodStays, 'the object is not used until then') }
}

/** An error costs the object or part, and says so. */
function withOutcome(found: Fault, { meanwhile }: Part): Fault {
  return found.severity === 'error' ? { ...found, remedy: `${found.remedy.replace(/\.$/, '')}; ${meanwhile}.` } : found
}

/**
 * A field that is only misspelt takes away what it said before, as a key or a port: the version in force stays then,
 * as it does at an API server, which refuses such a field.
 */
function misspelt(found: UnknownField, data: unknown, part: Part): Fault {
  const { meant, ...unknown } = found
  if (meant === undefined || part.before === undefined) return unknown
  const [was, is] = [part.before, data].map((version) => JSON.stringify(valueAt(version, meant)))
  if (was === is) return unknown
  const message = `not a field of this kind, and ${String(meant.at(-1))}, which was in force, is not written`
  return asError(unknown, message, part)
}

function plainPath(path: readonly PropertyKey[]): FieldPath {
  return path.map((step) => (typeof step === 'number' ? step : String(step)))
}

export function valueAt(root: unknown, path: FieldPath): unknown {
  let found = root
  for (const step of path) found = typeof found === 'object' && found !== null ? Reflect.get(found, step) : undefined
  return found
}

/** `meant`: the field that it may stand for, within the part. */
interface UnknownField extends Fault {
  readonly meant?: FieldPath
}

function dropKeys(
  schema: z.core.$ZodType,
  root: unknown,
  path: FieldPath,
  keys: readonly string[],
  part: Part,
): UnknownField[] {
  const { at } = part
  const holder = valueAt(root, path)
  const known = fieldsAt(schema, path)
  const free = known.filter((each) => !Object.hasOwn(Object(holder), each))
  // Without any field of its own a map means something else: a selector selects everything, a pool is empty.
  const isNothingLeft = typeof holder === 'object' && holder !== null && Object.keys(holder).length === keys.length
  const looked = keys.slice(0, mostLookedAt).map((key): UnknownField => {
    const written: unknown = valueAt(holder, [key])
    // A slip stands for what is not written rather than for what is.
    const near = nearest(key, free) ?? begunBy(key, free) ?? nearest(key, known)
    const remedy = near === undefined ? remedyWithout(key, written, known) : `Did you mean ${near}?`
    const message = 'not a field of this kind, so it has no effect'
    const found = fault('warning', [...at, ...path, key], 'UnknownField', message, remedy)
    if (isNothingLeft && (path.length > 0 || at.at(-1) === 'spec'))
      return asError(found, 'not a field of this kind, and nothing else is written beside it', part)
    return near === undefined ? found : { ...found, meant: [...path, near] }
  })
  if (typeof holder === 'object' && holder !== null) for (const key of keys) Reflect.deleteProperty(holder, key)
  const rest = keys.length - looked.length
  return rest === 0 ? looked : [...looked, othersOf(rest, 'warning', 'UnknownField')]
}

/** `holdTime`, as early versions had it, for holdTimeSeconds. */
function begunBy(key: string, known: readonly string[]): string | undefined {
  const found = key.length < 4 ? [] : known.filter((each) => each.toLowerCase().startsWith(key.toLowerCase()))
  return found.length === 1 ? found[0] : undefined
}

/** What a name may stand for costs microseconds for each, and tens of thousands fit into an object. */
const mostLookedAt = 100

function remedyWithout(key: string, written: unknown, known: readonly string[]): string {
  const isLabel = known.includes('matchLabels') && ['string', 'number', 'boolean'].includes(typeof written)
  if (isLabel) return `Write matchLabels: {${key}: ${JSON.stringify(String(written))}}.`
  return 'Remove the field, or correct its spelling.'
}

function asError(found: Fault, message: string, part: Part): Fault {
  const remedy = found.remedy.replace(/^Did you mean (.*)\?$/, 'Write $1')
  return withOutcome({ ...found, severity: 'error', code: 'InvalidField', message, remedy }, part)
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

function fewIssues(issues: readonly z.core.$ZodIssue[], input: unknown, part: Part): readonly Fault[] {
  const told = issues.slice(0, mostFaults).map((issue) => faultOfIssue(issue, input, part))
  return issues.length === told.length
    ? told
    : [...told, othersOf(issues.length - told.length, 'error', 'InvalidField')]
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
    const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
    // Nothing is near to any short word.
    const near = text.trim() === '' ? undefined : nearest(text, words)
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
  const meant = /^(number|int)$/.test(expected) ? numberIn(bare, step) : undefined
  if (meant !== undefined) return { message, remedy: `Write ${label}${meant}` }
  return { message, remedy: write }
}

/**
 * The number of a text such as `AS65000`, `9s` or `65,000`; of `1.10`, an AS number in asdot (RFC 5396). Of any other
 * text (`65ooo`, `3m`) the digits are not what was meant.
 */
function numberIn(text: string, step: string | number | undefined): number | undefined {
  const [, high, low] = /^(\d{1,5})\.(\d{1,5})$/.exec(text) ?? []
  if (high !== undefined && low !== undefined)
    return /as(n|number)?$/i.test(String(step)) ? Number(high) * 65536 + Number(low) : undefined
  const [, count, unit] = /^(\d{1,6}) ?(ms|s)$/.exec(text) ?? []
  // The intervals of BFD are in milliseconds.
  if (/interval/i.test(String(step)) && count !== undefined) return Number(count) * (unit === 's' ? 1_000 : 1)
  const [, digits] = /^(?:asn? ?)?(\d{1,3}(?:[,_ ]\d{3})+|\d{1,10}) ?(?:s|sec|seconds?)?$/i.exec(text) ?? []
  return digits === undefined ? undefined : Number(digits.replace(/\D/g, ''))
}

function kindOf(value: unknown): string {
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'number' && !Number.isInteger(value)) return 'a fraction'
  return typeof value === 'boolean' ? 'a boolean' : (kindsOfValue[typeof value] ?? typeof value)
}

/** Short, on one line. What a map or a list holds is not shown: it may be a key. */
function shownValue(value: unknown): string {
  if (typeof value === 'object' && value !== null) return 'it'
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
