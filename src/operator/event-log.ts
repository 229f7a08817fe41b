/**
 * Events on objects, each said once: the same words about the same object are counted, and the count is written at most
 * once in five minutes. Pure but for its clock.
 */
import type { Clock } from '../clock/clock.ts'
import { clipped } from './clipped.ts'
import type { ObjectEvent, ObjectVersionRef, StatusOutcome, StatusSink } from '../k8s/status.ts'

/** So many are remembered; of the oldest a new event would be made. */
const maxRemembered = 4096
/** Events wait for statuses to be written; more than these at a time are not worth it. */
const maxPending = 1000
/** Of so many objects something new is told in {@link repeatMs}. */
const maxObjects = 4096
const repeatMs = 5 * 60_000
/** A server forgets events after an hour. */
const forgetMs = 55 * 60_000
/** Somebody who changes an object all the time gets so many events of it in {@link repeatMs}. */
const maxPerObject = 10
/** Octets, as the API has it. */
const maxNote = 1024

interface Said {
  readonly event: ObjectEvent
  readonly sinceMs: number
  count: number
  lastObservedTime: string
  /** When it was written last; undefined: not yet. */
  writtenMs: number | undefined
}

/** Room for so many, of which nobody gets more than he leaves free: who comes next always finds some. */
class Room {
  readonly #most: number
  readonly #of = new Map<string, number>()
  #taken = 0

  constructor(most: number) {
    this.#most = most
  }

  isFullFor(namespace: string): boolean {
    return (this.#of.get(namespace) ?? 0) >= this.#most - this.#taken
  }

  /** One more, or with -1 one less. */
  take(namespace: string, count = 1): void {
    const now = (this.#of.get(namespace) ?? 0) + count
    this.#taken += count
    if (now === 0) this.#of.delete(namespace)
    else this.#of.set(namespace, now)
  }
}

export class EventLog {
  readonly #clock: Clock
  readonly #sink: StatusSink
  readonly #add: (key: string) => void
  readonly #said = new Map<string, Said>()
  readonly #pending = new Set<string>()
  readonly #pendingRoom = new Room(maxPending)
  /** New events by object since {@link #windowMs}. */
  #perObject = new Map<string, number>()
  #objectRoom = new Room(maxObjects)
  #windowMs = Number.NEGATIVE_INFINITY
  #serial = 0
  /** Of which nothing was written, for want of room. */
  dropped = 0

  /** `add` has {@link write} called for a key when its turn comes. */
  constructor(clock: Clock, sink: StatusSink, add: (key: string) => void) {
    this.#clock = clock
    this.#sink = sink
    this.#add = add
  }

  warn(regarding: ObjectVersionRef, reason: string, action: string, text: string): void {
    const note = clipped(text, maxNote)
    const { namespace } = regarding
    const object = regarding.uid || `${regarding.kind}/${namespace}/${regarding.name}`
    const key = `${object} ${reason} ${note}`
    const [nowMs, time] = [this.#clock.monotonic(), this.#microTime()]
    const known = this.#said.get(key)
    if (known !== undefined && nowMs - known.sinceMs < forgetMs) {
      known.count++
      known.lastObservedTime = time
      if (this.#pending.has(key) || nowMs - (known.writtenMs ?? nowMs) < repeatMs) return
      if (this.#pendingRoom.isFullFor(namespace)) return void this.dropped++
    } else {
      const isFull = !this.#pending.has(key) && this.#pendingRoom.isFullFor(namespace)
      if (isFull || this.#isTooMany(object, namespace, nowMs)) return void this.dropped++
      this.#said.delete(key)
      const stem = regarding.name.slice(0, 200).replace(/[^a-z0-9]+$/, '')
      const name = `${stem}.${Math.round(this.#clock.now()).toString(16)}${(this.#serial++).toString(16)}`
      const event: ObjectEvent = { regarding, type: 'Warning', reason, action, note, eventTime: time, name }
      this.#said.set(key, { event, sinceMs: nowMs, count: 1, lastObservedTime: time, writtenMs: undefined })
      this.#forget()
    }
    if (!this.#pending.has(key)) this.#pendingRoom.take(namespace)
    this.#pending.add(key)
    this.#add(key)
  }

  write(key: string): Promise<StatusOutcome> | undefined {
    const said = this.#said.get(key)
    if (!this.#pending.has(key) || said === undefined) return undefined
    const { event, count, lastObservedTime } = said
    if (said.writtenMs === undefined) return this.#sink.createEvent(event)
    return this.#sink.repeatEvent(event.regarding.namespace, event.name, { count, lastObservedTime })
  }

  /** What became of {@link write}. An event that cannot be written is no reason to try for ever. */
  wrote(key: string, { kind }: StatusOutcome): void {
    if (kind === 'limited' || kind === 'failed') return
    const said = this.#said.get(key)
    if (said === undefined || !this.#pending.delete(key)) return
    this.#pendingRoom.take(said.event.regarding.namespace, -1)
    // Gone: the server has forgotten it, or the namespace ends.
    if (kind === 'gone') this.#said.delete(key)
    else said.writtenMs = this.#clock.monotonic()
  }

  #isTooMany(object: string, namespace: string, nowMs: number): boolean {
    if (nowMs - this.#windowMs >= repeatMs) {
      this.#windowMs = nowMs
      this.#perObject = new Map()
      this.#objectRoom = new Room(maxObjects)
    }
    const count = (this.#perObject.get(object) ?? 0) + 1
    if (count > maxPerObject || (count === 1 && this.#objectRoom.isFullFor(namespace))) return true
    if (count === 1) this.#objectRoom.take(namespace)
    this.#perObject.set(object, count)
    return false
  }

  #forget(): void {
    for (const key of this.#said.keys()) {
      if (this.#said.size <= maxRemembered) return
      if (!this.#pending.has(key)) this.#said.delete(key)
    }
  }

  #microTime(): string {
    return new Date(this.#clock.now()).toISOString().replace('Z', '000Z')
  }
}
