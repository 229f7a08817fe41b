/** The operator over an API server in memory: what it gives, to whom, and what it leaves alone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RawObject } from '../../src/k8s/source.ts'
import { lanes, maxInFlight } from '../../src/operator/write-queue.ts'
import { pool, poolKey, serviceKey, World } from './world.ts'

test('a Service gets the lowest free address, with ipMode VIP, by one write', async () => {
  const world = new World()
  world.put('web')
  await world.lead()
  await world.settle()
  assert.deepEqual(world.ingress('web'), [{ ip: '203.0.113.0', ipMode: 'VIP' }])
  assert.equal(world.condition('web'), 'True Allocated: 203.0.113.0 of pool blue')
  const writes = world.cluster.written.filter(({ target }) => target.kind === 'Service')
  assert.equal(writes.length, 1)
  await world.pass(60_000)
  assert.equal(world.cluster.written.filter(({ target }) => target.kind === 'Service').length, 1)
})

test('what statuses say is imported before anything is given, whoever wrote it, and taken over without a word', async () => {
  const world = new World()
  world.put('old')
  world.put('young', { created: 5 })
  world.cluster.writeStatus(serviceKey('young'), { loadBalancer: { ingress: [{ ip: '203.0.113.0' }] } }, 'controller')
  await world.lead()
  await world.settle()
  assert.deepEqual(world.ingress('young'), [{ ip: '203.0.113.0' }], 'ipMode and owner stay as they were')
  assert.deepEqual(world.addresses('old'), ['203.0.113.1'])
  assert.match(world.condition('young'), /^True Allocated/)
})

test('an address in use stays over a change of the pool and a new leader, and goes with the pool', async () => {
  const world = new World()
  for (const name of ['a', 'b', 'c']) world.put(name, { created: name.charCodeAt(0) })
  const first = await world.lead()
  await world.settle()
  const before = ['a', 'b', 'c'].map((name) => world.addresses(name).join())
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/28'], { disabled: true }))
  world.cluster.remove(serviceKey('a'))
  await world.settle()
  first.isLeader = false
  await world.lead()
  world.put('d')
  await world.settle()
  assert.deepEqual(
    ['b', 'c'].map((name) => world.addresses(name).join()),
    before.slice(1),
  )
  assert.match(world.condition('d'), /^False NoPool: .*pool blue is disabled/)
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.64/28']))
  await world.settle()
  assert.deepEqual(world.addresses('b'), ['203.0.113.64'])
})

test('of two Services with one address the oldest keeps it, and the younger is told', async () => {
  const world = new World()
  for (const [name, created] of [
    ['young', 9],
    ['old', 1],
  ] as const) {
    world.put(name, { created })
    const ingress = [{ ip: '203.0.113.5' }]
    world.cluster.writeStatus(serviceKey(name), { loadBalancer: { ingress } }, 'controller')
  }
  await world.lead()
  await world.settle()
  assert.match(world.condition('old'), /^True Allocated/)
  assert.match(world.condition('young'), /^False AlreadyAllocated: 203\.0\.113\.5 belongs to default\/old/)
  assert.deepEqual(world.addresses('young'), ['203.0.113.5'], 'what another wrote stays')
  assert.deepEqual(
    world.cluster.events.map(({ reason, regarding }) => `${regarding.name} ${reason}`),
    ['young AlreadyAllocated'],
  )
})

test('addresses that somebody else wrote and that are not ours to change are told, and never forced', async () => {
  const world = new World()
  world.put('web')
  const ingress = [{ ip: '198.51.100.9' }]
  world.cluster.writeStatus(serviceKey('web'), { loadBalancer: { ingress } }, 'kubectl-patch')
  const { operator, log } = await world.lead()
  await world.settle()
  assert.deepEqual(world.addresses('web'), ['198.51.100.9'])
  assert.match(world.condition('web'), /^False StatusOwned: 203\.0\.113\.0 is held .*kubectl-patch/)
  assert.equal(operator.figures.services.owned, 1)
  assert.equal(world.cluster.events.length, 1)
  assert.equal(log.lines.filter((line) => line.startsWith('warn')).length, 1)
  await world.pass(600_000)
  assert.deepEqual(world.addresses('web'), ['198.51.100.9'])
  assert.equal(world.cluster.events.length, 1)
  // Cleared: then it is ours.
  world.cluster.writeStatus(serviceKey('web'), { loadBalancer: {} }, 'kubectl-patch')
  await world.settle()
  assert.deepEqual(world.addresses('web'), ['203.0.113.0'])
  assert.match(world.condition('web'), /^True Allocated/)
  assert.equal(operator.figures.services.owned, 0)
})

test('another free address of a pool that somebody writes is taken over; one of another Service is not', async () => {
  const world = new World()
  world.put('a', { created: 1 })
  world.put('b', { created: 2 })
  await world.lead()
  await world.settle()
  world.cluster.writeStatus(serviceKey('b'), { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } }, 'kubectl-patch')
  await world.settle()
  assert.deepEqual(world.addresses('b'), ['203.0.113.7'])
  assert.match(world.condition('b'), /^True Allocated: 203\.0\.113\.7/)
  world.put('c', { created: 3 })
  await world.settle()
  assert.deepEqual(world.addresses('c'), ['203.0.113.1'], 'what b had is free')
  world.cluster.writeStatus(serviceKey('b'), { loadBalancer: { ingress: [{ ip: '203.0.113.0' }] } }, 'kubectl-patch')
  await world.settle()
  assert.match(world.condition('b'), /^False StatusOwned: 203\.0\.113\.7 is held/)
  assert.match(world.condition('a'), /^True Allocated: 203\.0\.113\.0/)
})

test('a Service that is no LoadBalancer, or of a foreign class, is not written to; one that was ours is cleared', async () => {
  const world = new World()
  world.put('plain', { spec: { type: 'ClusterIP' } })
  world.put('foreign', { spec: { loadBalancerClass: 'example.com/other' } })
  world.put('web')
  await world.lead()
  await world.settle()
  assert.deepEqual(
    world.cluster.written.map(({ target }) => target.name),
    ['web'],
  )
  world.put('web', { spec: { type: 'ClusterIP' } })
  await world.settle()
  assert.deepEqual([world.addresses('web'), world.condition('web')], [[], ''])
  world.put('next')
  await world.settle()
  assert.equal(world.addresses('next').length, 1)
})

test('a Service that is being deleted gets nothing, and keeps what it has until it is gone', async () => {
  const world = new World()
  const leaving = { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['example.com/hold'] } }
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/32']))
  world.put('web')
  const { operator } = await world.lead()
  await world.settle()
  world.put('web', leaving)
  world.put('late', { created: 2, ...leaving })
  world.put('next', { created: 3 })
  await world.settle()
  assert.deepEqual(world.addresses('web'), ['203.0.113.0'])
  assert.match(world.condition('next'), /^False OutOfAddresses/)
  assert.deepEqual([world.addresses('late'), world.condition('late')], [[], ''])
  world.cluster.remove(serviceKey('web'))
  await world.settle()
  assert.deepEqual(world.addresses('next'), ['203.0.113.0'])
  assert.deepEqual({ ...operator.figures.services }, { allocated: 1, waiting: 0, owned: 0 })
})

test('a Service that was deleted and made anew between two looks is another one, and is written with its own uid', async () => {
  const world = new World()
  world.put('web')
  const { follower } = await world.lead()
  await world.settle()
  world.cluster.remove(serviceKey('web'))
  world.put('web', { created: 50 })
  assert.deepEqual(world.addresses('web'), [])
  follower.deliver()
  await world.settle()
  assert.equal(world.addresses('web').length, 1)
  const uids = world.cluster.written.filter(({ target }) => target.kind === 'Service').map(({ target }) => target.uid)
  assert.equal(new Set(uids).size, 2)
})

test('a Service that the server took and nobody understands says so itself', async () => {
  const world = new World()
  world.put('odd', { spec: { ports: [{ port: 'http' }] } })
  world.put('other', { spec: { loadBalancerClass: 'example.com/other', ports: [{ port: 'http' }] } })
  await world.lead()
  await world.settle()
  assert.match(world.condition('odd'), /^False InvalidField: spec\.ports\[0\]\.port/)
  assert.equal(world.condition('other'), '')
})

test('all that is wrong with a Service is in its condition, ten errors and how many more there are', async () => {
  const world = new World()
  const ports = (count: number): readonly object[] => Array.from({ length: count }, () => ({ port: 'http' }))
  world.put('odd', { spec: { ports: ports(3), externalTrafficPolicy: 'Locl' } })
  world.put('odder', { spec: { ports: ports(40) } })
  await world.lead()
  await world.settle()
  const odd = world.condition('odd')
  for (const field of ['spec.externalTrafficPolicy: ', 'spec.ports[0].port: ', 'spec.ports[2].port: '])
    assert.ok(odd.includes(field), odd)
  const odder = world.condition('odder')
  assert.match(
    odder,
    /spec\.ports\[9\]\.port: .* 30 more errors of this object are not told\. Correct those that are told\.$/,
  )
})

test('nobody who does not lead writes, whatever waits', async () => {
  const world = new World()
  const running = await world.lead()
  running.isLeader = false
  world.put('web')
  await world.pass(10_000)
  assert.deepEqual(world.cluster.written, [])
})

test('a write that fails is tried again, said once, and keeps nobody else waiting', async () => {
  const world = new World()
  let fails = true
  world.cluster.fault = ({ target }) =>
    fails && target.name === 'bad' ? { kind: 'refused', message: 'services/status is forbidden' } : undefined
  world.put('bad')
  world.put('good', { created: 2 })
  const { operator, log } = await world.lead()
  await world.pass(20_000)
  assert.equal(world.addresses('good').length, 1)
  assert.equal(log.lines.filter((line) => /forbidden/.test(line)).length, 1)
  const tries = operator.figures.outcomes.service.refused
  assert.ok(tries > 3 && tries < 12, `${tries} tries`)
  fails = false
  await world.pass(40_000)
  assert.equal(world.addresses('bad').length, 1)
})

test('a server that limits us hears of no Service twice until it said it may, and then of everything', async () => {
  const world = new World()
  let limits = true
  let asked = 0
  world.cluster.fault = () => {
    asked++
    return limits ? { kind: 'limited', afterMs: 5_000 } : undefined
  }
  for (let i = 0; i < 10; i++) world.put(`s${i}`, { created: i })
  await world.lead()
  await world.settle()
  const first = asked
  assert.ok(first <= maxInFlight)
  await world.pass(4_000)
  assert.ok(asked - first < lanes.length, 'one of each other lane finds out')
  limits = false
  await world.pass(2_000)
  assert.equal(new Set([...Array(10).keys()].map((i) => world.addresses(`s${i}`).join())).size, 10)
})

test('pools say how many of their addresses are held, and which of two in conflict gives none', async () => {
  const world = new World()
  world.cluster.put(poolKey('twin'), pool('twin', ['203.0.113.8/29']))
  world.put('a')
  const { operator } = await world.lead()
  await world.pass(2_000)
  const conditions = (name: string): string => {
    const { status } = world.cluster.objectOf(poolKey(name)) ?? {}
    const { conditions: list = [] } = status as { conditions?: { type: string; status: string; message: string }[] }
    return list.map(({ type, status: is, message }) => `${type.split('/')[1]}=${is} ${message}`).join('; ')
  }
  assert.equal(
    conditions('blue'),
    'PoolConflict=False ; IPsTotal=Unknown 16; IPsAvailable=Unknown 15; IPsUsed=Unknown 1; ' +
      'Accepted=True It is understood as a whole.',
  )
  assert.match(conditions('twin'), /^PoolConflict=True the pool overlaps blue/)
  assert.equal(operator.figures.pools.length, 2)
  const writes = world.cluster.written.length
  await world.pass(60_000)
  assert.equal(world.cluster.written.length, writes, 'what is said already is not written again')
  assert.ok(
    world.cluster.events.some(({ reason, regarding }) => reason === 'PoolConflict' && regarding.name === 'twin'),
  )
})

test('a pool of another family of kinds counts in fields of its own, and what else is there stays', async () => {
  const world = new World()
  const key = { apiVersion: 'metallb.io/v1beta1', kind: 'IPAddressPool', namespace: 'metallb-system', name: 'green' }
  const spec = { addresses: ['192.0.2.0/29', '2001:db8::/64'], avoidBuggyIPs: true }
  world.cluster.put(key, { ...key, metadata: { name: 'green', namespace: 'metallb-system' }, spec })
  world.cluster.remove(poolKey('blue'))
  world.put('web')
  await world.lead()
  await world.pass(2_000)
  assert.deepEqual(world.addresses('web'), ['192.0.2.1'])
  const statusOf = (): unknown => {
    const { conditions: _, ...counted } = Object(world.cluster.objectOf(key)?.['status'])
    return counted
  }
  const counts = { assignedIPv4: 1, availableIPv4: 6, assignedIPv6: 0, availableIPv6: Number.MAX_SAFE_INTEGER }
  assert.deepEqual(statusOf(), { loadBalancer: {}, ...counts })
  world.cluster.remove(serviceKey('web'))
  await world.settle()
  await world.pass(2_000)
  assert.deepEqual(statusOf(), { loadBalancer: {}, ...counts, assignedIPv4: 0, availableIPv4: 7 })
})

test('both families, requests and sharing are as in a folder', async () => {
  const world = new World()
  world.cluster.put(poolKey('six'), pool('six', ['2001:db8::/124']))
  world.put('dual', { spec: { ipFamilies: ['IPv6', 'IPv4'], ipFamilyPolicy: 'RequireDualStack' } })
  world.put('named', { created: 1, annotations: { 'lbipam.cilium.io/ips': '203.0.113.9' } })
  const sharing = { 'lbipam.cilium.io/sharing-key': 'k' }
  world.put('s1', { created: 2, annotations: sharing })
  world.put('s2', { created: 3, annotations: sharing, spec: { ports: [{ port: 81 }] } })
  await world.lead()
  await world.settle()
  assert.deepEqual(world.addresses('dual'), ['2001:db8::', '203.0.113.0'])
  assert.deepEqual(world.addresses('named'), ['203.0.113.9'])
  assert.deepEqual(world.addresses('s1'), world.addresses('s2'))
})

test('a condition of our type that somebody else wrote does not keep a Service from its address', async () => {
  const world = new World()
  world.put('web')
  const condition = { type: 'herald.dev/AddressAllocated', status: 'Maybe', reason: 5, message: ['x'] }
  world.cluster.writeStatus(serviceKey('web'), { loadBalancer: {}, conditions: [condition] }, 'kubectl-edit')
  const { operator } = await world.lead()
  await world.pass(20_000)
  assert.deepEqual(world.addresses('web'), ['203.0.113.0'])
  assert.deepEqual(
    world.cluster.events.map(({ reason, note }) => `${reason}: ${note}`),
    ['StatusOwned: the condition cannot be written: conflict with kubectl-edit'],
  )
  assert.ok(operator.figures.outcomes.service.owned <= 2, 'it is not tried over and over')
})

test('a status of garbage neither ends the operator nor moves anybody else', async () => {
  const world = new World()
  for (const name of ['a', 'b', 'c']) world.put(name, { created: name.charCodeAt(0) })
  await world.lead()
  await world.settle()
  const others = [world.addresses('a'), world.addresses('c')]
  const garbage: readonly unknown[] = [
    { loadBalancer: { ingress: [{ ip: 'x' }, { hostname: 'y' }, {}, null, 7] } },
    { loadBalancer: { ingress: 'none' } },
    { loadBalancer: { ingress: Array.from({ length: 500 }, () => ({ ip: '203.0.113.0' })) } },
    { loadBalancer: 5 },
    { conditions: [null, 5, 'x', { type: 'herald.dev/AddressAllocated' }] },
    'nothing',
    [],
    null,
  ]
  for (const status of garbage) {
    world.cluster.writeStatus(serviceKey('b'), status as RawObject, 'kubectl-edit')
    await world.pass(3_000)
    assert.deepEqual([world.addresses('a'), world.addresses('c')], others, JSON.stringify(status).slice(0, 80))
  }
  world.cluster.writeStatus(serviceKey('b'), {}, 'kubectl-edit')
  await world.pass(3_000)
  assert.deepEqual(world.addresses('b'), ['203.0.113.1'], 'it is given what was meant for it')
})

test('somebody who changes an object all the time gets few events of it', async () => {
  const world = new World()
  await world.lead()
  for (let i = 0; i < 100; i++) {
    world.put('web', { annotations: { 'lbipam.cilium.io/ips': `junk-${i}` } })
    await world.settle()
  }
  assert.ok(world.cluster.events.length <= 10, `${world.cluster.events.length} events`)
  assert.ok(world.cluster.written.length <= 16, `${world.cluster.written.length} writes`)
  await world.pass(11_000)
  assert.match(world.condition('web'), /junk-99/)
})

test('a status that is taken back whenever it is written is not written all the time', async () => {
  const world = new World()
  world.put('web')
  await world.lead()
  for (let i = 0; i < 200; i++) {
    world.cluster.writeStatus(serviceKey('web'), { loadBalancer: {} }, 'another')
    await world.settle()
  }
  assert.ok(world.cluster.written.length <= 10, `${world.cluster.written.length} writes`)
  world.put('calm', { created: 1 })
  await world.settle()
  assert.equal(world.addresses('calm').length, 1, 'nobody else waits for that')
  await world.pass(11_000)
  assert.equal(world.addresses('web').length, 1)
})

test('the neighbors of every policy, and nodes, are given to nobody', async () => {
  const world = new World()
  const policy = (name: string, peerAddress: string): void =>
    world.cluster.put(
      { apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', namespace: '', name },
      {
        apiVersion: 'cilium.io/v2alpha1',
        kind: 'CiliumBGPPeeringPolicy',
        metadata: { name },
        spec: {
          nodeSelector: { matchLabels: { rack: name } },
          virtualRouters: [{ localASN: 65001, neighbors: [{ peerAddress: `${peerAddress}/32`, peerASN: 65000 }] }],
        },
      },
    )
  policy('r1', '203.0.113.0')
  policy('r2', '203.0.113.1')
  world.cluster.put(
    { apiVersion: 'v1', kind: 'Node', namespace: '', name: 'n1' },
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'n1' },
      spec: {},
      status: { addresses: [{ type: 'InternalIP', address: '203.0.113.2' }] },
    },
  )
  world.put('web')
  await world.lead()
  await world.settle()
  assert.deepEqual(world.addresses('web'), ['203.0.113.3'])
})

test('what is said of a request that another one has does not depend on who leads, nor on who was read first', async () => {
  const world = new World()
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/30']))
  const ask = (last: number): void =>
    world.put('e', { annotations: { 'lbipam.cilium.io/ips': `203.0.113.${last}` }, created: 0 })
  ask(1)
  await world.lead()
  await world.settle()
  world.put('a', { created: 1 })
  await world.settle()
  ask(0)
  await world.pass(10_000)
  assert.match(world.condition('e'), /^True RequestRefused: .* 203\.0\.113\.0 belongs to default\/a$/)
  const before = world.cluster.written.length
  for (const each of world.running) each.isLeader = false
  await world.lead()
  await world.pass(70_000)
  assert.equal(world.cluster.written.length, before)
})

test('who waits for the address of one that goes is told who of those that wait has it now', async () => {
  const world = new World()
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/30']))
  await world.lead()
  for (const [created, name] of ['a', 'c', 'b'].entries()) {
    world.put(name, { created, annotations: { 'lbipam.cilium.io/ips': '203.0.113.3' } })
    await world.settle()
  }
  assert.match(world.condition('b'), /^False AlreadyAllocated: 203\.0\.113\.3 belongs to default\/a\./)
  world.cluster.remove(serviceKey('a'))
  await world.pass(10_000)
  assert.deepEqual(world.addresses('c'), ['203.0.113.3'])
  assert.match(world.condition('b'), /^False AlreadyAllocated: 203\.0\.113\.3 belongs to default\/c\./)
  const before = world.cluster.written.length
  for (const each of world.running) each.isLeader = false
  await world.lead()
  await world.pass(70_000)
  assert.equal(world.cluster.written.length, before)
})
