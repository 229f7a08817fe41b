import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { kubeProxyMode, type ProxyTraces } from '../../src/agent/kube-proxy.ts'
import { explain, type ExplainParts } from '../../src/agent/explain-views.ts'
import { SocketOrder } from '../../src/agent/socket-order.ts'
import {
  ledFrontends,
  socketFailures,
  socketNotes,
  type SocketParts,
  socketView,
} from '../../src/agent/socket-views.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { SocketStatus } from '../../src/datapath/datapath.ts'
import { createFakeSockets } from '../../src/datapath/socket-served.ts'
import { HeraldError } from '../../src/errors.ts'
import { hasLegacyTable, hasNftChain, hasNftTable } from '../../src/sys/netfilter.ts'

function partsOf(more: Partial<SocketParts> = {}): SocketParts {
  return {
    balancer: createFakeSockets(),
    problem: undefined,
    order: { size: 12, isDone: true, of: () => [], whyNot: () => undefined },
    faults: new Faults(new VirtualClock(), new MemoryLog()),
    kubeProxy: () => 'absent',
    ...more,
  }
}

const withStatus = (status: Partial<SocketStatus>): SocketParts => {
  const balancer = createFakeSockets()
  return partsOf({ balancer: { ...balancer, status: { ...balancer.status, ...status } } })
}

test('what the socket LB covers and what not is said, whoever else serves', () => {
  const { maps, ...view } = socketView(partsOf({ kubeProxy: () => 'iptables' })) ?? {}
  assert.deepEqual(view, {
    isOn: true,
    covers: { clusterIP: true, loadBalancerIP: true, externalIP: false, nodePort: false },
    kubeProxy: 'iptables',
    cgroup: '/sys/fs/cgroup',
    isWholeNode: true,
    adopted: false,
    frontends: 12,
    isDone: true,
    counts: { translated: 0, refused: 0, unrecorded: 0 },
  })
  assert.ok(maps?.some(({ name }) => name === 'socket_affinity'))
  assert.deepEqual([socketFailures(partsOf()), socketNotes(partsOf())], [[], []])
})

test('in the place of kube-proxy sockets are led to external IPs and node ports, too', () => {
  let isReplacing = true
  const parts = partsOf({ isReplacing: () => isReplacing })
  assert.ok(Object.values(socketView(parts)?.covers ?? {}).every((is) => is))
  isReplacing = false
  assert.deepEqual(socketView(parts)?.covers, socketView(partsOf())?.covers)
})

test('nobody who did not ask for it is told of it', () => {
  assert.equal(socketView(partsOf({ balancer: undefined, order: undefined })), undefined)
})

test('what was asked for and cannot be had covers nothing, and degrades the node with the reason', () => {
  const parts = partsOf({ balancer: undefined, order: undefined, problem: 'no socket LB: why' })
  const view = socketView(parts)
  assert.deepEqual([view?.isOn, view?.problem], [false, 'no socket LB: why'])
  assert.ok(Object.values(view?.covers ?? {}).every((is) => !is))
  assert.deepEqual(socketFailures(parts), ['no socket LB: why'])
  assert.deepEqual(socketNotes(parts), [])
})

test('a frontend that cannot be written degrades the node for as long as that lasts', () => {
  const faults = new Faults(new VirtualClock(), new MemoryLog())
  const parts = partsOf({ faults })
  faults.raise('socket LB', '10.96.0.1:80/TCP', 'full')
  assert.deepEqual(socketFailures(parts), ['10.96.0.1:80/TCP: full'])
  faults.clear('socket LB', '10.96.0.1:80/TCP')
  assert.deepEqual(socketFailures(parts), [])
})

test('a part of the node, and programs of others, are notes', () => {
  assert.match(socketNotes(withStatus({ cgroup: '/x', isWholeNode: false })).join(), /^socket LB: \/x is not the root/)
  const notes = socketNotes(withStatus({ others: ['cil_sock4_conne'] }))
  assert.deepEqual(notes, ['socket LB: programs of others are asked about connections, too: cil_sock4_conne'])
  assert.deepEqual(socketView(withStatus({ others: ['cil_sock4_conne'] }))?.others, ['cil_sock4_conne'])
})

function traces(found: readonly string[]): ProxyTraces {
  const has = (what: string): boolean => found.includes(what)
  return {
    hasNftTable: (name) => has(`table ${name}`),
    hasNftChain: (table, name) => has(`chain ${table} ${name}`),
    hasLegacyTable: (name) => has(`legacy ${name}`),
    hasDevice: (name) => has(`device ${name}`),
  }
}

test('kube-proxy is known by the rules that it makes in each of its modes', () => {
  for (const [found, mode] of [
    [['table kube-proxy'], 'nftables'],
    [['chain nat KUBE-SERVICES'], 'iptables'],
    [['device kube-ipvs0', 'chain nat KUBE-SERVICES'], 'ipvs'],
    [['legacy nat'], 'unknown'],
    [['table other', 'chain filter KUBE-SERVICES', 'legacy filter'], 'absent'],
    [[], 'absent'],
  ] as const)
    assert.equal(kubeProxyMode(traces(found)), mode, found.join())
})

test('a kernel that cannot be asked for rules is one without them, but for those of the old iptables', () => {
  const refused = (): boolean => {
    throw new HeraldError('ERR_SYSCALL', 'EPERM', { errno: 'EPERM' })
  }
  const ask = (found: readonly string[]) => kubeProxyMode({ ...traces(found), hasNftTable: refused })
  assert.deepEqual([ask([]), ask(['legacy nat'])], ['absent', 'unknown'])
})

test('a table and a chain that nobody has made are not there', () => {
  const asked = (ask: () => boolean): boolean | string | undefined => {
    try {
      return ask()
    } catch (error) {
      // Where the kernel has no nftables, or who asks no privilege.
      return error instanceof HeraldError ? error.code : 'another error'
    }
  }
  const name = 'herald-test-nobody'
  for (const answer of [asked(() => hasNftTable(name)), asked(() => hasNftChain(name, name))])
    assert.ok(answer === false || answer === 'ERR_SYSCALL', String(answer))
  assert.equal(hasLegacyTable(name), false)
})

function ledWorld(): { readonly parts: SocketParts; readonly order: SocketOrder; readonly full: Set<string> } {
  const clock = new VirtualClock()
  const faults = new Faults(clock, new MemoryLog())
  const balancer = createFakeSockets()
  const full = new Set<string>()
  const upsert = (each: Frontend): void => {
    balancer.upsert(each)
    if (full.has(each.id)) throw new HeraldError('ERR_MAP_FULL', 'map socket_backends is full')
  }
  const order = new SocketOrder({ balancer: { ...balancer, upsert }, clock, faults })
  return { parts: partsOf({ balancer, order, faults }), order, full }
}

const webFrontend = (address: string, more: Partial<Frontend> = {}): Frontend => ({
  ...{ id: `${address}:80/TCP`, service: 'shop/web', address, protocol: 'TCP', port: 80 },
  ...{ backends: [{ address: '10.1.1.5', port: 8080 }], resting: [{ address: '10.1.1.6', port: 8080 }] },
  ...more,
})

test('of a Service it is said by which of its addresses clients on this node are led, to whom, and why not', () => {
  const { parts, order, full } = ledWorld()
  const [cluster, other] = [webFrontend('10.96.0.1'), webFrontend('10.96.0.2', { service: 'shop/other' })]
  order.want(new Map([cluster, other].map((each) => [each.id, each])))
  const open = webFrontend('203.0.113.1')
  const service = { frontends: [open, webFrontend('203.0.113.2', { sources: [] })] }
  const backends = [
    { address: '10.1.1.5', port: 8080, state: 'active', chosen: 0 },
    { address: '10.1.1.6', port: 8080, state: 'resting', chosen: 0 },
  ]
  const led = { frontend: cluster.id, isLed: true, chosen: 0, active: 1, backends }
  assert.deepEqual(ledFrontends(parts, 'shop/web', service), [
    led,
    {
      frontend: '203.0.113.1:80/TCP',
      isLed: false,
      why: 'something on the node or another Service has it, or another proxy serves it',
    },
    {
      frontend: '203.0.113.2:80/TCP',
      isLed: false,
      why: 'it has source ranges, and a socket that asks has no source yet: its packets go as without --socket-lb',
    },
  ])
  full.add(cluster.id)
  order.want(new Map([[cluster.id, { ...cluster, affinitySec: 60 }]]))
  assert.deepEqual(ledFrontends(parts, 'shop/web', undefined), [{ ...led, why: 'map socket_backends is full' }])
  assert.deepEqual(ledFrontends(parts, 'shop/nobody', undefined), [])
  assert.equal(ledFrontends({ ...parts, balancer: undefined }, 'shop/web', service), undefined)
})

test('a Service of a cluster IP alone is explained where sockets are led, and unknown where they are not', async () => {
  const { parts, order } = ledWorld()
  const cluster = webFrontend('10.96.0.1')
  order.want(new Map([[cluster.id, cluster]]))
  const nobody = { services: new Map(), service: () => undefined, verdict: () => undefined, isProgrammed: () => false }
  const base = {
    nodeName: 'node-a',
    source: { detail: 'a folder' },
    agent: { order: nobody, speaker: undefined, isDrained: false, podCidrs: [], problems: [] },
    speaker: {
      peers: () => Promise.resolve([]),
      route: () => Promise.resolve([]),
      paths: () => Promise.resolve([]),
    },
  } as unknown as ExplainParts
  const asked = { kind: 'service', name: 'shop/web' } as const
  const view = await explain({ ...base, sockets: parts }, asked)
  assert.deepEqual([view.exists, view.ok, view.sockets?.map(({ frontend }) => frontend)], [true, true, [cluster.id]])
  assert.equal((await explain(base, asked)).exists, false)
  const elsewhere = await explain({ ...base, sockets: parts }, { kind: 'service', name: 'shop/none' })
  assert.deepEqual([elsewhere.exists, elsewhere.sockets], [false, undefined])
})
