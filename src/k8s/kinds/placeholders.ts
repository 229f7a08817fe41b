/** What stands where a value is put before an object is applied: by a template, a substitution, a decryption. Pure. */
import { type Fault, valueAt } from './narrow.ts'

/** What is written, and what to give instead of it. */
const places: readonly (readonly [RegExp, string])[] = [
  [/\$\{\w+[^}]*\}|^\$[A-Z_]\w*$/, 'Give what envsubst, or Flux, makes of it'],
  [/\{\{.*\}\}/, 'Give what the template renders to'],
  [/^ENC\[AES256_GCM,/, 'Give what `sops --decrypt` makes of it'],
  [/^<[^<>]+>$/, 'Write the value that is meant'],
]

export function placeholderRemedy(written: unknown): string | undefined {
  if (typeof written !== 'string') return undefined
  return places.find(([pattern]) => pattern.test(written.slice(0, longest)))?.[1]
}

const longest = 1_000

/** Of a whole text, so that no key of a router is taken for one. */
export function isPlaceholder(written: string): boolean {
  return /^(\$\{\w+\}|\{\{.*\}\}|ENC\[AES256_GCM,.*\])$/s.test(written.slice(0, longest))
}

/** The same fault: no other spelling of what is written would be right. */
export function ofPlaceholder(found: Fault, raw: unknown): Fault {
  if (found.severity !== 'error' || found.path.length === 0) return found
  const remedy = placeholderRemedy(valueAt(raw, found.path))
  if (remedy === undefined) return found
  const [outcome = '.'] = /; [^;]*$/.exec(found.remedy) ?? []
  return { ...found, remedy: `${remedy}${outcome}` }
}
