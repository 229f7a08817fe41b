/**
 * Where a peer is: configured, or, for `::` with an interface (unnumbered), the router that is found on it (RFC 4861
 * 4.2).
 */
import { HeraldError, messageOf } from '../../errors.ts'
import { type Address, formatScoped, isLinkLocal, parseAddress } from '../../ip/address.ts'
import type { Neighbor } from '../../desired/model.ts'
import type { Environment } from './environment.ts'

export interface PeerAddressHost {
  /** Whether another router may take the place of the one that was found: not while a session is under way. */
  mayMove(): boolean
  found(): void
  problem(message: string): void
}

export class PeerAddress {
  readonly #neighbor: Pick<Neighbor, 'peerAddress' | 'interface'>
  readonly #environment: Environment
  readonly #host: PeerAddressHost
  readonly #isUnnumbered: boolean
  #address: Address | undefined
  #discovery: { close(): void } | undefined
  #problem: string | undefined

  constructor(neighbor: Pick<Neighbor, 'peerAddress' | 'interface'>, environment: Environment, host: PeerAddressHost) {
    this.#neighbor = neighbor
    this.#environment = environment
    this.#host = host
    this.#isUnnumbered = neighbor.peerAddress === '::'
    this.#address = this.#isUnnumbered ? undefined : parseAddress(neighbor.peerAddress)
  }

  /** Unknown while an unnumbered one was not found. */
  get address(): Address | undefined {
    return this.#address
  }

  /** For people. */
  get text(): string {
    const { peerAddress, interface: device } = this.#neighbor
    return this.#address === undefined ? peerAddress : formatScoped(this.#address, device)
  }

  /** The address, or ERR_SYSCALL that says why there is none. */
  known(): Address {
    if (this.#address !== undefined) return this.#address
    const { peerAddress, interface: device } = this.#neighbor
    throw new HeraldError(
      'ERR_SYSCALL',
      device === undefined
        ? `${peerAddress} is no address`
        : this.#discovery === undefined
          ? `routers on ${device} cannot be looked for: ${this.#problem ?? 'not started'}`
          : `no router has advertised itself on ${device} yet`,
    )
  }

  /** Looks for routers, where that is needed and not under way; an interface may be there now that was not before. */
  look(): void {
    const { interface: device } = this.#neighbor
    // A router with an interface for a neighbor takes whom it has heard advertise himself, also where we were told its
    // address.
    const isOnLink = this.#isUnnumbered || (this.#address !== undefined && isLinkLocal(this.#address))
    if (!isOnLink || device === undefined || this.#discovery !== undefined) return
    try {
      this.#discovery = this.#environment.discoverRouters(device, (router) => this.#found(router))
    } catch (error) {
      if (this.#problem !== messageOf(error))
        this.#host.problem(`routers on ${device} cannot be looked for: ${messageOf(error)}`)
      this.#problem = messageOf(error)
    }
  }

  close(): void {
    this.#discovery?.close()
    this.#discovery = undefined
  }

  #found(router: Address): void {
    if (!this.#isUnnumbered || router === this.#address || this.#discovery === undefined) return
    if (this.#address !== undefined && !this.#host.mayMove()) return
    this.#address = router
    this.#host.found()
  }
}
