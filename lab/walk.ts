/**
 * The way of a user through the families of configuration, on the API server of the lab: MetalLB's kinds, Cilium's v2
 * kinds, the peering policy, and off again. What is new is there before the old is deleted, and so the sessions that
 * both name stay, and so does every address; a connection runs from the first step to the last.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HeraldError } from '../src/errors.ts'
import type { LabCluster } from './cluster.ts'
import { type Flow, startFlow } from './flow.ts'
import { pinnedObjects } from './leftovers.ts'
import type { Rack } from './rack.ts'
import { routersHave, spreadText } from './routes.ts'
import { until } from './until.ts'
import { RouteMonitor } from './watch.ts'

export class Walk {
  readonly #rack: Rack
  readonly #cluster: LabCluster
  readonly #hasDatapath: boolean
  /** As they were at the first step: `kubectl get svc` by name, and how often each session was up and down. */
  #addresses = new Map<string, string>()
  #connections: readonly string[] = []
  #monitors: readonly RouteMonitor[] = []
  #flow: ReturnType<typeof startFlow> | undefined

  constructor(rack: Rack, cluster: LabCluster, hasDatapath: boolean) {
    this.#rack = rack
    this.#cluster = cluster
    this.#hasDatapath = hasDatapath
  }

  /** Titles and what answers the evidence; to be taken in this order. */
  get steps(): Readonly<Record<string, () => Promise<string>>> {
    return {
      "MetalLB's kinds": () => this.#toMetallb(),
      "Cilium's v2 kinds": () => this.#toCilium(),
      'peering policy': () => this.#toPolicy(),
      uninstall: () => this.#uninstall(),
    }
  }

  stop(): void {
    this.#flow?.stop()
    for (const monitor of this.#monitors) monitor.stop()
  }

  async #toMetallb(): Promise<string> {
    const { lab, manifests, routers } = this.#rack
    this.#addresses = await this.#externalAddresses()
    this.#connections = await this.#connectionsNow()
    this.#monitors = routers.map((router) => new RouteMonitor(lab, router))
    if (this.#hasDatapath) this.#flow = startFlow(this.#rack, `http://${this.#addresses.get('web')}/`)
    await this.#cluster.kubectl('create', 'namespace', 'metallb-system')
    await this.#cluster.kubectl('apply', '--filename', join(lab.folder, 'metallb'))
    for (const name of ['bgp.yaml', 'pool.yaml'])
      await this.#cluster.kubectl('delete', '--filename', join(manifests, name))
    for (const [prefix] of this.#rack.wanted().podCidrs) await routersHave(this.#rack, prefix, [])
    return `${await this.#newService('by-metallb')}; PodCIDRs withdrawn: none of its kinds announces them`
  }

  async #toCilium(): Promise<string> {
    await this.#cluster.kubectl('apply', '--filename', join(this.#rack.lab.folder, 'cilium'))
    await this.#cluster.kubectl('delete', '--filename', join(this.#rack.lab.folder, 'metallb'))
    for (const [prefix, node] of this.#rack.wanted().podCidrs) await routersHave(this.#rack, prefix, [node])
    return this.#newService('by-cilium')
  }

  async #toPolicy(): Promise<string> {
    await this.#rack.apply()
    const kinds = 'ciliumbgpclusterconfigs,ciliumbgppeerconfigs,ciliumbgpadvertisements'
    await this.#cluster.kubectl('delete', kinds, '--all')
    return this.#newService('by-policy')
  }

  /** A Service that only the kinds of now can bring out: it gets an address, a route on each router, an answer. */
  async #newService(name: string): Promise<string> {
    const { lab } = this.#rack
    mkdirSync(join(lab.workFolder, 'walk'), { recursive: true })
    const file = join(lab.workFolder, 'walk', `${name}.json`)
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: serviceOf(name) }))
    await this.#cluster.kubectl('apply', '--filename', file)
    const address = await until(
      `${name} has an address`,
      async () => (await this.#externalAddresses()).get(name),
      (text) => /^\d+\.\d+\.\d+\.\d+$/.test(text ?? ''),
      { signal: lab.signal },
    )
    await routersHave(this.#rack, `${address}/32`, ['node2'])
    const answers = this.#hasDatapath ? await this.#rack.ask('http', `http://${address}/`, '20') : undefined
    if ((answers?.errors.length ?? 0) > 0)
      throw new HeraldError('ERR_LAB', `${name}: ${answers && spreadText(answers)}`)
    const served = answers === undefined ? '' : `, ${spreadText(answers)}`
    const steady = await this.#assertSteady()
    this.#addresses.set(name, address ?? '')
    return `${name} ${address} via node2 on ${this.#rack.routers.join(' and ')}${served}; ${steady}`
  }

  /** Nothing of what was there before the step has moved. */
  async #assertSteady(): Promise<string> {
    const { lab } = this.#rack
    const faults = [...this.#addresses].map(async ([name, address]) => {
      const now = (await this.#externalAddresses()).get(name)
      return now === address ? [] : [`${name} had ${address}, has ${now}`]
    })
    const flaps = (await this.#connectionsNow()).filter((line) => !this.#connections.includes(line))
    const routes = [...this.#addresses.values()].flatMap((address) =>
      this.#monitors.flatMap((monitor) => monitor.about(`${address}/32`).filter((line) => line.startsWith('Deleted'))),
    )
    const from = this.#flow?.last()?.requests ?? 0
    const flow = await until<Flow | undefined>(
      'the connection carries on',
      async () => this.#flow?.last(),
      (now) => this.#flow === undefined || (now?.requests ?? 0) > from + 5,
      { signal: lab.signal },
    )
    const cuts = flow === undefined || (flow.failed === 0 && flow.connections === 1) ? [] : [JSON.stringify(flow)]
    const all = [...(await Promise.all(faults)).flat(), ...flaps, ...routes, ...cuts]
    if (all.length > 0) throw new HeraldError('ERR_LAB', all.join(' | '))
    const carried = flow === undefined ? '' : `, ${flow.requests} requests on 1 TCP connection, 0 failed`
    return `no session went down, no address moved${carried}`
  }

  /** Drained first, so that nothing is lost; then helm, and what kubelet and a person do. */
  async #uninstall(): Promise<string> {
    const { lab, nodes, routers } = this.#rack
    const before = await this.#externalAddresses()
    this.stop()
    await this.#cluster.kubectl('annotate', 'nodes', '--all', 'herald.dev/drain=true')
    for (const router of routers)
      await until(
        `${router} has no route of a drained node`,
        () => this.#rack.routes(router),
        (table) => table.size === 0,
        { deadlineMs: 30_000, signal: lab.signal },
      )
    await this.#cluster.helm('uninstall', 'herald')
    for (const name of [...nodes, 'operator']) await lab.killCommand(name, 'TERM')
    for (const router of routers)
      await until(
        `${router} has no session`,
        () => this.#rack.sessions(router),
        (sessions) => ![...sessions.values()].includes('Established'),
        { signal: lab.signal },
      )
    for (const node of nodes) await lab.node(node).must(['herald', 'lb', 'unload'])
    const pins = (await Promise.all(nodes.map((node) => pinnedObjects(lab, node)))).flat()
    if (pins.length > 0) throw new HeraldError('ERR_LAB', `pinned still: ${pins.map(({ path }) => path).join(' ')}`)
    const after = await this.#externalAddresses()
    if (JSON.stringify([...after]) !== JSON.stringify([...before]))
      throw new HeraldError('ERR_LAB', `addresses: ${[...before].join(' ')} became ${[...after].join(' ')}`)
    const kept = await this.#cluster.kubectl('get', 'bgpp,ciliumloadbalancerippools', '-o', 'name')
    return `no route, session or program is left; kept: ${kept.trim().split('\n').join(', ')} and every status`
  }

  /** Name to the EXTERNAL-IP column, of LoadBalancer Services. */
  async #externalAddresses(): Promise<Map<string, string>> {
    const lines = (await this.#cluster.kubectl('get', 'svc', '--no-headers')).trim().split('\n')
    const rows = lines.map((line) => line.split(/\s+/)).filter(([, type]) => type === 'LoadBalancer')
    return new Map(rows.map(([name = '', , , address = '']) => [name, address]))
  }

  async #connectionsNow(): Promise<readonly string[]> {
    return (await Promise.all(this.#rack.routers.map((router) => this.#rack.connections(router)))).flat()
  }
}

/** One pod of node2 behind it. */
function serviceOf(name: string): readonly object[] {
  const labels = { 'expose-via-bgp': 'true' }
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, labels },
      spec: {
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      },
    },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
      endpoints: [{ addresses: ['10.244.2.10'], nodeName: 'node2', conditions: { ready: true } }],
    },
  ]
}
