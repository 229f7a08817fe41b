/**
 * The rack as its parts tell it: FRR about sessions and routes, the agents about themselves, the manifests about what
 * should be.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import * as z from 'zod'
import type { PeerView, ServiceView, StatusView } from '../src/api/types.ts'
import { HeraldError } from '../src/errors.ts'
import type { LabCluster } from './cluster.ts'
import { removeFile, removePod } from './edit.ts'
import type { Lab } from './runner.ts'

/** Prefix to the names of the nodes that its next hops belong to, sorted; installed BGP routes only. */
export type RouteTable = ReadonlyMap<string, readonly string[]>

/** What client.mjs prints. */
const answersSchema = z.object({
  count: z.number(),
  answered: z.record(z.string(), z.number()),
  /** Addresses of the client, as the pods saw them. */
  clients: z.array(z.string()),
  errors: z.array(z.string()),
})
export type Answers = z.infer<typeof answersSchema>

const routesSchema = z.record(
  z.string(),
  z.array(
    z.object({
      protocol: z.string(),
      selected: z.boolean().optional(),
      installed: z.boolean().optional(),
      nexthops: z.array(z.object({ ip: z.string().optional(), fib: z.boolean().optional() })),
    }),
  ),
)
type RouteEntries = z.infer<typeof routesSchema>[string]
const summarySchema = z.object({ peers: z.record(z.string(), z.object({ state: z.string() })) })
const pathsSchema = z.object({ routes: z.record(z.string(), z.array(z.object({ stale: z.boolean().optional() }))) })
const neighborsSchema = z.record(
  z.string(),
  z.object({ connectionsEstablished: z.number(), connectionsDropped: z.number() }),
)
const addressesSchema = z.array(z.object({ addr_info: z.array(z.object({ local: z.string() })) }))

const manifestSchema = z.object({
  kind: z.string(),
  metadata: z.object({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.object({ podCIDRs: z.array(z.string()).optional(), externalTrafficPolicy: z.string().optional() }).optional(),
  endpoints: z
    .array(
      z.object({ nodeName: z.string().optional(), conditions: z.object({ ready: z.boolean().optional() }).optional() }),
    )
    .optional(),
})

export interface Wanted {
  /** PodCIDR to node. */
  readonly podCidrs: ReadonlyMap<string, string>
  /** `namespace/name` of each Service with ready endpoints to the sorted nodes that announce it. */
  readonly services: ReadonlyMap<string, readonly string[]>
}

export class Rack {
  readonly lab: Lab
  /** Where agents read an API server: what is in the folder is applied there. */
  readonly cluster: LabCluster | undefined
  readonly manifests: string
  readonly #nodeOf = new Map<string, string>()

  constructor(lab: Lab, cluster?: LabCluster) {
    this.lab = lab
    this.cluster = cluster
    this.manifests = join(lab.folder, 'manifests')
  }

  get nodes(): readonly string[] {
    return this.lab.heraldNodes
  }

  get routers(): readonly string[] {
    return this.lab.topology.nodes.filter((node) => node.group === 'router').map((node) => node.name)
  }

  /** The routes that a router took from BGP and forwards by. */
  async routes(router: string): Promise<RouteTable> {
    if (this.#nodeOf.size === 0) await this.#readAddresses()
    const hops = [...(await this.hops(router))]
    return new Map(hops.map(([prefix, all]) => [prefix, all.map((ip) => this.#nodeOf.get(ip) ?? ip).sort()]))
  }

  /** The same with the addresses of the next hops. */
  async hops(router: string): Promise<RouteTable> {
    const tables = await Promise.all(
      ['ip', 'ipv6'].map(async (family) =>
        routesSchema.parse(JSON.parse(await this.#vtysh(router, `show ${family} route bgp json`))),
      ),
    )
    return new Map(
      tables.flatMap(Object.entries<RouteEntries>).flatMap(([prefix, entries]) => {
        const chosen = entries.find(
          (entry) => entry.protocol === 'bgp' && entry.selected === true && entry.installed === true,
        )
        const hops = chosen?.nexthops.filter((hop) => hop.fib === true).map((hop) => hop.ip ?? '?')
        return hops === undefined ? [] : [[prefix, hops] as const]
      }),
    )
  }

  /** The node that has an address. */
  nodeOf(address: string): string | undefined {
    return this.#nodeOf.get(address)
  }

  async addressesOf(node: string): Promise<string[]> {
    if (this.#nodeOf.size === 0) await this.#readAddresses()
    return [...this.#nodeOf].filter(([, owner]) => owner === node).map(([address]) => address)
  }

  /** FRR's word for the session with each node, by node name. */
  async sessions(router: string): Promise<ReadonlyMap<string, string>> {
    if (this.#nodeOf.size === 0) await this.#readAddresses()
    const { peers } = summarySchema.parse(JSON.parse(await this.#vtysh(router, 'show bgp ipv4 unicast summary json')))
    return new Map(Object.entries(peers).map(([address, peer]) => [this.#nodeOf.get(address) ?? address, peer.state]))
  }

  /** How often each session of a router came up and went down so far: a flap shows also when it is over. */
  async connections(router: string): Promise<readonly string[]> {
    const neighbors = neighborsSchema.parse(JSON.parse(await this.#vtysh(router, 'show bgp neighbors json')))
    return Object.entries(neighbors).map(
      ([address, { connectionsEstablished: up, connectionsDropped: down }]) =>
        `${router} ${this.#nodeOf.get(address) ?? address}: up ${up} times, down ${down} times`,
    )
  }

  /** Prefixes that a router only keeps because their neighbor is restarting (RFC 4724). */
  async stalePrefixes(router: string): Promise<string[]> {
    const { routes } = pathsSchema.parse(JSON.parse(await this.#vtysh(router, 'show bgp ipv4 unicast json')))
    return Object.entries(routes)
      .filter(([, paths]) => paths.some((path) => path.stale === true))
      .map(([prefix]) => prefix)
  }

  status(node: string): Promise<StatusView> {
    return this.#herald<StatusView>(node, 'status')
  }

  peers(node: string): Promise<PeerView[]> {
    return this.#herald<PeerView[]>(node, 'bgp', 'peers')
  }

  services(node: string): Promise<ServiceView[]> {
    return this.#herald<ServiceView[]>(node, 'lb', 'list')
  }

  /** The address of a Service as the first agent that knows it says. Throws ERR_LAB when none does. */
  async addressOf(service: string): Promise<string> {
    for (const node of this.nodes) {
      const address = (await this.services(node)).find((view) => view.service === service)?.addresses[0]
      if (address !== undefined) return address
    }
    throw new HeraldError('ERR_LAB', `no agent knows an address of ${service}`)
  }

  /** Runs client.mjs on the client to its end. */
  async ask(...args: readonly string[]): Promise<Answers> {
    const timeoutMs = 60_000
    return answersSchema.parse(
      JSON.parse(await this.lab.node('client').must(['node', '/run/client.mjs', ...args], { timeoutMs })),
    )
  }

  /** What the manifests in force ask for. */
  wanted(): Wanted {
    const podCidrs = new Map<string, string>()
    const services = new Map<string, readonly string[]>()
    const objects = readdirSync(this.manifests)
      .filter((name) => name.endsWith('.yaml'))
      .flatMap((name) => parseAllDocuments(readFileSync(join(this.manifests, name), 'utf8')))
      .flatMap((document) => ('toJS' in document ? [manifestSchema.parse(document.toJS())] : []))
    const everywhere = new Set(
      objects
        .filter(({ kind, spec }) => kind === 'Service' && spec?.externalTrafficPolicy === 'Cluster')
        .map(({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}`),
    )
    for (const { kind, metadata, spec, endpoints = [] } of objects) {
      if (kind === 'Node') for (const prefix of spec?.podCIDRs ?? []) podCidrs.set(prefix, metadata.name)
      if (kind !== 'EndpointSlice') continue
      const service = `${metadata.namespace ?? 'default'}/${metadata.labels?.['kubernetes.io/service-name'] ?? ''}`
      const nodes = endpoints
        .filter((endpoint) => endpoint.conditions?.ready !== false)
        .flatMap((endpoint) => endpoint.nodeName ?? [])
      const announcing = everywhere.has(service) && nodes.length > 0 ? this.nodes : nodes
      services.set(service, [...new Set([...(services.get(service) ?? []), ...announcing])].sort())
    }
    return { podCidrs, services }
  }

  /** Takes a pod's endpoints away, as the control plane does when it is gone. Answers how to undo it. */
  async removePod(pod: string): Promise<() => Promise<void>> {
    const undo = removePod(this.manifests, pod)
    await this.apply()
    return async () => {
      undo()
      await this.apply()
    }
  }

  /** Deletes the objects of a file. Answers how to undo it. */
  async removeFile(name: string): Promise<() => Promise<void>> {
    await this.cluster?.kubectl('delete', '--filename', join(this.manifests, name))
    const undo = removeFile(this.manifests, name)
    return async () => {
      undo()
      await this.apply()
    }
  }

  /** Brings the folder into the API server, where there is one. */
  async apply(): Promise<void> {
    await this.cluster?.kubectl('apply', '--filename', this.manifests)
  }

  async #herald<T>(node: string, ...verb: string[]): Promise<T> {
    const { stdout, stderr, code } = await this.lab
      .node(node)
      .run(['herald', ...verb, '--socket', '/run/herald/herald.sock', '-o', 'json'])
    // 1 is an answer too: something is degraded.
    if (code > 1 || stdout.trim() === '')
      throw new HeraldError('ERR_LAB', `${node}: herald ${verb.join(' ')}: ${(stderr || stdout).trim().slice(-300)}`)
    return JSON.parse(stdout) as T
  }

  #vtysh(router: string, command: string): Promise<string> {
    return this.lab.node(router).must(['vtysh', '-c', command])
  }

  async #readAddresses(): Promise<void> {
    for (const node of this.nodes) {
      const interfaces = addressesSchema.parse(
        JSON.parse(await this.lab.node(node).must(['ip', '-json', 'address', 'show'])),
      )
      for (const { addr_info } of interfaces)
        for (const { local } of addr_info) if (!['127.0.0.1', '::1'].includes(local)) this.#nodeOf.set(local, node)
    }
  }
}
