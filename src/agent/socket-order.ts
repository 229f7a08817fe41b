/**
 * Keeps what sockets are led to as it is wanted: so much in a turn, what fails again after a while that grows, and now
 * and then all of it, with the programs: somebody else may have changed it. What an earlier agent left and nobody wants
 * stays until everything was read once; programs of another schema serve until all of it was written.
 *
 *     translator --delta--> want -.         .--> SocketBalancer
 *     leftovers ---settled--------+-> turns-'
 *     every minute ---------------'
 */
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import type { LedSocket, SocketBalancer } from '../datapath/datapath.ts'
import { anyNodeAddress, type Backend, type Frontend, frontendId } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import { familyOfText, formatAddress, parseAddress } from '../ip/address.ts'
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
/** What failed is tried again after the first, and after twice as long each time that nothing of it came right. */
const retryMs = { first: 1_000, most: 64_000 } as const
const lookMs = 60_000
const fault = 'socket LB'
const programs = 'programs'
const leftReason = 'the API server does not answer behind it, and kube-proxy may know more'
const former = 'programs of another version'
const otherNodes = 'addresses of other nodes'

export interface SocketOrderPorts {
  readonly balancer: Pick<SocketBalancer, 'ids' | 'upsert' | 'remove' | 'setNodes' | 'attach' | 'takeOver'>
  readonly clock: Pick<Clock, 'after' | 'soon'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  /** The frontend that is left to somebody else now. */
  readonly left?: () => string | undefined
  /** A frontend was to lose a backend, or may have before this agent began. */
  readonly lost?: () => void
}

const backendsOf = ({ backends, resting = [] }: Frontend): readonly Backend[] => [...backends, ...resting]
const placeOf = ({ address, port }: Backend): string => `${address} ${port}`

export class SocketOrder {
  readonly #ports: SocketOrderPorts
  readonly #wanted = new Map<string, Frontend>()
  readonly #dirty = new Set<string>()
  /** With what was said. */
  readonly #failed = new Map<string, string>()
  /** As it was wanted when it was looked at last. */
  readonly #checked = new Set<string>()
  readonly #runs: Due
  readonly #retries: Due
  /** Without waiting longer: there may be room now. */
  readonly #roomier: Due
  readonly #looks: Due
  #left: string | undefined
  /** Addresses of other nodes, at which sockets ask for node ports. */
  #nodes: readonly string[] = []
  #haveNodesFailed = false
  #retryMs: number = retryMs.first
  /** What an earlier agent left is in question. */
  #isSettled = false
  #hasTakenOver = false
  #isStopped = false

  constructor(ports: SocketOrderPorts) {
    this.#ports = ports
    this.#runs = new Due(ports.clock, () => this.#run())
    this.#retries = new Due(ports.clock, () => {
      this.#retryMs = Math.min(retryMs.most, this.#retryMs * 2)
      this.#retry()
    })
    this.#roomier = new Due(ports.clock, () => this.#retry())
    this.#looks = new Due(ports.clock, () => this.#look())
    this.#looks.after(lookMs)
    this.#leave()
    this.#run()
  }

  /** How many frontends sockets are to be led by. */
  get size(): number {
    return this.#wanted.size
  }

  /** The Service whose frontend is asked for at a place, also at any address of a node. */
  ownerOf(id: string): string | undefined {
    const any = anyNodeAddress[id.startsWith('[') ? 'ipv6' : 'ipv4']
    const place = id.slice(id.lastIndexOf(':'))
    return (this.#wanted.get(id) ?? this.#wanted.get(`${id.startsWith('[') ? `[${any}]` : any}${place}`))?.service
  }

  /** Those of a Service, `namespace/name`, as they are wanted. */
  of(service: string): readonly Frontend[] {
    return [...this.#wanted.values()].filter((frontend) => frontend.service === service)
  }

  /** Why a frontend is not in force as it is wanted; undefined: it is. */
  whyNot(id: string): string | undefined {
    return id === this.#left ? leftReason : this.#failed.get(id)
  }

  /** Everything that changed is in force. */
  get isDone(): boolean {
    return this.#dirty.size + this.#failed.size === 0 && !this.#haveNodesFailed
  }

  want(delta: ReadonlyMap<string, Frontend | undefined>): void {
    for (const [id, frontend] of delta) {
      if (this.#isSettled && this.#hasLost(id, frontend)) this.#ports.lost?.()
      if (frontend === undefined) this.#wanted.delete(id)
      else this.#wanted.set(id, frontend)
      this.#dirty.add(id)
    }
    this.#leave()
    // One Service that changes does not wait for the loop.
    this.#run()
  }

  #hasLost(id: string, now: Frontend | undefined): boolean {
    const before = this.#wanted.get(id)
    if (before === undefined || this.#ports.lost === undefined) return false
    const left = new Set(now === undefined ? [] : backendsOf(now).map(placeOf))
    return backendsOf(before).some((each) => !left.has(placeOf(each)))
  }

  /** Whether a socket that was led so is still wanted to be. */
  wants({ protocol, frontend: { address, port }, backend }: LedSocket): boolean {
    const wanted =
      this.#wanted.get(frontendId(address, protocol, port)) ??
      this.#wanted.get(frontendId(anyNodeAddress[familyOfText(address)], protocol, port))
    // Thousands of sockets may be asked for in a turn, of as many backends.
    const isIt = (each: Backend): boolean => each.port === backend.port && each.address === backend.address
    return wanted !== undefined && (wanted.backends.some(isIt) || wanted.resting?.some(isIt) === true)
  }

  /** At these a node port of any node is asked for. */
  wantNodes(addresses: readonly string[]): void {
    this.#nodes = addresses
    this.#writeNodes()
  }

  #writeNodes(): void {
    const { balancer, faults } = this.#ports
    try {
      balancer.setNodes(this.#nodes)
      this.#haveNodesFailed = false
      faults.clear(fault, otherNodes)
    } catch (error) {
      this.#haveNodesFailed = true
      faults.raise(fault, otherNodes, `node ports are not led at all of them: ${messageOf(error)}`)
      this.#retries.after(this.#retryMs)
    }
  }

  /** Everything was read: what is held and not wanted goes. */
  settled(): void {
    this.#writeNodes()
    for (const id of this.#ports.balancer.ids()) if (!this.#wanted.has(id)) this.#dirty.add(id)
    this.#isSettled = true
    this.#ports.lost?.()
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
    if (this.#isSettled) this.#writeNodes()
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
    this.#takeOver()
  }

  /** What could not be written is served by nobody better. */
  #takeOver(): void {
    if (!this.#isSettled || this.#hasTakenOver) return
    const { balancer, faults } = this.#ports
    try {
      balancer.takeOver()
      this.#hasTakenOver = true
      faults.clear(fault, former)
    } catch (error) {
      faults.raise(fault, former, `they still serve beside these: ${messageOf(error)}`)
    }
  }

  #apply(id: string): void {
    const { balancer, faults } = this.#ports
    const frontend = id === this.#left ? undefined : this.#wanted.get(id)
    try {
      if (frontend === undefined) balancer.remove(id)
      else balancer.upsert(frontend)
      const hasFailed = this.#failed.delete(id)
      if (hasFailed) faults.clear(fault, id)
      if (hasFailed || frontend === undefined) this.#mayHaveRoom()
    } catch (error) {
      this.#failed.set(id, messageOf(error))
      faults.raise(fault, id, `sockets are not led to it as it is wanted: ${messageOf(error)}`)
      this.#retries.after(this.#retryMs)
    }
  }

  #retry(): void {
    if (this.#haveNodesFailed) this.#writeNodes()
    for (const id of this.#failed.keys()) this.#dirty.add(id)
    this.#run()
  }

  #mayHaveRoom(): void {
    this.#retryMs = retryMs.first
    if (this.#failed.size > 0) this.#roomier.after(retryMs.first)
  }
}
