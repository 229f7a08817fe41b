/**
 * Names of Services and pods, which the agent knows: asked for once for many events, and remembered for a while. Events
 * wait for them a moment, in their order. Pure.
 */
import type { DatapathEvent } from '../datapath/events.ts'
import { frontendId } from '../desired/model.ts'
import type { NamedEvent } from './named-event.ts'
import { protocolNumbers } from './named-event.ts'
import type { NameQuestion, Names } from './protocol.ts'

interface Known {
  readonly names: Names
  readonly atMs: number
}

interface Waiting {
  readonly event: DatapathEvent
  readonly timeMs: number
  readonly key: string | undefined
  readonly sinceMs: number
}

const rememberMs = 5_000
const maxKnown = 4_096
/** In one question; the answer costs the agent some look-ups each. */
const maxQuestions = 128
/** The agent is busy: then an event goes without names. */
const patienceMs = 1_000
const maxWaiting = 16_384

export class EventNames {
  readonly #ask: (questions: readonly NameQuestion[]) => void
  readonly #known = new Map<string, Known>()
  #waiting: Waiting[] = []
  /** What is asked now, by key. */
  #asked: readonly string[] = []

  constructor(ask: (questions: readonly NameQuestion[]) => void) {
    this.#ask = ask
  }

  /** How many more may come now. */
  get room(): number {
    return maxWaiting - this.#waiting.length
  }

  add(event: DatapathEvent, timeMs: number, nowMs: number): void {
    this.#waiting.push({ event, timeMs, key: keyOf(event), sinceMs: nowMs })
  }

  answered(names: readonly Names[], nowMs: number): void {
    if (this.#known.size > maxKnown) this.#known.clear()
    for (const [i, key] of this.#asked.entries()) this.#known.set(key, { names: names[i] ?? {}, atMs: nowMs })
    this.#asked = []
  }

  /** Those whose names are known, or were waited for long enough; in their order. */
  take(nowMs: number): readonly NamedEvent[] {
    this.#askFor(nowMs)
    let count = 0
    const ready: NamedEvent[] = []
    for (const { event, timeMs, key, sinceMs } of this.#waiting) {
      const names = key === undefined ? {} : this.#known.get(key)?.names
      if (names === undefined && isWithin(patienceMs, sinceMs, nowMs)) break
      count++
      ready.push({ ...event, ...names, timeMs })
    }
    if (count > 0) this.#waiting = this.#waiting.slice(count)
    return ready
  }

  #askFor(nowMs: number): void {
    if (this.#asked.length > 0) return
    const questions = new Map<string, NameQuestion>()
    for (const { event, key } of this.#waiting) {
      if (key === undefined || questions.has(key)) continue
      const known = this.#known.get(key)
      if (known !== undefined && isWithin(rememberMs, known.atMs, nowMs)) continue
      questions.set(key, questionOf(event))
      if (questions.size >= maxQuestions) break
    }
    if (questions.size === 0) return
    this.#asked = [...questions.keys()]
    this.#ask([...questions.values()])
  }
}

/** Also of a clock that was set back in between. */
const isWithin = (ms: number, sinceMs: number, nowMs: number): boolean => Math.abs(nowMs - sinceMs) < ms

/** Of no Service, whatever they are sent to. */
const nameless: ReadonlySet<string> = new Set(['unowned_port', 'unowned_protocol', 'bad_header', 'icmp_unmatched'])

function keyOf(event: DatapathEvent): string | undefined {
  if (nameless.has(event.detail)) return undefined
  const { frontend, backend } = questionOf(event)
  return `${frontend} ${backend}`
}

function questionOf({ protocol, destination, backend }: DatapathEvent): NameQuestion {
  const { udp, sctp } = protocolNumbers
  const name = protocol === udp ? 'UDP' : protocol === sctp ? 'SCTP' : 'TCP'
  return { frontend: frontendId(destination.address, name, destination.port), backend: backend?.address ?? '' }
}
