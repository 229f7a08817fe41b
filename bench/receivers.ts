/**
 * BGP daemons that take a table from a peer at 10.98.0.0/16 and say how much of it they have: Herald and what Debian
 * has. Each listens on port 179 of 10.98.0.1, takes any route, writes no kernel route and no log.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { agentFlags } from '../src/cli/hand-over.ts'
import type { PeerSnapshot } from '../src/speaker/protocol.ts'

export const receiverAddress = '10.98.0.1'
export const receiverAsn = 65_001
export const feederAsn = 65_002

export interface Receiver {
  readonly name: string
  /** Processes whose CPU and memory count. */
  readonly pids: readonly number[]
  /** Prefixes that it has from the feeder. */
  count(): Promise<number>
  stop(): Promise<void>
}

export interface Engine {
  readonly name: string
  /** What must be installed. */
  readonly program: string
  start(folder: string): Promise<Receiver>
}

const run = (command: string, ...flags: readonly string[]): string =>
  execFileSync(command, flags, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 2 ** 28 })

/** Ends a daemon, and waits for that. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const cut = setTimeout(() => child.kill('SIGKILL'), 5_000)
  await exited
  clearTimeout(cut)
}

/** A daemon in the foreground, up when `isUp` says so. */
async function daemon(command: string, flags: readonly string[], isUp: () => boolean): Promise<ChildProcess> {
  const child = spawn(command, flags, { stdio: 'ignore' })
  child.on('error', () => {}) // it does not come up
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`)
    if (isUp()) return child
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await ended(child)
  throw new Error(`${command} does not come up`)
}

const succeeds = (action: () => unknown): boolean => {
  try {
    action()
    return true
  } catch {
    // Not yet.
    return false
  }
}

const herald: Engine = {
  name: 'herald',
  program: process.execPath,
  start: async () => {
    const child = spawn(
      process.execPath,
      [
        ...agentFlags,
        fileURLToPath(new URL('speaker-process.ts', import.meta.url)),
        JSON.stringify({
          listen: { host: receiverAddress, port: 179 },
          isRestart: false,
          isForwardingPreserved: false,
        }),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    const answers: ((peers: readonly PeerSnapshot[]) => void)[] = []
    createInterface({ input: child.stdout }).on('line', (line) => answers.shift()?.(JSON.parse(line)))
    const neighbor = (peerAddress: string, holdTimeSec: number) => ({
      id: `${receiverAsn}/${peerAddress}`,
      source: { kind: 'bench', name: 'bench' },
      virtualRouter: 'bench',
      localAsn: receiverAsn,
      peerAsn: feederAsn,
      peerAddress,
      peerPort: 179,
      routerId: receiverAddress,
      families: ['ipv4-unicast'],
      holdTimeSec,
      keepaliveSec: holdTimeSec / 3,
      connectRetrySec: 5,
      multihopTtl: 1,
      passive: true,
    })
    child.stdin.write(
      `${JSON.stringify({ type: 'configure', neighbors: [neighbor('10.98.0.2', 90), neighbor('10.98.0.3', 3)] })}\n`,
    )
    const peers = (): Promise<readonly PeerSnapshot[]> =>
      new Promise((resolve) => {
        answers.push(resolve)
        child.stdin.write('peers\n')
      })
    await peers()
    return {
      name: 'herald',
      pids: [child.pid ?? 0],
      count: async () =>
        (await peers()).find(({ peerAddress }) => peerAddress === '10.98.0.2')?.families[0]?.received ?? 0,
      stop: async () => {
        child.stdin.end()
        await ended(child)
      },
    }
  },
}

const bird: Engine = {
  name: 'BIRD',
  program: '/usr/sbin/bird',
  start: async (folder) => {
    const [config, control] = [join(folder, 'bird.conf'), join(folder, 'bird.ctl')]
    writeFileSync(
      config,
      `log "/dev/null" all;\nrouter id ${receiverAddress};\nprotocol device {}\nprotocol bgp feeder {\n  local ` +
        `${receiverAddress} as ${receiverAsn};\n  neighbor 10.98.0.2 as ${feederAsn};\n  multihop 2;\n  passive ` +
        `on;\n  ipv4 { import all; export none; };\n}\n`,
    )
    const ask = (...words: readonly string[]): string => run('birdc', '-s', control, ...words)
    const child = await daemon(
      'bird',
      ['-f', '-c', config, '-s', control, '-P', join(folder, 'bird.pid')],
      () => existsSync(control) && succeeds(() => ask('show', 'status')),
    )
    return {
      name: 'BIRD',
      pids: [child.pid ?? 0],
      count: async () => Number(/(\d+) imported/.exec(ask('show', 'protocols', 'all', 'feeder'))?.[1] ?? 0),
      stop: () => ended(child),
    }
  },
}

const frr: Engine = {
  name: 'FRR',
  program: '/usr/lib/frr/bgpd',
  start: async (folder) => {
    const config = join(folder, 'bgpd.conf')
    writeFileSync(
      config,
      `frr defaults traditional\nrouter bgp ${receiverAsn}\n bgp router-id ${receiverAddress}\n no bgp ` +
        `ebgp-requires-policy\n neighbor 10.98.0.2 remote-as ${feederAsn}\n neighbor 10.98.0.2 passive\n ` +
        `neighbor 10.98.0.2 disable-connected-check\n`,
    )
    run('chmod', '-R', 'a+rwX', folder)
    const ask = (command: string): string => run('vtysh', '--vty_socket', folder, '-d', 'bgpd', '-c', command)
    const child = await daemon(
      '/usr/lib/frr/bgpd',
      ['-n', '-S', '-f', config, '-i', join(folder, 'bgpd.pid'), '--vty_socket', folder, '-l', receiverAddress],
      () => succeeds(() => ask('show version')),
    )
    interface Summary {
      readonly ipv4Unicast?: { readonly peers?: Readonly<Record<string, { readonly pfxRcd?: number }>> }
    }
    return {
      name: 'FRR',
      pids: [child.pid ?? 0],
      count: async () =>
        (JSON.parse(ask('show bgp summary json')) as Summary).ipv4Unicast?.peers?.['10.98.0.2']?.pfxRcd ?? 0,
      stop: () => ended(child),
    }
  },
}

const openbgpd: Engine = {
  name: 'OpenBGPD',
  program: '/usr/sbin/bgpd',
  start: async (folder) => {
    const [config, control] = [join(folder, 'openbgpd.conf'), join(folder, 'bgpd.sock')]
    mkdirSync('/run/openbgpd', { recursive: true })
    writeFileSync(
      config,
      `AS ${receiverAsn}\nrouter-id ${receiverAddress}\nfib-update no\nlisten on ${receiverAddress}\nsocket ` +
        `"${control}"\nneighbor 10.98.0.2 {\n  remote-as ${feederAsn}\n  passive\n  multihop 2\n}\nallow from ` +
        `any\ndeny to any\n`,
      { mode: 0o600 },
    )
    const ask = (...words: readonly string[]): string => run('/usr/sbin/bgpctl', '-s', control, ...words)
    const child = await daemon(
      '/usr/sbin/bgpd',
      ['-d', '-f', config],
      () => existsSync(control) && succeeds(() => ask('show')),
    )
    const children = run('pgrep', '-P', String(child.pid ?? 0))
      .trim()
      .split('\n')
      .map(Number)
    return {
      name: 'OpenBGPD',
      pids: [child.pid ?? 0, ...children],
      count: async () =>
        Number(
          /^\S+\s+\d+\s+\d+\s+\d+\s+\d+\s+\S+\s+(\d+)/m.exec(ask('show').split('\n').slice(1).join('\n'))?.[1] ?? 0,
        ),
      stop: () => ended(child),
    }
  },
}

const gobgp: Engine = {
  name: 'GoBGP',
  program: '/usr/bin/gobgpd',
  start: async (folder) => {
    const config = join(folder, 'gobgpd.toml')
    writeFileSync(
      config,
      `[global.config]\n  as = ${receiverAsn}\n  router-id = "${receiverAddress}"\n  local-address-list = ` +
        `["${receiverAddress}"]\n[[neighbors]]\n  [neighbors.config]\n    neighbor-address = "10.98.0.2"\n    ` +
        `peer-as = ${feederAsn}\n  [neighbors.transport.config]\n    passive-mode = true\n`,
    )
    const child = await daemon('gobgpd', ['-f', config, '--api-hosts', '127.0.0.1:50051', '-l', 'error'], () =>
      succeeds(() => run('gobgp', 'global')),
    )
    return {
      name: 'GoBGP',
      pids: [child.pid ?? 0],
      count: async () => Number(/\|\s*(\d+)\s+\d+\s*$/m.exec(run('gobgp', 'neighbor'))?.[1] ?? 0),
      stop: () => ended(child),
    }
  },
}

/** Ours, the reference of the goals, and the others. */
export const engines: readonly [Engine, Engine, ...Engine[]] = [herald, bird, openbgpd, frr, gobgp]

/** Resident memory and CPU time of processes. */
export interface Usage {
  readonly rssBytes: number
  readonly cpuMs: number
}

export function usageOf(pids: readonly number[]): Usage {
  let [rssBytes, cpuMs] = [0, 0]
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    cpuMs += (Number(fields[11]) + Number(fields[12])) * 10
    rssBytes += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  }
  return { rssBytes, cpuMs }
}
