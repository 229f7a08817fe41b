/**
 * What is said of a move from another speaker: sessions, pools and advertisements before and after, with every
 * difference by field, and what has to be looked at first. Plain and printable.
 */
import type { BfdSettings } from '../../../desired/model.ts'
import type { Origin, ObjectKey, RawObject } from '../../source.ts'

/** Whose configuration is taken over. */
export type MovingFrom = 'metallb' | 'cilium'

/** How MetalLB spoke BGP; each has other defaults and other gaps. */
export const backends = ['frr-k8s', 'frr', 'native'] as const
export type Backend = (typeof backends)[number]

/** An object as it was found; `origin` where it is of a file. */
export interface FoundObject {
  readonly key: ObjectKey
  readonly object: RawObject
  readonly origin?: Origin
}

/** Something of a cluster that could not be read; `why` are the words of the API server. */
export interface Unread {
  readonly what: string
  readonly status: number
  readonly why: string
}

export interface Inventory {
  readonly objects: readonly FoundObject[]
  readonly unread: readonly Unread[]
  /** It is of a whole cluster: what is not in it is not there. */
  readonly isWhole: boolean
}

/** The parameters of a session as it is proposed to the peer. Absent: none, or whatever the system chooses. */
export interface SessionView {
  readonly peerAddress: string
  readonly peerPort: number
  readonly localAs: number
  /** `any`: whatever the peer says; `external`: any but ours. */
  readonly peerAs: string
  readonly sourceAddress?: string
  readonly holdTimeSeconds: number
  readonly keepaliveSeconds: number
  readonly connectRetrySeconds: number
  /** Of packets of eBGP. */
  readonly ttl: number
  readonly gracefulRestartSeconds?: number
  /** Where the key is: `Secret ns/name`, or `in the object`. */
  readonly password?: string
  readonly families: readonly string[]
  readonly routerId?: string
  readonly interface?: string
  /** Receive and transmit interval and the multiplier, or the name of a profile that is not there. */
  readonly bfd?: string
}

export function bfdText({ receiveIntervalMs, transmitIntervalMs, detectMultiplier }: BfdSettings): string {
  return `${receiveIntervalMs}/${transmitIntervalMs} ms x ${detectMultiplier}`
}

export interface SessionRow {
  readonly node: string
  readonly object: string
  readonly before?: SessionView
  readonly after?: SessionView
}

export interface PoolView {
  readonly addresses: readonly string[]
  readonly autoAssign: boolean
  /** Why it gives nothing away. */
  readonly closed?: string
}

export interface PoolRow {
  readonly object: string
  readonly before?: PoolView
  readonly after?: PoolView
}

/** What one peer hears of one family by one object. */
export interface AdvertisementView {
  readonly type: string
  readonly pools: string
  readonly services: string
  readonly aggregationLength?: number
  readonly communities: readonly string[]
  readonly localPreference?: number
  readonly med?: number
  readonly asPathPrepend?: number
  readonly extendedCommunities: readonly string[]
}

export interface AdvertisementRow {
  readonly node: string
  readonly object: string
  readonly peer: string
  readonly family: string
  readonly before?: AdvertisementView
  readonly after?: AdvertisementView
}

export interface ServiceRow {
  readonly service: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** One difference, or one thing to look at first. */
export interface Finding {
  /** One of {@link movingCodes}, or the code of a problem (docs/configure.md). */
  readonly code: string
  /** Nothing goes on as it was unless somebody decides. */
  readonly needsDecision: boolean
  readonly object: string
  readonly node?: string
  readonly field: string
  readonly before?: string
  readonly after?: string
  readonly reason: string
  readonly remedy: string
}

export interface MovingReport {
  readonly from: MovingFrom
  /** Of MetalLB only. */
  readonly backend?: Backend
  readonly nodes: readonly string[]
  readonly sessions: readonly SessionRow[]
  readonly pools: readonly PoolRow[]
  readonly advertisements: readonly AdvertisementRow[]
  readonly services: readonly ServiceRow[]
  readonly differences: readonly Finding[]
  readonly preflight: readonly Finding[]
}

/** Every code of a move, with whether it needs a decision. docs/migrate.md lists the same. */
export const movingCodes = {
  SourceAddressInForce: true,
  LocalAsInForce: true,
  TimersDiffer: false,
  RouterIdDiffers: false,
  BfdDiffers: true,
  SessionDiffers: true,
  SessionNew: true,
  SessionLeftOut: true,
  AdvertisementDiffers: true,
  LocalPreferenceDiffers: false,
  PoolDiffers: true,
  AddressDiffers: true,
  OutsidePools: true,
  PoolOrder: false,
  SilentWithoutEndpoints: false,
  CrdOfRelease: true,
  WebhookRefuses: true,
  ConversionWebhook: true,
  StoredVersion: true,
  SpeakerRuns: false,
  OtherSpeaker: true,
  AllocatorRuns: false,
  OtherAllocator: true,
  ServedElsewhere: true,
  StrictArp: false,
  StrictExternalIps: true,
  PingAnswered: false,
  ListensNow: false,
  HashingMoves: false,
  Leftovers: false,
  SharedLocal: true,
  OlderConfiguration: true,
  ExtraConfiguration: true,
  ExcludedInterfaces: false,
  NotAnnouncedAtLayer2: true,
  OtherNamespace: true,
  ClassTakesMore: true,
  ClassNotServed: true,
  ExcludeLabelHeeded: true,
  BackendAssumed: false,
  SecretNotSeen: false,
  Unreadable: true,
} as const satisfies Readonly<Record<string, boolean>>

export type MovingCode = keyof typeof movingCodes

/** What a finding is of, without its code. */
export type Said = Omit<Finding, 'code' | 'needsDecision'>

export function finding(code: MovingCode, said: Said): Finding {
  return { code, needsDecision: movingCodes[code], ...said }
}

/** `Kind/namespace/name`, as everywhere. */
export function nameOf({
  kind,
  namespace,
  name,
}: {
  readonly kind: string
  readonly namespace?: string
  readonly name: string
}): string {
  return [kind, namespace, name].filter((part) => part !== undefined && part !== '').join('/')
}
