/** `herald lb list`: addresses, backends, counters. The verbs that need no agent are in lb-pins.ts. */
import type { Command } from 'commander'
import { fetchServices } from '../api/client.ts'
import type { FrontendView, ServiceView } from '../api/types.ts'
import { addLbMaps, addLbUnload } from './lb-pins.ts'
import { type ReadingOptions, showList, withReadingOptions } from './reading.ts'
import { Table } from './table.ts'

export function addLb(program: Command): void {
  const lb = program.command('lb').description('the load balancer in the kernel')
  withReadingOptions(lb.command('list').description('Service addresses, their backends and counters')).action(
    (options: ReadingOptions) => showList(options, { pages: () => fetchServices(options), table: servicesTable }),
  )
  addLbMaps(lb)
  addLbUnload(lb)
}

export function servicesTable(isWide: boolean): (page: readonly ServiceView[]) => string {
  const table = new Table([
    'Service',
    'Frontend',
    'State',
    'Backends',
    'Connections',
    'Packets In/Out',
    ...(isWide ? ['Pool', 'Reason', 'XDP'] : []),
  ])
  let last: string | undefined
  return (page) =>
    table.page(
      page.flatMap((service) => {
        const isMore = service.service === last
        last = service.service
        return serviceRows(service, isWide, isMore)
      }),
    )
}

/** `isMore`: a large Service comes in parts, of which this is not the first. */
function serviceRows(service: ServiceView, isWide: boolean, isMore: boolean): string[][] {
  const reason = service.verdicts.find((verdict) => !verdict.ok)?.message ?? '-'
  const wide = isWide ? [service.pool ?? '-', reason] : []
  const early = (text: string): string[] => (isWide ? [text] : [])
  if (service.frontends.length === 0)
    return [[service.service, service.addresses.join(',') || '-', service.state, '-', '-', '-', ...wide, ...early('-')]]
  return service.frontends.flatMap((frontend, i) => [
    [
      i === 0 && !isMore ? service.service : '',
      frontend.id,
      i === 0 && !isMore ? service.state : '',
      isWide ? String(frontend.backends.length) : frontend.backends.map(backendText).join(',') || '-',
      String(frontend.newConnections),
      trafficText(frontend),
      ...(i === 0 && !isMore ? wide : wide.map(() => '')),
      ...early(earlyText(frontend)),
    ],
    ...(isWide ? frontend.backends.map(backendRow) : []),
  ])
}

const kindTexts = { handedOn: 'hands on', answered: 'echoes', dropped: 'drops' } as const

/** `-`: without `--lb-acceleration`. */
function earlyText({ early }: FrontendView): string {
  return early === undefined ? '-' : early.map((kind) => kindTexts[kind]).join(',') || 'nothing'
}

/** One that is not counted has no figures. */
function backendRow(backend: FrontendView['backends'][number]): string[] {
  const { newConnections, packetsIn, packetsOut = 0, packetsForwarded } = backend
  const traffic = packetsIn === undefined ? '-' : trafficText({ packetsIn, packetsOut, packetsForwarded })
  return ['', '', '', backendText(backend), newConnections === undefined ? '-' : String(newConnections), traffic]
}

function backendText({ address, port, node, state, weight }: FrontendView['backends'][number]): string {
  const marks = [weight === undefined ? [] : `weight ${weight}`, state === 'active' ? [] : state].flat().join(', ')
  return `${address}:${port}${node === undefined ? '' : `@${node}`}${marks === '' ? '' : ` (${marks})`}`
}

/** In and out, and behind a plus what was handed on to other nodes. */
function trafficText({
  packetsIn,
  packetsOut,
  packetsForwarded = 0,
}: Pick<FrontendView, 'packetsIn' | 'packetsOut' | 'packetsForwarded'>): string {
  return `${packetsIn}/${packetsOut}${packetsForwarded === 0 ? '' : `+${packetsForwarded}`}`
}
