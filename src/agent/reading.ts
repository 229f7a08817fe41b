/**
 * What a source delivers goes to the translator at once, also before there is an agent: that waits for its datapath,
 * and thousands of objects are read meanwhile. What else an agent hears of them waits for it.
 *
 *     source --upsert, remove--> translator
 *       '-----reports, Nodes, problems, flush, synced--> waits --follow--> agent
 */
import type { Problem } from '../desired/model.ts'
import type { ObjectKey, ObjectSource, ObjectVersion, RawObject } from '../k8s/source.ts'
import type { Translator } from '../k8s/translate/translator.ts'
import { isReportObject } from './node-reporter.ts'

export interface ReadingParts {
  readonly source: ObjectSource
  readonly translator: Pick<Translator, 'upsert' | 'remove' | 'secrets'>
}

/** What an agent hears beside what the translator makes of the objects: see `SourceEvents`. */
export interface Reader {
  /** Where the cluster wants to hear of this node. */
  report(key: ObjectKey, object: RawObject, version: ObjectVersion): void
  reportGone(): void
  node(name: string, uid: string | undefined): void
  problems(list: readonly Problem[]): void
  flush(): void
  synced(): void
  note(message: string): void
}

type Told = (reader: Reader) => void

export class Reading {
  readonly #parts: ReadingParts
  #reader: Reader | undefined
  readonly #waiting: Told[] = []
  #isFlushDue = false
  #begun: Promise<void> | undefined

  constructor(parts: ReadingParts) {
    this.#parts = parts
  }

  /** Nobody has to follow yet. What the source fails with is told by {@link follow}. */
  begin(): void {
    const { source, translator } = this.#parts
    this.#begun ??= source.start({
      upsert: (key, object, origin, version) => {
        if (isReportObject(key)) this.#tell((reader) => reader.report(key, object, version))
        else translator.upsert(key, object, origin)
        if (key.kind === 'Node') this.#tell((reader) => reader.node(key.name, version.uid))
      },
      remove: (key) => {
        if (isReportObject(key)) this.#tell((reader) => reader.reportGone())
        else translator.remove(key)
      },
      problems: (list) => this.#tell((reader) => reader.problems(list)),
      flush: () => {
        // Of what waits one is enough.
        this.#isFlushDue = this.#reader === undefined
        this.#reader?.flush()
      },
      secrets: () => translator.secrets,
      synced: () => this.#tell((reader) => reader.synced()),
      note: (message) => this.#tell((reader) => reader.note(message)),
    })
    this.#begun.catch(() => {})
  }

  /** From now on all is told, first what was heard before; resolves as `start` of the source does. */
  async follow(reader: Reader): Promise<void> {
    for (const tell of this.#waiting.splice(0)) tell(reader)
    this.#reader = reader
    if (this.#isFlushDue) reader.flush()
    this.begin()
    await this.#begun
  }

  #tell(told: Told): void {
    if (this.#reader === undefined) this.#waiting.push(told)
    else told(this.#reader)
  }
}
