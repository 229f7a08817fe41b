/**
 * Everything outside that sessions and the speaker touch: connections, the clock, chance. What comes in here, in this
 * order, decides what goes out, so a run can be recorded (../recording/record.ts) and repeated
 * (../recording/replay.ts).
 *
 *     speaker, sessions --dial, write, after, soon--> Environment (system.ts: sockets and timers of the process)
 *     speaker, sessions <--handlers, callbacks------- Environment
 */
import type { BfdReport, PathWatch, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'
import type { Address } from '../../ip/address.ts'
import type { BgpSocketOptions } from '../../sys/tcp-socket.ts'

export interface Timer {
  /** Starts the wait anew, also after it has expired. */
  refresh(): void
  cancel(): void
}

/** How a connection to a peer is made. */
export interface DialOptions extends BgpSocketOptions {
  readonly port: number
}

/** What happens to a connection. Nothing is called after `close` or `destroy` but `closed`. */
export interface TransportHandlers {
  connected(): void
  data(bytes: Uint8Array): void
  /** Everything that was written has left, after a `write` that answered false. */
  drained(): void
  /** The connection ended, or could not be made; `reason` is for people. */
  failed(reason: string): void
  /** It is gone for good. */
  closed(): void
}

export interface SendBacklog {
  /** Octets that were written and have not left. */
  readonly octets: number
  /** Changes whenever some of them leave. */
  readonly mark: string
}

/** One TCP connection. */
export interface Transport {
  /** Of a connection that is up. */
  readonly localAddress: Address
  readonly localPort: number
  readonly remotePort: number
  attach(handlers: TransportHandlers): void
  /** False when so much waits that the writer should stop until `drained`. */
  write(bytes: Uint8Array): boolean
  backlog(): SendBacklog
  /** TTL and GTSM of a connection that the peer opened. Throws ERR_SYSCALL. */
  prepare(options: DialOptions): void
  /** Unacknowledged data ends the connection after this long (RFC 5482). */
  setUserTimeout(timeoutMs: number): void
  pause(): void
  resume(): void
  /** Flushes what was written for at most this long, then ends. */
  close(graceSec: number): void
  destroy(): void
}

/** A neighbor as the listener knows it. */
export interface ListenerPeer {
  readonly address: Address
  /** TCP-MD5 key (RFC 2385). */
  readonly password?: string
  /** Where a link-local peer is. */
  readonly device?: string
  /** Owns the connection from here on. */
  accept(transport: Transport): void
}

export interface ListenerOptions {
  readonly host: string
  /** 0 lets the kernel choose, see {@link Listener.port}. */
  readonly port: number
  /** A connection from a source that is no neighbor was closed; told at most once in ten seconds. */
  onRefused(address: string): void
  /** Something failed and listening goes on without it, as a key that the kernel refuses. */
  onProblem?(message: string): void
}

export interface Listener {
  readonly port: number
  /**
   * Replaces the set of neighbors; keys are set and removed by difference. Of two with one address the first is taken.
   */
  setPeers(peers: readonly ListenerPeer[]): void
  /** Stops listening; accepted connections are not touched. */
  close(): Promise<void>
}

/** An address of this machine. */
export interface LocalAddress {
  readonly device: string
  readonly address: Address
  /** Reachable from beyond the link, and neither tentative, deprecated, temporary nor secondary. */
  readonly isGlobal: boolean
}

export interface Environment {
  /** ms since the epoch. */
  now(): number
  /** Since the process started; never goes back. */
  uptimeSec(): number
  /** Uniform in [0, 1). */
  random(): number
  /** Once, after so long; what had come by then was told before it, and may have cancelled it. */
  after(sec: number, callback: () => void): Timer
  /** Once, when what is due now was done. */
  soon(callback: () => void): void
  /** Starts to measure a turn of work: the answer tells whether it has taken longer than this. */
  startTurn(limitMs: number): () => boolean
  /** Begins to connect; throws ERR_SYSCALL when no socket can be made as it is wanted. */
  dial(options: DialOptions): Transport
  /** Listens, or rejects with ERR_BGP_LISTEN. */
  listen(options: ListenerOptions): Promise<Listener>
  /** The addresses that this machine has now; none: nothing is known of them. */
  localAddresses(): readonly LocalAddress[]
  /** Looks for routers on an interface until it is closed (RFC 4861 4.2); throws ERR_SYSCALL. */
  discoverRouters(device: string, found: (router: Address) => void): { close(): void }
  /** Watches the path to a peer by BFD; what it finds is told, and what changes at once. Never throws. */
  watchPath(path: WantedPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch
}
