/**
 * The rack of the lab with a load on it: real agents, FRR, and thousands of connections, and what an event cost them.
 *
 *     Stage.open --> rack in namespaces, agents --> flows through both routers to every pod
 *     measured(event) --> counts before --> event --> every flow exchanges once more --> counts after: a Loss
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LabCluster } from '../../lab/cluster.ts'
import { Rack } from '../../lab/rack.ts'
import { Lab } from '../../lab/runner.ts'
import type { TopologyNode } from '../../lab/topology.ts'
import { until } from '../../lab/until.ts'
import { RouteMonitor } from '../../lab/watch.ts'
import { HeraldError } from '../../src/errors.ts'
import type { AttackCommand } from './attacker.ts'
import type { LoadCommand, LoadCounts } from './load.ts'
import { addressOf, type Endpoint, lastingServices, pools } from './manifests.ts'
import { folderOption, introduceNodes, nodeManifests, shaped, type StageShape, stateFolder } from './shape.ts'
import { Told } from './told.ts'

export interface StageSize {
  readonly flows: number
  readonly services: number
  /** Services that come and go. */
  readonly churn: number
  /** Packets of a flood. */
  readonly flood: number
}

/** What an event cost. */
export interface Loss {
  readonly flows: number
  readonly lostByPod: Readonly<Record<string, number>>
  /** The same by pod and error code. */
  readonly lostHow: Readonly<Record<string, number>>
  readonly heldByPod: Readonly<Record<string, number>>
  readonly moved: number
  readonly opened: number
  readonly refused: number
  readonly failed: number
  readonly datagrams: number
  readonly datagramsLost: number
  /** Sessions that went down or came up. */
  readonly sessions: number
  /** Prefixes of Services that a router deleted, or lost a next hop of. */
  readonly routes: number
}

export const client = '203.0.113.10'
/** Of one flow; a hundredth of them is asked in the time that ten datagrams take. */
export const everyMs = 2_000
const socket = `${stateFolder}/herald.sock`
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

export class Stage {
  readonly rack: Rack
  readonly lab: Lab
  readonly size: StageSize
  /** Where the manifests lie in a folder of their own, which is bound into every node as a whole. */
  readonly config: string
  readonly load: Told<LoadCommand>
  readonly attacker: Told<AttackCommand>
  /** Every pod, as it is while nothing happens. */
  readonly endpoints: readonly Endpoint[]
  /** Where agents read an API server: what is in the folder is applied there. */
  readonly cluster: LabCluster | undefined

  private constructor(lab: Lab, size: StageSize, cluster: LabCluster | undefined) {
    this.lab = lab
    this.cluster = cluster
    this.size = size
    this.config = join(lab.folder, 'config')
    this.rack = new Rack(lab, cluster)
    this.endpoints = lab.topology.nodes.flatMap(endpointOf)
    this.load = new Told(lab.node('client'), 'load.ts')
    this.attacker = new Told(lab.node('client'), 'attacker.ts')
  }

  /** Everything is announced and every flow is held. Throws ERR_LAB. */
  static async open(size: StageSize, shape: StageShape): Promise<Stage> {
    const file = join(root, 'containerlab/rack/topology.clab.yml')
    const lab = Lab.open({ file, root, reshape: (topology, workFolder) => shaped(topology, workFolder, shape) })
    const config = join(lab.folder, 'config')
    mkdirSync(config, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', '-o', folderOption, 'tmpfs', config])
    // Whatever ends this process, the work folder goes as well.
    process.once('exit', () => abandon(lab, config))
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
    try {
      await lab.make()
      await introduceNodes(lab, shape)
      const cluster = shape.programs === undefined ? undefined : await LabCluster.start(lab, shape.programs)
      mkdirSync(join(config, 'manifests'))
      execFileSync('cp', [join(lab.folder, 'manifests/bgp.yaml'), join(config, 'manifests')])
      const stage = new Stage(lab, size, cluster)
      stage.write('nodes.yaml', nodeManifests(lab, shape))
      stage.write('pools.yaml', pools)
      stage.setEndpoints(() => undefined)
      await cluster?.installHerald(join(root, 'charts/herald'))
      await stage.applyAll()
      await cluster?.logIn()
      lab.startCommands()
      await stage.whole(120_000)
      await stage.load.tell({ do: 'hold', addresses: stage.addresses, flows: size.flows, everyMs })
      await stage.full()
      return stage
    } catch (error) {
      await takeDown(lab, config)
      throw error
    }
  }

  get addresses(): readonly string[] {
    return Array.from({ length: this.size.services }, (_, n) => addressOf(n))
  }

  nodeOf(pod: string): string | undefined {
    return this.endpoints.find((endpoint) => endpoint.pod === pod)?.node
  }

  manifest(name: string): string {
    return join(this.config, 'manifests', name)
  }

  /** As an editor does it: beside, then renamed. */
  write(name: string, text: string): void {
    const partial = this.manifest(`.${name}.partial`)
    writeFileSync(partial, text)
    renameSync(partial, this.manifest(name))
  }

  /** Brings the folder into the API server, where there is one. */
  async applyAll(): Promise<void> {
    await this.cluster?.kubectl('apply', '--filename', join(this.config, 'manifests'))
  }

  /** The API server says that it is ready, and every agent has read all it needs of it. */
  async serverAnswers(): Promise<void> {
    const { cluster, lab, rack } = this
    const { signal } = lab
    await until(
      'the API server is ready',
      async () => cluster?.kubectl('get', '--raw', '/readyz'),
      (answer) => answer === 'ok',
      { deadlineMs: 120_000, everyMs: 500, signal },
    )
    // As its Deployment would.
    if (lab.hasEnded('operator')) lab.startCommand('operator')
    for (const node of rack.nodes)
      await until(
        `${node} has nothing to complain of`,
        () => rack.status(node),
        ({ warnings, source }) => warnings.length === 0 && source.synced,
        { deadlineMs: 120_000, signal },
      )
  }

  /** Changes endpoints of every Service: by what is answered for each; null takes it out of the slices. */
  setEndpoints(change: (endpoint: Endpoint) => Partial<Endpoint> | null | undefined): void {
    const now = this.endpoints.flatMap((endpoint) => {
      const part = change(endpoint)
      return part === null ? [] : [{ ...endpoint, ...part }]
    })
    this.write('lasting.yaml', lastingServices(this.size.services, now))
  }

  /** Every agent of a node with the pod has it among the backends of every Service, in this state or not at all. */
  async hasBackend(pod: string, state: 'active' | 'resting' | undefined): Promise<void> {
    const endpoint = this.endpoints.find((each) => each.pod === pod)
    if (endpoint === undefined) throw new HeraldError('ERR_LAB', `there is no pod ${pod}`)
    await until(
      `${pod} is ${state ?? 'no'} backend`,
      async () =>
        (await this.rack.services(endpoint.node))
          .flatMap(({ frontends }) => frontends)
          .filter(({ backends }) => backends.find(({ address }) => address === endpoint.address)?.state !== state)
          .length,
      (others) => others === 0,
      { deadlineMs: 30_000, signal: this.lab.signal },
    )
  }

  /** Every router has every Service by every node that has a pod of it. */
  async whole(deadlineMs = 30_000, nodes: readonly string[] = this.rack.nodes): Promise<void> {
    const prefixes = this.addresses.map((address) => `${address}/32`)
    for (const router of this.rack.routers)
      await until(
        `${router} has ${prefixes.length} Services by ${nodes.join(' ')}`,
        async () => {
          const table = await this.rack.routes(router)
          return prefixes.filter((prefix) => table.get(prefix)?.join(' ') !== nodes.join(' ')).length
        },
        (missing) => missing === 0,
        { deadlineMs, signal: this.lab.signal },
      )
  }

  /** Every session is up, and no router waits for the end of a restart. */
  async settled(deadlineMs = 30_000): Promise<void> {
    for (const router of this.rack.routers) {
      const { rack, lab } = this
      const up = [...(await this.#sessionsOf(router, deadlineMs))].filter(([, state]) => state === 'Established')
      if (up.length < rack.nodes.length) throw new HeraldError('ERR_LAB', `${router} has ${up.length} sessions`)
      await until(
        `${router} has no stale route`,
        () => rack.stalePrefixes(router),
        (stale) => stale.length === 0,
        { deadlineMs, signal: lab.signal },
      )
    }
  }

  #sessionsOf(router: string, deadlineMs: number): Promise<ReadonlyMap<string, string>> {
    return until(
      `every session of ${router} is up`,
      () => this.rack.sessions(router),
      (sessions) => this.rack.nodes.every((node) => sessions.get(node) === 'Established'),
      { deadlineMs, signal: this.lab.signal },
    )
  }

  async full(): Promise<void> {
    await until(
      `${this.size.flows} flows are held`,
      () => this.counts(),
      ({ open }) => open >= this.size.flows,
      { deadlineMs: 90_000, signal: this.lab.signal },
    )
  }

  /** Flows are spread over all pods again, also those to which an earlier event left none. */
  async spread(): Promise<void> {
    await this.load.tell({ do: 'renew' })
    await this.full()
  }

  counts(): Promise<LoadCounts> {
    return this.load.tell<LoadCounts>({ do: 'counts' })
  }

  /** Runs an event while all flows are held, and counts what it cost them. */
  async measured(event: () => Promise<void>): Promise<Loss> {
    await this.full()
    await this.load.tell({ do: 'mark' })
    const monitors = this.rack.routers.map((router) => new RouteMonitor(this.lab, router))
    try {
      const [before, sessions] = [await this.counts(), await this.#sessions()]
      await event()
      await this.load.tell({ do: 'prove' })
      const [after, sessionsAfter] = [await this.counts(), await this.#sessions()]
      return {
        flows: before.open,
        lostByPod: minus(after.lostByPod, before.lostByPod),
        lostHow: minus(after.lostHow, before.lostHow),
        heldByPod: before.openByPod,
        moved: after.moved - before.moved,
        opened: after.opened - before.opened,
        refused: after.refused - before.refused,
        failed: after.failed - before.failed,
        datagrams: after.datagrams - before.datagrams,
        datagramsLost: after.datagramsLost - before.datagramsLost,
        sessions: sessionsAfter.filter((text) => !sessions.includes(text)).length,
        routes: this.#disturbed(monitors),
      }
    } finally {
      for (const monitor of monitors) monitor.stop()
    }
  }

  herald(node: string, ...verb: readonly string[]): Promise<string> {
    return this.lab.node(node).must(['herald', ...verb, '--socket', socket])
  }

  async close(): Promise<void> {
    this.load.end()
    this.attacker.end()
    await takeDown(this.lab, this.config)
  }

  /** How often each session of each router came up and went down. */
  async #sessions(): Promise<readonly string[]> {
    return (await Promise.all(this.rack.routers.map((router) => this.rack.connections(router)))).flat()
  }

  #disturbed(monitors: readonly RouteMonitor[]): number {
    const own = new Set(this.addresses)
    const disturbed = monitors.flatMap(({ lines }) =>
      lines.flatMap((line) => {
        const words = line.split(/[\s\\]+/)
        const address = words.find((word) => own.has(word))
        const hops = words.filter((word) => word === 'via').length
        return address !== undefined && (words[0] === 'Deleted' || hops < this.rack.nodes.length) ? [address] : []
      }),
    )
    return new Set(disturbed).size
  }
}

async function takeDown(lab: Lab, config: string): Promise<void> {
  unmount(config)
  await lab.destroy()
}

function abandon(lab: Lab, config: string): void {
  unmount(config)
  lab.abandon()
}

/** Nodes hold it in mount namespaces of their own. */
function unmount(config: string): void {
  if (existsSync(config)) spawnSync('umount', ['--lazy', config], { stdio: 'ignore' })
}

/** A pod's address is that of its interface. */
function endpointOf({ name, group, env, exec }: TopologyNode): Endpoint[] {
  const address = exec.find(([, , verb, , , device]) => verb === 'add' && device === 'eth1')?.[3]?.split('/')[0]
  if (group !== 'pod' || address === undefined) return []
  return [{ pod: name, address, node: env['NODE_NAME'] ?? '', ready: true, terminating: false }]
}

function minus(
  after: Readonly<Record<string, number>>,
  before: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const entries = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
  return Object.fromEntries(entries.filter(([, value]) => value > 0))
}
