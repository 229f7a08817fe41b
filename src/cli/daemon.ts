/**
 * The words of `herald agent` and `herald operator`, read by the process that they start where no command line ran in
 * front of it (docs/adr/0009-one-file.md). It keeps nothing of what reads them.
 */
import { Command } from 'commander'
import { HeraldError } from '../errors.ts'
import { addAgent } from './agent.ts'
import { exitCode, reportUnwritten } from './exit.ts'
import type { HandedOver } from './hand-over.ts'
import { addOperator } from './operator.ts'
import { reported, saysAsOurs } from './usage.ts'

/** What they ask for, or the exit code where that is nothing but words. */
export async function readWords(words: readonly string[]): Promise<HandedOver | number> {
  if (words[0] !== 'agent' && words[0] !== 'operator') return reported(noCommand())
  let read: HandedOver | undefined
  const program = new Command('herald')
  addAgent(program, (options) => {
    read = { what: 'agent', options }
    return Promise.resolve()
  })
  addOperator(program, (options) => {
    read = { what: 'operator', options }
  })
  saysAsOurs(program)
  try {
    await program.parseAsync(words, { from: 'user' })
  } catch (error) {
    return await whenWritten(reported(error))
  }
  return read ?? exitCode.ok
}

/** As the command line: a help page that stdout did not take is no success; a closed pipe has taken enough. */
async function whenWritten(code: number): Promise<number> {
  // Then nothing was said there.
  if (code !== exitCode.ok) return code
  const failed = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    process.stdout.once('error', resolve)
    process.stdout.write('', (error) => error ?? resolve(undefined))
  })
  return failed === undefined || failed.code === 'EPIPE' ? code : reportUnwritten(failed)
}

function noCommand(): HeraldError {
  return new HeraldError('ERR_USAGE', 'this is no command of its own; run `herald agent` or `herald operator`')
}
