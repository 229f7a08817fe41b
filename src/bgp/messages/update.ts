/**
 * UPDATE, RFC 4271 4.3:  withdrawnLength:u16 withdrawn attributesLength:u16 attributes nlri
 *
 *     body --three slices from the lengths--> withdrawn, nlri: syntax first (3/10)
 *                                        `--> attributes: walked to the end, strongest fault wins (RFC 7606 3 h)
 *
 * The order of checks is what keeps one bad attribute from resetting a session: slices are computed once, prefixes
 * are read before attributes are judged, and the walk goes on after a fault so that the prefixes of MP_REACH are found.
 */
import { mergeAs4 } from './attributes/as4.ts'
import { attributeBlock } from './attributes/block.ts'
import { flag, type AttributeCodec } from './attributes/codec.ts'
import {
  decodeMpReach,
  decodeMpUnreach,
  encodeMpReach,
  encodeMpUnreach,
  hasPathIds,
  isNegotiated,
  mpFlags,
  mpReachType,
  mpUnreachType,
} from './attributes/mp-nlri.ts'
import { nextHop as nextHopCodec } from './attributes/next-hop.ts'
import { attributeByType, attributeCodecs } from './attributes/table.ts'
import { finishMessage, maxFaultDataBytes, startMessage } from './header.ts'
import { decodePrefixes, encodePrefixes, type Nlri } from './nlri.ts'
import { Reader } from './reader.ts'
import {
  type AfiSafi,
  type CodecContext,
  type Decoded,
  ipv4Unicast,
  type MpReach,
  type MpUnreach,
  type NotificationFault,
  type PathAttributes,
  type UnknownAttribute,
  type UpdateMessage,
  type UpdateProblem,
} from './types.ts'
import { ErrorCode, MessageType } from './numbers.ts'
import { Writer } from './writer.ts'

export interface DecodedUpdate {
  readonly message: UpdateMessage
  /** With a treat-as-withdraw among them (RFC 7606 2), every prefix of the message is to be withdrawn. */
  readonly problems: readonly UpdateProblem[]
  /**
   * The message is the End-of-RIB of this family. Not to be had from the message: an empty one may have held what was
   * ignored.
   */
  readonly endOfRib?: AfiSafi
  /** The attributes of the announced routes as octets, often a view of the body; see attributes/block.ts. */
  readonly block: Uint8Array
}

/** RFC 4760 8: both sides have to say that they have a family, also the one that needs no attribute of its own. */
const notNegotiated: UpdateProblem = {
  action: 'ignore',
  reason: 'IPv4 routes outside of MP_REACH_NLRI: that family was not negotiated',
}

/** `body` has at least four octets (framing saw to it). */
export function decodeUpdate(body: Uint8Array, ctx: CodecContext): Decoded<DecodedUpdate> {
  const withdrawnLength = ((body[0] as number) << 8) | (body[1] as number)
  if (withdrawnLength + 4 > body.length) return refuse(1, `withdrawn routes of ${withdrawnLength} octets`)
  const attributesAt = 2 + withdrawnLength + 2
  const attributesLength = ((body[attributesAt - 2] as number) << 8) | (body[attributesAt - 1] as number)
  if (attributesAt + attributesLength > body.length) return refuse(1, `attributes of ${attributesLength} octets`)

  const isMultipath = hasPathIds(ipv4Unicast, ctx)
  const withdrawn = decodePrefixes(new Reader(body, 2, 2 + withdrawnLength), 1, isMultipath)
  if (typeof withdrawn === 'string') return refuse(10, `withdrawn routes: ${withdrawn}`)
  const nlri = decodePrefixes(new Reader(body, attributesAt + attributesLength), 1, isMultipath)
  if (typeof nlri === 'string') return refuse(10, `NLRI: ${nlri}`)

  const walk = new AttributeWalk(ctx, nlri.prefixes.length > 0)
  const fault = walk.run(new Reader(body, attributesAt, attributesAt + attributesLength)) ?? walk.missing()
  if (fault !== undefined) return { ok: false, fault }
  const isWanted = isNegotiated(ipv4Unicast, ctx)
  if (!isWanted && withdrawn.prefixes.length + nlri.prefixes.length > 0) walk.problems.push(notNegotiated)
  const hasMore = isMultipath || walk.mpReach !== undefined || walk.mpUnreach !== undefined
  const plain: UpdateMessage = {
    type: 'update',
    withdrawn: isWanted ? withdrawn.prefixes : [],
    attributes: walk.attributes,
    nlri: isWanted ? nlri.prefixes : [],
  }
  const message = hasMore ? { ...plain, ...multiprotocol(walk, withdrawn, nlri) } : plain
  const endOfRib = endOfRibFamily(body, walk.mpUnreach)
  const block = attributeBlock(body.subarray(attributesAt, attributesAt + attributesLength), walk.mpReach)
  return {
    ok: true,
    value: { message, problems: walk.problems, block, ...(endOfRib === undefined ? {} : { endOfRib }) },
  }
}

/** The attributes that a block stands for, for the routes of one family; the context is that of the UPDATE. */
export function decodeBlock(block: Uint8Array, { afi, safi }: AfiSafi, ctx: CodecContext): PathAttributes {
  const walk = new AttributeWalk(ctx, true)
  walk.run(new Reader(block))
  const { attributes, mpReach } = walk
  return mpReach !== undefined && mpReach.family.afi === afi && mpReach.family.safi === safi
    ? { ...attributes, nextHop: mpReach.nextHop }
    : attributes
}

/** What a plain IPv4 UPDATE does not have. */
function multiprotocol({ mpReach, mpUnreach }: AttributeWalk, withdrawn: Nlri, nlri: Nlri): Partial<UpdateMessage> {
  return {
    ...(withdrawn.pathIds === undefined ? {} : { withdrawnPathIds: withdrawn.pathIds }),
    ...(nlri.pathIds === undefined ? {} : { nlriPathIds: nlri.pathIds }),
    ...(mpReach === undefined ? {} : { mpReach }),
    ...(mpUnreach === undefined ? {} : { mpUnreach }),
  }
}

/** RFC 4724 2: no octet beside the two lengths, or an MP_UNREACH_NLRI without prefixes and nothing else. */
function endOfRibFamily(body: Uint8Array, mpUnreach: MpUnreach | undefined): AfiSafi | undefined {
  if (body.length === 4) return ipv4Unicast
  // Lengths, attribute header (its length of one octet or two), AFI and SAFI.
  const isAlone =
    body.length === 4 + 3 + 3 || (body.length === 4 + 4 + 3 && ((body[4] ?? 0) & flag.extendedLength) !== 0)
  return isAlone && mpUnreach?.prefixes.length === 0 ? mpUnreach.family : undefined
}

/** Problems told of one message beside treat-as-withdraw: thousands of repeated attributes are one story. */
const maxNotes = 32

/** Attribute types, nearly all of them below 32. */
class TypeSet {
  #low = 0
  #others: Set<number> | undefined

  has(type: number): boolean {
    return type < 32 ? ((this.#low >>> type) & 1) === 1 : this.#others?.has(type) === true
  }

  add(type: number): void {
    if (type < 32) this.#low |= 1 << type
    else (this.#others ??= new Set()).add(type)
  }
}

class AttributeWalk {
  attributes: PathAttributes = {}
  mpReach: MpReach | undefined
  mpUnreach: MpUnreach | undefined
  readonly problems: UpdateProblem[] = []
  readonly #ctx: CodecContext
  /** Routes in the NLRI field itself, not in MP_REACH_NLRI. */
  readonly #hasNlri: boolean
  readonly #seen = new TypeSet()
  /** Subcode of the first treat-as-withdraw, should there be nothing to withdraw. */
  #withdrawSubcode: number | undefined
  #withdrawReason = ''
  #notes = 0
  /** What is wrong with a NEXT_HOP that no NLRI hangs on. */
  #idleNextHop: string | undefined

  constructor(ctx: CodecContext, hasNlri: boolean) {
    this.#ctx = ctx
    this.#hasNlri = hasNlri
  }

  /** Reads all attributes; answers the fault that resets the session, if there is one. */
  run(reader: Reader): NotificationFault | undefined {
    const fault = this.#walk(reader)
    // RFC 6793 4.2.3
    if (!this.#ctx.fourOctetAs) this.attributes = mergeAs4(this.attributes)
    return fault
  }

  #walk(reader: Reader): NotificationFault | undefined {
    while (reader.left > 0) {
      const flags = reader.left > 1 ? reader.u8() : 0
      const headLeft = flags & flag.extendedLength ? 3 : 2
      if (reader.left < headLeft) {
        this.#withdraw(undefined, 1, 'an attribute header is cut short')
        return undefined
      }
      const type = reader.u8()
      const length = flags & flag.extendedLength ? reader.u16() : reader.u8()
      if (length > reader.left) {
        const reason = `length ${length} runs past the attributes`
        // RFC 7606 3 j: without its prefixes nobody knows what to withdraw.
        if (type === mpReachType || type === mpUnreachType) return updateFault(1, `attribute ${type}: ${reason}`)
        // RFC 7606 4: the length of all attributes rules.
        this.#withdraw(type, 1, reason)
        return undefined
      }
      const fault = this.#attribute(flags, type, reader.sub(length))
      if (fault !== undefined) return fault
    }
    return undefined
  }

  /**
   * Mandatory attributes (RFC 7606 3 d), then RFC 7606 5.2: with an error that is more than a discard and no route
   * announced, one cannot be sure that the announced ones were found; prefixes withdrawn beside it do not help.
   */
  missing(): NotificationFault | undefined {
    // RFC 4760 3: beside MP_REACH_NLRI alone, NEXT_HOP is ignored; some send 0.0.0.0 there.
    if (this.#idleNextHop !== undefined && this.mpReach !== undefined)
      this.#note('attribute-discard', nextHopCodec.type, `NEXT_HOP: ${this.#idleNextHop}`)
    else if (this.#idleNextHop !== undefined)
      this.#withdraw(nextHopCodec.type, nextHopCodec.subcode, `NEXT_HOP: ${this.#idleNextHop}`)
    const { origin, asPath, nextHop, localPref } = this.attributes
    const isReach = this.#hasNlri || (this.mpReach?.prefixes.length ?? 0) > 0
    const isComplete =
      origin !== undefined &&
      asPath !== undefined &&
      (nextHop !== undefined || !this.#hasNlri) &&
      (localPref !== undefined || this.#ctx.isExternal)
    if (isReach && !isComplete) {
      const absent = [
        ...(origin === undefined && !this.#seen.has(1) ? ['ORIGIN'] : []),
        ...(asPath === undefined && !this.#seen.has(2) ? ['AS_PATH'] : []),
        ...(this.#hasNlri && nextHop === undefined && !this.#seen.has(3) ? ['NEXT_HOP'] : []),
        ...(!this.#ctx.isExternal && localPref === undefined && !this.#seen.has(5) ? ['LOCAL_PREF'] : []),
      ]
      if (absent.length > 0) this.#withdraw(undefined, 3, `missing ${absent.join(', ')}`)
    }
    if (this.#withdrawSubcode !== undefined && !isReach) return updateFault(this.#withdrawSubcode, this.#withdrawReason)
    return undefined
  }

  #attribute(flags: number, type: number, value: Reader): NotificationFault | undefined {
    if (type === mpReachType || type === mpUnreachType) return this.#multiprotocol(flags, type, value)
    if (type === 0) return void this.#note('ignore', type, 'attribute type 0')
    const codec = attributeByType.get(type)
    if (codec === undefined) return this.#unknown(flags, type, value)
    // RFC 7606 3 g
    if (this.#seen.has(type))
      return void this.#note('attribute-discard', type, `${codec.name} again, the first one counts`)
    this.#seen.add(type)
    if (codec.isExpected?.(this.#ctx) === false)
      return void this.#note('attribute-discard', type, `${codec.name} is of no use on this session`)
    const wrongFlags = flagFault(flags, codec)
    // RFC 7606 3 c: whatever a malformed value leads to, wrong flags withdraw.
    if (wrongFlags !== undefined && codec !== nextHopCodec)
      return void this.#withdraw(codec.type, codec.subcode, `${codec.name}: ${wrongFlags}`)
    const found = wrongFlags ?? codec.decode(value, this.#ctx)
    if (typeof found === 'string') this.#malformed(codec, found)
    else this.#keep(found)
    return undefined
  }

  /** One object takes all of them: a full table has a million. */
  #keep(found: Partial<PathAttributes>): void {
    const { unknown } = this.attributes
    Object.assign(this.attributes, found)
    if (unknown !== undefined && found.unknown !== undefined)
      Object.assign(this.attributes, { unknown: [...unknown, ...found.unknown] })
  }

  #multiprotocol(flags: number, type: number, value: Reader): NotificationFault | undefined {
    const name = type === mpReachType ? 'MP_REACH_NLRI' : 'MP_UNREACH_NLRI'
    if (this.#seen.has(type)) return updateFault(1, `${name} twice`)
    this.#seen.add(type)
    if ((flags & (flag.optional | flag.transitive)) !== mpFlags)
      return updateFault(4, `${name}: flags ${flags.toString(16)}`)
    if (type === mpReachType) {
      const found = decodeMpReach(value, this.#ctx)
      if (found.kind === 'fault') return updateFault(9, `${name}: ${found.reason}`)
      if (found.kind === 'ignored')
        return void this.#note('ignore', type, `${name} of a family that was not negotiated`)
      this.mpReach = found.reach
      if (found.badNextHop !== undefined) this.#withdraw(type, 9, `${name}: ${found.badNextHop}`)
      return undefined
    }
    const found = decodeMpUnreach(value, this.#ctx)
    if (found.kind === 'fault') return updateFault(9, `${name}: ${found.reason}`)
    if (found.kind === 'ignored') return void this.#note('ignore', type, `${name} of a family that was not negotiated`)
    this.mpUnreach = found.unreach
    return undefined
  }

  /**
   * RFC 4271 6.3 and 9: an unknown well-known attribute resets, non-transitive is ignored, transitive is kept as bytes.
   */
  #unknown(flags: number, type: number, value: Reader): NotificationFault | undefined {
    if ((flags & flag.optional) === 0) {
      const head =
        flags & flag.extendedLength ? [flags, type, value.left >> 8, value.left & 0xff] : [flags, type, value.left]
      const data = Uint8Array.of(...head, ...value.copy(Math.min(maxFaultDataBytes - head.length, value.left)))
      return { ...updateFault(2, `unknown well-known attribute ${type}`), data }
    }
    if (this.#seen.has(type))
      return void this.#note('attribute-discard', type, `attribute ${type} again, the first one counts`)
    this.#seen.add(type)
    if ((flags & flag.transitive) === 0) return undefined
    const kept: UnknownAttribute = { flags: flags & ~flag.extendedLength, type, value: value.copy(value.left) }
    this.#keep({ unknown: [kept] })
    return undefined
  }

  #malformed(codec: AttributeCodec, reason: string): void {
    if (codec === nextHopCodec && !this.#hasNlri) this.#idleNextHop = reason
    else if (codec.onMalformed === 'treat-as-withdraw')
      this.#withdraw(codec.type, codec.subcode, `${codec.name}: ${reason}`)
    else this.#note('attribute-discard', codec.type, `${codec.name}: ${reason}`)
  }

  #withdraw(attribute: number | undefined, subcode: number, reason: string): void {
    if (this.#withdrawSubcode === undefined) {
      this.#withdrawSubcode = subcode
      this.#withdrawReason = reason
    }
    this.problems.push({ action: 'treat-as-withdraw', ...(attribute === undefined ? {} : { attribute }), reason })
  }

  #note(action: 'attribute-discard' | 'ignore', attribute: number, reason: string): void {
    if (this.#notes++ < maxNotes) this.problems.push({ action, attribute, reason })
  }
}

/** RFC 7606 3 c, and the Partial bit where RFC 4271 4.3 forbids it. The low four bits are ignored. */
function flagFault(flags: number, codec: AttributeCodec): string | undefined {
  const isClassWrong = (flags & (flag.optional | flag.transitive)) !== codec.flags
  const isPartialWrong = (flags & flag.partial) !== 0 && codec.flags !== (flag.optional | flag.transitive)
  return isClassWrong || isPartialWrong ? `flags 0x${flags.toString(16)}` : undefined
}

function updateFault(subcode: number, reason: string): NotificationFault {
  return { code: ErrorCode.update, subcode, data: new Uint8Array(0), reason }
}

function refuse(subcode: number, reason: string): Decoded<DecodedUpdate> {
  return { ok: false, fault: updateFault(subcode, reason) }
}

/** The attribute block of a path, without MP_REACH_NLRI: each with its header, ascending by type. */
export function encodeAttributes(attributes: PathAttributes, ctx: CodecContext): Uint8Array {
  const out = new Writer(128)
  for (const codec of attributeCodecs) {
    // What the other side must discard is not sent: LOCAL_PREF to an outside AS (RFC 4271 5.1.5) and the like.
    if (codec.isExpected?.(ctx) === false) continue
    const value = new Writer(64)
    if (codec.encode(attributes, value, ctx)) encodeAttribute(codec.flags, codec.type, value.finish(), out)
  }
  for (const { flags, type, value } of attributes.unknown ?? []) encodeAttribute(flags, type, value, out)
  return out.finish()
}

function encodeAttribute(flags: number, type: number, value: Uint8Array, out: Writer): void {
  if (value.length > 255)
    out
      .u8(flags | flag.extendedLength)
      .u8(type)
      .u16(value.length)
  else out.u8(flags).u8(type).u8(value.length)
  out.bytes(value)
}

/** One whole UPDATE. The speaker's bulk path is pack.ts; this is for single messages and tests. */
export function encodeUpdate(message: UpdateMessage, ctx: CodecContext): Uint8Array {
  const out = startMessage(MessageType.update, 512)
  const withdrawn = new Writer(64)
  encodePrefixes(nlriOf(message.withdrawn, message.withdrawnPathIds), withdrawn)
  const attributes = new Writer(256)
  if (message.mpUnreach !== undefined) {
    const value = new Writer(64)
    encodeMpUnreach(message.mpUnreach, value)
    encodeAttribute(mpFlags, mpUnreachType, value.finish(), attributes)
  }
  if (message.mpReach !== undefined) {
    const value = new Writer(64)
    encodeMpReach(message.mpReach, value)
    encodeAttribute(mpFlags, mpReachType, value.finish(), attributes)
  }
  attributes.bytes(encodeAttributes(message.attributes, ctx))
  out.u16(withdrawn.length).bytes(withdrawn.finish()).u16(attributes.length).bytes(attributes.finish())
  encodePrefixes(nlriOf(message.nlri, message.nlriPathIds), out)
  return finishMessage(out)
}

const nlriOf = (prefixes: Nlri['prefixes'], pathIds: Nlri['pathIds']): Nlri => ({
  prefixes,
  ...(pathIds === undefined ? {} : { pathIds }),
})
