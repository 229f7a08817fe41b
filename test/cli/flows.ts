/** A new connection as an agent tells of it. */
import type { FlowResponse } from '../../src/api/flow-types.ts'

export type Flow = NonNullable<FlowResponse['flow']>

export const newFlow: Flow = {
  time: '2026-01-02T03:04:05.678Z',
  verdict: 'FORWARDED',
  IP: { source: '198.51.100.7', destination: '203.0.113.10', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 40_000, destination_port: 80, flags: { SYN: true } } },
  source: {},
  destination: { namespace: 'default', pod_name: 'web-5' },
  Type: 'L3_L4',
  node_name: 'node1',
  is_reply: false,
  event_type: { type: 4 },
  destination_service: { namespace: 'default', name: 'web' },
  traffic_direction: 'INGRESS',
  Summary: 'TCP Flags: SYN',
  herald: { type: 'new', detail: 'by_client', backend: { address: '10.1.1.5', port: 8080 } },
}

/** A socket of a process on the node, as an agent tells of it. */
export const ledFlow: Flow = {
  ...newFlow,
  verdict: 'TRANSLATED',
  IP: { ...newFlow.IP, source: '0.0.0.0' },
  l4: { TCP: { source_port: 0, destination_port: 80 } },
  Type: 'SOCK',
  event_type: { type: 7, sub_type: 2 },
  sock_xlate_point: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
  socket_cookie: '4097',
  cgroup_id: '7730',
  traffic_direction: 'EGRESS',
  Summary: 'TCP',
  herald: { ...newFlow.herald, type: 'led', detail: 'by_connect', process: { id: 1234, name: 'curl' } },
}
