/** Two network namespaces with a link between them: `dut` runs our speaker, `router` a routing daemon. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { FromSpeaker, PeerSnapshot, RouteSnapshot, SpeakerOptions, ToSpeaker } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'

/** Why an interop test cannot run here, or false. */
export function missing(...programs: readonly string[]): string | false {
  if (process.getuid?.() !== 0) return 'needs root for network namespaces'
  const absent = programs.filter((program) => ![program, `/usr/sbin/${program}`, `/usr/bin/${program}`, `/usr/lib/frr/${program}`].some((path) => path.startsWith('/') && existsSync(path)))
  return absent.length === 0 ? false : `needs ${absent.join(', ')} (apt-get install frr bird2 gobgpd openbgpd exabgp tshark tcpdump iproute2)`
}

export class Link {
  readonly directory: string
  readonly #name: string
  readonly #children = new Set<ChildProcess>()
  readonly #daemons: string[] = []

  constructor(name: string) {
    this.#name = `it-${name}-${process.pid}`
    this.directory = mkdtempSync(join(tmpdir(), 'herald-interop-'))
    const [dut, router] = [this.namespace('dut'), this.namespace('router')]
    try {
      for (const namespace of [dut, router]) {
        run('ip', 'netns', 'add', namespace)
        // Addresses are usable at once: no duplicate address detection.
        this.in(namespace, 'sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0')
      }
      run('ip', 'link', 'add', 'eth0', 'netns', dut, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', router)
      for (const [namespace, addresses] of [[dut, ['10.90.0.1/24', '10.90.0.3/24', 'fd90::1/64']], [router, ['10.90.0.2/24', '10.90.0.4/24', 'fd90::2/64']]] as const) {
        for (const address of addresses) this.in(namespace, 'ip', 'address', 'add', address, 'dev', 'eth0', ...(address.includes(':') ? ['nodad'] : []))
        for (const device of ['lo', 'eth0']) this.in(namespace, 'ip', 'link', 'set', device, 'up')
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  namespace(side: 'dut' | 'router'): string {
    return `${this.#name}-${side}`
  }

  /** Output of a command inside a namespace. */
  in(namespace: string, ...command: readonly string[]): string {
    return run('ip', 'netns', 'exec', namespace, ...command)
  }

  router(...command: readonly string[]): string {
    return this.in(this.namespace('router'), ...command)
  }

  spawn(side: 'dut' | 'router', ...command: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.namespace(side), ...command], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#children.add(child)
    return child
  }

  /** A daemon that went to the background, by its pid file; ended on close. */
  adopt(pidFile: string): void {
    this.#daemons.push(pidFile)
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    for (const pidFile of this.#daemons) {
      const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : 0
      // A daemon that ended by itself is what is wanted.
      if (pid > 0 && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL')
    }
    for (const side of ['dut', 'router'] as const) {
      if (existsSync(`/run/netns/${this.namespace(side)}`)) run('ip', 'netns', 'delete', this.namespace(side))
    }
    rmSync(this.directory, { recursive: true, force: true })
  }
}

type Answer = Extract<FromSpeaker, { readonly type: 'answer' }>

export class SpeakerProcess {
  readonly #child: ChildProcess
  readonly said: { readonly type: string; readonly message?: string }[] = []
  readonly #answers = new Map<number, Answer>()
  #asked = 0
  stderr = ''

  constructor(link: Link, options: SpeakerOptions) {
    this.#child = link.spawn('dut', process.execPath, fileURLToPath(new URL('speaker-process.ts', import.meta.url)), JSON.stringify(options))
    if (this.#child.stdout !== null) createInterface({ input: this.#child.stdout }).on('line', (line) => this.#hear(JSON.parse(line)))
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString()
    })
    // Writing to a process that was killed on purpose is no failure.
    this.#child.stdin?.on('error', () => {})
  }

  post(...messages: readonly ToSpeaker[]): void {
    for (const message of messages) this.#child.stdin?.write(`${JSON.stringify(message)}\n`)
  }

  /** Its peers as they are now. */
  async peers(): Promise<readonly PeerSnapshot[]> {
    return (await this.#ask({ what: 'peers' })).peers ?? []
  }

  /** The IPv4 routes it has received. */
  async received(): Promise<readonly RouteSnapshot[]> {
    return (await this.#ask({ what: 'routes', table: 'received', family: 'ipv4-unicast' })).routes ?? []
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await waitFor('the process gone', () => this.#child.signalCode !== null)
  }

  async stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    this.post({ type: 'stop', mode, text })
    await waitFor('the process gone', () => this.#child.exitCode !== null)
  }

  #ask(query: Extract<ToSpeaker, { readonly type: 'query' }>['query']): Promise<Answer> {
    const id = ++this.#asked
    this.post({ type: 'query', id, query })
    return waitFor('the answer', () => this.#answers.get(id))
  }

  #hear(line: Answer | { readonly type: string; readonly message?: string }): void {
    if ('id' in line) this.#answers.set(line.id, line)
    else this.said.push(line)
  }
}

function run(command: string, ...parameters: readonly string[]): string {
  return execFileSync(command, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 * 1024 * 1024 })
}
