/**
 * What this node's interfaces are, listed seldom: a node may have tens of thousands of addresses (kube-ipvs0), and
 * every change of an object asks.
 */
import type { Clock } from '../clock/clock.ts'
import { type Address, familyOfAddress, formatAddress } from '../ip/address.ts'
import type { DefaultGateways, LocalAddress } from '../k8s/translate/types.ts'
import type { InterfaceAddress } from '../sys/addresses.ts'
import { seldom } from './seldom.ts'

export function ownAddresses(
  list: () => readonly InterfaceAddress[],
  clock: Pick<Clock, 'monotonic'>,
): () => readonly LocalAddress[] {
  return seldom<readonly LocalAddress[]>(
    () => list().map(({ device, address }) => ({ interface: device, address: formatAddress(address) })),
    [],
    clock,
  )
}

/** The routers of the default routes, by family. */
export function ownGateways(
  list: () => readonly { readonly address: Address; readonly device: string }[],
  clock: Pick<Clock, 'monotonic'>,
): () => DefaultGateways {
  const read = (): DefaultGateways =>
    Object.fromEntries(
      list().map(({ address, device }) => [familyOfAddress(address), { address: formatAddress(address), device }]),
    )
  return seldom<DefaultGateways>(read, {}, clock)
}
