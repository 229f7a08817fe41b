/**
 * `npm run bench -- survive [ROW ...]`: the table "Nothing lost", counted with load running. `--flows N` holds so many
 * connections; a small number of them makes a small stage, which takes a minute.
 */
import { messageOf } from '../src/errors.ts'
import { buildBpf } from '../scripts/build-bpf.ts'
import { benchFlows } from './flags.ts'
import { printTable, type Row } from './report.ts'
import { checkedOut, diskFull, fileAbsent, folderReplaced, forged, sourceAway, synFlood } from './survive/adversity.ts'
import {
  backendAdded,
  backendRemoved,
  backendTerminating,
  churned,
  drained,
  type Event,
  killed,
  nodeOff,
  nodeWithdrawn,
  readinessFlaps,
  upgraded,
} from './survive/events.ts'
import { Stage, type StageSize } from './survive/stage.ts'

const events: Readonly<Record<string, Event>> = {
  killed,
  upgraded,
  churned,
  'backend-added': backendAdded,
  'backend-removed': backendRemoved,
  'backend-terminating': backendTerminating,
  'readiness-flaps': readinessFlaps,
  'syn-flood': synFlood,
  forged,
  'source-away': sourceAway,
  'file-absent': fileAbsent,
  'checked-out': checkedOut,
  'folder-replaced': folderReplaced,
  'disk-full': diskFull,
  drained,
  'node-withdrawn': nodeWithdrawn,
  'node-off': nodeOff,
}
export const surviveRows: readonly string[] = Object.keys(events)
const smallFlows = 1_000

function sizeOf(flows: number): StageSize {
  return flows < smallFlows
    ? { flows, services: 10, churn: 50, flood: 20_000 }
    : { flows, services: 100, churn: 1_000, flood: 600_000 }
}

/** All rows when none is named. Throws ERR_LAB when the stage cannot be had. */
export async function benchSurvive(rows: readonly string[]): Promise<void> {
  buildBpf()
  const size = sizeOf(benchFlows() ?? 10_000)
  const stage = await Stage.open(size)
  const table: Row[] = []
  try {
    for (const name of rows.length === 0 ? surviveRows : rows) {
      const event = events[name]
      if (event !== undefined) table.push(await rowOf(stage, name, event))
    }
  } finally {
    await stage.close()
  }
  const title = `Nothing lost: ${size.flows} connections with ${size.services} Services, and datagrams with each`
  printTable(`${title}, 3 nodes, 4 pods, 2 routers (FRR)`, table)
}

/**
 * A row that cannot be counted is one that is missed, and the others go on. Each is told at once: the whole takes long.
 */
async function rowOf(stage: Stage, name: string, event: Event): Promise<Row> {
  const started = performance.now()
  const { value, isMet = false } = await event
    .run(stage)
    .catch((error: unknown) => ({ value: `not counted: ${messageOf(error)}`, isMet: false }))
  const seconds = ((performance.now() - started) / 1_000).toFixed(0)
  process.stderr.write(`  ${name}, ${seconds} s: ${value}: ${isMet ? 'met' : 'missed'}\n`)
  return { what: event.what, goal: event.goal, value, isMet }
}
