/**
 * `herald explain service|route|peer`: the whole chain of reasons. Exit 1 when a step says no or the object does not
 * exist.
 */
import { Argument, type Command } from 'commander'
import { fetchExplain } from '../api/client.ts'
import type { ClusterPeerView, ClusterServiceView, ExplainSubject, ExplainView, VerdictView } from '../api/types.ts'
import { HeraldError } from '../errors.ts'
import { clusterTable } from './bgp.ts'
import { type ClusterOptions, exitCode, type Reading, show, withClusterOptions, withReadingOptions } from './reading.ts'
import { earlyInterfaceText } from './status.ts'
import { formatTable } from './table.ts'
import { addressOfPeer, paint, printable } from './text.ts'

export function addExplain(program: Command): void {
  const verb = program.command('explain').description('why something is, or is not, allocated, served and announced')
  withClusterOptions(
    withReadingOptions(verb),
    'namespace of a Service that is named without one, by default `default`, with --cluster that of the context',
  )
    .addArgument(new Argument('<kind>', 'what it is').choices(['service', 'route', 'peer']))
    .argument('<name>', '[NAMESPACE/]NAME of the Service, PREFIX of the route or ADDRESS of the peer')
    .action((kind: ExplainSubject['kind'], name: string, options: ClusterOptions) =>
      show<unknown>(options, async () => {
        if (options.cluster === true) return everyNode(kind, name, options)
        const view = await fetchExplain(options, { kind, name: fullName(kind, name, options.namespace) })
        return { data: view, text: () => chain(view), code: view.ok && view.exists ? exitCode.ok : exitCode.degraded }
      }),
    )
}

/** As kubectl does, a name without namespace is in `default`. Throws ERR_USAGE. */
function fullName(kind: string, name: string, namespace = 'default'): string {
  checkName(kind, name)
  return kind === 'service' && !name.includes('/') ? `${namespace}/${name}` : name
}

/** Half a name would be the path of a list. */
function checkName(kind: string, name: string): void {
  if (kind === 'service' && !/^(?:[^/]+\/)?[^/]+$/.test(name))
    throw new HeraldError('ERR_USAGE', `explain service '${name}': write [NAMESPACE/]NAME`)
}

async function everyNode(
  kind: ExplainSubject['kind'],
  name: string,
  options: ClusterOptions,
): Promise<Reading<ClusterServiceView | readonly ClusterPeerView[]>> {
  checkName(kind, name)
  if (kind === 'route')
    throw new HeraldError('ERR_USAGE', 'explain route: not with --cluster; ask for the Service, or on one node')
  const { clusterPeer, clusterService } = await import('./cluster-explain.ts')
  if (kind === 'service') {
    const view = await clusterService(options, name)
    return { data: view, text: (isWide) => nodesText(view, isWide), code: view.ok ? exitCode.ok : exitCode.degraded }
  }
  const peers = await clusterPeer(options, name)
  const isUp = ({ sessionState, silentSeconds }: ClusterPeerView): boolean =>
    sessionState === 'Established' && silentSeconds === undefined
  const text = (isWide: boolean): string =>
    peers.length === 0 ? printable(`peer ${name}: no node has said anything of it`) + '\n' : clusterTable(peers, isWide)
  return { data: peers, text, code: peers.length > 0 && peers.every(isUp) ? exitCode.ok : exitCode.degraded }
}

const words = { yes: 'yes', 'to-some': 'to some', no: 'no', unknown: 'unknown' } as const

/** As a page: what all nodes say, and a row for each. */
export function nodesText(view: ClusterServiceView, isWide: boolean): string {
  const { nodes, addresses, pool } = view
  const held = addresses.length === 0 ? '' : `  ${addresses.join(', ')}${pool === undefined ? '' : ` of pool ${pool}`}`
  const head = nodes.length === 0 ? '' : `: ${announcedText(nodes)}`
  const table = formatTable(
    ['Node', 'Announces', 'To', 'Why not', ...(isWide ? ['Remedy'] : [])],
    nodes.map(({ node, announces, announcedTo, verdicts }) => {
      const no = verdicts.filter(({ ok }) => !ok)
      const remedies = [...new Set(no.flatMap(({ remedy }) => remedy ?? []))].join('; ')
      return [
        ...[node, words[announces], announcedTo.join(',') || '-'],
        no.map(({ message }) => message).join('; ') || '-',
        ...(isWide ? [remedies || '-'] : []),
      ]
    }),
  )
  const subject = printable(`${view.subject}${head}${held}`)
  return `${[subject, ...steps(view.verdicts)].join('\n')}\n${nodes.length === 0 ? '' : table}`
}

/** A node that some of its peers hear announces it, too: traffic comes to it. */
function announcedText(nodes: ClusterServiceView['nodes']): string {
  const some = nodes.filter(({ announces }) => announces === 'to-some').length
  const all = nodes.filter(({ announces }) => announces === 'yes').length
  const toSome = some === 0 ? '' : `, ${all === 0 ? '' : `${some} of them `}to some of their peers only`
  return `announced by ${all + some} of ${nodes.length} nodes${toSome}`
}

function steps(verdicts: readonly VerdictView[]): readonly string[] {
  return verdicts.flatMap(({ step, ok, message, remedy }) => [
    `  ${ok ? paint('green', 'yes') : paint('red', 'no ')}  ${printable(step).padEnd(11)} ${printable(message)}`,
    ...(ok || remedy === undefined ? [] : [`                   ${paint('yellow', `-> ${remedy}`)}`]),
  ])
}

function chain(view: ExplainView): string {
  const sent = view.announcedTo.map((route) =>
    printable(
      `       sent to     ${addressOfPeer(route.peer)}  ${route.prefix} next hop ` +
        `${route.nextHop}${route.communities.length === 0 ? '' : `, communities ${route.communities.join(' ')}`}`,
    ),
  )
  const paths = (view.paths ?? []).map((path) =>
    printable(
      `       ${path.best === true ? 'best path' : 'path     '}   ` +
        `${path.peer === undefined ? 'of this node' : addressOfPeer(path.peer)}  next hop ` +
        `${path.nextHop}${path.asPath === '' ? '' : `, AS path ${path.asPath}`}` +
        `${path.stale === true ? ', stale' : ''}${path.decision === undefined ? '' : `: ${path.decision}`}`,
    ),
  )
  const transitions = (view.transitions ?? []).map(({ at, from, to, reason, times }) =>
    printable(`       ${at}  ${from} -> ${to}: ${reason}${times === 1 ? '' : ` (${times} times)`}`),
  )
  const clients = (view.sockets ?? []).flatMap(socketLines)
  const more = [...sent, ...paths, ...transitions, ...earlyLines(view), ...clients]
  return `${[printable(view.subject), ...steps(view.verdicts), ...more].join('\n')}\n`
}

const kindTexts = { handedOn: 'packets for other nodes', answered: 'echo requests', dropped: 'drops' } as const

/** Of an interface what it did with all Services. */
function earlyLines({ acceleration }: ExplainView): readonly string[] {
  if (acceleration === undefined) return []
  const { frontends, interfaces, problem } = acceleration
  const each = frontends.map(({ frontend, takes, why }) => {
    const taken = takes.map((kind) => kindTexts[kind]).join(', ') || 'nothing'
    return printable(`       XDP         ${frontend}  ${taken}${why === undefined ? '' : `: ${why}`}`)
  })
  const where = problem === undefined ? interfaces.map(earlyInterfaceText) : [`no interface has it: ${problem}`]
  return [...each, ...where.map((text) => printable(`                     ${text}`))]
}

type LedFrontend = NonNullable<ExplainView['sockets']>[number]

/** Of clients on the node. */
function socketLines({ frontend, isLed, why, chosen, active = 0, backends = [] }: LedFrontend): readonly string[] {
  const head = isLed ? `${active === 0 ? 'refused' : `led to ${active}`}, ${chosen ?? 0} so far` : 'not led'
  return [
    printable(`       sockets     ${frontend}  ${head}${why === undefined ? '' : `: ${why}`}`),
    ...backends.map(({ address, port, state, chosen: times }) =>
      printable(`                     ${address} port ${port}  ${state}, ${times} so far`),
    ),
  ]
}
