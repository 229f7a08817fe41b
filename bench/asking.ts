/**
 * What questions cost BGP: an agent that holds a full table of 200 000 routes and a session with a hold time of 3 s is
 * asked a thousand pipelined requests, scraped every second, asked for its status five times a second, and has its
 * table listed from end to end, all at once. What the loops of its threads show meanwhile is compared with the same
 * time of rest before.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fetchPeers, fetchRoutes, fetchStatus } from '../src/api/client.ts'
import { startFeed } from './feeder.ts'
import type { LoopLine, LoopThread } from './loop-watch.ts'
import { buildProgram } from '../scripts/build.ts'
import { AgentProcess } from './process.ts'
import { feederAsn, receiverAddress, receiverAsn } from './receivers.ts'
import { ms, nowMs, printTable } from './report.ts'
import { watchOptions } from './watched.ts'

const prefixes = 200_000
const requests = 1_000
/** By then the agent has given back what its start took (src/herald.ts). */
const settledMs = 20_000
const restMs = 5_000
const httpPort = 9_472
const goals = { blockedMs: 5, growthMiB: 32 }
/** Asked in turn by the pipelined requests. */
const paths = [
  '/api/v1/routes?table=received&limit=500',
  '/api/v1/status',
  '/metrics',
  '/api/v1/peers',
  '/api/v1/routes?table=received',
  '/api/v1/explain?kind=route&name=1.0.0.0/24',
  '/api/v1/services',
  '/api/v1/routes?table=advertised&limit=500',
]

interface Asked {
  readonly from: number
  readonly to: number
  readonly answered: number
  readonly listed: number
  readonly peakMiB: number
}

export async function benchAsking(): Promise<void> {
  for (const host of [1, 2, 3]) spawnSync('ip', ['address', 'add', `10.98.0.${host}/32`, 'dev', 'lo'])
  const folder = mkdtempSync(join(tmpdir(), 'bn-asking-'))
  const watch = join(folder, 'loops')
  const built = buildProgram()
  writeManifests(folder)
  process.env['HERALD_LOOP_WATCH'] = watch
  process.env['NODE_OPTIONS'] = watchOptions()
  const agent = new AgentProcess(
    folder,
    built,
    ...['--datapath', 'none', '--bgp-listen', `${receiverAddress}:179`, '--http', `127.0.0.1:${httpPort}`],
  )
  delete process.env['NODE_OPTIONS']
  const feed = await startFeed({ receiver: receiverAddress, asn: feederAsn, prefixes }, true)
  try {
    const socket = join(folder, 'herald.sock')
    while ((await received(socket)) < prefixes) await rest(200)
    await rest(settledMs)
    const restedFrom = nowMs()
    await rest(restMs)
    // The first question of each kind finds code that has not run yet: it counts for the loops, not for memory.
    const firstAskedAt = nowMs()
    for (const path of paths) await (await fetch(`http://127.0.0.1:${httpPort}${path}`)).text()
    const before = agent.rssMiB
    const asked = await ask(socket, agent)
    const gapMs = await feed.longestGapMs()
    const isEveryUp = (await fetchPeers({ socket })).every(({ flaps }) => flaps === 0)
    await rest(500)
    const lines: LoopLine[] = readFileSync(watch, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    report(asked, {
      speaker: worst(lines, 'speaker', firstAskedAt, asked.to),
      main: worst(lines, 'main', firstAskedAt, asked.to),
      atRest: worst(lines, 'speaker', restedFrom, restedFrom + restMs - 500),
      gapMs: isEveryUp ? gapMs : Number.POSITIVE_INFINITY,
      growthMiB: asked.peakMiB - before,
    })
  } finally {
    await feed.stop()
    await agent.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

type Worst = Omit<LoopLine, 'thread' | 'at'>

/** The most of each that a thread had in that time. */
function worst(lines: readonly LoopLine[], thread: LoopThread, from: number, to: number): Worst {
  const during = lines.filter((line) => line.thread === thread && line.at >= from && line.at <= to + 250)
  const most = (what: keyof Worst): number => Math.max(...during.map((line) => line[what]))
  return {
    ...{ blockedMs: most('blockedMs'), computedMs: most('computedMs'), waitedMs: most('waitedMs') },
    ...{ collectedMs: most('collectedMs'), heapMiB: most('heapMiB'), externalMiB: most('externalMiB') },
  }
}

interface Figures {
  readonly speaker: Worst
  readonly main: Worst
  readonly atRest: Worst
  readonly gapMs: number
  readonly growthMiB: number
}

function report(asked: Asked, { speaker, main, atRest, gapMs, growthMiB }: Figures): void {
  const isKept = Number.isFinite(gapMs)
  printTable(`${requests} pipelined requests, scrapes, status and a whole listing, ${prefixes} routes held`, [
    { what: 'answered', value: `${asked.answered} in ${ms(asked.to - asked.from)}; ${asked.listed} routes listed` },
    {
      what: "longest block of the speaker's loop by its own work",
      value: `${ms(speaker.computedMs)} (at rest ${ms(atRest.computedMs)})`,
      goal: `<= ${goals.blockedMs} ms`,
      isMet: speaker.computedMs <= goals.blockedMs,
    },
    { what: '  of that garbage collection, at most', value: ms(speaker.collectedMs) },
    {
      what: '  with what others took of both processors meanwhile',
      value: `${ms(speaker.blockedMs)}, it waited for one ${ms(speaker.waitedMs)} (at rest ${ms(atRest.blockedMs)})`,
    },
    { what: 'longest block of the main loop', value: `${ms(main.blockedMs)}, its own work ${ms(main.computedMs)}` },
    {
      what: 'session with a hold time of 3 s: longest time without a KEEPALIVE',
      value: isKept ? ms(gapMs) : 'session lost',
      goal: '0 lost',
      isMet: isKept,
    },
    {
      what: 'resident memory, growth at its peak beyond what one question of each kind took',
      value: `${growthMiB.toFixed(1)} MiB`,
      goal: `< ${goals.growthMiB} MiB`,
      isMet: growthMiB < goals.growthMiB,
    },
    {
      what: "  the engine's memory then: main thread and speaker, of objects and beside them",
      value: [main, speaker]
        .map(({ heapMiB, externalMiB }) => `${heapMiB.toFixed(0)} + ${externalMiB.toFixed(0)}`)
        .join(' and ')
        .concat(' MiB'),
    },
  ])
}

async function ask(socket: string, agent: AgentProcess): Promise<Asked> {
  const from = nowMs()
  let isOver = false
  let peakMiB = 0
  const repeat = async (everyMs: number, what: () => Promise<unknown>): Promise<void> => {
    while (!isOver) {
      await what()
      await rest(everyMs)
    }
  }
  const others = [
    repeat(1_000, async () => (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text()),
    repeat(200, () => fetchStatus({ socket })),
    repeat(50, async () => (peakMiB = Math.max(peakMiB, agent.rssMiB))),
  ]
  const [answered, listed] = await Promise.all([pipelined(), list(socket)]).finally(() => (isOver = true))
  await Promise.all(others)
  return { from, to: nowMs(), answered, listed, peakMiB }
}

async function list(socket: string): Promise<number> {
  let listed = 0
  for await (const page of fetchRoutes({ socket }, { table: 'received', family: 'ipv4-unicast' })) listed += page.length
  return listed
}

/** All in one write; how many were answered with 200. */
function pipelined(): Promise<number> {
  return new Promise((resolve, reject) => {
    let answered = 0
    let rest = ''
    const socket = net.connect(httpPort, '127.0.0.1', () =>
      socket.write(
        Array.from(
          { length: requests },
          (_, i) =>
            `GET ${paths[i % paths.length]} HTTP/1.1\r\nHost: ` +
            `x\r\n${i === requests - 1 ? 'Connection: close\r\n' : ''}\r\n`,
        ).join(''),
      ),
    )
    socket.on('data', (chunk: Buffer) => {
      const text = rest + chunk.toString('latin1')
      answered += text.split('HTTP/1.1 200 ').length - 1
      rest = text.slice(-12)
    })
    socket.on('close', () => resolve(answered))
    socket.on('error', reject)
  })
}

async function received(socket: string): Promise<number> {
  const peers = await fetchPeers({ socket }).catch(() => [])
  return peers[0]?.families[0]?.received ?? 0
}

function writeManifests(folder: string): void {
  const manifests = join(folder, 'manifests')
  mkdirSync(manifests, { recursive: true })
  const neighbors = [
    `{peerAddress: 10.98.0.2/32, peerASN: ${feederAsn}}`,
    `{peerAddress: 10.98.0.3/32, peerASN: ${feederAsn}, holdTimeSeconds: 3, keepAliveTimeSeconds: 1}`,
  ]
  writeFileSync(
    join(manifests, 'all.yaml'),
    `apiVersion: v1
kind: Node
metadata: {name: node1}
status: {addresses: [{type: InternalIP, address: ${receiverAddress}}]}
---
apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata:
  name: asking
  annotations: {herald.dev/neighbors: '{"*": {passive: true}}'}
spec:
  nodeSelector: {}
  virtualRouters:
  - {localASN: ${receiverAsn}, neighbors: [${neighbors.join(', ')}]}
`,
  )
}

const rest = (forMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, forMs))
