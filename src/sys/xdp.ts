/** XDP: a program at an interface, in front of all that the kernel does with a frame. */
import koffi from 'koffi'
import { linkInterface } from './bpf-attach.ts'
import { checked, closeCall, libc } from './libc.ts'
import { checkedBpf, libbpfInt } from './libbpf.ts'
import { AF_INET, openSocket, SOCK_DGRAM } from './socket.ts'

/** By the driver, or by the kernel in its place: that works on every interface, and is slower than TC. */
export type XdpMode = 'native' | 'generic'

/** BPF_XDP and BPF_LINK_TYPE_XDP of linux/bpf.h */
const xdpAttachType = 37
const xdpLinkType = 6
/** XDP_FLAGS_* of linux/if_link.h; a card that runs programs by itself has a third kind. */
const modeFlags = { native: 4, generic: 2 } as const
const offloadedFlag = 8

/** A new link. The descriptor is the caller's to pin and close. Throws ERR_SYSCALL. */
export function createXdpLink(programFd: number, ifindex: number, mode: XdpMode): number {
  // struct bpf_link_create_opts: its size, then flags.
  const options = new DataView(new ArrayBuffer(16))
  options.setBigUint64(0, 16n, true)
  options.setUint32(8, modeFlags[mode], true)
  return checkedBpf(
    `attach to interface ${ifindex} in front of the kernel`,
    libbpfInt('bpf_link_create', programFd, ifindex, xdpAttachType, new Uint8Array(options.buffer)),
  )
}

/** The interface of a link; 0 when it is gone, undefined when this is no link of XDP. */
export function xdpLinkInterface(linkFd: number): number | undefined {
  return linkInterface(linkFd, xdpLinkType)
}

/** Ids of the programs that an interface has, of whatever kind. Throws ERR_SYSCALL. */
export function xdpProgramIds(ifindex: number): readonly number[] {
  return [modeFlags.native, modeFlags.generic, offloadedFlag].flatMap((flags) => {
    const id = new Uint32Array(1)
    checkedBpf(`XDP programs of interface ${ifindex}`, libbpfInt('bpf_xdp_query_id', ifindex, flags, id))
    return id[0] === undefined || id[0] === 0 ? [] : [id[0]]
  })
}

const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)')
// linux/sockios.h, linux/ethtool.h
const SIOCETHTOOL = 0x8946
const ETHTOOL_GDRVINFO = 0x03
const ETHTOOL_GFLAGS = 0x25
const ETH_FLAG_RXVLAN = 1 << 8
/** struct ifreq, and in it where the argument's address stands. */
const ifreqBytes = 40
const ifreqDataAt = 16

/** What an interface answers to a command of ethtool. Throws ERR_SYSCALL. */
function askDevice(name: string, command: number, answerBytes: number): Uint8Array {
  const argument = new Uint8Array(new ArrayBuffer(answerBytes))
  new DataView(argument.buffer).setUint32(0, command, true)
  const request = new DataView(new ArrayBuffer(ifreqBytes))
  new Uint8Array(request.buffer).set(new TextEncoder().encode(name).subarray(0, ifreqDataAt - 1))
  request.setBigUint64(ifreqDataAt, koffi.address(argument), true)
  const fd = openSocket('socket', AF_INET, SOCK_DGRAM)
  try {
    checked(`ethtool ${name}`, Number(ioctl(fd, SIOCETHTOOL, new Uint8Array(request.buffer))))
  } finally {
    closeCall(fd)
  }
  return argument
}

/** Whether the tag of a VLAN is beside the frame, where XDP does not see it (rx-vlan-offload). Throws ERR_SYSCALL. */
export function stripsTags(name: string): boolean {
  const flags = new DataView(askDevice(name, ETHTOOL_GFLAGS, 8).buffer).getUint32(4, true)
  return (flags & ETH_FLAG_RXVLAN) !== 0
}

/** The name of a driver. Throws ERR_SYSCALL (EOPNOTSUPP of some). */
export function driverOf(name: string): string {
  // struct ethtool_drvinfo
  return new TextDecoder().decode(askDevice(name, ETHTOOL_GDRVINFO, 196).subarray(4, 36)).replace(/\0.*$/s, '')
}
