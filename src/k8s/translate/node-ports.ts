/**
 * Which Service has which node port. The API server gives each to one Service; in a folder several may write the same,
 * and the oldest has it. Pure.
 */
import { Sorted } from '../../allocation/sorted.ts'
import type { Service } from '../kinds/service.ts'
import { byAge } from '../kinds/table.ts'
import { crowd, toldByName } from './own-addresses.ts'

interface Claimant {
  readonly key: string
  readonly value: Service
}

export class NodePorts {
  readonly #claimants = new Map<string, Claimant>()
  /** By `30080/TCP`. */
  readonly #lines = new Map<string, Sorted<Claimant>>()
  readonly #rivals = new Set<string>()

  /** Replaces what a Service claims. */
  set(key: string, service: Service | undefined): void {
    const before = this.#claimants.get(key)
    const now = service === undefined || service.nodePorts.length === 0 ? undefined : { key, value: service }
    if (before?.value === now?.value) return
    const [had, has] = [placesOf(before), placesOf(now)]
    const isAsOld = before !== undefined && now !== undefined && byAge(before, now) === 0
    this.#claimants.delete(key)
    for (const place of had) if (!isAsOld || !has.has(place)) this.#leave(place, before)
    if (now === undefined) return
    this.#claimants.set(key, now)
    for (const place of has) this.#enter(place, now, !isAsOld || !had.has(place))
  }

  #leave(place: string, claimant: Claimant | undefined): void {
    const line = this.#lines.get(place)
    if (line === undefined || claimant === undefined) return
    this.#tell(line, line.delete(claimant))
    if (line.items.length === 0) this.#lines.delete(place)
  }

  #enter(place: string, claimant: Claimant, isNews: boolean): void {
    const line = this.#lines.get(place) ?? new Sorted<Claimant>(byAge)
    this.#lines.set(place, line)
    const position = line.add(claimant)
    if (isNews && line.items.length > 1) this.#tell(line, position)
  }

  /** Somebody came to this position of a line, or left it. */
  #tell({ items }: Sorted<Claimant>, position: number | undefined): void {
    if (position === undefined || position > toldByName) return
    for (const { key } of items.slice(0, toldByName + 2)) this.#rivals.add(key)
  }

  /** Services that lost or won one, or have to name another owner, by what was set since the last question. */
  takeRivals(): readonly string[] {
    const rivals = [...this.#rivals]
    this.#rivals.clear()
    return rivals
  }

  /** The older Service that has it; undefined: it is this one's. */
  ownerOf(place: string, key: string): string | undefined {
    const [line, claimant] = [this.#lines.get(place), this.#claimants.get(key)]
    const position = claimant === undefined ? undefined : line?.positionOf(claimant)
    return position === 0 ? undefined : (position ?? 0) > toldByName ? crowd : line?.items[0]?.key
  }

  /** Whoever claims one of these. */
  claimantsOf(places: Iterable<string>): readonly string[] {
    return [...places].flatMap((place) => this.#lines.get(place)?.items.map(({ key }) => key) ?? [])
  }

  /** Whoever claims any. */
  get all(): Iterable<string> {
    return this.#claimants.keys()
  }
}

/** A Service of a folder may name one of them twice. */
function placesOf(claimant: Claimant | undefined): ReadonlySet<string> {
  if (claimant === undefined) return new Set()
  const { nodePorts, spec } = claimant.value
  return new Set(
    spec.ports.flatMap(({ protocol }, index) => {
      const nodePort = nodePorts[index] ?? 0
      return nodePort === 0 ? [] : [`${nodePort}/${protocol}`]
    }),
  )
}
