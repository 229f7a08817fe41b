/**
 * The agent's end of the speaker's thread: posts messages, subscribes to events, asks questions with a deadline.
 * Messages posted before the thread is up wait in its port.
 */
import { Worker } from 'node:worker_threads'
import { HeraldError } from '../errors.ts'
import type { FromSpeaker, PeerSnapshot, RouteSnapshot, SpeakerOptions, SpeakerQuery, ToSpeaker } from './protocol.ts'

const queryDeadlineMs = 5_000
/** Sessions get this long to close; then the thread is ended. */
const stopDeadlineMs = 3_000

type Event<T extends FromSpeaker['type']> = Extract<FromSpeaker, { readonly type: T }>
type Answer = Event<'answer'>
export type SpeakerLog = Omit<Event<'log'>, 'type'>

export interface SpeakerThread {
  post(message: ToSpeaker): void
  peers(): Promise<readonly PeerSnapshot[]>
  routes(query: Omit<Extract<SpeakerQuery, { readonly what: 'routes' }>, 'what'>): Promise<readonly RouteSnapshot[]>
  /** Who was sent a prefix, and how. */
  route(prefix: string): Promise<readonly RouteSnapshot[]>
  /** Every path to a prefix: our own and what was received. */
  paths(prefix: string): Promise<readonly RouteSnapshot[]>
  onPeer(listener: (peer: PeerSnapshot, previous: Event<'peer'>['previous']) => void): void
  /** Also a listener that could not be opened. */
  onLog(listener: (line: SpeakerLog) => void): void
  /** The thread ended without having been asked to. */
  onExit(listener: (error: HeraldError) => void): void
  /** Ends all sessions and the thread; resolves when it is gone. */
  stop(mode: 'restart' | 'shutdown', text: string): Promise<void>
}

export function startSpeakerThread(options: SpeakerOptions): SpeakerThread {
  return new Thread(options)
}

class Thread implements SpeakerThread {
  readonly #worker: Worker
  readonly #questions = new Map<number, { resolve(answer: Answer): void; reject(error: HeraldError): void }>()
  readonly #onPeer: Parameters<SpeakerThread['onPeer']>[0][] = []
  readonly #onLog: Parameters<SpeakerThread['onLog']>[0][] = []
  readonly #onExit: Parameters<SpeakerThread['onExit']>[0][] = []
  readonly #exited: Promise<void>
  #nextId = 0
  #isStopping = false
  #end: HeraldError | undefined

  constructor(options: SpeakerOptions) {
    // The bundled program is JavaScript, the checkout TypeScript: the worker has the extension of this file.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      workerData: options,
      name: 'speaker',
    })
    this.#worker.on('message', (message: FromSpeaker) => this.#received(message))
    let cause: unknown
    this.#worker.on('error', (error: unknown) => {
      cause = error
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        this.#ended(code, cause)
        resolve()
      })
    })
  }

  post(message: ToSpeaker): void {
    this.#worker.postMessage(message)
  }

  async peers(): Promise<readonly PeerSnapshot[]> {
    return (await this.#ask({ what: 'peers' })).peers ?? []
  }

  async routes(query: Parameters<SpeakerThread['routes']>[0]): Promise<readonly RouteSnapshot[]> {
    return (await this.#ask({ what: 'routes', ...query })).routes ?? []
  }

  async route(prefix: string): Promise<readonly RouteSnapshot[]> {
    return (await this.#ask({ what: 'route', prefix })).routes ?? []
  }

  async paths(prefix: string): Promise<readonly RouteSnapshot[]> {
    return (await this.#ask({ what: 'paths', prefix })).routes ?? []
  }

  onPeer(listener: Parameters<SpeakerThread['onPeer']>[0]): void {
    this.#onPeer.push(listener)
  }

  onLog(listener: Parameters<SpeakerThread['onLog']>[0]): void {
    this.#onLog.push(listener)
  }

  onExit(listener: Parameters<SpeakerThread['onExit']>[0]): void {
    this.#onExit.push(listener)
    if (this.#end !== undefined && !this.#isStopping) listener(this.#end)
  }

  async stop(mode: 'restart' | 'shutdown', text: string): Promise<void> {
    this.#isStopping = true
    this.post({ type: 'stop', mode, text })
    const cut = setTimeout(() => void this.#worker.terminate(), stopDeadlineMs)
    await this.#exited
    clearTimeout(cut)
  }

  #ask(query: SpeakerQuery): Promise<Answer> {
    const id = this.#nextId++
    return new Promise<Answer>((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#end)
      const late = setTimeout(
        () =>
          this.#questions
            .get(id)
            ?.reject(new HeraldError('ERR_SPEAKER_EXITED', `the speaker did not answer within ${queryDeadlineMs} ms`)),
        queryDeadlineMs,
      )
      const settle = (): void => {
        clearTimeout(late)
        this.#questions.delete(id)
      }
      this.#questions.set(id, {
        resolve: (answer) => {
          settle()
          resolve(answer)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      })
      this.post({ type: 'query', id, query })
    })
  }

  #received(message: FromSpeaker): void {
    switch (message.type) {
      case 'ready':
        if (message.problem !== undefined) this.#log({ level: 'warn', message: message.problem })
        return
      case 'peer':
        return this.#onPeer.forEach((listener) => listener(message.peer, message.previous))
      case 'log':
        return this.#log(message)
      case 'answer':
        return this.#questions.get(message.id)?.resolve(message)
      case 'stopped':
        // The thread closes its port and ends by itself.
        return
    }
  }

  #log({ level, message, peer }: SpeakerLog): void {
    for (const listener of this.#onLog) listener({ level, message, ...(peer === undefined ? {} : { peer }) })
  }

  #ended(code: number, cause: unknown): void {
    const why = cause instanceof Error ? (cause.stack ?? cause.message) : `exit code ${code}`
    this.#end = new HeraldError('ERR_SPEAKER_EXITED', `the speaker's thread ended: ${why}`, { cause })
    for (const question of [...this.#questions.values()]) question.reject(this.#end)
    if (!this.#isStopping) for (const listener of this.#onExit) listener(this.#end)
  }
}
