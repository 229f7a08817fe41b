/** KEEPALIVE, RFC 4271 4.4: the header alone. */
import { finishMessage, startMessage } from './header.ts'
import { MessageType } from './numbers.ts'
import type { KeepaliveMessage } from './types.ts'

export const keepaliveBytes: Uint8Array = finishMessage(startMessage(MessageType.keepalive, 19))

export const keepalive: KeepaliveMessage = Object.freeze({ type: 'keepalive' })
