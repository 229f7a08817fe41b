/**
 * Bytes to messages.
 *
 *     socket --chunks--> frameMessage (header.ts) --type, body--> decodeMessage --> message + problems | fault
 *
 * Nothing here throws for what a peer sends: a fault that ends the session and problems that it survives are values.
 */
import { keepalive } from './keepalive.ts'
import { decodeNotification } from './notification.ts'
import { decodeOpen } from './open.ts'
import { decodeRouteRefresh } from './route-refresh.ts'
import type { AfiSafi, CodecContext, Decoded, Message, UpdateProblem } from './types.ts'
import { MessageType } from './numbers.ts'
import { decodeUpdate } from './update.ts'

export interface DecodedMessage {
  readonly message: Message
  readonly problems: readonly UpdateProblem[]
  /** The message is the End-of-RIB of this family (RFC 4724 2). */
  readonly endOfRib?: AfiSafi
  /** Of an UPDATE; see attributes/block.ts. */
  readonly block: Uint8Array
}

const noBlock = new Uint8Array(0)

/** `type` and `body` come from a frame, so the type is known and the body has its least length. */
export function decodeMessage(type: number, body: Uint8Array, ctx: CodecContext): Decoded<DecodedMessage> {
  switch (type) {
    case MessageType.open:
      return plain(decodeOpen(body))
    case MessageType.update:
      return decodeUpdate(body, ctx)
    case MessageType.notification:
      return plain({ ok: true, value: decodeNotification(body) })
    case MessageType.routeRefresh:
      return plain(decodeRouteRefresh(body))
    default:
      return plain({ ok: true, value: keepalive })
  }
}

function plain(decoded: Decoded<Message>): Decoded<DecodedMessage> {
  return decoded.ok ? { ok: true, value: { message: decoded.value, problems: [], block: noBlock } } : decoded
}
