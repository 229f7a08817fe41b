/**
 * Who has which port of an address that several Services share: who has it recorded, whoever is older. Pure.
 *
 *     those that have the address, oldest first --ownersOf--> port -> key --portsOf--> what one of them has and lacks
 */
import { type Aged, byAge, setOf, type SharingTerms } from './sharing.ts'
import { type PortsByAddress, type Tenure, termsOf } from './tenure.ts'
import type { Work } from './work.ts'

/** One that has an address, or, while it was not seen, ports of it reserved. */
export interface Sharer {
  readonly key: string
  /** Absent while it was not seen. */
  readonly age?: Aged | undefined
  readonly sharing?: SharingTerms | undefined
  /** The ports that are its own; nothing is recorded of an address that is not here. */
  readonly ports?: PortsByAddress | undefined
  /** What agents read as its own until its status is written anew. */
  readonly said?: PortsByAddress | undefined
}

/** `80/TCP` -> the key of who has it. */
export type PortOwners = ReadonlyMap<string, string>

const nothing: readonly string[] = []

export function oldestFirst(sharers: readonly Sharer[]): readonly Sharer[] {
  const { POSITIVE_INFINITY: createdMs } = Number
  const ageOf = ({ key, age }: Sharer): Aged => age ?? { key, createdMs }
  return sharers.length < 2 ? sharers : [...sharers].sort((a, b) => byAge(ageOf(a), ageOf(b)))
}

/**
 * First what is recorded, of two that have one port recorded the older one's; then what statuses still say, whoever
 * wants it by now; then what those want of whom nothing is recorded, by age.
 */
export function* ownersOf(address: string, sharers: readonly Sharer[]): Work<Map<string, string>> {
  const owners = new Map<string, string>()
  const take = (key: string, ports: readonly string[]): void => {
    for (const port of ports) if (!owners.has(port)) owners.set(port, key)
  }
  for (const { key, ports } of sharers) {
    take(key, ports?.get(address) ?? nothing)
    yield
  }
  for (const { key, said } of sharers) take(key, said?.get(address) ?? nothing)
  for (const { key, ports, sharing } of sharers) {
    if (ports?.get(address) === undefined) take(key, sharing?.ports ?? nothing)
    yield
  }
  return owners
}

/** The ports of all that want some, with those that nobody had: each goes to the oldest that wants it. */
export function* sharedOut(
  address: string,
  sharers: readonly Sharer[],
): Work<{ readonly owners: PortOwners; readonly changed: ReadonlyMap<string, PortsByAddress> }> {
  const owners = yield* ownersOf(address, sharers)
  const changed = new Map<string, PortsByAddress>()
  for (const { key, age, sharing, ports: before } of sharers) {
    yield
    if (age === undefined || sharing === undefined) continue
    for (const port of sharing.ports) if (!owners.has(port)) owners.set(port, key)
    const all = new Set([...(before?.get(address) ?? nothing), ...sharing.ports])
    const now = [...all].filter((port) => owners.get(port) === key)
    if (before?.get(address)?.join() !== now.join()) changed.set(key, new Map([...(before ?? []), [address, now]]))
  }
  return { owners, changed }
}

/** Of the ports that a Service had those that it still wants, of addresses that it still has. */
export function portsKept(
  before: PortsByAddress | undefined,
  addresses: readonly string[],
  sharing: SharingTerms | undefined,
): PortsByAddress | undefined {
  if (before === undefined || sharing === undefined) return undefined
  const wanted = setOf(sharing.ports)
  const kept = addresses.flatMap((address) => {
    const ports = before.get(address)?.filter((port) => wanted.has(port))
    return ports === undefined ? [] : [[address, ports] as const]
  })
  return new Map(kept)
}

/** What a status says of the ports of addresses that are in it. */
export function saidPorts(request: { readonly tenure?: Tenure | undefined; readonly lingering?: readonly string[] }): {
  readonly said?: PortsByAddress
} {
  const { tenure, lingering = nothing } = request
  const said = [...(tenure?.ports ?? [])].filter(([address, ports]) => ports.length > 0 && lingering.includes(address))
  return said.length === 0 ? {} : { said: new Map(said) }
}

/** What a Service has of the ports of its addresses, and who has those that it lacks. */
export interface OwnPorts {
  readonly tenure: Tenure
  /** `198.51.100.1 80/TCP` -> the key. */
  readonly lost: ReadonlyMap<string, string>
}

export function portsOf(
  key: string,
  addresses: readonly string[],
  sharing: SharingTerms,
  ownersAt: ReadonlyMap<string, PortOwners>,
): OwnPorts {
  const ports = new Map<string, readonly string[]>()
  const lost = new Map<string, string>()
  for (const address of addresses) {
    const owners = ownersAt.get(address)
    const own = sharing.ports.filter((port) => owners?.get(port) === key)
    ports.set(address, own)
    for (const port of sharing.ports) {
      const owner = owners?.get(port)
      if (owner !== undefined && owner !== key) lost.set(`${address} ${port}`, owner)
    }
  }
  return { tenure: { terms: termsOf(sharing), ports }, lost }
}
