/**
 * A first packet for a frontend, through the program that serves: what was written and read back is proved by a packet
 * before anything is announced. It is marked, so that it leaves no flow and is not counted.
 */
import { type Backend, type Frontend, isAnyNodeAddress, type Protocol } from '../desired/model.ts'
import { HeraldError } from '../errors.ts'
import { addressBytes, addressFromBytes, formatAddress, parseAddress } from '../ip/address.ts'
import { runProgram } from '../sys/bpf.ts'
import type { Probes } from './attachment.ts'
import { ipProtocols } from './layout.ts'

interface Place {
  readonly id: string
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
}

/** PROBE_MARK in bpf/backend.h. */
const probeMark = 0x4845_5052
const passVerdict = -1
const ethernetBytes = 14
/** Of the transport header alone. An INIT of SCTP is told by its tag of zeros, and nobody reads on. */
const headerBytes: Readonly<Record<Protocol, number>> = { TCP: 20, UDP: 8, SCTP: 12 }
const synFlag = 2

interface IpHeader {
  readonly etherType: number
  readonly bytes: number
  /** Where the addresses are in it: the source, and behind it the destination. */
  readonly addressesAt: number
  readonly addressBytes: number
  /** What is neither address; `payload` in octets. */
  readonly write: (view: DataView, protocol: number, payload: number) => void
  /** Of networks for documentation (RFC 5737, RFC 3849): no client has them. One may be an address of a lab. */
  readonly sources: readonly [string, string]
}

const headers: Readonly<Record<'ipv4' | 'ipv6', IpHeader>> = {
  ipv4: {
    etherType: 0x0800,
    bytes: 20,
    addressesAt: 12,
    addressBytes: 4,
    write: (view, protocol, payload) => {
      view.setUint8(0, 0x45)
      view.setUint16(2, 20 + payload)
      view.setUint8(8, 64)
      view.setUint8(9, protocol)
    },
    sources: ['203.0.113.254', '192.0.2.254'],
  },
  ipv6: {
    etherType: 0x86dd,
    bytes: 40,
    addressesAt: 8,
    addressBytes: 16,
    write: (view, protocol, payload) => {
      view.setUint8(0, 0x60)
      view.setUint16(4, payload)
      view.setUint8(6, protocol)
      view.setUint8(7, 64)
    },
    sources: ['2001:db8:4845:5052::fe', '2001:db8:4845:5053::fe'],
  },
}

const headerOf = (address: string): IpHeader => headers[address.includes(':') ? 'ipv6' : 'ipv4']

/** Of TEST-NET-1, while nothing is served. */
const documented = { id: '', address: '192.0.2.1', protocol: 'TCP', port: 80 } as const
const mostProbes = 4

/** Throws ERR_READ_BACK when a first packet does not reach one of the backends. Nothing is asked of none. */
export function probe(program: number, place: Place, backends: readonly Backend[]): void {
  if (backends.length === 0) return
  const header = headerOf(place.address)
  const { verdict, packet } = runProgram(program, firstPacketAgain(place, header), 1, probeMark)
  const at = ethernetBytes + header.addressesAt + header.addressBytes
  const address = addressFromBytes(packet.subarray(at, at + header.addressBytes))
  const portAt = ethernetBytes + header.bytes + 2
  const port = ((packet[portAt] ?? 0) << 8) | (packet[portAt + 1] ?? 0)
  const isIt = (each: Backend): boolean => each.port === port && parseAddress(each.address) === address
  if (verdict === passVerdict && backends.some(isIt)) return
  const text = formatAddress(address)
  const fate =
    verdict === passVerdict
      ? `goes to ${text.includes(':') ? `[${text}]` : text}:${port}`
      : `is answered or dropped (verdict ${verdict})`
  throw new HeraldError('ERR_READ_BACK', `a first packet to ${place.id} ${fate}, and reaches no backend`)
}

/** First packets to some frontends, and what their backends would answer from: for programs that come before ours. */
export function probesOf(frontends: readonly (Place & { readonly backends: readonly Backend[] })[]): Probes {
  const some = frontends.filter(({ address }) => !isAnyNodeAddress(address)).slice(0, mostProbes)
  const places = some.length > 0 ? some : [{ ...documented, backends: [documented] }]
  return {
    ingress: places.map((place) => firstPacket(place, headerOf(place.address))),
    egress: places.flatMap(({ protocol, backends }) =>
      backends.slice(0, 1).map(({ address, port }) => {
        const header = headerOf(address)
        return turned(firstPacket({ id: '', protocol, address, port }, header), header)
      }),
    ),
  }
}

/** The other way round. */
function turned(frame: Uint8Array, header: IpHeader): Uint8Array {
  const reply = frame.slice()
  for (const [offset, bytes] of [
    [ethernetBytes + header.addressesAt, header.addressBytes],
    [ethernetBytes + header.bytes, 2],
  ] as const) {
    reply.set(frame.subarray(offset + bytes, offset + 2 * bytes), offset)
    reply.set(frame.subarray(offset, offset + bytes), offset + bytes)
  }
  return reply
}

/** By protocol and family: thousands of first packets differ in address and port alone. */
const drafts = new Map<string, Uint8Array>()

/** As {@link firstPacket}; written over by the next one. */
function firstPacketAgain(place: Place, header: IpHeader): Uint8Array {
  const { address, protocol, port } = place
  const name = `${protocol} ${header.bytes}`
  const frame = drafts.get(name) ?? firstPacket(place, header)
  drafts.set(name, frame)
  setAddresses(frame, address, header)
  const portAt = ethernetBytes + header.bytes + 2
  frame[portAt] = port >> 8
  frame[portAt + 1] = port & 0xff
  return frame
}

/** Ethernet to the loopback device, on which test runs happen. Checksums are none that anybody verifies. */
function firstPacket({ address, protocol, port }: Place, header: IpHeader): Uint8Array {
  const payload = headerBytes[protocol]
  const frame = new Uint8Array(ethernetBytes + header.bytes + payload)
  new DataView(frame.buffer).setUint16(12, header.etherType)
  header.write(new DataView(frame.buffer, ethernetBytes), ipProtocols[protocol], payload)
  setAddresses(frame, address, header)
  const transport = new DataView(frame.buffer, ethernetBytes + header.bytes)
  transport.setUint16(0, 65_535)
  transport.setUint16(2, port)
  if (protocol === 'TCP') {
    transport.setUint8(12, 0x50)
    transport.setUint8(13, synFlag)
  } else if (protocol === 'UDP') transport.setUint16(4, payload)
  return frame
}

/** What comes from where it goes to is dropped. */
function setAddresses(
  frame: Uint8Array,
  address: string,
  { sources, addressesAt, addressBytes: size }: IpHeader,
): void {
  const source = sources.find((each) => each !== address) ?? ''
  for (const [i, text] of [source, address].entries())
    frame.set(addressBytes(parseAddress(text) ?? 0), ethernetBytes + addressesAt + i * size)
}

/** Where packets for a frontend come; undefined: nowhere yet. */
export function placeOf(frontend: Frontend, nodePorts: readonly string[]): Frontend | undefined {
  if (!isAnyNodeAddress(frontend.address)) return frontend
  const isIpv6 = frontend.address.includes(':')
  const address = nodePorts.find((each) => each.includes(':') === isIpv6)
  return address === undefined ? undefined : { ...frontend, address }
}
