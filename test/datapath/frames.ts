/** Builds Ethernet frames with right checksums and takes them apart again, independently of the code under test. */
import { addressFromBytes, formatAddress } from '../../src/ip/address.ts'

export interface FrameOptions {
  readonly source: string
  readonly destination: string
  readonly protocol: number
  readonly payload: Uint8Array
  /** Octets of IP options, a multiple of 4; over IPv6 a header of as many destination options. */
  readonly options?: Uint8Array
  /** IPv6: extension headers in front of all others, each with its first two octets left open. */
  readonly extensions?: readonly (readonly [type: number, octets: Uint8Array])[]
  readonly vlan?: number
  /** Flags and offset word of the IPv4 header; over IPv6 it makes a fragment header. */
  readonly fragment?: number
  readonly identification?: number
  readonly destinationMac?: readonly number[]
}

export const TCP = 6
export const UDP = 17
export const SCTP = 132
export const ICMP = 1
export const ICMPV6 = 58
export const extension = { hopByHop: 0, routing: 43, fragment: 44, destination: 60 } as const
export const tcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const
export const clientMac = [2, 0, 0, 0, 0, 0x11] as const
/** The loopback device, on which test runs happen, has this address: so the frame is for us. */
export const ownMac = [0, 0, 0, 0, 0, 0] as const
export const moreFragments = 0x2000

export function ipOctets(text: string): number[] {
  if (!text.includes(':')) return text.split('.').map(Number)
  const mapped = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)
  const tail = mapped?.[2]?.split('.').map(Number) ?? []
  const wordsOf = (part: string): number[] =>
    part
      .split(':')
      .filter((word) => word !== '')
      .flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255])
  const [before = '', after] = (mapped?.[1] ?? text).split('::')
  const [head, rest] = [wordsOf(before), [...wordsOf(after ?? ''), ...tail]]
  return [...head, ...new Array<number>(16 - head.length - rest.length).fill(0), ...rest]
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
  const addresses = [...ipOctets(source), ...ipOctets(destination)]
  // RFC 8200 8.1, RFC 9293 3.1.
  if (source.includes(':')) return [...addresses, 0, 0, length >> 8, length & 255, 0, 0, 0, protocol]
  return [...addresses, 0, protocol, length >> 8, length & 255]
}

/** Where IPv6 headers end, each with the number of the next one written into it. */
function chainOf({ extensions = [], options, fragment, identification, protocol }: FrameOptions): {
  readonly first: number
  readonly octets: readonly number[]
} {
  const chain = extensions.map(([type, octets]): readonly [number, number[]] => [type, [...octets]])
  if (options !== undefined) {
    const length = Math.ceil((options.length + 4) / 8) * 8
    chain.push([extension.destination, [0, 0, 1, length - 4, ...new Array<number>(length - 4).fill(0)]])
  }
  for (const [, octets] of chain) octets[1] = octets.length / 8 - 1
  if (fragment !== undefined) {
    const word = ((fragment & 0x1fff) << 3) | (fragment & moreFragments ? 1 : 0)
    chain.push([extension.fragment, [0, 0, word >> 8, word & 255, 0, 0, 0, identification ?? 1]])
  }
  for (const [i, [, octets]] of chain.entries()) octets[0] = chain[i + 1]?.[0] ?? protocol
  return { first: chain[0]?.[0] ?? protocol, octets: chain.flatMap(([, octets]) => octets) }
}

function ipv6Packet(options: FrameOptions): readonly number[] {
  const { first, octets } = chainOf(options)
  const length = octets.length + options.payload.length
  const addresses = [...ipOctets(options.source), ...ipOctets(options.destination)]
  return [0x60, 0, 0, 0, length >> 8, length & 255, first, 63, ...addresses, ...octets, ...options.payload]
}

export function frame(options: FrameOptions): Uint8Array {
  const tag = options.vlan === undefined ? [] : [0x81, 0, options.vlan >> 8, options.vlan & 255]
  const ethernet = [...(options.destinationMac ?? ownMac), ...clientMac, ...tag]
  if (options.source.includes(':')) return Uint8Array.from([...ethernet, 0x86, 0xdd, ...ipv6Packet(options)])
  return Uint8Array.from([...ethernet, 8, 0, ...ipv4Packet(options)])
}

function ipv4Packet(options: FrameOptions): readonly number[] {
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
  return [...new Uint8Array(header.buffer), ...options.payload]
}

/** What is in fragments of one packet, cut into pieces of so many octets. */
export function cut(
  payload: Uint8Array,
  pieceBytes: number,
  options: Partial<FrameOptions> & Pick<FrameOptions, 'source' | 'destination'>,
): readonly Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < payload.length; at += pieceBytes) {
    const isLast = at + pieceBytes >= payload.length
    const fragment = at / 8 + (isLast ? 0 : moreFragments)
    pieces.push(frame({ protocol: UDP, ...options, payload: payload.slice(at, at + pieceBytes), fragment }))
  }
  return pieces
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

/** Castagnoli's CRC, over the octets as they are with a checksum of zeros (RFC 9260 6.8, appendix A). */
export function crc32c(octets: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const octet of octets) {
    crc ^= octet
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1
  }
  return ~crc >>> 0
}

export interface SctpOptions extends Endpoints {
  /** The verification tag: zero in an INIT alone. */
  readonly tag: number
  /** Chunks, each from its type on. */
  readonly chunks: Uint8Array
}

export function sctpPacket(options: SctpOptions): Uint8Array {
  const packet = new Uint8Array(12 + options.chunks.length)
  const view = new DataView(packet.buffer)
  view.setUint16(0, options.sourcePort)
  view.setUint16(2, options.destinationPort)
  view.setUint32(4, options.tag)
  packet.set(options.chunks, 12)
  view.setUint32(8, crc32c(packet), true)
  return packet
}

export function sctpFrame(options: SctpOptions & Partial<FrameOptions>): Uint8Array {
  return frame({ ...options, protocol: SCTP, payload: sctpPacket(options) })
}

/** ICMP message: type, code, the rest of the header, data; over IPv6 with the addresses of its packet. */
export function icmpMessage(
  type: number,
  code: number,
  rest: number,
  data: Uint8Array,
  packet?: { readonly source: string; readonly destination: string },
): Uint8Array {
  const message = new Uint8Array(8 + data.length)
  const view = new DataView(message.buffer)
  view.setUint8(0, type)
  view.setUint8(1, code)
  view.setUint32(4, rest)
  message.set(data, 8)
  const isIpv6 = packet?.source.includes(':') === true
  const pseudo = isIpv6 ? pseudoHeader(packet.source, packet.destination, ICMPV6, message.length) : []
  view.setUint16(2, checksum(pseudo, message))
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

interface ParsedHeader {
  readonly protocol: number
  readonly headerLength: number
  readonly totalLength: number
  readonly source: string
  readonly destination: string
  readonly ttl: number
  readonly isIpChecksumRight: boolean
}

const dotted = (octets: Uint8Array): string => octets.join('.')

function parseIpv4Header(octets: Uint8Array): ParsedHeader {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  const headerLength = (view.getUint8(0) & 15) * 4
  return {
    headerLength,
    totalLength: view.getUint16(2),
    ttl: view.getUint8(8),
    protocol: view.getUint8(9),
    source: dotted(octets.subarray(12, 16)),
    destination: dotted(octets.subarray(16, 20)),
    isIpChecksumRight: checksum(octets.subarray(0, headerLength)) === 0,
  }
}

/** IPv6 has no checksum of its header: none is wrong. */
function parseIpv6Header(octets: Uint8Array): ParsedHeader {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  let [protocol, headerLength] = [view.getUint8(6), 40]
  while (Object.values<number>(extension).includes(protocol)) {
    const length = protocol === extension.fragment ? 8 : (view.getUint8(headerLength + 1) + 1) * 8
    protocol = view.getUint8(headerLength)
    headerLength += length
  }
  return {
    headerLength,
    totalLength: 40 + view.getUint16(4),
    ttl: view.getUint8(7),
    protocol,
    source: formatAddress(addressFromBytes(octets.subarray(8, 24))),
    destination: formatAddress(addressFromBytes(octets.subarray(24, 40))),
    isIpChecksumRight: true,
  }
}

export function parse(bytes: Uint8Array, l3 = bytes[12] === 0x81 ? 18 : 14): Parsed {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const isIpv6 = view.getUint8(l3) >> 4 === 6
  const header = (isIpv6 ? parseIpv6Header : parseIpv4Header)(bytes.subarray(l3))
  const { headerLength, totalLength, protocol, source, destination } = header
  const l4 = l3 + headerLength
  const payload = bytes.subarray(l4, l3 + totalLength)
  const pseudo = protocol === ICMP ? [] : pseudoHeader(source, destination, protocol, payload.length)
  return {
    ...header,
    l3,
    l4,
    view,
    payload,
    sourcePort: view.getUint16(l4),
    destinationPort: view.getUint16(l4 + 2),
    destinationMac: [...bytes.subarray(0, 6)],
    sourceMac: [...bytes.subarray(6, 12)],
    isL4ChecksumRight: checksum(pseudo, payload) === 0,
  }
}

/** A frame that is one hop less far, or so many more: with another TTL (IPv4) or hop limit. */
export function withLifetime(bytes: Uint8Array, change: (lifetime: number) => number): Uint8Array {
  const isIpv4 = (bytes[14] ?? 0) >> 4 === 4
  const [packet, at] = [bytes.slice(), isIpv4 ? 22 : 21]
  packet[at] = change(packet[at] ?? 0)
  if (!isIpv4) return packet
  const end = 14 + ((packet[14] ?? 0) & 15) * 4
  packet.set([0, 0], 24)
  const sum = checksum(packet.subarray(14, end))
  packet.set([sum >> 8, sum & 255], 24)
  return packet
}
