/**
 * The load, in the client's network: connections that are held and exercised, opened again when they are lost, beside
 * fresh ones that last for one exchange, and datagrams. A process told what to do by lines of JSON (see told.ts).
 */
import { performance } from 'node:perf_hooks'
import { Datagrams } from './datagrams.ts'
import { Flow } from './flow.ts'
import { answerLines } from './told.ts'

export interface Hold {
  readonly do: 'hold'
  readonly addresses: readonly string[]
  readonly flows: number
  /** Between two exchanges of one flow; 0: it is idle. */
  readonly everyMs: number
}

export type LoadCommand =
  | Hold
  | { readonly do: 'pace'; readonly everyMs: number }
  /** What is held from now on is counted when it is lost; what is opened later fails. */
  | { readonly do: 'mark' }
  /** Ends every flow in order; they are opened again, as the routers and nodes spread them now. */
  | { readonly do: 'renew' }
  | { readonly do: 'counts' }
  /** Every flow exchanges once; those that have not answered in time are lost. */
  | { readonly do: 'prove' }
  | { readonly do: 'flows' }

/** All since the start. */
export interface LoadCounts {
  readonly open: number
  readonly openByPod: Readonly<Record<string, number>>
  /** Reset, closed, or silent for too long, by the pod that served them. */
  readonly lostByPod: Readonly<Record<string, number>>
  /** The same by pod and error code. */
  readonly lostHow: Readonly<Record<string, number>>
  /** Answers that came from another pod than the one before. */
  readonly moved: number
  readonly exchanges: number
  /** Connections that were opened: to hold, or fresh ones. */
  readonly opened: number
  readonly refused: number
  /** Not answered in time, reset before the first answer, or lost in the event in which they were opened. */
  readonly failed: number
  readonly datagrams: number
  readonly datagramsLost: number
}

export interface HeldFlow {
  readonly localPort: number
  readonly address: string
  readonly pod: string
}

const tickMs = 50
const openedPerTick = 60
const mostOpening = 300
const openDeadlineMs = 5_000
const proofDeadlineMs = 12_000
/** Datagrams that are on their way may come so long. */
const settleMs = 1_600

let addresses: readonly string[] = []
let wanted = 0
let everyMs = 0
let next = 0
const flows = new Set<Flow>()
const opening = new Set<Flow>()
const fresh = new Set<Flow>()
const datagrams = new Datagrams()
const lostByPod: Record<string, number> = {}
const lostHow: Record<string, number> = {}
const counts = { moved: 0, exchanges: 0, opened: 0, refused: 0, failed: 0 }
/** Where the next exchange of the round goes. */
let round: Iterator<Flow> = flows.values()
let owed = 0

function begin(kind: Set<Flow>): void {
  const address = addresses[next++ % addresses.length] ?? ''
  const flow = new Flow(address, {
    answered: (isFirst, isMoved) => {
      counts.exchanges++
      if (isMoved) counts.moved++
      if (!isFirst) return
      counts.opened++
      kind.delete(flow)
      if (kind === opening) flows.add(flow)
      else flow.end()
    },
    ended: (code) => {
      if (flows.delete(flow)) {
        if (flow.isCounted) {
          lostByPod[flow.pod] = (lostByPod[flow.pod] ?? 0) + 1
          const how = `${flow.pod} ${code}`
          lostHow[how] = (lostHow[how] ?? 0) + 1
        } else counts.failed++
      }
      if (kind.delete(flow)) counts[code === 'ECONNREFUSED' ? 'refused' : 'failed']++
    },
  })
  kind.add(flow)
}

function tick(): void {
  const now = performance.now()
  for (const kind of [opening, fresh])
    for (const flow of kind) if (now - flow.startedMs > openDeadlineMs) flow.fail('no answer in time')
  for (let n = 0; n < openedPerTick && flows.size + opening.size < wanted && opening.size < mostOpening; n++)
    begin(opening)
  if (addresses.length > 0) begin(fresh)
  datagrams.tick(now)
  if (everyMs === 0) return
  for (owed += (flows.size * tickMs) / everyMs; owed >= 1; owed--) {
    let found = round.next()
    if (found.done === true) {
      round = flows.values()
      found = round.next()
    }
    if (found.done !== true && !found.value.isWaiting) found.value.ask()
  }
}

async function prove(): Promise<number> {
  const asked = [...flows]
  const deadline = performance.now() + proofDeadlineMs
  for (const [n, flow] of asked.entries()) {
    if (!flow.isWaiting) flow.ask()
    // Ten thousand at once would be a burst that no link of the stage has to take.
    if (n % 500 === 499) await pause(20)
  }
  const silent = (): Flow[] => asked.filter((flow) => flow.isWaiting && flows.has(flow))
  while (silent().length > 0 && performance.now() < deadline) await pause(50)
  const lost = silent()
  for (const flow of lost) flow.fail('no answer in time')
  await pause(settleMs)
  return lost.length
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function countsNow(): LoadCounts {
  const openByPod: Record<string, number> = {}
  for (const { pod } of flows) openByPod[pod] = (openByPod[pod] ?? 0) + 1
  const { sent, lost } = datagrams
  return {
    open: flows.size,
    openByPod,
    lostByPod: { ...lostByPod },
    lostHow: { ...lostHow },
    ...counts,
    moved: counts.moved + datagrams.moved,
    datagrams: sent,
    datagramsLost: lost,
  }
}

function perform(command: LoadCommand): unknown {
  switch (command.do) {
    case 'hold':
      ;({ addresses, flows: wanted, everyMs } = command)
      datagrams.begin(addresses)
      return 'held'
    case 'pace':
      ;({ everyMs } = command)
      return 'paced'
    case 'mark':
      for (const flow of flows) flow.isCounted = true
      return 'marked'
    case 'renew':
      for (const flow of flows) flow.end()
      flows.clear()
      return 'renewed'
    case 'counts':
      return countsNow()
    case 'prove':
      return prove()
    case 'flows':
      return [...flows].map(({ localPort, address, pod }): HeldFlow => ({ localPort, address, pod }))
  }
}

if (import.meta.main) {
  setInterval(tick, tickMs)
  answerLines(perform)
}
