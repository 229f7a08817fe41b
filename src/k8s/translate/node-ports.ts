/**
 * Which Service has which node port. The API server gives each to one Service; in a folder several may write the same,
 * and the oldest has it. Pure.
 */
import { Sorted } from '../../allocation/sorted.ts'
import type { Service } from '../kinds/service.ts'
import { byAge } from '../kinds/table.ts'

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
    if (before?.value === service) return
    if (before !== undefined) {
      this.#claimants.delete(key)
      for (const place of placesOf(before.value)) this.#leave(place, before)
    }
    if (service === undefined || service.nodePorts.length === 0) return
    const now = { key, value: service }
    this.#claimants.set(key, now)
    for (const place of placesOf(service)) this.#enter(place, now)
  }

  #leave(place: string, claimant: Claimant): void {
    const line = this.#lines.get(place)
    const position = line?.delete(claimant)
    const [first] = line?.items ?? []
    if (first === undefined) this.#lines.delete(place)
    else if (position === 0) this.#rivals.add(first.key)
  }

  #enter(place: string, claimant: Claimant): void {
    const line = this.#lines.get(place) ?? new Sorted<Claimant>(byAge)
    this.#lines.set(place, line)
    const [before] = line.items
    if (line.add(claimant) === 0 && before !== undefined) this.#rivals.add(before.key)
  }

  /** Services that lost or won one by what was set since the last question. */
  takeRivals(): readonly string[] {
    const rivals = [...this.#rivals]
    this.#rivals.clear()
    return rivals
  }

  /** The older Service that has it; undefined: it is this one's. */
  ownerOf(place: string, key: string): string | undefined {
    const [first] = this.#lines.get(place)?.items ?? []
    return first === undefined || first.key === key ? undefined : first.key
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
function placesOf({ nodePorts, spec: { ports } }: Service): ReadonlySet<string> {
  return new Set(
    ports.flatMap(({ protocol }, index) => {
      const nodePort = nodePorts[index] ?? 0
      return nodePort === 0 ? [] : [`${nodePort}/${protocol}`]
    }),
  )
}
