/**
 * Adj-RIB-Out of an update group: what was really sent, to whom (RFC 4271 3.2).
 *
 *     want (attributes -> members) --diff against what was sent--> batches (attributes, members, prefixes)
 *
 * Members are bits of a mask. A prefix usually has one path that every member got; members that lag behind, or that
 * a route does not name, make more paths of it. Diff records what it answers as sent, so the caller must send it.
 */
import type { PathAttributes } from '../bgp/messages/types.ts'
import type { Family } from '../ip/address.ts'
import { type Prefix, prefixFamily } from '../ip/prefix.ts'

/** Bits 0..29. */
export type MemberMask = number
export const maxMembers = 30

/** Members that should have these attributes; the masks of one prefix do not overlap. */
export interface WantedPath {
  readonly attributes: PathAttributes
  readonly members: MemberMask
}

export interface SentPath {
  readonly attributes: PathAttributes
  readonly members: MemberMask
  /** ms since the epoch */
  readonly at: number
  /** Rises when a refresh begins: what is of an earlier round than it is sent again. */
  readonly round: number
}

/** A member that is sent again what it was sent in an earlier round. */
export interface Refresh {
  readonly member: MemberMask
  readonly round: number
}

const noRefreshes: readonly Refresh[] = []

/** Prefixes that go to the same members with the same attributes; `undefined` withdraws. */
export interface Batch {
  readonly attributes: PathAttributes | undefined
  readonly members: MemberMask
  readonly prefixes: Prefix[]
  /** What is recorded as sent for each prefix that had nothing before: one object for all of them. */
  readonly record: readonly [SentPath] | undefined
  /** The same for each that other members had alike, by what was recorded of it. */
  readonly joined: Map<readonly SentPath[], readonly [SentPath]>
}

const nothing: readonly SentPath[] = []

export class AdjRibOut {
  /** Paths that differ in their round only are kept apart: some member is being refreshed. */
  keepsRounds = false
  readonly #sent = new Map<Prefix, readonly SentPath[]>()
  /** Prefixes that each member has, by the number of its bit. */
  readonly #counts: Readonly<Record<Family, Uint32Array>> = {
    ipv4: new Uint32Array(maxMembers),
    ipv6: new Uint32Array(maxMembers),
  }

  /** Called when the first member was sent a prefix, and when none has it any more. */
  readonly #presence: ((prefix: Prefix, isPresent: boolean) => void) | undefined

  constructor(presence?: (prefix: Prefix, isPresent: boolean) => void) {
    this.#presence = presence
  }

  get size(): number {
    return this.#sent.size
  }

  /** A live iterator: entries may come and go while it runs. */
  prefixes(): MapIterator<Prefix> {
    return this.#sent.keys()
  }

  /** A live iterator over everything that was sent to somebody. */
  entries(): MapIterator<[Prefix, readonly SentPath[]]> {
    return this.#sent.entries()
  }

  paths(prefix: Prefix): readonly SentPath[] {
    return this.#sent.get(prefix) ?? nothing
  }

  /** Every attribute set that some member has. */
  attributesInUse(): ReadonlySet<PathAttributes> {
    const used = new Set<PathAttributes>()
    for (const paths of this.#sent.values()) for (const { attributes } of paths) used.add(attributes)
    return used
  }

  /** How many prefixes of a family a member was sent. */
  count(member: MemberMask, family: Family): number {
    return this.#counts[family][bitNumber(member)] ?? 0
  }

  sentTo(prefix: Prefix, member: MemberMask): SentPath | undefined {
    return this.paths(prefix).find((path) => (path.members & member) !== 0)
  }

  *sentToMember(member: MemberMask): Generator<readonly [Prefix, SentPath]> {
    for (const [prefix, paths] of this.#sent) {
      const path = paths.find(({ members }) => (members & member) !== 0)
      if (path !== undefined) yield [prefix, path]
    }
  }

  /** Adds to `batches` what turns the sent state of a prefix into the wanted one for the members of `ready`. */
  diff(
    prefix: Prefix,
    want: readonly WantedPath[],
    ready: MemberMask,
    batches: Batches,
    refreshes: readonly Refresh[] = noRefreshes,
  ): void {
    const sent = this.#sent.get(prefix) ?? nothing
    const [only] = want
    if (only !== undefined && want.length === 1) {
      if (sent.length === 0) return this.#first(prefix, only, ready, batches)
      const [path] = sent
      const isAlike = sent.length === 1 && path?.attributes === only.attributes && refreshes.length === 0
      if (isAlike && !this.keepsRounds && (path.members & ready & ~only.members) === 0)
        return this.#join(prefix, sent, only, ready, batches)
    }
    let stale = ready
    let announced = 0
    const added: SentPath[] = []
    for (const { attributes, members } of want) {
      const wanted = members & ready
      const kept = keptOf(sent, attributes, refreshes)
      const missing = wanted & ~kept
      stale &= ~(wanted & kept)
      if (missing === 0) continue
      batches.add(attributes, missing, prefix)
      announced |= missing
      added.push({ attributes, members: missing, at: batches.now, round: batches.round })
    }
    const withdrawn = membersOf(sent) & stale & ~announced
    if (withdrawn !== 0) batches.add(undefined, withdrawn, prefix)
    if (announced !== 0 || withdrawn !== 0) this.#record(prefix, sent, added, announced | withdrawn)
  }

  /** The hot path of a first announcement: nothing to compare and nothing to allocate. */
  #first(prefix: Prefix, { attributes, members }: WantedPath, ready: MemberMask, batches: Batches): void {
    const missing = members & ready
    if (missing === 0) return
    const { record } = batches.add(attributes, missing, prefix)
    if (record === undefined) return
    this.#sent.set(prefix, record)
    this.#tally(prefix, 0, missing)
    this.#presence?.(prefix, true)
  }

  /** The hot path of a member that comes later than others: who had the prefix keeps it, and nothing is allocated. */
  #join(
    prefix: Prefix,
    sent: readonly SentPath[],
    { attributes, members }: WantedPath,
    ready: MemberMask,
    batches: Batches,
  ): void {
    const had = membersOf(sent)
    const missing = members & ready & ~had
    if (missing === 0) return
    const { joined } = batches.add(attributes, missing, prefix)
    let next = joined.get(sent)
    if (next === undefined)
      joined.set(sent, (next = [{ attributes, members: had | missing, at: batches.now, round: batches.round }]))
    this.#sent.set(prefix, next)
    this.#tally(prefix, had, had | missing)
  }

  /** Takes over what another group has sent to a member that moves here, in no round of this one. */
  adopt(prefix: Prefix, { attributes, at }: Pick<SentPath, 'attributes' | 'at'>, member: MemberMask): void {
    this.#record(prefix, this.paths(prefix), [{ attributes, members: member, at, round: 0 }], member)
  }

  /** Nothing of this prefix counts as sent to these members any more. */
  retract(prefix: Prefix, members: MemberMask): void {
    this.#record(prefix, this.paths(prefix), [], members)
  }

  #record(prefix: Prefix, sent: readonly SentPath[], added: readonly SentPath[], replaced: MemberMask): void {
    const paths = [...added]
    for (const path of sent) {
      const members = path.members & ~replaced
      if (members !== 0) paths.push(members === path.members ? path : { ...path, members })
    }
    const next = mergeEqual(paths, this.keepsRounds)
    if (next.length === 0) this.#sent.delete(prefix)
    else this.#sent.set(prefix, next)
    this.#tally(prefix, membersOf(sent), membersOf(next))
    if ((sent.length === 0) !== (next.length === 0)) this.#presence?.(prefix, next.length > 0)
  }

  #tally(prefix: Prefix, before: MemberMask, after: MemberMask): void {
    const counts = this.#counts[prefixFamily(prefix)]
    for (let changed = before ^ after; changed !== 0; changed &= changed - 1) {
      const bit = changed & -changed
      const number = bitNumber(bit)
      counts[number] = (counts[number] ?? 0) + ((after & bit) === 0 ? -1 : 1)
    }
  }
}

const bitNumber = (bit: MemberMask): number => 31 - Math.clz32(bit)

function membersOf(paths: readonly SentPath[]): MemberMask {
  return paths.reduce((mask, path) => mask | path.members, 0)
}

function mergeEqual(paths: readonly SentPath[], keepsRounds: boolean): readonly SentPath[] {
  if (paths.length < 2) return paths
  const merged: SentPath[] = []
  for (const path of paths) {
    const at = merged.findIndex(
      (other) => other.attributes === path.attributes && (!keepsRounds || other.round === path.round),
    )
    const other = merged[at]
    if (other === undefined) merged.push(path)
    else merged[at] = { ...other, members: other.members | path.members }
  }
  return merged
}

/** Members that have these attributes and are not owed them again. */
function keptOf(sent: readonly SentPath[], attributes: PathAttributes, refreshes: readonly Refresh[]): MemberMask {
  let kept = 0
  for (const path of sent) {
    if (path.attributes !== attributes) continue
    kept |= path.members
    for (const { member, round } of refreshes) if (path.round < round) kept &= ~(member & path.members)
  }
  return kept
}

/** The outcome of many diffs, gathered so that prefixes share messages and members share bytes. */
export class Batches {
  /** ms since the epoch, recorded as the time of sending. */
  readonly now: number
  /** See {@link SentPath}. */
  readonly round: number
  readonly #byAttributes = new Map<PathAttributes | undefined, Map<MemberMask, Batch>>()
  #last: Batch | undefined

  constructor(now: number, round = 0) {
    this.now = now
    this.round = round
  }

  add(attributes: PathAttributes | undefined, members: MemberMask, prefix: Prefix): Batch {
    let batch = this.#last
    if (batch === undefined || batch.attributes !== attributes || batch.members !== members)
      this.#last = batch = this.#batch(attributes, members)
    batch.prefixes.push(prefix)
    return batch
  }

  /** Withdrawals first: a peer near its prefix limit gets room before it gets routes. */
  list(): readonly Batch[] {
    return [...this.#byAttributes.values()]
      .flatMap((byMembers) => [...byMembers.values()])
      .sort((a, b) => Number(a.attributes !== undefined) - Number(b.attributes !== undefined))
  }

  #batch(attributes: PathAttributes | undefined, members: MemberMask): Batch {
    let byMembers = this.#byAttributes.get(attributes)
    if (byMembers === undefined) this.#byAttributes.set(attributes, (byMembers = new Map()))
    let batch = byMembers.get(members)
    if (batch === undefined)
      byMembers.set(
        members,
        (batch = {
          attributes,
          members,
          prefixes: [],
          joined: new Map(),
          record: attributes === undefined ? undefined : [{ attributes, members, at: this.now, round: this.round }],
        }),
      )
    return batch
  }
}
