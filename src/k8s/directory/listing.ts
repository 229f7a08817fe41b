/**
 * What a folder of manifests holds: the files that are input, in order of names. Links are followed, to each place
 * once; names that start with a dot are not input. The agent and `herald validate` list by the same rules.
 */
import { readdirSync, realpathSync, statSync, type Dirent, type Stats } from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../../errors.ts'
import { faultOfType, type FileFault } from './manifest-file.ts'

export interface ListedFile {
  readonly path: string
  /** Changes whenever the file does, unless two changes fall into one tick of the file system's clock. */
  readonly stamp: string
  readonly mtimeMs: number
  /** It is named like a manifest and cannot be one. */
  readonly fault: FileFault | undefined
}

export interface Listing {
  /** By the path relative to the folder. */
  readonly files: Map<string, ListedFile>
  /** Paths of all folders, by their relative path with a / at the end ('' is the folder itself). */
  readonly folders: Map<string, string>
  /** By relative path; what is below says nothing. */
  readonly faults: Map<string, FileFault>
  /** Names that are no input: other files, and links to what is listed already. */
  readonly ignored: string[]
  /** Of the folder itself; undefined when it cannot be listed. */
  readonly device: number | undefined
}

/** Each folder is watched: a link to / would take all watches of the machine. */
const most = { files: 50_000, folders: 10_000 }
export const maxFolderDepth = 16
/** kubectl reads lower case only; a file of another system would be passed over without a word. */
const manifestName = /\.(ya?ml|json)$/i

export function isManifestName(name: string): boolean {
  return manifestName.test(name) && !name.startsWith('.')
}

/** Yields after every few names, so that a long folder holds nobody. */
export function* listFolder(root: string, limits = most): Generator<void, Listing> {
  const listing = {
    files: new Map<string, ListedFile>(),
    folders: new Map<string, string>(),
    faults: new Map<string, FileFault>(),
    ignored: [],
    device: undefined as number | undefined,
  }
  try {
    listing.device = statSync(root).dev
    yield* new Lister(listing, limits).list(root, '', 0)
  } catch (error) {
    listing.faults.set('', unreadable(error))
  }
  if (listing.faults.has('')) listing.device = undefined
  return listing
}

class Lister {
  readonly #listing: Listing
  readonly #seen = new Set<string>()
  readonly #limits: typeof most
  #isFull = false

  constructor(listing: Listing, limits: typeof most) {
    this.#listing = listing
    this.#limits = limits
  }

  *list(folder: string, prefix: string, depth: number): Generator<void> {
    const { folders, faults, ignored } = this.#listing
    try {
      const real = realpathSync(folder)
      if (this.#seen.has(real)) {
        ignored.push(prefix)
        return
      }
      this.#seen.add(real)
      if (folders.size >= this.#limits.folders) return this.#full('folders')
      folders.set(prefix, folder)
      const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
      for (const entry of entries) {
        yield
        if (entry.name.startsWith('.') || this.#isFull) continue
        yield* this.#entry(entry, join(folder, entry.name), prefix + entry.name, depth)
      }
    } catch (error) {
      // A folder that went away since its name was read is not there; everything else may be there tomorrow.
      if (prefix === '' || !isGone(error)) faults.set(prefix, unreadable(error))
    }
  }

  *#entry(entry: Dirent, path: string, name: string, depth: number): Generator<void> {
    const { faults, ignored } = this.#listing
    const isNamed = manifestName.test(entry.name)
    if (!isNamed && !entry.isDirectory() && !entry.isSymbolicLink()) {
      ignored.push(name)
      return
    }
    let stat: Stats | undefined
    try {
      stat = statSync(path, { throwIfNoEntry: false })
    } catch (error) {
      faults.set(name, unreadable(error))
    }
    if (stat === undefined) return
    if (isNamed) this.#file(entry, path, name, stat)
    else if (!stat.isDirectory()) ignored.push(name)
    else if (depth < maxFolderDepth) yield* this.list(path, `${name}/`, depth + 1)
    else faults.set(name, tooMuch(`folders stand more than ${maxFolderDepth} deep`))
  }

  #full(what: keyof typeof most): void {
    this.#isFull = true
    const name = what === 'files' ? 'manifests' : what
    this.#listing.faults.set('', tooMuch(`the folder holds more than ${this.#limits[what]} ${name}`))
  }

  #file(entry: Dirent, path: string, name: string, stat: Stats): void {
    const { files, ignored } = this.#listing
    const identity = `${stat.dev}:${stat.ino}`
    const isLink = entry.isSymbolicLink()
    if (this.#seen.has(identity) || (isLink && this.#seen.has(`file ${identity}`))) {
      ignored.push(name)
      return
    }
    // Two names of one file are two files, unless one of them is a link.
    this.#seen.add(isLink ? identity : `file ${identity}`)
    if (files.size >= this.#limits.files) return this.#full('files')
    files.set(name, listed(path, stat))
  }
}

export function listed(path: string, stat: Stats): ListedFile {
  const stamp = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`
  return { path, stamp, mtimeMs: stat.mtimeMs, fault: faultOfType(stat) }
}

export function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}

export function unreadable(error: unknown): FileFault {
  const remedy = 'Make it readable; what was read last stays in force.'
  return { code: 'Unreadable', message: messageOf(error), remedy }
}

function tooMuch(message: string): FileFault {
  return { code: 'LimitExceeded', message, remedy: 'Give --manifests a smaller folder.' }
}
