/** Packets, bytes and connections of something, as counters. */
import { Counter, type Registry } from 'prom-client'
import type { Growth } from './growth.ts'

export interface Traffic {
  readonly packetsIn: number
  readonly packetsOut: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly newConnections: number
  readonly packetsForwarded: number
  readonly bytesForwarded: number
}

export const noTraffic: Traffic = {
  packetsIn: 0,
  packetsOut: 0,
  bytesIn: 0,
  bytesOut: 0,
  newConnections: 0,
  packetsForwarded: 0,
  bytesForwarded: 0,
}

const keys = Object.keys(noTraffic) as readonly (keyof Traffic)[]

type Readings = { readonly [Key in keyof Traffic]?: number | undefined }

/** What the readings of `id` grew by, on top of a sum. */
export function grownTraffic(growth: Growth, id: string, readings: Readings, sum = noTraffic): Traffic {
  const grown: { -readonly [Key in keyof Traffic]: number } = { ...sum }
  for (const key of keys) grown[key] += growth.of(`${id} ${key}`, readings[key] ?? 0)
  return grown
}

type Labels = Readonly<Record<string, string>>

export interface TrafficMetrics {
  add(labels: Labels, grown: Traffic): void
  remove(labels: Labels): void
}

const subjects = {
  service: { of: 'of a Service', to: 'to a Service' },
  services: { of: 'of all Services', to: 'to all Services' },
  backend: { of: 'of a backend', to: 'to a backend' },
} as const

const directions = ['in', 'out', 'forwarded'] as const
type Direction = (typeof directions)[number]

const fields = {
  in: { packets: 'packetsIn', bytes: 'bytesIn' },
  out: { packets: 'packetsOut', bytes: 'bytesOut' },
  forwarded: { packets: 'packetsForwarded', bytes: 'bytesForwarded' },
} as const satisfies Readonly<Record<Direction, { readonly packets: keyof Traffic; readonly bytes: keyof Traffic }>>

/** `herald_<subject>_packets_total`, `_bytes_total`, `_connections_total`. */
export function addTrafficMetrics(
  registry: Registry,
  subject: keyof typeof subjects,
  labelNames: readonly string[],
): TrafficMetrics {
  const counter = (what: string, help: string, more: readonly string[]): Counter =>
    new Counter({
      name: `herald_${subject}_${what}_total`,
      help,
      labelNames: [...labelNames, ...more],
      registers: [registry],
    })
  const packets = counter('packets', `Packets ${subjects[subject].of}`, ['direction'])
  const bytes = counter('bytes', `Bytes ${subjects[subject].of}`, ['direction'])
  const connections = counter('connections', `Connections opened ${subjects[subject].to}`, [])
  return {
    add: (labels, grown) => {
      for (const direction of directions) {
        packets.inc({ ...labels, direction }, grown[fields[direction].packets])
        bytes.inc({ ...labels, direction }, grown[fields[direction].bytes])
      }
      connections.inc(labels, grown.newConnections)
    },
    remove: (labels) => {
      for (const direction of directions) for (const metric of [packets, bytes]) metric.remove({ ...labels, direction })
      connections.remove(labels)
    },
  }
}
