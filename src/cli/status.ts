/** `herald status`: one screen. Exit 1 when something is degraded. */
import { styleText } from 'node:util'
import type { Command } from 'commander'
import { fetchJson } from '../api/client.ts'
import type { StatusView } from '../api/types.ts'
import { exitCode, type Reading, type ReadingOptions, show, withReadingOptions } from './reading.ts'
import { formatDuration, printable } from './table.ts'

export function addStatus(program: Command): void {
  withReadingOptions(program.command('status').description('sessions, routes, Services, datapath and warnings on one screen'))
    .option('--wait', 'wait until everything is ok')
    .action((options: ReadingOptions & { readonly wait?: boolean }) => (options.wait === true ? wait(options) : show(options, () => read(options))))
}

async function read(options: ReadingOptions): Promise<Reading<StatusView>> {
  const status = await fetchJson<StatusView>(options, '/api/v1/status')
  return { data: status, text: () => screen(status), code: status.health === 'ok' ? exitCode.ok : exitCode.degraded }
}

async function wait(options: ReadingOptions): Promise<void> {
  for (;;) {
    const reading = await read(options)
    if (reading.code === exitCode.ok) return show(options, async () => reading)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

const paint = (style: Parameters<typeof styleText>[0], text: string): string => (process.stdout.isTTY ? styleText(style, text) : text)

function screen(status: StatusView): string {
  const { sessions, routes, services, datapath, source } = status
  const isAllUp = sessions.established === sessions.configured
  const lines: [string, string][] = [
    ['Node', `${status.node}   herald ${status.version}, up ${formatDuration(status.uptimeSeconds)}`],
    ['Health', status.health === 'ok' ? paint('green', 'ok') : paint('red', 'degraded')],
    ['Source', `${source.kind} ${source.detail}, ${source.synced ? 'synced' : 'being read'}`],
    ['Sessions', paint(isAllUp ? 'green' : 'red', `${sessions.established}/${sessions.configured} established`)],
    ['Routes', `${routes.advertised} advertised; wanted: ${routes.podCidrs} PodCIDR, ${routes.services} Service`],
    ['Services', `${services.announced} announced, ${services.pending} pending, ${services.notServed} not served here, ${services.total} in all`],
    ['Datapath', datapathText(datapath)],
    ...datapath.maps.map(({ name, entries, maxEntries }): [string, string] => ['', `${name.padEnd(12)} ${entries}/${maxEntries}`]),
  ]
  const reasons = Object.entries(datapath.reasons).filter(([, packets]) => packets > 0).map(([reason, packets]) => `${reason} ${packets}`)
  if (reasons.length > 0) lines.push(['Packets', reasons.join(', ')])
  const notes = [
    ...status.warnings.map((warning) => paint('yellow', `! ${printable(warning)}`)),
    ...status.problems.map((problem) => {
      const place = problem.file === undefined ? '' : `${problem.file}${problem.line === undefined ? '' : `:${problem.line}`} `
      const text = `${place}${problem.object}${problem.field === '' ? '' : ` ${problem.field}`}: ${problem.message}. ${problem.remedy}`
      return paint(problem.severity === 'error' ? 'red' : 'yellow', `${problem.severity === 'error' ? 'x' : '!'} ${printable(text)}`)
    }),
  ]
  return `${lines.map(([name, text]) => `${name.padEnd(10)}${text}`).join('\n')}\n${notes.length === 0 ? '' : `\n${notes.join('\n')}\n`}`
}

function datapathText({ kind, attach, interfaces, adopted, problem }: StatusView['datapath']): string {
  if (problem !== undefined) return paint('red', `none: ${problem}`)
  if (kind === 'none') return 'none (announcing only)'
  return `${kind}, ${attach ?? 'not attached'} on ${interfaces.length === 0 ? 'no interface' : interfaces.join(' ')}${adopted ? ', adopted from an earlier process' : ''}`
}
