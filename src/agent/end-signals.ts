/** What ends the agent: a signal, heard from before anybody is served, or the end of its speaker. */
import { messageOf } from '../errors.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { EndSignal, FirstSignal } from '../sys/first-signal.ts'

interface End {
  readonly code: number
  readonly why: string
  /** undefined: the speaker is gone already. */
  readonly mode?: 'restart' | 'shutdown'
}

/** `isDraining`: asked when a signal came. */
export function ended(
  signals: FirstSignal,
  speaker: Pick<SpeakerThread, 'onExit'>,
  isDraining: () => boolean,
): Promise<End> {
  return new Promise((resolve) => {
    signals.hear((signal) => resolve(endBy(signal, isDraining)))
    speaker.onExit((error) => resolve({ code: 1, why: `the speaker ended: ${messageOf(error)}` }))
  })
}

function endBy(signal: EndSignal, isDraining: () => boolean): End {
  if (signal === 'SIGINT') return { code: 0, why: 'agent was stopped', mode: 'shutdown' }
  return isDraining()
    ? { code: 0, why: 'node is drained', mode: 'shutdown' }
    : { code: 0, why: 'agent is restarting', mode: 'restart' }
}
