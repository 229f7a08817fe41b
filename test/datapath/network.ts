/** A network of this process's own, for tests in which the programs ask the kernel for routes. */
import { execFileSync } from 'node:child_process'
import { checked, libc } from '../../src/sys/libc.ts'

const newNetwork = 0x4000_0000 // CLONE_NEWNET
let isEntered = false

/**
 * Of the thread that asks, and of what it starts: a test file runs in a process of its own. It lasts until that ends,
 * and who asks again is in it already.
 */
export function enterNetwork(): void {
  if (isEntered) return
  isEntered = true
  const unshare = libc.func('int unshare(int flags)')
  checked('unshare', Number(unshare(newNetwork)))
  ip('link', 'set', 'lo', 'up')
}

export function ip(...args: readonly string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/**
 * A device whose other end nobody has, with these addresses, also where it is there already; the host forwards between
 * it and others.
 */
export function layCable(name: string, addresses: readonly string[]): void {
  const isThere = ip('link').includes(`: ${name}@`)
  if (!isThere) ip('link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-far`)
  for (const address of addresses) {
    const isIpv6 = address.includes(':')
    if (isThere && ip('address', 'show', 'dev', name).includes(` ${address}/`)) continue
    ip('address', 'add', `${address}/${isIpv6 ? 64 : 24}`, 'dev', name, ...(isIpv6 ? ['nodad'] : []))
  }
  for (const end of [`${name}-far`, name]) ip('link', 'set', end, 'up')
  for (const setting of ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'])
    execFileSync('sysctl', ['-qw', setting])
}
