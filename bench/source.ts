/**
 * The first list of many Services and their slices from an API server: how long it takes, what it leaves in memory,
 * and how long the loop is held meanwhile. The server is a thread with prebuilt objects, the reader the agent's own
 * source and translator.
 *
 *     npm run bench -- source [--services N]
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Due } from '../src/clock/due.ts'
import { systemClock } from '../src/clock/system-clock.ts'
import { apiServerSource } from '../src/k8s/apiserver/source.ts'
import { connectTransport } from '../src/k8s/apiserver/transport.ts'
import { createTranslator } from '../src/k8s/translate/translator.ts'
import { FakeApiServer } from '../test/k8s/apiserver/fake-server.ts'
import { waitFor } from '../test/wait.ts'
import { benchServices } from './flags.ts'
import { serviceObject, sliceObject } from './kubernetes-objects.ts'
import { ms, printTable } from './report.ts'
import { threadCpuMs } from './thread-time.ts'

const slicesOfService = 2

interface Address {
  readonly port: number
  readonly ca: string
}

export async function benchSource(): Promise<void> {
  const count = benchServices() ?? 50_000
  const worker = new Worker(new URL(import.meta.url), { workerData: count })
  const { port, ca } = await new Promise<Address>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', resolve)
  })
  const source = apiServerSource({
    transport: connectTransport({
      server: new URL(`https://127.0.0.1:${port}`),
      detail: 'a benchmark',
      headers: async () => ({}),
      tls: async () => ({ ca }),
      judged: () => undefined,
      renew: () => undefined,
    }),
    clock: systemClock,
    random: Math.random,
    nodeName: 'node1',
  })
  const translator = createTranslator({
    nodeName: 'node1',
    datapath: 'none',
    secretsNamespace: 'kube-system',
    isAllocatedElsewhere: true,
    nowMs: () => performance.now(),
  })
  const before = heapBytes()
  const turns = watchTurns()
  const began = performance.now()
  let hasAll = false
  // As the agent does: of several kinds that have news one turn is made, and not one turn of each.
  const more = new Due(systemClock, () => translate())
  const translate = (): void => {
    if (more.isDue) return
    translator.flush()
    if (translator.hasMore) more.soon()
  }
  await source.start({
    upsert: (key, object, origin) => translator.upsert(key, object, origin),
    remove: (key) => translator.remove(key),
    problems: () => undefined,
    flush: translate,
    secrets: () => translator.secrets,
    synced: () => {
      translator.synced()
      hasAll = true
      translate()
    },
  })
  await waitFor('everything was read', () => hasAll && !translator.hasMore, { deadlineMs: 300_000, everyMs: 50 })
  const tookMs = performance.now() - began
  const computedMs = turns()
  const perService = (heapBytes() - before) / count
  await source.stop()
  await worker.terminate()
  printTable(`A list of ${count} Services and ${count * slicesOfService} slices of five endpoints`, [
    { what: 'until all is translated', value: ms(tookMs) },
    {
      what: 'longest turn of the loop, CPU (garbage collection included)',
      value: ms(computedMs),
      goal: '<= 20 ms',
      isMet: computedMs <= 20,
    },
    {
      what: 'heap per Service',
      value: `${perService.toFixed(0)} B`,
      goal: '<= 2000 B',
      isMet: perService <= 2_000,
    },
  ])
}

/** The longest that the thread computed between two rounds of its loop, on a machine that others use as well. */
function watchTurns(): () => number {
  let before = threadCpuMs()
  let longest = 0
  const timer = setInterval(() => {
    const now = threadCpuMs()
    longest = Math.max(longest, now - before)
    before = now
  }, 1)
  return () => {
    clearInterval(timer)
    return longest
  }
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  gc()
  return process.memoryUsage().heapUsed
}

if (!isMainThread && parentPort !== null) {
  const count = Number(workerData)
  const server = new FakeApiServer()
  for (let i = 0; i < count; i++) {
    server.store('/api/v1/services', serviceObject(i))
    for (let part = 0; part < slicesOfService; part++)
      server.store('/apis/discovery.k8s.io/v1/endpointslices', sliceObject(i, part))
  }
  const { server: url, tls } = await server.start()
  parentPort.postMessage({ port: Number(url.port), ca: String((await tls()).ca) })
}
