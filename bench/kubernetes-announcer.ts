/** Who announces in **kubernetes**: Herald's operator and one agent as processes of the built program, or a command. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { buildProgram } from '../scripts/build.ts'
import type { Cluster } from '../test/apiserver/cluster.ts'
import { waitFor } from '../test/wait.ts'
import { benchAnnouncer } from './flags.ts'
import type { LoopLine } from './loop-watch.ts'
import { agentOf, MeasuredProcess } from './process.ts'
import { nowMs } from './report.ts'
import { watchOptions } from './watched.ts'

export const faces = ['operator', 'agent'] as const
export type Face = (typeof faces)[number]

type MemoryFigure = 'rssMiB' | 'fileMiB' | 'pssMiB'

export class Announcer {
  readonly #cluster: Cluster
  readonly #program = benchAnnouncer() === undefined ? buildProgram() : ''
  #processes: readonly MeasuredProcess[] = []
  /** What is measured first is the loading of the program, before which there is no session. */
  #isLoading = false

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * `isWatched`: for {@link computedMs}. The watch wakes each thread a thousand times a second, and is no small
   * program.
   */
  start(isWatched = false): void {
    const other = benchAnnouncer()
    if (other !== undefined) {
      const { kubeconfig } = this.#cluster
      const env = { ...process.env, KUBECONFIG: kubeconfig, NODE_NAME: 'node1' }
      this.#processes = [new MeasuredProcess('sh', ['-c', `exec ${other.command}`], env)]
      return
    }
    for (const face of faces) rmSync(this.#loopsOf(face), { force: true })
    this.#isLoading = true
    this.#processes = faces.map((face) => this.#run(face, isWatched))
  }

  #run(face: Face, isWatched: boolean): MeasuredProcess {
    const { folder, kubeconfig } = this.#cluster
    const common = ['--kubeconfig', kubeconfig, '--http', 'none', '--log-level', 'error']
    const own = ['--datapath', 'none', '--bgp-listen', 'none', '--state-dir', join(folder, 'state')]
    const agent = [...agentOf(this.#program), '--node-name', 'node1', '--socket', join(folder, 'sock'), ...own]
    const words: Readonly<Record<Face, readonly string[]>> = { operator: [this.#program, 'operator'], agent }
    const watched = { HERALD_LOOP_WATCH: this.#loopsOf(face), NODE_OPTIONS: watchOptions() }
    const env = { ...process.env, ...(isWatched ? watched : {}) }
    return new MeasuredProcess(process.execPath, [...words[face], ...common], env)
  }

  /** As a node is upgraded: its agent alone. Answers the clock of its start. */
  async restartAgent(): Promise<number> {
    const [operator, agent] = this.#processes
    if (operator === undefined || agent === undefined) throw new Error('only of our own two processes')
    await agent.stop('SIGTERM')
    const from = nowMs()
    this.#processes = [operator, this.#run('agent', false)]
    return from
  }

  #loopsOf(face: Face): string {
    return join(this.#cluster.folder, `loops-${face}`)
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.stop(signal)))
    this.#processes = []
  }

  /** Of all processes. */
  get memory(): Record<MemoryFigure, number> {
    const sumOf = (each: MemoryFigure): number => this.#processes.reduce((sum, one) => sum + one[each], 0)
    return { rssMiB: sumOf('rssMiB'), fileMiB: sumOf('fileMiB'), pssMiB: sumOf('pssMiB') }
  }

  /** CPU time so far, of each process. */
  get cpuMs(): readonly number[] {
    return this.#processes.map((each) => each.cpuMs)
  }

  /** The longest that each main loop computed between two of its rounds, since the last question. */
  async computedMs(): Promise<Readonly<Record<Face, number>>> {
    const [operator, agent] = await Promise.all(faces.map((face) => this.#computedMs(face)))
    this.#isLoading = false
    return { operator: operator ?? Number.NaN, agent: agent ?? Number.NaN }
  }

  /** What was computed until now is in the first line that is written later. */
  async #computedMs(face: Face): Promise<number> {
    const asked = nowMs()
    const file = this.#loopsOf(face)
    let lines: readonly LoopLine[] = []
    await waitFor(`loops of the ${face}`, () => {
      lines = readLines(file).filter(({ thread }) => thread === 'main')
      return (lines.at(-1)?.at ?? 0) > asked
    })
    rmSync(file)
    return Math.max(...(this.#isLoading ? lines.slice(1) : lines).map(({ computedMs }) => computedMs))
  }
}

function readLines(file: string): readonly LoopLine[] {
  try {
    return readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line): LoopLine => JSON.parse(line))
  } catch {
    // Not there yet, or half of a line.
    return []
  }
}
