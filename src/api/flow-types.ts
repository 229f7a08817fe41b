/** Events of flows as `GET /api/v1/flows` answers with them, in the words of Hubble, and what may be asked for. */
import * as z from 'zod'

const portsSchema = {
  source_port: z.number().describe('Of who sends'),
  destination_port: z.number().describe('Of to whom'),
}
const endpointSchema = z.object({
  namespace: z.string().optional().describe('Of the pod, where it is one of a Service here'),
  pod_name: z.string().optional().describe('The pod, where it is one of a Service here'),
})

/** The names and the letter case of `hubble observe -o json`; what is ours lies in `herald`. */
export const flowSchema = z.object({
  time: z.string().describe('ISO 8601'),
  verdict: z
    .enum(['FORWARDED', 'DROPPED', 'TRANSLATED'])
    .describe('DROPPED: also what was refused; TRANSLATED: a socket was led to a backend'),
  drop_reason_desc: z.string().optional().describe('The reason of docs/operate.md in capitals'),
  IP: z
    .object({
      source: z.string().describe('The client; of a reply that is dropped the pod; of a socket 0.0.0.0 or ::'),
      destination: z.string().describe('The address of the Service; of a reply that is dropped the client'),
      ipVersion: z.enum(['IPv4', 'IPv6']).describe('Family'),
    })
    .describe('Addresses as the packet came'),
  l4: z
    .object({
      TCP: z
        .object({ ...portsSchema, flags: z.record(z.string(), z.boolean()).optional().describe('Those that are set') })
        .optional(),
      UDP: z.object(portsSchema).optional(),
      SCTP: z.object(portsSchema).optional(),
      ICMPv4: z.object({}).optional(),
      ICMPv6: z.object({}).optional(),
    })
    .optional()
    .describe('Ports, and of TCP the flags that are set'),
  source: endpointSchema.describe('The pod, where it is one of a Service here'),
  destination: endpointSchema.describe('The pod to which the flow goes'),
  Type: z.enum(['L3_L4', 'SOCK']).describe('Whether it is of a packet or of a socket'),
  node_name: z.string().describe('Name of the Node'),
  is_reply: z.boolean().describe('Whether a pod sent it'),
  event_type: z
    .object({
      type: z.number().describe('1: a packet that was dropped, 4: any other packet, 7: a socket'),
      sub_type: z.number().optional().describe('Of a socket: 1 as it asked, 2 led to a backend'),
    })
    .describe('As Hubble numbers it'),
  sock_xlate_point: z
    .enum(['SOCK_XLATE_POINT_PRE_DIRECTION_FWD', 'SOCK_XLATE_POINT_POST_DIRECTION_FWD'])
    .optional()
    .describe('Of a socket: PRE where nobody is behind what it asked for, POST where it was led'),
  socket_cookie: z.string().optional().describe('Of a socket: the number that the kernel gave it'),
  cgroup_id: z.string().optional().describe('Of a socket: the group of whose process asked (inode of its folder)'),
  destination_service: z
    .object({ namespace: z.string().describe('Of the Service'), name: z.string().describe('Of the Service') })
    .optional()
    .describe('The Service whose address it is'),
  traffic_direction: z.enum(['INGRESS', 'EGRESS']).describe('EGRESS: from a pod'),
  Summary: z.string().describe('For people'),
  herald: z
    .object({
      type: z.enum(['new', 'close', 'rehash', 'drop', 'led']).describe('What happened'),
      detail: z
        .string()
        .describe(
          'by_client, by_pod, fin, reset_by_client, reset_by_pod, previous_table, current_table, half_restored, ' +
            'forwarded or second_chance; of a socket by_connect or by_send; of a drop its reason',
        ),
      fate: z.enum(['answered', 'refused', 'dropped', 'held', 'served']).optional().describe('Of a drop'),
      backend: z
        .object({ address: z.string().describe('Of the pod'), port: z.number().describe('Of the pod') })
        .optional()
        .describe('Where the flow goes'),
      length: z.number().optional().describe('Octets of the packet'),
      process: z
        .object({ id: z.number().describe('On the host'), name: z.string().describe('Of its thread') })
        .optional()
        .describe('Of a socket: who asked'),
    })
    .describe('What Hubble has no word for'),
})

export const flowResponseSchema = z.object({
  flow: flowSchema.optional().describe('An event'),
  lost_events: z
    .object({
      source: z
        .enum(['PERF_EVENT_RING_BUFFER', 'OBSERVER_EVENTS_QUEUE'])
        .describe('In the kernel, for all who look; or since this observer reads too slowly'),
      num_events_lost: z.number().describe('How many since the last time'),
    })
    .optional()
    .describe('In place of an event: some were lost'),
  node_name: z.string().describe('Name of the Node'),
  time: z.string().describe('ISO 8601'),
})

export type FlowResponse = z.infer<typeof flowResponseSchema>

export type FlowFilterKey =
  | 'type'
  | 'verdict'
  | 'drop-reason-desc'
  | 'protocol'
  | 'tcp-flags'
  | 'ip'
  | 'from-ip'
  | 'to-ip'
  | 'port'
  | 'from-port'
  | 'to-port'
  | 'service'
  | 'pod'
  | 'from-pod'
  | 'to-pod'
  | 'namespace'
  | 'ip-version'

export type FlowFilter = Readonly<Partial<Record<FlowFilterKey, readonly string[]>>>

export interface FlowQuery {
  /** Goes on with what comes. */
  readonly follow: boolean
  /** So many of the past at most. */
  readonly last?: number
  /** ms since the epoch. */
  readonly sinceMs?: number
  readonly untilMs?: number
  readonly allow: FlowFilter
  readonly deny: FlowFilter
}

/** Who looks: takes lines of FlowResponse. `taken` is called when there may be more. */
export interface FlowSink {
  write(text: string, taken: () => void): void
  end(): void
}

export interface FlowSource {
  /** Throws ERR_USAGE, ERR_BUSY or ERR_NO_EVENTS; else the answer ends it. */
  observe(query: FlowQuery, sink: FlowSink): () => void
}
