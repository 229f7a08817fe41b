/**
 * The JSON of every reading verb and of /api/v1, one schema for server, command line and docs/json.md.
 * camelCase, addresses as text, FSM states in RFC words, durations in keys that end in Seconds. Keys may be added, never renamed.
 */
import { z } from 'zod'

export const verdictSchema = z.object({
  step: z.enum(['valid', 'class', 'allocated', 'selected', 'eligible', 'supported', 'programmed', 'announced']),
  ok: z.boolean(),
  code: z.string(),
  message: z.string(),
  remedy: z.string().optional(),
})

export const problemSchema = z.object({
  severity: z.enum(['error', 'warning']),
  object: z.string().meta({ description: 'Kind/namespace/name, or the file' }),
  file: z.string().optional(),
  line: z.number().optional(),
  column: z.number().optional(),
  field: z.string(),
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
})

export const resetSchema = z.object({
  at: z.string(),
  direction: z.enum(['sent', 'received', 'local']),
  code: z.number().optional(),
  subcode: z.number().optional(),
  text: z.string(),
})

export const peerSchema = z.object({
  node: z.string(),
  id: z.string(),
  virtualRouter: z.string(),
  localAs: z.number(),
  peerAs: z.number(),
  peerAddress: z.string(),
  peerPort: z.number(),
  localAddress: z.string().optional(),
  sessionState: z.enum(['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']),
  uptimeSeconds: z.number().optional().meta({ description: 'Absent unless Established' }),
  routerId: z.string(),
  peerRouterId: z.string().optional(),
  holdTimeSeconds: z.number().optional(),
  keepaliveSeconds: z.number().optional(),
  capabilities: z.array(z.string()),
  gracefulRestart: z.boolean(),
  families: z.array(z.object({ family: z.string(), received: z.number(), advertised: z.number() })),
  messagesIn: z.number(),
  messagesOut: z.number(),
  flaps: z.number(),
  lastReset: resetSchema.optional(),
  reason: z.string().optional(),
})

export const routeSchema = z.object({
  node: z.string(),
  virtualRouter: z.string(),
  peer: z.string().optional(),
  prefix: z.string(),
  nextHop: z.string(),
  ageSeconds: z.number(),
  origin: z.string(),
  asPath: z.string(),
  med: z.number().optional(),
  localPreference: z.number().optional(),
  communities: z.array(z.string()),
  largeCommunities: z.array(z.string()),
})

export const frontendSchema = z.object({
  id: z.string(),
  address: z.string(),
  protocol: z.string(),
  port: z.number(),
  programmed: z.boolean(),
  backends: z.array(z.object({ address: z.string(), port: z.number(), state: z.enum(['active', 'pending']) })),
  packetsIn: z.number(),
  bytesIn: z.number(),
  packetsOut: z.number(),
  bytesOut: z.number(),
  newConnections: z.number(),
})

export const serviceSchema = z.object({
  service: z.string().meta({ description: 'namespace/name' }),
  addresses: z.array(z.string()),
  pool: z.string().optional(),
  state: z.enum(['Announced', 'Programmed', 'Pending', 'NotServed']),
  externalTrafficPolicy: z.string(),
  remoteBackends: z.number(),
  frontends: z.array(frontendSchema),
  verdicts: z.array(verdictSchema),
})

export const explainSchema = z.object({
  subject: z.string(),
  exists: z.boolean(),
  ok: z.boolean(),
  verdicts: z.array(verdictSchema),
  announcedTo: z.array(routeSchema),
})

export const statusSchema = z.object({
  node: z.string(),
  version: z.string(),
  uptimeSeconds: z.number(),
  health: z.enum(['ok', 'degraded']),
  source: z.object({ kind: z.enum(['manifests', 'kubernetes']), synced: z.boolean(), detail: z.string() }),
  sessions: z.object({ established: z.number(), configured: z.number() }),
  routes: z.object({ advertised: z.number(), podCidrs: z.number(), services: z.number() }),
  services: z.object({ total: z.number(), announced: z.number(), pending: z.number(), notServed: z.number() }),
  datapath: z.object({
    kind: z.enum(['ebpf', 'none', 'fake']),
    attach: z.string().optional(),
    interfaces: z.array(z.string()),
    adopted: z.boolean(),
    maps: z.array(z.object({ name: z.string(), entries: z.number(), maxEntries: z.number() })),
    reasons: z.record(z.string(), z.number()),
    problem: z.string().optional(),
  }),
  warnings: z.array(z.string()),
  problems: z.array(problemSchema),
})

export type VerdictView = z.infer<typeof verdictSchema>
export type ProblemView = z.infer<typeof problemSchema>
export type PeerView = z.infer<typeof peerSchema>
export type RouteView = z.infer<typeof routeSchema>
export type FrontendView = z.infer<typeof frontendSchema>
export type ServiceView = z.infer<typeof serviceSchema>
export type ExplainView = z.infer<typeof explainSchema>
export type StatusView = z.infer<typeof statusSchema>

/** What the server asks of the running agent; every answer is a snapshot. */
export interface AgentViews {
  status(): Promise<StatusView>
  peers(): Promise<readonly PeerView[]>
  routes(query: RoutesQuery): Promise<readonly RouteView[]>
  services(): Promise<readonly ServiceView[]>
  explain(subject: ExplainSubject): Promise<ExplainView>
  /** Prometheus text exposition. */
  metrics(): Promise<string>
  /** Synced and datapath loaded; the text says what is missing. */
  ready(): { readonly ok: boolean; readonly text: string }
}

export interface RoutesQuery {
  readonly table: 'available' | 'advertised' | 'received'
  readonly family: 'ipv4-unicast' | 'ipv6-unicast'
  readonly peer?: string
}

export type ExplainSubject = { readonly kind: 'service' | 'route' | 'peer'; readonly name: string }
