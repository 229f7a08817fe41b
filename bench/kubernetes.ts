/**
 * An announcer on a real kube-apiserver with etcd, N Services present, one router: from the answer of the API server
 * to the message on the wire. Herald is its operator and one agent; `--announcer CMD` puts another one in their place.
 *
 *     npm run bench -- kubernetes [--services N] [--announcer CMD --manifests FILE]
 */
import { readFileSync } from 'node:fs'
import { presentBinaries } from '../test/apiserver/binaries.ts'
import { type Cluster, startCluster } from '../test/apiserver/cluster.ts'
import { policyCrd, poolCrd } from '../test/apiserver/crds.ts'
import { waitFor } from '../test/wait.ts'
import type { RawObject } from '../src/k8s/source.ts'
import { ApiClient } from './api-client.ts'
import { benchAnnouncer, benchServices } from './flags.ts'
import { Announcer, faces } from './kubernetes-announcer.ts'
import { storeServices } from './kubernetes-store.ts'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { ms, nowMs, printTable, quantile, type Row } from './report.ts'
import { type SinkState, type Sinks, startSinks } from './sink.ts'

/**
 * The namespace that a benchmark runs in has no route by which the server would find an address of its own; and each
 * Service of policy Local has a port for its health check.
 */
const serverFlags = ['--advertise-address', '192.0.2.1', '--service-node-port-range', '1024-65535']
const sizes = [0, 1_000, 5_000]
/** More than these are written into etcd with their statuses: the server would take them for some minutes. */
const mostCreated = 5_000
/** Of requests at once where there are more: the server's allocator takes so long that others would be given up. */
const fewAtOnce = 4
const single = 100
const burst = 1_000
const router = sinkAddresses[0]
/** A neighbor that comes later. */
const laterRouter = sinkAddresses[1]
const nodes = 500
const beatingMs = 10_000
/** What the start left behind is given back by then, also where the engine has to be told to (src/herald.ts). */
const settledMs = 25_000
const restingMs = 10_000
const waitMs = 300_000
const namespace = '/api/v1/namespaces/default/services'
const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
const policyPath = '/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies'

const policy = (community: string, peers: readonly string[] = [router]): object => ({
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  metadata: { name: 'rack', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' } },
  spec: {
    nodeSelector: {},
    virtualRouters: [
      {
        localASN: 65001,
        serviceSelector: {},
        neighbors: peers.map((peer) => ({
          peerAddress: `${peer}/32`,
          peerPort: sinkPort,
          peerASN: sinkAsn,
          families: [{ afi: 'ipv4', safi: 'unicast' }],
          advertisedPathAttributes: [
            { selectorType: 'CiliumLoadBalancerIPPool', communities: { standard: [community] } },
          ],
        })),
      },
    ],
  },
})

const pool = {
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumLoadBalancerIPPool',
  metadata: { name: 'blue' },
  spec: { blocks: [{ cidr: '10.128.0.0/15' }] },
}
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node1' } }

const service = (name: string): RawObject & { readonly metadata: object; readonly spec: object } => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: {
    type: 'LoadBalancer',
    allocateLoadBalancerNodePorts: false,
    externalTrafficPolicy: 'Local',
    ports: [{ port: 80 }],
  },
})

const slice = (name: string, ready = true): RawObject & { readonly metadata: object } => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.1.1.5'], nodeName: 'node1', conditions: { ready } }],
  ports: [{ port: 8080, protocol: 'TCP' }],
})

export async function benchKubernetes(): Promise<void> {
  const binaries = presentBinaries()
  if (binaries === undefined) {
    console.log('\nkubernetes: no kube-apiserver here; `npm test -- apiserver` builds one')
    return
  }
  const asked = benchServices()
  for (const n of asked === undefined ? sizes : [asked]) {
    const cluster = await startCluster(binaries, serverFlags)
    const client = new ApiClient(cluster.url)
    const sinks = await startSinks({ addresses: [router, laterRouter], port: sinkPort, asn: sinkAsn })
    const announcer = new Announcer(cluster)
    try {
      const rows = await new Run(cluster, client, sinks, announcer).rows(n)
      printTable(`A real API server (kube-apiserver ${binaries.version}), ${n} Services present, one router`, rows)
    } finally {
      await announcer.stop('SIGKILL')
      await sinks.stop()
      client.close()
      await cluster.stop()
    }
  }
}

class Run {
  readonly #cluster: Cluster
  readonly #client: ApiClient
  readonly #sinks: Sinks
  readonly #announcer: Announcer
  #present = 0

  constructor(cluster: Cluster, client: ApiClient, sinks: Sinks, announcer: Announcer) {
    this.#cluster = cluster
    this.#client = client
    this.#sinks = sinks
    this.#announcer = announcer
  }

  async rows(n: number): Promise<Row[]> {
    const isHerald = benchAnnouncer() === undefined
    const rows: Row[] = []
    // Beside 50 000 the whole takes a quarter of an hour.
    const add = (more: readonly Row[]): void => {
      for (const { what, value } of more) process.stderr.write(`  ${what}: ${value}\n`)
      rows.push(...more)
    }
    await this.#configure()
    await this.#fill(n)
    // Beside as many as are there then: the server's own allocation of ClusterIPs takes longer the more there are.
    const aloneMs = await this.#createAlone()
    const from = nowMs()
    this.#announcer.start()
    await this.#until('the first announcements', ({ isEstablished, announced }) => isEstablished && announced >= n)
    const without = n > mostCreated ? '' : ' without an address'
    add([{ what: `process start -> ${n}${without} announced`, value: ms(nowMs() - from) }])
    add(await this.#singles())
    add(await this.#rest())
    add(await this.#burst(aloneMs))
    if (isHerald) add([await this.#community('65001:2')])
    if (isHerald) add(await this.#peer())
    add(await this.#heartbeats())
    add(await this.#restart())
    if (!isHerald) return rows
    add(await this.#again('the agent alone, process start', await this.#announcer.restartAgent()))
    add(await this.#turns())
    return rows
  }

  async #configure(): Promise<void> {
    const other = benchAnnouncer()
    const own = [policyCrd, poolCrd]
    await this.#cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...own, node] }))
    for (const crd of ['ciliumbgppeeringpolicies', 'ciliumloadbalancerippools'])
      await this.#cluster.kubectl(['wait', '--for=condition=Established', `crd/${crd}.cilium.io`])
    const status = JSON.stringify({ status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] } })
    await this.#cluster.kubectl(['patch', 'node', 'node1', '--subresource=status', '--type=merge', '-p', status])
    if (other?.manifests !== undefined) await this.#cluster.apply(readFileSync(other.manifests, 'utf8'))
    if (other !== undefined) return
    await this.#client.send('POST', '/apis/cilium.io/v2alpha1/ciliumloadbalancerippools', pool)
    await this.#client.send('POST', policyPath, policy('65001:1'))
  }

  /** All at once, the slice first. */
  #create(name: string, count: number): Promise<number> {
    this.#present += count
    const create = async (i: number): Promise<void> => {
      await this.#client.send('POST', slices, slice(`${name}-${i}`))
      await this.#client.send('POST', namespace, service(`${name}-${i}`))
    }
    return this.#client.all(count, create, this.#atOnce)
  }

  get #atOnce(): number | undefined {
    return this.#present > 2 * mostCreated ? fewAtOnce : undefined
  }

  async #until(what: string, test: (state: SinkState) => boolean, address: string = router): Promise<void> {
    await this.#sinks.until(what, (states) => states.some((each) => each.address === address && test(each)), waitMs)
  }

  get #state(): SinkState | undefined {
    return this.#sinks.states.get(router)
  }

  /** From the answer to the message that is the `more`-th after now. */
  async #heard(counter: 'announced' | 'withdrawn', more: number, act: () => Promise<number>): Promise<number> {
    const before = this.#state?.[counter] ?? 0
    const at = await act()
    await this.#until(`${more} ${counter}`, (state) => state[counter] >= before + more)
    return (this.#state?.lastAt ?? 0) - at
  }

  async #singles(): Promise<Row[]> {
    const added: number[] = []
    const gone: number[] = []
    for (let i = 0; i < single; i++) {
      const name = `single-${i}`
      await this.#client.send('POST', slices, slice(name))
      added.push(await this.#heard('announced', 1, () => this.#client.send('POST', namespace, service(name))))
    }
    for (let i = 0; i < single; i++) {
      const name = `single-${i}`
      const unready = (): Promise<number> => this.#client.send('PUT', `${slices}/${name}`, slice(name, false))
      gone.push(await this.#heard('withdrawn', 1, unready))
    }
    const floor = quantile(await this.#applies(), 0.5)
    return [
      ...quantiles(`new Service -> UPDATE`, added, 4, 15),
      { what: 'of that the API server alone, for one apply of a status, p50', value: ms(floor) },
      ...quantiles(`only endpoint not ready -> withdrawn`, gone, 0.5, 3),
    ]
  }

  /** What the server takes for a write such as the operator's, of Services that are nobody's. */
  async #applies(): Promise<readonly number[]> {
    const took: number[] = []
    for (let i = 0; i < single; i++) {
      const name = `foreign-${i}`
      const { spec, ...rest } = service(name)
      await this.#client.send('POST', namespace, { ...rest, spec: { ...spec, loadBalancerClass: 'example.com/none' } })
      const status = { loadBalancer: { ingress: [{ ip: '203.0.113.1', ipMode: 'VIP' }] } }
      const path = `${namespace}/${name}/status?fieldManager=bench&force=false`
      const from = nowMs()
      took.push((await this.#client.send('PATCH', path, { ...rest, status })) - from)
    }
    return took
  }

  /** What the server takes for as many when nobody watches it, and nobody writes a status. ms */
  async #createAlone(): Promise<number> {
    const from = nowMs()
    const until = await this.#create('alone', burst)
    // One by one: beside 50 000 the server takes longer for 1 000 in one request than it gives a request.
    const remove = async (i: number): Promise<void> => {
      for (const path of [slices, namespace]) await this.#client.send('DELETE', `${path}/alone-${i}`)
    }
    await this.#client.all(burst, remove, this.#atOnce)
    this.#present -= burst
    return until - from
  }

  async #fill(n: number): Promise<void> {
    if (n <= mostCreated) return void (await this.#create('present', n))
    this.#present += n
    const objects = (name: string): { readonly service: RawObject; readonly slice: RawObject } => ({
      service: service(name),
      slice: slice(name),
    })
    await storeServices(this.#cluster.etcdUrl, n, objects)
    // What is written beside the server is news to it: it answers when it has caught up.
    for (const path of [namespace, slices])
      await waitFor('the server knows them', () => this.#answers(`${path}?limit=1`), { deadlineMs: waitMs })
  }

  async #answers(path: string): Promise<boolean> {
    return this.#cluster.kubectl(['get', '--raw', path]).then(
      () => true,
      () => false,
    )
  }

  async #burst(aloneMs: number): Promise<Row[]> {
    const from = nowMs()
    const before = this.#state?.announced ?? 0
    const beforeMs = this.#announcer.cpuMs
    const created = await this.#create('burst', burst)
    await this.#until('the burst', ({ announced }) => announced >= before + burst)
    const { memory } = this.#announcer
    const spentMs = this.#announcer.cpuMs.map((cpuMs, index) => cpuMs - (beforeMs[index] ?? 0))
    const last = (this.#state?.lastAt ?? 0) - from
    const twice = await this.#givenTwice()
    const what = `${burst} Services created at once -> last announced`
    const value =
      `${ms(last)} (created in ${ms(created - from)}, ${ms(aloneMs)} with nobody watching: ` +
      `${(last / aloneMs).toFixed(2)}x; ${twice} addresses given twice)`
    return [
      { what, value, goal: '<= 4 s', isMet: last <= 4_000 && twice === 0 },
      { what: `CPU for these, ${this.#processes}`, value: `${spentMs.join(' and ')} ms` },
      rssRow('right after these', memory),
    ]
  }

  /** Addresses that several Services have in their status. */
  async #givenTwice(): Promise<number> {
    const path = 'jsonpath={.items[*].status.loadBalancer.ingress[*].ip}'
    const said = (await this.#cluster.kubectl(['get', 'services', '-o', path])).split(' ')
    const all = said.filter((ip) => ip.startsWith('10.'))
    return all.length - new Set(all).size
  }

  async #changePolicy(community: string, peers?: readonly string[]): Promise<number> {
    const object = JSON.parse(await this.#cluster.kubectl(['get', 'ciliumbgppeeringpolicy', 'rack', '-o', 'json']))
    const changed = { ...policy(community, peers), metadata: object.metadata }
    return this.#client.send('PUT', `${policyPath}/rack`, changed)
  }

  async #community(value: string): Promise<Row> {
    const { announced = 0, establishedAt } = this.#state ?? {}
    const cpuMs = this.#announcer.cpuMs.at(-1) ?? 0
    const took = await this.#heard('announced', this.#present, () => this.#changePolicy(value))
    const spentMs = (this.#announcer.cpuMs.at(-1) ?? 0) - cpuMs
    const sent = (this.#state?.announced ?? 0) - announced
    const isSame = establishedAt === this.#state?.establishedAt && sent === this.#present
    const goalMs = this.#present <= 1_000 ? 50 : this.#present <= 2_000 ? 80 : 200
    return {
      what: `community changed on ${this.#present} prefixes -> last UPDATE`,
      value: `${ms(took)} (${sent} announced, agent's CPU ${spentMs} ms)`,
      goal: `<= ${goalMs} ms`,
      isMet: took <= goalMs && isSame,
    }
  }

  /** A neighbor more, that hears everything; the other one hears nothing of it. */
  async #peer(): Promise<Row[]> {
    const before = this.#state
    await this.#changePolicy('65001:2', [router, laterRouter])
    const isDone = ({ isEstablished, announced }: SinkState): boolean => isEstablished && announced >= this.#present
    await this.#until('all at the new peer', isDone, laterRouter)
    const { establishedAt = 0, lastAt = 0 } = this.#sinks.states.get(laterRouter) ?? {}
    const took = lastAt - establishedAt
    const isQuiet = before?.establishedAt === this.#state?.establishedAt && before?.updates === this.#state?.updates
    return [
      {
        what: `peer added, Established -> ${this.#present} prefixes`,
        value: `${ms(took)}${isQuiet ? '' : ' (the other peer heard of it)'}`,
        goal: '<= 100 ms',
        isMet: took <= 100 && isQuiet,
      },
    ]
  }

  /** Each node says every ten seconds that it lives. */
  async #heartbeats(): Promise<Row[]> {
    const beat = (i: number, seconds: number): Promise<number> => {
      const lastHeartbeatTime = `2026-01-01T00:00:${String(seconds).padStart(2, '0')}Z`
      const name = `beating-${i}`
      const status = { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime }] }
      return this.#client.send('PUT', `/api/v1/nodes/${name}/status`, { ...node, metadata: { name }, status })
    }
    await this.#client.all(nodes, async (i) => {
      await this.#client.send('POST', '/api/v1/nodes', { ...node, metadata: { name: `beating-${i}` } })
      await beat(i, 0)
    })
    const until = nowMs() + beatingMs
    let sent = 0
    const beating = await this.#spentIn(async () => {
      for (let round = 1; nowMs() < until; round++, sent += nodes)
        await this.#client.all(nodes, (i) => beat(i, round % 60))
    })
    const what = `CPU a second with ${((sent * 1_000) / beatingMs).toFixed(0)} heartbeats, ${this.#processes}`
    return [{ what, value: perSecond(beating) }]
  }

  get #processes(): string {
    return benchAnnouncer() === undefined ? faces.join(' and ') : 'announcer'
  }

  /** CPU time of each process in a second of what is done, ms. */
  async #spentIn(act: () => Promise<void>): Promise<readonly number[]> {
    const [before, from] = [this.#announcer.cpuMs, nowMs()]
    await act()
    const seconds = (nowMs() - from) / 1_000
    return this.#announcer.cpuMs.map((cpuMs, index) => (cpuMs - (before[index] ?? 0)) / seconds)
  }

  async #rest(): Promise<Row[]> {
    const rest = (forMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, forMs))
    await rest(settledMs)
    const { memory } = this.#announcer
    const spent = await this.#spentIn(() => rest(restingMs))
    const goal = { goal: '< 5 ms each', isMet: spent.every((each) => each < 5) }
    return [
      rssRow('at rest', memory),
      { what: `CPU a second at rest, ${this.#processes}`, value: perSecond(spent), ...goal },
    ]
  }

  async #restart(isWatched = false): Promise<Row[]> {
    await this.#announcer.stop('SIGTERM')
    const from = nowMs()
    this.#announcer.start(isWatched)
    return this.#again('process start', from)
  }

  async #again(what: string, from: number): Promise<Row[]> {
    // The end of the session before may not be seen yet.
    const isAgain = ({ isEstablished, establishedAt, announced }: SinkState): boolean =>
      isEstablished && establishedAt > from && announced >= this.#present
    await this.#until('all of them again', isAgain)
    const took = (this.#state?.lastAt ?? 0) - from
    const withdrawn = this.#state?.withdrawn ?? 0
    const goalMs = this.#present <= 1_000 ? 500 : this.#present <= 2_000 ? 600 : 1_000
    return [
      {
        what: `${what} -> ${this.#present} prefixes announced`,
        value: ms(took),
        goal: `<= ${goalMs} ms`,
        isMet: took <= goalMs,
      },
      { what: 'withdrawn on the way', value: String(withdrawn), goal: '0', isMet: withdrawn === 0 },
    ]
  }

  /** Once more, with a watch that costs what it measures. */
  async #turns(): Promise<Row[]> {
    await this.#restart(true)
    const rows = [...(await this.#longest('restart and list'))]
    await this.#create('watched', burst)
    await this.#until('the watched', ({ announced }) => announced >= this.#present)
    rows.push(...(await this.#longest(`${burst} created`)))
    await this.#community('65001:3')
    return [...rows, ...(await this.#longest('community changed'))]
  }

  async #longest(what: string): Promise<readonly Row[]> {
    const computedMs = await this.#announcer.computedMs()
    return faces.map((face) => {
      const goal = { goal: '<= 20 ms', isMet: computedMs[face] <= 20 }
      return { what: `longest turn of the ${face}'s main loop (CPU), ${what}`, value: ms(computedMs[face]), ...goal }
    })
  }
}

const perSecond = (all: readonly number[]): string => `${all.map((each) => each.toFixed(1)).join(' and ')} ms`

function rssRow(when: string, { rssMiB, fileMiB, pssMiB }: Announcer['memory']): Row {
  const goal = { goal: '<= 160 MiB', isMet: rssMiB <= 160 }
  const value = `${rssMiB.toFixed(0)} MiB (${fileMiB.toFixed(0)} of program files; PSS ${pssMiB.toFixed(0)} MiB)`
  return { what: `RSS ${when}, all processes`, value, ...goal }
}

function quantiles(what: string, values: readonly number[], p50: number, p99: number): Row[] {
  const [middle, high] = [quantile(values, 0.5), quantile(values, 0.99)]
  return [
    { what: `${what}, p50`, value: ms(middle), goal: `<= ${p50} ms`, isMet: middle <= p50 },
    { what: `${what}, p99`, value: ms(high), goal: `<= ${p99} ms`, isMet: high <= p99 },
  ]
}
