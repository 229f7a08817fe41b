/** BIRD 2; asked by birdc, which prints for people. */
import { writeFileSync } from 'node:fs'
import { waitFor } from '../../wait.ts'
import { endpoints, globalIpv6, isLinkLocal, type Peering, type Transport } from '../peering.ts'
import { lines, RouterDaemon, type RouterRoute, type RouterSetup } from '../router-daemon.ts'

/** A protocol for a range of addresses makes one with a number for the neighbor that it finds. */
const nameOf = (transport: Transport): string =>
  transport === 'unnumbered' ? 'found1' : `to_${transport.replace('-', '_')}`

export class Bird extends RouterDaemon {
  readonly name = 'BIRD'
  /** Both ASes need four octets (RFC 6793). */
  readonly asn = 4_200_000_012
  override readonly heraldAsn = 4_200_000_001
  readonly ownNetworks = { ipv4: '10.12.0.0/24', ipv6: 'fd12::/64' }

  async start(setup: RouterSetup): Promise<void> {
    writeFileSync(this.file('bird.conf'), `${this.#configuration(setup)}\n`)
    await this.background(
      this.file('bird.pid'),
      'bird',
      '-c',
      this.file('bird.conf'),
      '-s',
      this.file('bird.ctl'),
      '-P',
      this.file('bird.pid'),
      '-D',
      this.file('bird.log'),
      ...(setup.isRestart === true ? ['-R'] : []),
    )
    await waitFor('BIRD answers', async () => (await this.#birdc('show status')).includes('Daemon is up'))
  }

  async isEstablished(session: Transport): Promise<boolean> {
    return /BGP state:\s+Established/.test(await this.#birdc(`show protocols all ${nameOf(session)}`))
  }

  async establishedCount(): Promise<number> {
    return (await this.#birdc('show protocols')).split('\n').filter((line) => /\bBGP\b.*\bEstablished\b/.test(line))
      .length
  }

  async route(session: Transport, prefix: string): Promise<RouterRoute | undefined> {
    const text = await this.#birdc(`show route ${prefix} protocol ${nameOf(session)} all`)
    if (!text.includes(prefix)) return undefined
    const value = (attribute: string): string => new RegExp(`BGP\\.${attribute}: (.*)`).exec(text)?.[1]?.trim() ?? ''
    const med = value('med')
    return {
      // A lone link-local next hop is shown with :: in front.
      nextHop:
        value('next_hop')
          .split(' ')
          .find((address) => address !== '::') ?? '',
      asPath: value('as_path'),
      communities: tuples(value('community')),
      largeCommunities: tuples(value('large_community')),
      ...(med === '' ? {} : { med: Number(med) }),
    }
  }

  async requestRefresh(session: Transport): Promise<void> {
    await this.#birdc(`reload in ${nameOf(session)}`)
  }

  async reset(session: Transport, text: string): Promise<void> {
    await this.#birdc(`restart ${nameOf(session)} "${text}"`)
  }

  async resetAll(): Promise<void> {
    await this.#birdc('restart "to_*"')
  }

  async shutdown(session: Transport, text: string): Promise<void> {
    await this.#birdc(`disable ${nameOf(session)} "${text}"`)
  }

  override async isBfdUp(session: Transport): Promise<boolean | undefined> {
    const lines = (await this.#birdc('show bfd sessions')).split('\n')
    const line = lines.find((each) => each.startsWith(`${endpoints[session].herald} `))
    return line === undefined ? undefined : /\bUp\b/.test(line)
  }

  async report(session: Transport): Promise<string> {
    return this.#birdc(`show protocols all ${nameOf(session)}`)
  }

  /** It fails when it finds nothing to show, which is an answer here. */
  #birdc(command: string): Promise<string> {
    return this.link.attempt('router', 'birdc', '-s', this.file('bird.ctl'), command)
  }

  #configuration({ peerings, networks = [] }: RouterSetup): string {
    return lines(
      'router id 10.90.0.2;',
      'protocol device {}',
      `protocol static s4 { ipv4; ` +
        `${[this.ownNetworks.ipv4, ...networks].map((network) => `route ${network} blackhole;`).join(' ')} }`,
      `protocol static s6 { ipv6; route ${this.ownNetworks.ipv6} blackhole; }`,
      peerings.some(({ transport }) => transport === 'unnumbered') &&
        'protocol radv { interface "eth0" { max ra interval 4; min ra interval 3; }; }',
      peerings.some(({ bfd }) => bfd !== undefined) &&
        'protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 30; }; }',
      ...peerings.map((each) => this.#protocol(each)),
    )
  }

  #protocol(session: Peering): string {
    const {
      transport,
      families,
      dialler,
      holdTimeSec,
      password,
      isTtlSecured,
      restartTimeSec,
      routerRole,
      isOldSpeaker,
      bfd,
      routerAsn = this.asn,
      expectedAsn = this.heraldAsn,
    } = session
    const { herald, router } = endpoints[transport]
    const isUnnumbered = transport === 'unnumbered'
    const nextHop6 = !herald.includes(':') ? `next hop address ${globalIpv6.router};` : ''
    const nextHop4 = herald.includes(':') && 'extended next hop on;'
    return lines(
      `protocol bgp ${isUnnumbered ? 'unnumbered' : nameOf(transport)} {`,
      isUnnumbered
        ? `  local as ${routerAsn}; neighbor range fe80::/10 as ${expectedAsn}; dynamic name "found";`
        : `  local ${router} as ${routerAsn}; neighbor ${herald} as ${expectedAsn};`,
      isLinkLocal(transport) && '  interface "eth0";',
      password !== undefined && `  password "${password}";`,
      isTtlSecured === true && '  ttl security on;',
      dialler === 'herald' && '  passive on;',
      `  hold time ${holdTimeSec};`,
      '  connect retry time 1; connect delay time 1; error wait time 1, 2;',
      restartTimeSec !== undefined && `  graceful restart on; graceful restart time ${restartTimeSec};`,
      bfd !== undefined && `  bfd ${bfd === 'graceful' ? 'graceful' : 'on'};`,
      isOldSpeaker === true && '  enable as4 off;',
      routerRole !== undefined && `  local role ${routerRole.replace('-', '_')};`,
      '  enable extended messages on;',
      families.includes('ipv4-unicast') && `  ipv4 { import all; ${channel(session, nextHop4)} };`,
      families.includes('ipv6-unicast') && `  ipv6 { import all; ${channel(session, nextHop6)} };`,
      '}',
    )
  }
}

function channel({ hasAddPaths, routerMaxPrefixes }: Peering, nextHop: string | false): string {
  return [
    hasAddPaths === true ? 'export all;' : 'export where source = RTS_STATIC;',
    nextHop,
    hasAddPaths === true && 'add paths tx;',
    routerMaxPrefixes !== undefined && `receive limit ${routerMaxPrefixes} action disable;`,
  ]
    .filter(Boolean)
    .join(' ')
}

/** `(65000,100) (65000,101)` and `(1, 2, 3)` as others write them. */
function tuples(text: string): readonly string[] {
  return [...text.matchAll(/\(([^)]*)\)/g)].map(([, inner = '']) => inner.split(/,\s*/).join(':'))
}
