/**
 * Keeps what sockets are led to as it is wanted: so much in a turn, what fails again after a while, and now and then
 * all of it, with the programs: somebody else may have changed it. What an earlier agent left and nobody wants stays
 * until everything was read once.
 *
 *     translator --delta--> want -.         .--> SocketBalancer
 *     leftovers ---settled--------+-> turns-'
 *     every minute ---------------'
 */
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import type { SocketBalancer } from '../datapath/datapath.ts'
import { type Frontend, frontendId } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import { formatAddress, parseAddress } from '../ip/address.ts'
import type { Faults } from './faults.ts'
import type { KubeProxyMode } from './kube-proxy.ts'

/**
 * The frontend at which this agent itself asks the API server, where it is left to kube-proxy: while the server does
 * not answer. Behind what is known there may be no server any more, and nobody else would say so.
 */
export function leftServer(
  server: { readonly host: string | undefined; readonly port: string | undefined },
  doesAnswer: () => boolean,
  kubeProxy: () => KubeProxyMode,
): () => string | undefined {
  const address = parseAddress(server.host ?? '')
  const id = address === undefined ? undefined : frontendId(formatAddress(address), 'TCP', Number(server.port))
  return () => (id === undefined || doesAnswer() || ['absent', 'unknown'].includes(kubeProxy()) ? undefined : id)
}

/** Frontends and backends in one turn: each costs some microseconds. */
const perTurn = 128
const retryMs = 1_000
const lookMs = 60_000
const fault = 'socket LB'
const programs = 'programs'

export interface SocketOrderPorts {
  readonly balancer: Pick<SocketBalancer, 'ids' | 'upsert' | 'remove' | 'attach'>
  readonly clock: Pick<Clock, 'after' | 'soon'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  /** The frontend that is left to somebody else now. */
  readonly left?: () => string | undefined
}

export class SocketOrder {
  readonly #ports: SocketOrderPorts
  readonly #wanted = new Map<string, Frontend>()
  readonly #dirty = new Set<string>()
  readonly #failed = new Set<string>()
  /** As it was wanted when it was looked at last. */
  readonly #checked = new Set<string>()
  readonly #runs: Due
  readonly #retries: Due
  readonly #looks: Due
  #left: string | undefined
  #isStopped = false

  constructor(ports: SocketOrderPorts) {
    this.#ports = ports
    this.#runs = new Due(ports.clock, () => this.#run())
    this.#retries = new Due(ports.clock, () => {
      for (const id of this.#failed) this.#dirty.add(id)
      this.#run()
    })
    this.#looks = new Due(ports.clock, () => this.#look())
    this.#looks.after(lookMs)
    this.#leave()
    this.#run()
  }

  /** How many frontends sockets are to be led by. */
  get size(): number {
    return this.#wanted.size
  }

  /** Everything that changed is in force. */
  get isDone(): boolean {
    return this.#dirty.size + this.#failed.size === 0
  }

  want(delta: ReadonlyMap<string, Frontend | undefined>): void {
    for (const [id, frontend] of delta) {
      if (frontend === undefined) this.#wanted.delete(id)
      else this.#wanted.set(id, frontend)
      this.#dirty.add(id)
    }
    this.#leave()
    // One Service that changes does not wait for the loop.
    this.#run()
  }

  /** Everything was read: what is held and not wanted goes. */
  settled(): void {
    for (const id of this.#ports.balancer.ids()) if (!this.#wanted.has(id)) this.#dirty.add(id)
    this.#run()
  }

  /** The kernel keeps what it has. */
  stop(): void {
    this.#isStopped = true
  }

  #look(): void {
    if (this.#isStopped) return
    const { balancer, faults } = this.#ports
    this.#looks.after(lookMs)
    try {
      balancer.attach()
      faults.clear(fault, programs)
    } catch (error) {
      faults.raise(fault, programs, `not all are in their place: ${messageOf(error)}`)
    }
    this.#leave()
    for (const id of this.#wanted.keys()) this.#checked.add(id)
    this.#run()
  }

  #leave(): void {
    const before = this.#left
    this.#left = this.#ports.left?.()
    if (this.#left === before) return
    for (const id of [before, this.#left]) if (id !== undefined) this.#dirty.add(id)
  }

  #run(): void {
    let cost = 0
    for (const queue of [this.#dirty, this.#checked])
      for (const id of queue) {
        if (this.#isStopped) return
        if (cost >= perTurn) return this.#runs.soon()
        queue.delete(id)
        cost += 1 + (this.#wanted.get(id)?.backends.length ?? 0)
        this.#apply(id)
      }
  }

  #apply(id: string): void {
    const { balancer, faults } = this.#ports
    const frontend = id === this.#left ? undefined : this.#wanted.get(id)
    try {
      if (frontend === undefined) balancer.remove(id)
      else balancer.upsert(frontend)
      if (this.#failed.delete(id)) faults.clear(fault, id)
    } catch (error) {
      this.#failed.add(id)
      faults.raise(fault, id, `sockets are not led to it as it is wanted: ${messageOf(error)}`)
      this.#retries.after(retryMs)
    }
  }
}
