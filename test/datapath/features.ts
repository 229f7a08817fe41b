/** What ethtool sets of a device. */
import koffi from 'koffi'
import { checked, libc } from '../../src/sys/libc.ts'

const socket = libc.func('int socket(int domain, int type, int protocol)')
const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *argument)')
// linux/sockios.h, linux/ethtool.h
const SIOCETHTOOL = 0x8946
const ETHTOOL_STXCSUM = 0x17
const ETHTOOL_SFLAGS = 0x26
const ETHTOOL_SGRO = 0x2c
const ETH_FLAG_TXVLAN = 1 << 7

function set(device: string, command: number, data: number): string {
  const value = Uint32Array.of(command, data)
  const request = new DataView(new ArrayBuffer(40))
  new Uint8Array(request.buffer).set(new TextEncoder().encode(device))
  request.setBigUint64(16, koffi.address(value), true)
  checked('SIOCETHTOOL', Number(ioctl(Number(socket(2, 2, 0)), SIOCETHTOOL, new Uint8Array(request.buffer))))
  return `${value.length} words`
}

/** What is sent as CHECKSUM_PARTIAL is finished in software, and verified. */
export function finishChecksums(device: string): string {
  return set(device, ETHTOOL_STXCSUM, 0)
}

/** Tags of VLANs stay in frames that come in. */
export function keepTags(device: string): string {
  return set(device, ETHTOOL_SFLAGS, ETH_FLAG_TXVLAN)
}

/** A veth keeps its receive queue, also while a program of XDP comes or goes. */
export function keepQueue(device: string): string {
  return set(device, ETHTOOL_SGRO, 1)
}
