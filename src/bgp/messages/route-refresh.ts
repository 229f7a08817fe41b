/** ROUTE-REFRESH, RFC 2918 3 and RFC 7313 3.2:  afi:u16 subtype:u8 safi:u8 */
import { finishMessage, headerBytes, maxFaultDataBytes, startMessage } from './header.ts'
import { Reader } from './reader.ts'
import { ErrorCode, MessageType, RefreshSubtype } from './numbers.ts'
import type { Decoded, RouteRefreshMessage } from './types.ts'

export function encodeRouteRefresh(message: RouteRefreshMessage): Uint8Array {
  const writer = startMessage(MessageType.routeRefresh, 23)
  return finishMessage(writer.u16(message.family.afi).u8(message.subtype).u8(message.family.safi))
}

/** `body` has at least four octets (framing saw to it); what follows (ORF, RFC 5291) is not read. */
export function decodeRouteRefresh(body: Uint8Array): Decoded<RouteRefreshMessage> {
  const reader = new Reader(body)
  const afi = reader.u16()
  const subtype = reader.u8()
  const safi = reader.u8()
  // RFC 7313 5: BoRR and EoRR have exactly this length; the data is the message.
  if ((subtype === RefreshSubtype.begin || subtype === RefreshSubtype.end) && body.length !== 4) {
    const whole = finishMessage(startMessage(MessageType.routeRefresh, headerBytes + body.length).bytes(body))
    return {
      ok: false,
      fault: {
        code: ErrorCode.routeRefresh,
        subcode: 1,
        data: whole.slice(0, maxFaultDataBytes),
        reason: `ROUTE-REFRESH subtype ${subtype} of ${whole.length} octets`,
      },
    }
  }
  return { ok: true, value: { type: 'routeRefresh', family: { afi, safi }, subtype } }
}
