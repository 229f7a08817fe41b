/**
 * The agent's end of the thread that reads flow events. The thread is there while somebody looks, or always when that
 * was asked for. Here chunks of lines are handed on and names are told, no event is touched.
 */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { FlowQuery, FlowSink, FlowSource } from '../api/flow-types.ts'
import { deadline } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { compileFilter } from './filter.ts'
import type { FromReader, NameQuestion, Names, ReaderOptions, ToReader } from './protocol.ts'

export interface FlowsOptions extends ReaderOptions {
  /** Events are read also while nobody looks. */
  readonly isAlways: boolean
  readonly names: (question: NameQuestion) => Names
  readonly warn: (message: string) => void
  /** Who has not taken what it was sent for so long (it is suspended) makes room for another one. */
  readonly suspendedMs?: number
}

export interface Flows extends FlowSource {
  stop(): Promise<void>
}

/** Of an agent without the eBPF datapath. */
export const noFlows: Flows = {
  observe: () => {
    throw new HeraldError('ERR_NO_EVENTS', 'this agent has no eBPF datapath')
  },
  stop: () => Promise.resolve(),
}

const maxObservers = 8
const suspendedMs = 30_000
/** After the last one who looked: who asks again sees what happened meanwhile. */
const lingerMs = 10_000
/** The thread gets this long to tell the programs that nobody looks. */
const stopDeadlineMs = 1_000

/**
 * Lines are garbage in the moment in which they are sent: a young generation as large as the engine likes would fill
 * with them. What is kept (history, names, what waits) takes half of the rest.
 */
const heapLimits = { maxYoungGenerationSizeMb: 6, maxOldGenerationSizeMb: 96 }

interface Looking {
  readonly sink: FlowSink
  /** performance.now() since when it has not taken a chunk. */
  sentAt: number | undefined
}

export class FlowsThread implements Flows {
  readonly #options: FlowsOptions
  readonly #looking = new Map<number, Looking>()
  #worker: Worker | undefined
  #linger: NodeJS.Timeout | undefined
  #ending: Promise<void> | undefined
  #nextId = 0

  constructor(options: FlowsOptions) {
    this.#options = options
    if (options.isAlways)
      try {
        this.#start()
      } catch (error) {
        options.warn(`${messageOf(error)}; events are read when somebody looks`)
      }
  }

  /** Throws ERR_USAGE for a filter that means nothing, ERR_BUSY when too many look or no thread can begin. */
  observe(query: FlowQuery, sink: FlowSink): () => void {
    compileFilter(query)
    if (this.#looking.size >= maxObservers && !this.#makeRoom())
      throw new HeraldError('ERR_BUSY', `${maxObservers} observers look already`)
    const [id, askedMs] = [this.#nextId++, Date.now()]
    this.#looking.set(id, { sink, sentAt: undefined })
    const join = (): void => {
      clearTimeout(this.#linger)
      if (this.#looking.has(id))
        (this.#worker ?? this.#start()).postMessage({ type: 'observe', id, query, askedMs } satisfies ToReader)
    }
    // The ring has one reader: the next thread begins when the one before is done with it.
    if (this.#ending !== undefined) void this.#ending.then(join).catch(() => this.#turnedAway(id))
    else
      try {
        join()
      } catch (error) {
        this.#looking.delete(id)
        throw error
      }
    return () => this.#left(id)
  }

  async stop(): Promise<void> {
    this.#endAll()
    this.#end()
    await this.#ending
  }

  #endAll(): void {
    for (const { sink } of this.#looking.values()) sink.end()
    this.#looking.clear()
  }

  /** Ends the one that has waited longest to be read; false when each of them reads. */
  #makeRoom(): boolean {
    const [longest] = [...this.#looking].sort(([, a], [, b]) => (a.sentAt ?? Infinity) - (b.sentAt ?? Infinity))
    if (longest === undefined) return false
    const [id, { sink, sentAt }] = longest
    if (sentAt === undefined || performance.now() - sentAt < (this.#options.suspendedMs ?? suspendedMs)) return false
    this.#left(id)
    sink.end()
    return true
  }

  #end(): void {
    clearTimeout(this.#linger)
    const worker = this.#worker
    if (worker === undefined) return
    this.#worker = undefined
    this.#ending = ended(worker).finally(() => (this.#ending = undefined))
  }

  /** Throws ERR_BUSY where no thread can begin. */
  #start(): Worker {
    const worker = this.#begun()
    this.#worker = worker
    worker.on('message', (message: FromReader) => this.#received(worker, message))
    worker.on('error', (error) => this.#options.warn(`flow events cannot be read: ${messageOf(error)}`))
    worker.once('exit', () => this.#gone(worker))
    return worker
  }

  #begun(): Worker {
    const { mapsFolder, socketMapsFolder, nodeName } = this.#options
    const file = new URL(`./flow-worker${extname(import.meta.url)}`, import.meta.url)
    try {
      return new Worker(file, {
        workerData: { mapsFolder, socketMapsFolder, nodeName } satisfies ReaderOptions,
        name: 'flows',
        resourceLimits: heapLimits,
        // The descriptors are those of libbpf, which Node knows nothing of.
        trackUnmanagedFds: false,
      })
    } catch (error) {
      const why = `no thread can begin that reads flow events (${messageOf(error)})`
      throw new HeraldError('ERR_BUSY', `${why}: see the limits of processes and of open files`, { cause: error })
    }
  }

  /** An end of the thread costs those who look, and nobody else. */
  #gone(worker: Worker): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#endAll()
  }

  #received(worker: Worker, message: FromReader): void {
    if (message.type === 'ask') {
      const names = message.questions.map((question) => this.#options.names(question))
      return worker.postMessage({ type: 'names', names } satisfies ToReader)
    }
    const { id } = message
    const looking = this.#looking.get(id)
    if (looking === undefined) return
    if (message.type === 'end') {
      this.#left(id)
      return looking.sink.end()
    }
    looking.sentAt = performance.now()
    looking.sink.write(message.text, () => {
      looking.sentAt = undefined
      worker.postMessage({ type: 'taken', id } satisfies ToReader)
    })
  }

  /** No thread could begin for one who was told that it looks. */
  #turnedAway(id: number): void {
    const looking = this.#looking.get(id)
    this.#looking.delete(id)
    looking?.sink.end()
  }

  #left(id: number): void {
    if (!this.#looking.delete(id)) return
    this.#worker?.postMessage({ type: 'leave', id } satisfies ToReader)
    if (this.#looking.size > 0 || this.#options.isAlways) return
    clearTimeout(this.#linger)
    this.#linger = setTimeout(() => this.#end(), lingerMs).unref()
  }
}

async function ended(worker: Worker): Promise<void> {
  const exited = new Promise((resolve) => worker.once('exit', resolve))
  worker.postMessage({ type: 'stop' } satisfies ToReader)
  const cut = deadline(systemClock, stopDeadlineMs, () => void worker.terminate())
  await exited
  cut.cancel()
}
