/**
 * BGP daemons that announce n host routes with equal attributes to the four sinks. They hold the routes before the
 * sessions come up: in their configuration, or (GoBGP, which reads none from there) from a feeder before they know of
 * the sinks.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Feed, startFeed } from './feeder.ts'
import { hostRoute, sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { ended, feederAsn, receiverAddress, receiverAsn } from './receivers.ts'

export interface Announcer {
  readonly pids: readonly number[]
  stop(): Promise<void>
}

export interface AnnouncerEngine {
  readonly name: string
  readonly program: string
  start(folder: string, n: number): Promise<Announcer>
}

const run = (command: string, ...flags: readonly string[]): string =>
  execFileSync(command, flags, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
const hosts = (n: number): readonly string[] => Array.from({ length: n }, (_, i) => hostRoute(i))

function announcer(
  child: ChildProcess,
  pids: () => readonly number[] = () => [child.pid ?? 0],
  before: () => Promise<void> = async () => {},
): Announcer {
  return {
    get pids() {
      return pids()
    },
    stop: async () => {
      await before()
      await ended(child)
    },
  }
}

const bird: AnnouncerEngine = {
  name: 'BIRD',
  program: '/usr/sbin/bird',
  start: async (folder, n) => {
    const config = join(folder, 'bird.conf')
    const peers = sinkAddresses.map(
      (address, i) =>
        `protocol bgp peer${i} { local 127.0.0.1 as ${receiverAsn}; neighbor ${address} port ${sinkPort} as ` +
        `${sinkAsn}; multihop 2; connect delay time 1; ipv4 { import none; export all; next hop self; }; }`,
    )
    writeFileSync(
      config,
      `log "/dev/null" all;\nrouter id 192.0.2.8;\nprotocol device {}\nprotocol static hosts {\n  ipv4;\n${hosts(n)
        .map((host) => `  route ${host} blackhole;`)
        .join('\n')}\n}\n${peers.join('\n')}\n`,
    )
    return announcer(
      spawn('bird', ['-f', '-c', config, '-s', join(folder, 'bird.ctl'), '-P', join(folder, 'bird.pid')], {
        stdio: 'ignore',
      }),
    )
  },
}

const frr: AnnouncerEngine = {
  name: 'FRR',
  program: '/usr/lib/frr/bgpd',
  start: async (folder, n) => {
    const config = join(folder, 'bgpd.conf')
    const peers = sinkAddresses.map(
      (address) =>
        ` neighbor ${address} remote-as ${sinkAsn}\n neighbor ${address} port ${sinkPort}\n neighbor ${address} ` +
        `disable-connected-check\n neighbor ${address} timers connect 1\n`,
    )
    writeFileSync(
      config,
      `frr defaults traditional\nrouter bgp ${receiverAsn}\n bgp router-id 192.0.2.8\n no bgp ` +
        `ebgp-requires-policy\n no bgp network import-check\n${peers.join('')} address-family ipv4 unicast\n${hosts(n)
          .map((host) => `  network ${host}`)
          .join('\n')}\n exit-address-family\n`,
    )
    run('chmod', '-R', 'a+rwX', folder)
    return announcer(
      spawn(
        '/usr/lib/frr/bgpd',
        ['-n', '-S', '-p', '0', '-f', config, '-i', join(folder, 'bgpd.pid'), '--vty_socket', folder],
        { stdio: 'ignore' },
      ),
    )
  },
}

const openbgpd: AnnouncerEngine = {
  name: 'OpenBGPD',
  program: '/usr/sbin/bgpd',
  start: async (folder, n) => {
    const config = join(folder, 'openbgpd.conf')
    mkdirSync('/run/openbgpd', { recursive: true })
    const peers = sinkAddresses.map(
      (address) => `neighbor ${address} {\n  remote-as ${sinkAsn}\n  port ${sinkPort}\n  multihop 2\n}`,
    )
    writeFileSync(
      config,
      `AS ${receiverAsn}\nrouter-id 192.0.2.8\nfib-update no\nconnect-retry 1\nlisten on 127.0.0.1\nsocket ` +
        `"${join(folder, 'bgpd.sock')}"\nprefix-set hosts {\n${hosts(n).join('\n')}\n}\nnetwork prefix-set ` +
        `hosts\n${peers.join('\n')}\nallow to any\ndeny from any\n`,
      { mode: 0o600 },
    )
    const child = spawn('/usr/sbin/bgpd', ['-d', '-f', config], { stdio: 'ignore' })
    return announcer(child, () => [
      child.pid ?? 0,
      ...run('pgrep', '-P', String(child.pid ?? 0))
        .trim()
        .split('\n')
        .map(Number),
    ])
  },
}

const gobgp: AnnouncerEngine = {
  name: 'GoBGP',
  program: '/usr/bin/gobgpd',
  start: async (folder, n) => {
    const config = join(folder, 'gobgpd.toml')
    const head =
      `[global.config]\n  as = ${receiverAsn}\n  router-id = "192.0.2.8"\n  local-address-list = ` +
      `["${receiverAddress}"]\n[[neighbors]]\n  [neighbors.config]\n    neighbor-address = "10.98.0.2"\n    ` +
      `peer-as = ${feederAsn}\n  [neighbors.transport.config]\n    passive-mode = true\n`
    writeFileSync(config, head)
    const child = spawn('gobgpd', ['-f', config, '--api-hosts', '127.0.0.1:50051', '-l', 'error'], { stdio: 'ignore' })
    let feed: Feed | undefined
    try {
      feed = await startFeed({ receiver: receiverAddress, asn: feederAsn, prefixes: n, kind: 'hosts' }, false)
      const giveUpAt = Date.now() + 60_000
      while (Number(/\|\s*(\d+)\s+\d+\s*$/m.exec(run('gobgp', 'neighbor'))?.[1] ?? 0) < n) {
        if (Date.now() > giveUpAt) throw new Error('it does not take the routes')
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    } catch (error) {
      await feed?.stop()
      await ended(child)
      throw error
    }
    const fed = feed
    const peers = sinkAddresses.map(
      (address) =>
        `[[neighbors]]\n  [neighbors.config]\n    neighbor-address = "${address}"\n    peer-as = ${sinkAsn}\n  ` +
        `[neighbors.transport.config]\n    remote-port = ${sinkPort}\n  [neighbors.timers.config]\n    ` +
        `connect-retry = 1\n  [neighbors.ebgp-multihop.config]\n    enabled = true\n    multihop-ttl = 2\n`,
    )
    writeFileSync(config, head + peers.join(''))
    child.kill('SIGHUP')
    return announcer(child, undefined, () => fed.stop())
  },
}

export const announcers: readonly AnnouncerEngine[] = [bird, openbgpd, gobgp, frr]
