/** What ends the agent: a signal, heard from before anybody is served, or the end of its speaker. */
import { messageOf } from '../errors.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'

interface End {
  readonly code: number
  readonly why: string
  /** undefined: the speaker is gone already. */
  readonly mode?: 'restart' | 'shutdown'
}

type Signal = 'SIGTERM' | 'SIGINT'

/** The second time a signal comes it does what it does to any process. */
export class EndSignals {
  #first: Signal | undefined
  #hear: (signal: Signal) => void = () => {}

  constructor() {
    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      process.once(signal, () => {
        this.#first ??= signal
        this.#hear(this.#first)
      })
  }

  /** What came until now. */
  get first(): Signal | undefined {
    return this.#first
  }

  /** `isDraining`: asked when a signal came. */
  ended(speaker: Pick<SpeakerThread, 'onExit'>, isDraining: () => boolean): Promise<End> {
    return new Promise((resolve) => {
      this.#hear = (signal) => resolve(endBy(signal, isDraining))
      if (this.#first !== undefined) this.#hear(this.#first)
      speaker.onExit((error) => resolve({ code: 1, why: `the speaker ended: ${messageOf(error)}` }))
    })
  }
}

function endBy(signal: Signal, isDraining: () => boolean): End {
  if (signal === 'SIGINT') return { code: 0, why: 'agent was stopped', mode: 'shutdown' }
  return isDraining()
    ? { code: 0, why: 'node is drained', mode: 'shutdown' }
    : { code: 0, why: 'agent is restarting', mode: 'restart' }
}
