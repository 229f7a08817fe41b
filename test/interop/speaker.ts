/** Herald's speaker as a process of its own in the namespace `dut`. */
import type { ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { AddressFamilyName } from '../../src/desired/model.ts'
import type { FromSpeaker, PeerSnapshot, RouteSnapshot, SpeakerOptions, ToSpeaker } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import type { Link } from './link.ts'

type Answer = Extract<FromSpeaker, { readonly type: 'answer' }>

export class SpeakerProcess {
  readonly #child: ChildProcess
  readonly said: { readonly type: string; readonly message?: string }[] = []
  readonly #answers = new Map<number, Answer>()
  #asked = 0
  stderr = ''

  constructor(link: Pick<Link, 'spawn'>, options: SpeakerOptions) {
    this.#child = link.spawn(
      'dut',
      process.execPath,
      fileURLToPath(new URL('speaker-process.ts', import.meta.url)),
      JSON.stringify(options),
    )
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout }).on('line', (line) => this.#hear(JSON.parse(line)))
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

  /** The routes of one family that it has received. */
  async received(family: AddressFamilyName = 'ipv4-unicast'): Promise<readonly RouteSnapshot[]> {
    return (await this.#ask({ what: 'routes', table: 'received', family })).routes ?? []
  }

  /** Resident memory in MiB, and open descriptors. */
  footprint(): { readonly residentMib: number; readonly descriptors: number } {
    const process = `/proc/${this.#child.pid}`
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`${process}/status`, 'utf8'))?.[1]
    return { residentMib: Number(kib) / 1024, descriptors: readdirSync(`${process}/fd`).length }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended()
  }

  async stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    this.post({ type: 'stop', mode, text })
    await this.#ended()
  }

  async #ended(): Promise<void> {
    await waitFor('the process gone', () => this.#child.exitCode !== null || this.#child.signalCode !== null)
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
