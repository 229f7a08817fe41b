/**
 * The record of allocations in embedded mode: `DIR/.herald/allocations.yaml`, or the state directory where the folder
 * is read-only. Several agents share it, and what it says wins over a fresh choice.
 *
 *     lock --> read what others added --> choose --> new keys: append a line      anything else: rewrite, rename
 *
 * The file is a YAML map with one line per Service. An append is one write; a last line without its end is of a writer
 * that died, and is passed over and written anew.
 */
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../errors.ts'

export type Allocations = ReadonlyMap<string, readonly string[]>

/** What changes in the record; undefined deletes. */
export type AllocationChanges = ReadonlyMap<string, readonly string[] | undefined>

/** Sees what is recorded, and which of it others wrote since the exchange before; answers what changes. */
export type Choose = (recorded: Allocations, news: Allocations) => AllocationChanges

export interface RecordWarning {
  readonly code: 'RecordBusy' | 'NotRecorded' | 'RecordDamaged' | 'RecordElsewhere'
  readonly message: string
  readonly remedy: string
}

export interface AllocationRecord {
  /** Why the record is not where it should be, is damaged, or was not written the last time. */
  readonly warning: RecordWarning | undefined
  /**
   * Calls `choose` under the lock. `busy`: another agent holds the lock, and nothing was chosen. `unwritten`: chosen
   * but
   * not recorded, which costs agreement after a restart, never an allocation.
   */
  exchange(choose: Choose): 'recorded' | 'unwritten' | 'busy'
  /** What is recorded, read without the lock: all that may be relied on while it is busy. */
  peek(): Allocations
}

export interface AllocationRecordOptions {
  /** How long to wait for another agent's exchange. */
  readonly lockWaitMs?: number
  /** A lock that stayed the same for so long is of an agent that died. */
  readonly lockStaleMs?: number
}

const header = '# Written by herald: the addresses of Services. To free one, stop the agents and delete its line.\n'
const lockStepMs = 2

export function openAllocationRecord(
  directory: string,
  stateDir: string,
  options: AllocationRecordOptions = {},
): AllocationRecord {
  return new FileRecord(directory, stateDir, options)
}

class FileRecord implements AllocationRecord {
  readonly #file: string
  readonly #lock: LockFile
  readonly #place: RecordWarning | undefined
  #damage: RecordWarning | undefined
  #failure: RecordWarning | undefined
  #mustRewrite = false
  /** The file as last read or written, and what it says. */
  #text = ''
  readonly #entries = new Map<string, readonly string[]>()

  constructor(
    directory: string,
    stateDir: string,
    { lockWaitMs = 500, lockStaleMs = 10_000 }: AllocationRecordOptions,
  ) {
    let folder = join(directory, '.herald')
    try {
      mkdirSync(folder, { recursive: true })
      const probe = join(folder, `.probe-${process.pid}`)
      closeSync(openSync(probe, 'w'))
      rmSync(probe)
    } catch (error) {
      folder = stateDir
      this.#place = {
        code: 'RecordElsewhere',
        message: `allocations are recorded in ${stateDir}, which other nodes do not see: ${messageOf(error)}`,
        remedy: 'Make the folder writable.',
      }
    }
    this.#file = join(folder, 'allocations.yaml')
    this.#lock = new LockFile(join(folder, 'allocations.lock'), lockWaitMs, lockStaleMs)
  }

  get warning(): RecordWarning | undefined {
    return this.#failure ?? this.#damage ?? this.#place
  }

  exchange(choose: Choose): 'recorded' | 'unwritten' | 'busy' {
    try {
      if (!this.#lock.acquire()) {
        this.#failure = {
          code: 'RecordBusy',
          message: 'another agent holds the lock of the allocation record: new allocations wait for it',
          remedy: 'It is tried again by itself.',
        }
        return 'busy'
      }
    } catch (error) {
      // It may be readable all the same.
      const recorded = this.peek()
      this.#failed(error)
      choose(recorded, recorded)
      return 'unwritten'
    }
    try {
      return this.#exchangeLocked(choose)
    } finally {
      this.#lock.release()
    }
  }

  #exchangeLocked(choose: Choose): 'recorded' | 'unwritten' {
    this.#failure = undefined
    let news: Allocations = new Map()
    try {
      news = this.#read()
    } catch (error) {
      this.#failed(error)
    }
    const changes = choose(this.#entries, news)
    // What cannot be read is not overwritten.
    if (this.#failure !== undefined) return 'unwritten'
    try {
      this.#write(changes)
      return 'recorded'
    } catch (error) {
      this.#failed(error)
      // How much of it was written is not known: the next exchange reads everything.
      this.#text = ''
      this.#entries.clear()
      return 'unwritten'
    }
  }

  #failed(error: unknown): void {
    this.#failure = {
      code: 'NotRecorded',
      message: `allocations are not recorded: ${messageOf(error)}`,
      remedy: 'Make the folder writable; it is tried again by itself.',
    }
  }

  peek(): Allocations {
    try {
      return parseLines(readIfThere(this.#file), 0).entries
    } catch (error) {
      this.#failed(error)
      return new Map()
    }
  }

  /** Reads what was added since the last time, or everything when the file was rewritten. */
  #read(): Allocations {
    const text = readIfThere(this.#file)
    const isAppended = text.startsWith(this.#text)
    if (!isAppended) this.#entries.clear()
    if (!isAppended) this.#mustRewrite = false
    const { entries, wrong, end } = parseLines(text, isAppended ? this.#text.length : 0)
    for (const [key, addresses] of entries) this.#entries.set(key, addresses)
    this.#text = text.slice(0, end)
    if (wrong.length > 0) {
      this.#mustRewrite = true
      this.#damage = {
        code: 'RecordDamaged',
        message: `a line of ${this.#file} is no allocation and is passed over: ${(wrong[0] ?? '').slice(0, 80)}`,
        remedy: 'Correct it; the next change writes the file anew without it.',
      }
    } else if (!this.#mustRewrite) this.#damage = undefined
    return entries
  }

  #write(changes: AllocationChanges): void {
    if (changes.size === 0) return
    const isAppend =
      this.#text !== '' &&
      !this.#mustRewrite &&
      [...changes].every(([key, addresses]) => addresses !== undefined && !this.#entries.has(key))
    for (const [key, addresses] of changes) {
      if (addresses === undefined) this.#entries.delete(key)
      else this.#entries.set(key, addresses)
    }
    if (isAppend) {
      const lines = [...changes].map(([key, addresses = []]) => formatLine(key, addresses)).join('')
      appendFileSync(this.#file, lines)
      this.#text += lines
      return
    }
    const lines = [...this.#entries]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, addresses]) => formatLine(key, addresses))
    const text = header + lines.join('')
    writeDurably(`${this.#file}.new`, text)
    renameSync(`${this.#file}.new`, this.#file)
    this.#text = text
    this.#mustRewrite = false
  }
}

/** JSON strings, which are YAML too. */
function formatLine(key: string, addresses: readonly string[]): string {
  return `${JSON.stringify(key)}: [${addresses.map((address) => JSON.stringify(address)).join(', ')}]\n`
}

/** A line as we write it, or as a person would: quotes are optional. */
function parseLine(line: string): [string, readonly string[]] | undefined {
  const match = /^(["']?)([a-z0-9.-]+\/[a-z0-9.-]+)\1\s*:\s*\[([^\]]*)\]\s*(#.*)?$/.exec(line)
  const addresses = (match?.[3] ?? '')
    .split(',')
    .map((text) => text.trim().replace(/^(["'])(.*)\1$/, '$2'))
    .filter((text) => text !== '')
  return match?.[2] === undefined || !addresses.every((text) => /^[0-9a-f.:]+$/.test(text))
    ? undefined
    : [match[2], addresses]
}

/** The lines from `start` on; what follows `end` is a line without its end. */
function parseLines(
  text: string,
  start: number,
): { readonly entries: Allocations; readonly wrong: readonly string[]; readonly end: number } {
  const entries = new Map<string, readonly string[]>()
  const wrong: string[] = []
  const end = text.lastIndexOf('\n') + 1
  for (const line of text.slice(start, end).split('\n')) {
    if (/^\s*(#.*)?$/.test(line)) continue
    const entry = parseLine(line)
    if (entry === undefined) wrong.push(line)
    else entries.set(...entry)
  }
  if (end < text.length) wrong.push(text.slice(end))
  return { entries, wrong, end }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return ''
    throw error
  }
}

/** On the disk before it is renamed: a crash of the machine leaves the old file or the new one. */
function writeDurably(file: string, text: string): void {
  const descriptor = openSync(file, 'w', 0o644)
  try {
    writeFileSync(descriptor, text)
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** A file that exists while somebody holds the lock: it works across the nodes of a shared folder too. */
class LockFile {
  readonly #path: string
  readonly #waitMs: number
  readonly #staleMs: number
  /** The lock of another agent as first seen, by our own clock: clocks of nodes differ. */
  #seen: { readonly identity: string; readonly at: number } | undefined

  constructor(path: string, waitMs: number, staleMs: number) {
    this.#path = path
    this.#waitMs = waitMs
    this.#staleMs = staleMs
  }

  /** False when another agent keeps it for longer than we wait; throws when there can be no lock here. */
  acquire(): boolean {
    const cell = new Int32Array(new SharedArrayBuffer(4))
    // Who was waited for in vain once is only looked at from then on.
    const waitMs = this.#seen === undefined ? this.#waitMs : 0
    for (let waitedMs = 0; ; waitedMs += lockStepMs) {
      try {
        closeSync(openSync(this.#path, 'wx'))
        this.#seen = undefined
        return true
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error
      }
      if (this.#isStale()) rmSync(this.#path, { force: true })
      else if (waitedMs >= waitMs) return false
      else Atomics.wait(cell, 0, 0, lockStepMs)
    }
  }

  release(): void {
    rmSync(this.#path, { force: true })
  }

  #isStale(): boolean {
    const stat = statSync(this.#path, { throwIfNoEntry: false, bigint: true })
    if (stat === undefined) return false
    const identity = `${stat.ino} ${stat.mtimeNs}`
    if (this.#seen?.identity !== identity) this.#seen = { identity, at: performance.now() }
    return performance.now() - this.#seen.at >= this.#staleMs
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
