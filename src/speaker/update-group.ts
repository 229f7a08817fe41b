/**
 * Sessions that hear the same, so that an UPDATE is encoded once and the same buffer is written to each.
 *
 *     dirty prefixes ---.
 *                        >-- Loc-RIB: want --diff--> Adj-RIB-Out --batches--> encode once --> send to each member
 *     walks of members --'
 *
 * A member that joined or that asked for a refresh is walked through all prefixes in bounded steps, which send only
 * differences and what a refresh owes. A member whose queue is full gets nothing until it has drained: its walk waits
 * where it is, and prefixes that change meanwhile are noted; so the only queue is the socket's.
 */
import { RefreshSubtype } from '../bgp/messages/numbers.ts'
import { afiSafiOf } from '../bgp/fsm/negotiate.ts'
import type { AddressFamilyName } from '../desired/model.ts'
import type { Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'
import type { ExportView } from '../policy/export.ts'
import type { GroupLimits } from './group-view.ts'
import {
  AdjRibOut,
  Batches,
  maxMembers,
  type MemberMask,
  type Refresh,
  type SentPath,
  type WantedPath,
} from '../rib/adj-rib-out.ts'
import type { LocalRoutes, LocRib } from '../rib/loc-rib.ts'
import { WantedPaths } from './wanted-paths.ts'
import { type Handover, interned, LeftPlaces, nothingSent, type Place, TakeOver } from './handover.ts'
import { encodeRouteRefresh } from '../bgp/messages/route-refresh.ts'
import type { CodecContext } from '../bgp/messages/types.ts'
import { Outbox, type Recipient } from './outbox.ts'

export interface GroupMember {
  /** Neighbor id. */
  readonly id: string
  /** A refresh that begins now is framed by BoRR and EoRR (RFC 7313). */
  readonly isRefreshFramed: boolean
  send(messages: Uint8Array, count: number): boolean
}

interface Slot extends Recipient {
  readonly member: GroupMember
  /** A walk is due but has not begun. */
  isWaiting: boolean
  /** What it was sent elsewhere and is not taken over yet; nothing is sent before. */
  takeOver: TakeOver | undefined
  /** Prefixes that changed while its queue was full. */
  readonly missed: Set<Prefix>
  readonly refresh: Set<AddressFamilyName>
  /** Families whose refresh has begun, and with which round; framed ones are ended by EoRR. */
  readonly refreshing: Map<AddressFamilyName, { readonly round: number; readonly isFramed: boolean }>
  /** Some prefixes are not sent because the member has as many as it may. */
  isAtLimit: boolean
}

interface Walk {
  members: MemberMask
  readonly wants: Iterator<Want>
}

/** A prefix and what the Loc-RIB has for it: found with it, a million look-ups are spared. */
type Want = readonly [Prefix, LocalRoutes | undefined]

/** Changed prefixes beyond those of a turn that fill up its last message: one of 4096 octets has fewer. */
const maxFill = 1_024
/** Of a member whose queue is full; when more change, it is walked through all of them. */
const maxMissed = 65_536

const familyName = (prefix: Prefix): AddressFamilyName =>
  prefixFamily(prefix) === 'ipv4' ? 'ipv4-unicast' : 'ipv6-unicast'

export class UpdateGroup {
  readonly adjRibOut: AdjRibOut
  readonly view: ExportView
  readonly #locRib: LocRib
  readonly limits: GroupLimits
  readonly #slots = new Map<string, Slot>()
  readonly #wanted: WantedPaths
  /** Those of one member at a time: a walk that everybody waits for is left to who is slow. */
  #walks: Walk[] = []
  readonly #left: LeftPlaces
  readonly #outbox: Outbox
  #round = 0
  readonly #refreshes: Record<AddressFamilyName, readonly Refresh[]> = { 'ipv4-unicast': [], 'ipv6-unicast': [] }

  /** `presence` hears when the first member has a prefix, and when none has it any more. */
  constructor(
    view: ExportView,
    codec: CodecContext,
    locRib: LocRib,
    limits: GroupLimits = {},
    presence?: (prefix: Prefix, isPresent: boolean) => void,
  ) {
    this.adjRibOut = new AdjRibOut(presence)
    this.view = view
    this.#locRib = locRib
    this.limits = limits
    this.#left = new LeftPlaces(this.adjRibOut)
    this.#outbox = new Outbox(this.adjRibOut, codec)
    this.#wanted = new WantedPaths(
      view,
      (neighbor) => this.#slots.get(neighbor)?.bit ?? 0,
      () => this.adjRibOut.attributesInUse(),
    )
  }

  /** How many buffers were encoded; tests and metrics compare it with what was written. */
  get encodings(): number {
    return this.#outbox.encodings
  }

  /** Announcements that fitted into no message beside their attributes and were withdrawn instead. */
  get tooLarge(): number {
    return this.#outbox.tooLarge
  }

  get attributeSets(): number {
    return this.#wanted.size
  }

  get isFull(): boolean {
    return this.#slots.size + this.#left.size >= maxMembers
  }

  /** No member is here, and nothing of one that was. */
  get isEmpty(): boolean {
    return this.#slots.size === 0 && this.#left.isEmpty
  }

  /** Something is left to do that needs no event from outside. */
  get isBusy(): boolean {
    if (this.#left.isCleaningDue) return true
    const walked = this.#walks.reduce((mask, { members }) => mask | members, 0)
    return [...this.#slots.values()].some(
      ({ bit, isBlocked, isWaiting, takeOver, missed }) =>
        takeOver !== undefined || (!isBlocked && (isWaiting || missed.size > 0 || (walked & bit) !== 0)),
    )
  }

  /** `handover` is what the member brings along from another group, on the same session. */
  join(member: GroupMember, { places, isBlocked, asked, begun }: Handover = nothingSent): void {
    const taken = [...this.#slots.values()].reduce((mask, { bit }) => mask | bit, this.#left.taken())
    const bit = ~taken & (taken + 1)
    const own = interned((attributes) => this.#wanted.intern(attributes))
    const adopt = (prefix: Prefix, { attributes, at }: SentPath): void =>
      this.adjRibOut.adopt(prefix, { attributes: own(attributes), at }, bit)
    const takeOver = new TakeOver(places, adopt)
    const round = begun.length > 0 ? ++this.#round : 0
    this.#slots.set(member.id, {
      member,
      bit,
      isBlocked,
      isWaiting: true,
      takeOver: takeOver.places.length === 0 ? undefined : takeOver,
      missed: new Set(),
      refresh: new Set(asked),
      refreshing: new Map(begun.map(([family, { isFramed }]) => [family, { round, isFramed }])),
      isAtLimit: false,
    })
    this.#wanted.forgetMembers()
    this.#listRefreshes()
  }

  /** Nothing more is sent to the member by this group; the answer is for the next one, or to be abandoned. */
  leave(id: string): Handover {
    const slot = this.#slots.get(id)
    if (slot === undefined) return nothingSent
    const place: Place = { rib: this.adjRibOut, bit: slot.bit, state: 'left' }
    this.#slots.delete(id)
    this.#left.add(place)
    this.#wanted.forgetMembers()
    for (const walk of this.#walks) walk.members &= ~slot.bit
    this.#walks = this.#walks.filter(({ members }) => members !== 0)
    this.#listRefreshes()
    return {
      places: [place, ...(slot.takeOver?.places ?? [])],
      isBlocked: slot.isBlocked,
      asked: [...slot.refresh],
      begun: [...slot.refreshing],
    }
  }

  /** The member's queue is empty again. */
  drained(id: string): void {
    const slot = this.#slots.get(id)
    if (slot !== undefined) slot.isBlocked = false
  }

  /** RFC 2918 4: what the member has of this family goes out again, once however often it asks meanwhile. */
  refresh(id: string, family: AddressFamilyName): void {
    const slot = this.#slots.get(id)
    if (slot === undefined) return
    slot.refresh.add(family)
    slot.isWaiting = true
  }

  /** True when the member was sent all that is wanted, dirty prefixes aside. */
  isInSync(id: string): boolean {
    const slot = this.#slots.get(id)
    return (
      slot !== undefined &&
      slot.takeOver === undefined &&
      !slot.isBlocked &&
      !slot.isWaiting &&
      slot.missed.size === 0 &&
      !this.#isWalked(slot.bit)
    )
  }

  *sentTo(id: string): Generator<readonly [Prefix, SentPath]> {
    for (const { rib, bit } of this.#placesOf(id)) yield* rib.sentToMember(bit)
  }

  /** How many prefixes of a family the member was sent. */
  sentCount(id: string, family: Family): number {
    return this.#placesOf(id).reduce((sum, { rib, bit }) => sum + rib.count(bit, family), 0)
  }

  sentPath(id: string, prefix: Prefix): SentPath | undefined {
    for (const { rib, bit } of this.#placesOf(id)) {
      const path = rib.sentTo(prefix, bit)
      if (path !== undefined) return path
    }
    return undefined
  }

  /** Where what was sent to a member stands: here, and where it comes from. */
  #placesOf(id: string): readonly Pick<Place, 'rib' | 'bit'>[] {
    const slot = this.#slots.get(id)
    return slot === undefined ? [] : [{ rib: this.adjRibOut, bit: slot.bit }, ...(slot.takeOver?.places ?? [])]
  }

  /**
   * Sends the difference for these prefixes to every member that can take it, and for those that `more` answers when it
   * is asked for so many that fill up the last message.
   */
  flush(prefixes: readonly Prefix[], now: number, more?: (count: number) => readonly Prefix[]): void {
    if (prefixes.length === 0) return
    const ready = this.#ready()
    const batches = new Batches(now, this.#round)
    if (ready !== 0) this.#compare(prefixes, ready, batches)
    const lack = more === undefined ? 0 : this.#outbox.lackOf(batches.list())
    const added = lack === 0 || lack > maxFill ? [] : (more?.(lack) ?? [])
    if (ready !== 0) this.#compare(added, ready, batches)
    for (const slot of this.#slots.values()) if (slot.isBlocked) this.#note(slot, [...prefixes, ...added])
    this.#sendAll(batches)
  }

  /** What a member whose queue is full has missed; one that is walked through everything later misses nothing. */
  #note(slot: Slot, prefixes: readonly Prefix[]): void {
    if (slot.takeOver !== undefined || (slot.isWaiting && !this.#isWalked(slot.bit))) return
    for (const prefix of prefixes) slot.missed.add(prefix)
    if (slot.missed.size <= maxMissed) return
    slot.missed.clear()
    slot.isWaiting = true
  }

  #compare(prefixes: Iterable<Prefix>, members: MemberMask, batches: Batches): void {
    for (const prefix of prefixes) this.#diff(prefix, this.#locRib.get(prefix)?.routes, members, batches)
  }

  #diff(prefix: Prefix, routes: LocalRoutes | undefined, members: MemberMask, batches: Batches): void {
    const wanted = this.#withinLimit(prefix, this.#wanted.of(routes, familyName(prefix)), members)
    this.adjRibOut.diff(prefix, wanted, members, batches, this.#refreshes[familyName(prefix)])
  }

  #sendAll(batches: Batches): void {
    const list = batches.list()
    this.#outbox.send(list, this.#slots.values())
    // Room that a withdrawal made is for what was held back.
    const roomy = list.reduce((mask, { attributes, members }) => (attributes === undefined ? mask | members : mask), 0)
    for (const slot of this.#slots.values())
      if (slot.isAtLimit && (slot.bit & roomy) !== 0 && this.#hasRoom(slot))
        [slot.isAtLimit, slot.isWaiting] = [false, true]
  }

  /** True when prefixes are held back from this member by maxPrefixesOut. */
  isHoldingBack(id: string): boolean {
    return this.#slots.get(id)?.isAtLimit === true
  }

  #hasRoom({ bit }: Slot): boolean {
    const { maxPrefixesOut: limit = Number.POSITIVE_INFINITY } = this.limits
    return this.adjRibOut.count(bit, 'ipv4') < limit || this.adjRibOut.count(bit, 'ipv6') < limit
  }

  /** A step of what is to be done beside dirty prefixes; at most `limit` of them are looked at. */
  step(limit: number, now: number): void {
    let left = this.#left.clean(limit)
    for (const slot of this.#slots.values()) {
      if (slot.takeOver === undefined) continue
      left = slot.takeOver.step(left)
      if (slot.takeOver.places.length === 0) slot.takeOver = undefined
    }
    for (const { bit, isBlocked, missed } of this.#slots.values()) {
      if (isBlocked || missed.size === 0 || left <= 0) continue
      const some = [...missed].slice(0, left)
      for (const prefix of some) missed.delete(prefix)
      left -= some.length
      const batches = new Batches(now, this.#round)
      this.#compare(some, bit, batches)
      this.#sendAll(batches)
    }
    this.#beginWalk()
    for (const walk of [...this.#walks]) left = this.#goOn(walk, left, now)
  }

  #isWalked(bit: MemberMask): boolean {
    return this.#walks.some(({ members }) => (members & bit) !== 0)
  }

  /** For every member that waits for one and is not on one. */
  #beginWalk(): void {
    let members = 0
    for (const slot of this.#slots.values()) {
      if (!slot.isWaiting || slot.isBlocked || slot.takeOver !== undefined || this.#isWalked(slot.bit)) continue
      slot.isWaiting = false
      members |= slot.bit
      slot.missed.clear()
      this.#beginRefreshes(slot)
    }
    if (members !== 0) this.#walks.push({ members, wants: wantedThenSent(this.#locRib, this.adjRibOut) })
  }

  /** RFC 7313 4: BoRR before the first route; one that was said and not ended holds for a refresh asked for since. */
  #beginRefreshes(slot: Slot): void {
    if (slot.refresh.size === 0) return
    const round = ++this.#round
    for (const family of slot.refresh) {
      if (slot.isBlocked) break
      const wasFramed = slot.refreshing.get(family)?.isFramed === true
      const isFramed = wasFramed || slot.member.isRefreshFramed
      slot.refresh.delete(family)
      slot.refreshing.set(family, { round, isFramed })
      if (isFramed && !wasFramed) this.#frame(slot, family, RefreshSubtype.begin)
    }
    slot.isWaiting = slot.refresh.size > 0
    this.#listRefreshes()
  }

  /** RFC 7313 4: EoRR when all of a refresh was sent; true when every one was said. */
  #endRefreshes(slot: Slot): boolean {
    for (const [family, { isFramed }] of slot.refreshing) {
      if (isFramed && slot.isBlocked) return false
      slot.refreshing.delete(family)
      if (isFramed) this.#frame(slot, family, RefreshSubtype.end)
    }
    this.#listRefreshes()
    return true
  }

  #frame(slot: Slot, family: AddressFamilyName, subtype: number): void {
    const message = encodeRouteRefresh({ type: 'routeRefresh', family: afiSafiOf[family], subtype })
    if (!slot.member.send(message, 1)) slot.isBlocked = true
  }

  #listRefreshes(): void {
    const of = (family: AddressFamilyName): readonly Refresh[] =>
      [...this.#slots.values()].flatMap(({ bit, refreshing }) => {
        const round = refreshing.get(family)?.round
        return round === undefined ? [] : [{ member: bit, round }]
      })
    this.#refreshes['ipv4-unicast'] = of('ipv4-unicast')
    this.#refreshes['ipv6-unicast'] = of('ipv6-unicast')
    this.adjRibOut.keepsRounds = Object.values(this.#refreshes).some((list) => list.length > 0)
  }

  /** Goes on with a walk for those of its members that can take more; answers what is left of `limit`. */
  #goOn(walk: Walk, limit: number, now: number): number {
    const ready = walk.members & this.#ready()
    if (ready === 0 || limit <= 0) return limit
    // Who is slower than others of the same walk gets a walk of its own later.
    for (const slot of this.#slots.values())
      if ((slot.bit & walk.members & ~ready) !== 0) [slot.isWaiting, walk.members] = [true, walk.members & ~slot.bit]
    const batches = new Batches(now, this.#round)
    const taken = this.#walkOn(walk, limit, batches)
    let isOver = taken < limit
    if (!isOver) {
      // What the last message lacks belongs to this turn: else every turn would end with one that is not full.
      const lack = this.#outbox.lackOf(batches.list())
      isOver = lack <= limit && this.#walkOn(walk, lack, batches) < lack
    }
    this.#sendAll(batches)
    if (isOver) this.#endWalk(walk)
    return limit - taken
  }

  /** Answers how many prefixes were looked at: fewer than `limit` at the end. */
  #walkOn({ wants, members }: Walk, limit: number, batches: Batches): number {
    for (let taken = 0; taken < limit; taken++) {
      const { done, value } = wants.next()
      if (done === true) return taken
      this.#diff(value[0], value[1], members, batches)
    }
    return limit
  }

  /** Who cannot take EoRR now is on the walk until it can. */
  #endWalk(walk: Walk): void {
    for (const slot of this.#slots.values())
      if ((slot.bit & walk.members) !== 0 && this.#endRefreshes(slot)) walk.members &= ~slot.bit
    if (walk.members === 0) this.#walks = this.#walks.filter((other) => other !== walk)
  }

  #ready(): MemberMask {
    let mask = 0
    for (const { bit, isBlocked, takeOver } of this.#slots.values())
      if (!isBlocked && takeOver === undefined) mask |= bit
    return mask
  }

  /** Without the members that have a prefix more than they may, or would get one. */
  #withinLimit(prefix: Prefix, wanted: readonly WantedPath[], members: MemberMask): readonly WantedPath[] {
    const limit = this.limits.maxPrefixesOut
    if (limit === undefined || wanted.length === 0) return wanted
    let full = 0
    for (const slot of this.#slots.values()) {
      if ((slot.bit & members) === 0) continue
      const count = this.adjRibOut.count(slot.bit, prefixFamily(prefix))
      const hasIt = this.adjRibOut.sentTo(prefix, slot.bit) !== undefined
      if (hasIt ? count <= limit : count < limit) continue
      slot.isAtLimit = true
      full |= slot.bit
    }
    return full === 0 ? wanted : wanted.map((path) => ({ ...path, members: path.members & ~full }))
  }
}

/** Everything wanted, then everything sent: the second half finds what has to be withdrawn. */
function* wantedThenSent(locRib: LocRib, adjRibOut: AdjRibOut): Generator<Want> {
  for (const [prefix, { routes }] of locRib.entries()) yield [prefix, routes]
  for (const prefix of adjRibOut.prefixes()) if (locRib.get(prefix) === undefined) yield [prefix, undefined]
}
