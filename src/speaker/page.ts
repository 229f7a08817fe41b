/** What one answer has so far (queries.ts), and when it has enough: routes, steps and octets are all bounded. */
import type { Family } from '../ip/address.ts'
import { PathOctets } from '../rib/path-octets.ts'
import type { Peer } from './peer.ts'
import type { PackedPaths, QueryAnswer, RouteSnapshot } from './protocol.ts'
import { textOctets } from './route-snapshot.ts'

/** Of one answer. A route costs some microseconds, most of them for its way to the other thread. */
export const maxRoutesPerAnswer = 64
/** Prefixes, or empty places of a table, that one answer passes. */
export const maxStepsPerAnswer = 4_096
/**
 * One route more is beyond them: a peer may send 64 kB of attributes with each (RFC 8654). What routes share counts for
 * each of them.
 */
const maxOctetsPerAnswer = 32_768

type Run = { -readonly [key in keyof PackedPaths['runs'][number]]: PackedPaths['runs'][number][key] }

export class Page {
  steps = 0
  readonly #routes: RouteSnapshot[] = []
  readonly #limit: number
  /** Of the routes that are shown as objects. */
  #octets = 0
  #family: Family = 'ipv4'
  #paths: PathOctets | undefined
  readonly #runs: Run[] = []
  #from: Peer | undefined

  constructor(limit: number) {
    this.#limit = Math.min(limit, maxRoutesPerAnswer)
  }

  get isFull(): boolean {
    const { count = 0, unpackedLength = 0 } = this.#paths ?? {}
    return (
      this.steps >= maxStepsPerAnswer ||
      this.#routes.length + count >= this.#limit ||
      this.#octets + unpackedLength >= maxOctetsPerAnswer
    )
  }

  get answer(): QueryAnswer {
    const paths = this.#paths
    if (paths === undefined) return { routes: this.#routes }
    return { packed: { family: this.#family, octets: paths.octets, runs: this.#runs } }
  }

  /** A route to show. */
  show(route: RouteSnapshot): undefined {
    this.steps++
    this.#octets += textOctets(route)
    this.#routes.push(route)
  }

  /** One of the paths that a peer has sent, by the slot where it lies now. */
  add(peer: Peer, family: Family, slot: number): void {
    this.steps++
    const isSameTable = peer === this.#from
    if (!isSameTable) this.#begin(peer, family)
    if (this.#paths !== undefined) peer.adjRibIn.pack(family, slot, this.#paths, isSameTable)
    const run = this.#runs.at(-1)
    if (run !== undefined) run.count++
  }

  #begin(peer: Peer, family: Family): void {
    const { neighbor, importer, adjRibIn } = peer
    const { id, virtualRouter } = neighbor
    this.#from = peer
    this.#family = family
    this.#paths ??= new PathOctets(family)
    this.#runs.push({ peer: { id, virtualRouter }, facts: importer.facts, contexts: adjRibIn.contexts, count: 0 })
  }
}
