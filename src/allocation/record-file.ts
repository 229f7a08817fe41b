/**
 * One file of allocations on the disk. New keys are appended in one write; anything else is written to a new file that
 * takes the place of the old one. No link is followed, and nothing but a regular file is read.
 *
 * What was read once stays known when the file is gone, emptied or cut: that is an accident, and it is written anew.
 */
import { isUtf8 } from 'node:buffer'
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { HeraldError } from '../errors.ts'
import { type AllocationChanges, releasedLimit } from './address-book.ts'
import { isErrno } from './errno.ts'
import { type DamagedLine, formatLine, parseRecord, type RecordLine } from './record-lines.ts'
import { inOrder, type Work } from './work.ts'

const header = '# Written by herald: the addresses of Services. To free one, stop the agents and delete its line.\n'
const maxBytes = 64n << 20n
const appendedAtMost = 64
const { O_RDONLY, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants

/** The lines of a record by key. */
export type Lines = ReadonlyMap<string, RecordLine>

export class RecordFile {
  readonly path: string
  /** The file as last read or written. */
  #text = ''
  #inode = 0
  /** Of the file as last read: when it is the same, so is the file. */
  #stamp = ''
  #lines: Map<string, RecordLine> = new Map()
  #damaged: readonly DamagedLine[] = []
  #rest = ''
  readonly #released = new Map<string, number>()
  /** The file lacks something that is known. */
  #mustRewrite = false
  /** Grows whenever the lines change, except by {@link write}. */
  version = 0

  constructor(path: string) {
    this.path = path
  }

  get lines(): Lines {
    return this.#lines
  }

  /** Lines of Services that are gone, in the order in which they went. */
  get released(): ReadonlySet<string> {
    return new Set([...this.#released].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1)).map(([key]) => key))
  }

  get damaged(): readonly DamagedLine[] {
    return this.#damaged
  }

  /** The beginning of a line that a writer left when it died. */
  get rest(): string {
    return this.#rest
  }

  /** Reads what the file says now; throws when it cannot be read, which is not the same as its absence. */
  *read(): Work<void> {
    const found = this.#content()
    if (found === undefined) return
    const isCut = found.text === '' || (found.inode === this.#inode && this.#text.startsWith(found.text))
    if (isCut && found.text !== this.#text && this.#lines.size > 0) {
      this.#mustRewrite = true
      return
    }
    this.#stamp = found.stamp
    this.#inode = found.inode
    if (found.text === this.#text) return
    const { lines, damaged, rest } = yield* parseRecord(found.text)
    this.#lines = new Map()
    this.#released.clear()
    for (const line of lines) this.#set(line.key, line)
    this.#damaged = damaged
    this.#rest = rest
    this.#mustRewrite = rest !== ''
    this.#text = found.text
    this.version++
  }

  /** Forgets lines of Services that went more than `graceMs` ago, and the oldest beyond the limit; in memory first. */
  expire(nowMs: number, graceMs: number): void {
    let surplus = this.#released.size - releasedLimit
    for (const key of this.#released.size === 0 ? [] : this.released) {
      if (surplus-- <= 0 && nowMs - (this.#released.get(key) ?? 0) < graceMs) continue
      this.#set(key, undefined)
      this.#mustRewrite = true
      this.version++
    }
  }

  /** Takes lines of another record, which count before its own. */
  adopt(lines: Lines): void {
    for (const [key, line] of lines) this.#set(key, line)
    if (lines.size === 0) return
    this.#mustRewrite = true
    this.version++
  }

  /**
   * Answers what writes the changes, in one piece. They are on the disk when that returns; when it throws, nothing
   * changed but perhaps the file, which is read anew.
   */
  *prepare(changes: AllocationChanges, nowMs: number): Work<() => void> {
    if (changes.size === 0 && !(this.#mustRewrite && this.#lines.size > 0)) return () => undefined
    const changed = new Map<string, RecordLine | undefined>()
    for (const [key, change] of changes) {
      yield
      const known = this.#lines.get(key)
      if (change === 'forget') changed.set(key, undefined)
      else if (change !== 'release') changed.set(key, { ...change, key })
      else if (known !== undefined) changed.set(key, { ...known, releasedMs: nowMs })
    }
    // Of many lines the end may be lost where somebody dies over them.
    const isAppend =
      changed.size <= appendedAtMost &&
      this.#text.endsWith('\n') &&
      !this.#mustRewrite &&
      [...changed].every(([key, line]) => line !== undefined && !this.#lines.has(key))
    const lines = isAppend ? this.#lines : yield* this.#linesAfter(changed)
    const text = isAppend ? '' : yield* this.#wholeText(lines)
    return () => {
      try {
        if (isAppend) this.#append([...changed.values()].flatMap((line) => line ?? []))
        else this.#rewrite(text)
      } catch (error) {
        // How much of it is on the disk is not known.
        this.#inode = 0
        this.#text = ''
        this.#stamp = ''
        throw error
      }
      if (isAppend) for (const [key, line] of changed) this.#set(key, line)
      else this.#replace(lines, changed)
    }
  }

  *#linesAfter(changed: ReadonlyMap<string, RecordLine | undefined>): Work<Map<string, RecordLine>> {
    const lines = new Map(this.#lines)
    for (const [key, line] of changed) {
      if (line === undefined) lines.delete(key)
      else lines.set(key, line)
      yield
    }
    return lines
  }

  #replace(lines: Map<string, RecordLine>, changed: ReadonlyMap<string, RecordLine | undefined>): void {
    this.#lines = lines
    for (const [key, line] of changed) {
      this.#released.delete(key)
      if (line?.releasedMs !== undefined) this.#released.set(key, line.releasedMs)
    }
  }

  #set(key: string, line: RecordLine | undefined): void {
    this.#released.delete(key)
    if (line === undefined) this.#lines.delete(key)
    else this.#lines.set(key, line)
    if (line?.releasedMs !== undefined) this.#released.set(key, line.releasedMs)
  }

  remove(): void {
    rmSync(this.path, { force: true })
    this.#lines = new Map()
    this.#released.clear()
    this.#text = ''
    this.#stamp = ''
    this.#inode = 0
    this.#mustRewrite = false
  }

  /** undefined: the same as the last time. */
  #content(): { readonly text: string; readonly inode: number; readonly stamp: string } | undefined {
    let descriptor: number
    try {
      descriptor = openSync(this.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return { text: '', inode: 0, stamp: '' }
      // The kernel calls a link that is not to be followed too many of them.
      throw isErrno(error, 'ELOOP') ? this.#irregular('a symbolic link') : error
    }
    try {
      const { inode, stamp } = this.#regular(descriptor)
      return stamp === this.#stamp ? undefined : { text: this.#textOf(readFileSync(descriptor)), inode, stamp }
    } finally {
      closeSync(descriptor)
    }
  }

  /** A disk that fails, or a machine without power, leaves NULs: whose addresses were in it nobody knows. */
  #textOf(bytes: Buffer): string {
    if (!bytes.includes(0) && isUtf8(bytes)) return bytes.toString('utf8')
    const remedy = 'put a copy of it back, or delete it and have addresses given anew'
    throw new HeraldError('ERR_ADDRESS_BOOK', `${this.path} is damaged, it holds what is no text: ${remedy}`)
  }

  #regular(descriptor: number): { readonly inode: number; readonly size: number; readonly stamp: string } {
    const stat = fstatSync(descriptor, { bigint: true })
    if (!stat.isFile()) throw this.#irregular(stat.isDirectory() ? 'a folder' : 'a device or a pipe')
    if (stat.size > maxBytes) throw new HeraldError('ERR_ADDRESS_BOOK', `${this.path} is larger than 64 MiB`)
    const { ino, size, mtimeNs, ctimeNs } = stat
    return { inode: Number(ino), size: Number(size), stamp: `${ino} ${size} ${mtimeNs} ${ctimeNs}` }
  }

  #irregular(what: string): HeraldError {
    return new HeraldError('ERR_ADDRESS_BOOK', `${this.path} is ${what} and no regular file: remove it`)
  }

  #append(lines: readonly RecordLine[]): void {
    const text = lines.map(formatLine).join('')
    const descriptor = openSync(this.path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK)
    try {
      const { inode, size } = this.#regular(descriptor)
      if (inode !== this.#inode)
        throw new HeraldError('ERR_ADDRESS_BOOK', `${this.path} was replaced while it was used`)
      try {
        writeFileSync(descriptor, text)
        fdatasyncSync(descriptor)
      } catch (error) {
        ftruncateSync(descriptor, size)
        throw error
      }
    } finally {
      closeSync(descriptor)
    }
    this.#text += text
  }

  /** Lines that cannot be read stay as they are. */
  *#wholeText(lines: Lines): Work<string> {
    const known: string[] = []
    for (const line of yield* inOrder([...lines.values()], byKey)) {
      yield
      known.push(formatLine(line))
    }
    return header + [...known, ...this.#damaged.map((line) => `${line.text}\n`)].join('')
  }

  /** A crash of the machine leaves the old file or the new one. */
  #rewrite(text: string): void {
    if (lstatSync(this.path, { throwIfNoEntry: false })?.isFile() === false) throw this.#irregular('something else')
    const fresh = `${this.path}.new`
    rmSync(fresh, { force: true })
    const descriptor = openSync(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
    try {
      try {
        writeFileSync(descriptor, text)
        fsyncSync(descriptor)
        this.#inode = fstatSync(descriptor).ino
      } finally {
        closeSync(descriptor)
      }
      renameSync(fresh, this.path)
    } catch (error) {
      // The disk may be full.
      rmSync(fresh, { force: true })
      throw error
    }
    syncFolder(dirname(this.path))
    this.#text = text
    this.#rest = ''
    this.#mustRewrite = false
  }
}

const byKey = (a: RecordLine, b: RecordLine): number => (a.key < b.key ? -1 : 1)

/** The new name is on the disk too, where the file system can say so. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, O_RDONLY)
  try {
    fsyncSync(descriptor)
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'ENOTSUP', 'EBADF')) throw error
  } finally {
    closeSync(descriptor)
  }
}
