/** What commander finds wrong with words, said as everything else that goes wrong is. */
import { type Command, CommanderError } from 'commander'
import { errorTable } from '../errors.ts'
import { exitCode, reportFailure } from './exit.ts'

/** Of a program and all that is below it. */
export function saysAsOurs(program: Command): void {
  for (const command of [program, ...descendants(program)])
    command
      .exitOverride()
      .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'herald: ')) })
      .showHelpAfterError(errorTable.ERR_USAGE)
}

/** The command's children, their children and so on. */
export function descendants(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...descendants(child)])
}

/** The exit code; what commander throws it has said by itself. */
export function reported(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage
  return reportFailure(error)
}
