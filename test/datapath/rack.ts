/** A client, a node and two pods as network namespaces, with one actor in each; all gone after the test. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import type { Command } from './actor.ts'

export const client = '198.51.100.7'
export const vip = '192.0.2.10'
export const pods = ['10.1.0.5', '10.1.0.6'] as const
/** The same places over IPv6. */
export const ipv6 = {
  client: '2001:db8:51:100::7',
  vip: '2001:db8:2::10',
  pods: ['fd00:10:1::5', 'fd00:10:1::6'],
} as const
export const uplink = 'up0'

export interface Actor {
  readonly process: ChildProcess
  /** The answer to a command; rejects with the error that it answers, or after half a minute. */
  tell<T = unknown>(command: Command): Promise<T>
  /** Resolves when the process is gone. */
  kill(signal: NodeJS.Signals): Promise<void>
}

export interface Rack {
  readonly bpffs: string
  actor(place: 'client' | 'node' | 'pod'): Actor
  /** Runs a command inside a place and answers with what it printed. */
  run(place: 'client' | 'node' | 'pod', command: readonly string[], input?: string): string
  /** Starts a program in the network of a place, and ends it with the test. */
  start(place: 'client' | 'node' | 'pod', command: readonly string[]): ChildProcess
  /** Lays the cable between client and node. */
  layUplink(): void
  /** Lays another cable between client and node, of one name at both ends, in a /24. */
  layCable(name: string, atNode: string, atClient: string): void
  /** Removes the cable between client and node and lays another. */
  renewUplink(): void
}

interface Answer {
  readonly value?: unknown
  readonly error?: string
}

export function startActor(namespace: string): Actor {
  const script = fileURLToPath(new URL('actor.ts', import.meta.url))
  // Only the network is entered: in the mount namespace of `ip netns exec` pins would die with the process.
  const child = spawn('nsenter', [`--net=/run/netns/${namespace}`, process.execPath, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const waiting: ((answer: Answer) => void)[] = []
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(JSON.parse(line) as Answer))
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.once('exit', () => waiting.splice(0).forEach((settle) => settle({ error: 'the actor is gone' })))
  const tell = <T>(command: Command): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within 30 s: ${JSON.stringify(command)}`)), 30_000)
      waiting.push(({ value, error }) => {
        clearTimeout(timer)
        if (error === undefined) resolve(value as T)
        else reject(new Error(error))
      })
      child.stdin.write(`${JSON.stringify(command)}\n`)
    })
  const kill = (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal)
    return exited
  }
  return { process: child, tell, kill }
}

export function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

export function deployRack(t: Pick<TestContext, 'after'>): Rack {
  const id = `dp-${process.pid}-${Math.floor(Math.random() * 1e6)}`
  const namespaces = { client: `${id}c`, node: `${id}n`, pod: `${id}p` } as const
  const bpffs = mkdtempSync(join(tmpdir(), 'dp-'))
  const actors: Actor[] = []
  const started: ChildProcess[] = []
  const ip = (...args: string[]): string =>
    execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(async () => {
    await Promise.all(actors.map((actor) => actor.kill('SIGKILL')))
    await Promise.all(started.map(ended))
    for (const namespace of Object.values(namespaces)) {
      try {
        ip('netns', 'delete', namespace)
      } catch {
        // It was not made yet when the set-up failed.
      }
    }
    unmountBpffs(bpffs)
    rmdirSync(bpffs)
  })
  mountBpffs(bpffs)
  const run: Rack['run'] = (place, command, input = '') => {
    const [program = '', ...args] = command
    return execFileSync('nsenter', [`--net=/run/netns/${namespaces[place]}`, program, ...args], {
      encoding: 'utf8',
      input,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  }
  for (const namespace of Object.values(namespaces)) {
    ip('netns', 'add', namespace)
    ip('-n', namespace, 'link', 'set', 'lo', 'up')
  }
  ip('link', 'add', 'eth0', 'netns', namespaces.pod, 'type', 'veth', 'peer', 'name', 'pod0', 'netns', namespaces.node)
  const address = (place: keyof typeof namespaces, device: string, ...addresses: readonly string[]): void => {
    for (const text of addresses) {
      // Duplicates are not looked for: an address is usable at once.
      const rest = text.includes(':') ? [`${text}/64`, 'dev', device, 'nodad'] : [`${text}/24`, 'dev', device]
      ip('-n', namespaces[place], 'address', 'add', ...rest)
    }
    ip('-n', namespaces[place], 'link', 'set', device, 'up')
  }
  const layCable: Rack['layCable'] = (name, atNode, atClient) => {
    const ends = ['netns', namespaces.client, 'type', 'veth', 'peer', 'name', name, 'netns', namespaces.node]
    ip('link', 'add', name, ...ends)
    address('client', name, atClient)
    address('node', name, atNode)
  }
  const layUplink = (): void => {
    const ends = ['netns', namespaces.client, 'type', 'veth', 'peer', 'name', uplink, 'netns', namespaces.node]
    ip('link', 'add', 'eth0', ...ends)
    address('client', 'eth0', client, ipv6.client)
    address('node', uplink, '198.51.100.1', '2001:db8:51:100::1')
    for (const router of ['198.51.100.1', '2001:db8:51:100::1'])
      ip('-n', namespaces.client, 'route', 'add', 'default', 'via', router)
  }
  layUplink()
  address('node', 'pod0', '10.1.0.1', 'fd00:10:1::1')
  address('pod', 'eth0', ...pods, ...ipv6.pods)
  // As of IPv4 the first is what a pod speaks from when it was not asked at another one.
  ip('-n', namespaces.pod, 'address', 'change', `${ipv6.pods[1]}/64`, 'dev', 'eth0', 'preferred_lft', '0')
  for (const router of ['10.1.0.1', 'fd00:10:1::1']) ip('-n', namespaces.pod, 'route', 'add', 'default', 'via', router)
  run('node', [
    'sysctl',
    '-qw',
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    'net.ipv4.conf.all.rp_filter=0',
    'net.ipv4.conf.default.rp_filter=0',
  ])
  // A new link takes up to a second until it hears a neighbor solicitation, which is sent again after another one.
  for (const there of [...pods, ...ipv6.pods]) run('node', ['ping', '-c', '1', '-i', '0.2', '-w', '5', there])
  for (const there of ['198.51.100.1', '2001:db8:51:100::1'])
    run('client', ['ping', '-c', '1', '-i', '0.2', '-w', '5', there])
  const actor: Rack['actor'] = (place) => {
    const started = startActor(namespaces[place])
    actors.push(started)
    return started
  }
  const renewUplink = (): void => {
    ip('-n', namespaces.node, 'link', 'delete', uplink)
    layUplink()
  }
  const start: Rack['start'] = (place, command) => {
    const child = spawn('nsenter', [`--net=/run/netns/${namespaces[place]}`, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    started.push(child)
    return child
  }
  return { bpffs, actor, run, start, layUplink, layCable, renewUplink }
}

/** The octets of an interface's link address. */
export function linkAddress(rack: Rack, place: 'client' | 'node' | 'pod', device: string): readonly number[] {
  const text = /link\/ether (\S+)/.exec(rack.run(place, ['ip', 'link', 'show', 'dev', device]))?.[1] ?? ''
  return text.split(':').map((octet) => parseInt(octet, 16))
}

/** Past the stack of a place, as they are. */
export function sendFrames(
  rack: Rack,
  place: 'client' | 'node' | 'pod',
  device: string,
  frames: readonly Uint8Array[],
): void {
  const pieces = fileURLToPath(new URL('pieces.ts', import.meta.url))
  const octets = JSON.stringify(frames.map((bytes) => [...bytes]))
  const sending = `sendFrames('${device}', ${octets}.map((bytes) => Uint8Array.from(bytes)))`
  rack.run(place, [process.execPath, '-e', `import(${JSON.stringify(pieces)}).then(({ sendFrames }) => ${sending})`])
}
