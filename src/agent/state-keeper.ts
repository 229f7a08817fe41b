/**
 * What the state directory remembers of this process for the next one: that it had sessions, and what was in force.
 *
 *     neighbors ---mark-----> at once; the first one before there is a session
 *     in force  ---changed--> a second later, or more for many prefixes
 *     every ten seconds: what failed, or is not there any more, is written again
 *
 * A folder may be full, be removed, or another one may take its place while the agent runs; its file system may not
 * answer, which holds nobody: but for the first mark it is asked from other threads.
 */
import type { Clock } from '../clock/clock.ts'
import { answerWithin, deadline } from '../clock/deadline.ts'
import { messageOf } from '../errors.ts'
import type { Faults } from './faults.ts'
import type { InForce, InForceRecord } from './in-force.ts'
import type { RestartMarker } from './restart-marker.ts'

export interface StateKeeperPorts {
  readonly clock: Clock
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  readonly marker: RestartMarker
  readonly record: InForceRecord
  inForce(): InForce
  /** Differs when what is in force does. */
  inForceMark(): string
  /** Of prefixes that are announced: many are remembered later, for it costs the loop a copy of them. */
  announcedCount(): number
}

const lookMs = 10_000
const silentMs = 5_000
/** What is in force is remembered so long after a change. */
const leastRememberMs = 1_000
const prefixesPerMs = 10

export class StateKeeper {
  readonly #ports: StateKeeperPorts
  #isMarkWanted = false
  #isMarked = false
  /** What is remembered; undefined: nothing was to be yet. */
  #remembered: string | undefined
  #isRemembering = false
  #isLooking = false

  constructor(ports: StateKeeperPorts) {
    this.#ports = ports
    this.#lookSoon()
  }

  /** Sessions may exist from now on. A folder that takes no mark costs the restart's grace, not the sessions. */
  mark(): void {
    if (this.#isMarkWanted) return
    this.#isMarkWanted = true
    const { marker } = this.#ports
    try {
      // The one of an earlier process of this boot says the same, also on a disk that takes nothing any more.
      if (!marker.isRestart) marker.set()
      this.#isMarked = true
    } catch (error) {
      this.#noMark(error)
    }
  }

  /** Off the path of a change: once for all changes of some seconds. */
  rememberSoon(): void {
    const { clock, inForceMark, announcedCount } = this.#ports
    if (this.#isRemembering || this.#remembered === inForceMark()) return
    this.#remembered ??= ''
    this.#isRemembering = true
    clock.after(Math.max(leastRememberMs, announcedCount() / prefixesPerMs), () => {
      this.#isRemembering = false
      void this.#remember()
    })
  }

  /** What is in force now, where the file system takes it in time. */
  async stop(): Promise<void> {
    await answerWithin(this.#ports.marker.patience, this.#remember())
  }

  #lookSoon(): void {
    this.#ports.clock.after(lookMs, () => {
      if (!this.#isLooking) void this.#look()
      this.#lookSoon()
    })
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    this.#isLooking = true
    const { marker, record } = this.#ports
    await this.#answered(async () => {
      if (this.#isMarkWanted && !(this.#isMarked && (await marker.isThere()))) await this.#markLater()
      const isDue = this.#remembered !== undefined && !this.#isRemembering
      if (isDue && (this.#remembered === '' || !(await record.isThere()))) await this.#remember()
    })
    this.#isLooking = false
  }

  async #markLater(): Promise<void> {
    try {
      await this.#ports.marker.setLater()
      this.#isMarked = true
      this.#ports.faults.clear('state mark', '')
    } catch (error) {
      this.#noMark(error)
    }
  }

  #noMark(error: unknown): void {
    const { faults, marker } = this.#ports
    this.#isMarked = false
    const cost = 'the next start of the agent will not count as a restart'
    faults.raise('state mark', '', `${stateOf(marker)} takes no mark, ${cost}: ${messageOf(error)}`)
  }

  /** Never rejects. */
  async #remember(): Promise<void> {
    const { record, marker, faults, inForce, inForceMark } = this.#ports
    this.#remembered = inForceMark()
    try {
      await this.#answered(async () => {
        await marker.keepLock()
        await record.write(inForce())
      })
      faults.clear('state record', '')
    } catch (error) {
      this.#remembered = ''
      const cost = 'the next start will not know what is missing'
      faults.raise('state record', '', `${stateOf(marker)} takes no record, ${cost}: ${messageOf(error)}`)
    }
  }

  /** What the file system answers; that it does not is told for as long as it is so. */
  async #answered(ask: () => Promise<void>): Promise<void> {
    const { faults, marker } = this.#ports
    const patience = deadline(marker.patience, silentMs, () => {
      const cost = 'the next start may not count as a restart, nor know what is missing'
      const what = `the file system of ${marker.folder} (--state-dir) has not answered for ${silentMs / 1000} s`
      faults.raise('state silent', '', `${what}: ${cost}`)
    })
    try {
      await ask()
    } finally {
      patience.cancel()
      faults.clear('state silent', '')
    }
  }
}

const stateOf = ({ folder }: RestartMarker): string => `the state directory ${folder}`
