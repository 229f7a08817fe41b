/** What the command line gives the process that replaces it: flags of the engine, and the options in a variable. */
import type { AgentOptions } from '../agent/options.ts'
import { HeraldError } from '../errors.ts'

type Variables = Record<string, string | undefined>

/** docs/adr/0009-one-file.md has what each is worth. */
export const agentFlags: readonly string[] = ['--max-semi-space-size=2', '--no-short-builtin-calls', '--expose-gc']

const variable = 'HERALD_AGENT_OPTIONS'

export function withOptions(environment: Variables, options: AgentOptions): Variables {
  return { ...environment, [variable]: JSON.stringify(options) }
}

/** What {@link withOptions} left, which is then gone. Throws ERR_USAGE. */
export function takeOptions(environment: Variables): AgentOptions {
  const text = environment[variable]
  if (text === undefined) throw new HeraldError('ERR_USAGE', 'this is no command of its own; run `herald agent`')
  delete environment[variable]
  return JSON.parse(text)
}
