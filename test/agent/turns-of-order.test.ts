/** A plan that takes more than a turn of the loop: laid down between ports, cut by what is wanted meanwhile. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { frontendId, type DesiredService } from '../../src/desired/model.ts'
import { service, want, World } from './world.ts'

function ofPorts(name: string, vip: string, ports: number, pods: readonly string[] = ['10.1.0.1']): DesiredService {
  const one = service(name, vip, pods)
  const frontends = one.frontends.flatMap((frontend) =>
    Array.from({ length: ports }, (_, n) => ({ ...frontend, id: frontendId(vip, 'TCP', 1 + n), port: 1 + n })),
  )
  return { ...one, frontends }
}

const large = ofPorts('large', '10.0.0.1', 200)
const portsHeld = (world: World, address = '10.0.0.1'): number =>
  world.kernel.readAll().filter((frontend) => frontend.address === address).length

/** In which a write takes so long that a row of them is a turn. */
function slow(): World {
  const world = new World()
  world.writeMs = 1
  return world
}

test('a Service of many ports takes many turns, each port whole, and is announced after the last', () => {
  const world = slow()
  world.order.want(want(large))
  const held: number[] = []
  while (world.order.run(64)) {
    held.push(portsHeld(world))
    if (held.at(-1) === 200) continue
    assert.equal(world.order.verdict('default/large').code, 'Programming')
    assert.deepEqual([world.routers.size, world.order.pending], [0, 1])
  }
  assert.ok(held.length >= 5, `${held.length} turns`)
  for (const [n, ports] of held.entries()) assert.ok(ports - (held[n - 1] ?? 0) <= 40, held.join(' '))
  assert.deepEqual([portsHeld(world), [...world.routers.keys()], world.order.pending], [200, ['10.0.0.1/32'], 0])
  assert.equal(world.actions.filter((action) => action.startsWith('upsert')).length, 200, 'each port once')
})

test('what another Service wants is done before the rest of a large one, which goes on where it was', () => {
  const world = slow()
  world.order.want(want(large))
  world.order.run(64)
  const before = portsHeld(world)
  assert.ok(before > 0 && before < 200)
  world.order.want(want(service('small', '10.0.0.2', ['10.1.0.2'])))
  world.order.run(1)
  assert.deepEqual([[...world.routers.keys()], portsHeld(world)], [['10.0.0.2/32'], before])
  world.run()
  assert.equal(portsHeld(world), 200)
  assert.equal(world.actions.filter((action) => action.startsWith('upsert')).length, 201, 'no port twice')
})

test('a Service that goes or changes in the middle of its plan is never announced as it was, and leaves nothing', () => {
  const world = slow()
  world.order.want(want(large))
  world.order.run(64)
  world.order.want(new Map([['default/large', undefined]]))
  world.run()
  world.advance(60_000)
  assert.deepEqual([world.routers.size, world.kernel.readAll().length, world.order.held.size], [0, 0, 0])
  world.order.want(want(large))
  world.order.run(64)
  world.order.want(want(ofPorts('large', '10.0.0.1', 100, ['10.1.0.7'])))
  world.run()
  world.advance(60_000)
  assert.deepEqual([portsHeld(world), [...world.routers.keys()]], [100, ['10.0.0.1/32']])
  assert.ok(world.kernel.readAll().every(({ backends }) => backends[0]?.address === '10.1.0.7'))
})

test('a prefix that passes on to a Service whose plan takes many turns is withdrawn at none of them', () => {
  for (const interrupts of [false, true]) {
    const world = slow()
    world.order.want(want(service('web', '10.0.0.1', ['10.1.0.1'])))
    world.run()
    // Of other ports on the same address: both announce it, then one.
    const ports = ofPorts('heir', '10.0.0.1', 120)
    const heir = { ...ports, frontends: ports.frontends.filter(({ port }) => port !== 80) }
    world.order.want(
      new Map([
        ['default/web', undefined],
        ['default/heir', heir],
      ]),
    )
    for (let turn = 0; world.order.run(64); turn++) {
      assert.ok(world.routers.has('10.0.0.1/32'), `turn ${turn}`)
      if (interrupts && turn === 1) world.order.want(want(service('other', '10.0.0.2', ['10.1.0.2'])))
    }
    world.advance(60_000)
    assert.ok(!world.actions.includes('announce 10.0.0.1/32=0'), world.actions.join(', '))
    assert.deepEqual(portsHeld(world), 119)
  }
})

test('a port of a large Service that fails keeps the others from nothing, and its new ports are taken back', () => {
  const world = slow()
  world.failingIds.add('10.0.0.1:150/TCP')
  world.order.want(want(large))
  world.run()
  assert.deepEqual([world.order.verdict('default/large').code, world.routers.size], ['ProgrammingFailed', 0])
  assert.equal(portsHeld(world), 0, 'no router sends there')
  assert.match(world.order.verdict('default/large').remedy ?? '', /fewer ports, pods or source ranges/)
  world.failingIds.clear()
  world.advance(1_000)
  assert.deepEqual([portsHeld(world), world.faults.current, [...world.routers.keys()]], [200, [], ['10.0.0.1/32']])
})

test('a failure in a plan that is cut is said and retried, and the ports before it stay until then', () => {
  const world = slow()
  world.failingIds.add('10.0.0.1:3/TCP')
  world.order.want(want(large))
  world.order.run(64)
  world.order.want(want(service('small', '10.0.0.2', ['10.1.0.2'])))
  assert.equal(world.order.verdict('default/large').code, 'ProgrammingFailed')
  world.run()
  assert.deepEqual([...world.routers.keys()], ['10.0.0.2/32'])
  world.failingIds.clear()
  world.advance(5_000)
  assert.deepEqual([portsHeld(world), world.faults.current, world.routers.size], [200, [], 2])
})

test('a port that drains away in the middle of a plan that keeps it is written again before the announcement', () => {
  const world = slow()
  world.order.want(want(ofPorts('large', '10.0.0.1', 40)))
  world.run()
  world.order.want(new Map([['default/large', undefined]]))
  world.run()
  world.clock.advance(4_999)
  world.order.want(want(large))
  world.order.run(64)
  world.advance(60_000)
  assert.deepEqual([portsHeld(world), [...world.routers.keys()]], [200, ['10.0.0.1/32']])
})

test('any history of large Services that is cut anywhere ends as it was wanted last, announced only when served', () => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b'),
    ports: fc.constantFrom(0, 1, 34, 40),
    pods: fc.integer({ min: 1, max: 3 }),
    turns: fc.integer({ min: 0, max: 3 }),
    advanceMs: fc.constantFrom(0, 0, 5_000),
  })
  fc.assert(
    fc.property(fc.array(change, { minLength: 2, maxLength: 8 }), (history) => {
      const world = slow()
      const wanted = new Map<string, DesiredService>()
      for (const { name, ports, pods, turns, advanceMs } of history) {
        const addresses = Array.from({ length: pods }, (_, n) => `10.1.0.${n + 1}`)
        const one = ofPorts(name, name === 'a' ? '10.0.0.1' : '10.0.0.2', ports, addresses)
        if (ports === 0) wanted.delete(one.key)
        else wanted.set(one.key, one)
        world.order.want(new Map([[one.key, ports === 0 ? undefined : one]]))
        for (let turn = 0; turn < turns; turn++) world.order.run(2)
        world.clock.advance(advanceMs)
      }
      world.run()
      world.advance(6_000)
      const ids = (list: Iterable<{ readonly id: string; readonly backends: readonly unknown[] }>): string[] =>
        [...list].map(({ id, backends }) => `${id} ${backends.length}`).sort()
      assert.deepEqual(ids(world.kernel.readAll()), ids([...wanted.values()].flatMap(({ frontends }) => frontends)))
      assert.deepEqual(
        [...world.routers.keys()].sort(),
        [...wanted.values()].flatMap(({ routes }) => routes.map(({ prefix }) => prefix)).sort(),
      )
      assert.equal(world.order.pending, 0)
    }),
    { numRuns: 15 },
  )
})
