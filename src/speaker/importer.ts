/**
 * What of one peer's Adj-RIB-In goes into the Loc-RIB.
 *
 *     UPDATE --ingressProblem--> Adj-RIB-In --prefix named by importPrefixes?--> due --importVerdict--> Loc-RIB
 *     other importPrefixes, end of the session --> all prefixes are due, one after the other
 *
 * What is due is looked at in slices and by what is true then, so that nothing depends on the order of events.
 */
import type { Neighbor } from '../desired/model.ts'
import { type Address, parseIpv4 } from '../ip/address.ts'
import type { Prefix } from '../ip/prefix.ts'
import { PrefixSet } from '../ip/prefix-tables.ts'
import {
  compileImport,
  type ImportFacts,
  type ImportVerdict,
  importVerdict,
  ineligible,
  ingressProblem,
  isMartian,
  isUnsuspicious,
} from '../policy/import.ts'
import type { AdjRibIn, ReceivedPath } from '../rib/adj-rib-in.ts'
import type { Candidate } from '../rib/decision.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import type { PathAttributes } from '../bgp/messages/types.ts'
import { PlainUpdate } from '../bgp/messages/plain-update.ts'
import type { DecodedUpdate } from '../bgp/messages/update.ts'
import type { Effect } from './session/neighbor-effects.ts'
import type { NegotiatedSession } from './session/types.ts'

/** Of a prefix that is looked at, in units of a chore. */
const considerUnits = 4
/** Prefixes that had no room in the Loc-RIB are remembered up to this many; then all are looked at again. */
const maxRefused = 4_096
const notNamed = 'not imported: no importPrefixes of the neighbor names it (RFC 8212 2)'

export interface ImporterHost {
  /** {@link Importer.work} has something to do. */
  importDue(): void
  /** The Loc-RIB has no room for an import. */
  locRibFull(): void
}

export class Importer {
  readonly #id: string
  readonly #adjRibIn: AdjRibIn
  readonly #locRib: LocRib
  readonly #host: ImporterHost
  #isNamed: ((prefix: Prefix) => boolean) | undefined
  #neighbor: Neighbor
  #facts: ImportFacts | undefined
  #origin: Pick<Candidate, 'isExternal' | 'bgpId' | 'peerAddress'> = { isExternal: true, bgpId: 0, peerAddress: 0 }

  /** Prefixes to be looked at. */
  readonly #due = new PrefixSet()
  /** Prefixes to be looked at that nobody has listed. */
  #walk: Generator<Prefix, void> | undefined
  /** Prefixes that had no room. */
  readonly #refused = new PrefixSet()
  /** More were refused than are remembered. */
  #isShort = false
  /** What policy makes of an attribute set, as long as the set is there. */
  #verdicts = new WeakMap<PathAttributes, ImportVerdict>()
  /** And the set as long as somebody has what was made of it. */
  #madeOf = new WeakMap<PathAttributes, PathAttributes>()

  constructor(neighbor: Neighbor, adjRibIn: AdjRibIn, locRib: LocRib, host: ImporterHost) {
    this.#id = neighbor.id
    this.#adjRibIn = adjRibIn
    this.#locRib = locRib
    this.#host = host
    this.#neighbor = neighbor
    this.#importAnew()
  }

  /** Of the session, or of the last one. */
  get facts(): ImportFacts | undefined {
    return this.#facts
  }

  /**
   * To be called for each prefix whose paths may have changed; undefined: nothing is imported, nobody needs to know.
   */
  get touched(): ((prefix: Prefix) => void) | undefined {
    const isNamed = this.#isNamed
    return isNamed === undefined
      ? undefined
      : (prefix) => {
          if (isNamed(prefix)) this.#add(prefix)
        }
  }

  /**
   * What changed is in force at once, without a reset; answers whether the peer has to be asked for its routes again.
   */
  configure(next: Neighbor, changed: ReadonlySet<Effect>): boolean {
    this.#neighbor = next
    if (changed.has('importList')) this.#importAnew()
    // What was withdrawn or counted only is not in Adj-RIB-In.
    return changed.has('importChecks') || (changed.has('importList') && this.#adjRibIn.isIncomplete)
  }

  established(peerAddress: Address | undefined, { codec, peerAsn, localAddress, remoteOpen }: NegotiatedSession): void {
    const { localAsn, localAs, role, routerId } = this.#neighbor
    this.#facts = {
      isExternal: codec.isExternal,
      ownAsns: [localAsn, ...(localAs === undefined ? [] : [localAs])],
      peerAsn,
      bgpId: parseIpv4(routerId) ?? 0,
      localAddress,
      ...(role === undefined ? {} : { role }),
    }
    this.#origin = { isExternal: codec.isExternal, bgpId: remoteOpen.bgpId, peerAddress: peerAddress ?? 0 }
    this.#verdicts = new WeakMap()
    this.#madeOf = new WeakMap()
  }

  /** The UPDATE as it counts: what policy treats as withdrawn carries that as a problem. */
  receive(update: DecodedUpdate): DecodedUpdate {
    if (this.#facts === undefined) return update
    if (update instanceof PlainUpdate && (update.nlriCount === 0 || isUnsuspicious(update, this.#facts))) return update
    const { message, block } = update
    if (message.nlri.length === 0 && message.mpReach === undefined) return update
    const reason = ingressProblem(message.attributes, this.#facts, this.#neighbor)
    return reason === undefined
      ? update
      : { message, block, problems: [...update.problems, { action: 'treat-as-withdraw', reason }] }
  }

  /** The peer's routes are gone. */
  forget(): void {
    if (this.#isNamed !== undefined) this.#begin(this.#offered())
  }

  /** There is room in the Loc-RIB: for what was refused. */
  roomMade(): void {
    const [prefix] = this.#refused
    if (prefix !== undefined) {
      this.#refused.delete(prefix)
      this.#add(prefix)
    } else if (this.#isShort) this.#begin(this.#everything())
  }

  /** Looks at what is due; a unit is about a microsecond. Answers how many it had no use for. */
  work(units: number): number {
    let left = units
    while (left > 0 && this.#walk !== undefined) {
      const { done, value: prefix } = this.#walk.next()
      if (done === true) this.#walk = undefined
      else left -= this.#mayMatter(prefix) ? this.#consider(prefix) : 1
    }
    for (const prefix of this.#due) {
      if (left <= 0) return 0
      this.#due.delete(prefix)
      left -= this.#consider(prefix)
    }
    return Math.max(0, left)
  }

  /** How a received path stands in the decision, for people. */
  standing(prefix: Prefix, path: ReceivedPath): { readonly best?: boolean; readonly decision: string } {
    if (this.#due.delete(prefix) || this.#walk !== undefined) this.#consider(prefix)
    const never = ineligible(prefix, path.attributes, this.#facts)
    if (never !== undefined) return { decision: never }
    if (this.#isNamed?.(prefix) !== true) return { decision: notNamed }
    const decision = this.#locRib.decision(prefix)
    const isThis = (candidate: Candidate): boolean =>
      candidate.peer === this.#id && candidate.pathId === (path.pathId ?? 0)
    if (decision === undefined) return { decision: 'no room in the Loc-RIB' }
    if (isThis(decision.best))
      return {
        best: true,
        decision: decision.losses.length === 0 ? 'the only path' : `best of ${decision.losses.length + 1}`,
      }
    return {
      best: false,
      decision: decision.losses.find(({ candidate }) => isThis(candidate))?.reason ?? 'no room in the Loc-RIB',
    }
  }

  #importAnew(): void {
    const hadList = this.#isNamed !== undefined
    const { importPrefixes = [] } = this.#neighbor
    this.#isNamed = importPrefixes.length === 0 ? undefined : compileImport(importPrefixes)
    if (hadList || this.#isNamed !== undefined) this.#begin(this.#everything())
  }

  #begin(walk: Generator<Prefix, void>): void {
    this.#walk?.return()
    this.#walk = walk
    this.#refused.clear()
    this.#isShort = false
    this.#host.importDue()
  }

  #add(prefix: Prefix): void {
    this.#due.add(prefix)
    this.#host.importDue()
  }

  /** What of this peer is in the Loc-RIB, and maybe more. */
  *#offered(): Generator<Prefix, void> {
    yield* this.#locRib.imported()
  }

  *#everything(): Generator<Prefix, void> {
    yield* this.#locRib.imported()
    yield* this.#adjRibIn.prefixes()
  }

  #mayMatter(prefix: Prefix): boolean {
    return this.#isNamed?.(prefix) === true || this.#locRib.isOffered(prefix, this.#id)
  }

  /** The paths that may be imported; whose attributes are to be kept where the Loc-RIB has room for them. */
  #received(prefix: Prefix): readonly ReceivedPath[] {
    const isWanted = this.#facts !== undefined && this.#isNamed?.(prefix) === true && !isMartian(prefix)
    if (!isWanted) return []
    return this.#locRib.hasRoomFor(prefix) ? this.#adjRibIn.pathsToKeep(prefix) : this.#adjRibIn.paths(prefix)
  }

  #verdict(attributes: PathAttributes, facts: ImportFacts): ImportVerdict {
    const known = this.#verdicts.get(attributes)
    if (known !== undefined) return known
    const verdict = importVerdict(attributes, facts)
    this.#verdicts.set(attributes, verdict)
    if (verdict.ok && verdict.attributes !== attributes) this.#madeOf.set(verdict.attributes, attributes)
    return verdict
  }

  /** What is true of a prefix now goes into the Loc-RIB; answers what it has cost. */
  #consider(prefix: Prefix): number {
    const facts = this.#facts
    const candidates = this.#received(prefix).flatMap(({ attributes, pathId = 0 }): Candidate[] => {
      const verdict = this.#verdict(attributes, facts as ImportFacts)
      return verdict.ok ? [{ peer: this.#id, attributes: verdict.attributes, pathId, ...this.#origin }] : []
    })
    if (this.#locRib.setImported(prefix, this.#id, candidates)) {
      // What was refused may have been withdrawn meanwhile: then its room is for the next one.
      if (candidates.length === 0 && this.#locRib.hasRoom) this.roomMade()
      return considerUnits + candidates.length
    }
    if (this.#refused.size < maxRefused) this.#refused.add(prefix)
    else this.#isShort = true
    this.#host.locRibFull()
    return considerUnits
  }
}
