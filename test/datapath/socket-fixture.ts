/**
 * A group of cgroup v2, a bpffs and a network of a test file's own: pods that answer on addresses of the loopback
 * device, and clients in the group. VIPs are on no device and no route leads to them: who reaches one was led there.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { SocketBalancer } from '../../src/datapath/datapath.ts'
import { openSockets, removeSockets, type SocketOptions } from '../../src/datapath/sockets.ts'
import { type Backend, type Frontend, frontendId, type Protocol } from '../../src/desired/model.ts'
import { findCgroup } from '../../src/sys/cgroup.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { enterNetwork, ip } from './network.ts'
import type { SocketCommand } from './socket-actor.ts'

const actorFile = fileURLToPath(new URL('./socket-actor.ts', import.meta.url))
export const podPort = 8080

/** The maps of a test: few of each. */
const fewEntries = {
  socket_frontends: 64,
  socket_backends: 256,
  socket_members: 256,
  socket_affinity: 1024,
} as const

export interface SocketActor {
  readonly child: ChildProcess
  /** Throws what the command threw. */
  run(command: SocketCommand): Promise<unknown>
  end(): Promise<void>
}

/**
 * With its input closed it would go on: it is killed, and waited for. `network`: the namespace that it is in, by a path.
 */
export function startActor(group = '', network?: string): SocketActor {
  const [command = '', ...args] = [
    ...(network === undefined ? [] : ['nsenter', `--net=${network}`]),
    ...[process.execPath, actorFile, group],
  ]
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = []
  createInterface({ input: child.stdout }).on('line', (text) => {
    const { value, error } = JSON.parse(text) as { value?: unknown; error?: string }
    const next = waiting.shift()
    if (error === undefined) next?.resolve(value)
    else next?.reject(new Error(error))
  })
  child.once('exit', () => {
    for (const { reject } of waiting) reject(new Error('the actor ended'))
  })
  return {
    child,
    run: (command) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        child.stdin.write(`${JSON.stringify(command)}\n`)
      }),
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

/** Answers over TCP and UDP with its own address, and with that of whom it speaks to. */
async function startPod(address: string): Promise<() => void> {
  const family = address.includes(':') ? 'udp6' : 'udp4'
  const udp = createSocket(family)
  udp.on('message', (_, from) => udp.send(`${address} ${from.address}`, from.port, from.address))
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.write(`${address} ${socket.remoteAddress}\n`)
    socket.on('data', () => socket.write(`${address} again\n`))
  })
  await new Promise<void>((resolve, reject) => udp.once('error', reject).bind(podPort, address, () => resolve()))
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(podPort, address, resolve))
  return () => {
    udp.close()
    server.close()
  }
}

export interface SocketWorld {
  readonly bpffs: string
  /** The group whose sockets are led. */
  readonly group: string
  readonly options: SocketOptions
  open(options?: Partial<SocketOptions>): SocketBalancer
  /** Another group beside that one. */
  makeGroup(name: string): string
  /** A client in the group, or in another one. */
  client(group?: string, network?: string): SocketActor
  end(): Promise<void>
}

/** Once in a test file, whose process it moves into a network of its own. */
export async function startSocketWorld(pods: readonly string[]): Promise<SocketWorld> {
  enterNetwork()
  for (const pod of pods) {
    const isIpv6 = pod.includes(':')
    ip('address', 'add', `${pod}/${isIpv6 ? 128 : 32}`, 'dev', 'lo', ...(isIpv6 ? ['nodad'] : []))
  }
  const stops = await Promise.all(pods.map(startPod))
  const bpffs = mkdtempSync(join(tmpdir(), 'sockets-'))
  mountBpffs(bpffs)
  mkdirSync(join(bpffs, 'herald'))
  const groups: string[] = []
  const makeGroup = (name: string): string => {
    const path = join(findCgroup('/sys/fs/cgroup').path, `herald-test-${process.pid}-${name}`)
    mkdirSync(path)
    groups.push(path)
    return path
  }
  const group = makeGroup('led')
  const options: SocketOptions = {
    bpffs,
    objectFile: join(buildBpf(), '..', 'socket.bpf.o'),
    cgroupRoot: group,
    maxEntries: fewEntries,
  }
  const opened: SocketBalancer[] = []
  const actors: SocketActor[] = []
  return {
    bpffs,
    group,
    options,
    open: (more = {}) => {
      const balancer = openSockets({ ...options, ...more })
      opened.push(balancer)
      return balancer
    },
    makeGroup,
    client: (of = group, network?: string) => {
      const actor = startActor(of, network)
      actors.push(actor)
      return actor
    },
    end: async () => {
      for (const actor of actors) await actor.end()
      for (const balancer of opened) balancer.close()
      removeSockets(bpffs)
      unmountBpffs(bpffs)
      rmdirSync(bpffs)
      for (const path of groups) rmdirSync(path)
      for (const stop of stops) stop()
    },
  }
}

/** All parts: how many were ended. */
export function endedBy(balancer: SocketBalancer, ...asked: Parameters<SocketBalancer['endSockets']>): number {
  return [...balancer.endSockets(...asked)].reduce((all, part) => all + part, 0)
}

export function socketFrontend(
  address: string,
  protocol: Protocol,
  pods: readonly string[],
  more: Partial<Frontend> = {},
): Frontend {
  const backends = pods.map((pod): Backend => ({ address: pod, port: podPort }))
  return { id: frontendId(address, protocol, 80), service: 'shop/web', address, protocol, port: 80, backends, ...more }
}
