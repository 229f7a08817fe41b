/**
 * What an operator tells the agent to do: a closed set, over the unix socket only, each logged with who asked.
 *
 *     reset, refresh --> speaker --> what came of it, per peer
 *     drain --> state directory --> agent --> speaker
 */
import type { AgentCommand, AgentCommands, Caller, CommandView } from '../api/types.ts'
import { HeraldError, messageOf } from '../errors.ts'
import type { Logger } from '../observe/logger.ts'
import type { SpeakerThread } from '../speaker/speaker-thread.ts'
import type { DrainMark } from './drain-mark.ts'

export interface CommandParts {
  readonly agent: { setDrained(isDrained: boolean): void }
  readonly speaker: Pick<SpeakerThread, 'command'>
  readonly drain: Pick<DrainMark, 'set' | 'clear'>
  readonly log: Pick<Logger, 'info'>
}

export function createCommands({ agent, speaker, drain, log }: CommandParts): AgentCommands {
  const done = async (command: AgentCommand): Promise<CommandView> => {
    if (command.what !== 'drain') {
      const { applied, refused } = await speaker.command(command)
      return { ...command, applied: [...applied], refused: refused.map((one) => ({ ...one })) }
    }
    try {
      await (command.undo ? drain.clear() : drain.set())
    } catch (error) {
      throw new HeraldError(
        'ERR_SYSCALL',
        `the state directory does not take it, so nothing is changed: ${messageOf(error)}`,
      )
    }
    agent.setDrained(!command.undo)
    return { ...command, applied: [], refused: [] }
  }
  return {
    run: async (command: AgentCommand, caller: Caller) => {
      const { what, ...words } = command
      log.info({ command: what, ...words, by: caller }, `command: ${what}`)
      return done(command)
    },
  }
}
