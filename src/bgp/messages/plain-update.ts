/**
 * The ordinary UPDATE of a table, judged where it lies: IPv4 prefixes without path identifiers, attributes that
 * everybody sends, nothing wrong with any of them. No value is made of it before somebody asks, and of most of a full
 * table nobody ever does.
 *
 *     octets --ordinary, all of it--> PlainUpdate: where its parts lie; prefixes go one by one into a table
 *            --anything else--------> undefined: decodeUpdate (update.ts) finds out, and says what is wrong
 *
 * What is taken here, decodeUpdate takes without a problem and with the same values. The other way round nothing is
 * promised.
 */
import { noPath, notPlain, plainAttributes } from './attributes/plain.ts'
import { hasPathIds, isNegotiated } from './attributes/mp-nlri.ts'
import { countIpv4Prefixes, ipv4Prefixes } from './nlri.ts'
import { u32At } from './reader.ts'
import { type CodecContext, ipv4Unicast, type UpdateMessage, type UpdateProblem } from './types.ts'
import { decodeBlock, type DecodedUpdate } from './update.ts'

/** What policy asks of an AS_PATH that is empty, or one AS_SEQUENCE. */
export interface PlainPath {
  /** 0: the path is empty. */
  readonly firstAs: number
  passes(asn: number): boolean
}

const noProblems: readonly UpdateProblem[] = []
/** Of the withdrawn routes, and of the attributes (RFC 4271 4.3). */
const lengthBytes = 2

/** Offsets into the buffer that the socket was read into. */
interface Parts {
  readonly withdrawnAt: number
  readonly withdrawnEnd: number
  readonly attributesAt: number
  /** NLRI begins there. */
  readonly attributesEnd: number
  readonly end: number
}

export class PlainUpdate implements DecodedUpdate, PlainPath, Parts {
  readonly problems = noProblems
  readonly bytes: Uint8Array
  readonly ctx: CodecContext
  readonly withdrawnAt: number
  readonly withdrawnEnd: number
  readonly attributesAt: number
  readonly attributesEnd: number
  readonly end: number
  /** Prefixes, withdrawn and announced. */
  readonly count: number
  /** Announced. */
  readonly nlriCount: number
  /** The first segment of AS_PATH, or {@link noPath}. */
  readonly #pathAt: number

  /** See {@link readPlainUpdate}. */
  constructor(
    bytes: Uint8Array,
    ctx: CodecContext,
    parts: Parts,
    withdrawnCount: number,
    nlriCount: number,
    pathAt: number,
  ) {
    this.bytes = bytes
    this.ctx = ctx
    this.withdrawnAt = parts.withdrawnAt
    this.withdrawnEnd = parts.withdrawnEnd
    this.attributesAt = parts.attributesAt
    this.attributesEnd = parts.attributesEnd
    this.end = parts.end
    this.count = withdrawnCount + nlriCount
    this.nlriCount = nlriCount
    this.#pathAt = pathAt
  }

  /** Made anew each time. */
  get message(): UpdateMessage {
    return {
      type: 'update',
      withdrawn: ipv4Prefixes(this.bytes, this.withdrawnAt, this.withdrawnEnd),
      attributes: decodeBlock(this.block, ipv4Unicast, this.ctx),
      nlri: ipv4Prefixes(this.bytes, this.attributesEnd, this.end),
    }
  }

  get block(): Uint8Array {
    return this.bytes.subarray(this.attributesAt, this.attributesEnd)
  }

  get firstAs(): number {
    return this.#pathAt === noPath ? 0 : u32At(this.bytes, this.#pathAt + 2)
  }

  passes(asn: number): boolean {
    if (this.#pathAt === noPath) return false
    const end = this.#pathAt + 2 + 4 * (this.bytes[this.#pathAt + 1] as number)
    for (let at = this.#pathAt + 2; at < end; at += 4) if (u32At(this.bytes, at) === asn) return true
    return false
  }
}

/** The body of an UPDATE, which framing has looked at: `end - at` is at least four. */
export function readPlainUpdate(
  bytes: Uint8Array,
  at: number,
  end: number,
  ctx: CodecContext,
): PlainUpdate | undefined {
  if (!ctx.fourOctetAs || hasPathIds(ipv4Unicast, ctx) || !isNegotiated(ipv4Unicast, ctx)) return undefined
  const withdrawnAt = at + lengthBytes
  const withdrawnEnd = withdrawnAt + u16At(bytes, at)
  const attributesAt = withdrawnEnd + lengthBytes
  if (attributesAt > end) return undefined
  const attributesEnd = attributesAt + u16At(bytes, withdrawnEnd)
  if (attributesEnd > end) return undefined
  const withdrawnCount = countIpv4Prefixes(bytes, withdrawnAt, withdrawnEnd)
  const nlriCount = countIpv4Prefixes(bytes, attributesEnd, end)
  // Without any it is an End-of-RIB, or odd.
  if (withdrawnCount < 0 || nlriCount < 0 || withdrawnCount + nlriCount === 0) return undefined
  let pathAt = noPath
  if (nlriCount > 0) pathAt = plainAttributes(bytes, attributesAt, attributesEnd, ctx.isExternal)
  else if (attributesEnd > attributesAt) return undefined
  if (pathAt === notPlain) return undefined
  const parts = { withdrawnAt, withdrawnEnd, attributesAt, attributesEnd, end }
  return new PlainUpdate(bytes, ctx, parts, withdrawnCount, nlriCount, pathAt)
}

function u16At(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}
