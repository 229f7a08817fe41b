/** core/v1 Secret: only the key `password` is looked at. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { metadataSchema, narrow, type Narrowed } from './narrow.ts'

const schema = z.object({
  metadata: metadataSchema,
  data: z.object({ password: z.base64().optional() }).nullish(),
  stringData: z.object({ password: z.string().optional() }).nullish(),
})

export type Secret = z.infer<typeof schema>

export function parseSecret(raw: RawObject): Narrowed<Secret> {
  return narrow(schema, raw)
}

/** The key of a session as text; a password is octets, taken as Latin-1 would corrupt UTF-8 keys. */
export function passwordOf(secret: Secret): string | undefined {
  if (secret.stringData?.password !== undefined) return secret.stringData.password
  const encoded = secret.data?.password
  return encoded === undefined
    ? undefined
    : new TextDecoder().decode(Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)))
}
