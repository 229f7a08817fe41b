/** Whether this node may reach pods from ports of its own addresses: what its kernel and its settings say. */
import type { DatapathStatus } from '../datapath/datapath.ts'
import type { PortRange } from '../desired/model.ts'
import { readLocalPorts, type LocalPorts } from '../sys/local-ports.ts'

export interface SnatAbility {
  /** Empty: it may. */
  readonly whyNoSnat: string
  /** Absent: none. */
  readonly ports: { readonly snatPorts?: PortRange }
}

export function snatAbility(
  { kind, whyNoSnat = '' }: Pick<DatapathStatus, 'kind' | 'whyNoSnat'>,
  read: () => LocalPorts | undefined = readLocalPorts,
): SnatAbility {
  if (kind === 'none') return { whyNoSnat: 'there is no datapath', ports: {} }
  const why = whyNoSnat || whyPortsAreTaken(read())
  return { whyNoSnat: why, ports: why === '' ? { snatPorts } : {} }
}

/**
 * Above those from which Linux chooses for its own sockets (32768 to 60999 unless somebody says otherwise) and those of
 * Services (30000 to 32767): what it once kept for masquerading.
 */
const snatPorts: PortRange = { first: 61_000, last: 65_095 }

/** Why a node whose sockets get ports of `range`, less those that are reserved, may not do so; empty: it may. */
function whyPortsAreTaken(local: LocalPorts | undefined, { first, last }: PortRange = snatPorts): string {
  if (local === undefined) return 'net.ipv4.ip_local_port_range cannot be read'
  let free = Math.max(first, local.range.first)
  const end = Math.min(last, local.range.last)
  for (const each of [...local.reserved].sort((a, b) => a.first - b.first))
    if (each.first <= free && each.last >= free) free = each.last + 1
  if (free > end) return ''
  return (
    `its sockets get ports of ${first} to ${last} too: ip_local_port_range is ${local.range.first} to ` +
    `${local.range.last}, and they are not in ip_local_reserved_ports`
  )
}
