/** metallb.io/v1beta1 BFDProfile: judged as it is written; BFD itself is not spoken in this version. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, type Narrowed } from './narrow.ts'
import { flag } from './schemas.ts'

const milliseconds = z.number().int().min(10).max(60_000).nullish()

export const bfdProfileSpec = z.strictObject({
  receiveInterval: milliseconds,
  transmitInterval: milliseconds,
  detectMultiplier: z.number().int().min(2).max(255).nullish(),
  echoInterval: milliseconds,
  echoMode: flag(false),
  passiveMode: flag(false),
  minimumTtl: z.number().int().min(1).max(254).nullish(),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: bfdProfileSpec.nullish(),
  status: z.unknown().optional(),
})

export type BfdProfile = z.infer<typeof schema>

export function parseBfdProfile(raw: RawObject, before?: BfdProfile): Narrowed<BfdProfile> {
  const part = { at: [], meanwhile: 'the last good version stays in force', before }
  return narrow(schema, raw, () => [notServed], part)
}

const notServed = fault(
  'warning',
  [],
  'NotServed',
  'BFD is not spoken in this version: it has no effect, and no session is watched by it',
  'Write a short holdTime into the BGPPeers that name it, and take BFD off these neighbors on the router.',
)
