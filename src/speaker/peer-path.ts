/**
 * The watch over the path to one peer (RFC 5882 10.2): begun where the neighbor asks for it and the peer's address is
 * known, over the addresses of the session once there is one. A path that is lost ends the session at once; a session
 * never waits for BFD.
 *
 *     neighbor, session --look--> Environment.watchPath --report--> lost: Cease/BFD Down (RFC 9384)
 */
import { noCounts } from '../bfd/counters.ts'
import { diagnosticText } from '../bfd/packet.ts'
import { type BfdReport, isPathLost, type PathWatch, type WantedPath } from '../bfd/path.ts'
import { Cease, ErrorCode } from '../bgp/messages/numbers.ts'
import { ownAsn } from '../bgp/fsm/negotiate.ts'
import type { BfdSettings, Neighbor } from '../desired/model.ts'
import { type Address, formatAddress } from '../ip/address.ts'
import type { BfdSnapshot } from './protocol.ts'
import type { Environment } from './session/environment.ts'
import type { NegotiatedSession, PeerSession } from './session/types.ts'

/** The peer that it is of. */
export interface WatchedPeer {
  readonly neighbor: Neighbor
  readonly session: Pick<PeerSession, 'negotiated' | 'fail'> & { readonly peer: Address | undefined }
  stepped(): void
  log(level: 'info' | 'warn' | 'error', message: string): void
}

interface Watching {
  readonly path: WantedPath
  readonly watch: PathWatch
  settings: BfdSettings
}

/** RFC 5883 5: a TTL of 255 that has come over as many routers as the session's own may. */
const maxTtl = 255

export class PeerPath {
  readonly #peer: WatchedPeer
  readonly #environment: Environment
  #watching: Watching | undefined
  #report: BfdReport | undefined
  /** ms since the epoch of the last change of state. */
  #since = 0
  /** Of the last session. */
  #local: string | undefined
  #peerAsn: number | undefined
  /** When the last session came up, of the clock that never jumps. */
  #establishedSec = 0
  #isClosed = false

  constructor(peer: WatchedPeer, environment: Environment) {
    this.#peer = peer
    this.#environment = environment
  }

  get snapshot(): BfdSnapshot | undefined {
    if (this.#watching === undefined || this.#report === undefined) return undefined
    const { settings } = this.#watching
    return { settings, since: new Date(this.#since).toISOString(), report: this.#report, counts: noCounts }
  }

  /** What is wanted or known may be another. */
  look(): void {
    const { bfd } = this.#peer.neighbor
    const path = bfd === undefined || this.#isClosed ? undefined : this.#path(bfd)
    if (bfd === undefined || path === undefined) return this.#end(false)
    const watching = this.#watching
    if (watching === undefined || JSON.stringify(watching.path) !== JSON.stringify(path)) return this.#begin(path, bfd)
    if (JSON.stringify(watching.settings) === JSON.stringify(bfd)) return
    watching.settings = bfd
    watching.watch.configure(bfd)
  }

  /** The session is up, and between these addresses. */
  established({ localAddress, peerAsn }: Pick<NegotiatedSession, 'localAddress' | 'peerAsn'>): void {
    const local = formatAddress(localAddress)
    // Where the kernel had chosen the same one nothing is begun anew.
    if (this.#watching?.path.source !== undefined || this.#report?.source !== local) this.#local = local
    this.#peerAsn = peerAsn
    this.#establishedSec = this.#environment.uptimeSec()
    this.look()
  }

  /** For good. `isLast`: the process ends. */
  close(isLast = false): void {
    this.#isClosed = true
    this.#end(isLast)
  }

  /** undefined while it is not known where to. On the link (RFC 5881 2) or over several hops (RFC 5883 3). */
  #path(bfd: BfdSettings): WantedPath | undefined {
    const { neighbor, session } = this.#peer
    const { peer } = session
    const asn = this.#peerAsn ?? neighbor.peerAsn
    const isExternal = asn === 0 ? neighbor.refusesOwnAs === true : asn !== ownAsn(neighbor)
    // As far as the session's own packets may come: GTSM goes before the TTL of multihop, as in dialOptions.
    const hops = neighbor.ttlSecurityHops ?? (isExternal ? neighbor.multihopTtl : undefined)
    const isMultihop = bfd.isMultihop ?? (isExternal || hops === 1 ? hops !== 1 : undefined)
    // Whether an internal peer is on the link is seen when it is there, if nobody says so.
    if (peer === undefined || (isMultihop === undefined && this.#peerAsn === undefined)) return undefined
    const source = neighbor.sourceAddress ?? this.#local
    return {
      peer: formatAddress(peer),
      ...(source === undefined ? {} : { source }),
      ...(neighbor.interface === undefined ? {} : { device: neighbor.interface }),
      ...(isMultihop === undefined ? {} : { isMultihop }),
      minimumTtl: hops === undefined || hops === 1 ? 1 : maxTtl + 1 - hops,
    }
  }

  #begin(path: WantedPath, settings: BfdSettings): void {
    this.#end(false)
    this.#since = this.#environment.now()
    const told = (report: BfdReport): void => {
      if (this.#watching?.path === path) this.#told(report)
    }
    this.#watching = { path, settings, watch: { configure: () => {}, close: () => {} } }
    this.#watching = { path, settings, watch: this.#environment.watchPath(path, settings, told) }
  }

  #end(isLast: boolean): void {
    const watching = this.#watching
    this.#watching = undefined
    this.#report = undefined
    watching?.watch.close(isLast)
    if (watching !== undefined) this.#peer.stepped()
  }

  #told(report: BfdReport): void {
    const before = this.#report
    this.#report = report
    if (before?.state !== report.state) this.#since = this.#environment.now()
    this.#say(before, report)
    this.#peer.stepped()
    if (!isPathLost(before, report) || this.#peer.session.negotiated === undefined) return
    // What fell silent before this session came up never watched it: a router may begin BFD anew with each session.
    if (this.#environment.uptimeSec() - (report.silentMs ?? 0) / 1000 < this.#establishedSec) return
    // RFC 5882 4.3: with graceful restart too, since whoever answers no more within its own time does not forward.
    const reason = `BFD session down: ${diagnosticText(report.diagnostic)}`
    this.#peer.session.fail({ code: ErrorCode.cease, subcode: Cease.bfdDown, data: new Uint8Array(), reason }, 0)
  }

  #say(before: BfdReport | undefined, { state, problem, diagnostic, remoteState }: BfdReport): void {
    if (problem !== undefined && problem !== before?.problem) this.#peer.log('warn', `BFD: ${problem}`)
    if (state === 'Up' && before?.state !== 'Up') this.#peer.log('info', 'BFD session up')
    if (state === 'Up' || before?.state !== 'Up') return
    const why = remoteState === 'AdminDown' ? 'taken down by the peer, which is no failure' : diagnosticText(diagnostic)
    this.#peer.log(remoteState === 'AdminDown' ? 'info' : 'warn', `BFD session down: ${why}`)
  }
}
