/**
 * Ends sockets that were led to a backend which no slice names any more: nobody else would tell their owners, and a UDP
 * socket sends into nothing for ever. They ask anew, and are led to somebody who is there.
 *
 *     SocketOrder --lost--> after a while: this node's network, then the others, a part in a turn of the loop
 *                             ^                 '-> each that was led: wanted, or named by a slice? -no-> ended
 *                             '-- named alone: a slice that loses it says so to no frontend ---'
 */
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import type { LedSocket, SocketBalancer } from '../datapath/datapath.ts'
import { HeraldError, messageOf } from '../errors.ts'
import type { Faults } from './faults.ts'

/** An endpoint that moves to another slice is in none for a moment. */
const graceMs = 2_000
/** What failed, again. */
const retryMs = 60_000
/**
 * Backends that slices name and no frontend has any more: nobody is told when the last slice lets them go. They are
 * looked for after the first, and after twice as long each time that nothing else went.
 */
const againMs = { first: 10_000, most: 640_000 } as const
const fault = 'sockets of backends that are gone'
const ownNetwork = 'of this node'
const others = 'in pods'

export interface SocketEndsPorts {
  readonly balancer: Pick<SocketBalancer, 'endSockets'>
  readonly protocols: readonly LedSocket['protocol'][]
  /** Other network namespaces than that of the node, by their paths; undefined: they are left alone. */
  readonly networks: (() => readonly string[]) | undefined
  /** Whether its frontend still has the backend. */
  readonly isWanted: (socket: LedSocket) => boolean
  /** Whether a slice still names the backend. */
  readonly isNamed: (socket: LedSocket) => boolean
  readonly clock: Pick<Clock, 'after' | 'soon'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
}

export interface EndedSockets {
  /** Since the start. */
  readonly count: number
  readonly protocols: readonly LedSocket['protocol'][]
  /** Also in the networks of pods. */
  readonly areOfPods: boolean
}

/** How many were ended in each part of a network. */
interface Parts {
  readonly network: string | undefined
  readonly rest: Iterator<number, undefined>
}

export class SocketEnds {
  readonly #ports: SocketEndsPorts
  readonly #begins: Due
  readonly #goesOn: Due
  /** Beside what begins sooner: what is due already stays due when it is. */
  readonly #repeats: Due
  /** Networks that are still to come; undefined: this node's own. */
  #queue: (string | undefined)[] = []
  /** What is left of the network whose turn it is. */
  #parts: Parts | undefined
  /** What is under way began too early for what went since. */
  #isAsked = false
  #isLeft = false
  #againMs: number = againMs.first
  #count = 0
  #hasFailed = false
  #isStopped = false

  constructor(ports: SocketEndsPorts) {
    this.#ports = ports
    this.#begins = new Due(ports.clock, () => this.#begin())
    this.#goesOn = new Due(ports.clock, () => this.#next())
    this.#repeats = new Due(ports.clock, () => this.#begin())
  }

  get ended(): EndedSockets {
    const { protocols, networks } = this.#ports
    return { count: this.#count, protocols, areOfPods: networks !== undefined }
  }

  /** A backend may be gone. */
  look(): void {
    this.#againMs = againMs.first
    this.#begins.after(graceMs)
  }

  stop(): void {
    this.#isStopped = true
  }

  #begin(): void {
    // All have their turn, however often something goes meanwhile.
    if (this.#queue.length > 0 || this.#parts !== undefined) {
      this.#isAsked = true
      return
    }
    this.#isAsked = this.#hasFailed = this.#isLeft = false
    this.#queue = [undefined]
    this.#try(others, () => this.#queue.push(...(this.#ports.networks?.() ?? [])))
    this.#goesOn.soon()
  }

  #next(): void {
    if (this.#isStopped) return
    this.#parts ??= this.#partsOf(this.#queue.shift())
    const { network, rest } = this.#parts
    let isOver = true
    const isDone = this.#try(network === undefined ? ownNetwork : others, () => {
      const ended = rest.next().value
      isOver = ended === undefined
      this.#count += ended ?? 0
    })
    if (isOver) this.#parts = undefined
    // Who may not enter one may enter none.
    if (!isDone && network !== undefined) this.#queue = []
    if (!isOver || this.#queue.length > 0) return this.#goesOn.soon()
    if (!this.#hasFailed) for (const whose of [ownNetwork, others]) this.#ports.faults.clear(fault, whose)
    if (this.#isAsked) this.#begins.after(graceMs)
    else if (this.#hasFailed) this.#repeats.after(retryMs)
    else if (this.#isLeft) {
      this.#repeats.after(this.#againMs)
      this.#againMs = Math.min(againMs.most, this.#againMs * 2)
    }
  }

  #partsOf(network: string | undefined): Parts {
    return { network, rest: this.#end(network) }
  }

  *#end(network: string | undefined): Generator<number, undefined> {
    const { balancer, protocols } = this.#ports
    for (const protocol of protocols) yield* balancer.endSockets(protocol, (socket) => this.#isGone(socket), network)
  }

  #isGone(socket: LedSocket): boolean {
    if (this.#ports.isWanted(socket)) return false
    if (!this.#ports.isNamed(socket)) return true
    this.#isLeft = true
    return false
  }

  #try(whose: string, work: () => void): boolean {
    try {
      work()
      return true
    } catch (error) {
      if (whose === others && isNoNetwork(error)) return true
      this.#hasFailed = true
      this.#ports.faults.raise(fault, whose, `they are not told of it: ${messageOf(error)}`)
      return false
    }
  }
}

/** A pod that went meanwhile, or another file. */
function isNoNetwork(error: unknown): boolean {
  if (error instanceof HeraldError) return error.errno === 'EINVAL'
  return error instanceof Error && Reflect.get(error, 'syscall') === 'open' && Reflect.get(error, 'code') === 'ENOENT'
}
