/**
 * The record of allocations in embedded mode: `DIR/.herald/allocations.yaml`, or the state directory where the folder
 * is read-only. Several agents share it: it is read and written under a lock file, replaced atomically, and what it
 * says wins over a fresh choice.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HeraldError, messageOf } from '../../errors.ts'

export type Allocations = ReadonlyMap<string, readonly string[]>

export interface AllocationRecord {
  /** Set when the record lies in the state directory, or cannot be kept at all. */
  readonly warning: string | undefined
  /** Under the lock: `choose` sees what is recorded and answers what changes; undefined deletes. */
  exchange(choose: (recorded: Allocations) => ReadonlyMap<string, readonly string[] | undefined>): void
}

const lockStaleMs = 10_000
const lockWaitMs = 200

export function openAllocationRecord(directory: string, stateDir: string): AllocationRecord {
  return new FileRecord(directory, stateDir)
}

class FileRecord implements AllocationRecord {
  #folder: string
  warning: string | undefined

  constructor(directory: string, stateDir: string) {
    this.#folder = join(directory, '.herald')
    try {
      mkdirSync(this.#folder, { recursive: true })
      closeSync(openSync(join(this.#folder, '.probe'), 'w'))
      unlinkSync(join(this.#folder, '.probe'))
    } catch (error) {
      this.#folder = stateDir
      this.warning = `allocations are recorded in ${stateDir}, which other nodes do not see: ${messageOf(error)}`
    }
  }

  exchange(choose: (recorded: Allocations) => ReadonlyMap<string, readonly string[] | undefined>): void {
    const file = join(this.#folder, 'allocations.yaml')
    let unlock = (): void => {}
    try {
      unlock = lock(join(this.#folder, 'allocations.lock'))
    } catch (error) {
      this.warning = `allocations are not recorded now: ${messageOf(error)}`
      choose(readAllocations(file))
      return
    }
    try {
      const merged = new Map(readAllocations(file))
      const changes = choose(merged)
      if (changes.size === 0) return
      for (const [key, addresses] of changes) {
        if (addresses === undefined) merged.delete(key)
        else merged.set(key, addresses)
      }
      const lines = [...merged].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, addresses]) => `${JSON.stringify(key)}: ${JSON.stringify(addresses)}\n`)
      this.#write(file, `# Written by herald. Addresses of Services; delete a line to free one.\n${lines.join('')}`)
    } finally {
      unlock()
    }
  }

  /** A record that cannot be written costs agreement after a restart, never the allocation itself. */
  #write(file: string, text: string): void {
    try {
      writeFileSync(`${file}.new`, text)
      renameSync(`${file}.new`, file)
    } catch (error) {
      this.warning = `allocations are not recorded now: ${messageOf(error)}`
    }
  }
}

/** One line per Service, each a JSON string and a JSON list, which is YAML too; other lines are passed over. */
function readAllocations(file: string): Allocations {
  if (!existsSync(file)) return new Map()
  const found = new Map<string, readonly string[]>()
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const match = /^"([^"\\]+)": \[("[0-9a-f.:]+"(?:,"[0-9a-f.:]+")*)\]$/.exec(line)
    if (match?.[1] !== undefined && match[2] !== undefined) found.set(match[1], match[2].split(',').map((text) => text.slice(1, -1)))
  }
  return found
}

/** A lock file of another agent that died is removed after {@link lockStaleMs}. */
function lock(path: string): () => void {
  const cell = new Int32Array(new SharedArrayBuffer(4))
  for (let waitedMs = 0; waitedMs <= lockWaitMs; waitedMs += 5) {
    try {
      closeSync(openSync(path, 'wx'))
      return () => rmSync(path, { force: true })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat !== undefined && Date.now() - stat.mtimeMs > lockStaleMs) rmSync(path, { force: true })
    else Atomics.wait(cell, 0, 0, 5)
  }
  throw new HeraldError('ERR_SYSCALL', `${path} is held by another agent`)
}
