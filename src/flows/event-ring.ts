/** A ring of events in the kernel, and what its programs are told of who looks. */
import { join } from 'node:path'
import { type DatapathEvent, decodeEvent, decodeUntold, encodeObservation } from '../datapath/events.ts'
import { mapShapes, sizes } from '../datapath/layout.ts'
import { indexKey } from '../datapath/maps.ts'
import { decodeSocketEvent } from '../datapath/socket-events.ts'
import { socketMapShapes, socketSizes } from '../datapath/socket-layout.ts'
import { HeraldError } from '../errors.ts'
import { BpfMap, closeFd, openPinned, possibleCpus } from '../sys/bpf.ts'
import { RingBuffer } from '../sys/ring-buffer.ts'

export interface RingKind {
  /** Names of its maps. */
  readonly ring: string
  readonly observation: string
  readonly limits: string
  /** Kinds of events that have a limit of their own. */
  readonly kinds: number
  /** Octets of a record. */
  readonly bytes: number
  /** `nowNs` is later than the event, by less than an hour. */
  readonly decode: (data: DataView, at: number, nowNs: bigint) => DatapathEvent | undefined
}

export const ringKinds = {
  packets: {
    ...{ ring: 'events', observation: 'observation', limits: 'event_limits' },
    ...{ kinds: mapShapes.event_limits.maxEntries, bytes: sizes.event, decode: decodeEvent },
  },
  sockets: {
    ...{ ring: 'socket_events', observation: 'socket_observation', limits: 'socket_event_limits' },
    ...{ kinds: socketMapShapes.socket_event_limits.maxEntries, bytes: socketSizes.event, decode: decodeSocketEvent },
  },
} as const satisfies Readonly<Record<string, RingKind>>

/** An event may be a little younger than the look at the clock. */
const youngerNs = 1_000_000_000n
/** Between two events of one kind on one CPU: 5000 a second, in bursts of 256. */
const intervalNs = 200_000n

export class EventRing {
  readonly #kind: RingKind
  readonly #ring: RingBuffer
  readonly #observation: BpfMap
  readonly #limits: BpfMap
  #untold: number

  /** Throws ERR_NO_EVENTS where its maps are not pinned in the folder, and ERR_SYSCALL. */
  constructor(kind: RingKind, folder: string) {
    this.#kind = kind
    const ringFd = opened(folder, kind.ring)
    try {
      this.#ring = new RingBuffer(ringFd)
    } finally {
      closeFd(ringFd)
    }
    this.#observation = new BpfMap(kind.observation, opened(folder, kind.observation))
    this.#limits = new BpfMap(kind.limits, opened(folder, kind.limits))
    this.#untold = this.#untoldEver()
    this.#ring.skip()
  }

  /** Until then (CLOCK_MONOTONIC) somebody looks; 0: nobody. */
  observe(untilNs: bigint): void {
    this.#observation.update(indexKey(0), encodeObservation(untilNs, intervalNs))
  }

  /** At most `limit` events, in the order in which they were told. */
  read(limit: number, nowNs: bigint): readonly DatapathEvent[] {
    const events: DatapathEvent[] = []
    const { bytes, decode } = this.#kind
    this.#ring.read(limit, (data, at, length) => {
      const event = length < bytes ? undefined : decode(data, at, nowNs + youngerNs)
      if (event !== undefined) events.push(event)
    })
    return events
  }

  /** Events that were too many since this was asked last. */
  untold(): number {
    const before = this.#untold
    this.#untold = this.#untoldEver()
    return this.#untold - before
  }

  /** Nobody looks any more, and nothing may be asked. */
  close(): void {
    this.observe(0n)
    this.#ring.close()
    for (const { fd } of [this.#observation, this.#limits]) closeFd(fd)
  }

  #untoldEver(): number {
    const value = new Uint8Array(sizes.eventLimit * possibleCpus())
    let untold = 0
    for (let kind = 0; kind < this.#kind.kinds; kind++)
      if (this.#limits.lookup(indexKey(kind), value)) untold += decodeUntold(value)
    return untold
  }
}

function opened(folder: string, name: string): number {
  const fd = openPinned(join(folder, name))
  if (fd === undefined) throw new HeraldError('ERR_NO_EVENTS', `${join(folder, name)} is not pinned`)
  return fd
}
