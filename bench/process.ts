/**
 * The agent as a process of its own, as it is released (the built program) or of the sources, with what Linux says of
 * it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** USER_HZ: /proc counts CPU time in hundredths of a second. */
const tickMs = 10

export class AgentProcess {
  readonly #child: ChildProcess

  /** `program`: the entry of the command line. */
  constructor(folder: string, program: string, ...flags: readonly string[]) {
    this.#child = spawn(
      process.execPath,
      [
        program,
        'agent',
        '--node-name',
        'node1',
        '--manifests',
        join(folder, 'manifests'),
        '--bgp-listen',
        'none',
        '--http',
        'none',
        '--state-dir',
        join(folder, 'state'),
        '--socket',
        join(folder, 'herald.sock'),
        '--log-level',
        'error',
        ...flags,
      ],
      { stdio: 'inherit' },
    )
  }

  get rssMiB(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(this.#proc('status'))?.[1] ?? 0) / 1024
  }

  /** CPU time so far. */
  get cpuMs(): number {
    const fields = this.#proc('stat')
      .replace(/^.*\) /, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) * tickMs
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGINT')
    await exited
  }

  #proc(name: string): string {
    return readFileSync(`/proc/${this.#child.pid ?? 0}/${name}`, 'utf8')
  }
}
