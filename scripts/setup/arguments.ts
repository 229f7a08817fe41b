/** What follows a command of the project: what it does not know is refused with its usage, and nothing is done. */

/** Of a command that did not understand its arguments. */
const usageCode = 2

/** Whether somebody asks how a command is used. */
export const asksForHelp = (words: readonly string[]): boolean =>
  words.some((word) => word === '--help' || word === '-h')

/** Says what is wrong and how the command is used, or to who asked for it only that; the answer is the exit code. */
export function refuse(usage: string, problem?: string): number {
  if (problem === undefined) console.log(`usage: ${usage}`)
  else console.error(`${problem}\nusage: ${usage}`)
  return problem === undefined ? 0 : usageCode
}

/** For a command that takes no arguments: ends the process where there are some. */
export function takeNoArguments(command: string, given: readonly string[] = process.argv.slice(2)): void {
  if (given.length === 0) return
  process.exit(
    refuse(command, asksForHelp(given) ? undefined : `${command} takes no arguments, not ${given.join(' ')}`),
  )
}
