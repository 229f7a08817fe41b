/**
 * `herald observe`: what happens to flows in the kernel of this node, with the flags and formats of `hubble observe`.
 */
import { once } from 'node:events'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { fetchFlows } from '../api/client.ts'
import type { FlowFilterKey, FlowQuery } from '../api/flow-types.ts'
import { HeraldError } from '../errors.ts'
import { type FlowFormat, flowFormats, flowWriter, timeFormats, type FlowTextOptions } from './flow-text.ts'
import { socketOption } from './reading.ts'

interface Flags extends FlowTextOptions {
  readonly follow?: boolean
  readonly last?: number
  readonly all?: boolean
  readonly since?: number
  readonly until?: number
  readonly output: FlowFormat
  readonly socket: string
}

/** With what is read of the command line: a filter behind `--not` leaves out. */
interface Filters {
  isNegated: boolean
  readonly allow: Partial<Record<FlowFilterKey, string[]>>
  readonly deny: Partial<Record<FlowFilterKey, string[]>>
}

const filterFlags: readonly (readonly [flags: string, key: FlowFilterKey, description: string])[] = [
  [
    '-t, --type <type>',
    'type',
    'new, close, rehash, drop or led; trace: all of packets but drop; trace-sock: all of sockets',
  ],
  ['--verdict <verdict>', 'verdict', 'FORWARDED, DROPPED or TRANSLATED'],
  ['--drop-reason-desc <reason>', 'drop-reason-desc', 'why a packet was dropped, by the names of docs/operate.md'],
  ['--protocol <name>', 'protocol', 'tcp, udp, icmp, icmpv4, icmpv6 or sctp'],
  ['--tcp-flags <flags>', 'tcp-flags', 'TCP flags that are all set, as SYN,ACK'],
  ['--ip <address>', 'ip', 'address or prefix of the client, the Service or the pod'],
  ['--from-ip <address>', 'from-ip', 'address or prefix of who sends'],
  ['--to-ip <address>', 'to-ip', 'address or prefix of the Service or the pod'],
  ['--port <port>', 'port', 'port on either side'],
  ['--from-port <port>', 'from-port', 'port of who sends'],
  ['--to-port <port>', 'to-port', 'port of the Service or the pod'],
  ['--service <name>', 'service', '[NAMESPACE/]NAME of the Service, or its beginning'],
  ['--pod <name>', 'pod', '[NAMESPACE/]NAME of the pod, or its beginning'],
  ['--from-pod <name>', 'from-pod', 'the same of a pod that sends'],
  ['--to-pod <name>', 'to-pod', 'the same of a pod to which the flow goes'],
  ['-n, --namespace <name>', 'namespace', 'namespace of the Service or the pod'],
]

export function addObserve(program: Command): void {
  const observe = program.command('observe').description('events of flows in the kernel: new, close, rehash, drop, led')
  const filters: Filters = { isNegated: false, allow: {}, deny: {} }
  observe
    .option('-f, --follow', 'go on with events as they come, until interrupted')
    .addOption(
      new Option('--last <n>', 'the last n of the events that are known; 20, or with --follow none').argParser(count),
    )
    .option('--all', 'all events that are known')
    .addOption(
      new Option('--since <time>', 'from so long ago on, as 5m or 1h30m, or from a time in RFC 3339').argParser(moment),
    )
    .addOption(new Option('--until <time>', 'up to that time, written in the same way').argParser(moment))
  for (const [flags, key, description] of filterFlags)
    observe.addOption(new Option(flags, description).argParser((value: string) => note(filters, key, value)))
  observe
    .option('-4, --ipv4', 'IPv4 only')
    .option('-6, --ipv6', 'IPv6 only')
    .option('--not', 'the filter behind it says what to leave out')
    .addOption(new Option('-o, --output <format>', 'output format').choices(flowFormats).default('compact'))
    .option('--numeric', 'addresses in place of names')
    .option('--print-node-name', 'the name of the Node in each line')
    .addOption(new Option('--time-format <format>', 'how times look').choices(timeFormats).default('StampMilli'))
    .addOption(socketOption('unix socket of the agent'))
    .on('option:not', () => (filters.isNegated = true))
    .on('option:ipv4', () => note(filters, 'ip-version', '4'))
    .on('option:ipv6', () => note(filters, 'ip-version', '6'))
    .action((flags: Flags) => watch(flags, filters))
}

function note(filters: Filters, key: FlowFilterKey, value: string): string {
  const filter = filters.isNegated ? filters.deny : filters.allow
  filter[key] = [...(filter[key] ?? []), value]
  filters.isNegated = false
  return value
}

function count(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('Write a number up to 999999.')
  return Number(text)
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `5m`, `1h30m`, or RFC 3339; ms since the epoch. */
function moment(text: string): number {
  if (/^(?:\d+(?:ms|[smhd]))+$/.test(text)) {
    const ago = [...text.matchAll(/(\d+)(ms|[smhd])/g)].reduce(
      (sum, [, amount, unit = 's']) => sum + Number(amount) * (unitMs[unit] ?? 0),
      0,
    )
    return Math.max(0, Math.round(Date.now() - ago))
  }
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN
  if (!(at >= 0)) throw new InvalidArgumentError('Write how long ago, as 5m or 1h30m, or RFC 3339.')
  return at
}

async function watch(flags: Flags, { allow, deny, isNegated }: Filters): Promise<void> {
  if (isNegated) throw new HeraldError('ERR_USAGE', '--not is followed by no filter')
  // Nobody is asked for what means nothing.
  const { compileFilter } = await import('../flows/filter.ts')
  compileFilter({ allow, deny })
  const { follow = false, all = false, since, until, last = all ? 999_999 : undefined } = flags
  const query: FlowQuery = {
    follow,
    ...(last === undefined ? {} : { last }),
    ...(since === undefined ? {} : { sinceMs: since }),
    ...(until === undefined ? {} : { untilMs: until }),
    allow,
    deny,
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit())
  const text = flowWriter(flags.output, flags)
  let isEmpty = true
  for await (const responses of fetchFlows(flags.socket, query)) {
    const lines = responses.map(text).join('')
    isEmpty &&= lines === ''
    // A terminal that is slow makes the agent wait, which counts what it cannot keep.
    if (lines !== '' && !process.stdout.write(lines)) await once(process.stdout, 'drain')
  }
  if (isEmpty && !follow)
    process.stderr.write(
      'no events: they are read while somebody looks (--follow), or always with `herald agent --flow-events always`\n',
    )
  if (follow && until === undefined) throw new HeraldError('ERR_AGENT_UNREACHABLE', 'the agent has ended')
}
