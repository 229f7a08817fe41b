/**
 * Allocates the addresses of Services in an agent that reads a folder: those of the book, else of their status, else
 * fresh ones, recorded so that all agents of a folder agree. Pure: the book is a port.
 *
 *     settle: what changed --> book.exchange --> reserve, release, assign --> recorded: answers
 *                                                                        `--> not recorded: undone, tried again
 *
 * Recorded addresses of Services that were not seen yet are kept free. While the book cannot be used, nothing is given
 * away and nothing changes: who holds addresses keeps them. Who waits is looked at when an address became free.
 */
import {
  type AddressBook,
  type AllocationChange,
  type AllocationChanges,
  type Allocations,
  allotment,
  type Allotment,
  type BookWarning,
  type Recorded,
} from './address-book.ts'
import type { AddressAnswer, AddressSource, Wish } from './address-source.ts'
import { type AddressRequest, type Assignment, familyOf, type Holding, Ipam, isRefusal } from './allocate.ts'
import { answerOf, isSameAnswer, notInPool, notYet, unclearLine, withPorts } from './answers.ts'
import { Freed } from './freed.ts'
import type { Pool } from './pool-table.ts'
import { once, type PortOwners } from './port-owners.ts'
import type { Refusal } from './refusals.ts'
import type { Reserved } from './reserved.ts'
import { byAge } from './sharing.ts'
import { hasOtherTerms, isSameTenure, termsIn } from './tenure.ts'
import { byRank, Waiting } from './waiting.ts'

interface Settled {
  readonly subject: object
  /** Of the pools under which it was settled. */
  readonly generation: number
  readonly answer: AddressAnswer
  /** Set while it is without something that it asks for. */
  readonly waits?: AddressRequest | undefined
}

/**
 * Who has addresses goes first: by the book; by a status that tells more than the address; by status alone; who shares
 * under other terms than are recorded; then who has none.
 */
type Rank = 'recorded' | 'held' | 'inStatus' | 'changed' | 'without'

/** A Service that is looked at in this exchange. */
interface Candidate {
  readonly request: AddressRequest
  readonly subject: object
  readonly holding: Holding
  readonly rank: Rank
}

type Changed = ReadonlyMap<string, Wish | undefined>
type Changes = Map<string, AllocationChange>

const ranks: readonly Rank[] = ['recorded', 'held', 'inStatus', 'changed', 'without']
const unclearKey = '\u0000unclear'
const unsettled = notYet(undefined)

export class FolderAllocator implements AddressSource {
  readonly #ipam = new Ipam()
  readonly #book: AddressBook
  readonly #settled = new Map<string, Settled>()
  readonly #waiting = new Waiting()
  /** Services whose recorded addresses somebody has here who lost them elsewhere: the news will come. */
  readonly #ahead = new Set<string>()
  /** Services that changed while the book could not be used, or whose line somebody changed. */
  #postponed: ReadonlySet<string> = new Set()
  /** Recorded Services that were absent when everything was read: they give way when their addresses are needed. */
  readonly #absent = new Set<string>()
  #isFirst = true
  #generation = 0
  #poolsText = ''
  /** What was settled before this exchange, and who stopped being absent, should it have to be undone. */
  #before = new Map<string, Settled | undefined>()
  #dropped: string[] = []
  /** Services that are there and are looked at in this exchange. */
  #here: ReadonlySet<string> = new Set()
  /** Shared addresses of which somebody may have other ports than before. */
  #touched = new Set<string>()

  constructor(book: AddressBook) {
    this.#book = book
  }

  get warning(): BookWarning | undefined {
    return this.#book.warning
  }

  setPools(pools: readonly Pool[]): void {
    const text = JSON.stringify(pools, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
    if (text === this.#poolsText) return
    this.#poolsText = text
    this.#ipam.setPools(pools)
    this.#generation++
  }

  setReserved(reserved: Reserved): void {
    this.#ipam.setReserved(reserved)
    this.#generation++
  }

  poolsOf(address: string): readonly Pool[] {
    return this.#ipam.poolsOf(address)
  }

  answerOf(key: string): AddressAnswer {
    return this.#settled.get(key)?.answer ?? unsettled
  }

  /** Who has the book wrote another line for a Service: it is looked at with the next, also if it asks for the same. */
  lookAgain(key: string): void {
    this.#postponed = new Set([...this.#postponed, key])
  }

  settle(dirty: Iterable<string>, wishOf: (key: string) => Wish | undefined): readonly string[] {
    const changed = new Map<string, Wish | undefined>()
    for (const key of dirty) {
      const wish = wishOf(key)
      const known = this.#settled.get(key)
      // A change of endpoints asks for no address.
      if (wish?.subject !== known?.subject || (known !== undefined && known.generation !== this.#generation))
        changed.set(key, wish)
    }
    for (const key of this.#postponed) changed.set(key, wishOf(key))
    if (changed.size === 0 && !this.#isFirst) return []
    for (const key of this.#ahead) changed.set(key, wishOf(key))
    this.#dropped = []
    const outcome = this.#book.exchange((recorded) => this.#choose(changed, recorded))
    if (outcome === 'recorded') {
      this.#ipam.commit()
      this.#postponed = new Set()
      this.#touched = new Set()
    } else {
      this.#undo()
      this.#hold(changed)
    }
    const before = this.#before
    this.#before = new Map()
    this.#here = new Set()
    return [...before].filter(([key, known]) => this.#isOther(key, known)).map(([key]) => key)
  }

  /** An answer that is the same in the end stays the very one that was given. */
  #isOther(key: string, known: Settled | undefined): boolean {
    const now = this.#settled.get(key)
    if (now === undefined || known === undefined || now.answer === known.answer) return now?.answer !== known?.answer
    if (!isSameAnswer(known.answer, now.answer)) return true
    this.#settled.set(key, { ...now, answer: known.answer })
    return false
  }

  #undo(): void {
    this.#ipam.rollback()
    for (const [key, known] of this.#before) this.#put(key, known)
    for (const key of this.#dropped) this.#absent.add(key)
  }

  #put(key: string, now: Settled | undefined): void {
    const known = this.#settled.get(key)
    if (!this.#before.has(key)) this.#before.set(key, known)
    if (now === undefined) this.#settled.delete(key)
    else
      this.#settled.set(key, isSameAnswer(known?.answer, now.answer) && known ? { ...now, answer: known.answer } : now)
    if (now?.waits === undefined) this.#waiting.delete(key)
    else this.#waiting.add(now.waits)
  }

  /** Without the book: who holds addresses keeps them, who has a line in it gets what it says, all else waits. */
  #hold(changed: Changed): void {
    const recorded = this.#book.peek()
    this.#ipam.begin()
    for (const [key, wish] of changed) {
      const had = this.#ipam.addressesOf(key)
      if (wish === undefined) {
        this.#put(key, undefined)
        if (had.length > 0) this.#ipam.reserve(key, had)
      } else if ((this.#settled.get(key)?.answer.addresses.length ?? 0) === 0) {
        const { addresses = [], tenure } = recorded.get(key) ?? {}
        const holding = { addresses, isRecorded: true, mayChoose: false, ports: tenure?.ports }
        const found = this.#ipam.assign(wish.request(), holding)
        const answer = isRefusal(found) ? notYet(this.#book.warning) : answerOf(found)
        const own = withPorts(
          answer,
          this.#ipam.portsOf(key, (address) => this.#ipam.ownersOf(address)),
        )
        this.#put(key, { subject: wish.subject, generation: this.#generation, answer: own })
      }
    }
    this.#ipam.commit()
    this.#postponed = new Set(changed.keys())
  }

  /** Holders come first, then who asks by name, then age, then name: the order of arrival does not matter. */
  #choose(changed: Changed, recorded: Recorded): AllocationChanges {
    const changes: Changes = new Map()
    this.#reserve(changed, recorded)
    this.#ipam.begin()
    for (const [key, wish] of changed) if (wish === undefined) this.#leave(key, recorded, changes)
    const candidates = [...changed].flatMap(([key, wish]) =>
      wish === undefined ? [] : [this.#candidate(key, wish.request(), wish.subject, recorded)],
    )
    // What each of them has already is not for another of them.
    for (const { request, holding } of candidates) {
      this.#touch(request.key)
      if (this.#ipam.addressesOf(request.key).length === 0)
        this.#ipam.reserve(request.key, holding.addresses, {
          by: holding.isRecorded ? 'recorded' : 'claimed',
          ports: holding.ports,
        })
    }
    this.#here = new Set(candidates.map(({ request }) => request.key))
    this.#grantInOrder(candidates, recorded, changes)
    this.#sharePorts(recorded, changes)
    return changes
  }

  /** Ports that came free, or are new, go to the oldest that wants them, and are recorded as its own. */
  #sharePorts({ entries }: Recorded, changes: Changes): void {
    for (const address of this.#touched) this.#ipam.sharePorts(address)
    const ownersAt = once((address) => this.#ipam.ownersOf(address))
    const keys = new Set([...this.#touched].flatMap((address) => this.#ipam.holdersOf(address)))
    for (const key of keys) {
      const known = this.#settled.get(key)
      const ports = this.#ipam.portsOf(key, ownersAt)
      if (known === undefined || ports === undefined) continue
      const answer = withPorts(known.answer, ports)
      if (!isSameAnswer(known.answer, answer)) this.#put(key, { ...known, answer })
      const change = changes.get(key)
      const line = typeof change === 'object' ? change : change === undefined ? entries.get(key) : undefined
      if (line !== undefined && !isSameTenure(line.tenure, ports.tenure))
        changes.set(key, allotment(line.addresses, ports.tenure))
    }
    this.#takeFromAbsent(ownersAt, entries, changes)
  }

  /** What others got while a Service was not there is not in its line any more: it may come back. */
  #takeFromAbsent(ownersAt: (address: string) => PortOwners, entries: Allocations, changes: Changes): void {
    for (const key of this.#absent) {
      const { addresses = [], tenure } = entries.get(key) ?? {}
      if (tenure === undefined || changes.has(key) || !addresses.some((each) => this.#touched.has(each))) continue
      const left = [...tenure.ports].map(
        ([address, ports]) => [address, ports.filter((port) => !ownersAt(address).has(port))] as const,
      )
      const now = { ...tenure, ports: new Map(left) }
      if (!isSameTenure(tenure, now)) changes.set(key, allotment(addresses, now))
    }
  }

  /** Facts, not choices: they stay when the exchange fails. */
  #reserve(changed: Changed, { entries, news, released, unclear }: Recorded): void {
    this.#ipam.reserve(unclearKey, unclear.addresses)
    for (const [key, line] of news) {
      if (this.#settled.has(key)) {
        this.#hear(key, line)
        continue
      }
      // Who is gone keeps its address for a while, and no port from those that share it.
      const isGone = released.has(key) || (this.#isFirst && changed.get(key) === undefined)
      if (line === undefined) this.#ipam.release(key)
      else if (isGone) this.#ipam.reserve(key, line.addresses, { wouldShare: termsIn(key, line.tenure) })
      else this.#ipam.reserve(key, line.addresses, { ports: line.tenure?.ports })
      if (this.#isFirst && line !== undefined) this.#absent.add(key)
    }
    for (const key of this.#absent) if (changed.get(key) !== undefined || !entries.has(key)) this.#absent.delete(key)
    this.#isFirst = false
  }

  /** Another agent gave a Service that is here ports of an address that it has. */
  #hear(key: string, line: Allotment | undefined): void {
    if (line?.addresses.join() !== this.#ipam.addressesOf(key).join()) return
    this.#ipam.setPorts(key, line.tenure?.ports)
    this.#touch(key)
  }

  #leave(key: string, { entries, released }: Recorded, changes: Changes): void {
    this.#touch(key)
    this.#put(key, undefined)
    this.#ahead.delete(key)
    const line = entries.get(key)
    if (line === undefined) this.#ipam.release(key)
    else {
      this.#ipam.reserve(key, line.addresses, { wouldShare: termsIn(key, line.tenure) })
      if (!released.has(key)) changes.set(key, 'release')
    }
  }

  #candidate(key: string, request: AddressRequest, subject: object, { entries, released }: Recorded): Candidate {
    const own = this.#ipam.isReservation(key) ? [] : this.#ipam.addressesOf(key)
    const line = entries.get(key)
    const recorded = line?.addresses ?? own
    const isRecorded = recorded.length > 0
    const addresses = isRecorded ? recorded : request.status
    const tenure = isRecorded ? line?.tenure : request.tenure
    // Also of one that is not understood now: what its status says is not given away before it is looked at.
    const isThere = addresses.length > 0 || (request.lingering ?? []).length > 0
    const rankOf = (): Rank => {
      if (!isThere) return 'without'
      if (hasOtherTerms(tenure, request.sharing)) return 'changed'
      return isRecorded ? 'recorded' : tenure === undefined ? 'inStatus' : 'held'
    }
    // One that was gone comes back to its address, and to the ports that nobody took meanwhile.
    const ports = released.has(key) ? undefined : tenure?.ports
    const holding = { addresses, isRecorded, mayChoose: true, ports }
    return { request, subject, rank: rankOf(), holding }
  }

  /** Who waits takes its place among those that changed, as long as something is free that it may use. */
  #grantInOrder(candidates: readonly Candidate[], recorded: Recorded, changes: Changes): void {
    const line = [...candidates].sort(
      (a, b) =>
        ranks.indexOf(a.rank) - ranks.indexOf(b.rank) ||
        (a.rank === 'without' ? byRank(a.request, b.request) : byAge(a.request, b.request)),
    )
    const pending = new Set(line.map(({ request }) => request.key))
    let next = 0
    const grantWhile = (isDue: (candidate: Candidate) => boolean): void => {
      for (let first = line[next]; first !== undefined && isDue(first); first = line[++next]) {
        pending.delete(first.request.key)
        this.#grant(first, recorded, changes)
      }
    }
    grantWhile(({ rank }) => rank !== 'without')
    for (;;) {
      const freed = new Freed(this.#ipam, this.#ipam.takeFreed())
      if (freed.size === 0) break
      for (const waiter of this.#waiting.inOrder()) {
        if (freed.size === 0) break
        if (pending.has(waiter.key)) continue
        grantWhile(({ request }) => byRank(request, waiter) < 0)
        const subject = this.#settled.get(waiter.key)?.subject
        if (subject === undefined || !freed.serves(waiter)) continue
        const had = this.#ipam.addressesOf(waiter.key)
        this.#grant(this.#candidate(waiter.key, waiter, subject, recorded), recorded, changes)
        // What it shares another may have as well.
        if (waiter.sharing === undefined)
          freed.take(this.#ipam.addressesOf(waiter.key).filter((address) => !had.includes(address)))
      }
    }
    grantWhile(() => true)
  }

  #grant({ request, subject, holding }: Candidate, recorded: Recorded, changes: Changes): void {
    const { key } = request
    if (this.#isAhead(key, recorded)) {
      this.#ahead.add(key)
      return
    }
    this.#ahead.delete(key)
    this.#touch(key)
    const isUnclear = recorded.unclear.keys.has(key) && !recorded.entries.has(key)
    let found = this.#ipam.assign(request, isUnclear ? { ...holding, mayChoose: false } : holding)
    const refusalOf = (): Refusal | undefined => (isRefusal(found) ? found : found.refusal)
    for (const _ of request.families) {
      const refusal = isUnclear ? undefined : refusalOf()
      if (refusal === undefined || !this.#makeRoom(refusal, request, recorded, changes)) break
      found = this.#ipam.assign(request, holding)
    }
    this.#touch(key)
    const isForeign =
      isRefusal(found) &&
      request.status.length > 0 &&
      request.status.every((address) => this.#ipam.poolsOf(address).length === 0)
    const answer = isForeign && isRefusal(found) ? notInPool(request.status, found) : answerOf(found)
    this.#put(key, {
      subject,
      generation: this.#generation,
      answer: isUnclear && isRefusal(found) ? unclearLine : answer,
      waits: refusalOf() === undefined && !isPartial(request, found) ? undefined : request,
    })
    const own = isRefusal(found) ? undefined : found.addresses
    this.#record(request, own, holding, recorded, changes)
  }

  #record(
    { key, sharing }: AddressRequest,
    own: readonly string[] | undefined,
    holding: Holding,
    recorded: Recorded,
    changes: Changes,
  ): void {
    const line = recorded.entries.get(key)
    const isInPool = line?.addresses.some((address) => this.#ipam.poolsOf(address).length > 0) === true
    // It does not fit, or another has it. One that lost its pool finds its addresses again when the pool comes back.
    if (own === undefined && holding.isRecorded && isInPool) changes.set(key, 'forget')
    const addresses = own ?? (changes.has(key) ? undefined : line?.addresses)
    if (addresses === undefined) return
    // What it has of them is written when everybody's ports are known.
    const tenure = sharing === undefined ? undefined : line?.tenure
    const isSame = line?.addresses.join() === addresses.join() && isSameTenure(line.tenure, tenure)
    if (!isSame || recorded.released.has(key)) changes.set(key, allotment(addresses, tenure))
  }

  #touch(key: string): void {
    for (const address of this.#ipam.sharedBy(key)) this.#touched.add(address)
  }

  /**
   * Another agent gave this Service an address that, as far as we know, a Service holds which is no longer recorded
   * with it: that one is gone, and we shall hear of it.
   */
  #isAhead(key: string, { entries }: Recorded): boolean {
    return (entries.get(key)?.addresses ?? []).some((address) =>
      this.#ipam
        .neighborsOf(key, address)
        .some((other) => !this.#before.has(other.key) && entries.get(other.key)?.addresses.includes(address) !== true),
    )
  }

  /** Lets go of one recorded Service that is not there, where this one lacks exactly its address. */
  #makeRoom(refusal: Refusal, request: AddressRequest, { released }: Recorded, changes: Changes): boolean {
    const { code, family } = refusal
    if (code !== 'OutOfAddresses' && code !== 'AlreadyAllocated') return false
    const isInTheWay = (key: string): boolean =>
      this.#ipam.isReservation(key) &&
      !this.#here.has(key) &&
      this.#ipam
        .addressesOf(key)
        .some((address) =>
          family === undefined
            ? request.explicit.includes(address) || request.status.includes(address)
            : this.#ipam.isWanted(request, address, family),
        )
    const justReleased = [...changes].filter(([, change]) => change === 'release').map(([key]) => key)
    const leaving = [...released, ...justReleased].find(isInTheWay) ?? [...this.#absent].sort().find(isInTheWay)
    if (leaving === undefined) return false
    if (this.#absent.delete(leaving)) this.#dropped.push(leaving)
    this.#ipam.release(leaving)
    changes.set(leaving, 'forget')
    return true
  }
}

/** It would take an address of a family that it has none of. */
function isPartial({ families }: AddressRequest, found: Assignment | Refusal): boolean {
  return !isRefusal(found) && !families.every((family) => found.addresses.some((each) => familyOf(each) === family))
}
