/** What rules of netfilter are there, asked by name: a dump of a large node takes a second. */
import { existsSync, readFileSync } from 'node:fs'
import { HeraldError } from '../errors.ts'
import { askOne } from './netlink.ts'
import { AF_INET, AF_INET6 } from './socket.ts'

export const NETLINK_NETFILTER = 12
// linux/netfilter/nfnetlink.h, nf_tables.h: NFNL_SUBSYS_NFTABLES << 8, and the message.
const NFT_MSG_GETTABLE = 0x0a01
export const NFT_MSG_GETCHAIN = 0x0a04
export const NFT_MSG_GETRULE = 0x0a07
export const NFT_MSG_GETGEN = 0x0a10
const NFTA_TABLE_NAME = 1
export const NFTA_CHAIN_TABLE = 1
export const NFTA_CHAIN_NAME = 3
/** struct nfgenmsg: family, version, resource. */
export const nfgenmsgBytes = 4
const families = [AF_INET, AF_INET6] as const

export function textAttribute(type: number, text: string): Buffer {
  const value = Buffer.from(`${text}\0`)
  const octets = Buffer.alloc(4 + ((value.length + 3) & ~3))
  octets.writeUInt16LE(4 + value.length, 0)
  octets.writeUInt16LE(type, 2)
  octets.set(value, 4)
  return octets
}

/** struct nfgenmsg: family, version 0, resource 0. Throws ERR_SYSCALL for any other answer than yes and no. */
function isThere(type: number, family: number, attributes: readonly Buffer[]): boolean {
  try {
    const body = Buffer.concat([Buffer.of(family, 0, 0, 0), ...attributes])
    return askOne('rules of netfilter', type, body, NETLINK_NETFILTER).length > 0
  } catch (error) {
    if (error instanceof HeraldError && error.errno === 'ENOENT') return false
    throw error
  }
}

export function hasNftTable(name: string): boolean {
  return families.some((family) => isThere(NFT_MSG_GETTABLE, family, [textAttribute(NFTA_TABLE_NAME, name)]))
}

/** Also those that iptables made by nftables. */
export function hasNftChain(table: string, name: string): boolean {
  const attributes = [textAttribute(NFTA_CHAIN_TABLE, table), textAttribute(NFTA_CHAIN_NAME, name)]
  return families.some((family) => isThere(NFT_MSG_GETCHAIN, family, attributes))
}

/** Where the old iptables lists the tables that it has made. */
export const legacyNames = { ipv4: '/proc/net/ip_tables_names', ipv6: '/proc/net/ip6_tables_names' } as const

/** The old iptables has made this table, which only it can list. */
export function hasLegacyTable(name: string, files: readonly string[] = Object.values(legacyNames)): boolean {
  return files.some((file) => existsSync(file) && readFileSync(file, 'latin1').split('\n').includes(name))
}
