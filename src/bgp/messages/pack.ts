/**
 * The bulk path: many prefixes with one attribute set become as few messages as fit. Attributes are encoded once
 * and copied; the answer is one buffer of whole messages, so that a group of peers shares it.
 */
import type { Prefix } from '../../ip/prefix.ts'
import type { Address } from '../../ip/address.ts'
import { encodeMpReachHead, mpFlags, mpReachType, mpUnreachType } from './attributes/mp-nlri.ts'
import { flag } from './attributes/codec.ts'
import { headerBytes, startMessage } from './header.ts'
import { encodePrefix, prefixBytes } from './nlri.ts'
import { MessageType } from './numbers.ts'
import type { AfiSafi, CodecContext, PathAttributes } from './types.ts'
import { encodeAttributes } from './update.ts'
import { Writer } from './writer.ts'

export interface Packed {
  /** Whole messages, one after the other. */
  readonly bytes: Uint8Array
  /** How many messages. */
  readonly count: number
  /** Prefixes that fit into no message beside these attributes: withdrawn instead of announced (RFC 4271 9.2). */
  readonly tooLarge: readonly Prefix[]
}

/** An IPv6 /128. */
const maxPrefixBytes = 17
/** A /32. */
const maxIpv4Bytes = 5

const isIpv4Unicast = ({ afi, safi }: AfiSafi): boolean => afi === 1 && safi === 1

/**
 * UPDATEs that announce `prefixes` (all of `family`) with `attributes`, whose nextHop decides the form: an IPv4 next
 * hop of IPv4 unicast goes into NEXT_HOP with plain NLRI, everything else into MP_REACH_NLRI (RFC 4760, RFC 8950).
 */
export function packAnnouncements(
  attributes: PathAttributes,
  prefixes: readonly Prefix[],
  family: AfiSafi,
  ctx: CodecContext,
): Packed {
  return packWhatFits(prefixes, family, ctx, announcementForm(attributes, family, ctx))
}

/** How many more prefixes, whatever their length, go into the last of the messages that would announce these. */
export function prefixesToFill(
  attributes: PathAttributes,
  prefixes: readonly Prefix[],
  family: AfiSafi,
  ctx: CodecContext,
): number {
  const room = ctx.maxMessageBytes - headerBytes - announcementForm(attributes, family, ctx).fixedBytes
  let bytes = 0
  for (const prefix of prefixes) {
    const size = prefixBytes(prefix)
    bytes = bytes + size > room ? size : bytes + size
  }
  return Math.floor((room - bytes) / (isIpv4Unicast(family) ? maxIpv4Bytes : maxPrefixBytes))
}

function announcementForm(attributes: PathAttributes, family: AfiSafi, ctx: CodecContext): Form {
  const { nextHop, ...others } = attributes
  if (isIpv4Unicast(family) && typeof nextHop === 'number') {
    const block = encodeAttributes(attributes, ctx)
    return {
      fixedBytes: 4 + block.length,
      write: (part, out) => {
        out.u16(0).u16(block.length).bytes(block)
        for (const prefix of part) encodePrefix(prefix, out)
      },
    }
  }
  const block = encodeAttributes(others, ctx)
  const head = mpReachHead(family, nextHop ?? 0)
  return {
    fixedBytes: 4 + 4 + head.length + block.length,
    write: (part, out) => {
      const nlriBytes = sizeOf(part)
      out.u16(0).u16(4 + head.length + nlriBytes + block.length)
      out
        .u8(mpFlags | flag.extendedLength)
        .u8(mpReachType)
        .u16(head.length + nlriBytes)
        .bytes(head)
      for (const prefix of part) encodePrefix(prefix, out)
      out.bytes(block)
    },
  }
}

/** UPDATEs that withdraw `prefixes` (all of `family`). */
export function packWithdrawals(prefixes: readonly Prefix[], family: AfiSafi, ctx: CodecContext): Packed {
  if (isIpv4Unicast(family)) {
    return pack(prefixes, ctx, {
      fixedBytes: 4,
      write: (part, out) => {
        out.u16(sizeOf(part))
        for (const prefix of part) encodePrefix(prefix, out)
        out.u16(0)
      },
    })
  }
  return pack(prefixes, ctx, {
    fixedBytes: 4 + 4 + 3,
    write: (part, out) => {
      const valueBytes = 3 + sizeOf(part)
      out
        .u16(0)
        .u16(4 + valueBytes)
        .u8(mpFlags | flag.extendedLength)
        .u8(mpUnreachType)
        .u16(valueBytes)
      out.u16(family.afi).u8(family.safi)
      for (const prefix of part) encodePrefix(prefix, out)
    },
  })
}

/** RFC 4724 2: an empty UPDATE for IPv4 unicast, an empty MP_UNREACH_NLRI for the others. */
export function encodeEndOfRib(family: AfiSafi): Uint8Array {
  const out = startMessage(MessageType.update, 32)
  if (isIpv4Unicast(family)) out.u16(0).u16(0)
  else out.u16(0).u16(6).u8(mpFlags).u8(mpUnreachType).u8(3).u16(family.afi).u8(family.safi)
  return out.patch16(16, out.length).finish()
}

interface Form {
  /** Octets of a message's body beside its prefixes. */
  readonly fixedBytes: number
  write(part: readonly Prefix[], out: Writer): void
}

/** Attributes can be so long that a route has no room: the peer must not keep an earlier path of it either. */
function packWhatFits(prefixes: readonly Prefix[], family: AfiSafi, ctx: CodecContext, form: Form): Packed {
  const room = ctx.maxMessageBytes - headerBytes - form.fixedBytes
  if (room >= maxPrefixBytes) return pack(prefixes, ctx, form)
  const tooLarge = prefixes.filter((prefix) => prefixBytes(prefix) > room)
  const fitting = pack(
    prefixes.filter((prefix) => prefixBytes(prefix) <= room),
    ctx,
    form,
  )
  const withdrawals = packWithdrawals(tooLarge, family, ctx)
  const out = new Writer(fitting.bytes.length + withdrawals.bytes.length)
  return {
    bytes: out.bytes(fitting.bytes).bytes(withdrawals.bytes).finish(),
    count: fitting.count + withdrawals.count,
    tooLarge,
  }
}

/** Cuts the prefixes so that each message is as full as it can be. Each of them fits alone. */
function pack(prefixes: readonly Prefix[], ctx: CodecContext, form: Form): Packed {
  const room = ctx.maxMessageBytes - headerBytes - form.fixedBytes
  const out = new Writer(Math.max(256, prefixes.length * 6))
  let count = 0
  for (let from = 0; from < prefixes.length; count++) {
    let to = from
    let bytes = 0
    while (to < prefixes.length) {
      const size = prefixBytes(prefixes[to] as Prefix)
      if (bytes + size > room) break
      bytes += size
      to++
    }
    const start = out.length
    out.u32(0xffffffff).u32(0xffffffff).u32(0xffffffff).u32(0xffffffff).u16(0).u8(MessageType.update)
    form.write(prefixes.slice(from, to), out)
    out.patch16(start + 16, out.length - start)
    from = to
  }
  return { bytes: out.finish(), count, tooLarge: [] }
}

function sizeOf(prefixes: readonly Prefix[]): number {
  return prefixes.reduce<number>((sum, prefix) => sum + prefixBytes(prefix), 0)
}

function mpReachHead(family: AfiSafi, nextHop: Address): Uint8Array {
  const out = new Writer(32)
  encodeMpReachHead({ family, nextHop }, out)
  return out.finish()
}
