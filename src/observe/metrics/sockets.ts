/** Clients on this node: what became of sockets that asked for a frontend, and the fill of their maps. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { Growth } from './growth.ts'
import type { Snapshot } from './snapshot.ts'

export function addSocketMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const registers = [registry]
  const asked = new Counter({
    name: 'herald_socket_lb_total',
    help: 'Sockets of this node that asked for an address of a Service, by what became of it',
    labelNames: ['result'],
    registers,
  })
  const ended = new Counter({
    name: 'herald_socket_lb_ended_total',
    help: 'Sockets of this node, and of its pods where asked for, that were ended as their backend is gone',
    registers,
  })
  const frontends = new Gauge({
    name: 'herald_socket_lb_frontends',
    help: 'Addresses with port and protocol that sockets of this node are led by',
    registers,
  })
  const done = new Gauge({
    name: 'herald_socket_lb_done',
    help: '1 when all of them are in force as they are wanted',
    registers,
  })
  const fill = new Gauge({
    name: 'herald_socket_lb_map_entries',
    help: 'Entries of a map of the socket LB',
    labelNames: ['map'],
    registers,
  })
  const most = new Gauge({
    name: 'herald_socket_lb_map_max_entries',
    help: 'Entries that fit into a map of the socket LB',
    labelNames: ['map'],
    registers,
  })
  const growth = new Growth()
  return ({ status: { socketLb } }) => {
    for (const [result, count] of Object.entries(socketLb?.counts ?? {}))
      asked.inc({ result }, growth.of(result, count))
    ended.inc(growth.of('ended', socketLb?.ended?.count ?? 0))
    // What is not told now has not begun anew.
    if (socketLb?.counts !== undefined) growth.next()
    frontends.set(socketLb?.frontends ?? 0)
    done.set(socketLb?.isDone === false ? 0 : 1)
    for (const { name, entries, maxEntries } of socketLb?.maps ?? []) {
      fill.set({ map: name }, entries)
      most.set({ map: name }, maxEntries)
    }
  }
}
