/**
 * cilium.io CiliumBGPPeerConfig: what peers are spoken with. Each family is a part with its last good version, and so
 * is everything else together: half of the settings of a session are none.
 */
import * as z from 'zod'
import type { AddressFamilyName, BfdSettings } from '../../desired/model.ts'
import type { LabelSelector } from '../../desired/label-selector.ts'
import { defaultBfd } from './bfd-profile.ts'
import type { RawObject } from '../source.ts'
import {
  afi,
  connectRetryTimeSeconds,
  familyFault,
  gracefulRestart,
  holdTimeSeconds,
  isServedFamily,
  keepaliveFaults,
  keepaliveOf,
  keepAliveTimeSeconds,
  noFamily,
  numberOr,
  safi,
} from './cilium-bgp.ts'
import { fieldOf } from './fields.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import {
  fault,
  metadataSchema,
  narrow,
  tooLong,
  type Fault,
  type FieldPath,
  type Narrowed,
  type Part,
} from './narrow.ts'
import { interfaceNameOrNone } from './neighbor-annotation.ts'
import { narrowParts } from './parts.ts'
import { flag, optionalText } from './schemas.ts'

const transport = z
  .strictObject({
    peerPort: numberOr(1, 65535, 179),
    sourceInterface: z
      .string()
      .regex(interfaceNameOrNone, 'it is not the name of an interface')
      .nullish()
      .transform((name) => name || undefined),
    localPort: z.number().int().min(1).max(65535).nullish(),
  })
  .nullish()

const timers = z.strictObject({ connectRetryTimeSeconds, holdTimeSeconds, keepAliveTimeSeconds }).nullish()

const familySchema = z.strictObject({
  afi,
  safi,
  advertisements: labelSelectorSchema.nullish(),
})

const intervalMs = z.number().int().min(10).max(60_000).nullish()

/** As Cilium's developers propose it; its own definition of the kind has no such field yet. */
const bfdSchema = z
  .strictObject({
    enabled: flag(false),
    transmitIntervalMilliseconds: intervalMs,
    receiveIntervalMilliseconds: intervalMs,
    detectionMultiplier: z.number().int().min(1).max(255).nullish(),
  })
  .nullish()

const settingsSchema = z.strictObject({
  transport,
  timers,
  authSecretRef: optionalText,
  gracefulRestart,
  ebgpMultihop: numberOr(1, 255, 1),
  families: z.array(z.unknown()).nullish(),
  bfd: bfdSchema,
})

const schema = z.object({ metadata: metadataSchema, spec: z.record(z.string(), z.unknown()) })

/** With its parts in place: what the API server checks. */
export const peerConfigSpec = settingsSchema.omit({ bfd: true }).extend({ families: z.array(familySchema).nullish() })

export interface PeerFamily {
  readonly name: AddressFamilyName
  readonly path: FieldPath
  /** Of CiliumBGPAdvertisements; undefined: none. */
  readonly advertisements: LabelSelector | undefined
}

export interface PeerSettings {
  readonly peerPort: number
  readonly sourceInterface: string | undefined
  readonly connectRetrySec: number
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly authSecretRef: string | undefined
  readonly restartTimeSec: number | undefined
  readonly multihopTtl: number
  readonly bfd: BfdSettings | undefined
}

type WrittenSettings = Omit<z.infer<typeof settingsSchema>, 'families'>

export interface CiliumBgpPeerConfig {
  readonly metadata: z.infer<typeof metadataSchema>
  /** As they are written, so that a field that is only misspelt is known; see {@link settingsOf}. */
  readonly settings: WrittenSettings
  /** Those that are written and served; none is written: both, of which nothing is advertised. */
  readonly families: readonly PeerFamily[]
}

export const defaultSettings: PeerSettings = settingsOf(settingsSchema.parse({}))
export const defaultFamilies: readonly PeerFamily[] = (['ipv4-unicast', 'ipv6-unicast'] as const).map((name) => ({
  name,
  path: ['spec'],
  advertisements: undefined,
}))

const list = ['spec', 'families'] as const

export function parsePeerConfig(raw: RawObject, before?: CiliumBgpPeerConfig): Narrowed<CiliumBgpPeerConfig> {
  const long = tooLong(raw, [[list, 64]])
  if (long.length > 0) return { faults: long }
  const { value, faults: ownFaults } = narrow(schema, raw)
  if (value === undefined) return { faults: ownFaults }
  const part = {
    at: ['spec'],
    meanwhile: before ? 'the settings that were good before stay in force' : 'the object is not used until then',
    before: before && { ...before.settings, families: before.families },
  }
  const narrowed = narrow(settingsSchema, value.spec, checkSettings, part)
  const settings = narrowed.value === undefined ? before?.settings : withoutFamilies(narrowed.value)
  const written = value.spec['families'] ?? undefined
  const families = Array.isArray(written) ? familiesOf(written, before) : undefined
  const faults = [...ownFaults, ...narrowed.faults, ...(families?.faults ?? [])]
  if (settings === undefined) return { faults }
  // Settings that are not understood may have lost their families by a slip.
  const isNoneWritten = written === undefined && narrowed.value !== undefined
  const found = families?.value ?? (isNoneWritten ? defaultFamilies : (before?.families ?? []))
  if (found === defaultFamilies || (families !== undefined && families.isSilent)) faults.push(noAdvertisements(list))
  if (found.length > 0) return { value: { metadata: value.metadata, settings, families: found }, faults }
  return { faults: [...faults, withStay(noFamily(list), before)] }
}

/** An error of the whole object says what stays. */
const withStay = (found: Fault, before: unknown): Fault => ({
  ...found,
  remedy: `${found.remedy} ${before ? 'The last good version stays in force.' : 'The object is not used until then.'}`,
})

function noAdvertisements(path: FieldPath): Fault {
  const message = 'no family has advertisements: nothing is announced to these peers'
  const remedy = 'Write advertisements with matchLabels, or {} for every CiliumBGPAdvertisement.'
  return fault('warning', path, 'NoAdvertisements', message, remedy)
}

function withoutFamilies(written: z.infer<typeof settingsSchema>): WrittenSettings {
  const { families: _families, ...settings } = written
  return settings
}

export function settingsOf(written: WrittenSettings): PeerSettings {
  const { transport: carried, timers: times, gracefulRestart: restart } = written
  const holdTimeSec = times?.holdTimeSeconds ?? 90
  return {
    peerPort: carried?.peerPort ?? 179,
    sourceInterface: carried?.sourceInterface,
    connectRetrySec: times?.connectRetryTimeSeconds ?? 120,
    holdTimeSec,
    keepaliveSec: keepaliveOf(times?.keepAliveTimeSeconds, holdTimeSec),
    authSecretRef: written.authSecretRef,
    restartTimeSec: restart?.enabled === true ? restart.restartTimeSeconds : undefined,
    multihopTtl: written.ebgpMultihop,
    bfd: bfdOf(written.bfd),
  }
}

function bfdOf(written: z.infer<typeof bfdSchema>): BfdSettings | undefined {
  if (written?.enabled !== true) return undefined
  return {
    ...defaultBfd,
    transmitIntervalMs: written.transmitIntervalMilliseconds ?? defaultBfd.transmitIntervalMs,
    receiveIntervalMs: written.receiveIntervalMilliseconds ?? defaultBfd.receiveIntervalMs,
    detectMultiplier: written.detectionMultiplier ?? defaultBfd.detectMultiplier,
  }
}

function checkSettings(written: z.infer<typeof settingsSchema>): readonly Fault[] {
  const { keepaliveSec, holdTimeSec } = settingsOf(written)
  const faults = keepaliveFaults(['spec', 'timers'], keepaliveSec, holdTimeSec)
  if (written.transport?.localPort !== undefined && written.transport.localPort !== null) {
    const remedy = 'Write localPort of the instance.'
    const path = ['spec', 'transport', 'localPort']
    faults.push(fault('warning', path, 'NotServed', 'it has no effect, as in Cilium', remedy))
  }
  return faults
}

interface Families {
  readonly value: readonly PeerFamily[]
  /** No family has advertisements. */
  readonly isSilent: boolean
  readonly faults: readonly Fault[]
}

function familiesOf(written: readonly unknown[], before: CiliumBgpPeerConfig | undefined): Families {
  const { parts, faults } = narrowParts<ParsedFamily>(
    written.map((entry, index) => [[...list, index], entry]),
    {
      what: 'this family',
      before: new Map((before?.families ?? []).map((family) => [family.name, family])),
      keyOf: (entry) => {
        const [first, second] = [afi.safeParse(fieldOf(entry, 'afi')), safi.safeParse(fieldOf(entry, 'safi'))]
        return first.success && second.success ? `${first.data}-${second.data}` : undefined
      },
      parse: parseFamily,
      twice: (at, key) =>
        fault('error', at, 'InvalidField', `${key.replace('-', '/')} is written already, which counts`, 'Remove one.'),
    },
  )
  const value = parts.flatMap(({ at, value: family }): readonly PeerFamily[] =>
    family === 'other' ? [] : [{ ...family, path: at }],
  )
  return {
    value,
    isSilent: value.length > 0 && value.every(({ advertisements }) => advertisements === undefined),
    faults,
  }
}

/** `other`: valid, and not served. */
type ParsedFamily = PeerFamily | 'other'

function parseFamily(entry: unknown, part: Part, before: ParsedFamily | undefined): Narrowed<ParsedFamily> {
  const check = (family: z.infer<typeof familySchema>): readonly Fault[] =>
    isServedFamily(family) ? [] : [familyFault(family, part.at)]
  const { value, faults } = narrow(familySchema, entry, check, { ...part, before })
  if (value === undefined) return { faults }
  if (!isServedFamily(value)) return { value: 'other', faults }
  const name = value.afi === 'ipv4' ? 'ipv4-unicast' : 'ipv6-unicast'
  return { value: { name, path: part.at, advertisements: value.advertisements ?? undefined }, faults }
}
