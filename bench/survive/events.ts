/** Events of the table "Nothing lost": agents, Services, endpoints and nodes come and go. Each says what it counts. */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../../lab/until.ts'
import { RouteMonitor } from '../../lab/watch.ts'
import { buildProgram } from '../../scripts/build.ts'
import { HeraldError } from '../../src/errors.ts'
import { ms, nowMs, type Row } from '../report.ts'
import { heldFlows, isUndisturbed, isWithout, lossText, lostFlows } from './loss.ts'
import { passingServices } from './manifests.ts'
import { everyMs, type Loss, type Stage } from './stage.ts'
import { whileWatched } from './watched.ts'

export interface Event {
  readonly what: string
  readonly goal: string
  /** So many nodes; three where nothing is said. */
  readonly nodes?: number
  /** Agents read an API server in place of a folder. */
  readonly isOfServer?: boolean
  run(stage: Stage): Promise<Pick<Row, 'value' | 'isMet'>>
}

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
/** The pod that something happens to, beside which its node has another one; the nodes that something happens to. */
const [somePod, someNode, offNode] = ['pod1a', 'node1', 'node2'] as const
/** Longer than the while for which flows to a backend that was removed go on. */
const longMs = 35_000
/** For changes to come from a file into the kernel and to the routers. */
const changeMs = 2_000

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export async function backAgain(stage: Stage): Promise<void> {
  await stage.settled()
  await stage.whole()
}

const without = (loss: Loss): Pick<Row, 'value' | 'isMet'> => ({ value: lossText(loss), isMet: isWithout(loss) })

function startedAgain(what: string, signal: 'KILL' | 'TERM'): Event {
  return {
    what,
    goal: '0 lost',
    run: async (stage) =>
      without(
        await stage.measured(async () => {
          for (const node of stage.rack.nodes) {
            await stage.lab.killCommand(node, signal)
            await pause(everyMs)
            stage.lab.startCommand(node)
            await backAgain(stage)
          }
        }),
      ),
  }
}

export const killed = startedAgain('agents killed with SIGKILL and restarted, one after the other', 'KILL')
export const restarted = startedAgain('agents ended with SIGTERM and started again, one after the other', 'TERM')

/** The bundled program in the place of the sources, and these again. */
export const upgraded: Event = {
  what: 'agent upgraded to the bundled program, and back',
  goal: '0 lost',
  run: async (stage) => {
    const place = join(root, 'build')
    mkdirSync(place, { recursive: true })
    const folder = mkdtempSync(join(place, 'survive-'))
    try {
      const program = buildProgram(folder)
      return without(await stage.measured(() => upgrade(stage, program)))
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
}

async function upgrade(stage: Stage, program: string): Promise<void> {
  const { lab } = stage
  const node = lab.node(someNode)
  const cmd = lab.topology.nodes.find(({ name }) => name === someNode)?.cmd ?? []
  await lab.killCommand(someNode, 'TERM')
  const [log, pidFile] = [openSync(lab.logFile(someNode), 'a'), '/run/upgraded.pid']
  const child = node.start(['sh', '-c', `echo $$ > ${pidFile}; exec "$@"`, 'sh', 'node', program, ...cmd], log)
  closeSync(log)
  await backAgain(stage)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  await node.must(['sh', '-c', `kill -TERM "$(cat ${pidFile})"`])
  await ended
  lab.startCommand(someNode)
  await backAgain(stage)
}

export const churned: Event = {
  what: '1 000 Services added and removed',
  goal: '0 lost, 0 resets',
  run: async (stage) => {
    const [files, perFile] = [10, stage.size.churn / 10]
    const loss = await stage.measured(async () => {
      for (let n = 0; n < files; n++)
        stage.write(`passing-${n}.yaml`, passingServices(n * perFile, perFile, stage.endpoints))
      await served(stage, stage.size.services + stage.size.churn)
      for (let n = 0; n < files; n++) rmSync(stage.manifest(`passing-${n}.yaml`))
      await served(stage, stage.size.services)
    })
    return { value: lossText(loss), isMet: isUndisturbed(loss) }
  },
}

/** Every agent has so many Services in force. */
async function served(stage: Stage, count: number): Promise<void> {
  for (const node of stage.rack.nodes)
    await until(
      `${node} serves ${count} Services`,
      async () => (await stage.rack.status(node)).services,
      ({ announced, total }) => announced === count && total === count,
      { deadlineMs: 60_000, signal: stage.lab.signal },
    )
}

export const backendAdded: Event = {
  what: 'backend added',
  goal: '0 lost',
  run: async (stage) => {
    stage.setEndpoints(({ pod }) => (pod === somePod ? null : undefined))
    await stage.hasBackend(somePod, undefined)
    // What was on it is opened anew elsewhere, at the end of its time to drain.
    await pause(longMs)
    const loss = await stage.measured(async () => {
      stage.setEndpoints(() => undefined)
      await stage.hasBackend(somePod, 'active')
      await pause(everyMs)
    })
    return { value: lossText(loss), isMet: lostFlows(loss) + loss.refused + loss.failed === 0 }
  },
}

export const backendRemoved: Event = {
  what: 'backend killed and removed',
  goal: '0 flows lost on other backends',
  run: async (stage) => {
    await stage.spread()
    const loss = await stage.measured(async () => {
      await stage.lab.killCommand(somePod, 'KILL')
      stage.setEndpoints(({ pod }) => (pod === somePod ? null : undefined))
      await stage.hasBackend(somePod, undefined)
      await pause(everyMs)
    })
    stage.lab.startCommand(somePod)
    stage.setEndpoints(() => undefined)
    await stage.hasBackend(somePod, 'active')
    const others = (pod: string): boolean => pod !== somePod
    const lost = lostFlows(loss, others)
    return { value: `${lost} of ${heldFlows(loss, others)}; ${lossText(loss)}`, isMet: lost === 0 }
  },
}

export const backendTerminating: Event = {
  what: 'backend terminating for 35 s',
  goal: '0 flows lost',
  run: async (stage) => {
    await stage.spread()
    const loss = await stage.measured(async () => {
      stage.setEndpoints(({ pod }) => (pod === somePod ? { ready: false, terminating: true } : undefined))
      await stage.hasBackend(somePod, 'resting')
      await pause(longMs)
    })
    stage.setEndpoints(() => undefined)
    await stage.hasBackend(somePod, 'active')
    return { value: lossText(loss), isMet: lostFlows(loss) + loss.refused === 0 }
  },
}

export const readinessFlaps: Event = {
  // Of all clocks only that of a removed pod, 30 s, could end a flow.
  what: 'readiness flaps for 10 s, then 35 s of not ready (30 minutes, cut short)',
  goal: '0 connections reset',
  run: async (stage) => {
    await stage.spread()
    const loss = await stage.measured(async () => {
      for (let n = 0; n < 50; n++) {
        // Never all pods of a node: its route would go, which is what it is for.
        stage.setEndpoints(({ pod }) => (pod === (n % 2 === 0 ? 'pod1a' : 'pod1b') ? { ready: false } : undefined))
        await pause(200)
      }
      await pause(longMs)
      stage.setEndpoints(() => undefined)
      await pause(changeMs)
    })
    return { value: lossText(loss), isMet: lostFlows(loss) + loss.refused + loss.failed === 0 }
  },
}

/** Of what other nodes serve: the goal asks for those. */
function onOthers(loss: Loss, stage: Stage, node: string): { lost: number; held: number } {
  const others = (pod: string): boolean => stage.nodeOf(pod) !== node
  return { lost: lostFlows(loss, others), held: heldFlows(loss, others) }
}

export const nodeWithdrawn: Event = {
  what: 'one of eight announcing nodes withdrawn: routers hash anew',
  nodes: 8,
  goal: '>= 99.99 % of flows on the others survive',
  run: async (stage) => {
    await stage.spread()
    const loss = await stage.measured(async () => {
      await stage.lab.killCommand(someNode, 'INT')
      await stage.whole(
        30_000,
        stage.rack.nodes.filter((node) => node !== someNode),
      )
      await pause(everyMs)
    })
    stage.lab.startCommand(someNode)
    await backAgain(stage)
    const { lost, held } = onOthers(loss, stage, someNode)
    const kept = ((held - lost) * 100) / held
    return { value: `${kept.toFixed(2)} % (${lost} of ${held} lost); ${lossText(loss)}`, isMet: kept >= 99.99 }
  },
}

/** Its links go, and whatever ran on it: nobody says good-bye. */
export const nodeOff: Event = {
  what: 'node power-off',
  goal: 'routers drop it <= 500 ms with BFD 3 x 100 ms',
  run: async (stage) => whileWatched(stage, () => powerOff(stage)),
}

async function powerOff(stage: Stage): Promise<Pick<Row, 'value' | 'isMet'>> {
  await stage.spread()
  const { lab, rack } = stage
  const monitors = rack.routers.map((router) => new RouteMonitor(lab, router))
  const port = (state: 'up' | 'down'): Promise<unknown> =>
    Promise.all(
      rack.routers.map((router) => lab.node(router).must(['ip', 'link', 'set', portOf(stage, router), state])),
    )
  let tookMs = Number.NaN
  const loss = await stage.measured(async () => {
    await port('down')
    const at = nowMs()
    await lab.killCommand(offNode, 'KILL')
    await stage.whole(
      100_000,
      rack.nodes.filter((node) => node !== offNode),
    )
    // When the last route was another one; asking for them takes longer.
    tookMs = Math.max(...monitors.map(({ lastAtMs }) => lastAtMs)) - at
  })
  for (const monitor of monitors) monitor.stop()
  await port('up')
  lab.startCommand(offNode)
  await backAgain(stage)
  const { lost, held } = onOthers(loss, stage, offNode)
  return {
    value: `${ms(tookMs)}; ${lost} of ${held} flows on the others lost; ${lossText(loss)}`,
    isMet: tookMs <= 500,
  }
}

/** The interface of a router that leads to the node that goes. */
function portOf({ lab }: Stage, router: string): string {
  for (const { ends } of lab.topology.links) {
    const [near, far] = [ends.find(({ node }) => node === router), ends.find(({ node }) => node === offNode)]
    if (near !== undefined && far !== undefined) return near.interface
  }
  throw new HeraldError('ERR_LAB', `no link between ${router} and ${offNode}`)
}

/** What was on the node goes with its routes; nobody new may be refused. */
export const drained: Event = {
  what: 'drain, and its undoing',
  goal: '0 refused connections',
  run: async (stage) => {
    await stage.spread()
    const loss = await stage.measured(async () => {
      await stage.herald(someNode, 'drain')
      await stage.whole(
        30_000,
        stage.rack.nodes.filter((node) => node !== someNode),
      )
      await pause(everyMs)
      await stage.herald(someNode, 'drain', '--undo')
      await stage.whole()
    })
    return { value: `${loss.refused} refused; ${lossText(loss)}`, isMet: loss.refused + loss.failed === 0 }
  },
}
