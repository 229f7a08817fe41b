/** What matches of iptables ask of a packet (linux/netfilter/xt_*.h), also where iptables is made over nftables. */
import { type Condition, unknownCondition } from './filter-rules.ts'

/** linux/rtnetlink.h, of an address of this node: as a type, and as a bit among types. */
export const RTN_LOCAL = 2
const XT_ADDRTYPE_LOCAL = 1 << RTN_LOCAL
/** struct xt_addrtype_info_v1: source, dest, flags. */
const XT_ADDRTYPE_INVERT_DEST = 2
/** struct xt_owner_match_info: uids, gids, match, invert; struct xt_mark_mtinfo1: mark, mask, invert. */
const ownerBytes = { match: 16, invert: 17 } as const
const markBytes = { mask: 4, invert: 8 } as const

/** Nothing where it is always so. */
export function conditionsOfMatch(name: string, revision: number, info: Uint8Array): readonly Condition[] {
  if (name === 'comment') return []
  return [knownMatches[`${name} ${revision}`]?.(Buffer.from(info)) ?? unknownCondition]
}

const knownMatches: Readonly<Record<string, ((info: Buffer) => Condition | undefined) | undefined>> = {
  'addrtype 1': (info) => {
    if (info.length < 8 || info.readUInt16LE(0) !== 0 || info.readUInt16LE(2) !== XT_ADDRTYPE_LOCAL) return undefined
    const flags = info.readUInt32LE(4)
    return (flags & ~XT_ADDRTYPE_INVERT_DEST) === 0 ? { of: 'to-node', isNot: flags !== 0 } : undefined
  },
  'mark 1': (info) => {
    if (info.length <= markBytes.invert) return undefined
    const [value, mask] = [info.readUInt32LE(0), info.readUInt32LE(markBytes.mask)]
    return { of: 'mark', value, mask, isNot: info.readUInt8(markBytes.invert) !== 0 }
  },
  // Whatever it asks of the socket, one that is not there is none that it asks for.
  'owner 1': (info) =>
    info.length > ownerBytes.invert && info.readUInt8(ownerBytes.match) !== 0 && info.readUInt8(ownerBytes.invert) === 0
      ? { of: 'socket', isNot: false }
      : undefined,
}
