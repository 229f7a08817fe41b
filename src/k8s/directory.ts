/**
 * A folder of manifests as a source of objects.
 *
 *     fs.watch, re-scan --> scan: stat every file --> changed ones: read --> documents --> diff by object --> events
 *
 * A file that cannot be read, or a document that is broken, keeps the objects it last gave. Of two files that hold the
 * same object the first in order of names wins. Files and folders whose names start with a dot are not input.
 */
import { readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs'
import { join } from 'node:path'
import type { Problem } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import { readDocuments, type ManifestDocument, type ManifestObject } from './documents.ts'
import type { ObjectSource, SourceEvents } from './source.ts'

export interface DirectoryOptions {
  readonly directory: string
  /** How often the folder is looked at without being told (network file systems tell nothing). */
  readonly rescanMs?: number
}

interface ManifestFile {
  readonly stamp: string
  readonly text: string
  readonly documents: readonly ManifestDocument[]
  /** Objects in force: of the last good version where a document is broken now. */
  readonly objects: readonly ManifestObject[]
  readonly problem?: Problem
}

const coalesceMs = 2

export function directorySource(options: DirectoryOptions): ObjectSource {
  return new DirectorySource(options)
}

class DirectorySource implements ObjectSource {
  readonly #directory: string
  readonly #rescanMs: number
  #files: ReadonlyMap<string, ManifestFile> = new Map()
  #delivered: ReadonlyMap<string, ManifestObject> = new Map()
  #problems = ''
  #hadListingProblems = false
  #events: SourceEvents | undefined
  readonly #watchers = new Map<string, FSWatcher>()
  #rescan: NodeJS.Timeout | undefined
  #pending: NodeJS.Timeout | undefined

  constructor({ directory, rescanMs = 2000 }: DirectoryOptions) {
    this.#directory = directory
    this.#rescanMs = rescanMs
  }

  /** Delivers everything once, then {@link SourceEvents.synced}; afterwards what changes. */
  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    this.#scan()
    events.synced()
    this.#rescan = setInterval(() => this.#scan(), this.#rescanMs)
  }

  async stop(): Promise<void> {
    this.#events = undefined
    clearInterval(this.#rescan)
    clearTimeout(this.#pending)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** Several notices of one change become one scan. */
  #notice(): void {
    this.#pending ??= setTimeout(() => {
      this.#pending = undefined
      this.#scan()
    }, coalesceMs)
  }

  #scan(): void {
    const files = new Map<string, ManifestFile>()
    const listed = this.#list(this.#directory, '')
    for (const name of listed.names) {
      const file = this.#read(name, this.#files.get(name))
      if (file !== undefined) files.set(name, file)
    }
    // A folder that cannot be listed says nothing about its files: they stay.
    if (listed.problems.length > 0) for (const [name, file] of this.#files) if (!files.has(name)) files.set(name, file)
    const isSame = files.size === this.#files.size && [...files].every(([name, file]) => this.#files.get(name) === file)
    this.#files = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)))
    // The re-scan mostly finds nothing: it must not cost a look at every object.
    if (!isSame || listed.problems.length > 0 || this.#hadListingProblems) this.#deliver(listed.problems)
    this.#hadListingProblems = listed.problems.length > 0
  }

  #list(folder: string, prefix: string): { readonly names: readonly string[]; readonly problems: readonly Problem[] } {
    this.#watch(folder)
    const names: string[] = []
    const problems: Problem[] = []
    try {
      for (const name of readdirSync(folder).sort()) {
        if (name.startsWith('.')) continue
        if (/\.(ya?ml|json)$/.test(name)) names.push(prefix + name)
        else if (statSync(join(folder, name), { throwIfNoEntry: false })?.isDirectory() === true) {
          const below = this.#list(join(folder, name), `${prefix}${name}/`)
          names.push(...below.names)
          problems.push(...below.problems)
        }
      }
    } catch (error) {
      problems.push(fileProblem(prefix === '' ? folder : prefix, error))
    }
    return { names, problems }
  }

  #watch(folder: string): void {
    if (this.#watchers.has(folder)) return
    try {
      const watcher = watch(folder, () => this.#notice())
      // A folder that went away: the next scan says so.
      watcher.on('error', () => this.#unwatch(folder))
      this.#watchers.set(folder, watcher)
    } catch {
      // Out of watches, or not there: the re-scan finds changes more slowly, and the listing reports a missing folder.
    }
  }

  #unwatch(folder: string): void {
    this.#watchers.get(folder)?.close()
    this.#watchers.delete(folder)
  }

  #read(name: string, before: ManifestFile | undefined): ManifestFile | undefined {
    try {
      const stat = statSync(join(this.#directory, name), { bigint: true })
      const stamp = `${stat.ino} ${stat.size} ${stat.mtimeNs}`
      if (before?.stamp === stamp) return before
      const text = readFileSync(join(this.#directory, name), 'utf8')
      if (before?.text === text) return { ...before, stamp }
      const documents = readDocuments(name, text, before?.documents)
      return { stamp, text, documents, objects: inForce(documents, before) }
    } catch (error) {
      // Gone between listing and reading.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      const problem = fileProblem(name, error)
      return before === undefined ? { stamp: '', text: '', documents: [], objects: [], problem } : { ...before, stamp: '', problem }
    }
  }

  #deliver(listing: readonly Problem[]): void {
    const events = this.#events
    if (events === undefined) return
    const objects = new Map<string, ManifestObject>()
    const problems = [...listing]
    for (const file of this.#files.values()) {
      if (file.problem !== undefined) problems.push(file.problem)
      for (const { problem } of file.documents) if (problem !== undefined) problems.push(problem)
      for (const found of file.objects) {
        const id = found.id
        const first = objects.get(id)
        if (first === undefined) objects.set(id, found)
        else problems.push(duplicateProblem(found, first))
      }
    }
    const problemText = JSON.stringify(problems)
    const before = this.#delivered
    this.#delivered = objects
    let changes = 0
    for (const [id, { key }] of before) {
      if (objects.has(id)) continue
      changes++
      events.remove(key)
    }
    for (const [id, found] of objects) {
      if (before.get(id) === found) continue
      changes++
      events.upsert(found.key, found.object, found.origin)
    }
    if (changes === 0 && problemText === this.#problems) return
    if (problemText !== this.#problems) events.problems(problems)
    this.#problems = problemText
    events.flush()
  }
}

/** While a document is broken, the objects that no good document of the file holds now stay as they were. */
function inForce(documents: readonly ManifestDocument[], before: ManifestFile | undefined): readonly ManifestObject[] {
  const good = documents.flatMap(({ objects }) => objects)
  if (before === undefined || documents.every(({ problem }) => problem === undefined)) return good
  const held = new Set(good.map(({ id }) => id))
  return [...good, ...before.objects.filter(({ id }) => !held.has(id))]
}

function fileProblem(file: string, error: unknown): Problem {
  return { severity: 'error', object: { kind: 'File', name: file, file }, field: '', code: 'Unreadable', message: messageOf(error), remedy: 'Make it readable; what was read last stays in force.' }
}

function duplicateProblem({ key, origin }: ManifestObject, first: ManifestObject): Problem {
  const { kind, namespace, name } = key
  return {
    severity: 'error',
    object: { kind, ...(namespace === '' ? {} : { namespace }), name, file: origin.file, line: origin.line },
    field: '',
    code: 'DuplicateObject',
    message: `${kind} ${name} is in ${first.origin.file} line ${first.origin.line} already, which is in force`,
    remedy: 'Remove one of the two.',
    column: 1,
  }
}
