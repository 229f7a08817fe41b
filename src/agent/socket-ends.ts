/**
 * Ends sockets that were led to a backend which no slice names any more: nobody else would tell their owners, and a UDP
 * socket sends into nothing for ever. They ask anew, and are led to somebody who is there.
 *
 *     SocketOrder --lost--> after a while: this node's network, then the others, one in a turn of the loop
 *                                               '-> each that was led: wanted, or named by a slice? -no-> ended
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
const fault = 'sockets of backends that are gone'
const ownNetwork = 'of this node'
const others = 'in pods'

export interface SocketEndsPorts {
  readonly balancer: Pick<SocketBalancer, 'endSockets'>
  readonly protocols: readonly LedSocket['protocol'][]
  /** Other network namespaces than that of the node, by their paths; undefined: they are left alone. */
  readonly networks: (() => readonly string[]) | undefined
  /** Whether anything still names the backend. */
  readonly isThere: (socket: LedSocket) => boolean
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

export class SocketEnds {
  readonly #ports: SocketEndsPorts
  readonly #begins: Due
  readonly #goesOn: Due
  /** Networks that are still to come; undefined: this node's own. */
  #queue: (string | undefined)[] = []
  #count = 0
  #hasFailed = false
  #isStopped = false

  constructor(ports: SocketEndsPorts) {
    this.#ports = ports
    this.#begins = new Due(ports.clock, () => this.#begin())
    this.#goesOn = new Due(ports.clock, () => this.#next())
  }

  get ended(): EndedSockets {
    const { protocols, networks } = this.#ports
    return { count: this.#count, protocols, areOfPods: networks !== undefined }
  }

  /** A backend may be gone. */
  look(): void {
    this.#begins.after(graceMs)
  }

  stop(): void {
    this.#isStopped = true
  }

  /** What is under way began too early for what went since. */
  #begin(): void {
    this.#hasFailed = false
    this.#queue = [undefined]
    this.#try(others, () => this.#queue.push(...(this.#ports.networks?.() ?? [])))
    this.#goesOn.soon()
  }

  #next(): void {
    if (this.#isStopped) return
    const network = this.#queue.shift()
    const isDone = this.#try(network === undefined ? ownNetwork : others, () => this.#end(network))
    // Who may not enter one may enter none.
    if (!isDone && network !== undefined) this.#queue = []
    if (this.#queue.length > 0) return this.#goesOn.soon()
    if (this.#hasFailed) return this.#begins.after(retryMs)
    for (const whose of [ownNetwork, others]) this.#ports.faults.clear(fault, whose)
  }

  #end(network: string | undefined): void {
    const { balancer, protocols, isThere } = this.#ports
    for (const protocol of protocols)
      this.#count += balancer.endSockets(protocol, (socket) => !isThere(socket), network)
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
