/**
 * A folder of manifests as a source of objects.
 *
 *     fs.watch ------> files that are named --.
 *     every 2 s, ----> the whole folder -------+--> changed? read --> pieces --> records --> versions --> events
 *     while sth. waits                                                            in force, or waiting
 *
 * A look at the folder is a generator that is driven in slices of a few milliseconds, and begins when the file system
 * has answered from another thread: one of a server that is away would hold the loop. A file that cannot be read, or
 * one with a broken document, keeps the objects it last gave; what vanishes is confirmed first (object-versions.ts).
 */
import { lstatSync, statSync, watch, type FSWatcher } from 'node:fs'
import type { Clock, Wait } from '../clock/clock.ts'
import { deadline } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import type { Problem } from '../desired/model.ts'
import { FolderReader } from './directory/folder-reader.ts'
import { silentMs } from './directory/knock.ts'
import { isGone, isManifestName, listed, listFolder, type ListedFile, type Listing } from './directory/listing.ts'
import type { FileFault } from './directory/manifest-file.ts'
import type { ManifestRecord } from './directory/manifest-record.ts'
import { ObjectVersions, type Change, type Patience } from './object-versions.ts'
import type { KindState, ObjectSource, SourceEvents, SourceState } from './source.ts'

export interface DirectoryOptions extends Partial<Patience> {
  readonly directory: string
  /** How often the folder is looked at without being told (network file systems tell nothing). */
  readonly rescanMs?: number
  readonly clock?: Clock
  /** Resolves when the file systems of these folders answer; undefined: they always do. */
  readonly knock?: (folders: readonly string[]) => Promise<void>
}

/** Several notices of one change come within this time. */
const coalesceMs = 2
/** The loop is not held for longer. */
const sliceMs = 5
/** A look at a long folder is taken less often: it may cost this part of the time. */
const lookShare = 1 / 400
/** More than these are looked at with the whole folder. */
const fewFiles = 100
/** A file that was written so shortly before it was read may change again with the same time stamp. */
const tickMs = 100

export function directorySource(options: DirectoryOptions): ObjectSource {
  return new DirectorySource(options)
}

class DirectorySource implements ObjectSource {
  readonly #directory: string
  readonly #rescanMs: number
  readonly #clock: Clock
  readonly #knock: DirectoryOptions['knock']
  readonly #confirmMs: number
  readonly #versions: ObjectVersions
  readonly #reader: FolderReader
  readonly #watchers = new Map<string, FSWatcher>()
  /** Which folder a watcher is of, by the same keys: of its name there may be another one now. */
  readonly #watched = new Map<string, string>()
  readonly #noticed = new Set<string>()
  #events: SourceEvents | undefined
  #work: Generator<void> | undefined
  /** The file system is asked whether it answers, or a look is under way. */
  #isLooking = false
  #patience: Wait | undefined
  #next: Wait | undefined
  #nextAt = Number.POSITIVE_INFINITY
  #mustList = false
  #wasWhole = true
  /** The whole folder is looked at by then, however many changes of single files are told meanwhile. */
  #wholeAt = 0
  #started: (() => void) | undefined
  #folderFaults: ReadonlyMap<string, FileFault> = new Map()
  #failed = new Map<string, Problem>()
  #device: number | undefined
  #isReachable = false
  #isSynced = false
  /** When it was, and whether a look so much later found what there is. */
  #syncedAt = 0
  #isConfirmed = false
  #hasHadObjects = false
  #delivered = 0
  #problems = '[]'

  constructor({ directory, rescanMs = 2000, clock = systemClock, knock, ...patience }: DirectoryOptions) {
    this.#directory = directory
    this.#rescanMs = rescanMs
    this.#clock = clock
    this.#knock = knock
    const { confirmMs = 1000 } = patience
    this.#confirmMs = confirmMs
    this.#versions = new ObjectVersions({ confirmAllMs: 3000, cutMs: 50, ...patience, confirmMs })
    this.#reader = new FolderReader(directory, this.#versions)
  }

  get state(): SourceState {
    const kind: KindState = {
      isSynced: this.#isSynced,
      problem: this.#isReachable ? undefined : (this.#folderFaults.get('')?.message ?? 'not read yet'),
    }
    return {
      isReachable: this.#isReachable,
      objects: this.#versions.size,
      hasHadObjects: this.#hasHadObjects,
      // What is not there at the first look may be there in a moment: somebody moves files.
      unconfirmed: this.#versions.unconfirmed || Number(!this.#isConfirmed),
      ofKind: () => kind,
    }
  }

  start(events: SourceEvents): Promise<void> {
    this.#events = events
    return new Promise((resolve) => {
      this.#started = resolve
      this.#lookNow()
    })
  }

  async stop(): Promise<void> {
    this.#events = undefined
    this.#next?.cancel()
    this.#patience?.cancel()
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
    this.#started?.()
  }

  rescan(): void {
    this.#reader.forgetStamps()
    this.#lookNow()
  }

  #lookNow(): void {
    this.#mustList = true
    this.#lookWithin(0)
  }

  /** A look is due in so many milliseconds at the latest. */
  #lookWithin(ms: number): void {
    const at = this.#clock.monotonic() + ms
    if (this.#events === undefined || at >= this.#nextAt) return
    this.#next?.cancel()
    this.#nextAt = at
    this.#next = this.#clock.after(ms, () => {
      this.#nextAt = Number.POSITIVE_INFINITY
      // The look under way ends first; it asks for the next one.
      if (this.#isLooking) this.#mustList = true
      else this.#begin()
    })
  }

  #begin(): void {
    this.#isLooking = true
    if (this.#knock === undefined) return this.#enter()
    this.#patience = deadline(this.#clock, silentMs, () => this.#silent())
    void this.#knock(this.#doors()).then(() => {
      this.#patience?.cancel()
      this.#enter()
    })
  }

  #enter(): void {
    this.#work = this.#look()
    this.#drive(this.#clock.monotonic())
  }

  /** A folder of each file system that the folder reaches into. */
  #doors(): readonly string[] {
    const byDevice = new Map<string, string>()
    for (const [prefix, identity] of this.#watched) {
      const device = identity.slice(0, identity.indexOf(':'))
      if (!byDevice.has(device)) byDevice.set(device, `${this.#directory}/${prefix}`)
    }
    return byDevice.size === 0 ? [this.#directory] : [...byDevice.values()]
  }

  /** What was read stays; the whole folder is looked at when it answers. */
  #silent(): void {
    this.#noticed.clear()
    this.#mustList = true
    this.#isReachable = false
    this.#folderFaults = new Map([['', silence]])
    this.#finish(false)
    this.#began()
  }

  /** One slice of the look, and the next one when others had their turn. */
  #drive(began: number): void {
    const until = this.#clock.monotonic() + sliceMs
    try {
      do {
        if (this.#events === undefined || this.#work?.next().done !== false)
          return this.#end(this.#clock.monotonic() - began)
      } while (this.#clock.monotonic() < until)
      this.#clock.soon(() => this.#drive(began))
    } catch (error) {
      // A look is an attempt: whatever ends it, the next one is taken.
      this.#failed.set('', failureOf('File', this.#directory, error))
      this.#end(this.#clock.monotonic() - began)
    }
  }

  #end(tookMs: number): void {
    this.#work = undefined
    this.#isLooking = false
    this.#reader.forgetText()
    const waitMs = this.#reader.hasFreshFile ? tickMs : Number.POSITIVE_INFINITY
    const mustLook = this.#mustList || this.#noticed.size > 0
    const regularMs = Math.max(this.#rescanMs, tookMs / lookShare)
    const secondMs = this.#isConfirmed ? regularMs : this.#confirmMs
    const nextMs = Math.min(waitMs, this.#versions.nextLookMs ?? regularMs, regularMs, secondMs)
    if (this.#wasWhole) this.#wholeAt = this.#clock.monotonic() + Math.min(regularMs, secondMs)
    this.#lookWithin(mustLook ? coalesceMs : nextMs)
    this.#began()
  }

  #began(): void {
    this.#started?.()
    this.#started = undefined
  }

  *#look(): Generator<void> {
    // Files that were named come first; the whole folder has its turn after them.
    const isDue = this.#clock.monotonic() >= this.#wholeAt
    const isWhole = this.#noticed.size === 0 || isDue || (this.#mustList && !this.#wasWhole)
    this.#wasWhole = isWhole
    const names = [...this.#noticed]
    this.#noticed.clear()
    if (isWhole) this.#mustList = false
    this.#delivered = 0
    this.#versions.beginLook()
    this.#failed.delete('')
    const files = isWhole ? yield* this.#list() : this.#named(names)
    if (files === undefined) return
    const relist = isWhole && !this.#isSynced && this.#isReachable
    if (relist) this.#events?.relistBegins?.(undefined)
    for (const [name, file] of files) yield* this.#readFile(name, file)
    const gone: ManifestRecord[] = []
    for (const id of this.#versions.pending()) {
      const change = this.#decide(id)
      if (change?.isLoss === true && change.upsert === undefined && change.remove !== undefined)
        gone.push(change.remove)
      yield
    }
    if (gone.length > 0) this.#events?.note?.(goneText(gone))
    if (relist) this.#events?.relistEnds?.(undefined)
    this.#finish(isWhole)
  }

  /** All files of the folder that are to be looked at; undefined when the folder cannot be listed. */
  *#list(): Generator<void, ReadonlyMap<string, ListedFile | undefined>> {
    const listing = yield* listFolder(this.#directory)
    if (listing.device !== undefined && listing.files.size === 0 && this.#isElsewhere(listing.device))
      listing.faults.set('', {
        code: 'Unreadable',
        message: 'another file system is mounted here, and it holds no manifest',
        remedy: 'Mount the right one; what was read stays in force.',
      })
    this.#isReachable = !listing.faults.has('')
    if (this.#isReachable) this.#device = listing.device
    this.#folderFaults = listing.faults
    yield* this.#watchAll(listing)
    const files = new Map<string, ListedFile | undefined>(listing.files)
    for (const name of this.#reader.names())
      if (!files.has(name) && !isHidden(name, listing.faults)) files.set(name, undefined)
    return files
  }

  #isElsewhere(device: number): boolean {
    return this.#device !== undefined && this.#device !== device && this.#versions.size > 0
  }

  /** Files that a watch named, as they are now; the whole folder where a name alone does not say enough. */
  #named(names: readonly string[]): ReadonlyMap<string, ListedFile | undefined> {
    const found = new Map<string, ListedFile | undefined>()
    for (const name of names) {
      const path = `${this.#directory}/${name}`
      try {
        const stat = lstatSync(path, { throwIfNoEntry: false })
        if (stat === undefined) found.set(name, undefined)
        else if (stat.isFile() && stat.nlink === 1) found.set(name, listed(path, stat))
        else this.#mustList = true
      } catch (error) {
        if (!isGone(error)) this.#mustList = true
        else found.set(name, undefined)
      }
    }
    return found
  }

  *#readFile(name: string, file: ListedFile | undefined): Generator<void> {
    const wall = this.#clock.now()
    const ids = this.#reader.read(name, file, { now: this.#clock.monotonic(), wall })
    for (let step = ids.next(); step.done !== true; step = ids.next()) {
      if (step.value !== undefined) this.#decide(step.value)
      yield
    }
  }

  #decide(id: string): Change | undefined {
    const events = this.#events
    const change = this.#versions.decide(
      id,
      this.#clock.monotonic(),
      (record) => this.#reader.objectOf(record) !== undefined,
    )
    if (change === undefined || events === undefined) return undefined
    const { remove, upsert } = change
    if (remove !== undefined) this.#guarded(remove, () => events.remove(remove))
    if (upsert !== undefined) this.#guarded(upsert, () => this.#upsert(events, upsert))
    this.#delivered++
    return change
  }

  #upsert(events: SourceEvents, record: ManifestRecord): void {
    const object = this.#reader.objectOf(record)
    record.object = undefined
    this.#hasHadObjects = true
    if (object !== undefined) events.upsert(record, object, record, record.version)
  }

  /** What one object does to a consumer is told of that object, and costs no other. */
  #guarded(record: ManifestRecord, deliver: () => void): void {
    try {
      this.#failed.delete(record.id)
      deliver()
    } catch (error) {
      this.#failed.set(record.id, failureOf(record.kind, record.name, error, record))
    }
  }

  #finish(isWhole: boolean): void {
    const events = this.#events
    if (events === undefined) return
    const problems = [
      ...[...this.#folderFaults].map(([name, fault]) => problemOf(name === '' ? this.#directory : name, fault)),
      ...this.#reader.problems(),
      ...this.#versions.problems(),
      ...this.#failed.values(),
    ]
    const text = JSON.stringify(problems)
    if (text !== this.#problems) events.problems(problems)
    const isNews = text !== this.#problems || this.#delivered > 0
    this.#problems = text
    const isSecond = this.#isSynced && isWhole && this.#isReachable
    if (isSecond && this.#clock.monotonic() - this.#syncedAt >= this.#confirmMs) this.#isConfirmed = true
    // Also without a change: what had to wait downstream gets its turn.
    if (isNews || isWhole) events.flush()
    if (this.#isSynced || !this.#isReachable) return
    this.#isSynced = true
    this.#syncedAt = this.#clock.monotonic()
    events.synced()
  }

  #notice(prefix: string, name: string | null): void {
    // Names with a dot are no input; with two they are what a mounted ConfigMap switches.
    if (name?.startsWith('.') === true && !name.startsWith('..')) return
    if (name !== null && isManifestName(name) && this.#noticed.size < fewFiles) this.#noticed.add(prefix + name)
    else this.#mustList = true
    this.#lookWithin(coalesceMs)
  }

  *#watchAll({ folders }: Listing): Generator<void> {
    for (const [prefix, watcher] of this.#watchers) {
      if (folders.get(prefix) === undefined || identityOf(folders.get(prefix) ?? '') !== this.#watched.get(prefix)) {
        watcher.close()
        this.#watchers.delete(prefix)
      }
      yield
    }
    for (const [prefix, folder] of folders) {
      if (!this.#watchers.has(prefix)) this.#watch(prefix, folder)
      yield
    }
  }

  #watch(prefix: string, folder: string): void {
    const unwatch = (): void => {
      this.#watchers.get(prefix)?.close()
      this.#watchers.delete(prefix)
    }
    try {
      const watcher = watch(folder, (_type, name) => this.#notice(prefix, name))
      // A folder that went away: the next look says so.
      watcher.on('error', unwatch)
      this.#watchers.set(prefix, watcher)
      this.#watched.set(prefix, identityOf(folder))
    } catch {
      // Out of watches, or not there: looking finds changes more slowly, and the listing reports a missing folder.
    }
  }
}

const silence: FileFault = {
  code: 'Unreadable',
  message: `its file system has not answered for ${silentMs / 1000} s`,
  remedy: 'See that the server of the file system can be reached; what was read last stays in force.',
}

/** A folder that was made anew, or to which a link leads now, is another one. */
function identityOf(folder: string): string {
  try {
    const { dev, ino } = statSync(folder)
    return `${dev}:${ino}`
  } catch {
    return ''
  }
}

/** True of what is in a folder that cannot be listed, or cannot be looked at itself. */
function isHidden(name: string, faults: ReadonlyMap<string, FileFault>): boolean {
  for (const hidden of faults.keys())
    if (name === hidden || hidden === '' || name.startsWith(hidden.endsWith('/') ? hidden : `${hidden}/`)) return true
  return false
}

function problemOf(name: string, { code, message, remedy, line, column }: FileFault): Problem {
  const object = { kind: 'File', name, file: name, ...(line === undefined ? {} : { line }) }
  return { severity: 'error', object, field: '', code, message, remedy, ...(column === undefined ? {} : { column }) }
}

/** What was thrown may quote the object: only its kind is told. */
function failureOf(kind: string, name: string, error: unknown, record?: ManifestRecord): Problem {
  return {
    severity: 'error',
    object: { kind, name, ...(record === undefined ? {} : { namespace: record.namespace, file: record.file }) },
    field: '',
    code: 'Unreadable',
    message: `reading it failed inside Herald: ${error instanceof Error ? error.name : typeof error}`,
    remedy: 'What was read of it last stays in force. Report this with the manifest.',
  }
}

function goneText(gone: readonly ManifestRecord[]): string {
  const named = gone.slice(0, 5).map(({ kind, namespace, name, file }) => {
    const space = namespace === '' ? '' : `${namespace}/`
    return `${kind} ${space}${name} (was in ${file})`
  })
  const more = gone.length > named.length ? ` and ${gone.length - named.length} more` : ''
  return `gone from the folder, confirmed: ${named.join(', ')}${more}`
}
