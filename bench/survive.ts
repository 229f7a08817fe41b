/**
 * `npm run bench -- survive [ROW ...]`: the table "Nothing lost", counted with load running. `--flows N` holds so many
 * connections; a small number of them makes a small stage, which takes a minute.
 */
import { HeraldError, messageOf } from '../src/errors.ts'
import { buildBpf } from '../scripts/build-bpf.ts'
import { ensureBinaries } from '../test/apiserver/binaries.ts'
import { ensureHelm } from '../test/helm/binary.ts'
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
  restarted,
  upgraded,
} from './survive/events.ts'
import { objectsMalformed, serverAway, storeRestarted, watchExpired } from './survive/server.ts'
import type { StageShape } from './survive/shape.ts'
import { Stage, type StageSize } from './survive/stage.ts'
import { takenOverFrom, takenOverGracefully } from './survive/taken-over.ts'

const events: Readonly<Record<string, Event>> = {
  killed,
  restarted,
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
  'node-off': nodeOff,
  'node-withdrawn': nodeWithdrawn,
  'taken-over': takenOverFrom,
  'taken-over-gracefully': takenOverGracefully,
  'server-away': serverAway,
  'store-restarted': storeRestarted,
  'watch-expired': watchExpired,
  'objects-malformed': objectsMalformed,
}
export const surviveRows: readonly string[] = Object.keys(events)
const smallFlows = 1_000
const usualNodes = 3

function sizeOf(flows: number): StageSize {
  return flows < smallFlows
    ? { flows, services: 10, churn: 50, flood: 20_000 }
    : { flows, services: 100, churn: 1_000, flood: 600_000 }
}

/** All rows when none is named. Throws ERR_LAB when a stage cannot be had. */
export async function benchSurvive(rows: readonly string[]): Promise<void> {
  buildBpf()
  const size = sizeOf(benchFlows() ?? 10_000)
  const named = rows.length === 0 ? surviveRows : rows
  const wanted = named.flatMap((name) => (events[name] === undefined ? [] : [{ name, event: events[name] }]))
  const stages = Map.groupBy(wanted, ({ event }) => `${event.nodes ?? usualNodes} ${event.isOfServer === true}`)
  for (const all of stages.values()) await onStage(size, await shapeOf(all[0]?.event), all)
}

interface NamedEvent {
  readonly name: string
  readonly event: Event
}

/** One table for the rows that want the same stage. */
async function onStage(size: StageSize, shape: StageShape, wanted: readonly NamedEvent[]): Promise<void> {
  const stage = await Stage.open(size, shape)
  const table: Row[] = []
  try {
    for (const { name, event } of wanted) table.push(await rowOf(stage, name, event))
  } finally {
    await stage.close()
  }
  const load = `${size.flows} connections with ${size.services} Services, and datagrams with each`
  const source = shape.programs === undefined ? '' : `, kube-apiserver ${shape.programs.version}`
  const { nodes } = shape
  printTable(`Nothing lost: ${load}, ${nodes} nodes, ${nodes + 1} pods, 2 routers (FRR)${source}`, table)
}

async function shapeOf(event: Event | undefined): Promise<StageShape> {
  const nodes = event?.nodes ?? usualNodes
  if (event?.isOfServer !== true) return { nodes }
  const told = (text: string): void => void process.stderr.write(`  ${text}\n`)
  const [server, helm] = [await ensureBinaries(told), await ensureHelm(told)]
  if (typeof server === 'string') throw new HeraldError('ERR_LAB', server)
  if ('reason' in helm) throw new HeraldError('ERR_LAB', helm.reason)
  return { nodes, programs: { ...server, helm: helm.path } }
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
