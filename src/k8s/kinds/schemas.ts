/** Pieces of schemas that the kinds have in common, with the API server's leniency: "" and null are "not set". Pure. */
import * as z from 'zod'

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

/** A list that may be missing. */
export function optionalList<T extends z.ZodType>(element: T) {
  return z
    .array(element)
    .nullish()
    .transform((list) => list ?? [])
}
