/**
 * An announcer on a real kube-apiserver with etcd, N Services present, one router: from the answer of the API server
 * to the message on the wire. Herald is its operator and one agent; `--announcer CMD` puts another one in their place.
 *
 *     npm run bench -- kubernetes [--services N] [--announcer CMD --manifests FILE]
 */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { presentBinaries } from '../test/apiserver/binaries.ts'
import { type Cluster, startCluster } from '../test/apiserver/cluster.ts'
import { policyCrd, poolCrd } from '../test/apiserver/crds.ts'
import { buildProgram } from '../scripts/build.ts'
import { ApiClient } from './api-client.ts'
import { benchAnnouncer, benchServices } from './flags.ts'
import type { LoopLine } from './loop-watch.ts'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { MeasuredProcess } from './process.ts'
import { ms, nowMs, printTable, quantile, type Row } from './report.ts'
import { type SinkState, type Sinks, startSinks } from './sink.ts'

/** The namespace that a benchmark runs in has no route by which the server would find an address of its own. */
const advertised = ['--advertise-address', '192.0.2.1']
const sizes = [0, 1_000, 5_000]
const single = 100
const burst = 1_000
const router = sinkAddresses[0]
const waitMs = 300_000
const namespace = '/api/v1/namespaces/default/services'
const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'
const policyPath = '/apis/cilium.io/v2alpha1/ciliumbgppeeringpolicies'

const policy = (community: string): object => ({
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  metadata: { name: 'rack', annotations: { 'herald.dev/neighbors': '{"*": {nextHop: 192.0.2.9}}' } },
  spec: {
    nodeSelector: {},
    virtualRouters: [
      {
        localASN: 65001,
        serviceSelector: {},
        neighbors: [
          {
            peerAddress: `${router}/32`,
            peerPort: sinkPort,
            peerASN: sinkAsn,
            families: [{ afi: 'ipv4', safi: 'unicast' }],
            advertisedPathAttributes: [
              { selectorType: 'CiliumLoadBalancerIPPool', communities: { standard: [community] } },
            ],
          },
        ],
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

const service = (name: string): object => ({
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

const slice = (name: string, ready = true): object => ({
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
    const cluster = await startCluster(binaries, advertised)
    const client = new ApiClient(cluster.url)
    const sinks = await startSinks({ addresses: [router], port: sinkPort, asn: sinkAsn })
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

/** Herald's two processes, or the command that is given. */
class Announcer {
  readonly #cluster: Cluster
  readonly #loops: string
  readonly #program = benchAnnouncer() === undefined ? buildProgram() : ''
  #processes: readonly MeasuredProcess[] = []

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.#loops = join(cluster.folder, 'loops')
  }

  start(): void {
    const other = benchAnnouncer()
    const { folder, kubeconfig } = this.#cluster
    if (other !== undefined) {
      const env = { ...process.env, KUBECONFIG: kubeconfig, NODE_NAME: 'node1' }
      this.#processes = [new MeasuredProcess('sh', ['-c', `exec ${other.command}`], env)]
      return
    }
    const program = this.#program
    const common = ['--kubeconfig', kubeconfig, '--http', 'none', '--log-level', 'error']
    const own = ['--datapath', 'none', '--bgp-listen', 'none', '--state-dir', join(folder, 'state')]
    const watched = {
      ...process.env,
      HERALD_LOOP_WATCH: this.#loops,
      NODE_OPTIONS: `--import=${new URL('loop-watch.ts', import.meta.url).href}`,
    }
    const agent = ['agent', '--node-name', 'node1', '--socket', join(folder, 'sock'), ...own]
    this.#processes = [
      new MeasuredProcess(process.execPath, [program, 'operator', ...common], process.env),
      new MeasuredProcess(process.execPath, [program, ...agent, ...common], watched),
    ]
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.stop(signal)))
    this.#processes = []
  }

  get rssMiB(): number {
    return this.#processes.reduce((sum, { rssMiB }) => sum + rssMiB, 0)
  }

  /** The longest that the agent's main loop computed between two of its rounds, since the last question. */
  computedMs(): number | undefined {
    try {
      const lines = readFileSync(this.#loops, 'utf8').trimEnd().split('\n')
      rmSync(this.#loops)
      const found = lines.map((line): LoopLine => JSON.parse(line)).filter(({ thread }) => thread === 'main')
      return Math.max(...found.map(({ computedMs }) => computedMs))
    } catch {
      return undefined
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
    await this.#configure()
    await this.#create('present', n)
    this.#announcer.start()
    await this.#until('the first announcements', ({ isEstablished, announced }) => isEstablished && announced >= n)
    const rows = [...(await this.#singles())]
    this.#announcer.computedMs()
    rows.push(await this.#burst())
    const peakMiB = this.#announcer.rssMiB
    rows.push(this.#loop('1 000 created'))
    if (benchAnnouncer() === undefined) rows.push(await this.#community())
    rows.push(...(await this.#restart()))
    rows.push(this.#loop('restart and list'))
    const isMet = peakMiB <= 160
    rows.push({
      what: 'RSS after the burst, all processes',
      value: `${peakMiB.toFixed(0)} MiB`,
      goal: '<= 160 MiB',
      isMet,
    })
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
    return this.#client.all(count, async (i) => {
      await this.#client.send('POST', slices, slice(`${name}-${i}`))
      await this.#client.send('POST', namespace, service(`${name}-${i}`))
    })
  }

  async #until(what: string, test: (state: SinkState) => boolean): Promise<void> {
    await this.#sinks.until(what, (states) => states.some(test), waitMs)
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
    return [
      ...quantiles(`new Service -> UPDATE`, added, 4, 15),
      ...quantiles(`only endpoint not ready -> withdrawn`, gone, 0.5, 3),
    ]
  }

  async #burst(): Promise<Row> {
    const from = nowMs()
    const before = this.#state?.announced ?? 0
    const created = await this.#create('burst', burst)
    await this.#until('the burst', ({ announced }) => announced >= before + burst)
    const last = (this.#state?.lastAt ?? 0) - from
    const what = `${burst} Services created at once -> last announced`
    return { what, value: `${ms(last)} (created in ${ms(created - from)})`, goal: '<= 4 s', isMet: last <= 4_000 }
  }

  async #community(): Promise<Row> {
    const object = JSON.parse(await this.#cluster.kubectl(['get', 'ciliumbgppeeringpolicy', 'rack', '-o', 'json']))
    const changed = { ...policy('65001:2'), metadata: object.metadata }
    const before = this.#state?.announced ?? 0
    const change = (): Promise<number> => this.#client.send('PUT', `${policyPath}/rack`, changed)
    const took = await this.#heard('announced', this.#present, change)
    const sent = (this.#state?.announced ?? 0) - before
    const goalMs = this.#present <= 1_000 ? 50 : this.#present <= 2_000 ? 80 : 200
    return {
      what: `community changed on ${this.#present} prefixes -> last UPDATE (${sent} announced)`,
      value: ms(took),
      goal: `<= ${goalMs} ms`,
      isMet: took <= goalMs,
    }
  }

  async #restart(): Promise<Row[]> {
    await this.#announcer.stop('SIGTERM')
    const from = nowMs()
    this.#announcer.start()
    await this.#until(
      'all of them again',
      ({ isEstablished, announced }) => isEstablished && announced >= this.#present,
    )
    const took = (this.#state?.lastAt ?? 0) - from
    const withdrawn = this.#state?.withdrawn ?? 0
    const goalMs = this.#present <= 1_000 ? 500 : this.#present <= 2_000 ? 600 : 1_000
    return [
      {
        what: `process start -> ${this.#present} prefixes announced`,
        value: ms(took),
        goal: `<= ${goalMs} ms`,
        isMet: took <= goalMs,
      },
      { what: 'withdrawn on the way', value: String(withdrawn), goal: '0', isMet: withdrawn === 0 },
    ]
  }

  #loop(what: string): Row {
    const computedMs = this.#announcer.computedMs()
    if (computedMs === undefined) return { what: `longest turn of the main loop, ${what}`, value: 'not measured' }
    const goal = { goal: '<= 20 ms', isMet: computedMs <= 20 }
    return { what: `longest turn of the agent's main loop (CPU), ${what}`, value: ms(computedMs), ...goal }
  }
}

function quantiles(what: string, values: readonly number[], p50: number, p99: number): Row[] {
  const [middle, high] = [quantile(values, 0.5), quantile(values, 0.99)]
  return [
    { what: `${what}, p50`, value: ms(middle), goal: `<= ${p50} ms`, isMet: middle <= p50 },
    { what: `${what}, p99`, value: ms(high), goal: `<= ${p99} ms`, isMet: high <= p99 },
  ]
}
