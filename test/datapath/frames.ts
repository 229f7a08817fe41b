/** Builds Ethernet frames with right checksums and takes them apart again, independently of the code under test. */

export interface FrameOptions {
  readonly source: string
  readonly destination: string
  readonly protocol: number
  readonly payload: Uint8Array
  /** Octets of IP options, a multiple of 4. */
  readonly options?: Uint8Array
  readonly vlan?: number
  /** Flags and offset word of the IP header. */
  readonly fragment?: number
  readonly identification?: number
  readonly destinationMac?: readonly number[]
}

export const TCP = 6
export const UDP = 17
export const ICMP = 1
export const tcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const
export const clientMac = [2, 0, 0, 0, 0, 0x11] as const
/** The loopback device, on which test runs happen, has this address: so the frame is for us. */
export const ownMac = [0, 0, 0, 0, 0, 0] as const
export const moreFragments = 0x2000

export function ipOctets(text: string): number[] {
  return text.split('.').map(Number)
}

/** Internet checksum (RFC 1071) over the octets; 0 when they contain a right one. */
export function checksum(...parts: readonly ArrayLike<number>[]): number {
  const octets = parts.flatMap((part) => Array.from(part))
  if (octets.length % 2 === 1) octets.push(0)
  let sum = 0
  for (let i = 0; i < octets.length; i += 2) sum += (octets[i] ?? 0) * 256 + (octets[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return 0xffff - sum
}

function pseudoHeader(source: string, destination: string, protocol: number, length: number): number[] {
  return [...ipOctets(source), ...ipOctets(destination), 0, protocol, length >> 8, length & 255]
}

export function frame(options: FrameOptions): Uint8Array {
  const extra = options.options ?? new Uint8Array()
  const header = new DataView(new ArrayBuffer(20 + extra.length))
  header.setUint8(0, 0x40 + header.byteLength / 4)
  header.setUint16(2, header.byteLength + options.payload.length)
  header.setUint16(4, options.identification ?? 1)
  header.setUint16(6, options.fragment ?? 0)
  header.setUint8(8, 63)
  header.setUint8(9, options.protocol)
  ipOctets(options.source).forEach((octet, i) => header.setUint8(12 + i, octet))
  ipOctets(options.destination).forEach((octet, i) => header.setUint8(16 + i, octet))
  new Uint8Array(header.buffer).set(extra, 20)
  header.setUint16(10, checksum(new Uint8Array(header.buffer)))
  const tag = options.vlan === undefined ? [] : [0x81, 0, options.vlan >> 8, options.vlan & 255]
  return Uint8Array.from([
    ...(options.destinationMac ?? ownMac),
    ...clientMac,
    ...tag,
    8,
    0,
    ...new Uint8Array(header.buffer),
    ...options.payload,
  ])
}

export interface Endpoints {
  readonly source: string
  readonly destination: string
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface TcpOptions extends Endpoints {
  readonly flags: number
  readonly seq?: number
  readonly ack?: number
  readonly data?: Uint8Array
}

export function tcpSegment(options: TcpOptions): Uint8Array {
  const data = options.data ?? new Uint8Array()
  const segment = new Uint8Array(20 + data.length)
  const view = new DataView(segment.buffer)
  view.setUint16(0, options.sourcePort)
  view.setUint16(2, options.destinationPort)
  view.setUint32(4, options.seq ?? 1000)
  view.setUint32(8, options.ack ?? 0)
  view.setUint8(12, 0x50)
  view.setUint8(13, options.flags)
  view.setUint16(14, 65535)
  segment.set(data, 20)
  view.setUint16(16, checksum(pseudoHeader(options.source, options.destination, TCP, segment.length), segment))
  return segment
}

export interface UdpOptions extends Endpoints {
  readonly data?: Uint8Array
  /** A checksum of zero: none (RFC 768). */
  readonly noChecksum?: boolean
}

export function udpDatagram(options: UdpOptions): Uint8Array {
  const data = options.data ?? new Uint8Array()
  const datagram = new Uint8Array(8 + data.length)
  const view = new DataView(datagram.buffer)
  view.setUint16(0, options.sourcePort)
  view.setUint16(2, options.destinationPort)
  view.setUint16(4, datagram.length)
  datagram.set(data, 8)
  const sum = checksum(pseudoHeader(options.source, options.destination, UDP, datagram.length), datagram)
  view.setUint16(6, options.noChecksum === true ? 0 : sum === 0 ? 0xffff : sum)
  return datagram
}

export function tcpFrame(options: TcpOptions & Partial<FrameOptions>): Uint8Array {
  return frame({ ...options, protocol: TCP, payload: tcpSegment(options) })
}

export function udpFrame(options: UdpOptions & Partial<FrameOptions>): Uint8Array {
  return frame({ ...options, protocol: UDP, payload: udpDatagram(options) })
}

/** ICMP message: type, code, the rest of the header, data. */
export function icmpMessage(type: number, code: number, rest: number, data: Uint8Array): Uint8Array {
  const message = new Uint8Array(8 + data.length)
  const view = new DataView(message.buffer)
  view.setUint8(0, type)
  view.setUint8(1, code)
  view.setUint32(4, rest)
  message.set(data, 8)
  view.setUint16(2, checksum(message))
  return message
}

export interface Parsed extends Endpoints {
  readonly protocol: number
  readonly l3: number
  readonly l4: number
  readonly totalLength: number
  readonly ttl: number
  readonly headerLength: number
  readonly destinationMac: readonly number[]
  readonly sourceMac: readonly number[]
  readonly isIpChecksumRight: boolean
  /** For TCP, UDP (with a checksum) and ICMP. */
  readonly isL4ChecksumRight: boolean
  readonly view: DataView
  readonly payload: Uint8Array
}

const dotted = (octets: Uint8Array): string => octets.join('.')

export function parse(bytes: Uint8Array, l3 = bytes[12] === 0x81 ? 18 : 14): Parsed {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const headerLength = (view.getUint8(l3) & 15) * 4
  const l4 = l3 + headerLength
  const totalLength = view.getUint16(l3 + 2)
  const protocol = view.getUint8(l3 + 9)
  const [source, destination] = [dotted(bytes.subarray(l3 + 12, l3 + 16)), dotted(bytes.subarray(l3 + 16, l3 + 20))]
  const payload = bytes.subarray(l4, l3 + totalLength)
  const pseudo = protocol === ICMP ? [] : pseudoHeader(source, destination, protocol, payload.length)
  return {
    protocol,
    l3,
    l4,
    totalLength,
    headerLength,
    source,
    destination,
    view,
    payload,
    ttl: view.getUint8(l3 + 8),
    sourcePort: view.getUint16(l4),
    destinationPort: view.getUint16(l4 + 2),
    destinationMac: [...bytes.subarray(0, 6)],
    sourceMac: [...bytes.subarray(6, 12)],
    isIpChecksumRight: checksum(bytes.subarray(l3, l4)) === 0,
    isL4ChecksumRight: checksum(pseudo, payload) === 0,
  }
}
