/**
 * What an answer must at least be before it is shown. The keys that every answer has, by kind; test/api/shape.test.ts
 * compares them with the schemas of types.ts.
 */

export type Shape = 'string' | 'number' | 'boolean' | 'object' | readonly [Shape] | { readonly [key: string]: Shape }

/** What is wrong with `value`; undefined when it fits. */
export function fits(value: unknown, shape: Shape, path = 'answer'): string | undefined {
  if (typeof shape === 'string') return typeof value === shape && value !== null ? undefined : `${path} is no ${shape}`
  if (isList(shape)) {
    if (!Array.isArray(value)) return `${path} is no list`
    return first(value, (item, i) => fits(item, shape[0], `${path}[${i}]`))
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return `${path} is no object`
  const fields = new Map<string, unknown>(Object.entries(value))
  return first(Object.entries(shape), ([key, inner]) => fits(fields.get(key), inner, `${path}.${key}`))
}

const isList = (shape: Shape): shape is readonly [Shape] => Array.isArray(shape)

function first<T>(items: readonly T[], fault: (item: T, i: number) => string | undefined): string | undefined {
  for (const [i, item] of items.entries()) {
    const found = fault(item, i)
    if (found !== undefined) return found
  }
  return undefined
}

const verdictShape: Shape = { step: 'string', ok: 'boolean', code: 'string', message: 'string' }
const problemShape: Shape = {
  severity: 'string',
  object: 'string',
  field: 'string',
  code: 'string',
  message: 'string',
  remedy: 'string',
}

export const peerShape: Shape = {
  node: 'string',
  id: 'string',
  virtualRouter: 'string',
  localAs: 'number',
  peerAs: 'number',
  peerAddress: 'string',
  peerPort: 'number',
  sessionState: 'string',
  routerId: 'string',
  capabilities: ['string'],
  gracefulRestart: 'boolean',
  families: [{ family: 'string', received: 'number', advertised: 'number' }],
  messagesIn: 'number',
  messagesOut: 'number',
  updatesIn: 'number',
  updatesOut: 'number',
  flaps: 'number',
  transitions: [{ at: 'string', from: 'string', to: 'string', reason: 'string', times: 'number' }],
}

export const commandShape: Shape = {
  what: 'string',
  applied: ['string'],
  refused: [{ peer: 'string', reason: 'string' }],
}

export const routeShape: Shape = {
  node: 'string',
  virtualRouter: 'string',
  prefix: 'string',
  nextHop: 'string',
  ageSeconds: 'number',
  origin: 'string',
  asPath: 'string',
  communities: ['string'],
  largeCommunities: ['string'],
  extendedCommunities: ['string'],
}

const frontendShape: Shape = {
  id: 'string',
  address: 'string',
  protocol: 'string',
  port: 'number',
  programmed: 'boolean',
  backends: [{ address: 'string', port: 'number', state: 'string' }],
  packetsIn: 'number',
  bytesIn: 'number',
  packetsOut: 'number',
  bytesOut: 'number',
  newConnections: 'number',
}

export const serviceShape: Shape = {
  service: 'string',
  addresses: ['string'],
  state: 'string',
  externalTrafficPolicy: 'string',
  remoteBackends: 'number',
  frontends: [frontendShape],
  verdicts: [verdictShape],
}

export const explainShape: Shape = {
  subject: 'string',
  exists: 'boolean',
  ok: 'boolean',
  verdicts: [verdictShape],
  announcedTo: [routeShape],
}

export const statusShape: Shape = {
  node: 'string',
  version: 'string',
  uptimeSeconds: 'number',
  health: 'string',
  source: { kind: 'string', synced: 'boolean', detail: 'string' },
  sessions: { established: 'number', configured: 'number' },
  routes: { advertised: 'number', podCidrs: 'number', services: 'number' },
  services: { total: 'number', announced: 'number', pending: 'number', notServed: 'number' },
  datapath: {
    kind: 'string',
    interfaces: ['string'],
    adopted: 'boolean',
    maps: [{ name: 'string', entries: 'number', maxEntries: 'number' }],
    reasons: 'object',
    drops: [{ reason: 'string', family: 'string', fate: 'string', packets: 'number' }],
  },
  warnings: ['string'],
  problems: [problemShape],
}

/** Either of `flow` and `lost_events` is there besides, of their shapes. */
export const flowResponseShape: Shape = { node_name: 'string', time: 'string' }

export const flowShape: Shape = {
  time: 'string',
  verdict: 'string',
  IP: { source: 'string', destination: 'string', ipVersion: 'string' },
  source: {},
  destination: {},
  Type: 'string',
  node_name: 'string',
  is_reply: 'boolean',
  event_type: { type: 'number' },
  traffic_direction: 'string',
  Summary: 'string',
  herald: { type: 'string', detail: 'string' },
}

export const lossShape: Shape = { source: 'string', num_events_lost: 'number' }
