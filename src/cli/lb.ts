/** `herald lb list`: addresses, backends, counters. `herald lb unload` is in lb-unload.ts. */
import type { Command } from 'commander'
import { fetchServices } from '../api/client.ts'
import type { ServiceView } from '../api/types.ts'
import { addLbUnload } from './lb-unload.ts'
import { exitCode, type ReadingOptions, show, withReadingOptions } from './reading.ts'
import { formatTable } from './table.ts'

export function addLb(program: Command): void {
  const lb = program.command('lb').description('the load balancer in the kernel')
  withReadingOptions(lb.command('list').description('Service addresses, their backends and counters')).action(
    (options: ReadingOptions) =>
      show(options, async () => {
        const services = await fetchServices(options)
        return { data: services, text: (isWide) => servicesTable(services, isWide), code: exitCode.ok }
      }),
  )
  addLbUnload(lb)
}

function servicesTable(services: readonly ServiceView[], isWide: boolean): string {
  const header = [
    'Service',
    'Frontend',
    'State',
    'Backends',
    'Connections',
    'Packets In/Out',
    ...(isWide ? ['Pool', 'Reason'] : []),
  ]
  const rows = services.flatMap((service) => {
    const reason = service.verdicts.find((verdict) => !verdict.ok)?.message ?? '-'
    const wide = isWide ? [service.pool ?? '-', reason] : []
    if (service.frontends.length === 0)
      return [[service.service, service.addresses.join(',') || '-', service.state, '-', '-', '-', ...wide]]
    return service.frontends.map((frontend, i) => [
      i === 0 ? service.service : '',
      frontend.id,
      i === 0 ? service.state : '',
      frontend.backends
        .map(({ address, port, state }) => `${address}:${port}${state === 'active' ? '' : ` (${state})`}`)
        .join(',') || '-',
      String(frontend.newConnections),
      `${frontend.packetsIn}/${frontend.packetsOut}`,
      ...(i === 0 ? wide : wide.map(() => '')),
    ])
  })
  return formatTable(header, rows)
}
