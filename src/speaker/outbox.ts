/**
 * The way out of an update group: what is to be said becomes messages once, and goes to every member that it is for.
 *
 *     batches (attributes, members, prefixes) --packed by family--> one buffer for the same members --> their queues
 */
import type { AdjRibOut, Batch, MemberMask } from '../rib/adj-rib-out.ts'
import { packAnnouncements, packWithdrawals, prefixesToFill } from '../bgp/messages/pack.ts'
import { type AfiSafi, type CodecContext, unicastOf } from '../bgp/messages/types.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'

export interface Recipient {
  readonly bit: MemberMask
  readonly member: { send(messages: Uint8Array, count: number): boolean }
  /** Its queue is full. */
  isBlocked: boolean
}

const afiSafi = (prefix: Prefix): AfiSafi => unicastOf[prefixFamily(prefix)]

export class Outbox {
  /** How many buffers were encoded. */
  encodings = 0
  /** Announcements that fitted into no message beside their attributes and were withdrawn instead. */
  tooLarge = 0
  readonly #adjRibOut: AdjRibOut
  readonly #codec: CodecContext

  /** What fits into no message does not count as sent in `adjRibOut`. */
  constructor(adjRibOut: AdjRibOut, codec: CodecContext) {
    this.#adjRibOut = adjRibOut
    this.#codec = codec
  }

  /** Encodes each batch once, and writes one buffer for all batches that go to the same members. */
  send(batches: readonly Batch[], recipients: Iterable<Recipient>): void {
    const outgoing = new Map<MemberMask, { readonly buffers: Uint8Array[]; count: number }>()
    for (const { attributes, members, prefixes } of batches) {
      let out = outgoing.get(members)
      if (out === undefined) outgoing.set(members, (out = { buffers: [], count: 0 }))
      for (const part of byFamily(prefixes)) {
        const family = afiSafi(part[0] as Prefix)
        const { bytes, count, tooLarge } =
          attributes === undefined
            ? packWithdrawals(part, family, this.#codec)
            : packAnnouncements(attributes, part, family, this.#codec)
        for (const prefix of tooLarge) this.#adjRibOut.retract(prefix, members)
        this.tooLarge += tooLarge.length
        this.encodings++
        out.buffers.push(bytes)
        out.count += count
      }
    }
    const all = [...recipients]
    for (const [members, { buffers, count }] of outgoing) {
      const [only] = buffers
      const bytes = buffers.length === 1 && only !== undefined ? only : Buffer.concat(buffers)
      for (const recipient of all)
        if ((recipient.bit & members) !== 0 && !recipient.member.send(bytes, count)) recipient.isBlocked = true
    }
  }

  /** How many prefixes would fill up the last message, where all go into one batch. */
  lackOf([batch, ...others]: readonly Batch[]): number {
    if (batch?.attributes === undefined || others.length > 0) return 0
    const part = byFamily(batch.prefixes).at(-1) ?? []
    return part[0] === undefined ? 0 : prefixesToFill(batch.attributes, part, afiSafi(part[0]), this.#codec)
  }
}

function byFamily(prefixes: readonly Prefix[]): readonly (readonly Prefix[])[] {
  const ipv4 = prefixes.filter((prefix) => prefixFamily(prefix) === 'ipv4')
  if (ipv4.length === 0 || ipv4.length === prefixes.length) return [prefixes]
  return [ipv4, prefixes.filter((prefix) => prefixFamily(prefix) === 'ipv6')]
}
