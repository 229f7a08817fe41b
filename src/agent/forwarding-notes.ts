/** A node that forwards nothing would take packets for Services and drop them: said, where Services have pods here. */
import type { DesiredService } from '../desired/model.ts'
import type { Family } from '../ip/address.ts'

const families: readonly Family[] = ['ipv4', 'ipv6']

/** `off`: settings that keep the kernel from forwarding a family. */
export function forwardingNotes(
  services: Iterable<Pick<DesiredService, 'frontends'>>,
  off: (family: Family) => readonly string[],
): readonly string[] {
  const unforwarded = new Map(
    families.map((family) => [family, off(family)] as const).filter(([, names]) => names.length > 0),
  )
  const served = unforwarded.size === 0 ? new Set<Family>() : familiesOf(services)
  return [...unforwarded]
    .filter(([family]) => served.has(family))
    .map(
      ([family, names]) =>
        `${names.join(', ')} is 0: the kernel drops ${family === 'ipv4' ? 'IPv4' : 'IPv6'} packets of Services on ` +
        'their way to pods; set it to 1',
    )
}

/** Those in which frontends have backends here. */
function familiesOf(services: Iterable<Pick<DesiredService, 'frontends'>>): Set<Family> {
  const found = new Set<Family>()
  for (const { frontends } of services) {
    for (const { address, backends } of frontends)
      if (backends.length > 0) found.add(address.includes(':') ? 'ipv6' : 'ipv4')
    if (found.size === families.length) break
  }
  return found
}
