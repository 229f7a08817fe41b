/**
 * The JSON of every reading verb and of /api/v1, one schema for server, command line and docs/json.md.
 * camelCase, addresses as text, FSM states in RFC words, durations in keys that end in Seconds. Keys may be added,
 * never renamed.
 */
import * as z from 'zod'
import {
  accelerationSchema,
  dropSchema,
  earlyKindSchema,
  earlyServiceSchema,
  mapSchema,
  type pinnedMapSchema,
} from './datapath-types.ts'
import { bfdSchema } from './bfd-view.ts'
import { kubeProxySchema } from './kube-proxy-types.ts'
import { endedSocketsSchema, ledFrontendSchema } from './socket-types.ts'

export const verdictSchema = z.object({
  step: z
    .enum(['valid', 'class', 'allocated', 'selected', 'eligible', 'supported', 'proxied', 'programmed', 'announced'])
    .describe('Where in the chain'),
  ok: z.boolean().describe('Whether this step says yes'),
  code: z.string().describe('The reason as one word, stable'),
  message: z.string().describe('The reason as a sentence'),
  remedy: z.string().optional().describe('What to change, when the step says no'),
})

export const problemSchema = z.object({
  severity: z.enum(['error', 'warning']).describe('error: the object, or its new version, is not in force'),
  object: z.string().describe('Kind/namespace/name, or the file'),
  file: z.string().optional().describe('File the object was read from'),
  line: z.number().optional().describe('Line in the file, from 1'),
  column: z.number().optional().describe('Column in the line, from 1'),
  field: z.string().describe('Path of the field, empty when the whole object is meant'),
  code: z.string().describe('The reason as one word, stable'),
  message: z.string().describe('What is wrong'),
  remedy: z.string().describe('What to do'),
})

export const resetSchema = z.object({
  at: z.string().describe('ISO 8601'),
  direction: z
    .enum(['sent', 'received', 'local'])
    .describe('Who ended the session: a NOTIFICATION sent or received, or neither'),
  code: z.number().optional().describe('NOTIFICATION error code (RFC 4271 4.5)'),
  subcode: z.number().optional().describe('NOTIFICATION error subcode'),
  text: z.string().describe('For people, with the shutdown communication of the peer when there was one (RFC 9003)'),
})

export const transitionSchema = z.object({
  at: z.string().describe('ISO 8601, of the last time'),
  from: z.string().describe('State before'),
  to: z.string().describe('State after'),
  reason: z.string().describe('For people'),
  times: z.number().describe('How often, one after the other'),
})

export const familyCountSchema = z.object({
  family: z.string().describe('ipv4-unicast or ipv6-unicast'),
  received: z.number().describe('Prefixes received from the peer'),
  advertised: z.number().describe('Prefixes that the peer holds from us'),
  problem: z.string().optional().describe('Why nothing of this family is sent on the present session'),
})

export const updateErrorsSchema = z.object({
  treatedAsWithdraw: z.number().describe('UPDATEs whose routes count as withdrawn (RFC 7606 2)'),
  attributeDiscarded: z.number().describe('UPDATEs without an attribute that was wrong (RFC 7606 2)'),
  ownAsInPath: z
    .number()
    .describe('UPDATEs with our own AS in the path, whose routes count as withdrawn (RFC 4271 9.1.2)'),
  last: z
    .object({ at: z.string().describe('ISO 8601'), text: z.string().describe('For people') })
    .optional()
    .describe('The last error'),
})

export const peerSchema = z.object({
  node: z.string().describe('Name of the Node'),
  id: z.string().describe('Identifies the peer on this node, as 65001/192.0.2.1'),
  virtualRouter: z.string().describe('The virtual router or BGP instance that configures the peer'),
  localAs: z.number().describe('Our AS number'),
  peerAs: z.number().describe('AS number of the peer'),
  peerAddress: z.string().describe('Address of the peer'),
  peerPort: z.number().describe('TCP port that is dialled'),
  localAddress: z.string().optional().describe('Our address of the present connection'),
  sessionState: z
    .enum(['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established'])
    .describe('State of RFC 4271 section 8.2.2'),
  uptimeSeconds: z.number().optional().describe('Absent unless Established'),
  routerId: z.string().describe('Our BGP identifier'),
  peerRouterId: z.string().optional().describe('BGP identifier of the peer, from its OPEN'),
  holdTimeSeconds: z.number().optional().describe('Negotiated hold time'),
  keepaliveSeconds: z.number().optional().describe('Negotiated keepalive interval'),
  capabilities: z.array(z.string()).describe('Capabilities that were negotiated'),
  gracefulRestart: z.boolean().describe('Whether graceful restart was negotiated (RFC 4724)'),
  families: z.array(familyCountSchema).describe('One entry per address family'),
  messagesIn: z.number().describe('Messages received on the present connection'),
  messagesOut: z.number().describe('Messages sent on the present connection'),
  updatesIn: z.number().describe('UPDATEs received on the present connection'),
  updatesOut: z.number().describe('UPDATEs sent on the present connection'),
  flaps: z.number().describe('Times that the Established session was lost'),
  lastReset: resetSchema.optional().describe('Why the session was lost, or could not be had, the last time'),
  updateErrors: updateErrorsSchema
    .optional()
    .describe(
      'What was wrong with UPDATEs and cost no session, since the peer was configured; absent when nothing was',
    ),
  transitions: z.array(transitionSchema).describe('The last 20 changes of state, oldest first'),
  reason: z.string().optional().describe('Why the session is not Established'),
  idleHoldSeconds: z.number().optional().describe('Until the next attempt, after a session that failed'),
  pending: z
    .array(z.string())
    .optional()
    .describe('What was configured and comes into force with the next session; absent when nothing'),
  bfd: bfdSchema.optional().describe('Absent where the path is not watched'),
})

export const routeSchema = z.object({
  node: z.string().describe('Name of the Node'),
  virtualRouter: z.string().describe('The virtual router or BGP instance'),
  peer: z.string().optional().describe('Id of the peer it was sent to, or that sent it; absent in the table available'),
  prefix: z.string().describe('Address and length'),
  nextHop: z.string().describe('NEXT_HOP as on the wire'),
  ageSeconds: z.number().describe('Time since it was sent or received'),
  origin: z.string().describe('IGP, EGP or INCOMPLETE'),
  asPath: z.string().describe('AS numbers parted by spaces, sets in braces'),
  med: z.number().optional().describe('MULTI_EXIT_DISC'),
  localPreference: z.number().optional().describe('LOCAL_PREF'),
  communities: z.array(z.string()).describe('RFC 1997, as 65001:1'),
  largeCommunities: z.array(z.string()).describe('RFC 8092, as 65001:1:2'),
  extendedCommunities: z.array(z.string()).describe('RFC 4360, 16 hexadecimal digits each'),
  pathId: z.number().optional().describe('Path identifier (RFC 7911)'),
  stale: z.boolean().optional().describe('Kept for a peer that restarts (RFC 4724)'),
  best: z.boolean().optional().describe('Whether the decision process chose it (RFC 4271 9.1.2.2)'),
  decision: z.string().optional().describe('The step that decided, or why the path is not used'),
})

export const backendSchema = z.object({
  address: z.string().describe('Address of the endpoint'),
  port: z.number().describe('Port of the endpoint'),
  node: z.string().optional().describe('Tunnel address of the node that serves it, or snat; absent: this one'),
  weight: z.number().optional().describe('Its part of new flows beside those of the others; absent: all have the same'),
  state: z.enum(['active', 'pending', 'resting']).describe('active: in the kernel; resting: only what it has goes on'),
  packetsIn: z.number().optional().describe('Packets from clients, by whatever Service; absent: not counted'),
  bytesIn: z.number().optional().describe('Bytes of them'),
  packetsOut: z.number().optional().describe('Packets to clients'),
  bytesOut: z.number().optional().describe('Bytes of them'),
  newConnections: z.number().optional().describe('Connections opened'),
  packetsForwarded: z.number().optional().describe('Packets handed on to its node, which counts them as in'),
  bytesForwarded: z.number().optional().describe('Bytes of them'),
})

export const sourceRangeSchema = z.object({
  prefix: z.string().describe('Addresses of clients'),
  allowed: z.boolean().describe('Whether they are let in'),
})

export const frontendSchema = z.object({
  id: z.string().describe('address:port/protocol'),
  address: z.string().describe('Address that clients use'),
  protocol: z.string().describe('TCP, UDP or SCTP'),
  port: z.number().describe('Port that clients use'),
  programmed: z.boolean().describe('Written to the kernel and read back'),
  backends: z.array(backendSchema).describe('Endpoints: on this node, and on others to which packets are handed on'),
  sourceRanges: z
    .array(sourceRangeSchema)
    .optional()
    .describe('Who may open flows: the longest prefix decides, none lets nobody in; absent: everybody may'),
  affinitySeconds: z.number().optional().describe('How long a client stays with its backend; absent: not at all'),
  early: z
    .array(earlyKindSchema)
    .optional()
    .describe('What XDP takes of it at some interface, as of `explain`; absent: without `--lb-acceleration`'),
  packetsIn: z.number().describe('Packets from clients'),
  bytesIn: z.number().describe('Bytes from clients'),
  packetsOut: z.number().describe('Packets to clients'),
  bytesOut: z.number().describe('Bytes to clients'),
  newConnections: z.number().describe('Connections opened'),
  packetsForwarded: z.number().optional().describe('Packets handed on to other nodes, which count them as in'),
  bytesForwarded: z.number().optional().describe('Bytes of them'),
})

export const serviceSchema = z.object({
  service: z.string().describe('namespace/name'),
  addresses: z.array(z.string()).describe('Addresses that the Service holds'),
  pool: z.string().optional().describe('Pool that the address came from'),
  state: z
    .enum(['Announced', 'Programmed', 'Served', 'Pending', 'NotServed'])
    .describe(
      'Programmed: in the kernel, at no peer. Served: the same, and nothing of it is to be announced. ' +
        'Pending: on its way to the kernel. NotServed: a verdict says no',
    ),
  externalTrafficPolicy: z.string().describe('Cluster or Local'),
  remoteBackends: z.number().describe('Usable endpoints on other nodes, served or not'),
  frontends: z
    .array(frontendSchema)
    .describe('One per address, protocol and port; of a very large Service some, the next item has more'),
  verdicts: z.array(verdictSchema).describe('The chain of reasons, one step after the other'),
})

export const explainSchema = z.object({
  subject: z.string().describe('What was asked for'),
  exists: z.boolean().describe('Whether there is such a thing'),
  ok: z.boolean().describe('Whether every step says yes'),
  verdicts: z.array(verdictSchema).describe('The chain of reasons, one step after the other'),
  announcedTo: z.array(routeSchema).describe('What was sent to which peer'),
  paths: z
    .array(routeSchema)
    .optional()
    .describe('Of a route: paths to it with the step that decided, the best and up to 500 or 1 MB more'),
  transitions: z.array(transitionSchema).optional().describe('Of a peer: the last 20 changes of state, oldest first'),
  acceleration: earlyServiceSchema.optional().describe('Of a Service, with `--lb-acceleration`: what XDP takes of it'),
  sockets: z.array(ledFrontendSchema).optional().describe('Of a Service, with `--socket-lb`: clients on this node'),
})

export const statusSchema = z.object({
  node: z.string().describe('Name of the Node'),
  version: z.string().describe('Version of the agent'),
  uptimeSeconds: z.number().describe('Age of the agent'),
  health: z
    .enum(['ok', 'degraded'])
    .describe('degraded: a session is down, an object is broken or the datapath is not what was asked for'),
  source: z
    .object({
      kind: z.enum(['manifests', 'kubernetes']).describe('Where objects come from'),
      synced: z.boolean().describe('Whether every object was read once'),
      detail: z.string().describe('The folder or the API server'),
    })
    .describe('The source of objects'),
  sessions: z
    .object({
      established: z.number().describe('Sessions in Established'),
      configured: z.number().describe('Sessions that there should be'),
    })
    .describe('BGP sessions'),
  routes: z
    .object({
      advertised: z.number().describe('Prefixes that peers hold from us, summed over peers'),
      podCidrs: z.number().describe('PodCIDRs to announce'),
      services: z.number().describe('Service prefixes to announce'),
    })
    .describe('Routes'),
  services: z
    .object({
      total: z.number().describe('Services that are to be announced, or served in the place of kube-proxy'),
      announced: z.number().describe('In state Announced'),
      pending: z.number().describe('In state Pending or Programmed'),
      notServed: z.number().describe('In state NotServed'),
      served: z.number().optional().describe('In state Served; absent: none'),
    })
    .describe('Services by state'),
  tunnels: z
    .object({
      addresses: z.array(z.string()).describe('Where this node takes packets for its backends'),
      isTold: z.boolean().describe('Whether the other nodes hear of it'),
      nodes: z.number().describe('Addresses of other nodes, from which packets are taken'),
    })
    .optional()
    .describe('Of backends on other nodes; absent: they are not served'),
  bfd: z
    .object({ drops: z.record(z.string(), z.number()).describe('Packets that did not count, by reason') })
    .optional()
    .describe('Absent where no path is watched'),
  kubeProxy: kubeProxySchema.optional(),
  socketLb: z
    .object({
      isOn: z.boolean().describe('Whether sockets on this node are led to backends'),
      covers: z
        .object({
          clusterIP: z.boolean().describe('Cluster IPs of Services, at their ports'),
          loadBalancerIP: z.boolean().describe('Addresses of load balancers that this node serves'),
          externalIP: z.boolean().describe('External IPs'),
          nodePort: z.boolean().describe('Node ports'),
        })
        .describe('To which addresses a socket may ask; what is not covered is served as without it'),
      kubeProxy: z
        .enum(['nftables', 'iptables', 'ipvs', 'unknown', 'absent'])
        .describe('Which rules of kube-proxy are there, too; unknown: the old iptables has rules'),
      cgroup: z.string().optional().describe('Where the programs are attached'),
      isWholeNode: z.boolean().optional().describe('Whether that is the root of all groups'),
      adopted: z.boolean().optional().describe('Whether what an earlier process left was taken over'),
      others: z.array(z.string()).optional().describe('Programs of others at the same hook'),
      frontends: z.number().optional().describe('Addresses with protocol and port that sockets are led by'),
      isDone: z.boolean().optional().describe('Whether all of them are in force as they are wanted'),
      counts: z
        .object({
          translated: z.number().describe('Connections, and datagrams of sockets without one, that were led'),
          refused: z.number().describe('Those refused, as nobody is behind the address'),
          unrecorded: z.number().describe('Those for whose way back the kernel had no room'),
        })
        .optional()
        .describe('Since the maps were made'),
      ended: endedSocketsSchema.optional().describe('Sockets that were ended, as their backend is gone'),
      maps: z.array(mapSchema).optional().describe('Fill of the maps'),
      problem: z.string().optional().describe('Why it could not be had'),
    })
    .optional()
    .describe('Of clients on this node; absent: it was not asked for'),
  datapath: z
    .object({
      kind: z.enum(['ebpf', 'none', 'fake']).describe('What serves addresses'),
      attach: z.string().optional().describe('tcx or clsact'),
      mode: z
        .enum(['stack', 'redirect'])
        .optional()
        .describe('How new flows go to pods of this node: through the stack, or past netfilter'),
      modeReason: z
        .string()
        .optional()
        .describe('Why it is not the mode that was asked for, or not for every pod; for people'),
      interfaces: z.array(z.string()).describe('Interfaces with our programs'),
      acceleration: accelerationSchema
        .optional()
        .describe('What drops, answers and hands on in front of the kernel; absent: it was not asked for'),
      adopted: z.boolean().describe('Whether maps of an earlier process were adopted'),
      schema: z.number().optional().describe('Schema version of the maps'),
      maps: z.array(mapSchema).describe('Fill of the maps'),
      reasons: z.record(z.string(), z.number()).describe('Packets answered in place or dropped, by reason'),
      drops: z.array(dropSchema).describe('The same by family too, with what became of them'),
      problem: z.string().optional().describe('Why the datapath that was asked for could not be had'),
    })
    .describe('The kernel'),
  drain: z
    .object({
      command: z.boolean().describe('By `herald drain`'),
      annotation: z.boolean().describe('By herald.dev/drain on the Node'),
    })
    .optional()
    .describe('The node is drained: its routes are withdrawn, its sessions stay'),
  warnings: z.array(z.string()).describe('What else is not as it should be'),
  problems: z.array(problemSchema).describe('Broken or half honoured objects'),
})

export const commandSchema = z.object({
  what: z.enum(['reset', 'refresh', 'drain']).describe('The command'),
  peer: z.string().optional().describe('The peer as it was named'),
  soft: z.enum(['in', 'out']).optional().describe('Of a reset that keeps the session'),
  undo: z.boolean().optional().describe('Of a drain: whether it was undone'),
  applied: z.array(z.string()).describe('Ids of the peers with which it was done'),
  refused: z
    .array(
      z.object({
        peer: z.string().describe('Id, or the name that no peer has'),
        reason: z.string().describe('Why it was not done'),
      }),
    )
    .describe('Peers with which it was not done, each a `peer` and a `reason`'),
})

export const clusterPeerSchema = z.object({
  node: z.string().describe('Name of the Node'),
  instance: z.string().describe('The instance, or the local AS where the configuration names none'),
  peer: z.string().describe('Name of the peer, or its address where the configuration names none'),
  localAs: z.number().describe('AS number of the node'),
  peerAs: z.number().describe('AS number of the peer'),
  peerAddress: z.string().describe('Address of the peer'),
  sessionState: z
    .enum(['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established'])
    .describe('State of RFC 4271 section 8.2.2, as the node told it last'),
  uptimeSeconds: z.number().optional().describe('Absent unless Established'),
  holdTimeSeconds: z.number().optional().describe('Negotiated'),
  keepaliveSeconds: z.number().optional().describe('Negotiated'),
  silentSeconds: z
    .number()
    .optional()
    .describe('The agent of the node gives no sign of life for so long: what stands here was so before'),
  families: z
    .array(z.object({ family: z.string(), received: z.number(), advertised: z.number() }))
    .describe('Prefixes by `family`: `received` from the peer, `advertised` to it'),
})

export const clusterNodeSchema = z.object({
  node: z.string().describe('Name of the Node'),
  health: z
    .enum(['ok', 'degraded', 'unknown'])
    .describe(
      'ok also: no configuration is for this node. degraded also: its agent gives no sign of life any more. ' +
        'unknown: the node has said nothing',
    ),
  sessions: z
    .object({
      established: z.number().describe('Sessions that are Established'),
      configured: z.number().describe('Sessions that the configuration gives to the node'),
    })
    .describe('Sessions of the node'),
  advertised: z.number().describe('Prefixes that peers hold from the node, summed over peers'),
  message: z.string().describe('What the node says of itself, or why it says nothing'),
  isDrained: z.boolean().optional().describe('Its routes are withdrawn, by `herald drain` or by the annotation'),
  stackReason: z.string().optional().describe('Why new flows to its pods go through the stack; absent: they do not'),
  silentSeconds: z
    .number()
    .optional()
    .describe("Since its agent's last sign of life, by the clock of the API server; absent: it gave none"),
  version: z.string().optional().describe('Version of the agent'),
})

export const clusterServiceNodeSchema = z.object({
  node: z.string().describe('Name of the Node'),
  announces: z
    .enum(['yes', 'to-some', 'no', 'unknown'])
    .describe('to-some: a session that should carry it is down. unknown: its agent says nothing'),
  announcedTo: z.array(z.string()).describe('Addresses of the peers that hear it'),
  wantedBy: z.array(z.string()).describe('Addresses of the peers that are to hear it'),
  verdicts: z.array(verdictSchema).describe('What this node says and not every other one'),
  silentSeconds: z.number().optional().describe("Since its agent's last sign of life; absent: it gave none"),
})

export const clusterServiceSchema = z.object({
  subject: z.string().describe('What was asked for'),
  exists: z.boolean().describe('Whether there is such a thing'),
  ok: z
    .boolean()
    .describe('Whether some node announces it, and every node that is to announce it does so to each of its peers'),
  addresses: z.array(z.string()).describe('Addresses that the Service holds'),
  pool: z.string().optional().describe('Pool that the address came from'),
  verdicts: z.array(verdictSchema).describe('What every node says alike, and what the operator says'),
  nodes: z.array(clusterServiceNodeSchema).describe('What each node does'),
})

export type ClusterServiceView = z.infer<typeof clusterServiceSchema>
export type ClusterServiceNodeView = z.infer<typeof clusterServiceNodeSchema>
export type ClusterPeerView = z.infer<typeof clusterPeerSchema>
export type ClusterNodeView = z.infer<typeof clusterNodeSchema>
export type CommandView = z.infer<typeof commandSchema>
export type VerdictView = z.infer<typeof verdictSchema>
export type ProblemView = z.infer<typeof problemSchema>
export type PeerView = z.infer<typeof peerSchema>
export type RouteView = z.infer<typeof routeSchema>
export type PinnedMapView = z.infer<typeof pinnedMapSchema>
export type FrontendView = z.infer<typeof frontendSchema>
export type ServiceView = z.infer<typeof serviceSchema>
export type ExplainView = z.infer<typeof explainSchema>
export type StatusView = z.infer<typeof statusSchema>

/** What the server asks of the running agent; every answer is a snapshot. */
export interface AgentViews {
  status(): Promise<StatusView>
  peers(): Promise<readonly PeerView[]>
  routes(query: RoutesQuery, page: PageQuery): Promise<Page<RouteView>>
  services(page: PageQuery): Promise<Page<ServiceView>>
  explain(subject: ExplainSubject): Promise<ExplainView>
  /** Prometheus text exposition. */
  metrics(): Promise<string>
  /** Synced and datapath loaded; the text says what is missing. */
  ready(): { readonly ok: boolean; readonly text: string }
}

/** Of a long list: about `limit` items from the place that `continue` of the page before names. */
export interface PageQuery {
  readonly limit: number
  readonly continue?: string
}

export interface Page<T> {
  readonly items: readonly T[]
  /** There are more. Opaque. */
  readonly continue?: string
}

export type AgentCommand =
  | { readonly what: 'reset'; readonly peer: string; readonly soft?: 'in' | 'out' }
  | { readonly what: 'refresh'; readonly peer: string }
  | { readonly what: 'drain'; readonly undo: boolean }

/** The process at the other end of the socket. */
export interface Caller {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** What the server may have the running agent do; on the unix socket only. */
export interface AgentCommands {
  run(command: AgentCommand, caller: Caller): Promise<CommandView>
}

export interface RoutesQuery {
  readonly table: 'available' | 'advertised' | 'received'
  readonly family: 'ipv4-unicast' | 'ipv6-unicast'
  readonly peer?: string
}

export type ExplainSubject = { readonly kind: 'service' | 'route' | 'peer'; readonly name: string }
