/**
 * The addresses of this node's interfaces, listed seldom: a node may have tens of thousands (kube-ipvs0), and every
 * change of an object asks.
 */
import type { Clock } from '../clock/clock.ts'
import { formatAddress } from '../ip/address.ts'
import type { LocalAddress } from '../k8s/translate/types.ts'
import type { InterfaceAddress } from '../sys/addresses.ts'

const leastMs = 1_000
/** Of the loop's time, at most. */
const share = 0.02

/** Where the kernel does not answer, what it said last holds. */
export function ownAddresses(
  list: () => readonly InterfaceAddress[],
  clock: Pick<Clock, 'monotonic'>,
): () => readonly LocalAddress[] {
  let known: readonly LocalAddress[] = []
  let nextAt = -Infinity
  return () => {
    const at = clock.monotonic()
    if (at < nextAt) return known
    try {
      known = list().map(({ device, address }) => ({ interface: device, address: formatAddress(address) }))
    } catch {
      // Without netlink nothing more is known.
    }
    nextAt = at + Math.max(leastMs, (clock.monotonic() - at) / share)
    return known
  }
}
