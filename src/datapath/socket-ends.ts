/**
 * The end of sockets that were led to a backend which is gone. Each is listed with what it keeps of its connection, so
 * that none is met that was not led: two sockets may have one peer.
 *
 *     UDP: led.bpf.c ---.
 *     TCP: sock_diag ---+-> led to its peer? gone? -> SOCK_DESTROY by its cookie
 */
import { formatAddress, unmapped } from '../ip/address.ts'
import { createIterator, readIterator } from '../sys/bpf-attach.ts'
import { type BpfObject, closeFd } from '../sys/bpf.ts'
import { withinNetwork } from '../sys/network-namespace.ts'
import { endSocket, type NamedSocket, peerOf, peerText, tcpSocketsWith } from '../sys/sock-diag.ts'
import type { LedSocket } from './datapath.ts'
import { decodeEndpoint, socketOffsets, socketSizes } from './socket-layout.ts'

/** struct socket_led of bpf/socket.h: struct inet_diag_sockid, the family, and two `struct endpoint`. */
const led = { family: 48, pair: 52, bytes: 92 } as const

/** A socket, and what it keeps: the frontend and its backend, two `struct endpoint`. */
type Kept = readonly [socket: NamedSocket, pair: Uint8Array]

/** Some microseconds each, and some tens of them. */
const mostInPart = { looked: 2048, tried: 256 } as const

/** Thousands of sockets may be led alike: each such kind is judged once. */
class Gone {
  readonly #isGone: (socket: LedSocket) => boolean
  readonly #judged = new Map<string, boolean>()

  constructor(isGone: (socket: LedSocket) => boolean) {
    this.#isGone = isGone
  }

  has(each: Kept): boolean {
    const kind = kindOf(each)
    const known = this.#judged.get(kind)
    if (known !== undefined) return known
    const socket = ledBy(each)
    const isNobody = socket !== undefined && this.#isGone(socket)
    this.#judged.set(kind, isNobody)
    return isNobody
  }
}

export class LedSockets {
  readonly #storageFd: number
  readonly #object: BpfObject
  readonly #iterator: number

  /** `storageFd`: the map `sockets_connected`. Of `object`, which it closes, the program that lists UDP sockets. */
  constructor(storageFd: number, object: BpfObject) {
    this.#storageFd = storageFd
    this.#object = object
    this.#iterator = createIterator(object.programFd('herald_led'))
  }

  /** As {@link SocketBalancer.endSockets}. Throws ERR_SYSCALL. */
  *end(protocol: LedSocket['protocol'], isGone: (socket: LedSocket) => boolean, network?: string): Generator<number> {
    const listed = protocol === 'UDP' ? this.#udp() : this.#tcp()
    let isOver = false
    const part = (): number => {
      // Judged anew in each part: the list may be of a while ago.
      const gone = new Gone(isGone)
      let [looked, tried, ended] = [0, 0, 0]
      for (; looked < mostInPart.looked && tried < mostInPart.tried; looked++) {
        const each = listed.next().value
        if (each === undefined) {
          isOver = true
          break
        }
        if (!gone.has(each)) continue
        tried++
        if (endSocket(each[0])) ended++
      }
      return ended
    }
    while (!isOver) yield network === undefined ? part() : withinNetwork(network, part)
  }

  close(): void {
    closeFd(this.#iterator)
    this.#object.close()
  }

  /** Listed when the first one is asked for. */
  *#udp(): Generator<Kept, undefined> {
    const all = readIterator(this.#iterator)
    for (let at = 0; at + led.bytes <= all.length; at += led.bytes) {
      const record = all.subarray(at, at + led.bytes)
      const family = new DataView(record.buffer, record.byteOffset).getUint32(led.family, true)
      yield [{ protocol: 'UDP', family, id: record.subarray(0, led.family) }, record.subarray(led.pair)]
    }
  }

  *#tcp(): Generator<Kept, undefined> {
    const { frontend } = socketOffsets.socket_connected
    for (const [socket, kept] of tcpSocketsWith(this.#storageFd))
      if (kept.length === socketSizes.connected) yield [socket, kept.subarray(frontend)]
  }
}

/** With one peer and one pair. */
function kindOf([socket, { buffer, byteOffset }]: Kept): string {
  return `${peerText(socket)}${Buffer.from(buffer, byteOffset, 2 * socketSizes.endpoint).toString('latin1')}`
}

/** undefined: it is connected to somebody else by now, or asked for its peer by that one's own name. */
function ledBy([socket, pair]: Kept): LedSocket | undefined {
  const [frontend, backend] = [decodeEndpoint(pair), decodeEndpoint(pair.subarray(socketSizes.endpoint))]
  const peer = peerOf(socket)
  const isOfPeer = backend.port === peer.port && backend.address === formatAddress(unmapped(peer.address))
  const isLed = backend.port !== frontend.port || backend.address !== frontend.address
  return isOfPeer && isLed ? { protocol: socket.protocol, frontend, backend } : undefined
}
