/**
 * Who attacks, from the client's side of the routers, with packets of its own making (raw sockets): floods, and packets
 * for flows of others whose addresses and ports it knows. A process told what to do (see told.ts).
 */
import { parseAddress } from '../../src/ip/address.ts'
import { AF_INET, openSocket, sendtoCall, SOCK_RAW, socketAddress } from '../../src/sys/socket.ts'
import { icmpMessage, ICMP, ipOctets, TCP, tcpFlag } from '../../test/datapath/frames.ts'
import { servicePort, tcpPort } from './ports.ts'
import { answerLines } from './told.ts'

export interface AttackedFlow {
  readonly localPort: number
  readonly address: string
  /** Of the pod that serves it. */
  readonly podAddress: string
}

export type AttackCommand =
  | { readonly do: 'flood'; readonly packets: number; readonly addresses: readonly string[] }
  | { readonly do: 'forge'; readonly client: string; readonly flows: readonly AttackedFlow[] }

const IPPROTO_RAW = 255
/** So many packets, then others may run. */
const burst = 512
const [ipBytes, tcpBytes] = [20, 20]
const socket = openSocket('raw socket', AF_INET, SOCK_RAW, IPPROTO_RAW)

interface Segment {
  readonly source: Uint8Array
  readonly destination: Uint8Array
  readonly sourcePort: number
  readonly destinationPort: number
  readonly flags: number
}

const packet = new Uint8Array(ipBytes + tcpBytes)
const view = new DataView(packet.buffer)

/** A header of IP with what follows it; the kernel writes its checksum. */
function writeHeader(into: Uint8Array, protocol: number, source: Uint8Array, destination: Uint8Array): void {
  const header = new DataView(into.buffer)
  header.setUint8(0, 0x45)
  header.setUint16(2, into.length)
  header.setUint8(8, 64)
  header.setUint8(9, protocol)
  into.set(source, 12)
  into.set(destination, 16)
}

/** Sequence numbers that nobody told it. */
function sendSegment({ source, destination, sourcePort, destinationPort, flags }: Segment, to: Uint8Array): void {
  writeHeader(packet, TCP, source, destination)
  view.setUint16(ipBytes, sourcePort)
  view.setUint16(ipBytes + 2, destinationPort)
  view.setUint32(ipBytes + 4, Math.floor(Math.random() * 2 ** 32))
  view.setUint32(ipBytes + 8, (flags & tcpFlag.ACK) === 0 ? 0 : Math.floor(Math.random() * 2 ** 32))
  view.setUint8(ipBytes + 12, 0x50)
  view.setUint8(ipBytes + 13, flags)
  view.setUint16(ipBytes + 14, 0xffff)
  view.setUint16(ipBytes + 16, 0)
  // RFC 9293 3.1: addresses, protocol and length are part of the sum.
  let sum = TCP + tcpBytes
  for (let at = 12; at < packet.length; at += 2) sum += view.getUint16(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  view.setUint16(ipBytes + 16, 0xffff - sum)
  send(packet, to)
}

/** A queue that is full loses it, as a wire does. */
function send(octets: Uint8Array, to: Uint8Array): void {
  sendtoCall(socket, octets, octets.length, 0, to, to.length)
}

const octetsOf = (address: string): Uint8Array => Uint8Array.from(ipOctets(address))
const placeOf = (address: string): Uint8Array => socketAddress(parseAddress(address) ?? 0, 0)
const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** As many SYNs from as many sources of 100.64.0.0/10. */
async function flood(packets: number, addresses: readonly string[]): Promise<number> {
  const targets = addresses.map((address) => ({ octets: octetsOf(address), place: placeOf(address) }))
  const source = Uint8Array.of(100, 64, 0, 0)
  for (let n = 0; n < packets; n++) {
    const target = targets[n % targets.length]
    if (target === undefined) break
    source.set([64 + ((n >>> 16) & 63), (n >>> 8) & 255, n & 255], 1)
    const ports = { sourcePort: 1_024 + (n % 60_000), destinationPort: servicePort }
    sendSegment({ source, destination: target.octets, ...ports, flags: tcpFlag.SYN }, target.place)
    if (n % burst === 0) await othersTurn()
  }
  return packets
}

const forgedFlags = [
  tcpFlag.SYN,
  tcpFlag.RST,
  tcpFlag.RST | tcpFlag.ACK,
  tcpFlag.FIN | tcpFlag.ACK,
  tcpFlag.SYN | tcpFlag.ACK,
  tcpFlag.FIN,
] as const
/** Type and code: no route to the host, no such port, too big, time exceeded. */
const forgedErrors = [
  [3, 1],
  [3, 3],
  [3, 4],
  [11, 0],
] as const

/** For each flow every kind of segment, to the VIP and to the pod itself, and errors about what the VIP had sent. */
async function forge(client: string, flows: readonly AttackedFlow[]): Promise<number> {
  const source = octetsOf(client)
  let sent = 0
  for (const [n, { localPort: sourcePort, address, podAddress }] of flows.entries()) {
    for (const [there, destinationPort] of [
      [address, servicePort],
      [podAddress, tcpPort],
    ] as const) {
      const [destination, place] = [octetsOf(there), placeOf(there)]
      for (const flags of forgedFlags) sendSegment({ source, destination, sourcePort, destinationPort, flags }, place)
    }
    const about = answerTo(source, octetsOf(address), sourcePort)
    for (const [type, code] of forgedErrors) {
      const message = icmpMessage(type, code, type === 3 && code === 4 ? 68 : 0, about)
      const error = new Uint8Array(ipBytes + message.length)
      error.set(message, ipBytes)
      writeHeader(error, ICMP, source, octetsOf(address))
      send(error, placeOf(address))
    }
    sent += 2 * forgedFlags.length + forgedErrors.length
    if (n % 16 === 15) await othersTurn()
  }
  return sent
}

/** The beginning of a packet from the VIP to the client, as an error carries it. */
function answerTo(client: Uint8Array, vip: Uint8Array, port: number): Uint8Array {
  const answer = new Uint8Array(ipBytes + 8)
  writeHeader(answer, TCP, vip, client)
  const ports = new DataView(answer.buffer, ipBytes)
  ports.setUint16(0, servicePort)
  ports.setUint16(2, port)
  ports.setUint32(4, Math.floor(Math.random() * 2 ** 32))
  return answer
}

if (import.meta.main)
  answerLines((command: AttackCommand) =>
    command.do === 'flood' ? flood(command.packets, command.addresses) : forge(command.client, command.flows),
  )
