/** An event with the names of what it is about, and what of it is shown: in the words of `hubble observe`. Pure. */
import type { FlowResponse } from '../api/flow-types.ts'
import type { ClientSocket, DatapathEvent, Endpoint } from '../datapath/events.ts'
import { reasonTable, type ReasonName } from '../datapath/reasons.ts'
import type { Names } from './protocol.ts'

export interface NamedEvent extends DatapathEvent, Names {
  /** ms since the epoch. */
  readonly timeMs: number
}

export type Verdict = 'FORWARDED' | 'DROPPED' | 'TRANSLATED'

export function verdictOf({ type }: Pick<NamedEvent, 'type'>): Verdict {
  return type === 'drop' ? 'DROPPED' : type === 'led' ? 'TRANSLATED' : 'FORWARDED'
}

/** Told by what a pod sends. */
export const isReply = ({ detail }: Pick<NamedEvent, 'detail'>): boolean => detail === 'reply_unmatched'

const flagNames = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const

export function tcpFlagsOf(octet: number): readonly string[] {
  return flagNames.filter((_, bit) => octet & (1 << bit))
}

export const isIpv6 = ({ address }: Endpoint): boolean => address.includes(':')

/** Numbers of IANA's protocol registry. */
export const protocolNumbers = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 } as const

/** MessageTypeDrop, MessageTypeTrace and MessageTypeTraceSock, as Hubble numbers them. */
const hubbleTypes = { drop: 1, trace: 4, traceSock: 7 } as const
/** XlatePointPreDirectionFwd and XlatePointPostDirectionFwd, with their names. */
const points = {
  before: { number: 1, name: 'SOCK_XLATE_POINT_PRE_DIRECTION_FWD' },
  behind: { number: 2, name: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD' },
} as const

/** `namespace/name` in two. */
function split(name: string): { readonly namespace: string; readonly name: string } {
  const slash = name.indexOf('/')
  return { namespace: name.slice(0, slash), name: name.slice(slash + 1) }
}

function podOf(name: string | undefined): { readonly namespace?: string; readonly pod_name?: string } {
  if (name === undefined) return {}
  const pod = split(name)
  return { namespace: pod.namespace, pod_name: pod.name }
}

export function flowOf(event: NamedEvent, nodeName: string): FlowResponse {
  const { type, detail, source, destination, backend, service, pod, length, socket } = event
  const time = new Date(event.timeMs).toISOString()
  const [mine, theirs] = isReply(event) ? [podOf(pod), {}] : [{}, podOf(pod)]
  return {
    flow: {
      time,
      verdict: verdictOf(event),
      ...(type === 'drop' ? { drop_reason_desc: detail.toUpperCase() } : {}),
      IP: {
        source: source.address,
        destination: destination.address,
        ipVersion: isIpv6(source) ? 'IPv6' : 'IPv4',
      },
      ...l4Of(event),
      source: mine,
      destination: theirs,
      ...(socket === undefined ? packetOf(event) : socketOf(event, socket)),
      node_name: nodeName,
      is_reply: isReply(event),
      ...(service === undefined ? {} : { destination_service: split(service) }),
      traffic_direction: isReply(event) || socket !== undefined ? 'EGRESS' : 'INGRESS',
      Summary: summaryOf(event),
      herald: {
        type,
        detail,
        ...(type === 'drop' ? { fate: reasonTable[detail as ReasonName].fate } : {}),
        ...(backend === undefined ? {} : { backend: { ...backend } }),
        ...(length === 0 ? {} : { length }),
        ...(socket === undefined ? {} : { process: { id: socket.process, name: socket.command } }),
      },
    },
    node_name: nodeName,
    time,
  }
}

type Flow = NonNullable<FlowResponse['flow']>

function packetOf({ type }: NamedEvent): Pick<Flow, 'Type' | 'event_type'> {
  return { Type: 'L3_L4', event_type: { type: type === 'drop' ? hubbleTypes.drop : hubbleTypes.trace } }
}

type SocketFlow = Pick<Flow, 'Type' | 'event_type' | 'sock_xlate_point' | 'socket_cookie' | 'cgroup_id'>

/** One event, where Hubble has one before and one behind: both ends are in it. */
function socketOf({ type }: NamedEvent, { cookie, cgroup }: ClientSocket): SocketFlow {
  const { number, name } = type === 'drop' ? points.before : points.behind
  return {
    Type: 'SOCK',
    event_type: { type: hubbleTypes.traceSock, sub_type: number },
    sock_xlate_point: name,
    socket_cookie: String(cookie),
    cgroup_id: String(cgroup),
  }
}

type L4 = Pick<Flow, 'l4'>

function l4Of({ protocol, source, destination, tcpFlags }: NamedEvent): L4 {
  const ports = { source_port: source.port, destination_port: destination.port }
  switch (protocol) {
    case protocolNumbers.tcp: {
      const flags = Object.fromEntries(tcpFlagsOf(tcpFlags).map((name) => [name, true]))
      return { l4: { TCP: { ...ports, ...(tcpFlags === 0 ? {} : { flags }) } } }
    }
    case protocolNumbers.udp:
      return { l4: { UDP: ports } }
    case protocolNumbers.sctp:
      return { l4: { SCTP: ports } }
    case protocolNumbers.icmp:
      return { l4: { ICMPv4: {} } }
    case protocolNumbers.icmpv6:
      return { l4: { ICMPv6: {} } }
    default:
      return {}
  }
}

function summaryOf({ protocol, tcpFlags }: NamedEvent): string {
  const name = Object.entries(protocolNumbers).find(([, number]) => number === protocol)?.[0]
  if (protocol !== protocolNumbers.tcp) return name === undefined ? `protocol ${protocol}` : name.toUpperCase()
  return tcpFlags === 0 ? 'TCP' : `TCP Flags: ${tcpFlagsOf(tcpFlags).join(', ')}`
}
