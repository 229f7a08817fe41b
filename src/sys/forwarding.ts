/** Whether this node's kernel hands packets on at all, which is how one that comes in by an uplink reaches its pod. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Family } from '../ip/address.ts'

/**
 * The settings that keep the kernel from forwarding what comes in by these interfaces. The kernel asks the interface
 * over IPv4, and one setting for all of them over IPv6.
 */
export function forwardingOff(
  family: Family,
  interfaces: readonly string[],
  settings = '/proc/sys',
): readonly string[] {
  const asked = family === 'ipv4' ? interfaces : ['all']
  return asked
    .filter((name) => isOff(join(settings, 'net', family, 'conf', name, 'forwarding')))
    .map((name) => `net.${family}.conf.${name}.forwarding`)
}

function isOff(path: string): boolean {
  try {
    return readFileSync(path, 'latin1').trim() === '0'
  } catch {
    // An interface that is gone, a kernel without this family.
    return false
  }
}
