/**
 * Verbs that other versions have: refused by name, so that nobody looks for a spelling mistake. Listed in docs/cli.md.
 */
import type { Command } from 'commander'
import { exitCode } from './reading.ts'

export const laterVerbs = ['connectivity', 'doctor'] as const

export function addLaterVerbs(program: Command): void {
  for (const verb of laterVerbs) {
    const [parent, child] = verb.split(' ')
    const place = child === undefined ? program : program.commands.find((command) => command.name() === parent)
    place
      ?.command(child ?? verb, { hidden: true })
      .helpOption(false)
      .allowUnknownOption()
      .argument('[words...]')
      .action(() => {
        process.stderr.write(`herald: ${verb} is not in this version\n`)
        process.exitCode = exitCode.usage
      })
  }
}
