/**
 * Invariant 1, checked after every single step (world.ts), through a crash at every step of any history.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ProgrammedFrontend } from '../../src/datapath/datapath.ts'
import { frontendId, type DesiredService } from '../../src/desired/model.ts'
import { Crash, service, want, World } from './world.ts'

test('a Service is programmed and read back before it is announced', () => {
  const world = new World()
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  assert.deepEqual(world.actions, ['upsert 10.0.0.1:80/TCP', 'announce 10.0.0.1/32=1'])
})

test('a slice takes as many Services as are asked for, and fewer where they have many ports', () => {
  const ofMany = (name: string, ports: number): DesiredService => {
    const one = service(name, `10.0.0.${name}`, ['10.1.0.1'])
    const frontends = one.frontends.flatMap((frontend) =>
      Array.from({ length: ports }, (_, n) => {
        const id = frontendId(frontend.address, 'TCP', 1 + n)
        return { ...frontend, id, port: 1 + n }
      }),
    )
    return { ...one, frontends }
  }
  const world = new World()
  world.order.want(want(...['1', '2', '3'].map((name) => ofMany(name, 100))))
  world.order.want(want(...['4', '5', '6', '7'].map((name) => ofMany(name, 1))))
  const left = Array.from({ length: 4 }, () => {
    world.order.run(4)
    return world.order.pending
  })
  assert.deepEqual(left, [6, 5, 4, 0])
})

test('a deleted Service is withdrawn, served while it drains, then removed', () => {
  const world = new World()
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  world.order.want(new Map([['default/web', undefined]]))
  world.run()
  assert.equal(world.actions.at(-1), 'announce 10.0.0.1/32=0')
  assert.equal(world.kernel.readAll().length, 1)
  world.advance(4999)
  assert.equal(world.kernel.readAll().length, 1)
  world.advance(1)
  assert.equal(world.kernel.readAll().length, 0)
})

test('a Service that returns while it drains is announced again and not removed', () => {
  const world = new World()
  const web = service('web', '10.0.0.1', ['10.1.0.1'])
  world.order.want(want(web))
  world.run()
  world.order.want(new Map([['default/web', undefined]]))
  world.run()
  world.order.want(want(web))
  world.run()
  world.advance(60_000)
  assert.equal(world.kernel.readAll().length, 1)
  assert.deepEqual([...world.routers.keys()], ['10.0.0.1/32'])
})

test('the last backend going withdraws before the frontend is emptied', () => {
  const world = new World()
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  world.order.want(want(service('web', '10.0.0.1', [], false)))
  world.run()
  assert.deepEqual(world.actions.slice(2), ['announce 10.0.0.1/32=0', 'upsert 10.0.0.1:80/TCP'])
})

test('an address shared by two Services stays announced until the last one leaves', () => {
  const world = new World()
  const a = service('a', '10.0.0.1', ['10.1.0.1'])
  const other = service('b', '10.0.0.1', ['10.1.0.2'])
  const b = {
    ...other,
    frontends: other.frontends.map((frontend) => ({ ...frontend, port: 443, id: frontendId('10.0.0.1', 'TCP', 443) })),
  }
  world.order.want(want(a, b))
  world.run()
  world.order.want(new Map([['default/a', undefined]]))
  world.run()
  assert.ok(world.routers.has('10.0.0.1/32'))
  world.advance(60_000)
  assert.deepEqual(
    world.kernel.readAll().map((frontend) => frontend.port),
    [443],
  )
})

test('a failed write leaves the Service unannounced, says so and is retried with back-off', () => {
  const world = new World()
  world.failing = true
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  assert.equal(world.order.verdict('default/web').code, 'ProgrammingFailed')
  assert.equal(world.routers.size, 0)
  world.advance(500)
  world.failing = false
  world.advance(999)
  assert.equal(world.routers.size, 0)
  world.advance(1)
  assert.equal(world.order.verdict('default/web').code, 'Programmed')
  assert.deepEqual([...world.routers.keys()], ['10.0.0.1/32'])
})

test('what is read back otherwise than it was written is not announced, says so and is written again', () => {
  const web = service('web', '10.0.0.1', ['10.1.0.1', '10.1.0.2'])
  const limits = { sources: [{ prefix: '192.0.2.0/24', isAllowed: true }], affinitySec: 60 }
  const resting = [{ address: '10.1.0.3', port: 8080 }]
  const asked = { ...web, frontends: web.frontends.map((frontend) => ({ ...frontend, ...limits, resting })) }
  const others: readonly ((held: ProgrammedFrontend) => ProgrammedFrontend)[] = [
    (held) => ({ ...held, backends: held.backends.slice(1) }),
    (held) => ({ ...held, backends: [...held.backends, { address: '10.1.0.9', port: 8080 }] }),
    (held) => ({ ...held, backends: held.backends.map((backend) => ({ ...backend, port: 9090 })) }),
    (held) => ({ ...held, backends: held.backends.map((backend) => ({ ...backend, node: '192.0.2.9' })) }),
    ({ resting: _resting, ...held }) => held,
    ({ sources: _sources, ...held }) => held,
    (held) => ({ ...held, sources: [{ prefix: '192.0.2.0/24', isAllowed: false }] }),
    ({ affinitySec: _affinity, ...held }) => held,
  ]
  for (const readsBack of others) {
    const world = new World()
    world.readsBack = readsBack
    world.order.want(want(asked))
    world.run()
    assert.equal(world.order.verdict('default/web').code, 'ProgrammingFailed', String(readsBack))
    assert.match(world.faults.current.map(({ key, text }) => `${key}: ${text}`).join(), /^program ERR_READ_BACK: /)
    assert.equal(world.routers.size, 0)
    world.readsBack = (held) => held
    world.advance(1_500)
    assert.deepEqual([[...world.routers.keys()], world.faults.current], [['10.0.0.1/32'], []])
  }
})

test('a failed change of backends leaves the announced address as it was', () => {
  const world = new World()
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  world.failing = true
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1', '10.1.0.2'])))
  world.run()
  assert.deepEqual([...world.routers.keys()], ['10.0.0.1/32'])
  assert.equal(world.kernel.read('10.0.0.1:80/TCP')?.backends.length, 1)
})

test('one Service that cannot be programmed does not keep others from being announced', () => {
  const world = new World()
  const bad = {
    ...service('bad', '10.0.0.9', ['10.1.0.9']),
    frontends: service('bad', '10.0.0.9', ['10.1.0.9']).frontends.map((frontend) => ({
      ...frontend,
      address: 'no address',
    })),
  }
  world.order.want(want(bad, service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  assert.deepEqual([...world.routers.keys()], ['10.0.0.1/32'])
})

/** One Service with a port 80 and a port 443 on one address. */
function twoPorts(backends: readonly string[]): DesiredService {
  const one = service('web', '10.0.0.1', backends)
  return {
    ...one,
    frontends: [80, 443].flatMap((port) =>
      one.frontends.map((frontend) => ({ ...frontend, port, id: frontendId('10.0.0.1', 'TCP', port) })),
    ),
  }
}

test('a port that cannot be programmed does not keep the other ports of its Service from following the backends', () => {
  const world = new World()
  world.order.want(want(twoPorts(['10.1.0.1'])))
  world.run()
  world.failingIds.add('10.0.0.1:80/TCP')
  world.order.want(want(twoPorts(['10.1.0.2'])))
  world.run()
  assert.deepEqual(
    world.kernel.read('10.0.0.1:443/TCP')?.backends.map(({ address }) => address),
    ['10.1.0.2'],
  )
  assert.equal(world.order.verdict('default/web').code, 'ProgrammingFailed')
})

test('a port that cannot be programmed does not let the adopted ports of its Service drain as leftovers', () => {
  const world = new World()
  world.order.want(want(twoPorts(['10.1.0.1'])))
  world.run()
  world.order = world.start()
  world.failingIds.add('10.0.0.1:80/TCP')
  world.order.want(want(twoPorts(['10.1.0.1', '10.1.0.2'])))
  world.run()
  world.order.releaseLeftovers()
  world.advance(60_000)
  assert.ok(!world.actions.some((action) => action.startsWith('remove')), world.actions.join(', '))
  assert.equal(world.kernel.readAll().length, 2)
})

test('a Service that changes all the time while it cannot be programmed has one retry under way, not one per change', () => {
  const world = new World()
  world.failing = true
  for (let i = 1; i <= 100; i++) {
    world.order.want(want(service('web', '10.0.0.1', [`10.1.0.${i}`])))
    world.run()
    world.advance(1)
  }
  const before = world.actions.length
  for (let ms = 0; ms < 20_000; ms += 100) world.advance(100)
  // 500, 1000, 2000 and then every 4000 ms.
  assert.ok(world.actions.length - before <= 8, `${world.actions.length - before} writes`)
})

test(
  'a Service whose address changes: the old one is withdrawn first and drains, the new one is served before ' +
    'it is announced',
  () => {
    const world = new World()
    world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
    world.run()
    world.order.want(want(service('web', '10.0.0.2', ['10.1.0.1'])))
    world.run()
    assert.deepEqual(world.actions.slice(2), [
      'announce 10.0.0.1/32=0',
      'upsert 10.0.0.2:80/TCP',
      'announce 10.0.0.2/32=1',
    ])
    world.advance(5000)
    assert.equal(world.actions.at(-1), 'remove 10.0.0.1:80/TCP')
    assert.deepEqual(
      world.kernel.readAll().map((frontend) => frontend.address),
      ['10.0.0.2'],
    )
  },
)

test('leftovers of an earlier process are kept until the first full set is known, then drain', () => {
  const world = new World()
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1']), service('old', '10.0.0.2', ['10.1.0.2'])))
  world.run()
  world.order = world.start()
  world.advance(60_000)
  assert.equal(world.kernel.readAll().length, 2)
  world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
  world.run()
  assert.equal(world.kernel.readAll().length, 2)
  world.routers.delete('10.0.0.2/32') // End-of-RIB: the router drops what was not sent again.
  world.order.releaseLeftovers()
  world.advance(5000)
  assert.deepEqual(
    world.kernel.readAll().map((frontend) => frontend.address),
    ['10.0.0.1'],
  )
})

test('a crash between any two steps of any history converges, and nothing is announced unserved on the way', () => {
  const vips = ['10.0.0.1', '10.0.0.2', '10.0.0.3']
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    backends: fc.integer({ min: 0, max: 3 }),
    isGone: fc.boolean(),
    advanceMs: fc.constantFrom(0, 100, 5000),
  })
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 0, max: 30 }),
      (history, crashAt) => {
        const world = new World()
        world.crashAfter(crashAt)
        const wanted = new Map<string, DesiredService>()
        let isCrashed = false
        for (const { name, backends, isGone, advanceMs } of history) {
          const vip = vips['abc'.indexOf(name)] ?? ''
          const one = service(
            name,
            vip,
            Array.from({ length: backends }, (_, i) => `10.1.0.${i + 1}`),
            backends > 0,
          )
          if (isGone) wanted.delete(one.key)
          else wanted.set(one.key, one)
          if (isCrashed) continue
          try {
            world.order.want(new Map([[one.key, isGone ? undefined : one]]))
            world.run()
            world.advance(advanceMs)
          } catch (error) {
            if (!(error instanceof Crash)) throw error
            isCrashed = true
          }
        }
        // The restarted process knows only the kernel, and then the wanted state of now.
        world.crashAfter(Infinity)
        world.order = world.start()
        world.order.want(wanted)
        world.run()
        for (const prefix of world.routers.keys()) {
          if (![...wanted.values()].some((one) => one.routes.some((route) => route.prefix === prefix)))
            world.routers.delete(prefix)
        }
        world.order.releaseLeftovers()
        world.advance(5000)
        assert.deepEqual(
          [...world.routers.keys()].sort(),
          [...wanted.values()].flatMap((one) => one.routes.map((route) => route.prefix)).sort(),
        )
        assert.deepEqual(
          world.kernel
            .readAll()
            .map((frontend) => [frontend.id, frontend.backends])
            .sort(),
          [...wanted.values()]
            .flatMap((one) => one.frontends.map((frontend) => [frontend.id, frontend.backends]))
            .sort(),
        )
      },
    ),
    { numRuns: 400 },
  )
})
