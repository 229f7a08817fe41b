/**
 * What the interfaces of the node were when they were last seen: a moment without an address or a default route changes
 * nothing. Pure but for its memory.
 */
import type { NodeNetwork } from '../dialects/node-plan.ts'
import { sameValue } from '../../desired/same-value.ts'
import type { LocalAddress, TranslatorOptions } from './types.ts'

type Asked = Pick<TranslatorOptions, 'localAddresses' | 'gateways'>

export class KnownNetwork {
  readonly #options: Asked
  #lastAddresses: readonly LocalAddress[] = []
  #network: NodeNetwork = { gateways: {}, addresses: new Map() }

  constructor(options: Asked) {
    this.#options = options
  }

  get seen(): NodeNetwork {
    return this.#network
  }

  /** Looks again; true when something is otherwise. */
  look(): boolean {
    const { localAddresses = () => [], gateways = () => ({}) } = this.#options
    const local = localAddresses()
    const found = { ...this.#network.gateways, ...gateways() }
    const haveMoved = local !== this.#lastAddresses && !sameValue(local, this.#lastAddresses)
    if (!haveMoved && sameValue(found, this.#network.gateways)) return false
    this.#lastAddresses = local
    const byDevice = Map.groupBy(local, (each) => each.interface)
    const now = [...byDevice].map(([device, all]) => [device, all.map(({ address }) => address)] as const)
    this.#network = { gateways: found, addresses: new Map([...this.#network.addresses, ...now]) }
    return true
  }
}
