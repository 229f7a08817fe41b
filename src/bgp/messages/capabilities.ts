/**
 * Capabilities, RFC 5492 4:  (code:u8 length:u8 value)*. One row per capability holds all there is to it: code, value,
 * bytes to value and back, and what several of them mean; a new one touches this table only. A known capability whose
 * value does not fit its format is kept as unknown, which is as if it had not been sent; only the 4-octet AS must be
 * right, since the AS of the session hangs on it.
 */
import { bounded, type Reader } from './reader.ts'
import { CapabilityCode } from './numbers.ts'
import type { AfiSafi } from './types.ts'
import { Writer } from './writer.ts'

interface Row<V> {
  readonly code: number
  /** undefined: malformed. */
  decode(value: Reader): V | undefined
  encode(value: V, out: Writer): void
  /** RFC 5492 4: what several instances mean; without it the last one counts, as RFC 4724 3 says of its own. */
  readonly several?: (all: readonly V[]) => V
}

const row = <V>(one: Row<V>): Row<V> => one

/** Only that it is there says something. */
const flag = (code: number): Row<object> =>
  row({ code, decode: (value) => (value.left === 0 ? {} : undefined), encode: () => {} })

interface Entries<E> {
  readonly entries: readonly E[]
}

/** Entries of several instances add up, and of one family the later one wins. */
const addUp = <E extends { readonly family: AfiSafi }>(all: readonly Entries<E>[]): Entries<E> => ({
  entries: [
    ...new Map(
      all.flatMap(({ entries }) => entries.map((entry) => [`${entry.family.afi}/${entry.family.safi}`, entry])),
    ).values(),
  ],
})

const table = {
  /** RFC 4760 8:  afi:u16 reserved:u8 safi:u8; each instance is a family. */
  multiprotocol: row<{ readonly family: AfiSafi }>({
    code: CapabilityCode.multiprotocol,
    decode: (value) => {
      if (value.left !== 4) return undefined
      const afi = value.u16()
      value.u8()
      return { family: { afi, safi: value.u8() } }
    },
    encode: ({ family }, out) => out.u16(family.afi).u8(0).u8(family.safi),
  }),
  /** RFC 2918 2: empty. */
  routeRefresh: flag(CapabilityCode.routeRefresh),
  /** RFC 8950 4:  (afi:u16 safi:u16 nextHopAfi:u16)* */
  extendedNextHop: row<Entries<{ readonly family: AfiSafi; readonly nextHopAfi: number }>>({
    code: CapabilityCode.extendedNextHop,
    decode: (value) => {
      if (value.left % 6 !== 0) return undefined
      const entries = []
      while (value.left > 0) entries.push({ family: { afi: value.u16(), safi: value.u16() }, nextHopAfi: value.u16() })
      return { entries }
    },
    encode: ({ entries }, out) => {
      for (const { family, nextHopAfi } of entries) out.u16(family.afi).u16(family.safi).u16(nextHopAfi)
    },
    several: addUp,
  }),
  /** RFC 8654 3: empty. */
  extendedMessage: flag(CapabilityCode.extendedMessage),
  /** RFC 9234 4.1:  role:u8; several different ones are a mismatch. */
  role: row<{ readonly role: number }>({
    code: CapabilityCode.role,
    decode: (value) => (value.left === 1 ? { role: value.u8() } : undefined),
    encode: ({ role }, out) => out.u8(role),
  }),
  /** RFC 4724 3, RFC 8538 2:  R:1 N:1 reserved:2 restartTime:12 (afi:u16 safi:u8 F:1 reserved:7)* */
  gracefulRestart: row<{
    readonly restartState: boolean
    readonly notification: boolean
    readonly restartTimeSec: number
    readonly families: readonly { readonly family: AfiSafi; readonly forwarding: boolean }[]
  }>({
    code: CapabilityCode.gracefulRestart,
    decode: (value) => {
      if (value.left < 2 || value.left % 4 !== 2) return undefined
      const head = value.u16()
      const families = []
      while (value.left > 0)
        families.push({ family: { afi: value.u16(), safi: value.u8() }, forwarding: (value.u8() & 0x80) !== 0 })
      return {
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
  }),
  /** RFC 6793 3, 4.1:  asn:u32 */
  fourOctetAs: row<{ readonly asn: number }>({
    code: CapabilityCode.fourOctetAs,
    decode: (value) => (value.left === 4 ? { asn: value.u32() } : undefined),
    encode: ({ asn }, out) => out.u32(asn),
  }),
  /** RFC 7911 4:  (afi:u16 safi:u8 mode:u8)*, mode 1 receive, 2 send, 3 both; a tuple with another mode is ignored. */
  addPath: row<Entries<{ readonly family: AfiSafi; readonly mode: number }>>({
    code: CapabilityCode.addPath,
    decode: (value) => {
      if (value.left % 4 !== 0) return undefined
      const entries = []
      while (value.left > 0) entries.push({ family: { afi: value.u16(), safi: value.u8() }, mode: value.u8() })
      return { entries: entries.filter(({ mode }) => mode >= 1 && mode <= 3) }
    },
    encode: ({ entries }, out) => {
      for (const { family, mode } of entries) out.u16(family.afi).u8(family.safi).u8(mode)
    },
    several: addUp,
  }),
  /** RFC 7313 3.1: empty. */
  enhancedRouteRefresh: flag(CapabilityCode.enhancedRouteRefresh),
}

type Table = typeof table
type Known = { [T in keyof Table]: { readonly type: T } & (Table[T] extends Row<infer V> ? V : never) }

export type Capability =
  | Known[keyof Known]
  | { readonly type: 'unknown'; readonly code: number; readonly value: Uint8Array }

/** Rows by code, with no more said of their values than that each is its own. */
const rows = Object.entries(table) as readonly (readonly [keyof Known, Row<object>])[]
const byType = new Map(rows)
const byCode = new Map(rows.map(([type, codec]) => [codec.code, { type, codec }]))

/** What all instances of a capability mean together; undefined when there is none. */
export function capabilityOf<T extends keyof Known>(all: readonly Capability[], type: T): Known[T] | undefined {
  const found = all.filter((one): one is Known[T] & Capability => one.type === type)
  const several = byType.get(type)?.several
  return several === undefined || found.length === 0 ? found.at(-1) : ({ type, ...several(found) } as Known[T])
}

/** The capabilities of one parameter, or why its framing is malformed (OPEN error 2/0). */
export function decodeCapabilities(parameter: Reader): readonly Capability[] | string {
  return bounded<readonly Capability[] | string>(
    () => {
      const capabilities: Capability[] = []
      while (parameter.left > 0) {
        const code = parameter.u8()
        const value = parameter.sub(parameter.u8())
        const raw = value.peek()
        const known = byCode.get(code)
        const decoded = known?.codec.decode(value)
        if (decoded === undefined && code === table.fourOctetAs.code)
          return 'the 4-octet AS capability is not 4 octets long'
        capabilities.push(
          known === undefined || decoded === undefined
            ? { type: 'unknown', code, value: raw.copy(raw.left) }
            : ({ type: known.type, ...decoded } as Capability),
        )
      }
      return capabilities
    },
    (reason) => `a capability runs past its parameter: ${reason}`,
  )
}

export function encodeCapability(capability: Capability, out: Writer): void {
  const value = new Writer(16)
  if (capability.type === 'unknown') value.bytes(capability.value)
  else (table[capability.type] as Row<object>).encode(capability, value)
  out.u8(codeOf(capability)).u8(value.length).bytes(value.finish())
}

function codeOf(capability: Capability): number {
  return capability.type === 'unknown' ? capability.code : table[capability.type].code
}
