/**
 * A client, a router and three nodes as network namespaces, and a pod at the second and the third node. The nodes and
 * the router are on one segment; by which node packets of a VIP go is a route of the router, as ECMP chooses it.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { Acceleration, DatapathStatus, ForwardMode } from '../../src/datapath/datapath.ts'
import { type Backend, type Frontend, type PortRange, translatedNode } from '../../src/desired/model.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { waitFor } from '../wait.ts'
import { startActor, type Actor } from './rack.ts'

export type Place = 'client' | 'router' | 'node0' | 'node1' | 'node2' | 'pod1' | 'pod2'

export const vips = { ipv4: '192.0.2.10', ipv6: '2001:db8:2::10' } as const
const nodes = [0, 1, 2] as const
const nodeAddress = {
  ipv4: (n: number): string => `203.0.113.${n + 1}`,
  ipv6: (n: number): string => `fd00:113::${n + 1}`,
}
export const families = ['ipv4', 'ipv6'] as const
export type FamilyName = (typeof families)[number]
const podAddress = { ipv4: (n: number): string => `10.${n}.0.5`, ipv6: (n: number): string => `fd00:10:${n}::5` }
export const ownAddress = nodeAddress

export interface RemoteRack {
  readonly actors: Readonly<Record<Place, Actor>>
  run(place: Place, command: readonly string[]): string
  /** Packets of the VIPs come by this node from here on. */
  routeBy(node: number): void
  /** A datapath on every node, which knows the others; by default its packets go through the stack. */
  serve(attach: 'tcx' | 'clsact', pods: readonly number[], mode?: ForwardMode, early?: Acceleration): Promise<void>
  /** Other backends on every node, one after the other. */
  change(pods: readonly number[]): Promise<void>
  reasons(node: number): Promise<Readonly<Record<string, number>>>
  /** Kills the owner of a node's datapath; another one takes over. Answers with what it found. */
  succeed(
    node: number,
    attach: 'tcx' | 'clsact',
    pods: readonly number[],
    early?: Acceleration,
  ): Promise<DatapathStatus>
  /** Takes everything out of the kernel; answers with what was removed from each node. */
  unload(): Promise<readonly (readonly string[])[]>
}

/** Those that a test does without are not started. */
export interface RackOptions {
  readonly nodes?: readonly number[]
  readonly pods?: readonly number[]
  /** Nodes that take no packets from others: their pods get them from an address and these ports of the node. */
  readonly bare?: readonly number[]
  readonly snatPorts?: PortRange
  /** Of every link; 1500 by default. */
  readonly mtu?: number
}

export async function deployRemoteRack(t: TestContext, options: RackOptions = {}): Promise<RemoteRack> {
  const { nodes: serving = nodes, pods = [1, 2], bare = [], snatPorts, mtu = 1_500 } = options
  const id = `dr-${process.pid}-${Math.floor(Math.random() * 1e6)}-`
  const places = ['client', 'router', 'node0', 'node1', 'node2', 'pod1', 'pod2'] as const
  const folder = mkdtempSync(join(tmpdir(), 'dr-'))
  const bpffs = nodes.map((n) => join(folder, String(n)))
  const ip = (...args: readonly string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const started: Actor[] = []
  t.after(async () => {
    await Promise.all(started.map((actor) => actor.kill('SIGKILL')))
    for (const place of places) ip('netns', 'delete', id + place)
    for (const path of bpffs) {
      unmountBpffs(path)
      rmdirSync(path)
    }
    rmdirSync(folder)
  })
  for (const place of places) ip('netns', 'add', id + place)
  for (const path of bpffs) {
    mkdirSync(path)
    mountBpffs(path)
  }
  layCables(id, places, ip, mtu)
  const run: RemoteRack['run'] = (place, [program = '', ...args]) =>
    execFileSync('nsenter', [`--net=/run/netns/${id}${place}`, program, ...args], { encoding: 'utf8' })
  const running = new Map<Place, Actor>()
  const actorAt = (place: Place): Actor => {
    const actor = running.get(place) ?? startActor(id + place)
    if (!running.has(place)) started.push(actor)
    running.set(place, actor)
    return actor
  }
  const actors = Object.defineProperties(
    {},
    Object.fromEntries(places.map((place) => [place, { get: () => actorAt(place), enumerable: true }])),
  ) as RemoteRack['actors']
  const routeBy = (node: number): void => {
    for (const family of families)
      run('router', ['ip', 'route', 'replace', vips[family], 'via', nodeAddress[family](node)])
  }
  for (const pod of pods) await actorAt(`pod${pod}` as Place).tell({ do: 'serve', port: 8080 })
  const actorOf = (node: number): Actor => actorAt(`node${node}` as Place)
  const renew = async (node: number): Promise<void> => {
    await actorOf(node).kill('SIGKILL')
    running.delete(`node${node}` as Place)
  }
  const serveBy = (
    node: number,
    attach: 'tcx' | 'clsact',
    pods: readonly number[],
    mode: ForwardMode = 'stack',
    acceleration: Acceleration = 'disabled',
  ): Promise<Served> =>
    actorOf(node).tell<Served>({
      do: 'datapath',
      ...{ mode, acceleration },
      bpffs: bpffs[node] ?? '',
      objectFile: buildBpf(),
      attach,
      interfaces: ['up0'],
      frontends: frontendsFor(node, pods, bare),
      nodes: {
        own: families.map((family) => nodeAddress[family](node)),
        others: families.flatMap((family) => nodes.filter((n) => n !== node).map(nodeAddress[family])),
        ...(snatPorts === undefined ? {} : { snatPorts }),
      },
    })
  return {
    actors,
    run,
    routeBy,
    serve: async (attach, pods, mode, early) => {
      for (const node of serving) await serveBy(node, attach, pods, mode, early)
    },
    succeed: async (node, attach, pods, early) => {
      await renew(node)
      return (await serveBy(node, attach, pods, 'stack', early)).status
    },
    unload: async () => {
      const removed: (readonly string[])[] = []
      for (const node of serving) {
        await renew(node)
        removed.push(await actorOf(node).tell<readonly string[]>({ do: 'unload', bpffs: bpffs[node] ?? '' }))
      }
      return removed
    },
    change: async (pods) => {
      for (const node of serving) await actorOf(node).tell({ do: 'upsert', frontends: frontendsFor(node, pods, bare) })
    },
    reasons: (node) => actorOf(node).tell({ do: 'reasons' }),
  }
}

interface Served {
  readonly status: DatapathStatus
}

function frontendsFor(node: number, pods: readonly number[], bare: readonly number[]): readonly Frontend[] {
  const all = [1, 2]
  return families.flatMap((family) =>
    (['TCP', 'UDP'] as const).map((protocol) => {
      const address = vips[family]
      const backendAt = (pod: number): Backend => {
        const backend = { address: podAddress[family](pod), port: 8080 }
        if (pod === node) return backend
        return { ...backend, node: bare.includes(pod) ? translatedNode : nodeAddress[family](pod) }
      }
      return {
        id: `${family === 'ipv6' ? `[${address}]` : address}:80/${protocol}`,
        service: 'default/web',
        address,
        protocol,
        port: 80,
        backends: pods.map(backendAt),
        resting: all.filter((pod) => !pods.includes(pod)).map(backendAt),
      }
    }),
  )
}

function layCables(id: string, places: readonly Place[], ip: (...args: readonly string[]) => void, mtu: number): void {
  const within = (place: Place, ...args: readonly string[]): void => ip('-n', id + place, ...args)
  const cable = (from: Place, fromName: string, to: Place, toName: string): void => {
    ip(
      ...['link', 'add', fromName, 'netns', id + from, 'mtu', String(mtu), 'type', 'veth'],
      ...['peer', 'name', toName, 'netns', id + to, 'mtu', String(mtu)],
    )
    within(from, 'link', 'set', fromName, 'up')
    within(to, 'link', 'set', toName, 'up')
  }
  const address = (place: Place, device: string, ...addresses: readonly string[]): void => {
    for (const text of addresses)
      within(place, 'address', 'add', text, 'dev', device, ...(text.includes(':') ? ['nodad'] : []))
  }
  const byDefault = (place: Place, ...routers: readonly string[]): void => {
    for (const router of routers) within(place, 'route', 'add', 'default', 'via', router)
  }
  for (const place of places) {
    within(place, 'link', 'set', 'lo', 'up')
    execFileSync('nsenter', [
      `--net=/run/netns/${id}${place}`,
      'sysctl',
      '-qw',
      ...['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'],
      ...['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0'],
    ])
  }
  cable('client', 'eth0', 'router', 'lan')
  address('client', 'eth0', '198.51.100.7/24', '2001:db8:51:100::7/64')
  address('router', 'lan', '198.51.100.1/24', '2001:db8:51:100::1/64')
  byDefault('client', '198.51.100.1', '2001:db8:51:100::1')
  within('router', 'link', 'add', 'br0', 'type', 'bridge')
  within('router', 'link', 'set', 'br0', 'up')
  address('router', 'br0', '203.0.113.250/24', 'fd00:113::fa/64')
  for (const n of nodes) {
    const node = `node${n}` as Place
    cable(node, 'up0', 'router', `port${n}`)
    within('router', 'link', 'set', `port${n}`, 'master', 'br0')
    address(node, 'up0', ...families.map((family) => `${nodeAddress[family](n)}/${family === 'ipv6' ? 64 : 24}`))
    byDefault(node, '203.0.113.250', 'fd00:113::fa')
    if (n === 0) continue
    const pod = `pod${n}` as Place
    cable(node, 'pod0', pod, 'eth0')
    address(node, 'pod0', `10.${n}.0.1/24`, `fd00:10:${n}::1/64`)
    address(pod, 'eth0', ...families.map((family) => `${podAddress[family](n)}/${family === 'ipv6' ? 64 : 24}`))
    byDefault(pod, `10.${n}.0.1`, `fd00:10:${n}::1`)
  }
}

/** A new link hears its neighbors after a moment, and somebody has to ask first. */
export async function reachable(rack: RemoteRack): Promise<void> {
  for (const node of nodes)
    for (const family of families)
      rack.run('router', ['ping', '-c', '1', '-i', '0.2', '-w', '5', ownAddress[family](node)])
  for (const router of ['198.51.100.1', '2001:db8:51:100::1'])
    rack.run('client', ['ping', '-c', '1', '-i', '0.2', '-w', '5', router])
  for (const pod of [1, 2])
    for (const router of [`10.${pod}.0.1`, `fd00:10:${pod}::1`])
      rack.run(`pod${pod}` as 'pod1', ['ping', '-c', '1', '-i', '0.2', '-w', '5', router])
  await waitFor('the VIP', () => {
    for (const family of families) rack.run('client', ['ping', '-c', '1', '-w', '5', vips[family]])
    return true
  })
}

/** Which pod a connection is with; it is the one that the client exchanges on from here on. */
export async function connected(rack: RemoteRack, family: FamilyName): Promise<number> {
  const greeting = await rack.actors.client.tell<string>({ do: 'connect', address: vips[family], port: 80 })
  const [from = '', to = ''] = greeting.split(' ')
  assert.ok(from === '198.51.100.7' || from === '2001:db8:51:100::7', `the pod sees the client: ${greeting}`)
  return to.startsWith('10.1.') || to.startsWith('fd00:10:1:') ? 1 : 2
}
