/**
 * Keeps what sockets are led to as it is wanted: so many frontends in a turn, what fails again after a while. What an
 * earlier agent left and nobody wants stays until everything was read once.
 *
 *     translator --delta--> want -.         .--> SocketBalancer
 *     leftovers ---settled--------+-> turns-'
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
 * The address at which this agent itself asks the API server is left to kube-proxy, where there is one, until it is
 * told anew: behind what an earlier agent knew there may be no server any more, and nobody else would say so.
 */
export function leaveServer(
  balancer: Pick<SocketBalancer, 'remove'>,
  server: { readonly host: string | undefined; readonly port: string | undefined },
  kubeProxy: KubeProxyMode,
): void {
  const address = parseAddress(server.host ?? '')
  if (address === undefined || kubeProxy === 'absent' || kubeProxy === 'unknown') return
  balancer.remove(frontendId(formatAddress(address), 'TCP', Number(server.port)))
}

/** In one turn; each costs some microseconds, and one for each of its backends. */
const frontendsPerTurn = 64
const retryMs = 1_000
const fault = 'socket LB'

export interface SocketOrderPorts {
  readonly balancer: Pick<SocketBalancer, 'ids' | 'upsert' | 'remove'>
  readonly clock: Pick<Clock, 'after' | 'soon'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
}

export class SocketOrder {
  readonly #ports: SocketOrderPorts
  readonly #wanted = new Map<string, Frontend>()
  readonly #dirty = new Set<string>()
  readonly #failed = new Set<string>()
  readonly #runs: Due
  readonly #retries: Due
  #isStopped = false

  constructor(ports: SocketOrderPorts) {
    this.#ports = ports
    this.#runs = new Due(ports.clock, () => this.#run())
    this.#retries = new Due(ports.clock, () => {
      for (const id of this.#failed) this.#dirty.add(id)
      this.#run()
    })
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

  #run(): void {
    let count = 0
    for (const id of this.#dirty) {
      if (this.#isStopped) return
      if (count++ >= frontendsPerTurn) return this.#runs.soon()
      this.#dirty.delete(id)
      this.#apply(id)
    }
  }

  #apply(id: string): void {
    const { balancer, faults } = this.#ports
    const frontend = this.#wanted.get(id)
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
