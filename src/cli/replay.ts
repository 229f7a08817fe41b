/** `herald replay FILE`: runs a recording of `agent --record` through the pure core. Exit 1 when an output differs. */
import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { HeraldError, messageOf } from '../errors.ts'
import { exitCode } from './reading.ts'
import { asciiJson, printable } from './text.ts'

export function addReplay(program: Command): void {
  program
    .command('replay')
    .description('run a recording again and compare what goes out')
    .argument('<file>', 'what `herald agent --record FILE` wrote')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json']).default('table'))
    .action(async (file: string, { output }: { readonly output: 'table' | 'json' }) => {
      const { replay } = await import('../speaker/recording/replay.ts')
      const outcome = await replay(read(file))
      const { inputs, outputs, difference } = outcome
      if (output === 'json') process.stdout.write(asciiJson(outcome))
      else if (difference === undefined) process.stdout.write(`${inputs} inputs, ${outputs} outputs, all as recorded\n`)
      else
        process.stdout.write(
          `${printable(`${file}:${difference.line}: after input ${difference.n} the output differs`)}\n  ` +
            `recorded: ${printable(difference.recorded ?? 'nothing')}\n  replayed: ` +
            `${printable(difference.replayed ?? 'nothing')}\n`,
        )
      process.exitCode = difference === undefined ? exitCode.ok : exitCode.degraded
    })
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `cannot read ${file}: ${messageOf(error)}`, { cause: error })
  }
}
