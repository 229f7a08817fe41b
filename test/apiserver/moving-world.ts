/**
 * Recipes of docs/migrate.md, run as they are written, on a real API server. There is no kubelet and no helm: what a
 * release asks for runs as processes here, the operator, and an agent where the Node has the label.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Binaries } from './binaries.ts'
import type { Cluster } from './cluster.ts'

export const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const page = readFileSync(new URL('../../docs/migrate.md', import.meta.url), 'utf8')

/** The commands of a section, block by block. */
export function recipe(title: string): readonly string[] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${title}\n`))
  assert.ok(section !== undefined, `docs/migrate.md has no section ${title}`)
  return [...section.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block)
}

/** The role that the page gives to who looks. */
export function readingRole(): string {
  return /^```yaml\n(apiVersion: rbac[\s\S]*?)^```$/m.exec(page)?.[1] ?? ''
}

export class Release {
  readonly #cluster: Cluster
  readonly #folder: string
  readonly #log: string
  readonly #processes = new Map<'operator' | 'agent', ChildProcess>()
  /** What helm was asked, line by line. */
  #done = 0
  #args = ''
  output = ''

  constructor(cluster: Cluster, binaries: Binaries) {
    this.#cluster = cluster
    this.#folder = join(cluster.folder, 'recipes')
    this.#log = join(this.#folder, 'helm.log')
    mkdirSync(join(this.#folder, 'bin'), { recursive: true })
    const script = (name: string, text: string): void => {
      const path = join(this.#folder, 'bin', name)
      writeFileSync(path, `#!/bin/sh\n${text}\n`)
      chmodSync(path, 0o755)
    }
    script('kubectl', `exec ${binaries.kubectl} "$@"`)
    script('herald', `exec ${herald} "$@"`)
    script('helm', `echo "$*" >> ${this.#log}`)
  }

  get socket(): string {
    return join(this.#folder, 'sock')
  }

  /** Runs a block as a shell does; what it asked of helm and of labels is so when this is over. */
  async run(block: string): Promise<string> {
    const env = {
      ...process.env,
      PATH: `${join(this.#folder, 'bin')}:${process.env['PATH'] ?? ''}`,
      KUBECONFIG: this.#cluster.kubeconfig,
      HERALD_SOCKET: this.socket,
    }
    const stdout = await new Promise<string>((resolve, reject) => {
      execFile('bash', ['-euo', 'pipefail', '-c', block], { cwd: this.#folder, env }, (error, out, said) =>
        error === null ? resolve(out) : reject(new Error(`${block}\n${out}${said}\n${this.output.slice(-2000)}`)),
      )
    })
    await this.#settle()
    return stdout
  }

  async #settle(): Promise<void> {
    const lines = existsSync(this.#log) ? readFileSync(this.#log, 'utf8').trim().split('\n') : []
    for (const line of lines.slice(this.#done)) {
      if (/^(install|upgrade --install) herald /.test(line)) {
        // Another release of the same name has other pods.
        if (line !== this.#args) await this.stop()
        this.#args = line
      }
      if (/^uninstall herald /.test(line)) this.#args = ''
    }
    this.#done = lines.length
    const labelled = await this.#cluster.kubectl(['get', 'nodes', '-l', 'herald.dev/speaker=true', '-o', 'name'])
    const isForLabel = this.#args.includes('herald\\.dev/speaker=true')
    await this.#keep('operator', this.#args !== '' && !this.#args.includes('operator.enabled=false'))
    await this.#keep('agent', isForLabel && labelled.includes('node/node1'))
  }

  async #keep(what: 'operator' | 'agent', isWanted: boolean): Promise<void> {
    const child = this.#processes.get(what)
    if (isWanted && child === undefined) this.#start(what)
    if (isWanted || child === undefined) return
    this.#processes.delete(what)
    child.kill('SIGINT')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }

  #start(what: 'operator' | 'agent'): void {
    const kubeconfig = ['--kubeconfig', this.#cluster.kubeconfig, '--http', 'none']
    const extra = this.#args.includes('requireLoadBalancerClass=true') ? ['--require-load-balancer-class'] : []
    const own =
      what === 'operator'
        ? ['--identity', 'test', '--lease-namespace', 'default']
        : [
            ...['--node-name', 'node1', '--datapath', 'none', '--bgp-listen', 'none'],
            ...['--state-dir', join(this.#folder, 'state'), '--socket', this.socket],
          ]
    const child = spawn(herald, [what, ...kubeconfig, ...own, ...extra], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    this.#processes.set(what, child)
  }

  isRunning(what: 'operator' | 'agent'): boolean {
    return this.#processes.has(what)
  }

  async stop(): Promise<void> {
    await this.#keep('agent', false)
    await this.#keep('operator', false)
  }
}
