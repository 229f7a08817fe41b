/** metallb.io/v1beta1 BFDProfile: the timers of BFD (RFC 5880) for the peers that name it. */
import * as z from 'zod'
import type { BfdSettings } from '../../desired/model.ts'
import type { RawObject } from '../source.ts'
import { fault, lastGoodStays, type Fault, metadataSchema, narrow, type Narrowed } from './narrow.ts'
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

/** Where nothing is written, as in FRR, which MetalLB leaves it to. */
export const defaultBfd: BfdSettings = {
  receiveIntervalMs: 300,
  transmitIntervalMs: 300,
  detectMultiplier: 3,
  isPassive: false,
}

export function parseBfdProfile(raw: RawObject, before?: BfdProfile): Narrowed<BfdProfile> {
  const part = { at: [], meanwhile: lastGoodStays, before }
  return narrow(schema, raw, echoFaults, part)
}

function echoFaults({ spec }: BfdProfile): readonly Fault[] {
  if (spec?.echoMode !== true) return []
  const message = 'no echo packets are sent: the session is watched by control packets at the other intervals'
  const remedy = 'Write short intervals instead, and take echo mode off on the router.'
  return [fault('warning', ['spec', 'echoMode'], 'NotServed', message, remedy)]
}

export function bfdSettingsOf({ spec }: BfdProfile): BfdSettings {
  const minimumTtl = spec?.minimumTtl ?? undefined
  return {
    receiveIntervalMs: spec?.receiveInterval ?? defaultBfd.receiveIntervalMs,
    transmitIntervalMs: spec?.transmitInterval ?? defaultBfd.transmitIntervalMs,
    detectMultiplier: spec?.detectMultiplier ?? defaultBfd.detectMultiplier,
    isPassive: spec?.passiveMode ?? false,
    ...(minimumTtl === undefined ? {} : { minimumTtl }),
  }
}
