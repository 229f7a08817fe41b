/**
 * Addresses that Services have without a pool: cluster IPs, which the API server gives, and external IPs, which whoever
 * may write a Service writes, so that thousands may claim one. Kept is who claims which, so that nobody takes what
 * another Service has: in the order of their age, by address and port. Pure.
 */
import { Sorted } from '../../allocation/sorted.ts'
import type { OwnAddress, Service, ServicePort } from '../kinds/service.ts'
import { byAge } from '../kinds/table.ts'

interface Claimant {
  readonly key: string
  readonly value: Service
}

/** An address that several Services claim. */
interface Contest {
  readonly all: Set<string>
  /** Of whom it is a cluster IP. */
  readonly cluster: Sorted<Claimant>
  /** By `80/TCP`. */
  readonly ports: Map<string, Sorted<Claimant>>
}

/**
 * So many who come after the owner of a port are told its name. With another owner all of them are told, and that must
 * not be a matter of how many claim it.
 */
export const toldByName = 16
export const crowd = `another one of more than ${toldByName} Services`

export class OwnAddresses {
  readonly #claimants = new Map<string, Claimant>()
  /** By address: the only one who claims it, as nearly always, or all of them. */
  readonly #claims = new Map<string, Claimant | Contest>()
  readonly #rivals = new Set<string>()
  /** Addresses that are the cluster IP of another Service now. */
  readonly #moved = new Set<string>()

  /** Replaces what a Service claims. */
  set(key: string, service: Service | undefined): void {
    const before = this.#claimants.get(key)
    const now = service === undefined || service.own.length === 0 ? undefined : { key, value: service }
    if (before?.value === now?.value) return
    const [had, has] = [placesOf(before), placesOf(now)]
    const isAsOld = before !== undefined && now !== undefined && byAge(before, now) === 0
    const stays = (places: ReadonlySet<string>, place: string): boolean => isAsOld && places.has(place)
    for (const address of addressesOf(before)) this.#leave(address, before, (place) => !stays(has, place))
    if (now === undefined) this.#claimants.delete(key)
    else this.#claimants.set(key, now)
    for (const address of addressesOf(now)) this.#enter(address, now, (place) => !stays(had, place))
  }

  /** Services that lost or won something, or have to name another owner, by what was set since the last question. */
  takeRivals(): ReadonlySet<string> {
    const rivals = new Set(this.#rivals)
    for (const address of this.#moved) {
      for (const key of this.claimantsOf(address)) rivals.add(key)
    }
    this.#rivals.clear()
    this.#moved.clear()
    return rivals
  }

  #leave(address: string, claimant: Claimant | undefined, isNews: (place: string) => boolean): void {
    const claims = this.#claims.get(address)
    if (claims === undefined || claimant === undefined) return
    if (!isContest(claims)) {
      this.#claims.delete(address)
      return
    }
    this.#change(claims, address, claimant, isNews, (line) => line.delete(claimant))
    claims.all.delete(claimant.key)
    const [last, more] = claims.all
    if (last !== undefined && more === undefined) {
      const only = this.#claimants.get(last)
      if (only !== undefined) this.#claims.set(address, only)
    }
  }

  #enter(address: string, claimant: Claimant | undefined, isNews: (place: string) => boolean): void {
    if (claimant === undefined) return
    const claims = this.#claims.get(address)
    if (claims === undefined || (!isContest(claims) && claims.key === claimant.key)) {
      this.#claims.set(address, claimant)
      return
    }
    const contest = isContest(claims) ? claims : this.#contest(address, claims)
    this.#change(contest, address, claimant, isNews, (line) => line.add(claimant))
    contest.all.add(claimant.key)
  }

  #contest(address: string, first: Claimant): Contest {
    const contest: Contest = { all: new Set([first.key]), cluster: new Sorted<Claimant>(byAge), ports: new Map() }
    this.#change(
      contest,
      address,
      first,
      () => false,
      (line) => line.add(first),
    )
    this.#claims.set(address, contest)
    return contest
  }

  /** `act` puts the claimant into a line or takes it out, and says where. */
  #change(
    contest: Contest,
    address: string,
    { value: { own, spec } }: Claimant,
    isNews: (place: string) => boolean,
    act: (line: Sorted<Claimant>) => number | undefined,
  ): void {
    if (own.some((each) => each.type === 'ClusterIP' && each.address === address)) {
      const position = act(contest.cluster)
      // Of its own claims a Service is not the rival.
      if (position !== undefined && position < 2 && isNews(address)) this.#moved.add(address)
    }
    for (const port of spec.ports) {
      const name = nameOf(port)
      const line = contest.ports.get(name) ?? new Sorted<Claimant>(byAge)
      const position = act(line)
      if (line.items.length > 0) contest.ports.set(name, line)
      else contest.ports.delete(name)
      if (position === undefined || position > toldByName || !isNews(`${address} ${name}`)) continue
      for (const { key } of line.items.slice(0, toldByName + 2)) this.#rivals.add(key)
    }
  }

  /** Everybody who has an address, or claims it. */
  claimantsOf(address: string): Iterable<string> {
    const claims = this.#claims.get(address)
    return claims === undefined ? [] : isContest(claims) ? claims.all : [claims.key]
  }

  /** The Service of which an external IP is the cluster IP. */
  clusterOwner({ type, address }: OwnAddress, key: string): string | undefined {
    const claims = type === 'ClusterIP' ? undefined : this.#claims.get(address)
    if (claims === undefined || !isContest(claims)) return undefined
    const [first, second] = claims.cluster.items
    return first?.key === key ? second?.key : first?.key
  }

  /** The older Service that has this port of an address; undefined: it is this one's. */
  portOwner(address: string, port: ServicePort, key: string): string | undefined {
    const [claims, claimant] = [this.#claims.get(address), this.#claimants.get(key)]
    if (claims === undefined || claimant === undefined || !isContest(claims)) return undefined
    const line = claims.ports.get(nameOf(port))
    const position = line?.positionOf(claimant) ?? 0
    if (position === 0) return undefined
    return position > toldByName ? crowd : line?.items[0]?.key
  }
}

const nameOf = ({ port, protocol }: ServicePort): string => `${port}/${protocol}`
const isContest = (claims: Claimant | Contest): claims is Contest => 'all' in claims

function addressesOf(claimant: Claimant | undefined): ReadonlySet<string> {
  return new Set(claimant?.value.own.map(({ address }) => address))
}

/** Addresses of which it is a cluster IP, and each port of each address. */
function placesOf(claimant: Claimant | undefined): ReadonlySet<string> {
  if (claimant === undefined) return new Set()
  const { own, spec } = claimant.value
  return new Set(
    own.flatMap(({ type, address }) => [
      ...(type === 'ClusterIP' ? [address] : []),
      ...spec.ports.map((port) => `${address} ${nameOf(port)}`),
    ]),
  )
}
