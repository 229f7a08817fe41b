/** An object of a file: who it is, where it is, and what tells one version of it from the next; never the object. */
import type { ObjectKey, ObjectVersion, Origin, Position, RawObject } from '../source.ts'
import type { Path } from '../yaml.ts'
import type { ManifestFile } from './manifest-file.ts'

/** Reads the file of a record again to find a field; the source knows how. */
export type Locate = (record: ManifestRecord, path: Path) => Position

/**
 * It is the key and the origin that consumers keep, so that an object costs one of each. A record that moved to
 * another place says so: what was derived from it follows.
 */
export class ManifestRecord implements ObjectKey, Origin {
  readonly apiVersion: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly id: string
  readonly path: Path
  readonly version: ObjectVersion
  readonly digest: number
  readonly shape: string
  readonly #locate: Locate
  source: ManifestFile
  start = 0
  end = 0
  isItem = false
  pieceLine = 1
  firstLine = 1
  pieceDigest = 0
  /** The piece has to be parsed again to tell what is wrong in it. */
  hasFaults = false
  /** Of the last piece of a file: see readYaml. */
  openPath: Path | undefined
  movedTo: ManifestRecord | undefined
  /** Between reading and delivering only. */
  object: RawObject | undefined

  constructor(
    key: ObjectKey,
    made: {
      readonly id: string
      readonly path: Path
      readonly version: ObjectVersion
      readonly digest: number
      readonly shape: string
      readonly source: ManifestFile
      readonly locate: Locate
    },
  ) {
    this.apiVersion = key.apiVersion
    this.kind = key.kind
    this.namespace = key.namespace
    this.name = key.name
    this.id = made.id
    this.path = made.path
    this.version = made.version
    this.digest = made.digest
    this.shape = made.shape
    this.source = made.source
    this.#locate = made.locate
  }

  get file(): string {
    return this.#last().source.name
  }

  get line(): number {
    return this.#last().firstLine
  }

  locate(path: Path): Position {
    const last = this.#last()
    return this.#locate(last, path)
  }

  #last(): ManifestRecord {
    let last: ManifestRecord = this
    while (last.movedTo !== undefined) last = last.movedTo
    if (last !== this) this.movedTo = last
    return last
  }
}
