/**
 * Capabilities, RFC 5492 4:  (code:u8 length:u8 value)*. One row per capability, decode beside encode. A known
 * capability whose value does not fit its format is kept as unknown, which is as if it had not been sent; only the
 * 4-octet AS must be right, since the AS of the session hangs on it.
 */
import { bounded, type Reader } from './reader.ts'
import type { Capability } from './types.ts'
import { Writer } from './writer.ts'

interface CapabilityCodec<T extends Capability['type']> {
  readonly code: number
  /** undefined: malformed. */
  decode(value: Reader): Extract<Capability, { type: T }> | undefined
  encode(capability: Extract<Capability, { type: T }>, out: Writer): void
}

/** RFC 4760 8:  afi:u16 reserved:u8 safi:u8 */
const multiprotocol: CapabilityCodec<'multiprotocol'> = {
  code: 1,
  decode: (value) => {
    if (value.left !== 4) return undefined
    const afi = value.u16()
    value.u8()
    return { type: 'multiprotocol', family: { afi, safi: value.u8() } }
  },
  encode: ({ family }, out) => out.u16(family.afi).u8(0).u8(family.safi),
}

/** RFC 2918 2: empty. */
const routeRefresh: CapabilityCodec<'routeRefresh'> = {
  code: 2,
  decode: (value) => (value.left === 0 ? { type: 'routeRefresh' } : undefined),
  encode: () => {},
}

/** RFC 8950 4:  (afi:u16 safi:u16 nextHopAfi:u16)* */
const extendedNextHop: CapabilityCodec<'extendedNextHop'> = {
  code: 5,
  decode: (value) => {
    if (value.left % 6 !== 0) return undefined
    const entries = []
    while (value.left > 0) entries.push({ family: { afi: value.u16(), safi: value.u16() }, nextHopAfi: value.u16() })
    return { type: 'extendedNextHop', entries }
  },
  encode: ({ entries }, out) => {
    for (const { family, nextHopAfi } of entries) out.u16(family.afi).u16(family.safi).u16(nextHopAfi)
  },
}

/** RFC 8654 3: empty. */
const extendedMessage: CapabilityCodec<'extendedMessage'> = {
  code: 6,
  decode: (value) => (value.left === 0 ? { type: 'extendedMessage' } : undefined),
  encode: () => {},
}

/** RFC 9234 4.1:  role:u8 */
const role: CapabilityCodec<'role'> = {
  code: 9,
  decode: (value) => (value.left === 1 ? { type: 'role', role: value.u8() } : undefined),
  encode: (capability, out) => out.u8(capability.role),
}

/** RFC 7911 4:  (afi:u16 safi:u8 mode:u8)*; a tuple with another mode than 1 to 3 is ignored. */
const addPath: CapabilityCodec<'addPath'> = {
  code: 69,
  decode: (value) => {
    if (value.left % 4 !== 0) return undefined
    const entries = []
    while (value.left > 0) entries.push({ family: { afi: value.u16(), safi: value.u8() }, mode: value.u8() })
    return { type: 'addPath', entries: entries.filter(({ mode }) => mode >= 1 && mode <= 3) }
  },
  encode: ({ entries }, out) => {
    for (const { family, mode } of entries) out.u16(family.afi).u8(family.safi).u8(mode)
  },
}

/** RFC 7313 3.1: empty. */
const enhancedRouteRefresh: CapabilityCodec<'enhancedRouteRefresh'> = {
  code: 70,
  decode: (value) => (value.left === 0 ? { type: 'enhancedRouteRefresh' } : undefined),
  encode: () => {},
}

/** RFC 4724 3, RFC 8538 2:  R:1 N:1 reserved:2 restartTime:12 (afi:u16 safi:u8 F:1 reserved:7)* */
const gracefulRestart: CapabilityCodec<'gracefulRestart'> = {
  code: 64,
  decode: (value) => {
    if (value.left < 2 || value.left % 4 !== 2) return undefined
    const head = value.u16()
    const families = []
    while (value.left > 0)
      families.push({ family: { afi: value.u16(), safi: value.u8() }, forwarding: (value.u8() & 0x80) !== 0 })
    return {
      type: 'gracefulRestart',
      restartState: (head & 0x8000) !== 0,
      notification: (head & 0x4000) !== 0,
      restartTimeSec: head & 0x0fff,
      families,
    }
  },
  encode: ({ restartState, notification, restartTimeSec, families }, out) => {
    out.u16((restartState ? 0x8000 : 0) | (notification ? 0x4000 : 0) | (restartTimeSec & 0x0fff))
    for (const { family, forwarding } of families)
      out
        .u16(family.afi)
        .u8(family.safi)
        .u8(forwarding ? 0x80 : 0)
  },
}

/** RFC 6793 3, 4.1:  asn:u32 */
const fourOctetAs: CapabilityCodec<'fourOctetAs'> = {
  code: 65,
  decode: (value) => (value.left === 4 ? { type: 'fourOctetAs', asn: value.u32() } : undefined),
  encode: ({ asn }, out) => out.u32(asn),
}

const decoders = new Map<number, (value: Reader) => Capability | undefined>(
  [
    multiprotocol,
    routeRefresh,
    extendedNextHop,
    extendedMessage,
    role,
    gracefulRestart,
    fourOctetAs,
    addPath,
    enhancedRouteRefresh,
  ].map((codec) => [codec.code, codec.decode]),
)

/** The capabilities of one parameter, or why its framing is malformed (OPEN error 2/0). */
export function decodeCapabilities(parameter: Reader): readonly Capability[] | string {
  return bounded<readonly Capability[] | string>(
    () => {
      const capabilities: Capability[] = []
      while (parameter.left > 0) {
        const code = parameter.u8()
        const value = parameter.sub(parameter.u8())
        const raw = value.peek()
        const known = decoders.get(code)?.(value)
        if (known === undefined && code === fourOctetAs.code) return 'the 4-octet AS capability is not 4 octets long'
        capabilities.push(known ?? { type: 'unknown', code, value: raw.copy(raw.left) })
      }
      return capabilities
    },
    (reason) => `a capability runs past its parameter: ${reason}`,
  )
}

export function encodeCapability(capability: Capability, out: Writer): void {
  const code = codeOf(capability)
  const value = new Writer(16)
  switch (capability.type) {
    case 'multiprotocol':
      multiprotocol.encode(capability, value)
      break
    case 'routeRefresh':
    case 'extendedMessage':
    case 'enhancedRouteRefresh':
      break
    case 'role':
      role.encode(capability, value)
      break
    case 'addPath':
      addPath.encode(capability, value)
      break
    case 'extendedNextHop':
      extendedNextHop.encode(capability, value)
      break
    case 'gracefulRestart':
      gracefulRestart.encode(capability, value)
      break
    case 'fourOctetAs':
      fourOctetAs.encode(capability, value)
      break
    case 'unknown':
      value.bytes(capability.value)
  }
  out.u8(code).u8(value.length).bytes(value.finish())
}

const codes: Readonly<Record<Exclude<Capability['type'], 'unknown'>, number>> = {
  multiprotocol: multiprotocol.code,
  routeRefresh: routeRefresh.code,
  extendedNextHop: extendedNextHop.code,
  extendedMessage: extendedMessage.code,
  role: role.code,
  gracefulRestart: gracefulRestart.code,
  fourOctetAs: fourOctetAs.code,
  addPath: addPath.code,
  enhancedRouteRefresh: enhancedRouteRefresh.code,
}

export function codeOf(capability: Capability): number {
  return capability.type === 'unknown' ? capability.code : codes[capability.type]
}
