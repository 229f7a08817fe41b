/**
 * The seam to the kernel. `kernel.ts` is the real one (libbpf), `fake.ts` follows the same rules in memory.
 *
 *     VIP packet --tc ingress--> vip map --> frontend map --> Maglev table --> DNAT + connection entry --> stack
 *                                                          '-> a backend elsewhere: encapsulated, to its node
 *     reply      --tc egress---> connection entry --> source back to VIP:port
 *
 * All calls are synchronous and bounded: a write is one bpf(2) call or a batch of them. Failures throw HeraldError
 * (ERR_MAP_FULL, ERR_SYSCALL, ERR_READ_BACK); a failed call leaves what was served before in force.
 */
import type { Backend, Frontend, PortRange, Protocol, SourceRange } from '../desired/model.ts'

export type AttachMode = 'tcx' | 'clsact'

/** How packets go to pods of this node and back: through the kernel's stack, or past netfilter; see redirection.ts. */
export type ForwardMode = 'stack' | 'redirect'

/** Whether a program in front of the kernel takes what it can, and where: in the driver of a card, or before TC. */
export type Acceleration = 'disabled' | 'native' | 'best-effort' | 'generic'

/** What was done in front of the kernel, since this process has put the program there. */
export interface EarlyPackets {
  /** For backends on other nodes. */
  readonly handedOn: number
  readonly answered: number
  readonly dropped: number
}

/** `dropped` is done wherever anything is. */
export type EarlyKind = keyof EarlyPackets

export interface AcceleratedInterface {
  readonly interface: string
  /** `none`: TC has every packet. */
  readonly mode: 'native' | 'generic' | 'none'
  /** Absent, as the next one: `none`. */
  readonly packets?: EarlyPackets
  /** What is done there; all else is left to TC. */
  readonly takes?: EarlyKind[]
  /** Why it has none, or what is left to TC; for people. */
  readonly reason?: string
}

export interface AccelerationStatus {
  readonly wanted: Exclude<Acceleration, 'disabled'>
  /** Those with our programs, sorted by name. */
  readonly interfaces: AcceleratedInterface[]
  /** Why no interface can have it; for people. */
  readonly problem?: string
}

/** Between what packets go past netfilter. */
export interface Traffic {
  /** Addresses of pods here that are backends, or were, with the interfaces behind which they are; none: not known. */
  readonly pods: ReadonlyMap<string, readonly string[]>
  /** Those that were: no new flow goes to them. */
  readonly former: ReadonlySet<string>
  /** Those whose packets a bridge shows to netfilter before the programs (`bridge-nf-call-iptables`). */
  readonly shown: ReadonlySet<string>
  /** The names of interfaces by which clients come. */
  readonly uplinks: readonly string[]
  /** Addresses of which none is a client's, by the octets and bits of their nets: they are behind other interfaces. */
  readonly elsewhere: readonly { readonly octets: Uint8Array; readonly bits: number }[]
}

/** What netfilter would do to packets that go past it; for people, and undefined: nothing. */
export interface Netfilter {
  /** Of packets of whatever flow. */
  policies(): string | undefined
  /** Of packets of this traffic. `fresh`: the pods that were not asked about before; by default all of them. */
  rules(traffic: Traffic, fresh?: Iterable<string>): RulesMet
}

export interface RulesMet {
  /** Of each packet: live flows have to meet it, too. */
  readonly policy: string | undefined
  /** Of the first packet of a flow, where a rule that translates addresses may be about it. */
  readonly translation: string | undefined
}

/** Nobody has it by IANA, and it is none that clients get; 0x4845. */
export const tunnelPort = 18_501

/** What the kernel holds for one frontend, as read back; backends sorted as in {@link Frontend}. */
export interface ProgrammedFrontend {
  readonly id: string
  readonly address: string
  readonly protocol: Protocol
  readonly port: number
  readonly backends: readonly Backend[]
  /** Those that take no new connections; sorted, absent when there are none. */
  readonly resting?: readonly Backend[]
  /** Sorted by prefix; absent: everybody is let in. */
  readonly sources?: readonly SourceRange[]
  readonly affinitySec?: number
  readonly serviceId: number
  /** Somebody else changed something of it in the maps, also where it would be served as before. */
  readonly isEdited?: true
}

/** What was read back, or why it was not written. */
export type Upserted = { readonly held: ProgrammedFrontend } | { readonly error: unknown }

export interface TrafficCounters {
  readonly packetsIn: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  readonly newConnections: number
  /** To other nodes, where they are counted as packets in. */
  readonly packetsForwarded: number
  readonly bytesForwarded: number
}

/** Of a backend, whatever frontends it has. */
export interface BackendCounters extends TrafficCounters {
  readonly backend: Backend
}

export interface FrontendCounters extends TrafficCounters {
  /** Of its backends, those that rest too, in no order; no more than {@link maxCountedBackends}. */
  readonly backends: readonly BackendCounters[]
}

/** Reading one takes some microseconds. */
export const maxCountedBackends = 1_000

/** The cluster's nodes, as far as packets are handed on between them. */
export interface ClusterNodes {
  /** Addresses of this node, at most one of each family, to which others hand packets on; none: it takes none. */
  readonly own: readonly string[]
  /** Those of the other nodes: what anybody else encapsulates is dropped. */
  readonly others: readonly string[]
  /** Addresses of this node at which frontends of any address of a node are served. */
  readonly nodePorts?: readonly string[]
  /** The port of UDP, the same on every node; {@link tunnelPort} when absent. */
  readonly port?: number
  /** Of this node's own addresses, for flows to backends at {@link translatedNode}; absent: there are none. */
  readonly snatPorts?: PortRange
}

export interface MapUsage {
  readonly name: string
  readonly entries: number
  readonly maxEntries: number
}

/** Packets of one family that are counted for one reason of reasons.ts. */
export interface DropCount {
  readonly reason: string
  readonly family: 'ipv4' | 'ipv6'
  readonly fate: 'answered' | 'refused' | 'dropped' | 'held' | 'served'
  readonly packets: number
}

/** What is wrong with one part of the datapath, and how often it failed. */
export interface DatapathProblem {
  /** Of what it is, where it is not of maps. */
  readonly kind?: 'acceleration'
  readonly subject: string
  readonly text: string
  readonly times: number
}

export interface DatapathStatus {
  readonly kind: 'ebpf' | 'none' | 'fake'
  readonly attach?: AttachMode
  /** What is in force for new flows. */
  readonly mode?: ForwardMode
  /** Why it is not the one that was asked for, or not everywhere; for people. */
  readonly modeReason?: string
  /** Why nothing is sent to backends at `translatedNode`; for people. Absent: it is. */
  readonly whyNoSnat?: string
  readonly interfaces: readonly string[]
  /** Absent: it was not asked for. */
  readonly acceleration?: AccelerationStatus
  /** True when pinned programs and maps of an earlier process were taken over. */
  readonly adopted: boolean
  /** Interfaces on which an earlier process left the programs, and which were gone when this one began. */
  readonly lostUplinks?: number
  readonly schema: number
  readonly problems?: readonly DatapathProblem[]
}

export interface Datapath {
  readonly status: DatapathStatus
  /** What the kernel serves now: on start this is what an earlier process left. */
  readAll(): readonly ProgrammedFrontend[]
  read(id: string): ProgrammedFrontend | undefined
  /**
   * Writes backends, Maglev table, frontend and VIP, in this order, so that no packet meets a half-written entry, and
   * answers with what was read back.
   */
  upsert(frontend: Frontend): ProgrammedFrontend
  /**
   * The same for many, in their order: what they write into one map goes to the kernel in a row. One that fails keeps
   * no other from it. Never throws.
   */
  upsertAll(frontends: readonly Frontend[]): readonly Upserted[]
  /** Removes frontend, then the VIP when it was the last one on it. Idempotent. */
  remove(id: string): void
  counters(id: string): FrontendCounters | undefined
  /** Packets dropped or answered in place, by reason, since the maps were made. */
  reasons(): Readonly<Record<string, number>>
  /** The same by family too, with what became of the packets. */
  drops(): readonly DropCount[]
  usage(): readonly MapUsage[]
  /**
   * Replaces what is known of the nodes; idempotent. Until the first call what an earlier process knew is in force.
   * Throws ERR_ADDRESS (no address, or one that is served), ERR_MAP_FULL.
   */
  setNodes(nodes: ClusterNodes): void
  /**
   * Attaches to exactly these interfaces, and to `others` what translates replies that leave by them; programs on the
   * rest are detached.
   */
  attach(interfaces: readonly string[], others?: readonly string[]): void
  /** Interfaces, or routes to pods, may have changed. Never fails: what cannot be redirected goes through the stack. */
  follow(): void
  /** Lets go of file descriptors; pins stay and the kernel keeps serving. */
  close(): void
}

export interface SocketStatus {
  /** Where the programs are attached. */
  readonly cgroup: string
  /** It is the root of all groups: no socket of this node is left out. */
  readonly isWholeNode: boolean
  /** Programs and maps of an earlier process were taken over. */
  readonly adopted: boolean
  /** Programs of others at the same hook; where theirs come first ours find nothing left to do. */
  readonly others: readonly string[]
  /** Why sockets whose backend is gone cannot be listed here: then none is ended. */
  readonly whyNoEnds?: string
}

export interface SocketCounts {
  /** Connections, and datagrams of sockets without one. */
  readonly translated: number
  /** Nobody stands behind the frontend. */
  readonly refused: number
  /** There was no room for what the way back needs. */
  readonly unrecorded: number
}

/** Whom sockets met behind a frontend. */
export interface SocketChoice {
  /** How often a backend was chosen, for a connection or the datagrams of a socket; of those that are gone, too. */
  readonly chosen: number
  /** Sorted by address and port. */
  readonly backends: readonly (Backend & { readonly state: 'active' | 'resting'; readonly chosen: number })[]
}

/** A socket that is connected to a backend where it asked for a frontend. */
export interface LedSocket {
  readonly protocol: 'TCP' | 'UDP'
  /** As it was asked for: of a node port this may be an address of another node. */
  readonly frontend: Backend
  readonly backend: Backend
}

/** The load balancer of clients on this node: their sockets are connected to a backend. Calls fail as above. */
export interface SocketBalancer {
  readonly status: SocketStatus
  /** Ids of the frontends that are held. */
  ids(): readonly string[]
  /**
   * Read back before it answers. A backend's node means nothing here. After ERR_MAP_FULL it has no more backends than
   * before, and none that is not wanted.
   */
  upsert(frontend: Frontend): void
  /** Idempotent. */
  remove(id: string): void
  /**
   * Where frontends at any address of a node are asked for, beside their own ids: addresses of other nodes, in place
   * of those before. Idempotent.
   */
  setNodes(addresses: readonly string[]): void
  /** undefined: it is not held. */
  choices(id: string): SocketChoice | undefined
  /**
   * Ends the sockets of a protocol for which `isGone` holds, in the network namespace at a path or in this node's own;
   * answers how many, in parts: so much is done each time that it is asked for the next one. No other socket is
   * touched.
   */
  endSockets(
    protocol: LedSocket['protocol'],
    isGone: (socket: LedSocket) => boolean,
    network?: string,
  ): Iterable<number>
  /** All that is wanted was written: programs of another schema, which served until now, go. Idempotent. */
  takeOver(): void
  /** Puts back what somebody else took away: programs, and what the agent after this one takes over. */
  attach(): void
  counts(): SocketCounts
  usage(): readonly MapUsage[]
  /** Lets go of file descriptors; pins stay and sockets are served. */
  close(): void
}

/** What came of writing one. */
export function upserted(write: () => ProgrammedFrontend): Upserted {
  try {
    return { held: write() }
  } catch (error) {
    return { error }
  }
}
