/** rtnetlink: the addresses of this network namespace. */
import { type Address, addressFromBytes } from '../ip/address.ts'
import { askAll, attributes, type NetlinkMessage } from './netlink.ts'
import { listLinks } from './links.ts'

// linux/rtnetlink.h, linux/if_addr.h
const RTM_NEWADDR = 20
const RTM_GETADDR = 22
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_FLAGS = 8
/** Also IFA_F_TEMPORARY, of IPv6. */
const IFA_F_SECONDARY = 0x01
const IFA_F_DADFAILED = 0x08
const IFA_F_DEPRECATED = 0x20
const IFA_F_TENTATIVE = 0x40
const unfit = IFA_F_SECONDARY | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE
const RT_SCOPE_UNIVERSE = 0
const ifaddrmsgBytes = 8

export interface InterfaceAddress {
  readonly device: string
  readonly address: Address
  /** Of global scope, and neither tentative, deprecated, temporary nor secondary. */
  readonly isGlobal: boolean
}

/** Every address, in the kernel's order. Throws ERR_SYSCALL. */
export function listAddresses(): readonly InterfaceAddress[] {
  const names = new Map(listLinks().map(({ index, name }) => [index, name]))
  return addressesIn(askAll('list addresses', RTM_GETADDR, new Uint8Array(ifaddrmsgBytes)), names)
}

/** `names`: of interfaces by index; an address of another one, or of no length that addresses have, is left out. */
export function addressesIn(
  messages: readonly NetlinkMessage[],
  names: ReadonlyMap<number, string>,
): readonly InterfaceAddress[] {
  return messages
    .filter(({ type, body }) => type === RTM_NEWADDR && body.length >= ifaddrmsgBytes)
    .flatMap(({ body }) => {
      const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
      const found = attributes(body, ifaddrmsgBytes)
      // Of a point-to-point link IFA_ADDRESS is the other end.
      const octets = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS)
      const device = names.get(view.getUint32(4, true))
      if (device === undefined || (octets?.length !== 4 && octets?.length !== 16)) return []
      const long = found.get(IFA_FLAGS)
      const flags =
        long?.length === 4 ? new DataView(long.buffer, long.byteOffset, 4).getUint32(0, true) : view.getUint8(2)
      const isGlobal = view.getUint8(3) === RT_SCOPE_UNIVERSE && (flags & unfit) === 0
      return [{ device, address: addressFromBytes(octets), isGlobal }]
    })
}
