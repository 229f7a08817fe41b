/**
 * One Service changes while others are present: from the event to the UPDATE at a router.
 *
 *     desired-state event    an EndpointSlice object reaches the agent (in this process, no kernel)   -> UPDATE
 *     manifest               a file is renamed over the old one, the agent is a process of its own     -> UPDATE
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent } from '../src/agent/agent.ts'
import { InForceRecord } from '../src/agent/in-force.ts'
import { MemoryLinks } from '../src/agent/links.ts'
import { RestartMarker } from '../src/agent/restart-marker.ts'
import { systemClock } from '../src/clock/system-clock.ts'
import { startSpeakerThread } from '../src/speaker/speaker-thread.ts'
import { createNoneDatapath } from '../src/datapath/none.ts'
import { readDocuments } from '../src/k8s/documents.ts'
import { MemorySource } from '../src/k8s/memory-source.ts'
import { createTranslator } from '../src/k8s/translate/translator.ts'
import { createLogger } from '../src/observe/logger.ts'
import { replace, serviceDocuments, writeManifests } from './manifests.ts'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'
import { buildProgram } from '../scripts/build.ts'
import { AgentProcess } from './process.ts'
import { ms, nowMs, printTable, quantile, type Row } from './report.ts'
import { type Sinks, startSinks } from './sink.ts'
import { readdirSync, readFileSync } from 'node:fs'

const changes = 200
const sizes = [0, 5_000]

export async function benchLatency(): Promise<void> {
  const rows: Row[] = []
  const sinks = await startSinks({ addresses: sinkAddresses, port: sinkPort, asn: sinkAsn })
  try {
    for (const n of sizes)
      rows.push(
        ...rowsOf(`desired-state event -> UPDATE, ${n} Services present`, await inProcess(sinks, n), {
          p50: 1,
          p99: 5,
        }),
      )
    for (const n of sizes)
      rows.push(...rowsOf(`manifest renamed -> UPDATE, ${n} Services present`, await asProcess(sinks, n)))
  } finally {
    await sinks.stop()
  }
  printTable(`One EndpointSlice changes, ${changes} times, slowest of 4 routers`, rows)
}

function rowsOf(
  what: string,
  latencies: readonly number[],
  goal?: { readonly p50: number; readonly p99: number },
): Row[] {
  return (
    [
      ['p50', 0.5],
      ['p99', 0.99],
    ] as const
  ).map(([name, q]) => {
    const value = quantile(latencies, q)
    return {
      what: `${what}, ${name}`,
      value: ms(value),
      ...(goal === undefined ? {} : { goal: `<= ${goal[name]} ms`, isMet: value <= goal[name] }),
    }
  })
}

/** Makes the changes one by one; each is over when every router heard it. */
async function measure(sinks: Sinks, change: (isReady: boolean) => void): Promise<number[]> {
  const latencies: number[] = []
  for (let i = 0; i < changes; i++) {
    const isReady = i % 2 === 1
    const before = new Map([...sinks.states].map(([address, state]) => [address, state.updates]))
    const at = nowMs()
    change(isReady)
    await sinks.until(
      'the change',
      (states) => states.every((state) => state.updates > (before.get(state.address) ?? 0)),
      5_000,
    )
    latencies.push(Math.max(...[...sinks.states.values()].map((state) => state.lastAt)) - at)
  }
  return latencies
}

async function settled(sinks: Sinks, n: number): Promise<void> {
  await sinks.until(
    `${n} Services at every router`,
    (states) =>
      states.length === sinkAddresses.length && states.every((state) => state.isEstablished && state.announced >= n),
  )
}

async function inProcess(sinks: Sinks, n: number): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-latency-'))
  writeManifests(join(folder, 'manifests'), n + 1)
  const speaker = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
  const source = new MemorySource()
  for (const name of readdirSync(join(folder, 'manifests')).sort())
    for (const { objects } of readDocuments(name, readFileSync(join(folder, 'manifests', name), 'utf8')))
      source.put(...objects)
  const agent = new Agent({
    source,
    translator: createTranslator({ nodeName: 'node1', datapath: 'none', secretsNamespace: 'kube-system' }),
    datapath: createNoneDatapath(),
    speaker,
    marker: new RestartMarker(join(folder, 'state')),
    log: createLogger({ level: 'error', format: 'json' }),
    record: new InForceRecord(join(folder, 'state')),
    links: new MemoryLinks(),
    clock: systemClock,
  })
  try {
    await agent.start()
    await settled(sinks, n + 1)
    // Parsed beforehand: the event is an object, as an API server would deliver it.
    const [gone, ready] = [false, true].map((isReady) =>
      readDocuments('svc-0', serviceDocuments('svc-0', isReady))
        .flatMap(({ objects }) => objects)
        .filter(({ key }) => key.kind === 'EndpointSlice'),
    )
    return await measure(sinks, (isReady) => {
      source.put(...((isReady ? ready : gone) ?? []))
      source.flush()
    })
  } finally {
    await agent.stop()
    await speaker.stop('shutdown', '')
    rmSync(folder, { recursive: true })
  }
}

async function asProcess(sinks: Sinks, n: number): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bn-latency-'))
  const manifests = join(folder, 'manifests')
  writeManifests(manifests, n)
  replace(manifests, 'changing.yaml', serviceDocuments('changing', true))
  const agent = new AgentProcess(folder, buildProgram(), '--datapath', 'none')
  try {
    await settled(sinks, n + 1)
    return await measure(sinks, (isReady) => replace(manifests, 'changing.yaml', serviceDocuments('changing', isReady)))
  } finally {
    await agent.stop()
    rmSync(folder, { recursive: true })
  }
}
