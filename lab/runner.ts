/**
 * Deploys a containerlab topology without a container engine: a node is a set of namespaces, an image is a recipe.
 *
 *     topology.clab.yml --parse--> Topology
 *         folder copied to a work folder (people and checks may edit what is bound from it)
 *         nodes: namespaces, mounts, sysctls  -->  links: veth pairs made between two of them
 *           -->  boot (what the image starts by itself)  -->  exec lines  -->  cmd
 *
 * Names are per lab (namespaces have none on the host), so several labs may run side by side. Everything ends with
 * {@link Lab.destroy}, or with this process.
 */
import type { ChildProcess } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { HeraldError } from '../src/errors.ts'
import { missingFor, recipeFor, type Recipe } from './images.ts'
import { NamespaceNode, run, shellQuote, type NodeSetup } from './namespaces.ts'
import { parseTopology, type Topology, type TopologyLink, type TopologyNode } from './topology.ts'

export interface LabOptions {
  /** The topology file. */
  readonly file: string
  /** The checkout that stands in for our own image. */
  readonly root: string
  /** What is deployed beside or instead of what the file says; commands may name files below the work folder. */
  reshape?(topology: Topology, workFolder: string): Topology
  /** Arguments added to the command of nodes that run our own image. */
  readonly heraldArguments?: readonly string[]
}

interface Member {
  readonly spec: TopologyNode
  readonly recipe: Recipe
  readonly node: NamespaceNode
}

const pidFile = '/run/cmd.pid'
/** In the work folder: the process that the lab belongs to. */
const ownerFile = 'owner.pid'

/**
 * Removes the work folders of labs whose process was killed before it could; everything else of theirs is gone already.
 */
function sweep(prefix: string): void {
  for (const name of readdirSync(dirname(prefix)).filter((each) => each.startsWith(basename(prefix)))) {
    const folder = join(dirname(prefix), name)
    const owner = join(folder, ownerFile)
    if (existsSync(owner) && !existsSync(`/proc/${readFileSync(owner, 'utf8').trim()}`))
      rmSync(folder, { recursive: true, force: true })
  }
}

export class Lab {
  readonly topology: Topology
  /** Holds the copy of the topology's folder, the logs, and one script per node that runs a command inside. */
  readonly workFolder: string
  /** The copy of the topology's folder, from which the binds come. */
  readonly folder: string
  readonly #options: LabOptions
  readonly #members = new Map<string, Member>()
  readonly #commands = new Map<string, ChildProcess>()
  readonly #ending = new AbortController()

  private constructor(topology: Topology, options: LabOptions) {
    this.#options = options
    const prefix = join(tmpdir(), `herald-${topology.name}-`)
    sweep(prefix)
    this.workFolder = mkdtempSync(prefix)
    writeFileSync(join(this.workFolder, ownerFile), `${process.pid}\n`)
    this.folder = join(this.workFolder, basename(dirname(resolve(options.file))))
    this.topology = options.reshape?.(topology, this.workFolder) ?? topology
  }

  /** Reads the topology; nothing is made before {@link up}. Throws ERR_LAB for what cannot be deployed. */
  static open(options: LabOptions): Lab {
    const topology = parseTopology(readFileSync(options.file, 'utf8'), options.file)
    const problems = [...new Set(topology.nodes.flatMap((node) => missingFor(recipeFor(node.image, options.root))))]
    if (problems.length > 0) throw new HeraldError('ERR_LAB', problems.join('\n'))
    return new Lab(topology, options)
  }

  /** Aborts when the lab is being destroyed: whoever waits for something in it stops waiting. */
  get signal(): AbortSignal {
    return this.#ending.signal
  }

  get names(): readonly string[] {
    return [...this.#members.keys()]
  }

  node(name: string): NamespaceNode {
    return this.#member(name).node
  }

  logFile(name: string): string {
    return join(this.workFolder, 'log', `${name}.log`)
  }

  /** Names of the nodes that run our own image. */
  get heraldNodes(): readonly string[] {
    return this.topology.nodes
      .filter((spec) => recipeFor(spec.image, this.#options.root).name === 'herald')
      .map((spec) => spec.name)
  }

  async up(): Promise<void> {
    await this.make()
    this.startCommands()
  }

  /** Nodes, links and what images start by themselves; no node's `cmd` runs yet. */
  async make(): Promise<void> {
    cpSync(dirname(resolve(this.#options.file)), this.folder, { recursive: true })
    mkdirSync(join(this.workFolder, 'log'))
    await this.#each(async (spec) => this.#create(spec))
    for (const link of this.topology.links) await this.#link(link)
    await this.#each(async (spec) => this.#boot(spec))
  }

  /** Every `cmd` that was not started yet. */
  startCommands(): void {
    for (const { name, cmd } of this.topology.nodes)
      if (cmd.length > 0 && !this.#commands.has(name)) this.startCommand(name)
  }

  /** Starts the node's `cmd` (again); what it prints goes to the node's log. */
  startCommand(name: string): ChildProcess {
    const { spec, recipe, node } = this.#member(name)
    const extra = recipe.name === 'herald' ? (this.#options.heraldArguments ?? []) : []
    const log = openSync(this.logFile(name), 'a')
    const child = node.start(
      ['sh', '-c', `echo $$ > ${pidFile}; exec "$@"`, 'sh', ...recipe.entrypoint, ...spec.cmd, ...extra],
      log,
    )
    closeSync(log)
    this.#commands.set(name, child)
    return child
  }

  /** Sends a signal to the node's `cmd` itself and resolves when it has ended. */
  async killCommand(name: string, signal: 'KILL' | 'TERM' | 'INT'): Promise<void> {
    const child = this.#commands.get(name)
    if (child === undefined || this.hasEnded(name)) return
    const ended = new Promise<void>((done) => child.once('exit', () => done()))
    await this.node(name).must(['sh', '-c', `kill -${signal} "$(cat ${pidFile})"`])
    await ended
  }

  /** The node's `cmd` was started and has ended. */
  hasEnded(name: string): boolean {
    const child = this.#commands.get(name)
    return child !== undefined && (child.exitCode !== null || child.signalCode !== null)
  }

  command(name: string): ChildProcess | undefined {
    return this.#commands.get(name)
  }

  async destroy(): Promise<void> {
    this.#ending.abort()
    await Promise.all([...this.#members.values()].map(({ node }) => node.destroy()))
    rmSync(this.workFolder, { recursive: true, force: true, maxRetries: 3 })
  }

  /** For a process that must end now: the kernel takes the namespaces down behind us. */
  abandon(): void {
    this.#ending.abort()
    for (const { node } of this.#members.values()) node.kill()
    rmSync(this.workFolder, { recursive: true, force: true })
  }

  #member(name: string): Member {
    const member = this.#members.get(name)
    if (member === undefined)
      throw new HeraldError('ERR_LAB', `there is no node "${name}"; there are ${this.names.join(', ')}`)
    return member
  }

  async #each(action: (spec: TopologyNode) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(this.topology.nodes.map(action))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  async #create(spec: TopologyNode): Promise<void> {
    const recipe = recipeFor(spec.image, this.#options.root)
    const setup: NodeSetup = {
      name: spec.name,
      // What holds our own files must stay in sight.
      privateFolders: recipe.privateFolders.filter(
        (folder) => ![this.workFolder, this.#options.root].some((own) => own.startsWith(`${folder}/`)),
      ),
      hasBpffs: recipe.hasBpffs,
      binds: spec.binds.map((bind) => this.#bind(bind, spec, recipe)),
      sysctls: spec.sysctls,
      env: { PATH: this.#path(), HOME: '/root', TERM: process.env['TERM'] ?? 'dumb', LANG: 'C.UTF-8', ...spec.env },
    }
    const node = await NamespaceNode.create(setup)
    if (this.signal.aborted) return node.kill()
    this.#members.set(spec.name, { spec, recipe, node })
    const script = join(this.workFolder, spec.name)
    const env = Object.entries(spec.env).map(([key, value]) => `${key}=${value}`)
    writeFileSync(
      script,
      `#!/bin/sh\n# Runs a command inside ${spec.name}.\nexec ${node
        .enter(['env', `PATH=${this.#path()}`, ...env])
        .map(shellQuote)
        .join(' ')} "$@"\n`,
    )
    chmodSync(script, 0o755)
  }

  /** The pinned Node first, then our program, then the host's tools. */
  #path(): string {
    return [
      dirname(process.execPath),
      join(this.#options.root, 'bin'),
      '/usr/local/sbin',
      '/usr/local/bin',
      '/usr/sbin',
      '/usr/bin',
      '/sbin',
      '/bin',
    ].join(':')
  }

  #bind(bind: TopologyNode['binds'][number], spec: TopologyNode, recipe: Recipe): NodeSetup['binds'][number] {
    const source = resolve(this.folder, bind.source)
    const place = `${this.#options.file}:${spec.line}: node ${spec.name}: bind ${bind.source}:${bind.target}`
    if (!existsSync(source)) throw new HeraldError('ERR_LAB', `${place}: ${bind.source} does not exist`)
    const isPrivate = recipe.privateFolders.some((folder) => bind.target.startsWith(`${folder}/`))
    // A mount point would have to be made on the host, where it would stay.
    if (!isPrivate && !existsSync(bind.target))
      throw new HeraldError(
        'ERR_LAB',
        `${place}: the target must exist on this machine or lie below ${recipe.privateFolders.join(' or ')}`,
      )
    return { source, isFolder: statSync(source).isDirectory(), target: bind.target, isReadOnly: bind.isReadOnly }
  }

  async #link({ ends: [a, b], mtu }: TopologyLink): Promise<void> {
    const [left, right] = [this.node(a.node), this.node(b.node)]
    const size = mtu === undefined ? [] : ['mtu', String(mtu)]
    const made = await run([
      'ip',
      'link',
      'add',
      a.interface,
      ...size,
      'netns',
      String(left.pid),
      'type',
      'veth',
      'peer',
      'name',
      b.interface,
      ...size,
      'netns',
      String(right.pid),
    ])
    if (made.code !== 0)
      throw new HeraldError(
        'ERR_LAB',
        `link ${a.node}:${a.interface} - ${b.node}:${b.interface}: ${made.stderr.trim()}`,
      )
    await Promise.all([
      left.must(['ip', 'link', 'set', a.interface, 'up']),
      right.must(['ip', 'link', 'set', b.interface, 'up']),
    ])
  }

  async #boot(spec: TopologyNode): Promise<void> {
    const { recipe, node } = this.#member(spec.name)
    if (recipe.boot.length > 0) await node.must(['sh', '-ec', recipe.boot.join('\n')])
    for (const line of spec.exec) await node.must(line)
  }
}
