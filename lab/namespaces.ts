/**
 * One node as a set of namespaces (net, mount, uts, ipc, pid), held by one process.
 *
 *     us --pipe--> unshare --fork--> process 1 of the node (sh, then cat)
 *                                      `-- everything that is started in the node
 *
 * Process 1 reads the pipe and nothing ever comes: when the node is destroyed, or when we end however we end, the
 * pipe closes, process 1 ends and the kernel ends every other process in it; interfaces, mounts and pinned BPF
 * objects go with the namespaces. There is nothing on the host to clean up.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import { HeraldError } from '../src/errors.ts'

export interface NodeSetup {
  readonly name: string
  readonly privateFolders: readonly string[]
  readonly hasBpffs: boolean
  readonly binds: readonly {
    readonly source: string
    readonly isFolder: boolean
    readonly target: string
    readonly isReadOnly: boolean
  }[]
  readonly sysctls: Readonly<Record<string, string>>
  readonly env: Readonly<Record<string, string>>
}

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly timeoutMs?: number
  /** Ends the program. */
  readonly signal?: AbortSignal
}

const commandTimeoutMs = 20_000
const destroyTimeoutMs = 5_000
const afterExitMs = 1_000

export function shellQuote(text: string): string {
  return "'" + text.split("'").join("'\\''") + "'"
}

/** Runs a program to its end, shielded from the terminal's Ctrl-C; never rejects for a bad exit code. */
export function run(
  argv: readonly string[],
  options: RunOptions & { readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  const [program = '', ...args] = argv
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.env ?? process.env,
      ...(options.signal && { signal: options.signal, killSignal: 'SIGKILL' }),
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? commandTimeoutMs)
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    const end = (code: number, more = ''): void => {
      clearTimeout(timer)
      child.stdout.destroy()
      child.stderr.destroy()
      resolve({ code, stdout, stderr: stderr + more })
    }
    const verdict = (code: number | null, signal: NodeJS.Signals | null): void =>
      end(code ?? 128, signal === null ? '' : `ended by ${signal}`)
    child.on('error', (error) => end(127, error.message))
    child.on('close', verdict)
    // A daemon that it left behind may hold the pipes for good: what has not arrived shortly after the end never will.
    child.on('exit', (code, signal) => setTimeout(() => verdict(code, signal), afterExitMs).unref())
  })
}

export class NamespaceNode {
  readonly name: string
  readonly #holder: ChildProcess
  readonly #env: NodeJS.ProcessEnv
  readonly #netns: string
  readonly #ended: Promise<void>
  /** The ends of what {@link start} started: nsenter waits outside for what runs inside. */
  readonly #started = new Set<Promise<void>>()

  private constructor(setup: NodeSetup, holder: ChildProcess, netns: string) {
    this.name = setup.name
    this.#holder = holder
    this.#netns = netns
    this.#env = setup.env
    this.#ended = new Promise((resolve) => holder.once('close', () => resolve()))
  }

  /** Makes the namespaces and mounts. Throws ERR_LAB with what the set-up printed. */
  static async create(setup: NodeSetup): Promise<NamespaceNode> {
    const args = [
      '--net',
      '--mount',
      '--uts',
      '--ipc',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-ec',
      setupScript(setup),
    ]
    const holder = spawn('unshare', args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'], env: setup.env })
    let stderr = ''
    holder.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    const isReady = await new Promise<boolean>((resolve) => {
      holder.stdout.once('data', () => resolve(true))
      holder.once('error', (error) => {
        stderr += error.message
        resolve(false)
      })
      holder.once('close', () => resolve(false))
    })
    if (!isReady || holder.pid === undefined)
      throw new HeraldError('ERR_LAB', `node ${setup.name} could not be made: ${stderr.trim()}`)
    return new NamespaceNode(setup, holder, readlinkSync(`/proc/${holder.pid}/ns/net`))
  }

  /** The process by which others name this node's namespaces. */
  get pid(): number {
    return this.#holder.pid ?? -1
  }

  /** The network namespace as the kernel names it, `net:[4026532000]`. */
  get netns(): string {
    return this.#netns
  }

  /** The command line that runs a program inside. */
  enter(argv: readonly string[]): string[] {
    const proc = `/proc/${this.pid}`
    const spaces = [
      `--net=${proc}/ns/net`,
      `--mount=${proc}/ns/mnt`,
      `--uts=${proc}/ns/uts`,
      `--ipc=${proc}/ns/ipc`,
      `--pid=${proc}/ns/pid_for_children`,
    ]
    // Entering a mount namespace leaves a chroot; --root enters the node's own root again.
    return ['nsenter', ...spaces, `--root=${proc}/root`, '--wd=/', '--', ...argv]
  }

  run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(this.enter(argv), { ...options, env: this.#env })
  }

  /** Runs to success and answers stdout. Throws ERR_LAB with the command and what it printed. */
  async must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const outcome = await this.run(argv, options)
    if (outcome.code === 0) return outcome.stdout
    throw new HeraldError(
      'ERR_LAB',
      `${this.name}: ${argv.join(' ')}: exit ${outcome.code}: ${(outcome.stderr || outcome.stdout).trim()}`,
    )
  }

  /**
   * Starts a program that keeps running; both outputs go to the file descriptor, or stdout to a pipe when none is
   * given.
   */
  start(argv: readonly string[], logFd?: number): ChildProcess {
    const [program = '', ...args] = this.enter(argv)
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', logFd ?? 'pipe', logFd ?? 'ignore'],
      env: this.#env,
    })
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve())
      child.once('error', () => resolve())
    })
    this.#started.add(ended)
    void ended.then(() => this.#started.delete(ended))
    return child
  }

  /** Ends every process inside; resolves when the kernel has let go of them. */
  async destroy(): Promise<void> {
    const timer = setTimeout(() => this.kill(), destroyTimeoutMs)
    this.#holder.stdin?.end()
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) await this.#ended
    await Promise.all(this.#started)
    clearTimeout(timer)
  }

  kill(): void {
    this.#holder.kill('SIGKILL')
  }
}

/** What process 1 of a node does before it waits: mounts, name, kernel settings. */
function setupScript(setup: NodeSetup): string {
  const lines = ['trap "" INT TERM HUP']
  // sysfs shows the interfaces of the network namespace that mounts it; some containers forbid it, then the old view
  // stays.
  lines.push('mount -t sysfs sysfs /sys 2>/dev/null || true')
  if (setup.hasBpffs) lines.push('mount -t bpf bpf /sys/fs/bpf')
  for (const folder of setup.privateFolders) lines.push(`mount -t tmpfs -o mode=755 tmpfs ${shellQuote(folder)}`)
  for (const { source, isFolder, target, isReadOnly } of setup.binds) {
    const parent = target.replace(/\/[^/]*$/, '') || '/'
    lines.push(
      isFolder ? `mkdir -p ${shellQuote(target)}` : `mkdir -p ${shellQuote(parent)}; touch ${shellQuote(target)}`,
    )
    lines.push(`mount --bind ${shellQuote(source)} ${shellQuote(target)}`)
    if (isReadOnly) lines.push(`mount -o remount,bind,ro ${shellQuote(target)}`)
  }
  lines.push(`echo ${shellQuote(setup.name)} > /proc/sys/kernel/hostname`)
  for (const [key, value] of Object.entries(setup.sysctls))
    lines.push(`echo ${shellQuote(value)} > /proc/sys/${key.replaceAll('.', '/')}`)
  // An ignored SIGCHLD survives exec: the kernel then reaps what daemons leave to process 1.
  lines.push('ip link set lo up', 'trap "" CHLD', 'echo ready', 'exec cat')
  return lines.join('\n')
}
