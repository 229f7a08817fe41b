/** What matches of iptables ask of a packet (linux/netfilter/xt_*.h), also where iptables is made over nftables. */
import { type Condition, trackedStates, unknownCondition } from './filter-rules.ts'

/** linux/rtnetlink.h, of an address of this node: as a type, and as a bit among types. */
export const RTN_LOCAL = 2
const XT_ADDRTYPE_LOCAL = 1 << RTN_LOCAL
/** struct xt_addrtype_info_v1: source, dest, flags. */
const XT_ADDRTYPE_INVERT_DEST = 2
/** struct xt_owner_match_info: uids, gids, match, invert; struct xt_mark_mtinfo1: mark, mask, invert. */
const ownerBytes = { match: 16, invert: 17 } as const
const markBytes = { mask: 4, invert: 8 } as const

/** struct xt_conntrack_mtinfo2, and 3, which goes on behind it: match_flags, invert_flags, state_mask. */
const conntrackBytes = { asked: 146, inverted: 148, states: 150, bytes: 154 } as const
const XT_CONNTRACK_STATE = 1
/** It says that `-m state` was written. */
const XT_CONNTRACK_STATE_ALIAS = 1 << 13
/** The one whose bit is another one in rules of nftables. */
const XT_CONNTRACK_STATE_UNTRACKED = 1 << 8

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
  'conntrack 2': trackedState,
  'conntrack 3': trackedState,
  // Whatever it asks of the socket, one that is not there is none that it asks for.
  'owner 1': (info) =>
    info.length > ownerBytes.invert && info.readUInt8(ownerBytes.match) !== 0 && info.readUInt8(ownerBytes.invert) === 0
      ? { of: 'socket', isNot: false }
      : undefined,
}

function trackedState(info: Buffer): Condition | undefined {
  if (info.length < conntrackBytes.bytes) return undefined
  const asked = info.readUInt16LE(conntrackBytes.asked) & ~XT_CONNTRACK_STATE_ALIAS
  const inverted = info.readUInt16LE(conntrackBytes.inverted) & ~XT_CONNTRACK_STATE_ALIAS
  if (asked !== XT_CONNTRACK_STATE || (inverted & ~XT_CONNTRACK_STATE) !== 0) return undefined
  const states = info.readUInt16LE(conntrackBytes.states)
  const untracked = (states & XT_CONNTRACK_STATE_UNTRACKED) === 0 ? 0 : trackedStates.untracked
  // One of them: what is left of its own under the mask is not nothing.
  return { of: 'state', value: 0, mask: (states & 0xff & ~trackedStates.untracked) | untracked, isNot: inverted === 0 }
}
