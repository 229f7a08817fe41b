/** How releases of long ago were configured, which would be passed over without a word. Pure. */
import { isRecord } from '../source.ts'
import type { FieldPath } from './narrow.ts'

export interface Remark {
  readonly path: FieldPath
  readonly message: string
  readonly remedy: string
}

/** Of an AddressPool. */
export const olderPoolRemedy =
  'Write its addresses into an IPAddressPool; with protocol: bgp, each of its bgpAdvertisements is a ' +
  'BGPAdvertisement, and without any one that names the pool (metallb.io/v1beta1).'

/** MetalLB up to 0.12, and Cilium with it inside, were configured by a ConfigMap. */
export function olderConfiguration(value: unknown): Remark | undefined {
  if (!isRecord(value) || value['apiVersion'] !== 'v1' || value['kind'] !== 'ConfigMap') return undefined
  const data = value['data']
  const found = isRecord(data) ? Object.entries(data).find(([, text]) => isOlderText(text)) : undefined
  if (found === undefined) return undefined
  const message = 'it is the configuration of MetalLB up to 0.12, or of Cilium with it inside, and has no effect'
  return { path: ['data', found[0]], message, remedy: olderRemedy }
}

export const olderRemedy =
  'Write each of address-pools as an IPAddressPool with a BGPAdvertisement, each of peers as a BGPPeer, and ' +
  'bgp-communities as a Community.'

/** With a field that it cannot be without: others have peers too. */
function isOlderText(text: unknown): boolean {
  if (typeof text !== 'string') return false
  const has = (keys: string): boolean => new RegExp(`^[\\s-]*["']?(${keys})["']?\\s*:`, 'm').test(text)
  return (has('address-pools') && has('addresses|protocol')) || (has('peers') && has('peer-asn'))
}
