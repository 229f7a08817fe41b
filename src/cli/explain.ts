/**
 * `herald explain service|route|peer`: the whole chain of reasons. Exit 1 when a step says no or the object does not
 * exist.
 */
import { type Command, InvalidArgumentError } from 'commander'
import { fetchExplain } from '../api/client.ts'
import type { ExplainSubject, ExplainView } from '../api/types.ts'
import { exitCode, type ReadingOptions, show, withReadingOptions } from './reading.ts'
import { addressOfPeer, paint, printable } from './text.ts'

const kinds = ['service', 'route', 'peer']

export function addExplain(program: Command): void {
  withReadingOptions(
    program.command('explain').description('why something is, or is not, allocated, served and announced'),
  )
    .argument('<kind>', 'service, route or peer', (kind: string) => {
      if (!kinds.includes(kind)) throw new InvalidArgumentError(`Allowed: ${kinds.join(', ')}.`)
      return kind
    })
    .argument('<name>', 'NAMESPACE/NAME, PREFIX or ADDRESS')
    .action((kind: ExplainSubject['kind'], name: string, options: ReadingOptions) =>
      show(options, async () => {
        const view = await fetchExplain(options, { kind, name: fullName(kind, name) })
        return { data: view, text: () => chain(view), code: view.ok && view.exists ? exitCode.ok : exitCode.degraded }
      }),
    )
}

/** As kubectl does, a name without namespace is in `default`. */
function fullName(kind: string, name: string): string {
  return kind === 'service' && !name.includes('/') ? `default/${name}` : name
}

function chain(view: ExplainView): string {
  const steps = view.verdicts.flatMap(({ step, ok, message, remedy }) => [
    `  ${ok ? paint('green', 'yes') : paint('red', 'no ')}  ${printable(step).padEnd(11)} ${printable(message)}`,
    ...(ok || remedy === undefined ? [] : [`                   ${paint('yellow', `-> ${remedy}`)}`]),
  ])
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
  return `${[printable(view.subject), ...steps, ...sent, ...paths, ...transitions].join('\n')}\n`
}
