/**
 * A client, a router and three nodes as network namespaces, and a pod at the second and the third node. The nodes and
 * the router are on one segment; by which node packets of a VIP go is a route of the router, as ECMP chooses it.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
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
  /** A datapath on every node, which knows the others. */
  serve(attach: 'tcx' | 'clsact', pods: readonly number[]): Promise<void>
  /** Other backends on every node, one after the other. */
  change(pods: readonly number[]): Promise<void>
  reasons(node: number): Promise<Readonly<Record<string, number>>>
}

export async function deployRemoteRack(t: TestContext): Promise<RemoteRack> {
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
  layCables(id, places, ip)
  const run: RemoteRack['run'] = (place, [program = '', ...args]) =>
    execFileSync('nsenter', [`--net=/run/netns/${id}${place}`, program, ...args], { encoding: 'utf8' })
  const actors = Object.fromEntries(places.map((place) => [place, startActor(id + place)])) as Record<Place, Actor>
  started.push(...Object.values(actors))
  const routeBy = (node: number): void => {
    for (const family of families)
      run('router', ['ip', 'route', 'replace', vips[family], 'via', nodeAddress[family](node)])
  }
  for (const pod of ['pod1', 'pod2'] as const) await actors[pod].tell({ do: 'serve', port: 8080 })
  const actorOf = (node: number): Actor => actors[`node${node}` as Place]
  return {
    actors,
    run,
    routeBy,
    serve: async (attach, pods) => {
      for (const node of nodes)
        await actorOf(node).tell({
          do: 'datapath',
          bpffs: bpffs[node] ?? '',
          objectFile: buildBpf(),
          attach,
          interfaces: ['up0'],
          frontends: frontendsFor(node, pods),
          nodes: {
            own: families.map((family) => nodeAddress[family](node)),
            others: families.flatMap((family) => nodes.filter((n) => n !== node).map(nodeAddress[family])),
          },
        })
    },
    change: async (pods) => {
      for (const node of nodes) await actorOf(node).tell({ do: 'upsert', frontends: frontendsFor(node, pods) })
    },
    reasons: (node) => actorOf(node).tell({ do: 'reasons' }),
  }
}

function frontendsFor(node: number, pods: readonly number[]): readonly Frontend[] {
  const all = [1, 2]
  return families.flatMap((family) =>
    (['TCP', 'UDP'] as const).map((protocol) => {
      const address = vips[family]
      const backendAt = (pod: number): Backend => {
        const backend = { address: podAddress[family](pod), port: 8080 }
        return pod === node ? backend : { ...backend, node: nodeAddress[family](pod) }
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

function layCables(id: string, places: readonly Place[], ip: (...args: readonly string[]) => void): void {
  const within = (place: Place, ...args: readonly string[]): void => ip('-n', id + place, ...args)
  const cable = (from: Place, fromName: string, to: Place, toName: string): void => {
    ip('link', 'add', fromName, 'netns', id + from, 'type', 'veth', 'peer', 'name', toName, 'netns', id + to)
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
