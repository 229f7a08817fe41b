/**
 * What one event costs the loops of agent and operator while N Services are there: CPU time of the thread, which says
 * what a busy machine hides. No process, no server and no socket: objects go in, and what would be sent is counted.
 *
 *     npm run bench -- events [--services N]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent } from '../src/agent/agent.ts'
import { InForceRecord } from '../src/agent/in-force.ts'
import { MemoryLinks } from '../src/agent/links.ts'
import { RestartMarker } from '../src/agent/restart-marker.ts'
import { systemClock } from '../src/clock/system-clock.ts'
import { VirtualClock } from '../src/clock/virtual-clock.ts'
import { createNoneDatapath } from '../src/datapath/none.ts'
import { MemoryCluster } from '../src/k8s/memory-cluster.ts'
import { MemorySource } from '../src/k8s/memory-source.ts'
import type { ObjectKey, RawObject } from '../src/k8s/source.ts'
import { createTranslator } from '../src/k8s/translate/translator.ts'
import { createLogger } from '../src/observe/logger.ts'
import { MemoryOperatorLog } from '../src/operator/log.ts'
import { Operator } from '../src/operator/operator.ts'
import { waitFor } from '../test/wait.ts'
import { benchServices } from './flags.ts'
import { nameOf, namespaceOf, serviceObject, sliceObject } from './kubernetes-objects.ts'
import { printTable, type Row } from './report.ts'
import { threadCpuMs } from './thread-time.ts'

const sizes = [0, 1_000, 5_000, 50_000]
const warming = 200
const measured = 400

const keyOf = (kind: string, apiVersion: string, name: string, namespace = ''): ObjectKey => ({
  apiVersion,
  kind,
  namespace,
  name,
})
const serviceKey = (i: number): ObjectKey => keyOf('Service', 'v1', nameOf(i), namespaceOf(i))
const sliceKey = (i: number, part: number): ObjectKey =>
  keyOf('EndpointSlice', 'discovery.k8s.io/v1', `${nameOf(i)}-${part}`, namespaceOf(i))

const policy = (community: string): RawObject => ({
  apiVersion: 'cilium.io/v2alpha1',
  kind: 'CiliumBGPPeeringPolicy',
  metadata: { name: 'rack' },
  spec: {
    nodeSelector: {},
    virtualRouters: [
      {
        localASN: 65001,
        serviceSelector: {},
        neighbors: [
          {
            peerAddress: '192.0.2.1/32',
            peerASN: 65000,
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
const policyKey = keyOf('CiliumBGPPeeringPolicy', 'cilium.io/v2alpha1', 'rack')
const poolKey = keyOf('CiliumLoadBalancerIPPool', 'cilium.io/v2', 'blue')
const pool: RawObject = { metadata: { name: 'blue' }, spec: { blocks: [{ cidr: '10.128.0.0/15' }] } }
const nodeKey = keyOf('Node', 'v1', 'node1')
const node: RawObject = {
  metadata: { name: 'node1' },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.9' }] },
}

/** CPU time of this thread that something takes, ms. */
function cpuOf(act: () => void): number {
  const before = threadCpuMs()
  act()
  return threadCpuMs() - before
}

export async function benchEvents(): Promise<void> {
  const asked = benchServices()
  for (const n of asked === undefined ? sizes : [asked]) {
    const rows = [...(await agentRows(n)), ...(await operatorRows(n))]
    printTable(`CPU time of one event on the loop, ${n} Services present`, rows)
  }
}

async function agentRows(n: number): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-events-'))
  const source = new MemorySource()
  let announced = 0
  const agent = new Agent({
    source,
    translator: createTranslator({
      nodeName: 'node1',
      datapath: 'none',
      secretsNamespace: 'kube-system',
      isAllocatedElsewhere: true,
      nowMs: () => performance.now(),
    }),
    datapath: createNoneDatapath(),
    speaker: {
      post: (message) => {
        if (message.type === 'routes') announced += structuredClone(message.prefixes).length
      },
      onPeer: () => undefined,
    },
    marker: new RestartMarker(join(folder, 'state')),
    record: new InForceRecord(join(folder, 'state')),
    links: new MemoryLinks(),
    clock: systemClock,
    log: createLogger({ level: 'error', format: 'json' }),
  })
  const put = (key: ObjectKey, object: RawObject): void => source.put({ key, object })
  const create = (i: number): void => {
    for (const part of [0, 1]) put(sliceKey(i, part), sliceObject(i, part))
    put(serviceKey(i), serviceObject(i))
  }
  try {
    put(nodeKey, node)
    put(poolKey, pool)
    put(policyKey, policy('65001:1'))
    for (let i = 0; i < n; i++) create(i)
    await agent.start()
    await waitFor('all is announced', () => announced >= n, { deadlineMs: 300_000 })
    const added: number[] = []
    const gone: number[] = []
    for (let i = n; i < n + warming + measured; i++) {
      for (const part of [0, 1]) put(sliceKey(i, part), sliceObject(i, part))
      source.flush()
      const object = serviceObject(i)
      added.push(
        cpuOf(() => {
          put(serviceKey(i), { ...object, status: {} })
          source.flush()
          put(serviceKey(i), object)
          source.flush()
        }),
      )
    }
    for (let i = n; i < n + warming + measured; i++) {
      const empty = [0, 1].map((part) => ({ ...sliceObject(i, part), endpoints: [] }))
      gone.push(
        cpuOf(() => {
          for (const [part, object] of empty.entries()) put(sliceKey(i, part), object)
          source.flush()
        }),
      )
    }
    const before = announced
    const from = threadCpuMs()
    put(policyKey, policy('65001:2'))
    source.flush()
    await waitFor('all is announced anew', () => announced >= before + n, { deadlineMs: 60_000, everyMs: 5 })
    const changed = threadCpuMs() - from
    return [
      ...rowsOf('agent: a Service, then its address', added),
      ...rowsOf('agent: its endpoints go', gone),
      { what: `agent: community of ${n} prefixes, all of them`, value: `${changed.toFixed(0)} ms` },
    ]
  } finally {
    await agent.stop()
    rmSync(folder, { recursive: true })
  }
}

async function operatorRows(n: number): Promise<Row[]> {
  const cluster = new MemoryCluster()
  const clock = new VirtualClock()
  const follower = cluster.follower()
  const operator = new Operator({
    source: follower,
    sink: cluster.sink('herald'),
    objects: cluster.objectSink(),
    clock,
    random: () => 0.5,
    log: new MemoryOperatorLog(),
    isLeader: () => true,
  })
  const settle = async (): Promise<void> => {
    for (let quiet = 0; quiet < 3; ) {
      clock.settle()
      await Promise.resolve()
      quiet = follower.deliver() ? 0 : quiet + 1
    }
  }
  cluster.put(nodeKey, node)
  cluster.put(poolKey, pool)
  for (let i = 0; i < n; i++) cluster.put(serviceKey(i), serviceObject(i))
  await operator.start()
  await settle()
  const taken: number[] = []
  for (let i = n; i < n + warming + measured; i++) {
    const object = { ...serviceObject(i), status: {} }
    const before = threadCpuMs()
    cluster.put(serviceKey(i), object)
    await settle()
    taken.push(threadCpuMs() - before)
  }
  await operator.stop()
  return rowsOf('operator: a Service, its address written and read back', taken)
}

/** The mean alone: a kernel may count CPU time in ticks of four milliseconds. */
function rowsOf(what: string, all: readonly number[]): Row[] {
  const values = all.slice(warming)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return [{ what, value: `${(mean * 1_000).toFixed(0)} us` }]
}
