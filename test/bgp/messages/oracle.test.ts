/** What is sent, read by a second description of the formats (wire-description.ts), is what was meant. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressBytes } from '../../../src/ip/address.ts'
import { type Prefix, prefixAddress, prefixLength } from '../../../src/ip/prefix.ts'
import type { CodecContext, Message, PathAttributes, UpdateMessage } from '../../../src/bgp/messages/types.ts'
import type { Capability } from '../../../src/bgp/messages/capabilities.ts'
import { contexts, ctxOf, notificationMessage, openMessage, routeRefreshMessage, updateOf } from './arbitraries.ts'
import { encodeMessage } from './encode-message.ts'
import {
  longParameters,
  shortParameters,
  values,
  wireMessage,
  type WireAttribute,
  type WireMessage,
  type WirePrefix,
} from './wire-description.ts'

function wire(message: Message, ctx: CodecContext): WireMessage['body'] {
  const bytes = encodeMessage(message, ctx)
  const found: WireMessage = wireMessage.parse(Buffer.from(bytes))
  assert.deepEqual(found.marker, Array(16).fill(0xff))
  assert.equal(found.length, bytes.length)
  assert.equal(found.type, { open: 1, update: 2, notification: 3, keepalive: 4, routeRefresh: 5 }[message.type])
  return found.body
}

/** A prefix as RFC 4271 draws it: only the octets that its length needs. */
function wirePrefix(prefix: Prefix): WirePrefix {
  const length = prefixLength(prefix)
  return { length, octets: [...addressBytes(prefixAddress(prefix))].slice(0, Math.ceil(length / 8)) }
}

const wirePrefixes = (prefixes: readonly Prefix[]): WirePrefix[] => prefixes.map(wirePrefix)
const word = (hex: string): number => Number.parseInt(hex, 16)

/** Type, class flags (RFC 4271 4.3) and parsed value of every attribute that `attributes` must become. */
function expectedAttributes(attributes: PathAttributes): Map<number, readonly [flags: number, value: unknown]> {
  const rows: readonly (readonly [number, number, unknown])[] = [
    [1, 0x40, attributes.origin === undefined ? undefined : [attributes.origin]],
    [2, 0x40, attributes.asPath?.map(({ type, asns }) => ({ type, count: asns.length, asns }))],
    [3, 0x40, attributes.nextHop === undefined ? undefined : [attributes.nextHop]],
    [4, 0x80, attributes.med === undefined ? undefined : [attributes.med]],
    [5, 0x40, attributes.localPref === undefined ? undefined : [attributes.localPref]],
    [6, 0x40, attributes.atomicAggregate === true ? [] : undefined],
    [7, 0xc0, attributes.aggregator],
    [8, 0xc0, attributes.communities],
    [9, 0x80, attributes.originatorId === undefined ? undefined : [attributes.originatorId]],
    [10, 0x80, attributes.clusterList],
    [16, 0xc0, attributes.extendedCommunities?.flatMap((hex) => [word(hex.slice(0, 8)), word(hex.slice(8))])],
    [32, 0xc0, attributes.largeCommunities?.flat()],
    [35, 0xc0, attributes.otc === undefined ? undefined : [attributes.otc]],
    ...(attributes.unknown ?? []).map(({ flags, type, value }) => [type, flags, [...value]] as const),
  ]
  return new Map(
    rows.filter(([, , value]) => value !== undefined).map(([type, flags, value]) => [type, [flags, value]]),
  )
}

function attributeValue({ type, value }: WireAttribute, ctx: CodecContext): unknown {
  const bytes = Buffer.from(value)
  if (type === 2) return (ctx.fourOctetAs ? values.asPath4 : values.asPath2).parse(bytes).all
  if (type === 7) return (ctx.fourOctetAs ? values.aggregator4 : values.aggregator2).parse(bytes)
  if ([3, 4, 5, 8, 9, 10, 16, 32, 35].includes(type)) return values.u32.parse(bytes).all
  return values.u8.parse(bytes).all
}

function checkUpdate(update: UpdateMessage, ctx: CodecContext): void {
  const { withdrawn, attributes, nlri } = wire(update, ctx)
  assert.deepEqual(withdrawn, wirePrefixes(update.withdrawn))
  assert.deepEqual(nlri, wirePrefixes(update.nlri))
  const types = attributes.map(({ type }) => type)
  assert.equal(new Set(types).size, types.length, 'no attribute twice')
  for (const { flags, value } of attributes)
    assert.equal((flags & 0x10) !== 0, value.length > 255, 'Extended Length only where it is needed')
  const reach = attributes.find(({ type }) => type === 14)
  const unreach = attributes.find(({ type }) => type === 15)
  const others = attributes.filter((one) => one !== reach && one !== unreach)
  assert.deepEqual(
    new Map(others.map((one) => [one.type, [one.flags & ~0x10, attributeValue(one, ctx)]])),
    expectedAttributes(update.attributes),
  )
  assert.deepEqual(
    [reach, unreach].map((one) => one && one.flags & ~0x10),
    [update.mpReach && 0x80, update.mpUnreach && 0x80],
  )
  if (reach !== undefined && update.mpReach !== undefined) {
    const { family, nextHop, linkLocal, prefixes } = update.mpReach
    const nextHopOctets = [...addressBytes(nextHop), ...(linkLocal === undefined ? [] : addressBytes(linkLocal))]
    assert.deepEqual(values.mpReach.parse(Buffer.from(reach.value)), {
      ...family,
      nextHopLength: nextHopOctets.length,
      nextHop: nextHopOctets,
      reserved: 0,
      nlri: wirePrefixes(prefixes),
    })
  }
  if (unreach !== undefined && update.mpUnreach !== undefined) {
    assert.deepEqual(values.mpUnreach.parse(Buffer.from(unreach.value)), {
      ...update.mpUnreach.family,
      nlri: wirePrefixes(update.mpUnreach.prefixes),
    })
  }
}

/** Code and parsed value of a capability. */
function expectedCapability(capability: Capability): readonly [code: number, value: unknown] {
  switch (capability.type) {
    case 'multiprotocol':
      return [1, { ...capability.family, reserved: 0 }]
    case 'routeRefresh':
      return [2, []]
    case 'extendedMessage':
      return [6, []]
    case 'role':
      return [9, [capability.role]]
    case 'addPath':
      return [
        69,
        capability.entries.flatMap(({ family, mode }) => [family.afi >> 8, family.afi & 255, family.safi, mode]),
      ]
    case 'enhancedRouteRefresh':
      return [70, []]
    case 'extendedNextHop':
      return [5, capability.entries.map(({ family, nextHopAfi }) => ({ ...family, nextHopAfi }))]
    case 'gracefulRestart':
      return [
        64,
        {
          restart: Number(capability.restartState),
          notification: Number(capability.notification),
          reserved: 0,
          time: capability.restartTimeSec,
          families: capability.families.map(({ family, forwarding }) => ({
            ...family,
            forwarding: Number(forwarding),
            reserved: 0,
          })),
        },
      ]
    case 'fourOctetAs':
      return [65, [capability.asn]]
    case 'unknown':
      return [capability.code, [...capability.value]]
  }
}

function capabilityValue(code: number, bytes: Buffer): unknown {
  if (code === 1) return values.multiprotocol.parse(bytes)
  if (code === 5) return values.extendedNextHop.parse(bytes).all
  if (code === 64) return values.gracefulRestart.parse(bytes)
  if (code === 65) return values.u32.parse(bytes).all
  return values.u8.parse(bytes).all
}

interface WireParameters {
  readonly marker?: number
  readonly length?: number
  readonly all: readonly {
    readonly type: number
    readonly capabilities: readonly { readonly code: number; readonly value: Buffer }[]
  }[]
}

test('an OPEN is what RFC 4271 4.2, RFC 5492 4 and RFC 9072 2 draw', () => {
  fc.assert(
    fc.property(openMessage, (open) => {
      const found = wire(open, ctxOf())
      assert.deepEqual(
        [found.version, found.myAs, found.holdTime, found.bgpId],
        [open.version, open.myAs, open.holdTimeSec, open.bgpId],
      )
      const bytes = Buffer.from(found.parameters)
      const isExtended = found.parametersLength === 255
      const parameters: WireParameters = (isExtended ? longParameters : shortParameters).parse(bytes)
      if (isExtended) assert.deepEqual([parameters.marker, parameters.length], [255, bytes.length - 3])
      else assert.equal(found.parametersLength, bytes.length)
      assert.ok(parameters.all.every(({ type }) => type === 2))
      const capabilities = parameters.all.flatMap((parameter) => parameter.capabilities)
      assert.deepEqual(
        capabilities.map(({ code, value }) => [code, capabilityValue(code, value)]),
        open.capabilities.map(expectedCapability),
      )
    }),
  )
})

test('an UPDATE is what RFC 4271 4.3, RFC 4760 and RFC 6793 draw, with two-octet and four-octet ASes', () => {
  const cases = contexts.chain((ctx) => updateOf(ctx).map((update) => ({ ctx, update })))
  fc.assert(
    fc.property(cases, ({ ctx, update }) => checkUpdate(update, ctx)),
    { numRuns: 300 },
  )
})

test('a NOTIFICATION is what RFC 4271 4.5 draws', () => {
  fc.assert(
    fc.property(notificationMessage, (notification) => {
      const { code, subcode, data } = wire(notification, ctxOf())
      assert.deepEqual([code, subcode, [...data]], [notification.code, notification.subcode, [...notification.data]])
    }),
  )
})

test('a ROUTE-REFRESH is what RFC 7313 3.2 draws, a KEEPALIVE the header alone', () => {
  fc.assert(
    fc.property(routeRefreshMessage, ({ type, family, subtype }) => {
      assert.deepEqual(wire({ type, family, subtype }, ctxOf()), { ...family, subtype })
    }),
  )
  assert.deepEqual(wire({ type: 'keepalive' }, ctxOf()), {})
})
