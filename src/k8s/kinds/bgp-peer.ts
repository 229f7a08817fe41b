/**
 * metallb.io BGPPeer, v1beta1 and v1beta2, which differ in nothing that is read here: one neighbor of the nodes that it
 * selects. What herald.dev/neighbors adds to it is made of parts; everything else is one.
 */
import * as z from 'zod'
import { formatAddress, isUnicastIpv4, parseAddress, parseIpv4, splitZone, unmapped } from '../../ip/address.ts'
import { splitPrefix } from '../../ip/prefix.ts'
import type { RawObject } from '../source.ts'
import { unknownAnnotations } from './annotations.ts'
import { selectorFaults } from './duplicates.ts'
import { optionalDuration } from './go-duration.ts'
import { labelSelectorSchema } from './label-syntax.ts'
import {
  fault,
  lastGoodStays,
  metadataSchema,
  narrow,
  type Fault,
  type FieldPath,
  type Metadata,
  type Narrowed,
} from './narrow.ts'
import {
  interfaceName,
  neighborsAnnotation,
  parseNeighborAnnotation,
  unmetEntries,
  type NeighborAnnotation,
} from './neighbor-annotation.ts'
import { hostFaults } from './peer-host.ts'
import { choice, flag, optionalList, optionalText } from './schemas.ts'
import { plainKey } from './secret.ts'

const asn = z.number().int().min(0).max(4_294_967_295)

export const bgpPeerSpec = z.strictObject({
  myASN: asn,
  peerASN: asn.nullish().transform((value) => value ?? 0),
  localASN: asn.nullish().transform((value) => value ?? undefined),
  dynamicASN: choice(['internal', 'external'], undefined),
  peerAddress: optionalText,
  interface: optionalText,
  sourceAddress: optionalText,
  peerPort: z
    .number()
    .int()
    .min(0)
    .max(16_384)
    .nullish()
    .transform((port) => port ?? 179),
  holdTime: optionalDuration,
  keepaliveTime: optionalDuration,
  connectTime: optionalDuration,
  routerID: optionalText,
  nodeSelectors: optionalList(labelSelectorSchema),
  /** Judged by itself: it is never shown. */
  password: z.unknown().optional(),
  passwordSecret: z
    .strictObject({ name: optionalText, namespace: optionalText })
    .nullish()
    .transform((secret) => (secret?.name === undefined ? undefined : { ...secret, name: secret.name })),
  bfdProfile: optionalText,
  enableGracefulRestart: flag(false),
  ebgpMultiHop: flag(false),
  vrf: optionalText,
  disableMP: flag(false),
  dualStackAddressFamily: flag(false),
})

const schema = z.object({
  metadata: metadataSchema,
  spec: bgpPeerSpec,
  status: z.unknown().optional(),
})

type Written = z.infer<typeof schema>

/** What MetalLB's default backend has where nothing is written. */
const defaultHoldSec = 180
const defaultKeepaliveSec = 60
const defaultConnectSec = 120

export interface BgpPeer {
  readonly metadata: Metadata
  /** `peerAddress`, `sourceAddress` and `routerID` are canonical, `password` is not in it. */
  readonly spec: Omit<Written['spec'], 'password' | 'holdTime' | 'keepaliveTime' | 'connectTime'>
  readonly holdTimeSec: number
  readonly keepaliveSec: number
  readonly connectRetrySec: number
  /** TCP-MD5 key, an octet per character. Never shown. */
  readonly key?: string
  readonly neighborKeys: NeighborAnnotation
  /** The version as it was written, for the next one to be compared with. */
  readonly written: Written
}

const readAnnotations = { prefixes: ['herald.dev/'], names: [neighborsAnnotation] }
const meanwhile = lastGoodStays

export function parseBgpPeer(raw: RawObject, before?: BgpPeer): Narrowed<BgpPeer> {
  // The key itself is not kept twice: that there was one is enough to know it by.
  const known = before && { ...before.written, spec: { ...before.written.spec, password: before.key && '***' } }
  const part = { at: [], meanwhile, before: known }
  const { value, faults } = narrow(schema, raw, ({ spec }) => checkSpec(spec, raw.apiVersion), part)
  const key = keyOf(raw)
  const said = [...faults, ...key.faults].map((found) => withoutKey(found, key.written))
  if (value === undefined || key.faults.some(({ severity }) => severity === 'error')) return { faults: said }
  const { password: _password, holdTime, keepaliveTime, connectTime, ...spec } = value.spec
  const own = new Set([canonical(spec.peerAddress) ?? '::'])
  const unknown = unknownAnnotations(value.metadata.annotations, readAnnotations)
  const annotation = parseNeighborAnnotation(value.metadata.annotations, before?.neighborKeys)
  return {
    value: {
      metadata: value.metadata,
      spec: {
        ...spec,
        peerAddress: canonical(spec.peerAddress),
        sourceAddress: canonical(spec.sourceAddress),
        routerID: canonical(spec.routerID),
      },
      ...timersOf({ holdTime, keepaliveTime }),
      connectRetrySec: connectTime ?? defaultConnectSec,
      ...(key.value === undefined ? {} : { key: key.value }),
      neighborKeys: annotation.keys,
      written: { ...value, spec: { ...value.spec, password: undefined } },
    },
    faults: [...said, ...annotation.faults, ...unknown, ...unmetEntries(annotation.keys, own, 'this BGPPeer')],
  }
}

/**
 * Of two timers of which one is written the other follows: a third, or three times as long. A keepalive time of 0, as
 * Go writes one that nobody chose, is none beside a hold time: FRR takes a third then.
 */
function timersOf({ holdTime, keepaliveTime }: Pick<Written['spec'], 'holdTime' | 'keepaliveTime'>) {
  const hold = holdTime === undefined ? undefined : Math.floor(holdTime)
  const written = keepaliveTime === undefined ? undefined : Math.floor(keepaliveTime)
  const keepalive = written === 0 && hold !== undefined ? undefined : written
  return {
    holdTimeSec: hold ?? (keepalive === undefined ? defaultHoldSec : keepalive * 3),
    keepaliveSec: keepalive ?? (hold === undefined ? defaultKeepaliveSec : Math.floor(hold / 3)),
  }
}

function canonical(text: string | undefined): string | undefined {
  const parsed = text === undefined ? undefined : parseAddress(text.trim())
  return parsed === undefined ? undefined : formatAddress(unmapped(parsed))
}

interface FoundKey {
  readonly value?: string
  readonly written?: string
  readonly faults: readonly Fault[]
}

function keyOf({ spec }: RawObject): FoundKey {
  const written: unknown = typeof spec === 'object' && spec !== null ? Reflect.get(spec, 'password') : undefined
  if (written === undefined || written === null || written === '') return { faults: [] }
  const { key, faults } = plainKey(written, ['spec', 'password'])
  const said = faults.map((found) =>
    found.severity === 'error' ? { ...found, remedy: `${found.remedy.replace(/\.$/, '')}; ${meanwhile}.` } : found,
  )
  const text = typeof written === 'string' || typeof written === 'number' ? { written: String(written) } : {}
  return { ...(key === undefined ? {} : { value: key }), ...text, faults: said }
}

/** An alias of YAML can put the key into any other field. */
function withoutKey(found: Fault, key: string | undefined): Fault {
  if (key === undefined || key.length < 4) return found
  return { ...found, message: found.message.replaceAll(key, '***'), remedy: found.remedy.replaceAll(key, '***') }
}

function checkSpec(spec: Written['spec'], apiVersion: unknown): readonly Fault[] {
  return [
    ...checkAsns(spec),
    ...checkPeer(spec, apiVersion),
    ...checkAddress(spec.sourceAddress, 'sourceAddress'),
    ...checkRouterId(spec.routerID),
    ...checkTimers(spec),
    ...checkKeys(spec),
    ...selectorFaults(spec.nodeSelectors, ['spec', 'nodeSelectors']),
    ...noEffect(spec),
  ]
}

const wrong = (field: string, message: string, remedy: string): Fault =>
  fault('error', ['spec', field], 'InvalidField', message, remedy)

function checkAsns({ myASN, peerASN, localASN, dynamicASN, ebgpMultiHop }: Written['spec']): readonly Fault[] {
  const faults: Fault[] = []
  if (myASN === 0) faults.push(wrong('myASN', '0 is no AS number', 'Write the AS number of the nodes'))
  if (localASN === 0) faults.push(wrong('localASN', '0 is no AS number', 'Write an AS number, or leave it out'))
  if (peerASN === 0 && dynamicASN === undefined)
    faults.push(wrong('peerASN', 'neither peerASN nor dynamicASN is written', 'Write the AS number of the router'))
  if (peerASN !== 0 && dynamicASN !== undefined)
    faults.push(wrong('dynamicASN', `peerASN ${peerASN} is written beside it`, 'Write one of the two'))
  if (localASN !== undefined && localASN === peerASN)
    faults.push(wrong('localASN', `${localASN} is the AS of the router`, 'Write another AS number, or leave it out'))
  if (ebgpMultiHop && (dynamicASN === 'internal' || (myASN === peerASN && localASN === undefined)))
    faults.push(wrong('ebgpMultiHop', 'the router is in the same AS', 'Leave it out: iBGP needs no such permission'))
  return faults
}

function checkPeer(spec: Written['spec'], apiVersion: unknown): readonly Fault[] {
  const { peerAddress, interface: device, vrf, peerPort } = spec
  const faults: Fault[] = []
  if (peerPort === 0 && apiVersion !== 'metallb.io/v1beta1')
    faults.push(wrong('peerPort', '0 is below 1', 'Write a number of at least 1'))
  for (const [field, name] of [['interface', device] as const, ['vrf', vrf] as const])
    if (name !== undefined && !interfaceName.test(name))
      faults.push(wrong(field, `${JSON.stringify(name.slice(0, 60))} is no name of an interface`, 'Write eth0'))
  if (peerAddress !== undefined && device !== undefined)
    faults.push(wrong('interface', `peerAddress ${peerAddress} is written beside it`, 'Write one of the two'))
  if (peerAddress === undefined && device === undefined)
    faults.push(wrong('peerAddress', 'neither peerAddress nor interface is written', 'Write the address of the router'))
  return [...faults, ...checkPeerAddress(peerAddress)]
}

function checkPeerAddress(written: string | undefined): readonly Fault[] {
  const address = canonical(written)
  if (written === undefined) return []
  if (address === undefined) {
    const [host, zone] = splitZone(written)
    const bare = canonical(zone === undefined ? String(splitPrefixText(written)) : host)
    const remedy =
      bare === undefined
        ? 'Write 192.0.2.1 or 2001:db8::1'
        : zone === undefined
          ? `Write ${bare}`
          : `Write peerAddress: "${bare}", and the annotation herald.dev/neighbors: '{"${bare}": {interface: ${zone}}}'`
    return [fault('error', ['spec', 'peerAddress'], 'InvalidPeerAddress', `${written} is not an address`, remedy)]
  }
  const path: FieldPath = ['spec', 'peerAddress']
  // Whatever router is on an interface has no address to be written here.
  if (address !== '::') return hostFaults(parseAddress(address) ?? 0, path)
  return [
    fault('error', path, 'InvalidPeerAddress', ':: is no address of one router', 'Write the address of the router'),
  ]
}

/** The address of `192.0.2.1/32`. */
function splitPrefixText(text: string): string | undefined {
  const address = splitPrefix(text)?.address
  return address === undefined ? undefined : formatAddress(address)
}

function checkAddress(written: string | undefined, field: string): readonly Fault[] {
  if (written === undefined || canonical(written) !== undefined) return []
  const path: FieldPath = ['spec', field]
  return [fault('error', path, 'InvalidAddress', `${written} is not an address`, 'Write 192.0.2.1 or 2001:db8::1')]
}

function checkRouterId(written: string | undefined): readonly Fault[] {
  const parsed = written === undefined ? 0 : parseIpv4(written.trim())
  if (written === undefined || (parsed !== undefined && isUnicastIpv4(parsed))) return []
  const message = `${written} is no unicast IPv4 address`
  return [fault('error', ['spec', 'routerID'], 'InvalidRouterId', message, 'Write 192.0.2.1, or leave it out')]
}

function checkTimers({ holdTime, keepaliveTime, connectTime }: Written['spec']): readonly Fault[] {
  const faults: Fault[] = []
  const hold = holdTime === undefined ? undefined : Math.floor(holdTime)
  if (hold !== undefined && ((hold > 0 && hold < 3) || hold > 65_535))
    faults.push(wrong('holdTime', `${hold}s is neither 0s nor from 3s to 65535s (RFC 4271 4.2)`, 'Write 90s'))
  if (keepaliveTime !== undefined && keepaliveTime > 21_845)
    faults.push(wrong('keepaliveTime', `${keepaliveTime}s is above 21845s`, 'Write a third of the hold time'))
  if (holdTime !== undefined && keepaliveTime !== undefined && keepaliveTime > holdTime) {
    const message = `keepaliveTime ${keepaliveTime}s is above holdTime ${holdTime}s`
    faults.push(fault('error', ['spec', 'keepaliveTime'], 'KeepaliveAboveHold', message, 'Write a third of it'))
  }
  if (connectTime !== undefined && (connectTime < 1 || connectTime > 65_535 || !Number.isInteger(connectTime))) {
    const message = `${connectTime}s is no whole number of seconds from 1 to 65535`
    faults.push(wrong('connectTime', message, 'Write 10s'))
  }
  return faults
}

function checkKeys({ password, passwordSecret }: Written['spec']): readonly Fault[] {
  const isWritten = password !== undefined && password !== null && password !== ''
  return isWritten && passwordSecret !== undefined
    ? [wrong('passwordSecret', 'password is written beside it', 'Write one of the two')]
    : []
}

/** Said once for all nodes, at the object. */
function noEffect({ disableMP, passwordSecret }: Written['spec']): readonly Fault[] {
  const faults: Fault[] = []
  if (disableMP) {
    const message = 'it has no effect, as in MetalLB: without dualStackAddressFamily a session has one family anyway'
    faults.push(fault('warning', ['spec', 'disableMP'], 'NotServed', message, 'Remove the field.'))
  }
  if (passwordSecret?.namespace !== undefined) {
    const message = 'it has no effect, as in MetalLB: the Secret is read from the namespace of the BGPPeer'
    const path = ['spec', 'passwordSecret', 'namespace']
    faults.push(fault('warning', path, 'NotServed', message, 'Remove the field, and keep the Secret there.'))
  }
  return faults
}
