/** Pieces of schemas that the kinds have in common, with the API server's leniency: "" and null are "not set". Pure. */
import * as z from 'zod'

/** map[string]string: a null value is "" there, and no map is an empty one. */
export const textMap = z
  .record(
    z.string(),
    z
      .string()
      .nullable()
      .transform((text) => text ?? ''),
  )
  .nullish()
  .transform((map) => map ?? {})

/** One of a few words; "", null and nothing are the default. */
export function choice<const T extends readonly string[], const D extends T[number] | undefined>(
  words: T,
  fallback: D,
) {
  return z
    .preprocess((value) => (value === '' ? undefined : value), z.enum(words).nullish())
    .transform((word): T[number] | D => word ?? fallback)
}

/** A text that may be missing; "" and null are nothing. */
export const optionalText = z
  .string()
  .nullish()
  .transform((text) => text || undefined)

/** True or false, or nothing. */
export function flag(fallback: boolean) {
  return z
    .boolean()
    .nullish()
    .transform((value) => value ?? fallback)
}

/** A list that may be missing. */
export function optionalList<T extends z.ZodType>(element: T) {
  return z
    .array(element)
    .nullish()
    .transform((list) => list ?? [])
}

/** RFC 3339, as the API server writes it; anything else counts as absent and is said (see {@link timestampFault}). */
const timestamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

/** Is what comes of it, but for a number that is too large. */
const canonical = /^\d{4}-\d\d-([01]\d|2[0-8])T([01]\d|2[0-3]):\d\d:\d\dZ$/

let lastText = ''
let lastTime: string | undefined

/**
 * In UTC with seconds, so that texts compare as times do; undefined when it is none. Each object is asked twice, and
 * many are made in one second: then they share one text.
 */
export function canonicalTime(text: string): string | undefined {
  if (text === lastText) return lastTime
  const ms = timestamp.test(text) ? Date.parse(text) : Number.NaN
  lastText = text
  if (Number.isNaN(ms)) lastTime = undefined
  else lastTime = canonical.test(text) ? text : `${new Date(ms).toISOString().slice(0, 19)}Z`
  return lastTime
}
