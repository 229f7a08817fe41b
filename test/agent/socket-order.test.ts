import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { leaveServer, SocketOrder } from '../../src/agent/socket-order.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { SocketBalancer } from '../../src/datapath/datapath.ts'
import { createFakeSockets } from '../../src/datapath/socket-served.ts'
import { type Frontend, frontendId } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'

function frontend(port: number): Frontend {
  const address = '10.96.0.1'
  const backends = [{ address: '10.1.1.5', port: 8080 }]
  return { id: frontendId(address, 'TCP', port), service: 'a/b', address, protocol: 'TCP', port, backends }
}

const deltaOf = (...all: readonly Frontend[]): ReadonlyMap<string, Frontend> =>
  new Map(all.map((each) => [each.id, each]))

interface World {
  readonly order: SocketOrder
  readonly clock: VirtualClock
  readonly faults: Faults
  readonly balancer: SocketBalancer
  /** Ids that the balancer refuses. */
  readonly refused: Set<string>
}

function world(balancer = createFakeSockets()): World {
  const clock = new VirtualClock()
  const faults = new Faults(clock, new MemoryLog())
  const refused = new Set<string>()
  const check = (id: string): void => {
    if (refused.has(id)) throw new HeraldError('ERR_MAP_FULL', 'map socket_backends takes no more')
  }
  const order = new SocketOrder({
    balancer: {
      ids: () => balancer.ids(),
      upsert: (each) => {
        check(each.id)
        balancer.upsert(each)
      },
      remove: (id) => {
        check(id)
        balancer.remove(id)
      },
    },
    clock,
    faults,
  })
  return { order, clock, faults, balancer, refused }
}

test('one frontend that changes is in force at once, and so is one that goes', () => {
  const { order, balancer } = world()
  order.want(deltaOf(frontend(80), frontend(81)))
  assert.deepEqual(balancer.ids(), ['10.96.0.1:80/TCP', '10.96.0.1:81/TCP'])
  assert.deepEqual([order.size, order.isDone], [2, true])
  order.want(new Map([['10.96.0.1:80/TCP', undefined]]))
  assert.deepEqual(balancer.ids(), ['10.96.0.1:81/TCP'])
  assert.equal(order.size, 1)
})

test('thousands of frontends are written in turns of the loop, each with a bounded number', () => {
  const { order, balancer, clock } = world()
  order.want(deltaOf(...Array.from({ length: 200 }, (_, i) => frontend(1000 + i))))
  assert.equal(balancer.ids().length, 64)
  assert.equal(order.isDone, false)
  clock.advance(0)
  assert.equal(balancer.ids().length, 200)
  assert.ok(order.isDone)
})

test('what an earlier agent left stays until everything was read, and what is wanted of it stays for good', () => {
  const left = createFakeSockets()
  for (const port of [80, 81]) left.upsert(frontend(port))
  const { order, balancer } = world(left)
  order.want(deltaOf(frontend(81), frontend(82)))
  assert.equal(balancer.ids().length, 3)
  order.settled()
  assert.deepEqual([...balancer.ids()].sort(), ['10.96.0.1:81/TCP', '10.96.0.1:82/TCP'])
})

test('one that fails is a fault, harms no other, and is tried again until it is done', () => {
  const { order, balancer, clock, faults, refused } = world()
  refused.add('10.96.0.1:80/TCP')
  order.want(deltaOf(frontend(80), frontend(81)))
  assert.deepEqual(balancer.ids(), ['10.96.0.1:81/TCP'])
  assert.equal(order.isDone, false)
  assert.match(
    faults.current.map(({ text }) => text).join(),
    /^10\.96\.0\.1:80\/TCP: sockets are not led to it .*no more$/,
  )
  refused.clear()
  clock.advance(1_000)
  assert.deepEqual(balancer.ids().length, 2)
  assert.deepEqual([order.isDone, faults.current], [true, []])
})

test('one that failed and is gone meanwhile is no fault any more', () => {
  const { order, clock, faults, refused } = world()
  refused.add('10.96.0.1:80/TCP')
  order.want(deltaOf(frontend(80)))
  refused.clear()
  order.want(new Map([['10.96.0.1:80/TCP', undefined]]))
  assert.deepEqual([order.isDone, faults.current], [true, []])
  clock.advance(5_000)
  assert.deepEqual(faults.current, [])
})

test('the address of the API server is left to kube-proxy at a start, where there is one, and told anew', () => {
  const server = { host: '10.96.0.1', port: '443' }
  for (const [mode, left] of [
    ['nftables', 1],
    ['iptables', 1],
    ['ipvs', 1],
    ['absent', 2],
    ['unknown', 2],
  ] as const) {
    const { order, balancer } = world()
    order.want(deltaOf(frontend(443), frontend(80)))
    leaveServer(balancer, server, mode)
    assert.equal(balancer.ids().length, left, mode)
    order.want(deltaOf(frontend(443)))
    assert.equal(balancer.ids().length, 2, mode)
  }
  const { order, balancer } = world()
  order.want(deltaOf(frontend(443)))
  for (const host of [undefined, '', 'kubernetes.default.svc']) leaveServer(balancer, { host, port: '443' }, 'nftables')
  assert.equal(balancer.ids().length, 1)
})

test('after the stop nothing is written any more', () => {
  const { order, balancer, clock } = world()
  order.want(deltaOf(...Array.from({ length: 100 }, (_, i) => frontend(1000 + i))))
  order.stop()
  clock.advance(10_000)
  assert.equal(balancer.ids().length, 64)
})
