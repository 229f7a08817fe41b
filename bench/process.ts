/**
 * Processes of their own, with what Linux says of them: the agent as it is released (the built program) or of the
 * sources.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { agentFlags } from '../src/cli/hand-over.ts'

/** USER_HZ: /proc counts CPU time in hundredths of a second. */
const tickMs = 10

export class MeasuredProcess {
  readonly #child: ChildProcess

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.#child = spawn(command, args, { stdio: 'inherit', env })
  }

  get rssMiB(): number {
    return this.#statusMiB('VmRSS')
  }

  /** Of {@link rssMiB}: pages of program files, which the kernel takes back as it likes. */
  get fileMiB(): number {
    return this.#statusMiB('RssFile')
  }

  /** Of pages that several processes have mapped only the share of this one. */
  get pssMiB(): number {
    return Number(/^Pss:\s+(\d+)/m.exec(this.#proc('smaps_rollup'))?.[1] ?? 0) / 1024
  }

  /** CPU time so far. */
  get cpuMs(): number {
    const fields = this.#proc('stat')
      .replace(/^.*\) /, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) * tickMs
  }

  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill(signal)
    await exited
  }

  #statusMiB(name: string): number {
    return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(this.#proc('status'))?.[1] ?? 0) / 1024
  }

  #proc(name: string): string {
    return readFileSync(`/proc/${this.#child.pid ?? 0}/${name}`, 'utf8')
  }
}

/** How the agent of a program is started, whose entry of the command line this is: built, as an image does it. */
export function agentOf(program: string): readonly string[] {
  return program.endsWith('.ts')
    ? [program, 'agent']
    : [...agentFlags, join(dirname(dirname(program)), 'start.cjs'), 'agent']
}

export class AgentProcess extends MeasuredProcess {
  /** `program`: the entry of the command line. */
  constructor(folder: string, program: string, ...flags: readonly string[]) {
    super(process.execPath, [
      ...agentOf(program),
      ...['--node-name', 'node1', '--manifests', join(folder, 'manifests')],
      ...['--bgp-listen', 'none', '--http', 'none', '--state-dir', join(folder, 'state')],
      ...['--socket', join(folder, 'herald.sock'), '--log-level', 'error', ...flags],
    ])
  }
}
