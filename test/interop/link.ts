/**
 * Two network namespaces with a link between them: `dut` runs our speaker, `router` a routing daemon.
 * One link lives as long as the tests with one daemon do, so that one capture holds all that was said.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { endpoints } from './peering.ts'

export type Side = 'dut' | 'router'

const execute = promisify(execFile)

/** Why an interop test cannot run here, or false. */
export function missing(...programs: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces'
  const absent = programs.filter(
    (program) =>
      ![program, `/usr/sbin/${program}`, `/usr/bin/${program}`, `/usr/lib/frr/${program}`].some(
        (path) => path.startsWith('/') && existsSync(path),
      ),
  )
  return absent.length === 0
    ? false
    : `needs ${absent.join(', ')} (apt-get install frr bird2 gobgpd openbgpd exabgp tshark tcpdump iproute2)`
}

export class Link {
  readonly directory: string
  readonly #name: string
  readonly #children = new Set<ChildProcess>()
  readonly #pidFiles = new Set<string>()

  constructor(name: string) {
    this.#name = `it-${name.toLowerCase()}-${process.pid}`
    this.directory = mkdtempSync(join(tmpdir(), 'herald-interop-'))
    // Some daemons give up their privileges and still read their files.
    chmodSync(this.directory, 0o755)
  }

  async up(): Promise<void> {
    const [dut, router] = [this.namespace('dut'), this.namespace('router')]
    for (const side of ['dut', 'router'] as const) {
      await run('ip', 'netns', 'add', this.namespace(side))
      // Addresses are usable at once: no duplicate address detection, and no link-local address but ours.
      await this.in(
        side,
        'sysctl',
        '-qw',
        'net.ipv6.conf.all.accept_dad=0',
        'net.ipv6.conf.default.accept_dad=0',
        'net.ipv6.conf.default.addr_gen_mode=1',
      )
    }
    await run('ip', 'link', 'add', 'eth0', 'netns', dut, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', router)
    for (const side of ['dut', 'router'] as const) {
      for (const device of ['lo', 'eth0']) await this.in(side, 'ip', 'link', 'set', device, 'up')
      for (const address of new Set(
        Object.values(endpoints).map((ends) => (side === 'dut' ? ends.herald : ends.router)),
      )) {
        await this.in(
          side,
          'ip',
          'address',
          'add',
          `${address}/${address.includes(':') ? 64 : 24}`,
          'dev',
          'eth0',
          ...(address.includes(':') ? ['nodad'] : []),
        )
      }
    }
  }

  namespace(side: Side): string {
    return `${this.#name}-${side}`
  }

  /** Output of a command on one side. */
  in(side: Side, ...command: readonly string[]): Promise<string> {
    return run('ip', 'netns', 'exec', this.namespace(side), ...command)
  }

  /** Output of a command that may fail, as a client does while its daemon is not up: what it printed, or nothing. */
  async attempt(side: Side, ...command: readonly string[]): Promise<string> {
    try {
      return await this.in(side, ...command)
    } catch (error) {
      return error instanceof Error && 'stdout' in error && typeof error.stdout === 'string' ? error.stdout : ''
    }
  }

  /** A counter of TCP on Herald's side, by its name in /proc/net/netstat. */
  async counter(name: string): Promise<number> {
    const [names = '', values = ''] = (await this.in('dut', 'cat', '/proc/net/netstat'))
      .split('\n')
      .filter((line) => line.startsWith('TcpExt:'))
    return Number(values.split(' ')[names.split(' ').indexOf(name)])
  }

  /** A process that leads a group of its own; the whole group is ended on close. */
  spawn(side: Side, ...command: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.namespace(side), ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }

  /** A daemon that went to the background, by its pid file; ended on close. */
  adopt(pidFile: string): void {
    this.#pidFiles.add(pidFile)
  }

  async close(): Promise<void> {
    for (const child of this.#children) signalGroup(child, 'SIGKILL')
    for (const pidFile of this.#pidFiles) signalFile(pidFile, 'SIGKILL')
    for (const side of ['dut', 'router'] as const) {
      if (existsSync(`/run/netns/${this.namespace(side)}`)) await run('ip', 'netns', 'delete', this.namespace(side))
    }
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** Whether the process of a pid file is there. */
export function isAlive(pidFile: string): boolean {
  return existsSync(pidFile) && existsSync(`/proc/${readFileSync(pidFile, 'utf8').trim()}`)
}

/** A process that ended by itself is left alone. */
export function signalFile(pidFile: string, signal: NodeJS.Signals): void {
  if (isAlive(pidFile)) process.kill(Number(readFileSync(pidFile, 'utf8')), signal)
}

/** The child and what it has started; a child that ended by itself is left alone. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid !== undefined && !hasEnded(child)) process.kill(-child.pid, signal)
}

export const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

async function run(command: string, ...parameters: readonly string[]): Promise<string> {
  return (await execute(command, parameters, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })).stdout
}
