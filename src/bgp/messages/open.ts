/**
 * OPEN, RFC 4271 4.2:  version:u8 myAs:u16 holdTime:u16 bgpId:u32 length:u8 (type:u8 length:u8 value)*
 * RFC 9072 2: when the first parameter type is 255, a two-octet length follows and parameters have two-octet lengths.
 */
import { decodeCapabilities, encodeCapability } from './capabilities.ts'
import { finishMessage, startMessage } from './header.ts'
import { bounded, Reader } from './reader.ts'
import { ErrorCode, MessageType, OpenParameter } from './numbers.ts'
import type { Decoded, NotificationFault, OpenMessage } from './types.ts'
import type { Capability } from './capabilities.ts'
import { Writer } from './writer.ts'

const { capabilities: capabilitiesParameter, extendedLength } = OpenParameter

export function encodeOpen(open: OpenMessage): Uint8Array {
  const values = new Writer(128)
  for (const capability of open.capabilities) encodeCapability(capability, values)
  const out = startMessage(MessageType.open, 64 + values.length)
  out.u8(open.version).u16(open.myAs).u16(open.holdTimeSec).u32(open.bgpId)
  if (values.length === 0) out.u8(0)
  else if (values.length + 2 < extendedLength)
    out
      .u8(values.length + 2)
      .u8(capabilitiesParameter)
      .u8(values.length)
      .bytes(values.finish())
  else
    out
      .u8(extendedLength)
      .u8(extendedLength)
      .u16(values.length + 3)
      .u8(capabilitiesParameter)
      .u16(values.length)
      .bytes(values.finish())
  return finishMessage(out)
}

/** `body` has at least ten octets (framing saw to it). Checks that need configuration are made in fsm/negotiate. */
export function decodeOpen(body: Uint8Array): Decoded<OpenMessage> {
  const reader = new Reader(body)
  const version = reader.u8()
  if (version !== 4) return refuse(1, Uint8Array.of(0, 4), `version ${version}`)
  const myAs = reader.u16()
  const holdTimeSec = reader.u16()
  const bgpId = reader.u32()
  const capabilities = bounded<readonly Capability[] | NotificationFault>(
    () => decodeParameters(reader),
    (reason) => malformed(`optional parameters run past the message: ${reason}`),
  )
  if ('code' in capabilities) return { ok: false, fault: capabilities }
  if (myAs === 0 || capabilities.some((capability) => capability.type === 'fourOctetAs' && capability.asn === 0)) {
    return refuse(2, new Uint8Array(0), 'AS 0 (RFC 7607)')
  }
  if (holdTimeSec === 1 || holdTimeSec === 2)
    return refuse(6, Uint8Array.of(0, holdTimeSec), `hold time ${holdTimeSec} s`)
  // RFC 6286 2.1
  if (bgpId === 0) return refuse(3, new Uint8Array(0), 'BGP Identifier 0.0.0.0')
  return { ok: true, value: { type: 'open', version, myAs, holdTimeSec, bgpId, capabilities } }
}

function decodeParameters(reader: Reader): readonly Capability[] | NotificationFault {
  let length = reader.u8()
  const isExtended = length !== 0 && reader.left > 0 && reader.peek().u8() === extendedLength
  if (isExtended) {
    reader.u8()
    length = reader.u16()
  }
  if (length !== reader.left) return malformed(`optional parameters of ${length} octets in ${reader.left}`)
  const all: Capability[] = []
  while (reader.left > 0) {
    const type = reader.u8()
    const value = reader.sub(isExtended ? reader.u16() : reader.u8())
    if (type !== capabilitiesParameter)
      return { code: ErrorCode.open, subcode: 4, data: new Uint8Array(0), reason: `optional parameter ${type}` }
    const capabilities = decodeCapabilities(value)
    if (typeof capabilities === 'string') return malformed(capabilities)
    all.push(...capabilities)
  }
  return all
}

function malformed(reason: string): NotificationFault {
  return { code: ErrorCode.open, subcode: 0, data: new Uint8Array(0), reason }
}

function refuse(subcode: number, data: Uint8Array, reason: string): Decoded<OpenMessage> {
  return { ok: false, fault: { code: ErrorCode.open, subcode, data, reason } }
}
