/**
 * One neighbor: its session, what it sent, what is imported of that, and what is kept while it restarts.
 *
 *     session --UPDATE--> importer --> Adj-RIB-In --> Loc-RIB        --down--> stale routes, or nothing is left
 */
import { Cease, ErrorCode, RefreshSubtype } from '../bgp/messages/numbers.ts'
import type { Wait } from '../clock/clock.ts'
import type { AddressFamilyName, Neighbor } from '../desired/model.ts'
import { formatAddress, formatScoped } from '../ip/address.ts'
import { ownAsInPath } from '../policy/import.ts'
import { AdjRibIn } from '../rib/adj-rib-in.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import { isHardReset } from '../bgp/fsm/cease.ts'
import type { PeerRestart } from '../bgp/fsm/negotiate.ts'
import { encodeRouteRefresh } from '../bgp/messages/route-refresh.ts'
import type { AfiSafi, RouteRefreshMessage, UpdateProblem } from '../bgp/messages/types.ts'
import type { DecodedUpdate } from '../bgp/messages/update.ts'
import type { Environment } from './session/environment.ts'
import type { Effect } from './session/neighbor-effects.ts'
import { type AcceptingSession, createPeerSession } from './session/peer-session.ts'
import type { NegotiatedSession, SessionEvents } from './session/types.ts'
import type { Chore } from './chores.ts'
import type { FigureWriter } from './figures.ts'
import { Importer, type ImporterHost } from './importer.ts'
import type { FsmState } from '../bgp/fsm/events.ts'
import type { PeerSnapshot, ResetReason, SpeakerOptions, UpdateErrors } from './protocol.ts'
import { isSameFamily, StaleRoutes, unicastFamilies } from './stale-routes.ts'
import { PeerPath } from './peer-path.ts'
import type { UpdateGroup } from './update-group.ts'

export interface PeersHost {
  readonly figures: FigureWriter
  stateChanged(peer: Peer, state: FsmState, previous: FsmState): void
  established(peer: Peer, negotiated: NegotiatedSession): void
  down(peer: Peer): void
  drained(peer: Peer): void
  /** Who may connect to the listener has changed. */
  peerFound(): void
  routeRefresh(peer: Peer, family: AddressFamilyName): void
  /** {@link Peer.work} has something to do. */
  workDue(peer: Peer): void
  /** Facts changed that shape UPDATEs but not the session. */
  viewChanged(peer: Peer): void
  log(peer: Peer, level: 'info' | 'warn' | 'error', message: string): void
}

/** Of Adj-RIB-In: most of them stay. */
const slotsPerUnit = 8

/** A session that was ended for its prefixes is not tried again for so long; a changed limit ends the wait. */
const tooManyPrefixesSec = 300

export class Peer implements SessionEvents, Chore, ImporterHost {
  neighbor: Neighbor
  readonly session: AcceptingSession
  readonly adjRibIn: AdjRibIn
  readonly importer: Importer
  /** What is kept for the peer while it restarts. */
  readonly staleRoutes: StaleRoutes
  readonly path: PeerPath
  /** Of its figures; -1: it has none. */
  row = -1
  /** ms since the epoch of the last change of state. */
  since = 0
  updateErrors: UpdateErrors | undefined
  /** ROUTE-REFRESH messages that meant nothing on their session. */
  refreshesIgnored = 0
  /** Set while Established. */
  group: UpdateGroup | undefined
  /** Why families are not announced on this session, or what is odd about their next hops. */
  problems: Readonly<Partial<Record<AddressFamilyName, string>>> = {}
  /** All that was wanted when this session began, or later, was handed over: the rest of its first update is ours. */
  isHandedOver = false
  /** Set while this session waits for that. */
  handOverWait: Wait | undefined
  /** AFIs of which End-of-RIB went out on this session (RFC 4724 2). */
  readonly endOfRibsSent = new Set<number>()
  /** Families that are left out on this session for want of an address. */
  withoutAddress: readonly AddressFamilyName[] = []
  /** Set while End-of-RIB of these waits for one. */
  addressWait: Wait | undefined
  /** Let go: its session still closes, its events reach nobody. */
  isGone = false
  readonly #environment: Environment
  readonly #host: PeersHost
  readonly #tolerated = new LineBudget()
  readonly #logged = new LineBudget()
  /** AFIs that the peer said End-of-RIB for on this session. */
  readonly #endOfRibs = new Set<number>()
  /** What the peer's last OPEN said of graceful restart. */
  #restart: PeerRestart | undefined

  constructor(
    neighbor: Neighbor,
    { isRestart, isForwardingPreserved }: SpeakerOptions,
    environment: Environment,
    locRib: LocRib,
    host: PeersHost,
  ) {
    this.neighbor = neighbor
    this.#environment = environment
    this.#host = host
    this.session = createPeerSession({ neighbor, events: this, isRestart, isForwardingPreserved, environment })
    this.adjRibIn = new AdjRibIn({ seed: Math.floor(environment.random() * 2 ** 32) })
    this.importer = new Importer(neighbor, this.adjRibIn, locRib, this)
    this.path = new PeerPath(this, environment)
    const { adjRibIn } = this
    this.staleRoutes = new StaleRoutes(
      {
        markStale: () => adjRibIn.markStale(),
        sweepStale: (family) => {
          adjRibIn.sweepStale(family)
          this.#sweepDue()
        },
      },
      environment,
      (message) => this.log('info', message),
    )
  }

  /** Removes what is gone and looks at what may be imported, in slices. */
  work(units: number): number {
    const unused = this.#workOn(units)
    this.counted()
    return unused
  }

  #workOn(units: number): number {
    const left = this.adjRibIn.sweep(units * slotsPerUnit, this.importer.touched) / slotsPerUnit
    if (this.adjRibIn.isSweepDue) return 0
    // What went may have been too many.
    if (left < units) this.#boundPrefixes()
    return this.importer.work(Math.floor(left))
  }

  importDue(): void {
    this.#host.workDue(this)
  }

  locRibFull(): void {
    this.#warn('more prefixes are imported than the Loc-RIB holds: some are not used until there is room')
  }

  get isEndOfRibSent(): boolean {
    return this.session.negotiated?.families.every(({ afi }) => this.endOfRibsSent.has(afi)) === true
  }

  /** Takes what changes without a new session; `changed` is what that does. */
  configure(next: Neighbor, changed: ReadonlySet<Effect>): void {
    this.neighbor = next
    this.session.configure(next)
    this.path.look()
    // RFC 2918 3: a new import policy needs what is not in Adj-RIB-In.
    if (this.importer.configure(next, changed)) this.askForRoutes()
    if (changed.has('view')) this.#host.viewChanged(this)
    if (changed.has('limit')) this.#boundPrefixes()
    this.stepped()
  }

  /** Has the peer send all its routes again (RFC 2918 3); false where it cannot be asked. */
  askForRoutes(): boolean {
    const { negotiated } = this.session
    if (negotiated?.routeRefresh !== true) return false
    for (const family of negotiated.families)
      this.session.send(encodeRouteRefresh({ type: 'routeRefresh', family, subtype: RefreshSubtype.request }), 1)
    return true
  }

  /** Nothing of what it sent is left. */
  forget(): void {
    this.staleRoutes.end()
    this.adjRibIn.clear()
    this.importer.forget()
    this.counted()
  }

  counted(): void {
    const { session, adjRibIn, group, neighbor, row } = this
    if (row < 0) return
    this.#host.figures.write(row, {
      messagesIn: session.messagesIn,
      messagesOut: session.messagesOut,
      updatesIn: session.updatesIn,
      updatesOut: session.updatesOut,
      received: { ipv4: adjRibIn.count('ipv4'), ipv6: adjRibIn.count('ipv6') },
      advertised: {
        ipv4: group?.sentCount(neighbor.id, 'ipv4') ?? 0,
        ipv6: group?.sentCount(neighbor.id, 'ipv6') ?? 0,
      },
    })
  }

  stepped(): void {
    if (!this.isGone) this.#host.figures.changed()
    this.counted()
  }

  stateChanged(state: FsmState, previous: FsmState): void {
    this.since = this.#environment.now()
    if (!this.isGone) this.#host.stateChanged(this, state, previous)
  }

  established(negotiated: NegotiatedSession): void {
    this.path.established(negotiated)
    this.#restart = negotiated.peerRestart
    this.#endOfRibs.clear()
    this.importer.established(this.session.peer, negotiated)
    this.staleRoutes.established(this.#restart)
    if (!this.isGone) this.#host.established(this, negotiated)
  }

  down(reason: ResetReason, { isRestart }: { readonly isRestart: boolean }): void {
    const restart = this.#restart
    this.#restart = undefined
    if (isRestart && restart !== undefined && !this.isGone) this.staleRoutes.lost(restart)
    // A failed attempt meanwhile changes nothing for a peer that is waited for; a Hard Reset does (RFC 8538 3).
    else if (restart !== undefined || !this.staleRoutes.isHelping || isHardResetOf(reason)) this.forget()
    if (!this.isGone) this.#host.down(this)
    this.stepped()
  }

  drained(): void {
    if (!this.isGone) this.#host.drained(this)
  }

  peerFound(): void {
    if (this.isGone) return
    this.path.look()
    this.stepped()
    this.#host.peerFound()
  }

  update(update: DecodedUpdate): void {
    const codec = this.session.negotiated?.codec
    if (codec === undefined) return
    const received = this.importer.receive(update)
    this.adjRibIn.apply(received, codec, this.#environment.now(), this.importer.touched)
    if (received.problems.length > 0) this.#tolerate(received.problems)
    if (received.endOfRib !== undefined) {
      this.#endOfRibs.add(received.endOfRib.afi)
      this.staleRoutes.endOfRib(received.endOfRib)
    }
    this.#boundPrefixes()
  }

  routeRefresh({ family, subtype }: RouteRefreshMessage): void {
    if (this.isGone) return
    const name = unicastFamilies.find(([one]) => isSameFamily(one, family))?.[1]
    if (name === undefined || !this.#isNegotiated(family)) {
      this.#ignoreRefresh()
      return this.#warn(
        `ROUTE-REFRESH of AFI ${family.afi}, SAFI ${family.safi} is ignored: the session does not have it (RFC 2918 4)`,
      )
    }
    if (subtype === RefreshSubtype.request) return this.#host.routeRefresh(this, name)
    // RFC 7313 5: BoRR and EoRR mean something only where both sides announced it; other subtypes are ignored.
    if (this.session.negotiated?.enhancedRouteRefresh !== true || subtype > RefreshSubtype.end) this.#ignoreRefresh()
    else if (subtype === RefreshSubtype.end) {
      this.adjRibIn.endRefresh(family)
      this.#sweepDue()
    } else if (this.#isBeginTimely(family)) this.adjRibIn.beginRefresh(family)
    else this.#ignoreRefresh()
  }

  #ignoreRefresh(): void {
    this.refreshesIgnored++
    this.stepped()
  }

  /** RFC 2918 4: what was not negotiated for this session is not asked for either. */
  #isNegotiated(family: AfiSafi): boolean {
    return this.session.negotiated?.families.some((one) => isSameFamily(one, family)) === true
  }

  /** RFC 7313 4: a peer with graceful restart says no BoRR before its End-of-RIB. */
  #isBeginTimely(family: AfiSafi): boolean {
    const { capabilities = [] } = this.session.negotiated?.remoteOpen ?? {}
    return !capabilities.some(({ type }) => type === 'gracefulRestart') || this.#endOfRibs.has(family.afi)
  }

  #sweepDue(): void {
    if (this.adjRibIn.isSweepDue) this.#host.workDue(this)
  }

  /** What the session says: whoever is at the peer's address decides how often it connects. */
  log(level: 'info' | 'warn' | 'error', message: string): void {
    this.#logWithin(this.#logged, level, message)
  }

  #tolerate(problems: readonly UpdateProblem[]): void {
    const errors = problems.filter(({ reason }) => reason !== ownAsInPath)
    const {
      treatedAsWithdraw,
      attributeDiscarded,
      ownAsInPath: ownAs,
      last,
    } = this.updateErrors ?? { treatedAsWithdraw: 0, attributeDiscarded: 0, ownAsInPath: 0 }
    const one = (action: UpdateProblem['action']): number => (errors.some((error) => error.action === action) ? 1 : 0)
    const text = errors.at(-1)?.reason
    this.updateErrors = {
      treatedAsWithdraw: treatedAsWithdraw + one('treat-as-withdraw'),
      attributeDiscarded: attributeDiscarded + one('attribute-discard'),
      ownAsInPath: ownAs + (errors.length < problems.length ? 1 : 0),
      ...(text === undefined
        ? last === undefined
          ? {}
          : { last }
        : { last: { at: new Date(this.#environment.now()).toISOString(), text } }),
    }
    this.stepped()
    for (const { action, reason } of errors) this.#warn(`UPDATE error tolerated as ${action} (RFC 7606): ${reason}`)
  }

  /** What a peer can cause as often as it likes. */
  #warn(message: string): void {
    this.#logWithin(this.#tolerated, 'warn', message)
  }

  #logWithin(budget: LineBudget, level: 'info' | 'warn' | 'error', message: string): void {
    const withheld = budget.take(this.#environment.uptimeSec())
    if (withheld !== undefined)
      this.#host.log(this, level, `${message}${withheld === 0 ? '' : `; ${withheld} before it were not logged`}`)
  }

  /** RFC 4486 4: more prefixes than the neighbor may send end its session; the data is family and limit. */
  #boundPrefixes(): void {
    const { maxPrefixes } = this.neighbor
    // What is kept for a peer that is away is judged when it is back: there is no session to end.
    if (maxPrefixes === undefined || this.session.negotiated === undefined) return
    // What was not announced again still counts while it is removed, and is not too much: as many again may be new.
    const limit = this.adjRibIn.isSweepDue ? 2 * maxPrefixes : maxPrefixes
    for (const [family, name] of unicastFamilies) {
      const count = this.adjRibIn.count(family.afi === 1 ? 'ipv4' : 'ipv6')
      if (count <= limit) continue
      const data = Uint8Array.of(
        0,
        family.afi,
        family.safi,
        maxPrefixes >>> 24,
        maxPrefixes >>> 16,
        maxPrefixes >>> 8,
        maxPrefixes,
      )
      return this.session.fail(
        {
          code: ErrorCode.cease,
          subcode: Cease.maximumPrefixes,
          data,
          reason: `${count} prefixes of ${name}, at most ${maxPrefixes} are taken (maxPrefixes)`,
        },
        tooManyPrefixesSec,
      )
    }
  }
}

function isHardResetOf({ direction, code = 0, subcode = 0 }: ResetReason): boolean {
  return direction === 'received' && isHardReset({ code, subcode })
}

const linesPerWindow = 10
const windowSec = 10

/** A peer decides how many errors it sends, not how many lines are logged. */
class LineBudget {
  #windowAtSec = 0
  #taken = 0
  #withheld = 0

  /** How many lines were withheld since the last one; undefined: withhold this one too. Of a clock that never jumps. */
  take(uptimeSec: number): number | undefined {
    if (uptimeSec - this.#windowAtSec >= windowSec) {
      this.#windowAtSec = uptimeSec
      this.#taken = 0
    }
    if (this.#taken >= linesPerWindow) {
      this.#withheld++
      return undefined
    }
    this.#taken++
    const withheld = this.#withheld
    this.#withheld = 0
    return withheld
  }
}

/** The peer as the API shows it; never its key. */
export function peerSnapshot({
  neighbor,
  session,
  adjRibIn,
  since,
  group,
  updateErrors,
  problems,
  refreshesIgnored,
  path,
}: Peer): PeerSnapshot {
  const { negotiated, lastReset, reason } = session
  return {
    id: neighbor.id,
    virtualRouter: neighbor.virtualRouter,
    localAsn: neighbor.localAsn,
    peerAsn: negotiated?.peerAsn ?? neighbor.peerAsn,
    peerAddress:
      session.peer === undefined
        ? `${neighbor.peerAddress}${neighbor.interface === undefined ? '' : `%${neighbor.interface}`}`
        : formatScoped(session.peer, neighbor.interface),
    peerPort: neighbor.peerPort,
    state: session.state,
    since: new Date(since).toISOString(),
    routerId: neighbor.routerId,
    ...(negotiated === undefined
      ? {}
      : {
          localAddress: formatAddress(negotiated.localAddress),
          peerRouterId: formatAddress(negotiated.remoteOpen.bgpId),
          holdTimeSec: negotiated.holdTimeSec,
          keepaliveSec: negotiated.keepaliveSec,
        }),
    capabilities: negotiated?.capabilities ?? [],
    gracefulRestart: negotiated?.gracefulRestart ?? false,
    families: neighbor.families.map((family) => {
      const short = family === 'ipv4-unicast' ? 'ipv4' : 'ipv6'
      const problem = negotiated === undefined ? undefined : problems[family]
      return {
        family,
        received: adjRibIn.count(short),
        advertised: group?.sentCount(neighbor.id, short) ?? 0,
        ...(problem === undefined ? {} : { problem }),
        ...(problem === undefined || group?.view.nextHops[family] === undefined ? {} : { isAnnounced: true as const }),
      }
    }),
    messagesIn: session.messagesIn,
    messagesOut: session.messagesOut,
    updatesIn: session.updatesIn,
    updatesOut: session.updatesOut,
    flaps: session.flaps,
    transitions: session.transitions,
    ...(lastReset === undefined ? {} : { lastReset }),
    ...(session.pending.length === 0 ? {} : { pending: session.pending }),
    ...(updateErrors === undefined ? {} : { updateErrors }),
    ...(refreshesIgnored === 0 ? {} : { refreshesIgnored }),
    ...(reason === undefined ? {} : { reason }),
    ...(path.snapshot === undefined ? {} : { bfdSession: path.snapshot }),
  }
}
