/** Whether packets that are handed on have to be encrypted or decrypted on this node (xfrm). */
import { HeraldError } from '../errors.ts'
import { askOne, attributes } from './netlink.ts'

// linux/netlink.h, linux/xfrm.h
const NETLINK_XFRM = 6
const XFRM_MSG_GETSPDINFO = 0x25
const XFRMA_SPD_INFO = 1
const flagsBytes = 4
const XFRM_MSG_GETDEFAULT = 0x28
/** struct xfrm_userpolicy_default: in, forward, out. */
const XFRM_USERPOLICY_BLOCK = 1

/** Policies for packets that leave or are handed on; those of a single socket do not count. Throws ERR_SYSCALL. */
export function ipsecPolicies(): number {
  return whereThere(0, () => {
    const [answer] = askOne('IPsec policies', XFRM_MSG_GETSPDINFO, new Uint8Array(flagsBytes), NETLINK_XFRM)
    // struct xfrmu_spdinfo: in, out, forward, and the same three of sockets.
    const counts = attributes(answer?.body ?? new Uint8Array(), flagsBytes).get(XFRMA_SPD_INFO)
    if (counts === undefined || counts.length < 12) return 0
    const view = new DataView(counts.buffer, counts.byteOffset, counts.byteLength)
    return view.getUint32(4, true) + view.getUint32(8, true)
  })
}

/** Whether such a packet is dropped where no policy is about it. Throws ERR_SYSCALL. */
export function isIpsecBlocking(): boolean {
  return whereThere(false, () => {
    const [answer] = askOne('IPsec defaults', XFRM_MSG_GETDEFAULT, new Uint8Array(flagsBytes), NETLINK_XFRM)
    return [1, 2].some((direction) => answer?.body[direction] === XFRM_USERPOLICY_BLOCK)
  })
}

/** `fallback` for a kernel without them. */
function whereThere<T>(fallback: T, ask: () => T): T {
  try {
    return ask()
  } catch (error) {
    if (error instanceof HeraldError && (error.errno === 'EINVAL' || error.errno === 'EPROTONOSUPPORT')) return fallback
    throw error
  }
}
