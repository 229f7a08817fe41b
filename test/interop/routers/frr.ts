/** FRR bgpd with zebra; asked by vtysh. */
import { writeFileSync, readFileSync } from 'node:fs'
import { waitFor } from '../../wait.ts'
import { endpoints, isPair, type Peering, type Transport } from '../peering.ts'
import { lines, RouterDaemon, type RouterRoute, type RouterSetup } from '../router-daemon.ts'

interface FrrPath {
  readonly stale?: boolean
  readonly metric?: number
  readonly aspath: { readonly string: string }
  readonly community?: { readonly string: string }
  readonly largeCommunity?: { readonly string: string }
  readonly nexthops: readonly { readonly ip: string; readonly scope?: string }[]
  readonly peer: { readonly peerId: string; readonly interface?: string }
}

const bfdConfiguration = lines(
  'bfd',
  ' profile fast',
  '  receive-interval 100',
  '  transmit-interval 100',
  '  detect-multiplier 30',
  'line vty',
)
const familyWords = { 'ipv4-unicast': 'ipv4 unicast', 'ipv6-unicast': 'ipv6 unicast' } as const
const familyOf = (prefix: string): string => (prefix.includes(':') ? 'ipv6 unicast' : 'ipv4 unicast')
/** How FRR names the neighbor. */
const nameOf = (transport: Transport): string => (transport === 'unnumbered' ? 'eth0' : endpoints[transport].herald)

export class Frr extends RouterDaemon {
  readonly name = 'FRR'
  readonly asn = 65_011
  readonly ownNetworks = { ipv4: '10.11.0.0/24', ipv6: 'fd11::/64' }

  async start(setup: RouterSetup): Promise<void> {
    writeFileSync(this.file('bgpd.conf'), `${this.#configuration(setup)}\n`)
    writeFileSync(this.file('zebra.conf'), 'hostname zebra\n')
    writeFileSync(this.file('vtysh.conf'), '')
    await this.link.in('router', 'chown', '-R', 'frr:frr', this.directory)
    const isWatched = setup.peerings.some(({ bfd }) => bfd !== undefined)
    if (isWatched) writeFileSync(this.file('bfdd.conf'), `${bfdConfiguration}\n`)
    for (const daemon of ['zebra', ...(isWatched ? ['bfdd'] : []), 'bgpd']) {
      await this.background(
        this.file(`${daemon}.pid`),
        `/usr/lib/frr/${daemon}`,
        '-d',
        '-f',
        this.file(`${daemon}.conf`),
        '-i',
        this.file(`${daemon}.pid`),
        '-z',
        this.file('zserv.api'),
        '--vty_socket',
        this.directory,
        ...(daemon === 'bfdd' ? ['--bfdctl', this.file('bfdd.sock')] : []),
      )
    }
    await waitFor('bgpd answers', async () => (await this.#vtysh('show bgp summary json')).startsWith('{'))
  }

  async isEstablished(session: Transport): Promise<boolean> {
    return (await this.neighbor(session))['bgpState'] === 'Established'
  }

  async establishedCount(): Promise<number> {
    const { ipv4Unicast } = await this.#show<{
      readonly ipv4Unicast?: { readonly peers?: Readonly<Record<string, { readonly state?: string }>> }
    }>('bgp summary')
    return Object.values(ipv4Unicast?.peers ?? {}).filter(({ state }) => state === 'Established').length
  }

  async route(session: Transport, prefix: string): Promise<RouterRoute | undefined> {
    const { paths = [] } = await this.#show<{ readonly paths?: readonly FrrPath[] }>(
      `bgp ${familyOf(prefix)} ${prefix}`,
    )
    const name = nameOf(session)
    const path = paths.find(({ peer }) => peer.peerId === name || peer.interface === name)
    if (path === undefined) return undefined
    const nextHop = path.nexthops.find(({ scope }) => scope !== 'link-local') ?? path.nexthops[0]
    return {
      nextHop: nextHop?.ip ?? '',
      asPath: path.aspath.string,
      communities: path.community?.string.split(' ') ?? [],
      largeCommunities: path.largeCommunity?.string.split(' ') ?? [],
      ...(path.metric === undefined ? {} : { med: path.metric }),
      isStale: path.stale === true,
    }
  }

  async requestRefresh(session: Transport): Promise<void> {
    await this.#vtysh(`clear bgp ipv4 unicast ${nameOf(session)} in`)
  }

  async reset(session: Transport): Promise<void> {
    await this.#vtysh(`clear bgp ${nameOf(session)}`)
  }

  async resetAll(): Promise<void> {
    await this.#vtysh('clear bgp *')
  }

  async shutdown(session: Transport, text: string): Promise<void> {
    await this.configure(`neighbor ${nameOf(session)} shutdown message ${text}`)
  }

  async report(session: Transport): Promise<string> {
    return JSON.stringify(await this.neighbor(session)) + readFileSync(this.file('bgpd.log'), 'utf8')
  }

  override async isBfdUp(session: Transport): Promise<boolean | undefined> {
    const peers = await this.#show<readonly { readonly peer: string; readonly status: string }[]>('bfd peers')
    const found = Array.isArray(peers) ? peers.find(({ peer }) => peer === endpoints[session].herald) : undefined
    return found && found.status === 'up'
  }

  /** Takes the BFD sessions of BGP down, or up again (AdminDown). */
  async shutdownBfd(isDown: boolean): Promise<void> {
    await this.#vtysh('configure terminal', 'bfd', 'profile fast', isDown ? 'shutdown' : 'no shutdown')
  }

  /** `show bgp neighbors` of a session. */
  async neighbor(session: Transport): Promise<Readonly<Record<string, unknown>>> {
    const name = nameOf(session)
    return (await this.#show<Record<string, Record<string, unknown>>>(`bgp neighbors ${name}`))[name] ?? {}
  }

  /** Lines below `router bgp`. */
  async configure(...commands: readonly string[]): Promise<void> {
    await this.#vtysh('configure terminal', `router bgp ${this.asn}`, ...commands)
  }

  async #show<T>(command: string): Promise<T> {
    return JSON.parse((await this.#vtysh(`show ${command} json`)).trim() || '{}')
  }

  #vtysh(...commands: readonly string[]): Promise<string> {
    return this.link.attempt(
      'router',
      'vtysh',
      '--vty_socket',
      this.directory,
      '--config_dir',
      this.directory,
      ...commands.flatMap((command) => ['-c', command]),
    )
  }

  #configuration({ peerings, networks = [] }: RouterSetup): string {
    return lines(
      'frr defaults traditional',
      'hostname frr',
      `log file ${this.file('bgpd.log')} debugging`,
      'debug bgp neighbor-events',
      'no service integrated-vtysh-config',
      `router bgp ${this.asn}`,
      ' bgp router-id 10.90.0.2',
      ' no bgp ebgp-requires-policy',
      ' no bgp default ipv4-unicast',
      ' no bgp network import-check',
      ' bgp graceful-restart stalepath-time 60',
      ' bgp graceful-restart preserve-fw-state',
      peerings.some(({ isNotificationRestart }) => isNotificationRestart === true) &&
        ' bgp graceful-restart notification',
      ...peerings.map((each) => this.#neighborLines(each)),
      ...(['ipv4-unicast', 'ipv6-unicast'] as const).map((family) =>
        lines(
          ` address-family ${familyWords[family]}`,
          ...[
            family === 'ipv4-unicast' ? this.ownNetworks.ipv4 : this.ownNetworks.ipv6,
            ...(family === 'ipv4-unicast' ? networks : []),
          ].map((network) => `  network ${network}`),
          ...peerings.filter(({ families }) => families.includes(family)).map((each) => familyLines(each)),
          ' exit-address-family',
        ),
      ),
      'line vty',
    )
  }

  #neighborLines({
    transport,
    holdTimeSec,
    dialler,
    password,
    isTtlSecured,
    restartTimeSec,
    routerRole,
    isOldSpeaker,
    bfd,
    expectedAsn = this.heraldAsn,
  }: Peering): string {
    const name = `neighbor ${nameOf(transport)}`
    return lines(
      transport === 'unnumbered' ? ` ${name} interface remote-as external` : ` ${name} remote-as ${expectedAsn}`,
      transport === 'link-local' && ` ${name} interface eth0`,
      isPair(transport) && ` ${name} update-source ${endpoints[transport].router}`,
      ` ${name} timers ${Math.floor(holdTimeSec / 3)} ${holdTimeSec}`,
      ` ${name} timers connect 1`,
      dialler === 'herald' && transport !== 'unnumbered' && ` ${name} passive`,
      password !== undefined && ` ${name} password ${password}`,
      isTtlSecured === true && ` ${name} ttl-security hops 1`,
      restartTimeSec !== undefined && ` ${name} graceful-restart`,
      bfd !== undefined && ` ${name} bfd profile fast`,
      bfd === 'graceful' && ` ${name} bfd check-control-plane-failure`,
      isOldSpeaker === true && ` ${name} dont-capability-negotiate`,
      routerRole !== undefined && ` ${name} local-role ${routerRole}`,
      (transport === 'ipv6' || transport === 'link-local') && ` ${name} capability extended-nexthop`,
    )
  }
}

function familyLines({ transport, hasAddPaths, routerMaxPrefixes }: Peering): string {
  const name = `neighbor ${nameOf(transport)}`
  return lines(
    `  ${name} activate`,
    hasAddPaths === true && `  ${name} addpath-tx-all-paths`,
    routerMaxPrefixes !== undefined && `  ${name} maximum-prefix ${routerMaxPrefixes}`,
  )
}
