/** OpenBGPD; asked by bgpctl. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { waitFor } from '../../wait.ts'
import { endpoints, globalIpv6, isPair, type Peering, type Transport } from '../peering.ts'
import { lines, RouterDaemon, type RouterRoute, type RouterSetup } from '../router-daemon.ts'

interface Entry {
  readonly prefix: string
  readonly stale?: boolean
  readonly exit_nexthop?: string
  readonly aspath?: string
  readonly metric?: number
  readonly communities?: readonly string[]
  readonly large_communities?: readonly string[]
}

export class OpenBgpd extends RouterDaemon {
  readonly name = 'OpenBGPD'
  readonly asn = 65_014
  readonly ownNetworks = { ipv4: '10.14.0.0/24', ipv6: 'fd14::/64' }

  #sessions: readonly Transport[] = []
  #madeDirectory: string | undefined

  async start(setup: RouterSetup): Promise<void> {
    this.#sessions = setup.peerings.map(({ transport }) => transport)
    // It refuses a file with a key that others may read.
    writeFileSync(this.file('bgpd.conf'), `${this.#configuration(setup)}\n`, { mode: 0o600 })
    // The root directory of its unprivileged processes, which the unit of its package makes.
    this.#madeDirectory ??= mkdirSync('/run/openbgpd', { recursive: true })
    this.log = ''
    this.foreground('/usr/sbin/bgpd', '-d', '-v', '-f', this.file('bgpd.conf'))
    await waitFor('bgpd answers', async () => (await this.#bgpctl('-j', 'show', 'neighbor')).includes('remote_as'))
  }

  async isEstablished(session: Transport): Promise<boolean> {
    return /"state": *"Established"/.test(await this.#bgpctl('-j', 'show', 'neighbor', endpoints[session].herald))
  }

  async establishedCount(): Promise<number> {
    return (await this.#bgpctl('-j', 'show', 'neighbor'))
      .split('\n')
      .filter((line) => /"state": *"Established"/.test(line)).length
  }

  async route(session: Transport, prefix: string): Promise<RouterRoute | undefined> {
    const { rib = [] }: { readonly rib?: readonly Entry[] } = JSON.parse(
      (await this.#bgpctl('-j', 'show', 'rib', 'detail', 'neighbor', endpoints[session].herald, prefix)).trim() || '{}',
    )
    const entry = rib.find((one) => one.prefix === prefix)
    if (entry === undefined) return undefined
    const { exit_nexthop = '', aspath = '', communities = [], large_communities = [], metric, stale } = entry
    return {
      nextHop: exit_nexthop,
      asPath: aspath,
      communities,
      largeCommunities: large_communities,
      ...(metric === undefined ? {} : { med: metric }),
      isStale: stale === true,
    }
  }

  async requestRefresh(session: Transport): Promise<void> {
    await this.#bgpctl('neighbor', endpoints[session].herald, 'refresh')
  }

  async reset(session: Transport, text: string): Promise<void> {
    await this.#bgpctl('neighbor', endpoints[session].herald, 'clear', text)
  }

  async resetAll(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => this.reset(session, 'all')))
  }

  async shutdown(session: Transport, text: string): Promise<void> {
    await this.#bgpctl('neighbor', endpoints[session].herald, 'down', text)
  }

  async report(session: Transport): Promise<string> {
    return (await this.#bgpctl('-j', 'show', 'neighbor', endpoints[session].herald)) + this.log
  }

  override async kill(): Promise<void> {
    await super.kill()
    if (this.#madeDirectory !== undefined) rmSync(this.#madeDirectory, { recursive: true, force: true })
    this.#madeDirectory = undefined
  }

  /** It fails until bgpd listens. */
  #bgpctl(...words: readonly string[]): Promise<string> {
    return this.link.attempt('router', 'bgpctl', '-s', this.file('bgpd.sock'), ...words)
  }

  #configuration({ peerings, networks = [] }: RouterSetup): string {
    const mine = [this.ownNetworks.ipv4, this.ownNetworks.ipv6, ...networks]
    return lines(
      `AS ${this.asn}`,
      'router-id 10.90.0.2',
      ...new Set(peerings.map(({ transport }) => `listen on ${endpoints[transport].router}`)),
      'fib-update no',
      'connect-retry 1',
      'holdtime min 3',
      `socket "${this.file('bgpd.sock')}"`,
      ...mine.map((network) => `network ${network}`),
      ...peerings.map((each) => this.#neighbor(each)),
      'allow from ebgp',
      'allow to ebgp',
      // Over an IPv4 session it would announce ::1 as the next hop of IPv6 routes.
      ...peerings
        .filter(
          ({ transport, families }) => families.includes('ipv6-unicast') && !endpoints[transport].herald.includes(':'),
        )
        .map(({ transport }) =>
          lines(
            `match to ${endpoints[transport].herald} inet6 set nexthop ${globalIpv6.router}`,
            `match to ${endpoints[transport].herald} inet6 set nexthop no-modify`,
          ),
        ),
    )
  }

  #neighbor({
    transport,
    families,
    dialler,
    holdTimeSec,
    password,
    isTtlSecured,
    restartTimeSec,
    hasAddPaths,
    routerMaxPrefixes,
    routerRole,
    isOldSpeaker,
    expectedAsn = this.heraldAsn,
  }: Peering): string {
    // Only a multihop session takes a next hop that is not on its own network.
    const isIpv6OverIpv4 = families.includes('ipv6-unicast') && !endpoints[transport].herald.includes(':')
    return lines(
      `neighbor ${endpoints[transport].herald} {`,
      `  remote-as ${expectedAsn}`,
      `  holdtime ${holdTimeSec}`,
      dialler === 'herald' && '  passive',
      isPair(transport) && `  local-address ${endpoints[transport].router}`,
      isIpv6OverIpv4 && '  multihop 2',
      `  announce IPv4 ${families.includes('ipv4-unicast') ? 'unicast' : 'none'}`,
      `  announce IPv6 ${families.includes('ipv6-unicast') ? 'unicast' : 'none'}`,
      restartTimeSec !== undefined && '  announce restart yes',
      '  announce enhanced refresh yes',
      hasAddPaths === true && '  announce add-path send all',
      isOldSpeaker === true && '  announce as-4byte no',
      routerRole !== undefined && `  announce policy ${routerRole}`,
      routerMaxPrefixes !== undefined && `  max-prefix ${routerMaxPrefixes}`,
      password !== undefined && `  tcp md5sig password ${password}`,
      isTtlSecured === true && '  ttl-security yes',
      '}',
    )
  }
}
