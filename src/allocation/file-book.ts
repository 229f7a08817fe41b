/**
 * The address book of agents that read one folder: `DIR/.herald/allocations.yaml`, or `--state-dir` while the folder is
 * read-only. Several agents share it, and what it says wins over a fresh choice.
 *
 *     lock --> read, also what the state directory still holds --> choose --> write, on the disk --> in force
 *
 * Anything that goes wrong on the way costs new allocations and nothing else: the error of a disk, a shared folder that
 * went stale, a directory or a link in the place of the file.
 */
import { lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import {
  type AddressBook,
  type Allocations,
  allotment,
  type Allotment,
  type BookWarning,
  type Choose,
  isSameAllotment,
  type Recorded,
} from './address-book.ts'
import { isErrno } from './errno.ts'
import { LockFile } from './lock-file.ts'
import { RecordFile, type Lines } from './record-file.ts'
import type { RecordLine } from './record-lines.ts'
import type { Work } from './work.ts'

export interface FileBookOptions {
  /** How long to wait for another agent's exchange; the loop stands still meanwhile. */
  readonly lockWaitMs?: number
  /** A lock that stayed the same for so long is of an agent that died. */
  readonly lockStaleMs?: number
  /** How long the line of a Service that is gone is kept. */
  readonly graceMs?: number
  /** Milliseconds since 1970. */
  readonly now?: () => number
  /** The file system of the folder does not answer: touching it would hold whoever does. */
  readonly isSilent?: () => boolean
}

export function openFileBook(directory: string, stateDir: string, options: FileBookOptions = {}): AddressBook {
  return new FileBook(directory, stateDir, options)
}

/** A folder with a record and its lock. */
class Place {
  readonly folder: string
  readonly file: RecordFile
  readonly lock: LockFile

  constructor(folder: string, lockWaitMs: number, lockStaleMs: number) {
    this.folder = folder
    this.file = new RecordFile(join(folder, 'allocations.yaml'))
    this.lock = new LockFile(join(folder, 'allocations.lock'), lockWaitMs, lockStaleMs)
  }

  /** False: another agent has it. Throws where nothing can be written. */
  acquire(): boolean {
    const stat = lstatSync(this.folder, { throwIfNoEntry: false })
    if (stat?.isSymbolicLink() === true) throw new HeraldError('ERR_ADDRESS_BOOK', `${this.folder} is a link`)
    // A folder of manifests that went away is not made anew.
    if (stat === undefined) mkdirSync(this.folder, { mode: 0o755 })
    return this.lock.acquire()
  }
}

const busy: BookWarning = {
  severity: 'warning',
  code: 'RecordBusy',
  message: 'another agent holds the lock of the allocation record: new allocations wait for it',
  remedy: 'It is tried again by itself.',
}

/** The folder takes nothing, and does not claim to be broken. */
const readOnly = ['EROFS', 'EACCES', 'EPERM', 'ENOTDIR'] as const

class FileBook implements AddressBook {
  readonly #shared: Place
  readonly #own: Place
  readonly #graceMs: number
  readonly #now: () => number
  readonly #isSilent: () => boolean
  /** What was recorded after the exchange before, and the file as it was then. */
  #known = new Map<string, Allotment>()
  #version = ''
  #place: BookWarning | undefined
  #damage: BookWarning | undefined
  #failure: BookWarning | undefined

  constructor(
    directory: string,
    stateDir: string,
    { lockWaitMs = 20, lockStaleMs = 10_000, graceMs = 15 * 60_000, now = Date.now, isSilent }: FileBookOptions,
  ) {
    this.#shared = new Place(join(directory, '.herald'), lockWaitMs, lockStaleMs)
    this.#own = new Place(stateDir, lockWaitMs, lockStaleMs)
    this.#graceMs = graceMs
    this.#now = now
    this.#isSilent = isSilent ?? (() => false)
  }

  get warning(): BookWarning | undefined {
    return this.#failure ?? this.#damage ?? this.#place
  }

  *exchange(choose: Choose): Work<'recorded' | 'busy' | 'failed'> {
    try {
      if (this.#isSilent())
        throw new HeraldError('ERR_ADDRESS_BOOK', `the file system of ${this.#shared.folder} does not answer`)
      const place = this.#writable()
      if (place === undefined) {
        this.#failure = busy
        return 'busy'
      }
      try {
        yield* place.lock.keptDuring(this.#exchangeIn(place, choose))
      } finally {
        place.lock.release()
      }
      this.#failure = undefined
      return 'recorded'
    } catch (error) {
      const message = `allocations cannot be recorded, and none is made: ${messageOf(error)}`
      if (this.#failure?.message !== message)
        this.#failure = {
          severity: 'error',
          code: 'NotRecorded',
          message,
          remedy: 'Make the file readable and the folder writable; it is tried again by itself.',
        }
      return 'failed'
    }
  }

  /** The place to write to, locked; undefined while another agent has it. */
  #writable(): Place | undefined {
    try {
      const isFree = this.#shared.acquire()
      this.#place = undefined
      return isFree ? this.#shared : undefined
    } catch (error) {
      if (!isErrno(error, ...readOnly) && !isFileInPlace(error, this.#shared.folder)) throw error
      this.#place ??= {
        severity: 'warning',
        code: 'RecordElsewhere',
        message: `allocations are recorded in ${this.#own.folder}, which other nodes do not see: ${messageOf(error)}`,
        remedy: 'Make the folder writable.',
      }
      return this.#own.acquire() ? this.#own : undefined
    }
  }

  *#exchangeIn(place: Place, choose: Choose): Work<void> {
    const nowMs = this.#now()
    yield* this.#readShared()
    yield* this.#own.file.read()
    // What is only in the state directory was given while the folder took nothing: it counts until it is in the folder.
    if (place === this.#shared) place.file.adopt(this.#own.file.lines)
    else place.file.adopt(missingIn(place.file.lines, this.#shared.file.lines))
    place.file.expire(nowMs, this.#graceMs)
    const damage = damageOf(place.file)
    if (damage?.message !== this.#damage?.message) this.#damage = damage
    const changes = yield* choose(yield* this.#recorded(place.file))
    const write = yield* place.file.prepare(changes, nowMs)
    if (!place.lock.isOurs()) throw new HeraldError('ERR_ADDRESS_BOOK', 'another agent broke the lock')
    write()
    for (const [key, change] of changes) {
      yield
      if (change === 'forget') this.#known.delete(key)
      else if (change !== 'release') this.#known.set(key, change)
    }
    if (place === this.#shared && this.#own.file.lines.size > 0) this.#own.file.remove()
  }

  /** A file in the place of the folder holds no record; everything else that cannot be read may hold one. */
  *#readShared(): Work<void> {
    try {
      yield* this.#shared.file.read()
    } catch (error) {
      if (!isErrno(error, 'ENOTDIR')) throw error
    }
  }

  *#recorded({ path, lines, damaged, released, version }: RecordFile): Work<Recorded> {
    const news = new Map<string, Allotment | undefined>()
    if (this.#version !== `${path} ${version}`) {
      const entries = yield* allotmentsOf(lines)
      for (const [key, allotment] of entries) {
        if (!isSameAllotment(this.#known.get(key), allotment)) news.set(key, allotment)
        yield
      }
      for (const key of this.#known.keys()) if (!entries.has(key)) news.set(key, undefined)
      this.#known = entries
      this.#version = `${path} ${version}`
    }
    return {
      entries: this.#known,
      news,
      released,
      unclear: {
        addresses: damaged.flatMap(({ addresses }) => addresses),
        keys: new Set(damaged.flatMap(({ key }) => key ?? [])),
      },
    }
  }

  *peek(): Work<Allocations> {
    if (this.#isSilent()) return this.#known
    try {
      yield* this.#readShared()
      yield* this.#own.file.read()
      const lines = new Map([...this.#shared.file.lines, ...this.#own.file.lines])
      // Who is gone keeps its address for a while, and no port.
      return yield* allotmentsOf(lines, (line) => (line.releasedMs === undefined ? line : withoutPorts(line)))
    } catch {
      return this.#known
    }
  }
}

function isFileInPlace(error: unknown, folder: string): boolean {
  return isErrno(error, 'EEXIST') && lstatSync(folder, { throwIfNoEntry: false })?.isFile() === true
}

/** Lines whose Service is unknown here, and whose addresses were not given to another since. */
function missingIn(lines: Lines, others: Lines): Lines {
  const taken = new Set([...lines.values()].flatMap(({ addresses }) => addresses))
  return new Map(
    [...others].filter(([key, { addresses }]) => !lines.has(key) && !addresses.some((address) => taken.has(address))),
  )
}

function withoutPorts({ tenure, ...line }: RecordLine): RecordLine {
  return tenure === undefined ? line : { ...line, tenure: { ...tenure, ports: new Map() } }
}

function* allotmentsOf(
  lines: Lines,
  shown: (line: RecordLine) => RecordLine = (line) => line,
): Work<Map<string, Allotment>> {
  const all = new Map<string, Allotment>()
  for (const [key, line] of lines) {
    const { addresses, tenure, lost } = shown(line)
    all.set(key, allotment(addresses, tenure, lost))
    yield
  }
  return all
}

function damageOf({ path, damaged, rest }: RecordFile): BookWarning | undefined {
  const [line] = [...damaged.map(({ text }) => text), ...(rest === '' ? [] : [rest])]
  if (line === undefined) return undefined
  return {
    severity: 'warning',
    code: 'RecordDamaged',
    message: `a line of ${path} is no allocation and is passed over: ${line.slice(0, 80)}`,
    remedy: damaged.length > 0 ? 'Correct it, or delete it.' : 'The next change writes the file anew without it.',
  }
}
