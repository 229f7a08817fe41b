/** What one path attribute is to the decoder: class, dispositions (RFC 7606 as data), bytes to value and back. */
import type { CodecContext, PathAttributes } from '../types.ts'
import type { Reader } from '../reader.ts'
import type { Writer } from '../writer.ts'

export const flag = { optional: 0x80, transitive: 0x40, partial: 0x20, extendedLength: 0x10 } as const

export type Disposition = 'treat-as-withdraw' | 'attribute-discard'

export interface AttributeCodec {
  readonly type: number
  readonly name: string
  /** Optional and Transitive bits of its class. */
  readonly flags: number
  /** RFC 7606 section 7: what a malformed value leads to. */
  readonly onMalformed: Disposition
  /** UPDATE error subcode when the fault must reset the session (no NLRI to withdraw, RFC 7606 5.2). */
  readonly subcode: number
  /** Where false, the attribute is discarded unread (RFC 7606 7.5, 7.9, 7.10). */
  isExpected?(ctx: CodecContext): boolean
  /**
   * Whether these octets are a value of the ordinary kind, which `decode` takes with four octets to an AS, without
   * making anything of them. Absent: it is always to be decoded.
   */
  isPlain?(bytes: Uint8Array, at: number, end: number): boolean
  /** The value, or why it is malformed. `value` is exactly the attribute's; octets left over are a fault. */
  decode(value: Reader, ctx: CodecContext): Partial<PathAttributes> | string
  /** True when the attribute is present; writes its value. */
  encode(attributes: PathAttributes, out: Writer, ctx: CodecContext): boolean
}

export const wellKnown = flag.transitive
export const optionalTransitive = flag.optional | flag.transitive
export const optionalNonTransitive = flag.optional

/** {@link AttributeCodec.isPlain} of what may be any four octets. */
export function isFourOctets(_bytes: Uint8Array, at: number, end: number): boolean {
  return end - at === 4
}

/** The same of a list of at least one element of so many octets each. */
export function isListOf(elementBytes: number): (bytes: Uint8Array, at: number, end: number) => boolean {
  return (_bytes, at, end) => end > at && (end - at) % elementBytes === 0
}

/** A fixed-length value of another length. */
export function wrongLength(found: number, wanted: string): string {
  return `${found} octets instead of ${wanted}`
}
