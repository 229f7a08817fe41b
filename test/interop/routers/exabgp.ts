/** ExaBGP. It keeps no table: what it received is in the events that it writes for its API. */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { waitFor } from '../../wait.ts'
import { endpoints, globalIpv6, type Peering, type Transport } from '../peering.ts'
import { lines, RouterDaemon, type RouterRoute, type RouterSetup } from '../router-daemon.ts'

type FamilyKey = 'ipv4 unicast' | 'ipv6 unicast'
interface Announcement {
  readonly nlri: string
}
interface Event {
  readonly type: string
  readonly neighbor?: {
    readonly address?: { readonly peer?: string }
    readonly state?: string
    readonly message?: {
      readonly update?: {
        readonly attribute?: {
          readonly 'as-path'?: readonly number[]
          readonly community?: readonly (readonly number[])[]
          readonly 'large-community'?: readonly (readonly number[])[]
          readonly med?: number
        }
        readonly announce?: Readonly<Partial<Record<FamilyKey, Readonly<Record<string, readonly Announcement[]>>>>>
        readonly withdraw?: Readonly<Partial<Record<FamilyKey, readonly Announcement[]>>>
      }
    }
  }
}

/** Reads API commands from a file that grows, so that ExaBGP hears them, and appends its events to another. */
const apiScript = (directory: string): string => `#!/bin/sh
tail -n +1 -F ${directory}/commands 2>/dev/null &
exec cat >> ${directory}/events.json
`

/** It has no routes of others to pass on. */
const twoPaths = ['1', '2']
  .map((path) => `unicast 203.0.113.0/24 next-hop self path-information ${path} med ${path};`)
  .join(' ')

export class ExaBgp extends RouterDaemon {
  readonly name = 'ExaBGP'
  readonly asn = 65_015
  readonly ownNetworks = { ipv4: '10.15.0.0/24', ipv6: 'fd15::/64' }

  #sessions: readonly Transport[] = []

  async start(setup: RouterSetup): Promise<void> {
    this.#sessions = setup.peerings.map(({ transport }) => transport)
    writeFileSync(this.file('exabgp.conf'), `${this.#configuration(setup)}\n`)
    writeFileSync(this.file('api.sh'), apiScript(this.directory), { mode: 0o755 })
    writeFileSync(this.file('commands'), '')
    rmSync(this.file('events.json'), { force: true })
    this.log = ''
    const settings = [
      'exabgp.daemon.user=root',
      'exabgp.daemon.drop=false',
      'exabgp.api.cli=false',
      'exabgp.api.ack=false',
      'exabgp.log.destination=stdout',
      'exabgp.log.network=true',
    ]
    this.foreground('env', ...settings, 'exabgp', this.file('exabgp.conf'))
    await waitFor('ExaBGP runs', () => existsSync(this.file('events.json')))
  }

  async isEstablished(session: Transport): Promise<boolean> {
    return this.#events(session).findLast(({ type }) => type === 'state')?.neighbor?.state === 'up'
  }

  async establishedCount(): Promise<number> {
    return (await Promise.all(this.#sessions.map((session) => this.isEstablished(session)))).filter(Boolean).length
  }

  async route(session: Transport, prefix: string): Promise<RouterRoute | undefined> {
    const family: FamilyKey = prefix.includes(':') ? 'ipv6 unicast' : 'ipv4 unicast'
    let route: RouterRoute | undefined
    for (const { type, neighbor } of this.#events(session)) {
      if (type === 'state' && neighbor?.state === 'down') route = undefined
      const { attribute = {}, announce, withdraw } = neighbor?.message?.update ?? {}
      if (withdraw?.[family]?.some(({ nlri }) => nlri === prefix) === true) route = undefined
      const nextHop = Object.entries(announce?.[family] ?? {}).find(([, routes]) =>
        routes.some(({ nlri }) => nlri === prefix),
      )?.[0]
      if (nextHop === undefined) continue
      const { 'as-path': asPath = [], community = [], 'large-community': largeCommunity = [], med } = attribute
      route = {
        nextHop,
        asPath: asPath.join(' '),
        communities: community.map((parts) => parts.join(':')),
        largeCommunities: largeCommunity.map((parts) => parts.join(':')),
        ...(med === undefined ? {} : { med }),
      }
    }
    return route
  }

  async requestRefresh(session: Transport): Promise<void> {
    this.command(`neighbor ${endpoints[session].herald} announce route-refresh ipv4 unicast`)
  }

  /** It takes no text and says the name of the subcode. */
  async reset(session: Transport): Promise<void> {
    this.command(`neighbor ${endpoints[session].herald} teardown 4`)
  }

  async resetAll(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => this.reset(session)))
  }

  async shutdown(session: Transport): Promise<void> {
    this.command(`neighbor ${endpoints[session].herald} teardown 2`)
  }

  async report(session: Transport): Promise<string> {
    return JSON.stringify(this.#events(session)) + this.log
  }

  /** A command of its API. */
  command(text: string): void {
    appendFileSync(this.file('commands'), `${text}\n`)
  }

  /** Of one session, oldest first. */
  #events(session: Transport): readonly Event[] {
    if (!existsSync(this.file('events.json'))) return []
    const { herald } = endpoints[session]
    // The last line may still be in the writing, and ExaBGP writes the octets of a NOTIFICATION as they are.
    const texts = readFileSync(this.file('events.json'), 'utf8').split('\n').slice(0, -1).filter(Boolean)
    return texts
      .map((text): Event => JSON.parse(text.replaceAll(/[\0-\x1f]/g, ' ')))
      .filter(({ neighbor }) => neighbor?.address?.peer === herald)
  }

  #configuration({ peerings, networks = [] }: RouterSetup): string {
    return lines(
      'process api {',
      `  run ${this.file('api.sh')};`,
      '  encoder json;',
      '}',
      ...peerings.map((each) => this.#neighbor(each, networks)),
    )
  }

  #neighbor(
    {
      transport,
      families,
      dialler,
      holdTimeSec,
      password,
      isTtlSecured,
      restartTimeSec,
      hasAddPaths,
      isOldSpeaker,
      expectedAsn = this.heraldAsn,
    }: Peering,
    networks: readonly string[],
  ): string {
    const { herald, router } = endpoints[transport]
    const [ipv4, ipv6] = [families.includes('ipv4-unicast'), families.includes('ipv6-unicast')]
    const isExtended = ipv4 && herald.includes(':')
    const nextHop6 = herald.includes(':') ? 'self' : globalIpv6.router
    return lines(
      `neighbor ${herald} {`,
      '  router-id 10.90.0.2;',
      `  local-address ${router};`,
      `  local-as ${this.asn};`,
      `  peer-as ${expectedAsn};`,
      `  hold-time ${holdTimeSec};`,
      '  group-updates true;',
      dialler === 'herald' && '  passive true;',
      dialler !== 'router' && '  listen 179;',
      password !== undefined && `  md5-password '${password}';`,
      isTtlSecured === true && '  outgoing-ttl 255;\n  incoming-ttl 255;',
      '  capability {',
      isOldSpeaker === true && '    asn4 disable;',
      '    route-refresh enable;',
      '    extended-message enable;',
      restartTimeSec !== undefined && `    graceful-restart ${restartTimeSec};`,
      hasAddPaths === true && '    add-path send/receive;',
      isExtended && '    nexthop enable;',
      '  }',
      `  family { ${ipv4 ? 'ipv4 unicast; ' : ''}${ipv6 ? 'ipv6 unicast; ' : ''}}`,
      isExtended && '  nexthop { ipv4 unicast ipv6; }',
      hasAddPaths === true && '  add-path { ipv4 unicast; }',
      '  api {',
      '    processes [ api ];',
      '    neighbor-changes;',
      '    receive { parsed; update; }',
      '  }',
      '  announce {',
      ipv4 &&
        `    ipv4 { ${[this.ownNetworks.ipv4, ...networks].map((network) => `unicast ${network} next-hop ${isExtended ? router : 'self'} community [ ${this.asn}:1 ];`).join(' ')} ${hasAddPaths === true ? twoPaths : ''} }`,
      ipv6 && `    ipv6 { unicast ${this.ownNetworks.ipv6} next-hop ${nextHop6}; }`,
      '  }',
      '}',
    )
  }
}
