/**
 * What all reading verbs share: where the agent is, the output format, watching, and exit codes that scripts can trust.
 */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ApiLocation } from '../api/client.ts'
import { asciiJson, isPrintable } from './text.ts'

/** 0 ok, 1 degraded or failed, 2 usage, 3 agent unreachable or privilege missing. */
export const exitCode = { ok: 0, degraded: 1, usage: 2, unreachable: 3 } as const

const defaultSocket = '/run/herald/herald.sock'
/** sun_path of sockaddr_un without its NUL. */
const maxSocketBytes = 107

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
    .addOption(
      new Option('-o, --output <format>', 'output format').choices(['table', 'wide', 'json', 'yaml']).default('table'),
    )
    .option('--watch', 'print again whenever the answer changes, until interrupted')
    .addOption(socketOption('unix socket of the agent'))
    .option('--server <url>', 'HTTP address of the agent in place of the socket', serverUrl)
}

/** The same for the agent and for those who ask it. */
export function socketOption(description: string): Option {
  return new Option('--socket <path>', description).env('HERALD_SOCKET').argParser(socketPath).default(defaultSocket)
}

function socketPath(text: string): string {
  // An empty path would make the client ask TCP port 80.
  if (text === '' || Buffer.byteLength(text) > maxSocketBytes)
    throw new InvalidArgumentError(`Write a path of 1 to ${maxSocketBytes} bytes.`)
  return text
}

function serverUrl(text: string): string {
  if (URL.parse(text)?.protocol !== 'http:') throw new InvalidArgumentError('Write http://ADDRESS:PORT.')
  return text
}

/**
 * Reads once, or with --watch until interrupted, and prints; sets the exit code, with --watch that of the last answer.
 */
export async function show<T>(options: ReadingOptions, read: () => Promise<Reading<T>>): Promise<void> {
  const isWatching = options.watch === true
  // Without a code process.exit ends with process.exitCode: what the last answer meant.
  if (isWatching) for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit())
  let last: string | undefined
  for (;;) {
    const reading = await read()
    const text = await rendered(options.output, reading)
    process.exitCode = reading.code
    if (text !== last) process.stdout.write(`${isWatching ? between(options.output, last) : ''}${text}`)
    last = text
    if (!isWatching) return
    await new Promise((resolve) => setTimeout(resolve, watchEveryMs))
  }
}

/** What parts one answer from the next while watching. */
function between(format: OutputFormat, last: string | undefined): string {
  if (format === 'yaml') return '---\n'
  if (format === 'json') return ''
  if (process.stdout.isTTY) return '\u001b[H\u001b[2J'
  return last === undefined ? '' : '\n'
}

async function rendered<T>(format: OutputFormat, { data, text }: Reading<T>): Promise<string> {
  if (format === 'json') return asciiJson(data)
  if (format === 'yaml') {
    const yaml = (await import('yaml')).stringify(data)
    // JSON is YAML too, and can escape everything.
    return isPrintable(yaml) ? yaml : asciiJson(data)
  }
  return text(format === 'wide')
}
