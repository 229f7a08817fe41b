/**
 * Addresses that Services have without a pool: cluster IPs, which the API server gives, and external IPs, which whoever
 * may write a Service writes. Kept is who claims which, so that nobody takes what another Service has. Pure.
 */
import type { OwnAddress, Service, ServicePort } from '../kinds/service.ts'
import { byAge } from '../kinds/table.ts'

export class OwnAddresses {
  readonly #services = new Map<string, Service>()
  /** By address: the Services that claim it. */
  readonly #claims = new Map<string, Set<string>>()

  /** Replaces what a Service claims; answers the others that claim the same, before or now. */
  set(key: string, service: Service | undefined): ReadonlySet<string> {
    const rivals = new Set<string>()
    const before = this.#services.get(key)
    if (before === service) return rivals
    for (const { address } of before?.own ?? []) this.#drop(address, key, rivals)
    if (service === undefined || service.own.length === 0) this.#services.delete(key)
    else this.#services.set(key, service)
    for (const { address } of service?.own ?? []) {
      const claims = this.#claims.get(address)
      if (claims === undefined) this.#claims.set(address, new Set([key]))
      else {
        for (const each of claims) if (each !== key) rivals.add(each)
        claims.add(key)
      }
    }
    return rivals
  }

  #drop(address: string, key: string, rivals: Set<string>): void {
    const claims = this.#claims.get(address)
    claims?.delete(key)
    if (claims?.size === 0) this.#claims.delete(address)
    for (const each of claims ?? []) rivals.add(each)
  }

  /** The Service of which an external IP is the cluster IP. */
  clusterOwner({ type, address }: OwnAddress, key: string): string | undefined {
    if (type === 'ClusterIP') return undefined
    return [...(this.#claims.get(address) ?? [])].find(
      (other) =>
        other !== key &&
        this.#services.get(other)?.own.some((own) => own.type === 'ClusterIP' && own.address === address),
    )
  }

  /** The older Service that has this port of an address; undefined: it is this one's. */
  portOwner(address: string, { port, protocol }: ServicePort, key: string): string | undefined {
    const service = this.#services.get(key)
    if (service === undefined) return undefined
    return [...(this.#claims.get(address) ?? [])].find((other) => {
      const rival = other === key ? undefined : this.#services.get(other)
      const hasPort = rival?.spec.ports.some((each) => each.port === port && each.protocol === protocol)
      return rival !== undefined && hasPort === true && byAge({ value: rival }, { value: service }) < 0
    })
  }
}
