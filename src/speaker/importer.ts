/**
 * What of one peer's Adj-RIB-In goes into the Loc-RIB.
 *
 *     UPDATE --ingressProblem--> Adj-RIB-In --prefix named by importPrefixes?--> importVerdict --> Loc-RIB candidates
 */
import type { Neighbor } from '../desired/model.ts'
import { type Address, parseIpv4 } from '../ip/address.ts'
import type { Prefix } from '../ip/prefix.ts'
import { compileImport, type ImportFacts, importVerdict, ingressProblem, isMartian } from '../policy/import.ts'
import type { AdjRibIn, ReceivedPath } from '../rib/adj-rib-in.ts'
import type { Candidate } from '../rib/decision.ts'
import type { LocRib } from '../rib/loc-rib.ts'
import type { DecodedUpdate } from '../bgp/messages/update.ts'
import type { NegotiatedSession } from './session/types.ts'

const martian = 'not eligible: nobody routes loopback, multicast or class E addresses'
const notNamed = 'not imported: no importPrefixes of the neighbor names it (RFC 8212 2)'

export class Importer {
  readonly #id: string
  readonly #adjRibIn: AdjRibIn
  readonly #locRib: LocRib
  readonly #full: () => void
  #isNamed: ((prefix: Prefix) => boolean) | undefined
  #neighbor: Neighbor
  #facts: ImportFacts | undefined
  #origin: Pick<Candidate, 'isExternal' | 'bgpId' | 'peerAddress'> = { isExternal: true, bgpId: 0, peerAddress: 0 }

  /** `full` is called when the Loc-RIB has no room for an import. */
  constructor(neighbor: Neighbor, adjRibIn: AdjRibIn, locRib: LocRib, full: () => void) {
    this.#id = neighbor.id
    this.#adjRibIn = adjRibIn
    this.#locRib = locRib
    this.#full = full
    this.#neighbor = neighbor
    this.#importAnew()
  }

  /**
   * To be called for each prefix whose paths may have changed; undefined: nothing is imported, nobody needs to know.
   */
  get touched(): ((prefix: Prefix) => void) | undefined {
    const isNamed = this.#isNamed
    return isNamed === undefined
      ? undefined
      : (prefix) => {
          if (isNamed(prefix) && !isMartian(prefix)) this.#consider(prefix)
        }
  }

  /**
   * What changed is in force at once, without a reset; answers whether the peer has to be asked for its routes again.
   */
  configure(next: Neighbor): boolean {
    const previous = this.#neighbor
    this.#neighbor = next
    const isOtherList = listOf(previous) !== listOf(next)
    if (isOtherList) this.#importAnew()
    // What was withdrawn or counted only is not in Adj-RIB-In.
    return checksOf(previous) !== checksOf(next) || (isOtherList && this.#adjRibIn.isIncomplete)
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
  }

  /** The UPDATE as it counts: what policy treats as withdrawn carries that as a problem. */
  receive(update: DecodedUpdate): DecodedUpdate {
    const { nlri, mpReach, attributes } = update.message
    if (this.#facts === undefined || (nlri.length === 0 && mpReach === undefined)) return update
    const reason = ingressProblem(attributes, this.#facts, this.#neighbor)
    return reason === undefined
      ? update
      : { ...update, problems: [...update.problems, { action: 'treat-as-withdraw', reason }] }
  }

  /** The peer's routes are gone. */
  forget(): void {
    this.#locRib.forgetImported(this.#id)
  }

  /** Why a received path may never be used, whatever importPrefixes says. */
  ineligible(prefix: Prefix, { attributes }: ReceivedPath): { readonly decision?: string } {
    if (isMartian(prefix)) return { decision: martian }
    const verdict = this.#facts === undefined ? undefined : importVerdict(attributes, this.#facts)
    return verdict?.ok === false ? { decision: `not eligible: ${verdict.reason}` } : {}
  }

  /** How a received path stands in the decision, for people. */
  standing(prefix: Prefix, path: ReceivedPath): { readonly best?: boolean; readonly decision: string } {
    const { decision: ineligible } = this.ineligible(prefix, path)
    if (ineligible !== undefined) return { decision: ineligible }
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
    const { importPrefixes = [] } = this.#neighbor
    this.#isNamed = importPrefixes.length === 0 ? undefined : compileImport(importPrefixes)
    this.#locRib.forgetImported(this.#id)
    const { touched } = this
    if (touched !== undefined) for (const prefix of this.#adjRibIn.prefixes()) touched(prefix)
  }

  #consider(prefix: Prefix): void {
    const facts = this.#facts
    if (facts === undefined) return
    const candidates = this.#adjRibIn.paths(prefix).flatMap(({ attributes, pathId = 0 }): Candidate[] => {
      const verdict = importVerdict(attributes, facts)
      return verdict.ok ? [{ peer: this.#id, attributes: verdict.attributes, pathId, ...this.#origin }] : []
    })
    if (!this.#locRib.setImported(prefix, this.#id, candidates)) this.#full()
  }
}

const listOf = ({ importPrefixes = [] }: Neighbor): string => JSON.stringify(importPrefixes)
const checksOf = ({ enforceFirstAs = true, rejectAsSets = true, allowAsIn = 0 }: Neighbor): string =>
  JSON.stringify([enforceFirstAs, rejectAsSets, allowAsIn])
