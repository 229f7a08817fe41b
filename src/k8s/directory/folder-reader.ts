/**
 * Reads the files of the folder that changed, and keeps of each what tells the next version from this one. Objects are
 * handed on while a file is being read; what it lost is known when it was read to its end.
 */
import type { Problem } from '../../desired/model.ts'
import { digestOf, isRelated, locatorIn, objectId, problemOfFault, readPiece, type FoundObject } from '../documents.ts'
import type { ObjectVersions } from '../object-versions.ts'
import { piecesOf, type Piece } from '../pieces.ts'
import { shapeOf } from '../shape.ts'
import type { Position, RawObject } from '../source.ts'
import type { Path } from '../yaml.ts'
import { isGone, unreadable, type ListedFile } from './listing.ts'
import { decode, isFault, ManifestFile, readBytes, type FileFault } from './manifest-file.ts'
import { ManifestRecord } from './manifest-record.ts'

interface Time {
  /** Monotonic, for waits. */
  readonly now: number
  /** Of the clock that file systems use. */
  readonly wall: number
}

interface Located {
  readonly record: ManifestRecord
  readonly find: (path: Path) => Position
}

/** A piece of a file that is being read. */
interface Reading {
  readonly file: ManifestFile
  readonly known: Known
  readonly openPath: Path
  readonly piece: Piece
  /** Of the object in it. */
  readonly line: number
}

/** A time stamp of a file this young may stand for two versions. */
const tickMs = 100
/** Of one file. */
const maxProblems = 200

export class FolderReader {
  readonly #directory: string
  readonly #versions: ObjectVersions
  readonly #files = new Map<string, ManifestFile>()
  readonly #locate = (record: ManifestRecord, path: Path): Position => this.#positionOf(record, path)
  /** Of the file that was read last: several problems of it are located one after the other. */
  #text: { readonly name: string; readonly text: string } | undefined
  #locator: Located | undefined
  /** A file was read so shortly after it was written that it has to be read again. */
  hasFreshFile = false

  constructor(directory: string, versions: ObjectVersions) {
    this.#directory = directory
    this.#versions = versions
  }

  names(): Iterable<string> {
    return this.#files.keys()
  }

  problems(): readonly Problem[] {
    return [...this.#files.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(({ problems }) => problems)
  }

  /** Every file is read again, whatever its time stamp says. */
  forgetStamps(): void {
    for (const file of this.#files.values()) file.stamp = ''
  }

  /** A look is over: no text is kept, and no file that is gone, unless it may come back broken with what it had. */
  forgetText(): void {
    this.#text = undefined
    this.#locator = undefined
    const gone = [...this.#files.values()].filter((file) => file.isGone)
    const awaited = gone.length === 0 ? undefined : this.#versions.awaited()
    for (const file of gone) if (awaited?.has(file) !== true) this.#files.delete(file.name)
    this.hasFreshFile = [...this.#files.values()].some((file) => file.stamp === '' && !file.isGone)
  }

  /** Yields ids of objects that changed, and nothing where only time was spent. */
  *read(name: string, listed: ListedFile | undefined, time: Time): Generator<string | undefined> {
    const before = this.#files.get(name)
    if (listed === undefined) return this.#gone(before)
    if (before?.stamp === listed.stamp && !before.isGone) return
    const file = before ?? new ManifestFile(name)
    this.#files.set(name, file)
    const bytes = listed.fault ?? readOrFault(listed.path)
    // A long file is read, summed and decoded in a turn each.
    yield undefined
    if (bytes === undefined) return this.#gone(file)
    file.isGone = false
    if (isFault(bytes)) return this.#failed(file, bytes, listed.stamp)
    const isFresh = Math.abs(time.wall - listed.mtimeMs) < tickMs
    file.stamp = isFresh ? '' : listed.stamp
    const digest = digestOf(bytes)
    if (digest === file.digest) return
    yield undefined
    const text = decode(bytes)
    if (isFault(text)) return this.#failed(file, text, file.stamp)
    file.digest = digest
    file.changedAt = time.now
    file.isCut = !/\n[ \t\r]*$/.test(text.slice(-80)) && text !== ''
    this.#text = { name, text }
    yield undefined
    yield* this.#readText(file, text)
  }

  #gone(file: ManifestFile | undefined): void {
    if (file === undefined) return
    file.isGone = true
    file.isBroken = false
    file.stamp = ''
    file.digest = -1
    file.problems = []
    for (const record of file.records) this.#versions.absent(record)
    file.records = []
  }

  /** It keeps what it gave. */
  #failed(file: ManifestFile, { code, message, remedy, line, column }: FileFault, stamp: string): void {
    file.stamp = stamp
    file.digest = -1
    file.isBroken = true
    const object = { kind: 'File', name: file.name, file: file.name, ...(line === undefined ? {} : { line }) }
    const at = column === undefined ? {} : { column }
    file.problems = [{ severity: 'error', object, field: '', code, message, remedy, ...at }]
  }

  *#readText(file: ManifestFile, text: string): Generator<string | undefined> {
    const known = new Known(file.records)
    const records: ManifestRecord[] = []
    const problems: Problem[] = []
    let isBroken = false
    let last: readonly ManifestRecord[] = []
    for (const piece of piecesOf(text)) {
      for (const record of last) record.openPath = undefined
      const slice = text.slice(piece.start, piece.end)
      const pieceDigest = digestOf(slice)
      const same = known.ofPiece(pieceDigest, piece)
      for (const record of same) place(record, piece, record.firstLine + piece.line - record.pieceLine)
      last = same
      if (same.length === 0) {
        const { objects, faults, openPath } = readPiece(slice, piece.isItem)
        isBroken ||= faults.some(({ severity }) => severity === 'error')
        for (const fault of faults)
          if (problems.length < maxProblems) problems.push(problemOfFault(file.name, text, piece, fault))
        const locate = locatorIn(text, piece)
        last = objects
          .filter(({ key }) => isRelated(key))
          .map((found) => {
            const record = this.#record(found, { file, known, openPath, piece, line: locate(found.path).line })
            record.pieceDigest = pieceDigest
            record.hasFaults = faults.length > 0
            return record
          })
        for (const { object, id } of last) if (object !== undefined) yield id
      }
      records.push(...last)
      yield undefined
    }
    // While a document is broken, nobody can tell what was deleted.
    for (const record of known.left())
      if (isBroken) records.push(record)
      else this.#versions.absent(record)
    file.isBroken = isBroken
    file.records = records
    file.problems = problems
  }

  #record(found: FoundObject, { file, known, openPath, piece, line }: Reading): ManifestRecord {
    const id = objectId(found.key)
    const { digest } = found
    const before = known.take(id)
    if (before?.digest === digest && before.apiVersion === found.key.apiVersion) {
      before.openPath = openPath
      place(before, piece, line)
      return before
    }
    const record = new ManifestRecord(found.key, {
      id,
      path: found.path,
      version: found.version,
      digest,
      shape: sharedShape(shapeOf(found.value)),
      source: file,
      locate: this.#locate,
    })
    record.openPath = openPath
    record.object = found.value
    // Of two in one file the first is in force: where it is has to be known before.
    place(record, piece, line)
    this.#versions.replace(before, record)
    return record
  }

  /** The object of a record, read again where it was not delivered at once; undefined when it is not there any more. */
  objectOf(record: ManifestRecord): RawObject | undefined {
    return (record.object ??= this.#readAgain(record))
  }

  #readAgain(record: ManifestRecord): RawObject | undefined {
    const text = this.#textOf(record.source.name)
    const content = text === undefined ? undefined : readPiece(text.slice(record.start, record.end), record.isItem)
    return content?.objects.find(({ key, digest }) => objectId(key) === record.id && digest === record.digest)?.value
  }

  #positionOf(record: ManifestRecord, path: Path): Position {
    const found = this.#locator?.record === record ? this.#locator : this.#locatorOf(record)
    return found?.find([...record.path, ...path]) ?? { line: record.firstLine, column: 1 }
  }

  #locatorOf(record: ManifestRecord): Located | undefined {
    const text = this.#textOf(record.source.name)
    // The file may have changed since; then the next look finds the field.
    if (text === undefined || digestOf(text.slice(record.start, record.end)) !== record.pieceDigest) return undefined
    const piece = { start: record.start, end: record.end, line: record.pieceLine, isItem: record.isItem }
    this.#locator = { record, find: locatorIn(text, piece) }
    return this.#locator
  }

  #textOf(name: string): string | undefined {
    if (this.#text?.name === name) return this.#text.text
    const bytes = readOrFault(`${this.#directory}/${name}`)
    if (bytes === undefined || isFault(bytes)) return undefined
    const text = decode(bytes)
    if (isFault(text)) return undefined
    this.#text = { name, text }
    return text
  }
}

function place(record: ManifestRecord, { start, end, isItem, line }: Piece, firstLine: number): void {
  record.start = start
  record.end = end
  record.isItem = isItem
  record.pieceLine = line
  record.firstLine = firstLine
}

function readOrFault(path: string): Buffer | FileFault | undefined {
  try {
    return readBytes(path)
  } catch (error) {
    // Gone between listing and reading.
    return isGone(error) ? undefined : unreadable(error)
  }
}

/** The records that a file had, each taken once. */
class Known {
  readonly #byPiece = new Map<number, ManifestRecord[]>()
  readonly #byId = new Map<string, ManifestRecord[]>()
  readonly #left: Set<ManifestRecord>

  constructor(records: readonly ManifestRecord[]) {
    this.#left = new Set(records)
    for (const record of records) {
      push(this.#byPiece, record.pieceDigest, record)
      push(this.#byId, record.id, record)
    }
  }

  /** The records of a piece with this very text. */
  ofPiece(digest: number, { isItem }: Piece): readonly ManifestRecord[] {
    const found = (this.#byPiece.get(digest) ?? []).filter((record) => this.#left.has(record) && !record.hasFaults)
    // Two equal pieces are two versions of one object: one place each.
    const place = found[0]?.start
    const same = found.filter((record) => record.start === place && record.isItem === isItem)
    for (const record of same) this.#left.delete(record)
    return same
  }

  take(id: string): ManifestRecord | undefined {
    const found = this.#byId.get(id)?.find((record) => this.#left.has(record))
    if (found !== undefined) this.#left.delete(found)
    return found
  }

  left(): Iterable<ManifestRecord> {
    return this.#left
  }
}

function push<K>(map: Map<K, ManifestRecord[]>, key: K, record: ManifestRecord): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [record])
  else list.push(record)
}

const shapes = new Map<string, string>()

/** One copy of each shape: most objects of a kind are alike. */
function sharedShape(shape: string): string {
  const found = shapes.get(shape)
  if (found !== undefined) return found
  if (shapes.size > 5_000) shapes.clear()
  shapes.set(shape, shape)
  return shape
}
