/**
 * Allocates the addresses of Services in an agent that reads a folder: those of the book, else of their status, else
 * fresh ones, recorded so that all agents of a folder agree. Pure: the book is a port.
 *
 *     settle: what changed --> book.exchange --> reserve, release, assign --> recorded: answers
 *                                                                        `--> not recorded: undone, tried again
 *
 * Recorded addresses of Services that were not seen yet are kept free. While the book cannot be used, nothing is given
 * away and nothing changes: who holds addresses keeps them. Who waits is looked at when an address became free.
 *
 * A settle may be laid down between any two Services. Nobody sees half of it: until its end all answers are those from
 * before it, and the book is written once.
 */
import {
  type AddressBook,
  type AllocationChange,
  type AllocationChanges,
  type Allocations,
  allotment,
  type Allotment,
  type BookWarning,
  isSameAllotment,
  type Recorded,
} from './address-book.ts'
import type { AddressAnswer, AddressSource, Wish } from './address-source.ts'
import { type AddressRequest, type Assignment, type Holding, Ipam, isRefusal } from './allocate.ts'
import { answerOf, isSameAnswer, notInPool, notYet, unclearLine, withPorts } from './answers.ts'
import { type Candidate, candidateOf, inLine } from './candidate.ts'
import { Freed } from './freed.ts'
import { type Lack, lacksOf } from './lacks.ts'
import { Leavers } from './leavers.ts'
import type { Pool } from './pool-table.ts'
import type { PortOwners } from './port-owners.ts'
import type { Reserved } from './reserved.ts'
import { isSameTenure, termsIn } from './tenure.ts'
import { byRank, Waiting } from './waiting.ts'
import { inOrder, type Work } from './work.ts'

interface Settled {
  readonly subject: object
  /** Of the pools under which it was settled. */
  readonly generation: number
  readonly answer: AddressAnswer
  /** Set while it is without something that it asks for, or lost. */
  readonly waits?: AddressRequest | undefined
  /** What it is told is so as long as nothing changes at these addresses. */
  readonly hinges?: readonly string[] | undefined
  readonly lost?: readonly string[] | undefined
}

type Changed = ReadonlyMap<string, Wish | undefined>
type Changes = Map<string, AllocationChange>

const unclearKey = '\u0000unclear'
const unsettled = notYet(undefined)

export class FolderAllocator implements AddressSource {
  readonly #waiting = new Waiting()
  readonly #ipam = new Ipam((address) => this.#waiting.changedHands(address))
  readonly #book: AddressBook
  readonly #settled = new Map<string, Settled>()
  /** Services whose recorded addresses somebody has here who lost them elsewhere: the news will come. */
  readonly #ahead = new Set<string>()
  /** Services that changed while the book could not be used, or whose line somebody changed. */
  #postponed: ReadonlySet<string> = new Set()
  /** Recorded Services that were absent when everything was read: they give way when their addresses are needed. */
  readonly #absent = new Set<string>()
  #isFirst = true
  #generation = 0
  #poolsText = ''
  /** What was settled before this settle: what is answered until its end, and in force again if it is undone. */
  #before = new Map<string, Settled | undefined>()
  /** Who stopped being absent in it. */
  #dropped: string[] = []
  /** Services that are there and are looked at in this exchange. */
  #here: ReadonlySet<string> = new Set()
  /** Who gives way in this exchange; made when it comes to that. */
  #leavers: Leavers | undefined
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
    const known = this.#before.has(key) ? this.#before.get(key) : this.#settled.get(key)
    return known?.answer ?? unsettled
  }

  /**
   * A Service whose status says now what is answered, and nothing else of it is new: it has not to be looked at. False:
   * it has to.
   */
  confirm(key: string, subject: object): boolean {
    const known = this.#settled.get(key)
    const isSettled = known?.generation === this.#generation && this.#before.size === 0 && !this.#ahead.has(key)
    if (!isSettled || known.waits !== undefined || !known.answer.verdict.ok) return false
    if (this.#ipam.hingesOnStatus(key)) return false
    this.#settled.set(key, { ...known, subject })
    return true
  }

  /** Who has the book wrote another line for a Service: it is looked at with the next, also if it asks for the same. */
  lookAgain(key: string): void {
    this.#postponed = new Set([...this.#postponed, key])
  }

  *settle(dirty: Iterable<string>, wishOf: (key: string) => Wish | undefined): Work<readonly string[]> {
    const changed = new Map<string, Wish | undefined>()
    for (const key of dirty) {
      yield
      const wish = wishOf(key)
      const known = this.#settled.get(key)
      // A change of endpoints asks for no address.
      if (wish?.subject !== known?.subject || (known !== undefined && known.generation !== this.#generation))
        changed.set(key, wish)
    }
    for (const key of this.#postponed) {
      changed.set(key, wishOf(key))
      yield
    }
    if (changed.size === 0 && !this.#isFirst) return []
    for (const key of this.#ahead) changed.set(key, wishOf(key))
    this.#dropped = []
    const outcome = yield* this.#book.exchange((recorded) => this.#choose(changed, recorded))
    if (outcome === 'recorded') {
      this.#ipam.commit()
      this.#postponed = new Set()
      this.#touched = new Set()
    } else {
      yield* this.#undo()
      yield* this.#hold(changed)
    }
    const moved: string[] = []
    for (const [key, known] of this.#before) {
      if (this.#isOther(key, known)) moved.push(key)
      yield
    }
    this.#before = new Map()
    this.#here = new Set()
    this.#leavers = undefined
    return moved
  }

  /** An answer that is the same in the end stays the very one that was given. */
  #isOther(key: string, known: Settled | undefined): boolean {
    const now = this.#settled.get(key)
    if (now === undefined || known === undefined || now.answer === known.answer) return now?.answer !== known?.answer
    if (!isSameAnswer(known.answer, now.answer)) return true
    this.#settled.set(key, { ...now, answer: known.answer })
    return false
  }

  *#undo(): Work<void> {
    yield* this.#ipam.rollback()
    for (const [key, known] of this.#before) {
      this.#put(key, known)
      // What was found out in vain is found out again.
      for (const address of known?.waits?.explicit ?? []) this.#waiting.changedHands(address)
      yield
    }
    for (const key of this.#dropped) this.#absent.add(key)
  }

  #put(key: string, now: Settled | undefined): void {
    const known = this.#settled.get(key)
    if (!this.#before.has(key)) this.#before.set(key, known)
    if (now === undefined) this.#settled.delete(key)
    else
      this.#settled.set(key, isSameAnswer(known?.answer, now.answer) && known ? { ...now, answer: known.answer } : now)
    if (now?.waits === undefined) this.#waiting.delete(key)
    else this.#waiting.add(now.waits, now.hinges ?? [])
  }

  /** Without the book: who holds addresses keeps them, who has a line in it gets what it says, all else waits. */
  *#hold(changed: Changed): Work<void> {
    const recorded = yield* this.#book.peek()
    const answers = new Map<string, Settled>()
    for (const [key, wish] of changed) {
      yield
      const had = this.#ipam.addressesOf(key)
      if (wish === undefined) {
        this.#put(key, undefined)
        if (had.length > 0) this.#ipam.reserve(key, had)
      } else if ((this.#settled.get(key)?.answer.addresses.length ?? 0) === 0) {
        const { addresses = [], tenure, lost } = recorded.get(key) ?? {}
        const holding = { addresses, isRecorded: true, mayChoose: false, ports: tenure?.ports, lost }
        const found = this.#ipam.assign(wish.request(key), holding)
        const answer = isRefusal(found) ? notYet(this.#book.warning) : answerOf(found)
        answers.set(key, { subject: wish.subject, generation: this.#generation, answer })
      }
    }
    const owners = new Map<string, PortOwners>()
    for (const [key, { answer, ...settled }] of answers) {
      this.#put(key, { ...settled, answer: withPorts(answer, yield* this.#ipam.portsOf(key, owners)) })
      yield
    }
    this.#postponed = new Set(changed.keys())
  }

  /** Holders come first, then who asks by name, then age, then name: the order of arrival does not matter. */
  *#choose(changed: Changed, recorded: Recorded): Work<AllocationChanges> {
    const changes: Changes = new Map()
    yield* this.#reserve(changed, recorded)
    this.#ipam.begin()
    for (const [key, wish] of changed) {
      if (wish === undefined) this.#leave(key, recorded, changes)
      yield
    }
    const candidates: Candidate[] = []
    for (const [key, wish] of changed) {
      if (wish !== undefined) candidates.push(this.#candidate(key, wish.request(key), wish.subject, recorded))
      yield
    }
    // What each of them has already is not for another of them.
    for (const { request, holding } of candidates) {
      yield
      this.#touch(request.key)
      if (this.#ipam.addressesOf(request.key).length === 0)
        this.#ipam.reserve(request.key, holding.addresses, {
          by: holding.isRecorded ? 'recorded' : 'claimed',
          ports: holding.ports,
        })
    }
    this.#here = new Set(candidates.map(({ request }) => request.key))
    yield* this.#grantInOrder(candidates, recorded, changes)
    yield* this.#sharePorts(recorded, changes)
    return changes
  }

  /** Ports that came free, or are new, go to the oldest that wants them, and are recorded as its own. */
  *#sharePorts({ entries }: Recorded, changes: Changes): Work<void> {
    const keys = new Set<string>()
    const owners = new Map<string, PortOwners>()
    for (const address of this.#touched) {
      owners.set(address, yield* this.#ipam.sharePorts(address))
      for (const key of this.#ipam.holdersOf(address)) keys.add(key)
      yield
    }
    for (const key of keys) {
      yield
      const known = this.#settled.get(key)
      const ports = yield* this.#ipam.portsOf(key, owners)
      if (known === undefined || ports === undefined) continue
      const answer = withPorts(known.answer, ports)
      if (!isSameAnswer(known.answer, answer)) this.#put(key, { ...known, answer })
      const change = changes.get(key)
      const line = typeof change === 'object' ? change : change === undefined ? entries.get(key) : undefined
      if (line !== undefined && !isSameTenure(line.tenure, ports.tenure))
        changes.set(key, { ...line, tenure: ports.tenure })
    }
    yield* this.#takeFromAbsent(owners, entries, changes)
  }

  /** What others got while a Service was not there is not in its line any more: it may come back. */
  *#takeFromAbsent(owners: Map<string, PortOwners>, entries: Allocations, changes: Changes): Work<void> {
    for (const key of this.#absent) {
      yield
      const line = entries.get(key)
      const tenure = line?.tenure
      if (line === undefined || tenure === undefined || changes.has(key)) continue
      if (!line.addresses.some((each) => this.#touched.has(each))) continue
      const left = new Map<string, readonly string[]>()
      for (const [address, ports] of tenure.ports) {
        const taken = yield* this.#ipam.ownersOf(address, owners)
        left.set(
          address,
          ports.filter((port) => !taken.has(port)),
        )
      }
      const now = { ...tenure, ports: left }
      if (!isSameTenure(tenure, now)) changes.set(key, { ...line, tenure: now })
    }
  }

  /** Facts, not choices: they stay when the exchange fails. */
  *#reserve(changed: Changed, { entries, news, released, unclear }: Recorded): Work<void> {
    this.#ipam.reserve(unclearKey, unclear.addresses)
    for (const [key, line] of news) {
      yield
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
    for (const key of this.#absent) {
      if (changed.get(key) !== undefined || !entries.has(key)) this.#absent.delete(key)
      yield
    }
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

  #candidate(key: string, request: AddressRequest, subject: object, recorded: Recorded): Candidate {
    const addresses = this.#ipam.isReservation(key) ? [] : this.#ipam.addressesOf(key)
    // Once more in one exchange: what it was given in it is not in the book yet.
    const isGiven = addresses.length > 0 && this.#before.has(key)
    return candidateOf(request, subject, { addresses, lost: this.#settled.get(key)?.lost }, recorded, isGiven)
  }

  /** Who waits takes its place among those that changed, as long as something is free that it may use. */
  *#grantInOrder(candidates: readonly Candidate[], recorded: Recorded, changes: Changes): Work<void> {
    const line = yield* inOrder(candidates, inLine)
    const pending = new Set(line.map(({ request }) => request.key))
    let next = 0
    const grant = (candidate: Candidate): Work<void> => this.#grant(candidate, recorded, changes)
    function* grantWhile(isDue: (candidate: Candidate) => boolean): Work<void> {
      for (let first = line[next]; first !== undefined && isDue(first); first = line[++next]) {
        pending.delete(first.request.key)
        yield* grant(first)
        yield
      }
    }
    yield* grantWhile(({ rank }) => rank !== 'without')
    for (;;) {
      const freed = yield* Freed.of(this.#ipam)
      if (freed.size === 0) break
      // Who is gone may have something to itself now.
      this.#leavers = undefined
      for (const waiter of this.#waiting.inOrder()) {
        yield
        if (freed.size === 0) break
        // What it asks for now is looked at in its own turn.
        if (pending.has(waiter.key) || !this.#waiting.isFor(waiter)) continue
        yield* grantWhile(({ request }) => byRank(request, waiter) < 0)
        const subject = this.#settled.get(waiter.key)?.subject
        if (subject === undefined || !freed.serves(waiter)) continue
        const had = this.#ipam.addressesOf(waiter.key)
        yield* grant(this.#candidate(waiter.key, waiter, subject, recorded))
        // What it shares another may have as well.
        if (waiter.sharing === undefined)
          freed.take(this.#ipam.addressesOf(waiter.key).filter((address) => !had.includes(address)))
      }
    }
    yield* grantWhile(() => true)
    yield* this.#sayAnew(grant, recorded)
  }

  /** What is said of an address that is asked for is what is so in the end, whoever was looked at first. Each once. */
  *#sayAnew(grant: (candidate: Candidate) => Work<void>, recorded: Recorded): Work<void> {
    const said = new Set<string>()
    for (let all = this.#waiting.takeOutdated(); all.length > 0; all = this.#waiting.takeOutdated())
      for (const request of yield* inOrder(all, byRank)) {
        yield
        const subject = this.#settled.get(request.key)?.subject
        if (subject === undefined || said.has(request.key) || !this.#waiting.isFor(request)) continue
        said.add(request.key)
        yield* grant(this.#candidate(request.key, request, subject, recorded))
      }
  }

  *#grant({ request, subject, holding }: Candidate, recorded: Recorded, changes: Changes): Work<void> {
    const { key } = request
    if (this.#isAhead(key, recorded)) {
      this.#ahead.add(key)
      return
    }
    this.#ahead.delete(key)
    this.#touch(key)
    const isUnclear = recorded.unclear.keys.has(key) && !recorded.entries.has(key)
    if (holding.addresses.length === 0) yield* this.#ipam.passHeld()
    let found = this.#ipam.assign(request, isUnclear ? { ...holding, mayChoose: false } : holding)
    for (const _ of [...request.families, ...request.explicit]) {
      const lacks = isUnclear || !holding.mayChoose ? [] : lacksOf(request, found)
      if (!(yield* this.#makeRoom(lacks, request, recorded, changes))) break
      const addresses = isRefusal(found) ? holding.addresses : found.addresses
      found = this.#ipam.assign(request, { ...holding, addresses })
    }
    this.#touch(key)
    const isForeign =
      isRefusal(found) &&
      request.status.length > 0 &&
      request.status.every((address) => this.#ipam.poolsOf(address).length === 0)
    const answer = isForeign && isRefusal(found) ? notInPool(request.status, found) : answerOf(found)
    const lost = isRefusal(found) ? undefined : found.lost?.addresses
    this.#put(key, {
      subject,
      generation: this.#generation,
      answer: isUnclear && isRefusal(found) ? unclearLine : answer,
      waits: lacksOf(request, found).length === 0 && lost === undefined ? undefined : request,
      hinges: [...((isRefusal(found) ? found : found.refusal)?.hinges ?? []), ...(lost ?? [])],
      lost,
    })
    this.#record(request, isRefusal(found) ? undefined : found, holding, recorded, changes)
  }

  #record(
    { key, sharing }: AddressRequest,
    own: Assignment | undefined,
    holding: Holding,
    recorded: Recorded,
    changes: Changes,
  ): void {
    const line = recorded.entries.get(key)
    const isInPool = line?.addresses.some((address) => this.#ipam.poolsOf(address).length > 0) === true
    // It does not fit, or another has it. One that lost its pool finds its addresses again when the pool comes back.
    if (own === undefined && holding.isRecorded && isInPool) changes.set(key, 'forget')
    const addresses = own?.addresses ?? (changes.has(key) ? undefined : line?.addresses)
    if (addresses === undefined) return
    // What it has of them is written when everybody's ports are known.
    const tenure = sharing === undefined ? undefined : line?.tenure
    const now = allotment(addresses, tenure, own === undefined ? line?.lost : own.lost?.addresses)
    if (!isSameAllotment(line, now) || recorded.released.has(key)) changes.set(key, now)
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

  /** Lets go of one recorded address of whom is not there, where this one lacks exactly that. */
  *#makeRoom(lacks: readonly Lack[], request: AddressRequest, recorded: Recorded, changes: Changes): Work<boolean> {
    for (const { code, family } of lacks) {
      if (code !== 'OutOfAddresses' && code !== 'AlreadyAllocated') continue
      this.#leavers ??= yield* this.#gone(recorded, changes)
      const leaving =
        family === undefined
          ? this.#leavers.firstAt([...request.explicit, ...request.status])
          : this.#leavers.firstFor(request, family, this.#ipam.addressesOf(request.key))
      for (const key of leaving) {
        if (this.#absent.delete(key)) this.#dropped.push(key)
        this.#ipam.release(key)
        changes.set(key, 'forget')
        yield
      }
      if (leaving.length > 0) return true
    }
    return false
  }

  /** First who went, in the order in which they did; then who is absent, by name. */
  *#gone({ released }: Recorded, changes: Changes): Work<Leavers> {
    const keys = new Set(released)
    for (const [key, change] of changes) {
      if (change === 'release') keys.add(key)
      yield
    }
    const byName = (a: string, b: string): number => (a < b ? -1 : 1)
    for (const key of yield* inOrder([...this.#absent], byName)) keys.add(key)
    return yield* Leavers.of(this.#ipam, [...keys], (key) => !this.#here.has(key))
  }
}
