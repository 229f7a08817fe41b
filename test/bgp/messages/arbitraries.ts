/** Messages as fast-check makes them: everything that is valid on the wire, so that it must come back as it went. */
import fc from 'fast-check'
import { addressFromBytes, type Address } from '../../../src/ip/address.ts'
import { type Prefix, prefixOf } from '../../../src/ip/prefix.ts'
import {
  type AfiSafi,
  type AsPathSegment,
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type NotificationMessage,
  type OpenMessage,
  type PathAttributes,
  type RouteRefreshMessage,
  type UnknownAttribute,
  type UpdateMessage,
} from '../../../src/bgp/messages/types.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'

/** fast-check's records have no prototype; decoded ones do. */
const plain = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> => arbitrary.map((value) => structuredClone(value))

export const u8 = fc.nat({ max: 0xff })
export const u16 = fc.nat({ max: 0xffff })
export const u32 = fc.nat({ max: 0xffffffff })

export const ctxOf = (over: Partial<CodecContext> = {}): CodecContext => ({
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast, ipv6Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
  ...over,
})

export const contexts: fc.Arbitrary<CodecContext> = fc
  .record({ fourOctetAs: fc.boolean(), isExternal: fc.boolean() })
  .map((flags) => ctxOf({ ...flags, maxMessageBytes: 65535 }))

/** Also with path identifiers, which we take and never send (RFC 7911). */
export const receivingContexts: fc.Arbitrary<CodecContext> = fc
  .tuple(contexts, fc.subarray([ipv4Unicast, ipv6Unicast]))
  .map(([ctx, addPathReceive]) => ({ ...ctx, addPathReceive }))

const ipv6Address: fc.Arbitrary<Address> = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(addressFromBytes)
export const ipv4Prefix: fc.Arbitrary<Prefix> = fc
  .tuple(u32, fc.nat({ max: 32 }))
  .map(([address, length]) => prefixOf(address, length))
export const ipv6Prefix: fc.Arbitrary<Prefix> = fc
  .tuple(ipv6Address, fc.nat({ max: 128 }))
  .map(([address, length]) => prefixOf(address, length))

/** 10.0.0.0/8 and 2001:db8::/32: next hops that nobody objects to. */
const ipv4Host: fc.Arbitrary<Address> = fc.nat({ max: 0xffffff }).map((low) => 0x0a000000 + low)
const ipv6Host: fc.Arbitrary<Address> = fc
  .uint8Array({ minLength: 12, maxLength: 12 })
  .map((low) => addressFromBytes(Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, ...low)))
const linkLocal: fc.Arbitrary<Address> = fc
  .uint8Array({ minLength: 8, maxLength: 8 })
  .map((low) => addressFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...low)))

const family = fc.record({ afi: u16, safi: u8 })

/** Codes that the decoder keeps as bytes. */
const unknownCode = fc.constantFrom(0, 3, 66, 71, 73, 75, 128, 255)

export const capability: fc.Arbitrary<Capability> = fc.oneof(
  fc.record({ type: fc.constant('multiprotocol' as const), family }),
  fc.record({ type: fc.constant('routeRefresh' as const) }),
  fc.record({
    type: fc.constant('extendedNextHop' as const),
    entries: fc.array(fc.record({ family: fc.record({ afi: u16, safi: u16 }), nextHopAfi: u16 }), { maxLength: 42 }),
  }),
  fc.record({ type: fc.constant('extendedMessage' as const) }),
  fc.record({ type: fc.constant('role' as const), role: u8 }),
  fc.record({
    type: fc.constant('addPath' as const),
    entries: fc.array(fc.record({ family, mode: fc.integer({ min: 1, max: 3 }) }), { maxLength: 63 }),
  }),
  fc.record({ type: fc.constant('enhancedRouteRefresh' as const) }),
  fc.record({
    type: fc.constant('gracefulRestart' as const),
    restartState: fc.boolean(),
    notification: fc.boolean(),
    restartTimeSec: fc.nat({ max: 4095 }),
    families: fc.array(fc.record({ family, forwarding: fc.boolean() }), { maxLength: 63 }),
  }),
  fc.record({ type: fc.constant('fourOctetAs' as const), asn: fc.integer({ min: 1, max: 0xffffffff }) }),
  fc.record({ type: fc.constant('unknown' as const), code: unknownCode, value: fc.uint8Array({ maxLength: 255 }) }),
)

/** At most twelve capabilities: twelve of the largest still fit into the 4096 octets of an OPEN. */
export const openMessage: fc.Arbitrary<OpenMessage> = plain(
  fc.record({
    type: fc.constant('open' as const),
    version: fc.constant(4),
    myAs: fc.integer({ min: 1, max: 0xffff }),
    holdTimeSec: fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 0xffff })),
    bgpId: fc.integer({ min: 1, max: 0xffffffff }),
    capabilities: fc.array(capability, { maxLength: 12 }),
  }),
)

function asPathOf(ctx: CodecContext): fc.Arbitrary<readonly AsPathSegment[]> {
  const asns = fc
    .oneof({ weight: 9, arbitrary: fc.nat({ max: 6 }) }, { weight: 1, arbitrary: fc.constantFrom(254, 255) })
    .chain((count) =>
      fc.array(fc.integer({ min: 1, max: ctx.fourOctetAs ? 0xffffffff : 0xffff }), {
        minLength: count + (count === 0 ? 1 : 0),
        maxLength: Math.max(1, count),
      }),
    )
  return fc.array(fc.record({ type: fc.constantFrom(...(ctx.isExternal ? [1, 2] : [1, 2, 3, 4])), asns }), {
    maxLength: 4,
  })
}

/** Attributes that are no one's: kept as bytes when transitive. */
const unknownAttributes: fc.Arbitrary<readonly UnknownAttribute[]> = fc.uniqueArray(
  fc.record({
    flags: fc.constantFrom(0xc0, 0xe0),
    type: fc.constantFrom(11, 12, 21, 24, 99, 128, 200, 254, 255),
    value: fc.oneof(fc.uint8Array({ maxLength: 8 }), fc.uint8Array({ minLength: 254, maxLength: 300 })),
  }),
  { minLength: 1, maxLength: 4, selector: ({ type }) => type },
)

const hex64 = fc.tuple(u32, u32).map((words) => words.map((word) => word.toString(16).padStart(8, '0')).join(''))
const largeCommunities = fc.uniqueArray(fc.tuple(u32, u32, u32), {
  minLength: 1,
  maxLength: 40,
  selector: (community) => community.join(':'),
})

/** What a route must have, and any choice of the rest. `nextHop` is left to the family. */
export function attributesOf(ctx: CodecContext): fc.Arbitrary<PathAttributes> {
  const optional = {
    med: u32,
    atomicAggregate: fc.constant(true),
    aggregator: fc.record({ asn: fc.integer({ min: 1, max: ctx.fourOctetAs ? 0xffffffff : 0xffff }), address: u32 }),
    communities: fc.array(u32, { minLength: 1, maxLength: 100 }),
    extendedCommunities: fc.array(hex64, { minLength: 1, maxLength: 40 }),
    largeCommunities,
    otc: u32,
    unknown: unknownAttributes,
  }
  const always = { origin: fc.nat({ max: 2 }), asPath: asPathOf(ctx) }
  const requiredKeys: ('origin' | 'asPath')[] = ['origin', 'asPath']
  if (ctx.isExternal) return fc.record({ ...always, ...optional }, { requiredKeys })
  const inside = { ...optional, originatorId: u32, clusterList: fc.array(u32, { minLength: 1, maxLength: 70 }) }
  return fc
    .tuple(fc.record({ ...always, ...inside }, { requiredKeys }), u32)
    .map(([attributes, localPref]) => ({ ...attributes, localPref }))
}

/** UPDATEs of every form: routes of both families, withdrawals of both, one, several or all in one message. */
export function updateOf(ctx: CodecContext): fc.Arbitrary<UpdateMessage> {
  const some4 = fc.array(ipv4Prefix, { minLength: 1, maxLength: 60 })
  const some6 = fc.array(ipv6Prefix, { minLength: 1, maxLength: 60 })
  const mpReach = fc.oneof(
    fc.record(
      { family: fc.constant(ipv6Unicast), nextHop: ipv6Host, linkLocal, prefixes: some6 },
      { requiredKeys: ['family', 'nextHop', 'prefixes'] },
    ),
    fc.record({ family: fc.constant(ipv4Unicast), nextHop: ipv4Host, prefixes: some4 }),
  )
  const mpUnreach = fc.oneof(
    fc.record({ family: fc.constant(ipv6Unicast), prefixes: fc.array(ipv6Prefix, { maxLength: 60 }) }),
    fc.record({ family: fc.constant(ipv4Unicast), prefixes: some4 }),
  )
  const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined })
  return plain(
    fc
      .tuple(
        fc.array(ipv4Prefix, { maxLength: 60 }),
        maybe(fc.tuple(ipv4Host, some4)),
        maybe(mpReach),
        maybe(mpUnreach),
        attributesOf(ctx),
      )
      .map(
        ([withdrawn, routes, reach, unreach, attributes]) =>
          ({
            type: 'update',
            withdrawn,
            attributes:
              routes === undefined ? (reach === undefined ? {} : attributes) : { ...attributes, nextHop: routes[0] },
            nlri: routes?.[1] ?? [],
            ...(reach === undefined ? {} : { mpReach: reach }),
            ...(unreach === undefined ? {} : { mpUnreach: unreach }),
          }) satisfies UpdateMessage,
      )
      .map((message) => withPathIds(message, ctx)),
  )
}

/** RFC 7911: where it was negotiated, every prefix has an identifier. */
function withPathIds(message: UpdateMessage, { addPathReceive }: CodecContext): UpdateMessage {
  const has = (family: AfiSafi): boolean =>
    addPathReceive.some(({ afi, safi }) => afi === family.afi && safi === family.safi)
  const ids = (prefixes: readonly Prefix[]): readonly number[] => prefixes.map((_, i) => (i * 0x01000193) >>> 0)
  const { withdrawn, nlri, mpReach, mpUnreach } = message
  return {
    ...message,
    ...(has(ipv4Unicast) ? { withdrawnPathIds: ids(withdrawn), nlriPathIds: ids(nlri) } : {}),
    ...(mpReach !== undefined && has(mpReach.family)
      ? { mpReach: { ...mpReach, pathIds: ids(mpReach.prefixes) } }
      : {}),
    ...(mpUnreach !== undefined && has(mpUnreach.family)
      ? { mpUnreach: { ...mpUnreach, pathIds: ids(mpUnreach.prefixes) } }
      : {}),
  }
}

export const notificationMessage: fc.Arbitrary<NotificationMessage> = plain(
  fc.record({
    type: fc.constant('notification' as const),
    code: u8,
    subcode: u8,
    data: fc.uint8Array({ maxLength: 258 }),
  }),
)

export const routeRefreshMessage: fc.Arbitrary<RouteRefreshMessage> = plain(
  fc.record({ type: fc.constant('routeRefresh' as const), family, subtype: u8 }),
)
