/** What all reading verbs share: where the agent is, the output format, watching, and exit codes that scripts can trust. */
import { Command, Option } from 'commander'
import type { ApiLocation } from '../api/client.ts'

/** 0 ok, 1 degraded or failed, 2 usage, 3 agent unreachable or privilege missing. */
export const exitCode = { ok: 0, degraded: 1, usage: 2, unreachable: 3 } as const

export const defaultSocket = '/run/herald/herald.sock'

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml'

export interface ReadingOptions extends ApiLocation {
  readonly output: OutputFormat
  readonly watch?: boolean
}

export interface Reading<T> {
  readonly data: T
  readonly text: (isWide: boolean) => string
  readonly code: number
}

const watchEveryMs = 1_000

export function withReadingOptions(command: Command): Command {
  return command
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'wide', 'json', 'yaml']).default('table'))
    .option('--watch', 'print again whenever the answer changes')
    .option('--socket <path>', 'unix socket of the agent', process.env['HERALD_SOCKET'] ?? defaultSocket)
    .option('--server <url>', 'HTTP address of the agent in place of the socket')
}

/** Reads once, or with --watch until interrupted, and prints; sets the exit code. */
export async function show<T>(options: ReadingOptions, read: () => Promise<Reading<T>>): Promise<void> {
  let last = ''
  for (;;) {
    const reading = await read()
    const text = await rendered(options.output, reading)
    if (text !== last) process.stdout.write(text)
    last = text
    process.exitCode = reading.code
    if (options.watch !== true) return
    await new Promise((resolve) => setTimeout(resolve, watchEveryMs))
  }
}

async function rendered<T>(format: OutputFormat, { data, text }: Reading<T>): Promise<string> {
  if (format === 'json') return `${JSON.stringify(data, null, 2)}\n`
  if (format === 'yaml') return (await import('yaml')).stringify(data)
  return text(format === 'wide')
}
