/** Services by state, and traffic per Service. Series are bounded by the number of Services. */
import { Gauge, type Registry } from 'prom-client'
import type { Snapshot } from './snapshot.ts'

const states = ['Announced', 'Programmed', 'Pending', 'NotServed']

export function addServiceMetrics(registry: Registry): (snapshot: Snapshot) => void {
  const registers = [registry]
  const byState = new Gauge({ name: 'herald_services', help: 'LoadBalancer Services by state', labelNames: ['state'], registers })
  const packets = new Gauge({ name: 'herald_service_packets_total', help: 'Packets of a Service', labelNames: ['service', 'direction'], registers })
  const bytes = new Gauge({ name: 'herald_service_bytes_total', help: 'Bytes of a Service', labelNames: ['service', 'direction'], registers })
  const connections = new Gauge({ name: 'herald_service_connections_total', help: 'Connections opened to a Service', labelNames: ['service'], registers })
  return ({ services }) => {
    for (const metric of [packets, bytes, connections]) metric.reset()
    for (const state of states) byState.set({ state }, services.filter((service) => service.state === state).length)
    for (const { service, frontends } of services) {
      const sum = (key: 'packetsIn' | 'packetsOut' | 'bytesIn' | 'bytesOut' | 'newConnections'): number => frontends.reduce((total, frontend) => total + frontend[key], 0)
      packets.set({ service, direction: 'in' }, sum('packetsIn'))
      packets.set({ service, direction: 'out' }, sum('packetsOut'))
      bytes.set({ service, direction: 'in' }, sum('bytesIn'))
      bytes.set({ service, direction: 'out' }, sum('bytesOut'))
      connections.set({ service }, sum('newConnections'))
    }
  }
}
