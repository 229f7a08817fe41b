/** Whether packets that are handed on have to be encrypted or decrypted on this node (xfrm). */
import { HeraldError } from '../errors.ts'
import { askOne, attributes } from './netlink.ts'

// linux/netlink.h, linux/xfrm.h
const NETLINK_XFRM = 6
const XFRM_MSG_GETSPDINFO = 0x25
const XFRMA_SPD_INFO = 1
const flagsBytes = 4

/** Policies for packets that leave or are handed on; those of a single socket do not count. Throws ERR_SYSCALL. */
export function ipsecPolicies(): number {
  try {
    const [answer] = askOne('IPsec policies', XFRM_MSG_GETSPDINFO, new Uint8Array(flagsBytes), NETLINK_XFRM)
    // struct xfrmu_spdinfo: in, out, forward, and the same three of sockets.
    const counts = attributes(answer?.body ?? new Uint8Array(), flagsBytes).get(XFRMA_SPD_INFO)
    if (counts === undefined || counts.length < 12) return 0
    const view = new DataView(counts.buffer, counts.byteOffset, counts.byteLength)
    return view.getUint32(4, true) + view.getUint32(8, true)
  } catch (error) {
    // A kernel without them.
    if (error instanceof HeraldError && (error.errno === 'EINVAL' || error.errno === 'EPROTONOSUPPORT')) return 0
    throw error
  }
}
