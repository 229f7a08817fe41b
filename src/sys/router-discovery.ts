/**
 * Routers on a link, by their Router Advertisements (RFC 4861 4.2, 6.1.2): how the router of an unnumbered neighbor is
 * found. It listens, solicits, and advertises this node with a router lifetime of 0: FRR takes a connection only from
 * whom it has heard so, and with that lifetime nobody takes the node for a default router (6.2.5).
 */
import koffi from 'koffi'
import { type Address, addressFromBytes, isLinkLocal } from '../ip/address.ts'
import { HeraldError } from '../errors.ts'
import { closeCall, interfaceIndex } from './libc.ts'
import {
  AF_INET6,
  bindToDevice,
  IPPROTO_IPV6,
  octetsOfSockaddrIn6,
  openSocket,
  preparedSocket,
  recvfromCall,
  sendtoCall,
  setIntOption,
  setOption,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
  socketAddress,
} from './socket.ts'

// linux/in6.h, linux/icmpv6.h, asm-generic/socket.h
const IPPROTO_ICMPV6 = 58
const SO_ATTACH_FILTER = 26
const IPV6_MULTICAST_HOPS = 18
const IPV6_MULTICAST_LOOP = 19
const ICMP6_FILTER = 1
const routerSolicitation = 133
const routerAdvertisement = 134
const allNodes = addressFromBytes(Uint8Array.of(0xff, 0x02, ...new Uint8Array(13), 1))
const allRouters = addressFromBytes(Uint8Array.of(0xff, 0x02, ...new Uint8Array(13), 2))

/** Type to reachable and retransmission times (RFC 4861 4.2). */
const leastAdvertisementBytes = 16
/** linux/filter.h: the octet `hop_limit` of the IPv6 header is to be 255, else nothing of the packet is passed on. */
const hopLimit255 = [
  { code: 0x30, jumpTrue: 0, jumpFalse: 0, k: 0xfff00000 + 7 }, // A = octet 7 behind SKF_NET_OFF
  { code: 0x15, jumpTrue: 0, jumpFalse: 1, k: 255 },
  { code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0xffffffff },
  { code: 0x06, jumpTrue: 0, jumpFalse: 0, k: 0 },
] as const
/** Advertisements taken in one poll: a flood waits in the socket's buffer, which the kernel bounds. */
const maxPerPoll = 32

export interface RouterDiscovery {
  /**
   * Routers that advertised themselves since the last call, in the order of arrival; those with lifetime 0 too: they
   * speak BGP all the same.
   */
  poll(): readonly Address[]
  /** The interface is gone, or another one has its name now: open anew. */
  readonly isGone: boolean
  /** Asks the routers of the link to advertise themselves now, and shows them our link-local address. */
  solicit(): void
  close(): void
}

/** Throws ERR_SYSCALL when there is no such interface or no privilege (CAP_NET_RAW). */
export function openRouterDiscovery(device: string): RouterDiscovery {
  const index = interfaceIndex(device)
  if (index === 0) throw new HeraldError('ERR_SYSCALL', `there is no interface ${device}`, { errno: 'ENODEV' })
  const fd = openSocket(`raw ICMPv6 socket on ${device}`, AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMPV6)
  preparedSocket(fd, () => {
    attach(fd)
    bindToDevice(fd, device)
    const filter = Buffer.alloc(32, 0xff)
    filter.writeUInt32LE(
      (0xffffffff ^ (1 << (routerAdvertisement % 32))) >>> 0,
      Math.floor(routerAdvertisement / 32) * 4,
    )
    setOption('ICMP6_FILTER', fd, IPPROTO_ICMPV6, ICMP6_FILTER, filter)
    setIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255)
    // Our own advertisement is not one to be found.
    setIntOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0)
  })
  return new IcmpDiscovery(fd, device, index)
}

/** RFC 4861 6.1.2: what a router has forwarded is no advertisement of this link. */
function attach(fd: number): void {
  const instructions = Buffer.alloc(8 * hopLimit255.length)
  for (const [i, { code, jumpTrue, jumpFalse, k }] of hopLimit255.entries()) {
    instructions.writeUInt16LE(code, 8 * i)
    instructions.set([jumpTrue, jumpFalse], 8 * i + 2)
    instructions.writeUInt32LE(k, 8 * i + 4)
  }
  const program = Buffer.alloc(16)
  program.writeUInt16LE(hopLimit255.length, 0)
  program.writeBigUInt64LE(koffi.address(instructions), 8)
  setOption('SO_ATTACH_FILTER', fd, SOL_SOCKET, SO_ATTACH_FILTER, program)
}

class IcmpDiscovery implements RouterDiscovery {
  readonly #fd: number
  readonly #device: string
  readonly #index: number
  readonly #packet = Buffer.alloc(2048)
  readonly #source = Buffer.alloc(28)
  readonly #sourceLength = Buffer.alloc(4)

  constructor(fd: number, device: string, index: number) {
    this.#fd = fd
    this.#device = device
    this.#index = index
  }

  get isGone(): boolean {
    return interfaceIndex(this.#device) !== this.#index
  }

  poll(): readonly Address[] {
    const found: Address[] = []
    for (let taken = 0; taken < maxPerPoll; taken++) {
      this.#sourceLength.writeUInt32LE(this.#source.length)
      const length = Number(
        recvfromCall(this.#fd, this.#packet, this.#packet.length, 0, this.#source, this.#sourceLength),
      )
      // Nothing there, or a link that went down: the next poll tries again.
      if (length < 0) break
      const router = this.#router(length)
      if (router !== undefined) found.push(router)
    }
    return found
  }

  solicit(): void {
    this.#multicast(allRouters, Uint8Array.of(routerSolicitation, 0, 0, 0, 0, 0, 0, 0))
    // Hop limit, flags, lifetime and timers are all 0: unspecified.
    this.#multicast(allNodes, Uint8Array.of(routerAdvertisement, ...new Uint8Array(15)))
  }

  /** To a group on the interface; a link that is down takes nothing, and is tried again. */
  #multicast(group: Address, packet: Uint8Array): void {
    const address = socketAddress(group, 0, false, this.#index)
    sendtoCall(this.#fd, packet, packet.length, 0, address, address.length)
  }

  close(): void {
    closeCall(this.#fd)
  }

  /**
   * RFC 4861 6.1.2: a link-local source, code 0, and the fixed part there; the kernel has checked hop limit and
   * checksum.
   */
  #router(length: number): Address | undefined {
    const isAdvertisement =
      length >= leastAdvertisementBytes && this.#packet[0] === routerAdvertisement && this.#packet[1] === 0
    const source = addressFromBytes(octetsOfSockaddrIn6(this.#source))
    return isAdvertisement && isLinkLocal(source) ? source : undefined
  }
}
