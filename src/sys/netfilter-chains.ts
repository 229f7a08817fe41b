/**
 * The chains of netfilter in this network namespace: of nftables (also of iptables over it), and of the older tables.
 */
import { HeraldError } from '../errors.ts'
import { checked, closeCall, libc } from './libc.ts'
import {
  hasLegacyTable,
  legacyNames,
  NETLINK_NETFILTER,
  NFT_MSG_GETCHAIN,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
} from './netfilter.ts'
import { askAll, attributes } from './netlink.ts'
import { AF_INET, AF_INET6, IPPROTO_IPV6, openSocket, SOCK_RAW } from './socket.ts'

const getsockoptCall = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')

/** struct nfgenmsg */
const nfgenmsgBytes = 4

// linux/netfilter_ipv4/ip_tables.h; those of IPv6 are the same.
const IPPROTO_IP = 0
const IPPROTO_RAW = 255
const IPT_SO_GET_INFO = 64
const IPT_SO_GET_ENTRIES = 65
const getInfoBytes = 84
const entriesSizeAt = 80
const entriesAt = 40
const table = 'filter'

export interface Chain {
  readonly table: string
  readonly name: string
}

/** Those of nftables, of every family. Throws ERR_SYSCALL. */
export function nftChains(): readonly Chain[] {
  try {
    return askAll('list chains', NFT_MSG_GETCHAIN, new Uint8Array(nfgenmsgBytes), NETLINK_NETFILTER).map(({ body }) => {
      const found = attributes(body, nfgenmsgBytes)
      return { table: textOf(found.get(NFTA_CHAIN_TABLE)), name: textOf(found.get(NFTA_CHAIN_NAME)) }
    })
  } catch (error) {
    // A kernel without nftables.
    if (error instanceof HeraldError && (error.errno === 'EINVAL' || error.errno === 'EPROTONOSUPPORT')) return []
    throw error
  }
}

const textOf = (octets: Uint8Array | undefined): string => new TextDecoder().decode(octets).replace(/\0.*$/, '')

const legacy = [
  { names: legacyNames.ipv4, domain: AF_INET, level: IPPROTO_IP },
  { names: legacyNames.ipv6, domain: AF_INET6, level: IPPROTO_IPV6 },
] as const

/**
 * The words of the filter tables that iptables has without nftables: names of chains, of matches, of targets. Nothing
 * where there are none: the kernel is not made to load them. Throws ERR_SYSCALL.
 */
export function legacyWords(): readonly string[] {
  return legacy.flatMap(({ names, domain, level }) =>
    hasLegacyTable(table, [names]) ? wordsOf(filterEntries(domain, level)) : [],
  )
}

/** Between the call for the size and that for the entries somebody may add one: then it is asked once more. */
function filterEntries(domain: number, level: number): Uint8Array {
  const fd = openSocket('raw socket', domain, SOCK_RAW, IPPROTO_RAW)
  try {
    for (let tries = 0; ; tries++) {
      const info = Buffer.alloc(getInfoBytes)
      info.write(table)
      checked('iptables info', getOption(fd, level, IPT_SO_GET_INFO, info))
      const size = info.readUInt32LE(entriesSizeAt)
      const entries = Buffer.alloc(entriesAt + size)
      entries.write(table)
      entries.writeUInt32LE(size, 32)
      const answer = getOption(fd, level, IPT_SO_GET_ENTRIES, entries)
      if (answer < 0 && tries < 8) continue
      checked('iptables entries', answer)
      return entries.subarray(entriesAt)
    }
  } finally {
    closeCall(fd)
  }
}

function getOption(fd: number, level: number, name: number, value: Buffer): number {
  const length = Buffer.alloc(4)
  length.writeInt32LE(value.length)
  return Number(getsockoptCall(fd, level, name, value, length))
}

/** Names stand in the entries as text that ends with a zero. */
function wordsOf(entries: Uint8Array): readonly string[] {
  return [
    ...new Set(
      Buffer.from(entries)
        .toString('latin1')
        .match(/[\w:.-]{4,}(?=\0)/g),
    ),
  ]
}
