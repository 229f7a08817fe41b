/** A capture file of one TCP connection to port 179, as Wireshark reads it: one segment per entry, raw IPv4 packets. */

const bgpPort = 179
const clientPort = 50179
/** Link type of packets without a link header. */
const rawIp = 101
const flags = { syn: 0x02, ack: 0x10, push: 0x08 } as const

/** The bytes of the file; `segments` travel one way, each in a packet of its own. */
export function captureFile(segments: readonly Uint8Array[]): Uint8Array {
  const head = Buffer.alloc(24)
  head.writeUInt32LE(0xa1b2c3d4, 0)
  head.writeUInt16LE(2, 4)
  head.writeUInt16LE(4, 6)
  head.writeUInt32LE(0x40000, 16)
  head.writeUInt32LE(rawIp, 20)
  const packets = [tcpPacket(new Uint8Array(0), 1000, true)]
  let sequence = 1001
  for (const segment of segments) {
    packets.push(tcpPacket(segment, sequence, false))
    sequence += segment.length
  }
  return Buffer.concat([head, ...packets.flatMap((packet, i) => [recordHead(packet.length, i), packet])])
}

function recordHead(length: number, second: number): Buffer {
  const head = Buffer.alloc(16)
  head.writeUInt32LE(1_700_000_000 + second, 0)
  head.writeUInt32LE(length, 8)
  head.writeUInt32LE(length, 12)
  return head
}

/** Checksums stay zero: whoever reads captures expects the card to have filled them in. */
function tcpPacket(payload: Uint8Array, sequence: number, isFirst: boolean): Buffer {
  const packet = Buffer.alloc(40)
  packet.writeUInt8(0x45, 0)
  packet.writeUInt16BE(40 + payload.length, 2)
  packet.writeUInt8(255, 8)
  packet.writeUInt8(6, 9)
  packet.writeUInt32BE(0x0a000001, 12)
  packet.writeUInt32BE(0x0a000002, 16)
  packet.writeUInt16BE(clientPort, 20)
  packet.writeUInt16BE(bgpPort, 22)
  packet.writeUInt32BE(sequence, 24)
  packet.writeUInt32BE(isFirst ? 0 : 1, 28)
  packet.writeUInt8(5 << 4, 32)
  packet.writeUInt8(isFirst ? flags.syn : flags.ack | flags.push, 33)
  packet.writeUInt16BE(65535, 34)
  return Buffer.concat([packet, payload])
}
