/**
 * A folder of manifests as a source of objects.
 *
 *     fs.watch, re-scan --> scan: stat every file --> changed ones: read --> documents --> versions --> events
 *
 * A file that cannot be read, or a document that is broken, keeps the objects it last gave. Of two files that hold the
 * same object the first in order of names wins. Files and folders whose names start with a dot are not input.
 */
import { readdirSync, readFileSync, statSync, watch, type FSWatcher } from 'node:fs'
import { join } from 'node:path'
import type { Problem } from '../desired/model.ts'
import { messageOf } from '../errors.ts'
import { readDocuments, type ManifestDocument, type ManifestObject } from './documents.ts'
import { ObjectVersions } from './object-versions.ts'
import type { ObjectSource, SourceEvents, SourceState } from './source.ts'

export interface DirectoryOptions {
  readonly directory: string
  /** How often the folder is looked at without being told (network file systems tell nothing). */
  readonly rescanMs?: number
  /** A file that was written so recently and lost objects may be half written: it is looked at again. */
  readonly settleMs?: number
}

interface ManifestFile {
  readonly stamp: string
  readonly text: string
  readonly documents: readonly ManifestDocument[]
  /** Objects in force: of the last good version where a document is broken now. */
  readonly objects: readonly ManifestObject[]
  readonly problems: readonly Problem[]
}

interface Listing {
  /** Relative paths, in order. */
  readonly names: string[]
  readonly folders: Set<string>
  readonly problems: Problem[]
}

/** Several notices of one change come within this time. */
const coalesceMs = 2

export function directorySource(options: DirectoryOptions): ObjectSource {
  return new DirectorySource(options)
}

class DirectorySource implements ObjectSource {
  readonly #directory: string
  readonly #rescanMs: number
  readonly #settleMs: number
  readonly #versions = new ObjectVersions()
  #files: ReadonlyMap<string, ManifestFile> = new Map()
  #isReachable = false
  #isSynced = false
  #hasHadObjects = false
  #problems = '[]'
  #events: SourceEvents | undefined
  readonly #watchers = new Map<string, FSWatcher>()
  #rescan: NodeJS.Timeout | undefined
  #pending: NodeJS.Timeout | undefined
  #settling: NodeJS.Timeout | undefined

  constructor({ directory, rescanMs = 2000, settleMs = 25 }: DirectoryOptions) {
    this.#directory = directory
    this.#rescanMs = rescanMs
    this.#settleMs = settleMs
  }

  get state(): SourceState {
    const kind = { isSynced: this.#isSynced, problem: this.#isReachable ? undefined : 'the folder cannot be listed' }
    return {
      isReachable: this.#isReachable,
      objects: this.#versions.size,
      hasHadObjects: this.#hasHadObjects,
      unconfirmed: 0,
      ofKind: () => kind,
    }
  }

  rescan(): void {
    this.#scan()
  }

  /** Delivers everything once, then {@link SourceEvents.synced}; afterwards what changes. */
  async start(events: SourceEvents): Promise<void> {
    this.#events = events
    this.#scan()
    this.#isSynced = true
    events.synced()
    this.#rescan = setInterval(() => {
      // Also without a change: what had to wait downstream gets its turn.
      if (!this.#scan()) events.flush()
    }, this.#rescanMs)
  }

  async stop(): Promise<void> {
    this.#events = undefined
    clearInterval(this.#rescan)
    clearTimeout(this.#pending)
    clearTimeout(this.#settling)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  #notice(): void {
    this.#pending ??= setTimeout(() => {
      this.#pending = undefined
      this.#scan()
    }, coalesceMs)
  }

  #lookAgain(): void {
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined
      this.#scan()
    }, this.#settleMs)
  }

  /** True when something was delivered. */
  #scan(): boolean {
    const listing: Listing = { names: [], folders: new Set(), problems: [] }
    this.#list(this.#directory, '', listing)
    this.#isReachable = listing.problems.length === 0
    const files = new Map<string, ManifestFile>()
    for (const name of listing.names) {
      const file = this.#read(name, this.#files.get(name))
      if (file !== undefined) files.set(name, file)
    }
    for (const [name, before] of this.#files) {
      if (files.has(name)) continue
      // A folder that cannot be listed says nothing about its files: they stay.
      if (listing.problems.length > 0) files.set(name, before)
      else this.#versions.replace(before.objects, [])
    }
    for (const [name, file] of files) {
      const before = this.#files.get(name)
      if (before !== file) this.#versions.replace(before?.objects ?? [], file.objects)
    }
    this.#files = files
    for (const folder of this.#watchers.keys()) if (!listing.folders.has(folder)) this.#unwatch(folder)
    return this.#deliver(listing.problems)
  }

  #list(folder: string, prefix: string, listing: Listing): void {
    listing.folders.add(folder)
    this.#watch(folder)
    try {
      for (const name of readdirSync(folder).sort()) {
        if (name.startsWith('.')) continue
        if (/\.(ya?ml|json)$/.test(name)) listing.names.push(prefix + name)
        else if (statSync(join(folder, name), { throwIfNoEntry: false })?.isDirectory() === true)
          this.#list(join(folder, name), `${prefix}${name}/`, listing)
      }
    } catch (error) {
      listing.problems.push(fileProblem(prefix === '' ? folder : prefix, error))
    }
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
      const documents = before?.text === text ? before.documents : readDocuments(name, text, before?.documents)
      if (
        before !== undefined &&
        Number(stat.mtimeMs) > Date.now() - this.#settleMs &&
        losesObjects(before, documents)
      ) {
        this.#lookAgain()
        return before
      }
      const problems = documents.flatMap(({ problem }) => problem ?? [])
      return { stamp, text, documents, objects: inForce(documents, before), problems }
    } catch (error) {
      // Gone between listing and reading.
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      return { text: '', documents: [], objects: [], ...before, stamp: '', problems: [fileProblem(name, error)] }
    }
  }

  #deliver(listing: readonly Problem[]): boolean {
    const events = this.#events
    if (events === undefined) return false
    const { upserts, removals } = this.#versions.takeChanges()
    const problems = [
      ...listing,
      ...[...this.#files.values()].flatMap((file) => file.problems),
      ...this.#versions.problems(),
    ]
    const problemText = JSON.stringify(problems)
    if (upserts.length + removals.length === 0 && problemText === this.#problems) return false
    for (const { key } of removals) events.remove(key)
    for (const { key, object, origin } of upserts) events.upsert(key, object, origin, {})
    this.#hasHadObjects ||= upserts.length > 0
    if (problemText !== this.#problems) events.problems(problems)
    this.#problems = problemText
    events.flush()
    return true
  }
}

function losesObjects(before: ManifestFile, documents: readonly ManifestDocument[]): boolean {
  const now = new Set(documents.flatMap(({ objects }) => objects.map(({ id }) => id)))
  return before.objects.some(({ id }) => !now.has(id))
}

/** While a document is broken, the objects that no good document of the file holds now stay as they were. */
function inForce(documents: readonly ManifestDocument[], before: ManifestFile | undefined): readonly ManifestObject[] {
  const good = documents.flatMap(({ objects }) => objects)
  if (before === undefined || documents.every(({ problem }) => problem === undefined)) return good
  const held = new Set(good.map(({ id }) => id))
  return [...good, ...before.objects.filter(({ id }) => !held.has(id))]
}

function fileProblem(file: string, error: unknown): Problem {
  return {
    severity: 'error',
    object: { kind: 'File', name: file, file },
    field: '',
    code: 'Unreadable',
    message: messageOf(error),
    remedy: 'Make it readable; what was read last stays in force.',
  }
}
