/** The addresses whose packets are looked at: VIPs, those of backends, this node's own in the tunnel. Pure. */
import { isAnyNodeAddress } from '../../desired/model.ts'
import { decodeAddressKey, encodeAddressKey } from '../address-octets.ts'
import { decodeAddress, encodeAddress, type AddressRecord } from '../layout.ts'
import type { MapEntry, MapStore } from '../maps.ts'

export const nothing: AddressRecord = { frontends: 0, sources: 0, ranges: 0, tunnel: 0, nodePorts: 0 }

export class AddressTable {
  readonly #store: MapStore
  readonly #held = new Map<string, AddressRecord>()
  /** Those at which node ports are served. */
  readonly #ofNode = new Set<string>()
  /** The one that was written last: thousands of addresses have the same. */
  #last: AddressRecord = nothing

  constructor(store: MapStore) {
    this.#store = store
  }

  get used(): number {
    return this.#held.size
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  of(address: string): AddressRecord {
    return this.#held.get(address) ?? nothing
  }

  /** Whether the map holds it as a VIP, which answers to whom it should. */
  isVip(address: string): boolean {
    const key = encodeAddressKey(address)
    const value = key === undefined ? undefined : this.#store.get(key)
    // Those of the node are no VIPs, but for the ports that Services have there.
    if (isAnyNodeAddress(address)) return true
    if (value === undefined) return false
    const { frontends, ranges } = decodeAddress(value)
    return frontends > 0 && ranges === this.of(address).ranges
  }

  /** Whether the map holds exactly what was written. */
  isIntact(address: string): boolean {
    if (isAnyNodeAddress(address)) return [...this.#ofNode].every((each) => this.isIntact(each))
    const key = encodeAddressKey(address)
    const value = key === undefined ? undefined : this.#store.get(key)
    return value !== undefined && Buffer.compare(value, encodeAddress(this.of(address))) === 0
  }

  /** `ranges`: the set to which the VIP answers from here on. Throws ERR_MAP_FULL, and has then changed nothing. */
  add(
    address: string,
    part: 'frontends' | 'sources' | 'tunnel' | 'nodePorts',
    more: 1 | 0 | -1,
    ranges?: number,
  ): void {
    const key = encodeAddressKey(address)
    if (key === undefined || isAnyNodeAddress(address)) return
    const before = this.of(address)
    // What somebody else wrote for an address may be taken back, and was never counted.
    const after = this.#shared({
      ...before,
      [part]: Math.max(0, before[part] + more),
      ranges: ranges ?? before.ranges,
    })
    if (after.nodePorts === 0) this.#ofNode.delete(address)
    if (after.frontends > 0 || after.sources > 0 || after.tunnel > 0 || after.nodePorts > 0) {
      this.#store.put(key, encodeAddress(after))
      this.#held.set(address, after)
      if (after.nodePorts > 0) this.#ofNode.add(address)
    } else {
      this.#store.delete(key)
      this.#held.delete(address)
    }
  }

  #shared(record: AddressRecord): AddressRecord {
    const { frontends, sources, ranges, tunnel, nodePorts } = this.#last
    const isSame =
      record.frontends === frontends &&
      record.sources === sources &&
      record.ranges === ranges &&
      record.tunnel === tunnel &&
      record.nodePorts === nodePorts
    if (!isSame) this.#last = record
    return this.#last
  }

  /** Somebody else took the entry out of the map, or changed it. */
  restore(address: string): void {
    const key = encodeAddressKey(address)
    if (isAnyNodeAddress(address)) for (const each of this.#ofNode) this.restore(each)
    else if (key !== undefined) this.#store.put(key, encodeAddress(this.of(address)))
  }

  /** Where node ports are served, by the map. */
  withNodePorts(): readonly string[] {
    return [...this.#store.entries()].flatMap(([key, value]) =>
      decodeAddress(value).nodePorts > 0 ? [decodeAddressKey(key)] : [],
    )
  }

  /** Makes the map hold what was counted and nothing else: a crash may have left more or less. */
  adopt(counted: ReadonlyMap<string, AddressRecord>): void {
    for (const [key] of [...this.#store.entries()]) if (!counted.has(decodeAddressKey(key))) this.#store.delete(key)
    const entries: MapEntry[] = []
    for (const [address, record] of counted) {
      const key = encodeAddressKey(address)
      if (key === undefined || isAnyNodeAddress(address)) continue
      entries.push([key, encodeAddress(record)])
      this.#held.set(address, record)
      if (record.nodePorts > 0) this.#ofNode.add(address)
    }
    this.#store.putAll(entries)
  }
}
