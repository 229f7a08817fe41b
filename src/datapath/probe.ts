/**
 * A first packet for a frontend, through the program that serves: what was written and read back is proved by a packet
 * before anything is announced. It is marked, so that it leaves no flow and is not counted.
 */
import type { Backend, Protocol } from '../desired/model.ts'
import { HeraldError } from '../errors.ts'
import { parseIpv4, formatAddress } from '../ip/address.ts'
import { runProgram } from '../sys/bpf.ts'

interface Place {
  readonly id: string
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
}

/** PROBE_MARK in bpf/backend.h. */
const probeMark = 0x4845_5052
const passVerdict = -1
const [ethernetBytes, ipv4Bytes, tcpBytes, udpBytes] = [14, 20, 20, 8]
const synFlag = 2
/** Of TEST-NET-3 (RFC 5737): no client has it. */
const probeSource = 0xcb00_71fe

/** Throws ERR_READ_BACK when a first packet does not reach one of the backends. Nothing is asked of none. */
export function probe(program: number, place: Place, backends: readonly Backend[]): void {
  if (backends.length === 0) return
  const { verdict, packet } = runProgram(program, firstPacket(place), 1, probeMark)
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength)
  const address = formatAddress(view.getUint32(ethernetBytes + 16))
  const port = view.getUint16(ethernetBytes + ipv4Bytes + 2)
  if (verdict === passVerdict && backends.some((each) => each.address === address && each.port === port)) return
  const fate = verdict === passVerdict ? `goes to ${address}:${port}` : `is answered or dropped (verdict ${verdict})`
  throw new HeraldError('ERR_READ_BACK', `a first packet to ${place.id} ${fate}, and reaches no backend`)
}

/** Ethernet to the loopback device, on which test runs happen. Checksums are none that anybody verifies. */
function firstPacket({ address, protocol, port }: Place): Uint8Array {
  const isTcp = protocol === 'TCP'
  const length = ipv4Bytes + (isTcp ? tcpBytes : udpBytes)
  const frame = new Uint8Array(ethernetBytes + length)
  const view = new DataView(frame.buffer)
  view.setUint16(12, 0x0800)
  const ip = ethernetBytes
  view.setUint8(ip, 0x45)
  view.setUint16(ip + 2, length)
  view.setUint8(ip + 8, 64)
  view.setUint8(ip + 9, isTcp ? 6 : 17)
  view.setUint32(ip + 12, probeSource)
  view.setUint32(ip + 16, parseIpv4(address) ?? 0)
  const transport = ip + ipv4Bytes
  view.setUint16(transport, 65_535)
  view.setUint16(transport + 2, port)
  if (isTcp) {
    view.setUint8(transport + 12, 0x50)
    view.setUint8(transport + 13, synFlag)
  } else view.setUint16(transport + 4, udpBytes)
  return frame
}
