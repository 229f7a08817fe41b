/**
 * Sessions that hear the same, so that an UPDATE is encoded once and the same buffer is written to each.
 *
 *     dirty prefixes ---.
 *                        >-- Loc-RIB: want --diff--> Adj-RIB-Out --batches--> encode once --> send to each member
 *     resync of members-'
 *
 * A member that joined, that lagged behind, or that asked for a refresh is resynced: a walk over all prefixes in
 * bounded steps, which sends only differences. A member whose queue is full gets nothing until it has drained and
 * is resynced then, so the only queue is the socket's.
 */
import type { AddressFamilyName } from '../desired/model.ts'
import type { Address, Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'
import { exportAttributes, type ExportView } from '../policy/export.ts'
import { AdjRibOut, Batches, type Batch, maxMembers, type MemberMask, type WantedPath } from '../rib/adj-rib-out.ts'
import { AttributeTable } from '../rib/attribute-table.ts'
import type { LocalRoutes, LocRib } from '../rib/loc-rib.ts'
import { packAnnouncements, packWithdrawals } from '../bgp/messages/pack.ts'
import { encodeRouteRefresh, RefreshSubtype } from '../bgp/messages/route-refresh.ts'
import {
  type AfiSafi,
  type CodecContext,
  ipv4Unicast,
  ipv6Unicast,
  type PathAttributes,
} from '../bgp/messages/types.ts'

export interface GroupMember {
  /** Neighbor id. */
  readonly id: string
  /** RFC 7313 was negotiated: a refresh is framed by BoRR and EoRR. */
  readonly isRefreshEnhanced: boolean
  send(messages: Uint8Array, count: number): boolean
}

interface Slot {
  readonly member: GroupMember
  readonly bit: MemberMask
  /** Its queue is full. */
  isBlocked: boolean
  /** A resync is due but has not begun. */
  isWaiting: boolean
  readonly refresh: Set<AddressFamilyName>
  /** Families whose refresh was begun on the wire (BoRR) and not ended (EoRR). */
  readonly refreshing: Set<AddressFamilyName>
  /** Some prefixes are not sent because the member has as many as it may. */
  isAtLimit: boolean
}

/** What a group does beyond its view; sessions of one group have it in common. */
export interface GroupLimits {
  /** Prefixes of one family that a member is sent at most. */
  readonly maxPrefixesOut?: number
}

interface Resync {
  members: MemberMask
  readonly wants: Iterator<Want>
}

/** A prefix and what the Loc-RIB has for it: found with it, a million look-ups are spared. */
type Want = readonly [Prefix, LocalRoutes | undefined]

/** What was computed of route lists is remembered up to this many, or twice what is in use. */
const minRemembered = 8192

const familyName = (prefix: Prefix): AddressFamilyName =>
  prefixFamily(prefix) === 'ipv4' ? 'ipv4-unicast' : 'ipv6-unicast'
const afiSafiOf: Readonly<Record<AddressFamilyName, AfiSafi>> = {
  'ipv4-unicast': ipv4Unicast,
  'ipv6-unicast': ipv6Unicast,
}
const afiSafi = (prefix: Prefix): AfiSafi => (prefixFamily(prefix) === 'ipv4' ? ipv4Unicast : ipv6Unicast)

/** Sessions with equal keys share a group. */
export function groupKey(view: ExportView, codec: CodecContext, limits: GroupLimits): string {
  const { nextHops, ...facts } = view
  const sorted = (record: object): unknown => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([
    sorted(facts),
    sorted(nextHops),
    codec.fourOctetAs,
    codec.maxMessageBytes,
    codec.extendedNextHop,
    codec.families,
    limits.maxPrefixesOut,
  ])
}

export class UpdateGroup {
  /** How many buffers were encoded; tests and metrics compare it with what was written. */
  encodings = 0
  /** Announcements that fitted into no message beside their attributes and were withdrawn instead. */
  tooLarge = 0
  readonly adjRibOut: AdjRibOut
  readonly view: ExportView
  readonly #codec: CodecContext
  readonly #locRib: LocRib
  readonly #limits: GroupLimits
  readonly #table = new AttributeTable()
  readonly #slots = new Map<string, Slot>()
  readonly #wanted = new Map<LocalRoutes, Readonly<Record<AddressFamilyName, readonly WantedPath[]>>>()
  #resync: Resync | undefined
  #sweepAt = minRemembered

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
    this.#codec = codec
    this.#locRib = locRib
    this.#limits = limits
  }

  get attributeSets(): number {
    return this.#table.size
  }

  get isFull(): boolean {
    return this.#slots.size >= maxMembers
  }

  get isEmpty(): boolean {
    return this.#slots.size === 0
  }

  /** Something is left to send that needs no event from outside. */
  get isBusy(): boolean {
    return this.#resync !== undefined || [...this.#slots.values()].some((slot) => slot.isWaiting && !slot.isBlocked)
  }

  /** `sent` is what the member has already been sent on this session, by another group. */
  join(
    member: GroupMember,
    sent: Iterable<readonly [Prefix, { readonly attributes: PathAttributes; readonly at: number }]> = [],
  ): void {
    const taken = [...this.#slots.values()].reduce((mask, slot) => mask | slot.bit, 0)
    const bit = ~taken & (taken + 1)
    this.#slots.set(member.id, {
      member,
      bit,
      isBlocked: false,
      isWaiting: true,
      refresh: new Set(),
      refreshing: new Set(),
      isAtLimit: false,
    })
    this.#wanted.clear()
    for (const [prefix, path] of sent)
      this.adjRibOut.adopt(prefix, this.#table.intern({ ...path.attributes }), bit, path.at)
  }

  leave(id: string): void {
    const slot = this.#slots.get(id)
    if (slot === undefined) return
    this.#slots.delete(id)
    this.#wanted.clear()
    if (this.#resync !== undefined) this.#resync.members &= ~slot.bit
    this.adjRibOut.forget(slot.bit)
  }

  /** The member's queue is empty again. */
  drained(id: string): void {
    const slot = this.#slots.get(id)
    if (slot?.isBlocked !== true) return
    slot.isBlocked = false
    slot.isWaiting = true
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
    return slot !== undefined && !slot.isBlocked && !slot.isWaiting && ((this.#resync?.members ?? 0) & slot.bit) === 0
  }

  sentTo(id: string): Generator<readonly [Prefix, { readonly attributes: PathAttributes; readonly at: number }]> {
    return this.adjRibOut.sentToMember(this.#slots.get(id)?.bit ?? 0)
  }

  /** How many prefixes of a family the member was sent. */
  sentCount(id: string, family: Family): number {
    const slot = this.#slots.get(id)
    return slot === undefined ? 0 : this.adjRibOut.count(slot.bit, family)
  }

  sentPath(id: string, prefix: Prefix): { readonly attributes: PathAttributes; readonly at: number } | undefined {
    return this.adjRibOut.sentTo(prefix, this.#slots.get(id)?.bit ?? 0)
  }

  /** Sends the difference for these prefixes to every member that can take it. */
  flush(prefixes: readonly Prefix[], now: number): void {
    const ready = this.#ready()
    if (ready === 0 || prefixes.length === 0) return
    const batches = new Batches(now)
    for (const prefix of prefixes) this.#diff(prefix, this.#locRib.get(prefix)?.routes, ready, batches)
    this.#sendAll(batches)
  }

  #diff(prefix: Prefix, routes: LocalRoutes | undefined, ready: MemberMask, batches: Batches): void {
    this.adjRibOut.diff(prefix, this.#withinLimit(prefix, this.#want(prefix, routes)), ready, batches)
  }

  #sendAll(batches: Batches): void {
    const list = batches.list()
    this.#send(list)
    // Room that a withdrawal made is for what was held back.
    const roomy = list.reduce((mask, { attributes, members }) => (attributes === undefined ? mask | members : mask), 0)
    for (const slot of this.#slots.values())
      if (slot.isAtLimit && (slot.bit & roomy) !== 0) [slot.isAtLimit, slot.isWaiting] = [false, true]
  }

  /** True when prefixes are held back from this member by maxPrefixesOut. */
  isHoldingBack(id: string): boolean {
    return this.#slots.get(id)?.isAtLimit === true
  }

  /** One step of the resync under way, or the beginning of the next; at most `limit` prefixes. */
  continueResync(limit: number, now: number): void {
    const resync = (this.#resync ??= this.#beginResync())
    if (resync === undefined) return
    const ready = this.#ready()
    const batches = new Batches(now)
    for (let compared = 0; compared < limit; compared++) {
      const next = resync.wants.next()
      if (next.done === true) {
        this.#resync = undefined
        break
      }
      this.#diff(next.value[0], next.value[1], ready, batches)
    }
    this.#sendAll(batches)
    if (this.#resync === undefined) this.#endRefreshes(resync.members)
  }

  /** RFC 7313 4: EoRR when all of a refresh was sent; a member that has to be resynced once more gets it then. */
  #endRefreshes(members: MemberMask): void {
    for (const slot of this.#slots.values()) {
      if ((slot.bit & members) === 0 || slot.isBlocked || slot.isWaiting) continue
      for (const family of slot.refreshing)
        slot.member.send(
          encodeRouteRefresh({ type: 'routeRefresh', family: afiSafiOf[family], subtype: RefreshSubtype.end }),
          1,
        )
      slot.refreshing.clear()
    }
  }

  #beginResync(): Resync | undefined {
    let members = 0
    for (const slot of this.#slots.values()) {
      if (!slot.isWaiting || slot.isBlocked) continue
      slot.isWaiting = false
      members |= slot.bit
      if (slot.refresh.size > 0) this.adjRibOut.invalidate(slot.bit, (prefix) => slot.refresh.has(familyName(prefix)))
      for (const family of slot.member.isRefreshEnhanced ? slot.refresh : []) {
        slot.member.send(
          encodeRouteRefresh({ type: 'routeRefresh', family: afiSafiOf[family], subtype: RefreshSubtype.begin }),
          1,
        )
        slot.refreshing.add(family)
      }
      slot.refresh.clear()
    }
    return members === 0 ? undefined : { members, wants: wantedThenSent(this.#locRib, this.adjRibOut) }
  }

  #ready(): MemberMask {
    let mask = 0
    for (const slot of this.#slots.values()) if (!slot.isBlocked) mask |= slot.bit
    return mask
  }

  #want(prefix: Prefix, routes: LocalRoutes | undefined): readonly WantedPath[] {
    if (routes === undefined) return []
    let wanted = this.#wanted.get(routes)
    if (wanted === undefined) {
      if (this.#wanted.size + this.#table.size >= this.#sweepAt) this.#sweep()
      wanted = {
        'ipv4-unicast': this.#wantedPaths(routes, this.view.nextHops['ipv4-unicast']),
        'ipv6-unicast': this.#wantedPaths(routes, this.view.nextHops['ipv6-unicast']),
      }
      this.#wanted.set(routes, wanted)
    }
    return wanted[familyName(prefix)]
  }

  /** Without the members that would get a prefix more than they may have. */
  #withinLimit(prefix: Prefix, wanted: readonly WantedPath[]): readonly WantedPath[] {
    const limit = this.#limits.maxPrefixesOut
    if (limit === undefined || wanted.length === 0) return wanted
    let full = 0
    for (const slot of this.#slots.values()) {
      if (
        this.adjRibOut.count(slot.bit, prefixFamily(prefix)) < limit ||
        this.adjRibOut.sentTo(prefix, slot.bit) !== undefined
      )
        continue
      slot.isAtLimit = true
      full |= slot.bit
    }
    return full === 0 ? wanted : wanted.map((path) => ({ ...path, members: path.members & ~full }))
  }

  #sweep(): void {
    this.#wanted.clear()
    this.#table.keepOnly(this.adjRibOut.attributesInUse())
    this.#sweepAt = Math.max(minRemembered, 2 * this.#table.size)
  }

  /** The first route that names a member is the one that it gets. */
  #wantedPaths(routes: LocalRoutes, nextHop: Address | undefined): readonly WantedPath[] {
    if (nextHop === undefined) return []
    const paths = new Map<PathAttributes, MemberMask>()
    let served = 0
    for (const { neighbors, attributes } of routes) {
      const members = neighbors.reduce((mask, id) => mask | (this.#slots.get(id)?.bit ?? 0), 0) & ~served
      if (members === 0) continue
      served |= members
      const path = this.#table.intern(exportAttributes(attributes, this.view, nextHop))
      paths.set(path, (paths.get(path) ?? 0) | members)
    }
    return [...paths].map(([attributes, members]) => ({ attributes, members }))
  }

  /** Encodes each batch once, and writes one buffer for all batches that go to the same members. */
  #send(batches: readonly Batch[]): void {
    const outgoing = new Map<MemberMask, { readonly buffers: Uint8Array[]; count: number }>()
    for (const { attributes, members, prefixes } of batches) {
      let out = outgoing.get(members)
      if (out === undefined) outgoing.set(members, (out = { buffers: [], count: 0 }))
      for (const part of byFamily(prefixes)) {
        const family = afiSafi(part[0] as Prefix)
        const { bytes, count, tooLarge } =
          attributes === undefined
            ? packWithdrawals(part, family, this.#codec)
            : packAnnouncements(attributes, part, family, this.#codec)
        for (const prefix of tooLarge) this.adjRibOut.retract(prefix, members)
        this.tooLarge += tooLarge.length
        this.encodings++
        out.buffers.push(bytes)
        out.count += count
      }
    }
    for (const [members, { buffers, count }] of outgoing) {
      const [only] = buffers
      const bytes = buffers.length === 1 && only !== undefined ? only : Buffer.concat(buffers)
      for (const slot of this.#slots.values()) {
        if ((slot.bit & members) !== 0 && !slot.member.send(bytes, count)) slot.isBlocked = slot.isWaiting = true
      }
    }
  }
}

/** Everything wanted, then everything sent: the second half finds what has to be withdrawn. */
function* wantedThenSent(locRib: LocRib, adjRibOut: AdjRibOut): Generator<Want> {
  for (const [prefix, { routes }] of locRib.entries()) yield [prefix, routes]
  for (const prefix of adjRibOut.prefixes()) if (locRib.get(prefix) === undefined) yield [prefix, undefined]
}

function byFamily(prefixes: readonly Prefix[]): readonly (readonly Prefix[])[] {
  const ipv4 = prefixes.filter((prefix) => prefixFamily(prefix) === 'ipv4')
  if (ipv4.length === 0 || ipv4.length === prefixes.length) return [prefixes]
  return [ipv4, prefixes.filter((prefix) => prefixFamily(prefix) === 'ipv6')]
}
