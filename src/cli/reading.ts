/**
 * What all reading verbs share: where the agent is, the output format, watching, and exit codes that scripts can trust.
 */
import { once } from 'node:events'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ApiLocation } from '../api/client.ts'
import { exitCode } from './exit.ts'
import { asciiJson, isPrintable } from './text.ts'

export { exitCode }

const defaultSocket = '/run/herald/herald.sock'
/** sun_path of sockaddr_un without its NUL. */
const maxSocketBytes = 107

export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml'

export interface ReadingOptions extends ApiLocation {
  readonly output: OutputFormat
  readonly watch?: boolean
}

/** What of them is about the output alone. */
export type Printing = Pick<ReadingOptions, 'output' | 'watch'>

/** Which API server is asked. */
export interface ClusterLocation {
  readonly kubeconfig?: string
  readonly context?: string
  /** Where Herald's objects are; by default anywhere. */
  readonly namespace?: string
}

export interface ClusterOptions extends ReadingOptions, ClusterLocation {
  readonly cluster?: boolean
}

/** For verbs that can be asked of all nodes at once. */
export function withClusterOptions(
  command: Command,
  namespace = "for --cluster: where the Leases of Herald's agents are, by default any namespace",
): Command {
  return command
    .option('--cluster', 'what every node does, asked of the API server in place of the agent')
    .addOption(
      new Option(
        '--kubeconfig <file>',
        'kubeconfig of the API server, by default as kubectl finds it; means --cluster',
      ).implies({
        cluster: true,
      }),
    )
    .addOption(
      new Option('--context <name>', 'a context of the kubeconfig in place of its current one; means --cluster')
        .argParser(nameWanted)
        .implies({ cluster: true }),
    )
    .addOption(new Option('-n, --namespace <ns>', namespace).argParser(nameWanted))
}

/** An empty one would be another path of the API server. */
function nameWanted(text: string): string {
  if (text === '') throw new InvalidArgumentError('A name is wanted.')
  return text
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

/** The same for the agent and for what reads pinned maps beside it, which in a pod is not where nodes have it. */
export function bpffsOption(description: string): Option {
  return new Option('--bpffs <dir>', description).env('HERALD_BPFFS').default('/sys/fs/bpf')
}

function socketPath(text: string): string {
  // An empty path would make the client ask TCP port 80.
  if (text === '' || Buffer.byteLength(text) > maxSocketBytes)
    throw new InvalidArgumentError(`Write a path of 1 to ${maxSocketBytes} bytes.`)
  return text
}

function serverUrl(text: string): string {
  const { protocol, pathname, search } = URL.parse(text) ?? {}
  if (protocol !== 'http:' || pathname !== '/' || search !== '')
    throw new InvalidArgumentError('Write http://ADDRESS:PORT.')
  return text
}

/**
 * Reads once, or with --watch until interrupted, and prints; sets the exit code, with --watch that of the last answer.
 */
export async function show<T>(options: Printing, read: () => Promise<Reading<T>>): Promise<void> {
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

/** What is read in pages; `table` makes the rows of each page text. */
export interface Listing<T> {
  readonly pages: () => AsyncIterable<readonly T[]>
  readonly table: (isWide: boolean) => (page: readonly T[]) => string
}

/** The same for long lists: printed page by page, so that no list has to fit into memory; with --watch it has to. */
export async function showList<T>(options: Printing, { pages, table }: Listing<T>): Promise<void> {
  const { output } = options
  if (options.watch === true)
    return show(options, async () => {
      const data: T[] = []
      for await (const page of pages()) data.push(...page)
      return { data, text: (isWide) => table(isWide)(data), code: exitCode.ok }
    })
  const format =
    output === 'json' ? jsonPages<T>() : output === 'yaml' ? await yamlPages<T>() : textPages(table(output === 'wide'))
  for await (const page of pages()) await written(format.page(page))
  await written(format.end())
}

/** Waits for a slow reader. */
async function written(text: string): Promise<void> {
  if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain')
}

interface PageFormat<T> {
  page(items: readonly T[]): string
  end(): string
}

function textPages<T>(table: (page: readonly T[]) => string): PageFormat<T> {
  return { page: table, end: () => '' }
}

/** One list, as asciiJson writes it. */
function jsonPages<T>(): PageFormat<T> {
  let isBegun = false
  return {
    page: (items) => {
      if (items.length === 0) return ''
      const start = isBegun ? ',\n' : '[\n'
      isBegun = true
      return start + asciiJson(items).slice(2, -3)
    },
    end: () => (isBegun ? '\n]\n' : '[]\n'),
  }
}

async function yamlPages<T>(): Promise<PageFormat<T>> {
  const { stringify } = await import('./yaml.ts')
  let isBegun = false
  return {
    page: (items) => {
      if (items.length === 0) return ''
      isBegun = true
      return items.map((item) => yamlItem(stringify([item]), item)).join('')
    },
    end: () => (isBegun ? '' : '[]\n'),
  }
}

/** JSON is YAML too, and can escape everything. */
const yamlItem = (yaml: string, item: unknown): string =>
  isPrintable(yaml) ? yaml : `- ${asciiJson(item).trimEnd().replaceAll('\n', '\n  ')}\n`

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
    const yaml = (await import('./yaml.ts')).stringify(data)
    // JSON is YAML too, and can escape everything.
    return isPrintable(yaml) ? yaml : asciiJson(data)
  }
  return text(format === 'wide')
}
