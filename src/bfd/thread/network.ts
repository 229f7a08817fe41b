/** The sockets of BFD: one for each family and kind of path that takes packets, and one for each session that sends. */
import { randomInt } from 'node:crypto'
import { HeraldError, messageOf } from '../../errors.ts'
import { familyOfText, parseAddress } from '../../ip/address.ts'
import {
  closeDatagramSocket,
  DatagramReader,
  type DatagramReceiver,
  droppedByKernel,
  openReceiver,
  openSender,
  sendDatagram,
} from '../../sys/datagram-socket.ts'
import { filterDatagrams } from '../../sys/datagram-filter.ts'
import { yourDiscriminatorAt } from '../packet.ts'
import type { BfdPath } from '../path.ts'
import { type BfdAdmission, type BfdDatagram, type BfdLink, directTtl } from '../sessions.ts'

/** RFC 5881 4, RFC 5883 5. */
const singleHopPort = 3784
const multihopPort = 4784
/** RFC 5881 4: the source port of a session, the same for as long as it lasts. */
const [firstPort, lastPort] = [49_152, 65_535]
/** Ports are tried until one is free. */
const maxPorts = 64
/** A port that could not be had is tried again after so long. */
const retryMs = 5_000

interface Place {
  readonly isIpv4: boolean
  readonly isMultihop: boolean
  receiver: DatagramReceiver | undefined
  problem: string | undefined
  retryAtMs: number
}

const portOf = (isMultihop: boolean): number => (isMultihop ? multihopPort : singleHopPort)

const placeOf = ({ peer, isMultihop }: BfdPath): string => `${familyOfText(peer)} ${portOf(isMultihop)}`

export class BfdNetwork {
  readonly #places = new Map<string, Place>()
  readonly #reader = new DatagramReader()
  #admission: BfdAdmission = { peers: [], discriminators: [] }

  /** Descriptors to wait for. */
  get fds(): readonly number[] {
    return [...this.#places.values()].flatMap(({ receiver }) => receiver?.fd ?? [])
  }

  /** When {@link retry} has something to do. */
  get dueMs(): number {
    const waits = [...this.#places.values()].filter(({ receiver }) => receiver === undefined)
    return Math.min(Number.POSITIVE_INFINITY, ...waits.map(({ retryAtMs }) => retryAtMs))
  }

  get droppedByKernel(): number {
    return [...this.#places.values()].reduce((sum, { receiver }) => sum + (receiver ? droppedByKernel(receiver) : 0), 0)
  }

  /** Packets for paths of this kind are taken from now on, if the port can be had. */
  need(path: BfdPath, nowMs: number): void {
    const key = placeOf(path)
    if (this.#places.has(key)) return
    const isIpv4 = familyOfText(path.peer) === 'ipv4'
    const place = { isIpv4, isMultihop: path.isMultihop, receiver: undefined, problem: undefined, retryAtMs: nowMs }
    this.#places.set(key, place)
    open(place, this.#admission, nowMs)
  }

  /** From now on packets of others, which any pod may send as many of as it likes, take no room of those of peers. */
  admit(admission: BfdAdmission): void {
    this.#admission = admission
    for (const place of this.#places.values()) restrict(place, admission)
  }

  /** Why packets of this kind are not received. */
  problem(path: BfdPath): string | undefined {
    return this.#places.get(placeOf(path))?.problem
  }

  /** Answers whether a port could be had that could not before. */
  retry(nowMs: number): boolean {
    if (nowMs < this.dueMs) return false
    const waits = [...this.#places.values()].filter(({ receiver }) => receiver === undefined)
    for (const place of waits) if (nowMs >= place.retryAtMs) open(place, this.#admission, nowMs)
    return waits.some(({ receiver }) => receiver !== undefined)
  }

  /** Hands over what has come, at most so many batches of each socket: what is over waits for the next turn. */
  read(maxBatches: number, take: (datagram: BfdDatagram) => void): void {
    for (const { receiver, isMultihop } of this.#places.values()) {
      if (receiver === undefined) continue
      for (let batch = 0; batch < maxBatches; batch++)
        if (!this.#reader.read(receiver, (datagram) => take({ ...datagram, isMultihop }))) break
    }
  }

  /** Throws ERR_SYSCALL. */
  openLink({ peer, source, device, isMultihop }: BfdPath): BfdLink {
    const [to, from] = [parseAddress(peer), source === undefined ? undefined : parseAddress(source)]
    if (to === undefined) throw new HeraldError('ERR_SYSCALL', `${peer} is no address`)
    const sender = openSender(to, portOf(isMultihop), {
      ports: Array.from({ length: maxPorts }, () => randomInt(firstPort, lastPort + 1)),
      ...(from === undefined ? {} : { source: from }),
      ...(device === undefined ? {} : { device }),
    })
    return {
      source: sender.source,
      deviceIndex: sender.deviceIndex,
      send: (octets) => sendDatagram(sender, octets),
      close: () => closeDatagramSocket(sender),
    }
  }
}

/** RFC 5881 5: what a router has forwarded does not even wake us; on the other port each session has its own limit. */
function open(place: Place, admission: BfdAdmission, nowMs: number): void {
  const port = portOf(place.isMultihop)
  place.retryAtMs = nowMs + retryMs
  try {
    place.receiver = openReceiver(place.isIpv4, port, place.isMultihop ? undefined : directTtl)
    place.problem = undefined
    restrict(place, admission)
  } catch (error) {
    const isTaken = error instanceof HeraldError && error.errno === 'EADDRINUSE'
    place.problem = isTaken
      ? `UDP port ${port} is taken: another BFD daemon runs on this node, such as bfdd of FRR`
      : `UDP port ${port} cannot be had: ${messageOf(error)}`
  }
}

function restrict({ receiver, isMultihop }: Place, { peers, discriminators }: BfdAdmission): void {
  if (receiver === undefined) return
  const ttl = isMultihop ? {} : { onlyTtl: directTtl }
  const only = { sources: peers, wordAt: yourDiscriminatorAt, words: discriminators }
  try {
    filterDatagrams(receiver, { ...ttl, only })
  } catch {
    // More sessions than the kernel has room for in a filter: what is of none is found by looking.
    filterDatagrams(receiver, ttl)
  }
}
