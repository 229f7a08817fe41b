/** `herald status`: one screen. Exit 1 when something is degraded. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { fetchStatus } from '../api/client.ts'
import type { ClusterNodeView, StatusView } from '../api/types.ts'
import { HeraldError } from '../errors.ts'
import {
  type ClusterOptions,
  exitCode,
  type Reading,
  type ReadingOptions,
  show,
  withClusterOptions,
  withReadingOptions,
} from './reading.ts'
import { formatTable } from './table.ts'
import { formatDuration, paint, printable } from './text.ts'

interface StatusOptions extends ClusterOptions {
  readonly wait?: boolean
  readonly timeout: number
}

const pollEveryMs = 200

export function addStatus(program: Command): void {
  const verb = program.command('status').description('sessions, routes, Services, datapath and warnings on one screen')
  withClusterOptions(withReadingOptions(verb))
    .option('--wait', 'wait until everything is ok, also for an agent that is about to start')
    .addOption(new Option('--timeout <seconds>', 'how long --wait waits').argParser(seconds).default(300))
    .action(async (options: StatusOptions) => {
      if (options.cluster === true) {
        if (options.wait === true) throw new HeraldError('ERR_USAGE', '--wait waits for an agent: not with --cluster')
        return show(options, () => readCluster(options))
      }
      if (options.wait === true) await untilOk(options)
      return show(options, () => read(options))
    })
}

async function readCluster(options: ClusterOptions): Promise<Reading<readonly ClusterNodeView[]>> {
  const nodes = await (await import('./cluster.ts')).clusterNodes(options)
  const isOk = nodes.every(({ health }) => health === 'ok')
  return { data: nodes, text: () => nodesTable(nodes), code: isOk ? exitCode.ok : exitCode.degraded }
}

export function nodesTable(nodes: readonly ClusterNodeView[]): string {
  return formatTable(
    ['Node', 'Health', 'Sessions', 'Advertised', 'Message'],
    nodes.map(({ node, health, sessions, advertised, message, isDrained, stackReason }) => [
      ...[node, health, `${sessions.established}/${sessions.configured}`, String(advertised)],
      [
        message,
        ...(isDrained === true ? ['drained: routes are withdrawn'] : []),
        ...(stackReason === undefined ? [] : [`flows go through the stack: ${stackReason}`]),
      ].join('; '),
    ]),
  )
}

async function read(options: ReadingOptions): Promise<Reading<StatusView>> {
  const status = await fetchStatus(options)
  return { data: status, text: () => screen(status), code: status.health === 'ok' ? exitCode.ok : exitCode.degraded }
}

/** Returns when the agent is ok or the time is up; what is then the case is shown and decides the exit code. */
async function untilOk(options: StatusOptions): Promise<void> {
  // The clock of a node that boots is set meanwhile.
  const deadline = performance.now() + options.timeout * 1_000
  while (performance.now() < deadline && !(await isOk(options)))
    await new Promise((resolve) => setTimeout(resolve, pollEveryMs))
}

async function isOk(options: ReadingOptions): Promise<boolean> {
  try {
    return (await fetchStatus(options)).health === 'ok'
  } catch (error) {
    if (error instanceof HeraldError && (error.code === 'ERR_AGENT_UNREACHABLE' || error.code === 'ERR_BUSY'))
      return false
    throw error
  }
}

function seconds(text: string): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (value === 0) throw new InvalidArgumentError('Write whole seconds from 1 to 999999.')
  return value
}

function screen(status: StatusView): string {
  const { sessions, routes, services, datapath, source } = status
  const isAllUp = sessions.established === sessions.configured
  const widest = Math.max(...datapath.maps.map(({ name }) => name.length))
  const lines: [string, string][] = [
    ['Node', printable(`${status.node}   herald ${status.version}, up ${formatDuration(status.uptimeSeconds)}`)],
    ['Health', status.health === 'ok' ? paint('green', 'ok') : paint('red', 'degraded')],
    ['Source', printable(`${source.kind} ${source.detail}, ${source.synced ? 'synced' : 'being read'}`)],
    ['Sessions', paint(isAllUp ? 'green' : 'red', `${sessions.established}/${sessions.configured} established`)],
    ['Routes', `${routes.advertised} advertised; wanted: ${routes.podCidrs} PodCIDR, ${routes.services} Service`],
    [
      'Services',
      `${services.announced} announced, ${services.pending} pending, ${services.notServed} not served here, ` +
        (services.served === undefined ? '' : `${services.served} served and not to be announced, `) +
        `${services.total} in all`,
    ],
    ...drainLines(status),
    ...tunnelLines(status),
    ...socketLines(status),
    ...proxyLines(status),
    ['Datapath', datapathText(datapath)],
    ...accelerationLines(datapath),
    ...datapath.maps.map(({ name, entries, maxEntries }): [string, string] => [
      '',
      printable(`${name.padEnd(widest)} ${entries}/${maxEntries}`),
    ]),
  ]
  const reasons = Object.entries(datapath.reasons)
    .filter(([, packets]) => packets > 0)
    .map(([reason, packets]) => `${reason} ${packets}`)
  if (reasons.length > 0) lines.push(['Packets', printable(reasons.join(', '))])
  const notes = [
    ...status.warnings.map((warning) => paint('yellow', `! ${warning}`)),
    ...status.problems.map((problem) => {
      const place =
        problem.file === undefined ? '' : `${problem.file}${problem.line === undefined ? '' : `:${problem.line}`} `
      const text =
        `${place}${problem.object}${problem.field === '' ? '' : ` ${problem.field}`}: ` +
        `${problem.message}. ${problem.remedy}`
      return paint(
        problem.severity === 'error' ? 'red' : 'yellow',
        `${problem.severity === 'error' ? 'x' : '!'} ${text}`,
      )
    }),
  ]
  const shown = lines.map(([name, text]) => `${name.padEnd(10)}${text}`).join('\n')
  return `${shown}\n${notes.length === 0 ? '' : `\n${notes.join('\n')}\n`}`
}

function drainLines({ drain }: StatusView): [string, string][] {
  if (drain === undefined) return []
  const ways = [
    ...(drain.command ? ['`herald drain --undo`'] : []),
    ...(drain.annotation ? ['take herald.dev/drain off the Node'] : []),
  ]
  return [['Drain', paint('yellow', `routes are withdrawn, sessions stay; to undo it: ${ways.join(' and ')}`)]]
}

/** Absent where backends on other nodes are not served. */
function tunnelLines({ tunnels }: StatusView): [string, string][] {
  if (tunnels === undefined) return []
  const { addresses, isTold, nodes } = tunnels
  if (addresses.length === 0) return [['Tunnels', paint('yellow', 'none: this node has no address for them')]]
  const told = isTold ? '' : ', which the others have yet to hear'
  return [['Tunnels', printable(`at ${addresses.join(' and ')}${told}; ${nodes} addresses of other nodes`)]]
}

const coveredNames = {
  clusterIP: 'ClusterIP',
  loadBalancerIP: 'LoadBalancer',
  externalIP: 'externalIPs',
  nodePort: 'NodePort',
} as const

const kubeProxyTexts = {
  nftables: 'kube-proxy (nftables) serves the rest',
  iptables: 'kube-proxy (iptables) serves the rest',
  ipvs: 'kube-proxy (IPVS) serves the rest',
  unknown: 'whether there is a kube-proxy cannot be seen',
  absent: 'no kube-proxy: the rest is not served',
} as const

function proxyLines({ kubeProxy }: StatusView): [string, string][] {
  if (kubeProxy === undefined) return []
  const { isReplaced, reason = '', fromOutside, fromInside, nodePortAddresses, notServed } = kubeProxy
  const word = (is: boolean | string): string => (typeof is === 'string' ? is : is ? 'yes' : 'no')
  const listed = (all: object): string =>
    Object.entries(all)
      .map(([name, is]) => `${proxyNames[name as keyof typeof proxyNames]} ${word(is)}`)
      .join(', ')
  const state = isReplaced
    ? printable(`kube-proxy replaced; node ports at ${nodePortAddresses.join(' ') || 'no address'}`)
    : paint('yellow', printable(`kube-proxy not replaced: ${reason}`))
  return [
    ['Proxy', state],
    ['', printable(`from outside: ${listed(fromOutside)}`)],
    ['', printable(`from sockets here: ${listed(fromInside)}`)],
    ['', printable(`by nobody: ${notServed.join(', ')}`)],
  ]
}

const proxyNames = { ...coveredNames, healthCheckNodePort: 'healthCheckNodePort' } as const

/** Absent where nobody asked for it. */
function socketLines({ socketLb }: StatusView): [string, string][] {
  if (socketLb === undefined) return []
  const {
    isOn,
    problem = '',
    covers,
    kubeProxy,
    cgroup = '',
    isWholeNode,
    frontends = 0,
    isDone,
    counts,
    ended,
  } = socketLb
  if (!isOn) return [['Socket LB', paint('red', printable(`off: ${problem}`))]]
  const what = Object.entries(coveredNames).map(
    ([name, text]) => `${text} ${covers[name as keyof typeof covers] ? 'yes' : 'no'}`,
  )
  const led = counts === undefined ? '' : `, ${counts.translated} led, ${counts.refused} refused`
  return [
    [
      'Socket LB',
      printable(
        `on, ${isWholeNode === true ? 'whole node' : 'part of the node'} (${cgroup}), ` +
          `${frontends} frontends${isDone === true ? '' : ', being written'}${led}`,
      ),
    ],
    ['', `${what.join(', ')}; ${kubeProxyTexts[kubeProxy]}`],
    ...(ended === undefined ? [] : [['', endedText(ended)] satisfies [string, string]]),
  ]
}

function endedText({ count, protocols, areOfPods }: NonNullable<NonNullable<StatusView['socketLb']>['ended']>): string {
  const where = areOfPods ? 'of the node and of pods' : 'of the node, not of pods (--pod-networks)'
  return `${count} ended whose backend is gone: ${protocols.join(' and ')}, ${where}`
}

type EarlyInterface = NonNullable<StatusView['datapath']['acceleration']>['interfaces'][number]

export function earlyInterfaceText({ interface: name, mode, packets, reason }: EarlyInterface): string {
  const done =
    packets === undefined
      ? ''
      : `, ${packets.handedOn} handed on, ${packets.answered} answered, ${packets.dropped} dropped`
  return `${name.padEnd(12)} ${mode}${done}${reason === undefined ? '' : `: ${reason}`}`
}

/** Absent where nobody asked for it. */
function accelerationLines({ acceleration }: StatusView['datapath']): [string, string][] {
  if (acceleration === undefined) return []
  const { wanted, interfaces, problem } = acceleration
  const isLacking =
    wanted !== 'best-effort' && (problem ?? interfaces.find(({ mode }) => mode === 'none')) !== undefined
  const state = printable(`${wanted}${problem === undefined ? '' : `, and no interface has it: ${problem}`}`)
  const shown = problem === undefined ? interfaces : []
  return [
    ['XDP', isLacking ? paint('red', state) : state],
    ...shown.map((each): [string, string] => ['', printable(earlyInterfaceText(each))]),
  ]
}

function datapathText(datapath: StatusView['datapath']): string {
  const { kind, attach, interfaces, adopted, problem, mode, modeReason } = datapath
  if (problem !== undefined) return paint('red', `none: ${problem}`)
  if (kind === 'none') return 'none (announcing only)'
  return printable(
    `${kind}, ${attach ?? 'not attached'} on ` +
      `${interfaces.length === 0 ? 'no interface' : interfaces.join(' ')}` +
      `${mode === 'redirect' ? ', past netfilter' : ''}${modeReason === undefined ? '' : ` (${modeReason})`}` +
      `${adopted ? ', adopted from an earlier process' : ''}`,
  )
}
