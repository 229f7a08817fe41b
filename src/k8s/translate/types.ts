/** The surface of the translator: raw objects in, deltas of desired state out. */
import type { AddressBook } from '../../allocation/address-book.ts'
import type { DesiredDelta } from '../../desired/model.ts'
import type { NodeNetwork } from '../dialects/node-plan.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'
import type { ServiceSlices } from './service-slices.ts'

export interface LocalAddress {
  /** As `eth0`. */
  readonly interface: string
  /** Canonical. */
  readonly address: string
}

/** The routers of the node's default routes. */
export type DefaultGateways = NodeNetwork['gateways']

export interface TranslatorOptions {
  readonly nodeName: string
  /** Served besides no class and the built-in ones. */
  readonly loadBalancerClass?: string
  /** The label that excludes a node from load balancers means nothing. */
  readonly ignoreExcludeLb?: boolean
  /** What of the Node ends the announcement of Services: `unschedulable`, `not-ready`, `taint:KEY`, ... */
  readonly withdrawOn?: readonly string[]
  /** Services without a class are left alone. */
  readonly isClassRequired?: boolean
  /** `none`: something else serves the addresses, so nothing is held back for lack of a local backend. */
  readonly datapath: 'ebpf' | 'none'
  /**
   * By what it is known where other nodes take packets for their backends: the Leases of their agents, or the Nodes of
   * a folder. Absent: backends on other nodes are not served.
   */
  readonly tunnels?: 'leases' | 'nodes'
  /**
   * Why this node sends nothing from addresses of its own to pods on nodes that take no packets from others, where a
   * Service asks for it; empty or absent: it does.
   */
  readonly whyNoSnat?: string
  /** Sockets on this node are led to backends: `sockets` of a delta says to which. */
  readonly leadsSockets?: boolean
  /**
   * Whether this node serves external IPs and node ports in place of kube-proxy at the moment, and if so on which ports
   * processes of it listen, as `22/TCP`.
   */
  readonly proxying?: () => { readonly listeners: ReadonlySet<string> } | undefined
  /** Where node ports are served: the addresses of the Node, by default, or what interfaces have of these prefixes. */
  readonly nodePortAddresses?: 'primary' | readonly string[]
  /** Where this agent asks the API server, as it is written: an address, or a name. */
  readonly apiServer?: string
  /** The one namespace whose Secrets authSecretRef may name. */
  readonly secretsNamespace: string
  /** Those of the node's interfaces at the moment. */
  readonly localAddresses?: () => readonly LocalAddress[]
  /** At the moment. */
  readonly gateways?: () => DefaultGateways
  /**
   * There is no Node: what is judged is the configuration alone, for whatever node it is for, and what it names and
   * does not hold is elsewhere.
   */
  readonly isStandIn?: boolean
  /** It is another node than the one that asks: its keys, interfaces and default routes are known there alone. */
  readonly isElsewhere?: boolean
  /** A clock in ms, by which a flush is bounded; without one it is bounded by its size only. */
  readonly nowMs?: () => number
  /** Where allocations are recorded; absent: kept in memory only. */
  readonly addressBook?: AddressBook
  /** Somebody else gives addresses away: they are read from the status of Services, and none is chosen here. */
  readonly isAllocatedElsewhere?: boolean
}

/** What is known only when the datapath of the node is open. */
export type ServedBy = Pick<
  TranslatorOptions,
  'datapath' | 'tunnels' | 'whyNoSnat' | 'leadsSockets' | 'proxying' | 'nodePortAddresses'
>

/** What EndpointSlices name. */
export type NamedEndpoints = Pick<ServiceSlices, 'podOf' | 'names'>

export interface Translator {
  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined): void
  remove(key: ObjectKey): void
  /** In place of what the options said, where objects are taken in before it is known; before the first flush. */
  serveBy(servedBy: ServedBy): void
  /** Every kind was delivered once: from now on {@link flush} yields. */
  synced(): void
  /**
   * What changed since the flush before; empty before {@link synced}. A flush is bounded: {@link hasMore} says whether
   * Services wait for the next one.
   */
  flush(): DesiredDelta
  readonly hasMore: boolean
  /** Addresses could not be recorded: who waits for them is worth a {@link flush} in a while. */
  readonly isRecordDue: boolean
  /** Addresses of interfaces or default routes decide about neighbors: a change of them is worth a {@link flush}. */
  readonly usesNetwork: boolean
  /** What runs on this node decides, too: now and then a {@link flush} is worth it. */
  readonly usesProcesses: boolean
  readonly slices: NamedEndpoints
  /**
   * The Secrets that neighbors name, there or not, as `namespace/name`, as of what was delivered: no other is needed.
   */
  readonly secrets: ReadonlySet<string>
  /** Gives back what a settle that is under way holds: the lock of the record. No flush follows. */
  stop(): void
}
