/** GoBGP; asked by its command line over gRPC on the loopback of the namespace. */
import { writeFileSync } from 'node:fs'
import { waitFor } from '../../wait.ts'
import { endpoints, globalIpv6, isLinkLocal, type Peering, type Transport } from '../peering.ts'
import { lines, RouterDaemon, type RouterRoute, type RouterSetup } from '../router-daemon.ts'

interface Attribute {
  readonly type: number
  readonly nexthop?: string
  readonly metric?: number
  readonly communities?: readonly number[]
  readonly as_paths?: readonly { readonly asns: readonly number[] }[]
  readonly value?: readonly { readonly ASN: number; readonly LocalData1: number; readonly LocalData2: number }[]
}
interface Path {
  readonly stale?: boolean
  readonly attrs: readonly Attribute[]
}

const nameOf = (transport: Transport): string =>
  `${endpoints[transport].herald}${isLinkLocal(transport) ? '%eth0' : ''}`

export class GoBgp extends RouterDaemon {
  readonly name = 'GoBGP'
  readonly asn = 65_013
  readonly ownNetworks = { ipv4: '10.13.0.0/24', ipv6: 'fd13::/64' }

  #sessions: readonly Transport[] = []

  async start(setup: RouterSetup): Promise<void> {
    this.#sessions = setup.peerings.map(({ transport }) => transport)
    writeFileSync(this.file('gobgpd.toml'), `${this.#configuration(setup)}\n`)
    this.log = ''
    // It looks up the address of an unnumbered neighbor once, in the neighbour table.
    if (setup.peerings.some(({ transport }) => transport === 'unnumbered')) await this.#learnNeighbor()
    this.foreground(
      'gobgpd',
      '-f',
      this.file('gobgpd.toml'),
      '-l',
      'debug',
      '--api-hosts',
      '127.0.0.1:50051',
      '--pprof-disable',
      ...(setup.isRestart === true ? ['-r'] : []),
    )
    await waitFor('gobgpd answers', async () => (await this.#gobgp('global')).includes(String(this.asn)))
    for (const network of [this.ownNetworks.ipv4, ...(setup.networks ?? [])])
      await this.#gobgp('global', 'rib', 'add', network)
    await this.#gobgp('global', 'rib', 'add', '-a', 'ipv6', this.ownNetworks.ipv6, 'nexthop', globalIpv6.router)
  }

  async isEstablished(session: Transport): Promise<boolean> {
    return /BGP state = ESTABLISHED/i.test(await this.#gobgp('neighbor', nameOf(session)))
  }

  async establishedCount(): Promise<number> {
    return (await this.#gobgp('neighbor')).split('\n').filter((line) => /\bEstabl\b/.test(line)).length
  }

  async route(session: Transport, prefix: string): Promise<RouterRoute | undefined> {
    const family = prefix.includes(':') ? 'ipv6' : 'ipv4'
    const paths: Readonly<Record<string, readonly Path[]>> = JSON.parse(
      (await this.#gobgp('-j', 'neighbor', nameOf(session), 'adj-in', '-a', family)).trim() || '{}',
    )
    const path = paths[prefix]?.[0]
    if (path === undefined) return undefined
    const attribute = (type: number): Attribute | undefined => path.attrs.find((one) => one.type === type)
    const med = attribute(4)?.metric
    return {
      nextHop: attribute(3)?.nexthop ?? attribute(14)?.nexthop ?? '',
      asPath:
        attribute(2)
          ?.as_paths?.flatMap(({ asns }) => asns)
          .join(' ') ?? '',
      communities: attribute(8)?.communities?.map((value) => `${Math.floor(value / 65_536)}:${value % 65_536}`) ?? [],
      largeCommunities:
        attribute(32)?.value?.map(({ ASN, LocalData1, LocalData2 }) => `${ASN}:${LocalData1}:${LocalData2}`) ?? [],
      ...(med === undefined ? {} : { med }),
      isStale: path.stale === true,
    }
  }

  async requestRefresh(session: Transport): Promise<void> {
    await this.#gobgp('neighbor', nameOf(session), 'softresetin')
  }

  async reset(session: Transport, text: string): Promise<void> {
    await this.#gobgp('neighbor', nameOf(session), 'reset', `--reason=${text}`)
  }

  async resetAll(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => this.reset(session, 'all')))
  }

  async shutdown(session: Transport, text: string): Promise<void> {
    await this.#gobgp('neighbor', nameOf(session), 'shutdown', `--reason=${text}`)
  }

  async report(session: Transport): Promise<string> {
    return (await this.#gobgp('-j', 'neighbor', nameOf(session))) + this.log
  }

  async #learnNeighbor(): Promise<void> {
    const [hardware] =
      /(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/.exec(await this.link.in('dut', 'ip', 'link', 'show', 'eth0')) ?? []
    await this.link.in(
      'router',
      'ip',
      'neighbour',
      'replace',
      endpoints.unnumbered.herald,
      'lladdr',
      hardware ?? '',
      'dev',
      'eth0',
      'nud',
      'reachable',
    )
  }

  /** It fails until gobgpd listens and for a prefix that is not there. */
  #gobgp(...words: readonly string[]): Promise<string> {
    return this.link.attempt('router', 'gobgp', ...words)
  }

  #configuration({ peerings }: RouterSetup): string {
    const addresses = [
      ...new Set(
        peerings.map(({ transport }) => (isLinkLocal(transport) ? '"::"' : `"${endpoints[transport].router}"`)),
      ),
    ]
    return lines(
      '[global.config]',
      `  as = ${this.asn}`,
      '  router-id = "10.90.0.2"',
      `  local-address-list = [${addresses.join(', ')}]`,
      ...peerings.map((each) => this.#neighbor(each)),
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
    isNotificationRestart = false,
    hasAddPaths,
    routerMaxPrefixes,
    expectedAsn = this.heraldAsn,
  }: Peering): string {
    return lines(
      '[[neighbors]]',
      '  [neighbors.config]',
      transport === 'unnumbered' ? '    neighbor-interface = "eth0"' : `    neighbor-address = "${nameOf(transport)}"`,
      `    peer-as = ${expectedAsn}`,
      password !== undefined && `    auth-password = "${password}"`,
      '  [neighbors.transport.config]',
      `    passive-mode = ${dialler === 'herald'}`,
      '  [neighbors.timers.config]',
      '    connect-retry = 1',
      `    hold-time = ${holdTimeSec}`,
      `    keepalive-interval = ${Math.floor(holdTimeSec / 3)}`,
      '    idle-hold-time-after-reset = 1',
      isTtlSecured === true && '  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255',
      restartTimeSec !== undefined &&
        `  [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = ${restartTimeSec}\n    ` +
          `notification-enabled = ${isNotificationRestart}`,
      hasAddPaths === true && '  [neighbors.add-paths.config]\n    send-max = 8',
      ...families.map((family) =>
        lines(
          '  [[neighbors.afi-safis]]',
          '    [neighbors.afi-safis.config]',
          `      afi-safi-name = "${family}"`,
          restartTimeSec !== undefined && '    [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true',
          routerMaxPrefixes !== undefined &&
            `    [neighbors.afi-safis.prefix-limit.config]\n      max-prefixes = ${routerMaxPrefixes}`,
        ),
      ),
    )
  }
}
