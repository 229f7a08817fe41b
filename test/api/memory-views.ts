/**
 * Views that answer from memory: one node with a healthy peer, a lost one that says hostile things, and two Services.
 */
import type {
  AgentViews,
  ExplainView,
  Page,
  PageQuery,
  PeerView,
  RouteView,
  ServiceView,
  StatusView,
} from '../../src/api/types.ts'

/** Clears a terminal, turns the direction, ends a line. */
export const hostile = 'bye\u001b[2J\u202egpj\u009b1m\nnext'

export const peers: readonly PeerView[] = [
  {
    node: 'node1',
    id: '65001/192.0.2.1',
    virtualRouter: '65001',
    localAs: 65001,
    peerAs: 65000,
    peerAddress: '192.0.2.1',
    peerPort: 179,
    localAddress: '192.0.2.9',
    sessionState: 'Established',
    uptimeSeconds: 125,
    routerId: '192.0.2.9',
    peerRouterId: '192.0.2.1',
    holdTimeSeconds: 9,
    keepaliveSeconds: 3,
    capabilities: ['four-octet-as', 'graceful-restart'],
    gracefulRestart: true,
    families: [
      { family: 'ipv4-unicast', received: 1, advertised: 3 },
      { family: 'ipv6-unicast', received: 0, advertised: 2 },
    ],
    messagesIn: 40,
    messagesOut: 42,
    updatesIn: 1,
    updatesOut: 2,
    flaps: 1,
    bfd: {
      id: 2_453_456,
      remoteId: 77,
      status: 'up',
      sinceSeconds: 61,
      diagnostic: 'no diagnostic',
      remoteStatus: 'up',
      remoteDiagnostic: 'no diagnostic',
      localAddress: '192.0.2.9',
      multihop: false,
      passive: false,
      intervalMs: 100,
      detectionTimeMs: 300,
      local: { detectMultiplier: 3, receiveIntervalMs: 100, transmitIntervalMs: 100 },
      remote: { detectMultiplier: 3, receiveIntervalMs: 50, transmitIntervalMs: 100 },
      packetsIn: 1_200,
      packetsOut: 1_300,
      upEvents: 2,
      downEvents: 1,
    },
    transitions: [
      {
        at: '2026-01-01T00:00:00.000Z',
        from: 'OpenConfirm',
        to: 'Established',
        reason: 'the peer confirmed our OPEN',
        times: 1,
      },
    ],
  },
  {
    node: 'node1',
    id: '65001/2001:db8::2',
    virtualRouter: '65001',
    localAs: 65001,
    peerAs: 4_200_000_000,
    peerAddress: '2001:db8::2',
    peerPort: 1179,
    sessionState: 'Active',
    routerId: '192.0.2.9',
    capabilities: [],
    gracefulRestart: false,
    families: [{ family: 'ipv6-unicast', received: 0, advertised: 0 }],
    messagesIn: 0,
    messagesOut: 0,
    updatesIn: 0,
    updatesOut: 0,
    flaps: 7,
    transitions: [],
    lastReset: {
      at: '2026-01-01T00:00:00.000Z',
      direction: 'received',
      code: 6,
      subcode: 2,
      text: `Cease: ${hostile}`,
    },
    reason: 'connection refused',
  },
]

export const routes: readonly RouteView[] = [
  {
    node: 'node1',
    virtualRouter: '65001',
    peer: '65001/192.0.2.1',
    prefix: '203.0.113.10/32',
    nextHop: '192.0.2.9',
    ageSeconds: 61,
    origin: 'IGP',
    asPath: '65001',
    med: 5,
    communities: ['65001:1'],
    largeCommunities: ['65001:1:2'],
    extendedCommunities: [],
  },
]

const counters = { packetsIn: 1200, bytesIn: 90_000, packetsOut: 1000, bytesOut: 800_000, newConnections: 200 }

export const services: readonly ServiceView[] = [
  {
    service: 'default/web',
    addresses: ['203.0.113.10'],
    pool: 'pool',
    state: 'Announced',
    externalTrafficPolicy: 'Cluster',
    remoteBackends: 0,
    frontends: [
      {
        id: '203.0.113.10:80/TCP',
        address: '203.0.113.10',
        protocol: 'TCP',
        port: 80,
        programmed: true,
        backends: [
          { address: '10.1.1.5', port: 8080, state: 'active', ...counters },
          { address: '10.1.1.6', port: 8080, state: 'pending' },
        ],
        ...counters,
      },
    ],
    verdicts: [{ step: 'class', ok: true, code: 'Ok', message: 'no loadBalancerClass' }],
  },
  {
    service: 'default/shop',
    addresses: [],
    state: 'NotServed',
    externalTrafficPolicy: 'Local',
    remoteBackends: 1,
    frontends: [],
    verdicts: [{ step: 'allocated', ok: false, code: 'NoPool', message: `no pool ${hostile}`, remedy: 'add a pool' }],
  },
]

export const status: StatusView = {
  node: 'node1',
  version: '0.1.0',
  uptimeSeconds: 125,
  health: 'degraded',
  source: { kind: 'manifests', synced: true, detail: '/etc/herald' },
  sessions: { established: 1, configured: 2 },
  routes: { advertised: 5, podCidrs: 1, services: 2 },
  services: { total: 2, announced: 1, pending: 0, notServed: 1 },
  bfd: { drops: { noSession: 3, kernel: 4 } },
  datapath: {
    kind: 'ebpf',
    mode: 'stack',
    attach: 'tcx',
    interfaces: ['eth1'],
    adopted: true,
    maps: [{ name: 'services', entries: 3, maxEntries: 65_536 }],
    acceleration: {
      wanted: 'native',
      interfaces: [{ interface: 'eth1', mode: 'native', packets: { handedOn: 7, answered: 2, dropped: 5 } }],
    },
    reasons: { noBackend: 2, 'no "such"\\port': 1 },
    drops: [
      { reason: 'no_backend', family: 'ipv4' as const, fate: 'refused' as const, packets: 2 },
      { reason: 'echo_answered', family: 'ipv4' as const, fate: 'answered' as const, packets: 7 },
    ],
  },
  warnings: [`peer 2001:db8::2: ${hostile}`],
  problems: [
    {
      severity: 'error',
      object: 'Service/default/broken',
      file: 'web.yaml',
      line: 9,
      column: 3,
      field: 'spec.ports',
      code: 'Invalid',
      message: `not a port ${hostile}`,
      remedy: 'write a number',
    },
  ],
}

/** With what clients on the node are told of. */
export const ledStatus: StatusView = {
  ...status,
  socketLb: {
    isOn: true,
    covers: { clusterIP: true, loadBalancerIP: true, externalIP: false, nodePort: false },
    kubeProxy: 'absent',
    frontends: 12,
    isDone: false,
    counts: { translated: 7, refused: 2, unrecorded: 0 },
    ended: { count: 3, protocols: ['UDP'], areOfPods: false },
    maps: [{ name: 'socket_frontends', entries: 12, maxEntries: 65_536 }],
  },
}

export function explained(kind: string, name: string): ExplainView {
  if (name !== 'default/web')
    return {
      subject: `${kind} ${name}`,
      exists: false,
      ok: false,
      verdicts: [{ step: 'valid', ok: false, code: 'NotFound', message: 'not there', remedy: 'look elsewhere' }],
      announcedTo: [],
    }
  return {
    subject: `${kind} ${name}`,
    exists: true,
    ok: true,
    verdicts: [{ step: 'class', ok: true, code: 'Ok', message: 'no loadBalancerClass' }],
    announcedTo: [...routes],
  }
}

/** `continue` is how many items came before. */
export function pageOf<T>(all: readonly T[], { limit, continue: token = '0' }: PageQuery): Page<T> {
  const from = Number(token)
  const items = all.slice(from, from + limit)
  return from + limit < all.length ? { items, continue: String(from + limit) } : { items }
}

/** `status` can be swapped while a server answers from it. */
export function memoryViews(state: { status: () => StatusView } = { status: () => status }): AgentViews {
  return {
    status: async () => state.status(),
    peers: async () => peers,
    routes: async ({ peer }, page) =>
      pageOf(
        routes.filter((route) => peer === undefined || route.peer?.endsWith(`/${peer}`)),
        page,
      ),
    services: async (page) => pageOf(services, page),
    explain: async ({ kind, name }) => explained(kind, name),
    metrics: async () => 'herald_up 1\n',
    ready: () => ({ ok: true, text: 'ok' }),
  }
}
