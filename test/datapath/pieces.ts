/** Sends a datagram as fragments in any order, past the stack of a place, whose order is always the right one. */
import { createSocket } from 'node:dgram'
import { checked, closeCall, interfaceIndex, libc } from '../../src/sys/libc.ts'
import { sendCall } from '../../src/sys/socket.ts'
import { cut, extension, frame, moreFragments, UDP, udpDatagram } from './frames.ts'

export interface Pieces {
  readonly device: string
  /** The link address of the router. */
  readonly destinationMac: readonly number[]
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly destinationPort: number
  readonly octets: number
  readonly pieceBytes: number
  readonly identification: number
  readonly order: readonly number[]
  /** The first fragment alone has options of this many octets, those of IPv6 for each router. */
  readonly optionBytes?: number
  /** Right before the first one come so many later fragments of nothing, as large. */
  readonly flood?: { readonly source: string; readonly count: number }
}

const packetFamily = 17 // AF_PACKET
const rawSocket = 3 // SOCK_RAW
const socketCall = libc.func('int socket(int family, int type, int protocol)')
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t length)')

export function sendFrames(device: string, frames: readonly Uint8Array[]): void {
  const fd = checked('socket', Number(socketCall(packetFamily, rawSocket, 0)))
  try {
    const address = new DataView(new ArrayBuffer(20))
    address.setUint16(0, packetFamily, true)
    address.setInt32(4, interfaceIndex(device), true)
    checked('bind', Number(bindCall(fd, new Uint8Array(address.buffer), address.byteLength)))
    for (const bytes of frames) checked('send', Number(sendCall(fd, bytes, bytes.length, 0)))
  } finally {
    closeCall(fd)
  }
}

function floodOf({ flood, destination, pieceBytes, destinationMac }: Pieces): readonly Uint8Array[] {
  const payload = new Uint8Array(pieceBytes)
  return Array.from({ length: flood?.count ?? 0 }, (_, identification) =>
    frame({
      ...{ source: flood?.source ?? '', destination, destinationMac, protocol: UDP, identification, payload },
      fragment: pieceBytes / 8 + moreFragments,
    }),
  )
}

/** No operation (RFC 791 3.1); one that nobody knows and everybody passes over (RFC 8200 4.2). */
function optionsOf(source: string, octets: number): Partial<Parameters<typeof frame>[0]> {
  if (octets === 0) return {}
  if (!source.includes(':')) return { options: new Uint8Array(octets).fill(1) }
  return {
    extensions: [[extension.hopByHop, Uint8Array.from([0, 0, 0x1e, octets - 4, ...new Uint8Array(octets - 4)])]],
  }
}

/** Resolves with what came back for it, or rejects after a second. */
export function sendPieces(pieces: Pieces): Promise<string> {
  const { source, destination, sourcePort, octets, pieceBytes, identification, destinationMac, order } = pieces
  const data = Uint8Array.from({ length: octets }, (_, i) => (i * 7 + identification) & 255)
  const datagram = udpDatagram({ ...pieces, data })
  const headers = { source, destination, identification, destinationMac }
  const [first = new Uint8Array(), ...later] = cut(datagram, pieceBytes, headers)
  const payload = datagram.slice(0, pieceBytes)
  const longer = { ...headers, protocol: UDP, payload, fragment: moreFragments }
  const { optionBytes = 0 } = pieces
  const frames = [optionBytes === 0 ? first : frame({ ...longer, ...optionsOf(source, optionBytes) }), ...later]
  const socket = createSocket(source.includes(':') ? 'udp6' : 'udp4')
  return new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('ETIMEDOUT')), 1_000)
    socket
      .once('message', (message) => resolve(message.equals(data) ? 'the same' : `another of ${message.length} octets`))
      .once('error', reject)
      .once('close', () => clearTimeout(timer))
      .bind(sourcePort, () =>
        sendFrames(
          pieces.device,
          order.flatMap((n) => [...(n === 0 ? floodOf(pieces) : []), frames[n] ?? new Uint8Array()]),
        ),
      )
  }).finally(() => socket.close())
}
