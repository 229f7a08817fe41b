/**
 * Any message to bytes: what decode.ts is for the other direction. The program itself always knows which one it sends.
 */
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { encodeNotification } from '../../../src/bgp/messages/notification.ts'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import { encodeRouteRefresh } from '../../../src/bgp/messages/route-refresh.ts'
import type { CodecContext, Message } from '../../../src/bgp/messages/types.ts'
import { encodeUpdate } from '../../../src/bgp/messages/update.ts'

export function encodeMessage(message: Message, ctx: CodecContext): Uint8Array {
  switch (message.type) {
    case 'open':
      return encodeOpen(message)
    case 'update':
      return encodeUpdate(message, ctx)
    case 'notification':
      return encodeNotification(message)
    case 'routeRefresh':
      return encodeRouteRefresh(message)
    case 'keepalive':
      return keepaliveBytes
  }
}
