/** An agent as a process on the node of a rack, with its manifests, state and socket in a folder of its own. */
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { StatusView } from '../../src/api/types.ts'
import { type Rack, uplink } from '../datapath/rack.ts'

export const herald = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'bin/herald')

export class RackAgent {
  readonly #rack: Rack
  readonly #folder = mkdtempSync(join(tmpdir(), 'herald-rack-'))
  readonly socket = join(this.#folder, 'herald.sock')

  constructor(t: TestContext, rack: Rack, manifests: string) {
    t.after(() => rmSync(this.#folder, { recursive: true, force: true }))
    this.#rack = rack
    mkdirSync(join(this.#folder, 'manifests'))
    this.write(manifests)
  }

  /** All of its manifests, in one step. */
  write(manifests: string): void {
    writeFileSync(join(this.#folder, 'all.yaml'), manifests)
    renameSync(join(this.#folder, 'all.yaml'), join(this.#folder, 'manifests/all.yaml'))
  }

  start(...flags: readonly string[]): ChildProcess {
    const places = ['--manifests', join(this.#folder, 'manifests'), '--state-dir', join(this.#folder, 'state')]
    return this.#rack.start('node', [
      ...[herald, 'agent', '--node-name', 'node1', '--datapath', 'ebpf', '--bgp-listen', 'none', '--http', 'none'],
      ...[...places, '--socket', this.socket, '--bpffs', this.#rack.bpffs, '--interfaces', uplink, ...flags],
    ])
  }

  /** What a verb prints, whatever it exits with: `status` says 1 of an agent without a session. */
  ask(...words: readonly string[]): string {
    return this.#rack.run('node', ['sh', '-c', '"$@" || true', 'sh', herald, ...words, '--socket', this.socket])
  }

  /** Empty while there is no agent. */
  status(): Partial<StatusView> {
    return JSON.parse(this.ask('status', '-o', 'json') || '{}') as Partial<StatusView>
  }
}
