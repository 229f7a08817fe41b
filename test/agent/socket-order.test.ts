import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { leftServer, SocketOrder } from '../../src/agent/socket-order.ts'
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
  /** How often the programs were put in their place. */
  readonly attached: () => number
  /** How often each was written, or refused. */
  readonly tries: (id: string) => number
  /** How many frontends were held when the programs of another schema went. */
  readonly takenOver: readonly number[]
}

function world(
  balancer = createFakeSockets(),
  left: () => string | undefined = () => undefined,
  lost: () => void = () => {},
): World {
  const clock = new VirtualClock()
  const faults = new Faults(clock, new MemoryLog())
  const refused = new Set<string>()
  const check = (id: string): void => {
    if (refused.has(id)) throw new HeraldError('ERR_MAP_FULL', 'map socket_backends takes no more')
  }
  let attached = 0
  const tries = new Map<string, number>()
  const takenOver: number[] = []
  const order = new SocketOrder({
    balancer: {
      attach: () => {
        attached++
        check('programs')
      },
      ids: () => balancer.ids(),
      takeOver: () => {
        check('former')
        takenOver.push(balancer.ids().length)
      },
      upsert: (each) => {
        tries.set(each.id, (tries.get(each.id) ?? 0) + 1)
        check(each.id)
        balancer.upsert(each)
      },
      remove: (id) => {
        check(id)
        balancer.remove(id)
      },
      setNodes: (addresses) => {
        check('nodes')
        balancer.setNodes(addresses)
      },
    },
    clock,
    faults,
    left,
    lost,
  })
  const base = { order, clock, faults, balancer, refused, attached: () => attached }
  return { ...base, tries: (id) => tries.get(id) ?? 0, takenOver }
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

test('what finds no room is tried less and less often, and at once again when another one makes room', () => {
  const { order, balancer, clock, faults, refused, tries } = world()
  const [full, other] = [frontend(80), frontend(81)]
  refused.add(full.id)
  order.want(deltaOf(full, other))
  const waits = [1, 2, 4, 8, 16, 32, 64, 64]
  for (const [i, seconds] of waits.entries()) {
    clock.advance(seconds * 1_000 - 1)
    const before = tries(full.id)
    clock.advance(1)
    assert.equal(tries(full.id), before + 1, `the ${i + 1}. time after ${seconds} s`)
  }
  assert.match(faults.current.map(({ text }) => text).join(), /^10\.96\.0\.1:80\/TCP: /)
  order.want(new Map([[other.id, undefined]]))
  refused.clear()
  clock.advance(1_000)
  assert.deepEqual([balancer.ids(), order.isDone, faults.current], [[full.id], true, []])
})

test('programs of another version serve until all that is wanted was written, and no longer for what has no room', () => {
  const { order, clock, refused, takenOver } = world()
  const many = Array.from({ length: 200 }, (_, i) => frontend(1000 + i))
  refused.add('10.96.0.1:1199/TCP')
  order.want(deltaOf(...many))
  order.settled()
  assert.deepEqual(takenOver, [])
  clock.advance(0)
  assert.deepEqual(takenOver, [199])
  clock.advance(120_000)
  assert.deepEqual(takenOver, [199])
})

test('programs of another version that do not go are a fault, and are tried again', () => {
  const { order, clock, faults, refused, takenOver } = world()
  refused.add('former')
  order.settled()
  assert.match(faults.current.map(({ text }) => text).join(), /^programs of another version: they still serve beside/)
  refused.clear()
  clock.advance(60_000)
  assert.deepEqual([takenOver.length, faults.current], [1, []])
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

test('the address of the API server is left to kube-proxy, where there is one, while the server does not answer', () => {
  const server = { host: '10.96.0.1', port: '443' }
  for (const [mode, known] of [
    ['nftables', 1],
    ['iptables', 1],
    ['ipvs', 1],
    ['absent', 2],
    ['unknown', 2],
  ] as const) {
    let doesAnswer = false
    const earlier = createFakeSockets()
    for (const port of [443, 80]) earlier.upsert(frontend(port))
    const left = leftServer(
      server,
      () => doesAnswer,
      () => mode,
    )
    const { order, balancer, clock } = world(earlier, left)
    assert.equal(balancer.ids().length, known, `${mode}: what an earlier agent knew of it`)
    doesAnswer = true
    order.want(deltaOf(frontend(443), frontend(80)))
    order.settled()
    assert.equal(balancer.ids().length, 2, mode)
    doesAnswer = false
    clock.advance(60_000)
    assert.equal(balancer.ids().length, known, `${mode}: the server is away`)
    clock.advance(60_000)
    assert.equal(balancer.ids().length, known, `${mode}: and stays away`)
    doesAnswer = true
    clock.advance(60_000)
    assert.deepEqual([balancer.ids().length, order.isDone], [2, true], mode)
  }
})

test('no address is left where the server has a name or none', () => {
  for (const host of [undefined, '', 'kubernetes.default.svc']) {
    const left = leftServer(
      { host, port: '443' },
      () => false,
      () => 'nftables',
    )
    assert.equal(left(), undefined)
  }
})

test('every minute programs and maps are looked at, and what somebody else took away is there again', () => {
  const { order, balancer, clock, attached, faults, refused } = world()
  order.want(deltaOf(...Array.from({ length: 200 }, (_, i) => frontend(1000 + i))))
  clock.advance(0)
  const gone = ['10.96.0.1:1000/TCP', '10.96.0.1:1199/TCP']
  for (const id of gone) balancer.remove(id)
  clock.advance(59_000)
  assert.deepEqual([balancer.ids().length, attached()], [198, 0])
  refused.add('programs')
  clock.advance(1_000)
  assert.deepEqual([balancer.ids().length, attached(), order.isDone], [200, 1, true])
  assert.match(faults.current.map(({ text }) => text).join(), /^programs: not all are in their place: map/)
  refused.clear()
  clock.advance(60_000)
  assert.deepEqual([attached(), faults.current], [2, []])
})

test('frontends with many backends are fewer in a turn', () => {
  const { order, balancer, clock } = world()
  const backends = Array.from({ length: 100 }, (_, i) => ({ address: `10.1.1.${i + 1}`, port: 8080 }))
  order.want(deltaOf(...Array.from({ length: 20 }, (_, i) => ({ ...frontend(1000 + i), backends }))))
  assert.equal(balancer.ids().length, 2)
  clock.advance(0)
  assert.equal(balancer.ids().length, 20)
})

test('after the stop nothing is written any more', () => {
  const { order, balancer, clock } = world()
  order.want(deltaOf(...Array.from({ length: 100 }, (_, i) => frontend(1000 + i))))
  order.stop()
  clock.advance(10_000)
  assert.equal(balancer.ids().length, 64)
})

test('addresses of other nodes are written at once, again where the kernel refused them, and left ones go at the end', () => {
  const { order, clock, faults, balancer, refused } = world()
  const held = (): number => balancer.usage().find(({ name }) => name === 'socket_nodes')?.entries ?? 0
  balancer.setNodes(['192.0.2.9'])
  order.wantNodes(['192.0.2.1', '2001:db8::1'])
  assert.deepEqual([held(), order.isDone], [2, true])
  refused.add('nodes')
  order.wantNodes(['192.0.2.1'])
  assert.deepEqual([held(), order.isDone], [2, false])
  assert.match(faults.current[0]?.text ?? '', /addresses of other nodes: node ports are not led at all of them/)
  refused.clear()
  clock.advance(1_000)
  assert.deepEqual([held(), order.isDone, faults.current], [1, true, []])
  // The next one wants none: those of before stay until everything was read.
  const later = world(balancer)
  assert.equal(held(), 1)
  later.order.settled()
  assert.equal(held(), 0)
})

test('who may have lost a backend is said: once when all was read, and later when one is wanted no more', () => {
  let times = 0
  const { order } = world(createFakeSockets(), undefined, () => times++)
  const [first = '', second = '', third = ''] = ['10.1.1.5', '10.1.1.6', '10.1.1.7']
  const of = (backends: readonly string[], resting: readonly string[] = []): ReadonlyMap<string, Frontend> =>
    deltaOf({
      ...frontend(80),
      backends: backends.map((address) => ({ address, port: 8080 })),
      resting: resting.map((address) => ({ address, port: 8080 })),
    })
  order.want(of([first, second]))
  order.want(of([second]))
  assert.equal(times, 0, 'what an earlier agent knew is not read yet')
  order.settled()
  assert.equal(times, 1)
  for (const [delta, expected] of [
    [of([first, second]), 1],
    [of([first], [second]), 1],
    [of([first, third], [second]), 1],
    [of([first, third]), 2],
    [new Map([['10.96.0.1:80/TCP', undefined]]), 3],
  ] as const) {
    order.want(delta)
    assert.equal(times, expected)
  }
})

test('a socket is led as it is wanted while its frontend has the backend, at an address of another node, too', () => {
  const { order } = world()
  const anyNode = { ...frontend(30_080), id: frontendId('0.0.0.0', 'TCP', 30_080), address: '0.0.0.0' }
  order.want(deltaOf({ ...frontend(80), resting: [{ address: '10.1.1.6', port: 8080 }] }, anyNode))
  const led = (frontend: string, port: number, backend: string, protocol: 'TCP' | 'UDP' = 'TCP'): boolean =>
    order.wants({ protocol, frontend: { address: frontend, port }, backend: { address: backend, port: 8080 } })
  assert.ok(led('10.96.0.1', 80, '10.1.1.5'))
  assert.ok(led('10.96.0.1', 80, '10.1.1.6'), 'a backend that rests')
  assert.ok(led('192.0.2.9', 30_080, '10.1.1.5'))
  assert.ok(!led('10.96.0.1', 80, '10.1.1.7'))
  assert.ok(!led('10.96.0.1', 80, '10.1.1.5', 'UDP'))
  assert.ok(!led('10.96.0.1', 81, '10.1.1.5'))
  assert.ok(!led('2001:db8::9', 30_080, '10.1.1.5'))
})
