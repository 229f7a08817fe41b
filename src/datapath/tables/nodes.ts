/**
 * The nodes of the cluster: where packets come that others hand on, and from whom they may come. Both lie in maps
 * alone, as a former process left them. Pure.
 */
import type { PortRange } from '../../desired/model.ts'
import { HeraldError } from '../../errors.ts'
import { tunnelPort, type ClusterNodes } from '../datapath.ts'
import { decodeAddressKey, encodeAddressKey, readOptional, writeOptional } from '../address-octets.ts'
import { offsets, sizes } from '../layout.ts'
import type { Maps, MapStore } from '../maps.ts'
import type { AddressTable } from './addresses.ts'

/** `struct tunnel`: where this node is reached by others, by family, and the port of UDP. */
interface TunnelRecord {
  readonly ipv4?: string | undefined
  readonly ipv6?: string | undefined
  readonly port: number
  readonly snatPorts?: PortRange | undefined
}

function readTunnel(memory: DataView): TunnelRecord {
  return {
    ipv4: readOptional(memory, offsets.tunnel.ipv4),
    ipv6: readOptional(memory, offsets.tunnel.ipv6),
    port: memory.getUint16(offsets.tunnel.port),
  }
}

function writeTunnel(memory: DataView, { ipv4, ipv6, port, snatPorts }: TunnelRecord): void {
  writeOptional(memory, offsets.tunnel.ipv4, ipv4)
  writeOptional(memory, offsets.tunnel.ipv6, ipv6)
  memory.setUint16(offsets.tunnel.port, port)
  memory.setUint16(offsets.tunnel.snat_first, snatPorts?.first ?? 0, true)
  memory.setUint16(offsets.tunnel.snat_ports, snatPorts === undefined ? 0 : snatPorts.last - snatPorts.first + 1, true)
}

const isIpv6 = (address: string): boolean => address.includes(':')

export class NodeTable {
  readonly #memory: DataView
  readonly #store: MapStore
  readonly #addresses: AddressTable
  #used: number
  #nodePorts: readonly string[]

  constructor(maps: Maps, addresses: AddressTable) {
    this.#memory = maps.memory('tunnels')
    this.#store = maps.store('nodes')
    this.#addresses = addresses
    this.#used = [...this.#store.entries()].length
    this.#nodePorts = addresses.withNodePorts()
  }

  get used(): number {
    return this.#used
  }

  get maxEntries(): number {
    return this.#store.maxEntries
  }

  /** Where packets come that others hand on. */
  get own(): readonly string[] {
    const { ipv4, ipv6 } = readTunnel(this.#memory)
    return [ipv4, ipv6].filter((address) => address !== undefined)
  }

  /** Where node ports are served. */
  get nodePorts(): readonly string[] {
    return this.#nodePorts
  }

  /** See {@link Datapath.setNodes}. */
  set({ own, others, nodePorts = [], port = tunnelPort, snatPorts }: ClusterNodes): void {
    const wanted = new Map(others.map((address) => [address, keyOf(address)]))
    for (const address of own) this.#check(address, own)
    for (const address of nodePorts) this.#checkServed(address)
    this.#setNodePorts(nodePorts)
    const held = [...this.#store.entries()].map(([key]) => decodeAddressKey(key))
    const known = new Set(held)
    // Whoever is new is believed before anybody is told of it, and who is gone last.
    for (const [address, key] of wanted) {
      if (known.has(address)) continue
      this.#store.put(key, new Uint8Array(sizes.node))
      this.#used++
    }
    this.#setOwn(own, port, snatPorts)
    for (const address of held) {
      if (wanted.has(address) || !this.#store.delete(keyOf(address))) continue
      this.#used--
    }
  }

  #setNodePorts(wanted: readonly string[]): void {
    const before = this.#nodePorts
    const held = new Set(before)
    try {
      for (const address of before.filter((each) => !wanted.includes(each))) {
        this.#addresses.add(address, 'nodePorts', -1)
        held.delete(address)
      }
      for (const address of wanted.filter((each) => !before.includes(each))) {
        this.#addresses.add(address, 'nodePorts', 1)
        held.add(address)
      }
    } finally {
      this.#nodePorts = [...held]
    }
  }

  #setOwn(own: readonly string[], port: number, snatPorts: PortRange | undefined): void {
    const before = this.own
    for (const address of own) if (!before.includes(address)) this.#addresses.add(address, 'tunnel', 1)
    const ofFamily = (wantsIpv6: boolean): string | undefined => own.find((address) => isIpv6(address) === wantsIpv6)
    writeTunnel(this.#memory, { ipv4: ofFamily(false), ipv6: ofFamily(true), port, snatPorts })
    for (const address of before) if (!own.includes(address)) this.#addresses.add(address, 'tunnel', -1)
  }

  #check(address: string, own: readonly string[]): void {
    if (own.filter((other) => isIpv6(other) === isIpv6(address)).length > 1)
      throw new HeraldError('ERR_ADDRESS', `${own.join(' and ')} cannot both be the address of this node`)
    this.#checkServed(address)
  }

  #checkServed(address: string): void {
    keyOf(address)
    if (this.#addresses.of(address).frontends > 0)
      throw new HeraldError('ERR_ADDRESS', `${address} is a served address and cannot be the one of this node`)
  }
}

function keyOf(address: string): Uint8Array {
  const key = encodeAddressKey(address)
  if (key === undefined) throw new HeraldError('ERR_ADDRESS', `${address} is no address that a node can have`)
  return key
}
