/** What the command line gives the process that replaces it: flags of the engine, and the options in a variable. */
import type { AgentOptions } from '../agent/options.ts'
import type { OperatorOptions } from '../operator/options.ts'

type Variables = Record<string, string | undefined>

/**
 * Of the main thread: the others are given less room (src/sys/heap.ts). With a flag that counts for code, as
 * `--expose-gc` does, the engine would compile Node's own modules anew (docs/adr/0009-one-file.md).
 */
export const agentFlags: readonly string[] = ['--max-semi-space-size=4']
export const operatorFlags: readonly string[] = ['--max-semi-space-size=2']

const agentVariable = 'HERALD_AGENT_OPTIONS'
const operatorVariable = 'HERALD_OPERATOR_OPTIONS'

export function withOptions(environment: Variables, options: AgentOptions): Variables {
  return { ...environment, [agentVariable]: handed(options) }
}

export function withOperatorOptions(environment: Variables, options: OperatorOptions): Variables {
  return { ...environment, [operatorVariable]: handed(options) }
}

/** For this process, which is replaced and keeps its id: what another one left in the environment is not meant. */
const handed = (options: AgentOptions | OperatorOptions): string => `${process.pid} ${JSON.stringify(options)}`

/** Which of the two a process is, and its options. */
export type HandedOver =
  | { readonly what: 'agent'; readonly options: AgentOptions }
  | { readonly what: 'operator'; readonly options: OperatorOptions }

/** What was left for this process, which is then gone; undefined: nothing was. */
export function takeOptions(environment: Variables): HandedOver | undefined {
  let taken: HandedOver | undefined
  for (const [what, variable] of [
    ['agent', agentVariable],
    ['operator', operatorVariable],
  ] as const) {
    const text = environment[variable] ?? ''
    delete environment[variable]
    const head = `${process.pid} `
    if (text.startsWith(head)) taken ??= { what, options: JSON.parse(text.slice(head.length)) }
  }
  return taken
}
