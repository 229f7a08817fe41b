/** What follows a command of the project: what it does not know is refused with its usage, and nothing is done. */

/** Of a command that did not understand its arguments. */
export const usageCode = 2

/** Says what is wrong, if anything in particular is, and how the command is used; the answer is its exit code. */
export function refuse(usage: string, problem?: string): number {
  if (problem !== undefined) console.error(problem)
  console.error(`usage: ${usage}`)
  return usageCode
}

/** For a command that takes no arguments: ends the process where there are some. */
export function takeNoArguments(command: string, given: readonly string[] = process.argv.slice(2)): void {
  if (given.length === 0) return
  const isHelp = given.some((word) => word === '--help' || word === '-h')
  process.exit(refuse(command, isHelp ? undefined : `${command} takes no arguments, not ${given.join(' ')}`))
}
