/**
 * Who looks at events: what each wants, what waits for it, what it missed. An observer gets the next chunk once it has
 * taken the one before; what does not fit meanwhile is counted, and it is told so. Pure.
 */
import type { FlowQuery, FlowResponse } from '../api/flow-types.ts'
import { compileFilter, type EventTest } from './filter.ts'
import { flowOf, type NamedEvent } from './named-event.ts'

/** Where events were lost, in Hubble's words: before they were read, or for this observer alone. */
type LossSource = 'PERF_EVENT_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE'

interface Observer {
  readonly query: FlowQuery
  readonly isWanted: EventTest
  /** Lines, with their ends. */
  readonly lines: string[]
  characters: number
  /** It has a chunk that it has not taken yet. */
  isBusy: boolean
  /** Nothing more follows. */
  isEnding: boolean
  readonly lost: Map<LossSource, number>
  lastTextMs: number
}

export interface ObserverPorts {
  readonly nodeName: string
  readonly chunk: (id: number, text: string) => void
  readonly end: (id: number) => void
}

const maxHistory = 4_096
/** Without any of `last`, `since` and `until` so many are shown, as Hubble does. */
const shownByDefault = 20
/** What may wait for an observer. */
const maxCharacters = 256 * 1024
/** So often at least something is written: who is gone is noticed by it. */
const heartbeatMs = 2_000

export class Observers {
  readonly #ports: ObserverPorts
  readonly #observers = new Map<number, Observer>()
  /** The last ones, in the order of time. */
  #history: NamedEvent[] = []

  constructor(ports: ObserverPorts) {
    this.#ports = ports
  }

  /** Who follows sees what happened since it asked (`askedMs`), however late it joins; by default from now on. */
  join(id: number, query: FlowQuery, nowMs: number, askedMs = Infinity): void {
    const observer: Observer = {
      query,
      isWanted: compileFilter(query),
      lines: [],
      characters: 0,
      isBusy: false,
      isEnding: !query.follow,
      lost: new Map(),
      lastTextMs: nowMs,
    }
    this.#observers.set(id, observer)
    // These are bounded by the history, not by what may wait.
    for (const event of this.#past(observer, askedMs)) this.#add(observer, this.#lineOf(event))
    this.#serve(id, observer, nowMs)
  }

  leave(id: number): void {
    this.#observers.delete(id)
  }

  taken(id: number, nowMs: number): void {
    const observer = this.#observers.get(id)
    if (observer === undefined) return
    observer.isBusy = false
    this.#serve(id, observer, nowMs)
  }

  take(event: NamedEvent): void {
    if (this.#history.length >= 2 * maxHistory) this.#history = this.#history.slice(-maxHistory)
    this.#history.push(event)
    let line: string | undefined
    for (const observer of this.#observers.values()) {
      if (observer.isEnding || !isInTime(observer.query, event) || !observer.isWanted(event)) continue
      line ??= this.#lineOf(event)
      if (observer.characters + line.length <= maxCharacters) this.#add(observer, line)
      else note(observer, 'OBSERVER_EVENTS_QUEUE', 1)
    }
  }

  /** Events that the programs did not tell. */
  untold(events: number): void {
    for (const observer of this.#observers.values())
      if (!observer.isEnding) note(observer, 'PERF_EVENT_RING_BUFFER', events)
  }

  /** Hands out what waits. */
  flush(nowMs: number): void {
    for (const [id, observer] of this.#observers) {
      if (observer.query.untilMs !== undefined && observer.query.untilMs < nowMs) observer.isEnding = true
      this.#serve(id, observer, nowMs)
    }
  }

  #past({ query, isWanted }: Observer, askedMs: number): readonly NamedEvent[] {
    const { follow, last, sinceMs, untilMs } = query
    const isBounded = last !== undefined || sinceMs !== undefined || untilMs !== undefined
    const isMeanwhile = follow && !isBounded
    const found = this.#history
      .slice(-maxHistory)
      .filter((event) => isInTime(query, event) && isWanted(event) && (!isMeanwhile || event.timeMs >= askedMs))
    if (isMeanwhile) return found
    const shown = last ?? (isBounded ? maxHistory : shownByDefault)
    return shown === 0 ? [] : found.slice(-shown)
  }

  #serve(id: number, observer: Observer, nowMs: number): void {
    if (observer.isBusy) return
    for (const [source, events] of observer.lost) this.#add(observer, this.#lossLine(source, events, nowMs))
    observer.lost.clear()
    if (observer.lines.length === 0) {
      if (observer.isEnding) {
        this.#observers.delete(id)
        this.#ports.end(id)
        return
      }
      // A clock that was set back must not keep us silent until it is where it was.
      if (Math.abs(nowMs - observer.lastTextMs) < heartbeatMs) return
      this.#add(observer, '\n')
    }
    const text = takeChunk(observer)
    observer.isBusy = true
    observer.lastTextMs = nowMs
    this.#ports.chunk(id, text)
  }

  #add(observer: Observer, line: string): void {
    observer.lines.push(line)
    observer.characters += line.length
  }

  #lineOf(event: NamedEvent): string {
    return `${JSON.stringify(flowOf(event, this.#ports.nodeName))}\n`
  }

  #lossLine(source: LossSource, events: number, nowMs: number): string {
    const loss: FlowResponse = {
      lost_events: { source, num_events_lost: events },
      node_name: this.#ports.nodeName,
      time: new Date(nowMs).toISOString(),
    }
    return `${JSON.stringify(loss)}\n`
  }
}

function isInTime({ sinceMs, untilMs }: FlowQuery, { timeMs }: NamedEvent): boolean {
  return timeMs >= (sinceMs ?? -Infinity) && timeMs <= (untilMs ?? Infinity)
}

function note({ lost }: Observer, source: LossSource, events: number): void {
  if (events > 0) lost.set(source, (lost.get(source) ?? 0) + events)
}

function takeChunk(observer: Observer): string {
  let characters = 0
  let count = 0
  for (const line of observer.lines) {
    if (count > 0 && characters + line.length > maxCharacters) break
    characters += line.length
    count++
  }
  observer.characters -= characters
  return observer.lines.splice(0, count).join('')
}
