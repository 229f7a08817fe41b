/** The surface of the translator: raw objects in, deltas of desired state out. */
import type { AddressBook } from '../../allocation/address-book.ts'
import type { DesiredDelta } from '../../desired/model.ts'
import type { ObjectKey, Origin, RawObject } from '../source.ts'

export interface TranslatorOptions {
  readonly nodeName: string
  /** Served besides no class, `herald.dev/bgp` and `io.cilium/bgp-control-plane`. */
  readonly loadBalancerClass?: string
  /** `none`: something else serves the addresses, so nothing is held back for lack of a local backend. */
  readonly datapath: 'ebpf' | 'none'
  /** The one namespace whose Secrets authSecretRef may name. */
  readonly secretsNamespace: string
  /** Where allocations are recorded; absent: kept in memory only. */
  readonly addressBook?: AddressBook
}

export interface Translator {
  upsert(key: ObjectKey, object: RawObject, origin: Origin | undefined): void
  remove(key: ObjectKey): void
  /** Every kind was delivered once: from now on {@link flush} yields. */
  synced(): void
  /** What changed since the flush before; empty before {@link synced}. */
  flush(): DesiredDelta
}
