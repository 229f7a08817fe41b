/**
 * A node's datapath in a process of its own, as the agent drives it: the order programs all Services in its slices,
 * then one endpoint of a large Service changes. Prints one line of JSON.
 *
 *     node bench/service-process.ts BPFFS OBJECT
 */
import { Order } from '../src/agent/order.ts'
import { systemClock } from '../src/clock/system-clock.ts'
import { openKernelDatapathAside } from '../src/datapath/kernel.ts'
import { frontendId, type Backend, type DesiredService } from '../src/desired/model.ts'
import { HeraldError } from '../src/errors.ts'
import { collectGarbage, giveMemoryBack } from '../src/sys/heap.ts'
import { timeLibbpf, timeOf, type CallTime } from './library-time.ts'

export interface ServiceFigures {
  /** Since the process was started. */
  readonly importedMs: number
  readonly openedMs: number
  readonly programmedMs: number
  /** From the first write to the last. */
  readonly writeMs: number
  /** Of these, in the kernel, with what the engine's memory and threads take of it. */
  readonly kernelMs: number
  readonly mapWrites: CallTime
  readonly readBacks: CallTime
  readonly probes: CallTime
  readonly longestTurnMs: number
  readonly rssMiB: number
  /** When the agent has given back what its start took. */
  readonly restMiB: number
  readonly changesMs: readonly number[]
}

const [bpffs = '', objectFile = ''] = process.argv.slice(2)
const services = 10_000
const slice = 64
const largeBackends = 300
const changes = 60
/** Of a policy, as the translation shares them between the Services that it holds for. */
const neighbors = ['65001/192.0.2.1']
const attributes = {}

const importedMs = sinceStartMs()
const calls = timeLibbpf()

async function run(): Promise<void> {
  // What is wanted is made while the kernel loads, as an agent reads and narrows what it will serve.
  const opening = openKernelDatapathAside({ bpffs, objectFile, attach: 'auto' })
  const wanted = new Map(Array.from({ length: services }, (_, n) => [`default/svc-${n}`, serviceOf(n)] as const))
  const datapath = await opening
  const order = new Order(
    {
      // The programs are on no interface of this machine, and are taken to be.
      datapath: { ...datapath, status: { ...datapath.status, interfaces: ['lo'] } },
      clock: systemClock,
      faults: { raise: (key, _subject, message) => fail(`${key}: ${message}`), clear: () => {} },
      announce: () => {},
      wake: () => {},
    },
    { drainMs: 5_000, retryMs: 500, retryMaxMs: 30_000 },
  )
  const openedMs = sinceStartMs()
  const before = process.cpuUsage()
  const callsBefore = callTimes()
  order.want(wanted)
  const wantedMs = sinceStartMs()
  const longestTurnMs = await inTurns(order)
  const programmedMs = sinceStartMs()
  const { system } = process.cpuUsage(before)
  const { mapWrites, readBacks, probes } = callsSince(callsBefore)
  if (order.held.size !== services) fail(`${order.held.size} of ${services} are held`)
  const rssMiB = rss()
  const changesMs = changesOf(order).slice(1)
  collectGarbage()
  await giveMemoryBack()
  const figures: ServiceFigures = {
    ...{ importedMs, openedMs, programmedMs, writeMs: programmedMs - wantedMs, kernelMs: system / 1_000 },
    ...{ mapWrites, readBacks, probes, longestTurnMs, rssMiB, restMiB: rss(), changesMs },
  }
  datapath.close()
  console.log(JSON.stringify(figures))
}
void run()

/** Until nothing is left; the longest of them. */
function inTurns(order: Order): Promise<number> {
  let longestMs = 0
  return new Promise((resolve) => {
    const turn = (): void => {
      const at = performance.now()
      const hasMore = order.run(slice)
      longestMs = Math.max(longestMs, performance.now() - at)
      if (hasMore) setImmediate(turn)
      else resolve(longestMs)
    }
    turn()
  })
}

function changesOf(order: Order): readonly number[] {
  return Array.from({ length: changes }, (_, n) => {
    order.want(new Map([['default/large', largeService(n)]]))
    const at = performance.now()
    order.run(slice)
    return performance.now() - at
  })
}

function callTimes(): Pick<ServiceFigures, 'mapWrites' | 'readBacks' | 'probes'> {
  return {
    mapWrites: timeOf(calls, ['bpf_map_update', 'bpf_map_delete']),
    readBacks: timeOf(calls, ['bpf_map_lookup', 'bpf_map_get_next']),
    probes: timeOf(calls, ['bpf_prog_test_run']),
  }
}

function callsSince(then: ReturnType<typeof callTimes>): ReturnType<typeof callTimes> {
  const now = callTimes()
  return {
    mapWrites: since(now.mapWrites, then.mapWrites),
    readBacks: since(now.readBacks, then.readBacks),
    probes: since(now.probes, then.probes),
  }
}

function since(now: CallTime, then: CallTime): CallTime {
  return { calls: now.calls - then.calls, ms: now.ms - then.ms }
}

function rss(): number {
  return process.memoryUsage.rss() / (1 << 20)
}

function sinceStartMs(): number {
  return performance.now()
}

function fail(message: string): never {
  throw new HeraldError('ERR_READ_BACK', message)
}

function desired(name: string, address: string, backends: readonly Backend[]): DesiredService {
  const frontend = { service: `default/${name}`, address, protocol: 'TCP', port: 80, backends } as const
  return {
    key: `default/${name}`,
    source: { kind: 'Service', namespace: 'default', name },
    addresses: [address],
    externalTrafficPolicy: 'Cluster',
    frontends: [{ id: frontendId(address, 'TCP', 80), ...frontend }],
    routes: [{ prefix: `${address}/32`, neighbors, attributes }],
    remoteBackends: 0,
    verdicts: [],
  }
}

function serviceOf(n: number): DesiredService {
  const backends = [1, 2].map((i) => ({ address: `10.1.${(n >> 6) & 255}.${((n & 63) << 1) + i}`, port: 8080 }))
  return desired(`svc-${n}`, `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`, backends)
}

/** 300 backends, of which another one is missing each time. */
function largeService(n: number): DesiredService {
  const backends = Array.from({ length: largeBackends + 1 }, (_, i) => ({
    address: `10.2.${i >> 8}.${i & 255}`,
    port: 8080,
  }))
  return desired('large', '10.200.0.1', backends.toSpliced(n % largeBackends, 1))
}
