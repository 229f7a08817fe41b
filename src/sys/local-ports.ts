/** From which ports this node's kernel chooses for sockets that ask for none. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Both included. */
interface PortRange {
  readonly first: number
  readonly last: number
}

export interface LocalPorts {
  /** net.ipv4.ip_local_port_range, of both families. */
  readonly range: PortRange
  /** net.ipv4.ip_local_reserved_ports: those of them that are left out. */
  readonly reserved: readonly PortRange[]
}

/** undefined: it cannot be read. */
export function readLocalPorts(settings = '/proc/sys'): LocalPorts | undefined {
  const read = (name: string): readonly string[] =>
    readFileSync(join(settings, 'net/ipv4', name), 'latin1')
      .split(/[\s,]+/)
      .filter((word) => word !== '')
  try {
    const [first, last] = read('ip_local_port_range').map(Number)
    if (first === undefined || last === undefined) return undefined
    return { range: { first, last }, reserved: read('ip_local_reserved_ports').map(rangeOf) }
  } catch {
    return undefined
  }
}

/** `61000-65095`, or one port. */
function rangeOf(word: string): PortRange {
  const [first = 0, last = first] = word.split('-').map(Number)
  return { first, last }
}
