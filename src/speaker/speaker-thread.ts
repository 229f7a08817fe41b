/**
 * The agent's end of the speaker's thread: posts messages, subscribes to events, asks questions with a deadline.
 * Messages posted before the thread is up wait in its port.
 *
 * The speaker has at most one question at a time: the next is posted when the answer is there, so what is asked here,
 * however much at once, costs the speaker one bounded answer (queries.ts) between two of its own turns.
 */
import { Worker } from 'node:worker_threads'
import { BfdCounters, type BfdDrops } from '../bfd/counters.ts'
import type { Clock } from '../clock/clock.ts'
import { deadline } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import { HeraldError } from '../errors.ts'
import { FigureReader } from './figures.ts'
import { unpackAnswer } from './packed-paths.ts'
import { packRoutes } from './packed-routes.ts'
import { PrefixMarks } from './presence.ts'
import type {
  CommandAnswer,
  FromSpeaker,
  PeerSnapshot,
  RoutesQuery,
  RouteSnapshot,
  SpeakerCommand,
  SpeakerConcern,
  SpeakerOptions,
  SpeakerQuery,
  ToSpeaker,
} from './protocol.ts'

const queryDeadlineMs = 5_000
/** A problem that was gone for longer is a new one. */
const forgottenMs = 1_000
/** Questions that wait for their turn; more are refused. */
const maxWaiting = 256
/** Sessions get this long to close; then the thread is ended. */
const stopDeadlineMs = 3_000

type Event<T extends FromSpeaker['type']> = Extract<FromSpeaker, { readonly type: T }>
type Answer = Event<'answer'>
export type SpeakerLog = Omit<Event<'log'>, 'type'>

export interface RoutesPage {
  readonly routes: readonly RouteSnapshot[]
  readonly next?: number
}

interface Concern {
  readonly texts: readonly string[]
  /** When each text was there the last time, performance.now(). */
  readonly logged: Map<string, number>
}

interface Question {
  readonly id: number
  readonly message: ToSpeaker
  resolve(answer: Answer): void
  reject(error: HeraldError): void
}

export interface SpeakerThread {
  post(message: ToSpeaker): void
  peers(): Promise<readonly PeerSnapshot[]>
  /** At most `limit` routes of a table; `next` is `from` of what follows. */
  routes(query: Omit<RoutesQuery, 'what'>, limit: number, from?: number): Promise<RoutesPage>
  /** Who was sent a prefix, and how. */
  route(prefix: string): Promise<readonly RouteSnapshot[]>
  /** Every path to a prefix: our own and what was received. */
  paths(prefix: string): Promise<readonly RouteSnapshot[]>
  /** Has something done with a peer; answers what came of it. */
  command(command: SpeakerCommand): Promise<CommandAnswer>
  /** Whether some peer was sent what was posted for this prefix; costs nothing. */
  isAtAnyPeer(prefix: string): boolean
  /** BFD packets that did not count, and why. */
  readonly bfdDrops: BfdDrops
  /** What is wrong with the speaker itself now; it goes with its cause. */
  readonly problems: readonly string[]
  onPeer(listener: (peer: PeerSnapshot, previous: Event<'peer'>['previous']) => void): void
  /** Also a listener that could not be opened. */
  onLog(listener: (line: SpeakerLog) => void): void
  /** The thread ended without having been asked to. */
  onExit(listener: (error: HeraldError) => void): void
  /** Ends all sessions and the thread; resolves when it is gone. */
  stop(mode: 'restart' | 'shutdown', text: string): Promise<void>
}

export function startSpeakerThread(options: SpeakerOptions, clock: Clock = systemClock): SpeakerThread {
  return prepareSpeakerThread(clock)(options)
}

/** The thread loads and rehearses at once; with its options, which its process has yet to find out, it begins. */
export function prepareSpeakerThread(clock: Clock = systemClock): (options: SpeakerOptions) => SpeakerThread {
  const thread = new Thread(clock)
  return (options) => thread.begin(options)
}

class Thread implements SpeakerThread {
  readonly #worker: Worker
  readonly #clock: Clock
  readonly #marks = new PrefixMarks()
  readonly #bfd = new BfdCounters()
  readonly #figures = new FigureReader(
    () => this.#allPeers(),
    () => performance.now(),
  )
  readonly #concerns = new Map<SpeakerConcern, Concern>()
  /** In the order in which they were asked; a question that is too late is not in it any more. */
  readonly #questions = new Map<number, Question>()
  /** The question that the speaker has. */
  #asked: number | undefined
  #peers: Promise<readonly PeerSnapshot[]> | undefined
  readonly #onPeer: Parameters<SpeakerThread['onPeer']>[0][] = []
  readonly #onLog: Parameters<SpeakerThread['onLog']>[0][] = []
  readonly #onExit: Parameters<SpeakerThread['onExit']>[0][] = []
  readonly #exited: Promise<void>
  #nextId = 0
  #isStopping = false
  #end: HeraldError | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './start.cjs'
    this.#worker = new Worker(new URL(file, import.meta.url), {
      workerData: { presence: this.#marks.buffer, figures: this.#figures.buffer, bfd: this.#bfd.buffer },
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

  begin(options: SpeakerOptions): this {
    this.#worker.postMessage(options)
    return this
  }

  post(message: ToSpeaker): void {
    const isRoutes = message.type === 'routes'
    if (!isRoutes && message.type !== 'query') this.#figures.forget()
    this.#worker.postMessage(isRoutes ? packRoutes(message.prefixes, (entry) => this.#marks.markOf(entry)) : message)
  }

  get bfdDrops(): BfdDrops {
    return this.#bfd.drops
  }

  get problems(): readonly string[] {
    return [...this.#concerns.values()].flatMap(({ texts }) => texts)
  }

  isAtAnyPeer(prefix: string): boolean {
    return this.#marks.isAtAnyPeer(prefix)
  }

  /** Those who ask at the same time share an answer; the speaker is asked only when there is something new to tell. */
  peers(): Promise<readonly PeerSnapshot[]> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    this.#peers ??= this.#figures
      .peers()
      .then((peers) => peers.map((peer) => this.#withCounts(peer)))
      .finally(() => (this.#peers = undefined))
    return this.#peers
  }

  async routes(query: Omit<RoutesQuery, 'what'>, limit: number, from?: number): Promise<RoutesPage> {
    const routes: RouteSnapshot[] = []
    let next = from
    do {
      const answer = await this.#ask({
        what: 'routes',
        ...query,
        limit: limit - routes.length,
        ...(next === undefined ? {} : { from: next }),
      })
      routes.push(...checked(answer))
      next = answer.next
    } while (next !== undefined && routes.length < limit)
    return next === undefined ? { routes } : { routes, next }
  }

  route(prefix: string): Promise<readonly RouteSnapshot[]> {
    return this.#all({ what: 'route', prefix })
  }

  paths(prefix: string): Promise<readonly RouteSnapshot[]> {
    return this.#all({ what: 'paths', prefix })
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
    const cut = deadline(this.#clock, stopDeadlineMs, () => void this.#worker.terminate())
    await this.#exited
    cut.cancel()
  }

  async command(command: SpeakerCommand): Promise<CommandAnswer> {
    return (await this.#askWith((id) => ({ type: 'command', id, command }))).command ?? { applied: [], refused: [] }
  }

  #withCounts(peer: PeerSnapshot): PeerSnapshot {
    const { bfdSession: of } = peer
    return of === undefined ? peer : { ...peer, bfdSession: { ...of, counts: this.#bfd.counts(of.report.row) } }
  }

  async #allPeers(): Promise<readonly PeerSnapshot[]> {
    const peers: PeerSnapshot[] = []
    let from: number | undefined = 0
    while (from !== undefined) {
      const answer: Answer = await this.#ask({ what: 'peers', from })
      peers.push(...(answer.peers ?? []))
      from = answer.next
    }
    return peers
  }

  async #all(query: Extract<SpeakerQuery, { readonly prefix: string }>): Promise<readonly RouteSnapshot[]> {
    const routes: RouteSnapshot[] = []
    let from: number | undefined
    do {
      const answer: Answer = await this.#ask({ ...query, ...(from === undefined ? {} : { from }) })
      routes.push(...checked(answer))
      from = answer.next
    } while (from !== undefined)
    return routes
  }

  #ask(query: SpeakerQuery): Promise<Answer> {
    return this.#askWith((id) => ({ type: 'query', id, query }))
  }

  #askWith(messageOf: (id: number) => ToSpeaker): Promise<Answer> {
    const id = this.#nextId++
    return new Promise<Answer>((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#end)
      if (this.#questions.size >= maxWaiting)
        return reject(new HeraldError('ERR_BUSY', `${maxWaiting} questions wait for the speaker`))
      const late = deadline(this.#clock, queryDeadlineMs, () =>
        this.#questions
          .get(id)
          ?.reject(new HeraldError('ERR_SPEAKER_EXITED', `the speaker did not answer within ${queryDeadlineMs} ms`)),
      )
      const settle = (): void => {
        late.cancel()
        this.#questions.delete(id)
      }
      this.#questions.set(id, {
        id,
        message: messageOf(id),
        resolve: (answer) => {
          settle()
          resolve(answer)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      })
      this.#askNext()
    })
  }

  /** A question that was given up still is the speaker's until it has answered. */
  #askNext(): void {
    if (this.#asked !== undefined) return
    for (const { id, message } of this.#questions.values()) {
      this.#asked = id
      return this.post(message)
    }
  }

  #answered(answer: Answer): void {
    this.#questions.get(answer.id)?.resolve(answer)
    if (this.#asked !== answer.id) return
    this.#asked = undefined
    this.#askNext()
  }

  #received(message: FromSpeaker): void {
    switch (message.type) {
      case 'ready':
        return this.#concerned('listener', message.problem === undefined ? [] : [message.problem])
      case 'problems':
        return this.#concerned(message.about, message.texts)
      case 'peer':
        return this.#onPeer.forEach((listener) => listener(message.peer, message.previous))
      case 'log':
        return this.#log(message)
      case 'answer':
        return this.#answered(unpackAnswer(message))
      case 'stopped':
        // The thread closes its port and ends by itself.
        return
    }
  }

  /** Logs what is new; what went and came back at once, as it does when it is tried again, is not. */
  #concerned(about: SpeakerConcern, texts: readonly string[]): void {
    const now = performance.now()
    const { texts: before, logged } = this.#concerns.get(about) ?? { texts: [], logged: new Map<string, number>() }
    for (const text of before) logged.set(text, now)
    for (const [text, at] of logged) if (now - at > forgottenMs) logged.delete(text)
    for (const message of texts) if (!logged.has(message)) this.#log({ level: 'error', message })
    this.#concerns.set(about, { texts, logged })
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

/** The routes of an answer; ERR_EXPIRED when the walk that it should go on with is gone, ERR_NO_NEIGHBOR. */
function checked({ routes = [], isExpired, isStranger }: Answer): readonly RouteSnapshot[] {
  if (isStranger === true) throw new HeraldError('ERR_NO_NEIGHBOR', 'peer: this node has no neighbor of that name')
  if (isExpired === true) throw new HeraldError('ERR_EXPIRED', 'the walk over this table is not kept any more')
  return routes
}
