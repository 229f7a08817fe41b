/**
 * This node's ends of the tunnels between nodes: what the kernel knows of the nodes, then what the others hear of this
 * one. A node says that it takes packets when our programs are on an uplink, and takes that back when they are not.
 *
 *     what Leases or Nodes say --> kernel: own address, senders --> the others are told
 *     our programs are on an uplink, or on none ----------------------^
 */
import type { Clock, Wait } from '../clock/clock.ts'
import type { Datapath } from '../datapath/datapath.ts'
import { sameValue } from '../desired/same-value.ts'
import type { DesiredTunnels, PortRange } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import type { Reach } from '../sys/links.ts'
import type { Faults } from './faults.ts'

export interface TunnelEndsParts {
  readonly datapath: Pick<Datapath, 'setNodes'>
  readonly clock: Clock
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  /** Tells the others; absent: they read it elsewhere. */
  readonly teller: { want(tunnels: Pick<DesiredTunnels, 'own' | 'isTold'>): void } | undefined
  /** Of this node's own addresses, for SNAT; absent: it does none. */
  readonly snatPorts?: PortRange | undefined
  /** Other nodes, by which the uplinks are found on a node without neighbors. */
  reach(nodes: readonly Reach[]): void
}

const retryMs = 5_000
/**
 * So long packets are taken from who was a node: a Lease that somebody deleted is written again, and flows that were
 * handed on before an agent took its Lease back have their while there (drainSec of the datapath, 30 s).
 */
const leaveMs = 60_000
/** Whoever changes Leases all the time fills no map by it. */
const mostLeaving = 512
/** By so many of the other nodes: a lookup of a route for each, at each change of a route. */
const lookedUp = 8

export class TunnelEnds {
  readonly #parts: TunnelEndsParts
  #tunnels: DesiredTunnels | undefined
  #nodePorts: readonly string[] = []
  #isServing: boolean
  #reached: readonly string[] = []
  #told: unknown
  #retry: Wait | undefined
  /** What the kernel was told last of whom to take packets from. */
  #believed: readonly string[] = []
  /** Of these, who is no node any more, and until when it is believed. */
  readonly #leaving = new Map<string, number>()
  #forgetting: Wait | undefined

  constructor(parts: TunnelEndsParts, isServing: boolean) {
    this.#parts = parts
    this.#isServing = isServing
  }

  /** undefined: backends on other nodes are not served. */
  get tunnels(): DesiredTunnels | undefined {
    return this.#tunnels
  }

  /** All at once: what an earlier process told the kernel goes on where it is still wanted. */
  apply(tunnels: DesiredTunnels, nodePorts: readonly string[] = this.#nodePorts): void {
    this.#tunnels = tunnels
    this.#nodePorts = nodePorts
    const nodes = tunnels.senders.slice(0, lookedUp)
    if (!sameValue(nodes, this.#reached)) {
      this.#reached = nodes
      this.#parts.reach(nodes.map((address) => ({ address })))
    }
    this.#write(tunnels)
    this.#tell()
  }

  get nodePorts(): readonly string[] {
    return this.#nodePorts
  }

  /** Where node ports are served from here on. */
  serveNodePorts(addresses: readonly string[]): void {
    this.#nodePorts = addresses
    this.#write(this.#tunnels ?? { own: [], senders: [] })
  }

  /** They are not, or not any more: what an earlier process said to the kernel ends. */
  applyNone(): void {
    this.#write({ own: [], senders: [] })
  }

  /** The nodes, and for a while who was one. */
  #othersOf({ own, senders }: Pick<DesiredTunnels, 'own' | 'senders'>): readonly string[] {
    const { clock } = this.#parts
    const now = clock.monotonic()
    const nodes = new Set([...senders, ...own])
    for (const address of this.#believed)
      if (!nodes.has(address) && !this.#leaving.has(address) && this.#leaving.size < mostLeaving)
        this.#leaving.set(address, now + leaveMs)
    for (const [address, until] of this.#leaving) if (until <= now || nodes.has(address)) this.#leaving.delete(address)
    this.#forgetting?.cancel()
    // In the order in which they left.
    const [next] = this.#leaving.values()
    this.#forgetting = next === undefined ? undefined : clock.after(next - now, () => this.#writeAgain())
    return [...senders, ...this.#leaving.keys()]
  }

  #writeAgain(): void {
    if (this.#tunnels !== undefined) this.#write(this.#tunnels)
  }

  /** What somebody else changed in the maps is as it was. */
  audit(): void {
    this.#writeAgain()
  }

  setServing(isServing: boolean): void {
    if (isServing === this.#isServing) return
    this.#isServing = isServing
    this.#tell()
  }

  #write({ own, senders }: Pick<DesiredTunnels, 'own' | 'senders'>): void {
    const { datapath, faults, clock, snatPorts } = this.#parts
    this.#retry?.cancel()
    const others = own.length === 0 ? senders : this.#othersOf({ own, senders })
    try {
      datapath.setNodes({ own, others, nodePorts: this.#nodePorts, ...(snatPorts && { snatPorts }) })
      this.#believed = others
      faults.clear('nodes', '')
    } catch (error) {
      faults.raise('nodes', '', `the kernel does not take the addresses of the nodes: ${messageOf(error)}`)
      this.#retry = clock.after(retryMs, () => this.#write(this.#tunnels ?? { own, senders }))
    }
  }

  #tell(): void {
    if (this.#tunnels === undefined) return
    const { own, isTold } = this.#tunnels
    const wanted = this.#isServing ? { own, isTold } : { own: [], isTold: false }
    if (sameValue(wanted, this.#told)) return
    this.#told = wanted
    this.#parts.teller?.want(wanted)
  }
}
