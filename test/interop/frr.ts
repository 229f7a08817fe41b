/** A real FRR bgpd in the router's namespace. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '../wait.ts'
import type { Link } from './link.ts'

const configuration = (directory: string): string => `frr defaults traditional
hostname frr
log file ${directory}/bgpd.log
no service integrated-vtysh-config
router bgp 65011
 bgp router-id 10.90.0.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 bgp graceful-restart stalepath-time 60
 timers bgp 3 9
 neighbor 10.90.0.1 remote-as 65001
 neighbor 10.90.0.1 timers connect 1
 neighbor 10.90.0.3 remote-as 65001
 neighbor 10.90.0.3 update-source 10.90.0.4
 neighbor 10.90.0.3 password s3cret
 neighbor 10.90.0.3 ttl-security hops 1
 neighbor 10.90.0.3 timers connect 1
 neighbor fd90::1 remote-as 65001
 neighbor fd90::1 timers connect 1
 address-family ipv4 unicast
  network 10.11.0.0/24
  neighbor 10.90.0.1 activate
  neighbor 10.90.0.1 soft-reconfiguration inbound
  neighbor 10.90.0.3 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 10.90.0.1 activate
  neighbor fd90::1 activate
 exit-address-family
line vty
`

export interface FrrPath {
  readonly valid?: boolean
  readonly stale?: boolean
  readonly peerId: string
  readonly path: string
  readonly nexthops: readonly { readonly ip: string; readonly scope?: string }[]
}

export class Frr {
  readonly #link: Link
  readonly #directory: string

  constructor(link: Link) {
    this.#link = link
    this.#directory = join(link.directory, 'frr')
  }

  /** JSON of a show command. */
  show<T>(command: string): T {
    return JSON.parse(this.run(`show ${command} json`))
  }

  run(command: string): string {
    return this.#link.router('vtysh', '--vty_socket', this.#directory, '--config_dir', this.#directory, '-c', command)
  }

  /** Paths by prefix as the router shows them. */
  paths(family: 'ipv4' | 'ipv6'): Readonly<Record<string, readonly FrrPath[]>> {
    return this.show<{ routes?: Record<string, FrrPath[]> }>(`bgp ${family} unicast`).routes ?? {}
  }

  path(prefix: string, peer: string): FrrPath | undefined {
    return this.paths(prefix.includes(':') ? 'ipv6' : 'ipv4')[prefix]?.find(({ peerId }) => peerId === peer)
  }

  neighbor(address: string): Readonly<Record<string, unknown>> {
    return this.show<Record<string, Record<string, unknown>>>(`bgp neighbors ${address}`)[address] ?? {}
  }

  async start(): Promise<void> {
    mkdirSync(this.#directory)
    chmodSync(this.#link.directory, 0o755)
    writeFileSync(join(this.#directory, 'bgpd.conf'), configuration(this.#directory))
    writeFileSync(join(this.#directory, 'zebra.conf'), 'hostname zebra\n')
    writeFileSync(join(this.#directory, 'vtysh.conf'), '')
    this.#link.router('chown', '-R', 'frr:frr', this.#directory)
    for (const daemon of ['zebra', 'bgpd']) {
      const pidFile = join(this.#directory, `${daemon}.pid`)
      this.#link.adopt(pidFile)
      this.#link.router(`/usr/lib/frr/${daemon}`, '-d', '-f', join(this.#directory, `${daemon}.conf`), '-i', pidFile, '-z', join(this.#directory, 'zserv.api'), '--vty_socket', this.#directory)
    }
    await waitFor('bgpd answers', () => {
      try {
        return this.run('show bgp summary json').startsWith('{')
      } catch {
        // vtysh fails until bgpd has opened its socket.
        return false
      }
    })
  }
}
