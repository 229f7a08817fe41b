/**
 * coordination.k8s.io/v1 Lease, of which those alone are read in which the agent of a node says at which addresses the
 * node takes packets in a tunnel, and of which formats. It is written when that changes, and never renewed: it is a
 * Lease because agents may write them already. Any other Lease says nothing here. Pure.
 */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, type Fault, type Metadata, type Narrowed } from './narrow.ts'
import { parseTunnelAddresses, tunnelAddressesAnnotation } from './tunnel-addresses.ts'

const labels: Readonly<Record<string, string>> = {
  'app.kubernetes.io/managed-by': 'herald',
  'app.kubernetes.io/component': 'tunnel',
}
/** By which agents find them, and not the Leases that are renewed. */
export const tunnelSelector = Object.entries(labels)
  .map(([name, value]) => `${name}=${value}`)
  .join(',')

const formatsAnnotation = 'herald.dev/tunnel-formats'
/** What this version wraps packets in, and unwraps: TUNNEL_VERSION of src/datapath/bpf/layout.h. */
export const tunnelFormat = '1'

const schema = z.object({
  metadata: metadataSchema,
  spec: z.object({ holderIdentity: z.string().nullish() }).nullish(),
})

/** What a node says of itself. */
export interface TunnelEnd {
  /** Canonical, at most one of each family, IPv4 first; none: it takes nothing. */
  readonly addresses: readonly string[]
  /** Formats that it takes. */
  readonly formats: readonly string[]
}

export interface TunnelLease {
  readonly metadata: Metadata
  /** Empty: it is no Lease of a tunnel. */
  readonly node: string
  readonly end: TunnelEnd
}

interface TunnelMetadata {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly ownerReferences?: readonly object[]
}

/** Of a node with this version. */
export function tunnelEnd(addresses: readonly string[]): TunnelEnd {
  return { addresses, formats: addresses.length === 0 ? [] : [tunnelFormat] }
}

const nothing: TunnelEnd = { addresses: [], formats: [] }

export function tunnelLeaseName(node: string): string {
  return `herald-tunnel-${node}`
}

/** What a node writes. With the uid of its Node the Lease goes when the Node goes. */
export function tunnelMetadata(node: string, end: TunnelEnd, nodeUid: string | undefined): TunnelMetadata {
  const owner = { apiVersion: 'v1', kind: 'Node', name: node, uid: nodeUid }
  return {
    labels,
    annotations: {
      [tunnelAddressesAnnotation]: end.addresses.join(',') || 'none',
      [formatsAnnotation]: end.formats.join(','),
    },
    ...(nodeUid === undefined ? {} : { ownerReferences: [owner] }),
  }
}

export function parseTunnelLease(raw: RawObject, before?: TunnelLease): Narrowed<TunnelLease> {
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { metadata, spec } = value
  const { name, namespace, uid, creationTimestamp } = metadata
  const kept: Metadata = { name, namespace, uid, creationTimestamp, labels: {}, annotations: {} }
  const isOurs = Object.entries(labels).every(([label, word]) => metadata.labels[label] === word)
  if (!isOurs) return { value: { metadata: kept, node: '', end: nothing }, faults }
  const said: Fault[] = [...faults]
  const node = spec?.holderIdentity ?? ''
  if (node === '' || name !== tunnelLeaseName(node)) {
    const message = `it is named ${name} and held by ${node === '' ? 'nobody' : node}: it speaks for no node`
    const remedy = 'Delete it: the agent of its node writes it anew.'
    said.push(fault('warning', ['spec', 'holderIdentity'], 'InvalidField', message, remedy))
    return { value: { metadata: kept, node: before?.node ?? '', end: before?.end ?? nothing }, faults: said }
  }
  const addresses = parseTunnelAddresses(metadata.annotations, before?.end.addresses, said) ?? []
  const formats = (metadata.annotations[formatsAnnotation] ?? '').split(',').map((each) => each.trim())
  return {
    value: { metadata: kept, node, end: { addresses, formats: formats.filter(isFormat).slice(0, 16) } },
    faults: said,
  }
}

const isFormat = (text: string): boolean => /^[1-9][0-9]{0,4}$/.test(text)
