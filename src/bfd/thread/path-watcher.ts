/**
 * The owner's end of the thread that watches paths: it is there while somebody watches, and begins anew when it ends
 * by a fault, which is no failure of a path.
 */
import { Worker } from 'node:worker_threads'
import { extname } from 'node:path'
import type { BfdSettings } from '../../desired/model.ts'
import { messageOf } from '../../errors.ts'
import { closeEventFd, openEventFd, raiseEventFd } from '../../sys/event-fd.ts'
import type { BfdPath, BfdReport, FromWatcher, PathWatch, ToWatcher } from '../path.ts'
import { idleReport } from '../path.ts'
import type { BfdWorkerData } from './bfd-worker.ts'

/** A thread that ended by a fault is begun again after so long. */
const restartMs = 1_000

interface Watching {
  readonly path: BfdPath
  settings: BfdSettings
  readonly told: (report: BfdReport) => void
}

interface Thread {
  readonly worker: Worker
  readonly wakeFd: number
}

export class PathWatcher {
  readonly #counters: SharedArrayBuffer
  readonly #watching = new Map<number, Watching>()
  #thread: Thread | undefined
  #nextId = 0

  constructor(counters: SharedArrayBuffer) {
    this.#counters = counters
  }

  watch(path: BfdPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch {
    const id = this.#nextId++
    const watching = { path, settings, told }
    this.#watching.set(id, watching)
    if (this.#thread === undefined) this.#start()
    else this.#post({ type: 'watch', id, path, settings })
    return {
      configure: (next) => {
        watching.settings = next
        this.#post({ type: 'configure', id, settings: next })
      },
      close: (isLast = false) => {
        this.#watching.delete(id)
        this.#post({ type: 'close', id })
        if (isLast && this.#watching.size === 0) this.#post({ type: 'stop' })
      },
    }
  }

  #post(message: ToWatcher): void {
    if (this.#thread === undefined) return
    this.#thread.worker.postMessage(message)
    raiseEventFd(this.#thread.wakeFd)
  }

  #start(): void {
    if (this.#thread !== undefined || this.#watching.size === 0) return
    let cause = 'it ended'
    try {
      this.#thread = this.#begin()
    } catch (error) {
      // Without a thread or a descriptor to spare. In a turn of its own: who watches has not got its watch yet.
      cause = messageOf(error)
      setImmediate(() => this.#ended(`the thread of BFD cannot begin: ${cause}`))
      return
    }
    const { worker, wakeFd } = this.#thread
    worker.on('message', ({ id, report }: FromWatcher) => this.#watching.get(id)?.told(report))
    worker.on('error', (error) => (cause = messageOf(error)))
    worker.once('exit', () => {
      closeEventFd(wakeFd)
      this.#thread = undefined
      this.#ended(`the thread of BFD ended: ${cause}`)
    })
    for (const [id, { path, settings }] of this.#watching) this.#post({ type: 'watch', id, path, settings })
  }

  #ended(problem: string): void {
    for (const { told } of this.#watching.values()) told(idleReport(problem))
    if (this.#watching.size > 0) setTimeout(() => this.#start(), restartMs).unref()
  }

  /** Throws where there can be no thread. */
  #begin(): Thread {
    const wakeFd = openEventFd()
    try {
      return { wakeFd, worker: this.#worker(wakeFd) }
    } catch (error) {
      closeEventFd(wakeFd)
      throw error
    }
  }

  #worker(wakeFd: number): Worker {
    const worker = new Worker(new URL(`./bfd-worker${extname(import.meta.url)}`, import.meta.url), {
      workerData: { wakeFd, counters: this.#counters } satisfies BfdWorkerData,
      name: 'bfd',
      resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
      trackUnmanagedFds: false,
    })
    // It ends with the thread that began it.
    worker.unref()
    return worker
  }
}
