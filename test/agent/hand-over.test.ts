/**
 * Two Services that want one frontend: one owns it, and its end hands the frontend over, in either order of events and
 * across restarts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import { Crash, service, want, World } from './world.ts'

const vip = '10.0.0.1'
const port = `${vip}:80/TCP`
const a = service('a', vip, ['10.1.0.1'])
const b = service('b', vip, ['10.1.0.2'])
const gone = (...keys: string[]): Map<string, DesiredService | undefined> =>
  new Map(keys.map((key) => [`default/${key}`, undefined]))
const backend = (world: World): string | undefined => world.kernel.read(port)?.backends[0]?.address

function started(...services: DesiredService[]): World {
  const world = new World()
  world.order.want(want(...services))
  world.run()
  return world
}

test('the second Service on a port is not served, not announced and told by whom the port is held', () => {
  const world = started(a)
  world.order.want(want(b))
  world.run()
  assert.equal(backend(world), '10.1.0.1')
  const verdict = world.order.verdict('default/b')
  assert.equal(verdict.code, 'FrontendTaken')
  assert.match(verdict.message, /10\.0\.0\.1:80\/TCP is served for Service default\/a/)
  assert.equal(world.order.verdict('default/a').code, 'Programmed')
})

test('the end of the one that has nothing takes nothing from the owner', () => {
  const world = started(a, b)
  world.order.want(gone('b'))
  world.run()
  world.advance(60_000)
  assert.deepEqual([backend(world), [...world.routers.keys()]], ['10.1.0.1', [`${vip}/32`]])
})

const orders: readonly (readonly [string, readonly Map<string, DesiredService | undefined>[]])[] = [
  ['the other came before', [want(b), gone('a')]],
  ['the other comes with its end', [new Map([...gone('a'), ...want(b)])]],
  ['the other comes first in the same change', [new Map([...want(b), ...gone('a')])]],
  ['the other comes while it drains', [gone('a'), want(b)]],
]
for (const [title, changes] of orders) {
  test(`the end of the owner hands the port over: ${title}`, () => {
    const world = started(a)
    for (const change of changes) {
      world.order.want(change)
      world.run()
    }
    assert.deepEqual([backend(world), [...world.routers.keys()]], ['10.1.0.2', [`${vip}/32`]])
    world.advance(60_000)
    assert.equal(backend(world), '10.1.0.2')
    assert.equal(world.order.verdict('default/b').code, 'Programmed')
    assert.ok(!world.actions.some((action) => action.startsWith('remove')), world.actions.join(', '))
  })
}

test('an address that is handed over is at no moment withdrawn', () => {
  const world = started(a, b)
  world.order.want(gone('a'))
  world.run()
  assert.ok(!world.actions.includes(`announce ${vip}/32=0`), world.actions.join(', '))
})

test('when the heir cannot be programmed the address is withdrawn, the port kept, and all is well with the retry', () => {
  const world = started(a, b)
  world.failing = true
  world.order.want(gone('a'))
  world.run()
  assert.deepEqual([[...world.routers.keys()], backend(world)], [[], '10.1.0.1'])
  assert.deepEqual(
    world.faults.current.map(({ key }) => key),
    ['program ERR_MAP_FULL'],
  )
  world.failing = false
  world.advance(1_000)
  assert.deepEqual([[...world.routers.keys()], backend(world)], [[`${vip}/32`], '10.1.0.2'])
  assert.deepEqual(world.faults.current, [])
})

test('after a restart the port of two Services has one owner, whichever comes first', () => {
  for (const services of [
    [a, b],
    [b, a],
  ]) {
    const world = started(...services)
    world.order = world.start()
    world.order.want(want(...services))
    world.run()
    assert.deepEqual([backend(world), world.order.verdict('default/b').code], ['10.1.0.1', 'FrontendTaken'])
    world.order.want(gone('a'))
    world.run()
    world.advance(60_000)
    assert.deepEqual([backend(world), [...world.routers.keys()]], ['10.1.0.2', [`${vip}/32`]])
  }
})

test('a removal that fails is one fault, tried again with back-off, and ends when it is done or wanted again', () => {
  const world = started(a)
  world.failing = true
  world.order.want(gone('a'))
  world.run()
  world.advance(60_000)
  const [fault] = world.faults.current
  assert.equal(fault?.key, 'remove')
  assert.match(fault.text, /10\.0\.0\.1:80\/TCP: cannot be removed and still answers: delete from frontends: EBUSY/)
  const attempts = world.actions.filter((action) => action.startsWith('remove')).length
  assert.ok(attempts > 5 && attempts < 25, `${attempts} attempts`)
  assert.equal(world.logged.filter((line) => /EBUSY/.test(line)).length, 1)
  world.failing = false
  world.order.want(want(b))
  world.run()
  assert.deepEqual([world.faults.current, backend(world)], [[], '10.1.0.2'])
  world.failing = true
  world.order.want(gone('b'))
  world.run()
  world.advance(10_000)
  world.failing = false
  world.advance(10_000)
  assert.deepEqual([world.faults.current, world.kernel.readAll()], [[], []])
})

test('any history of three Services that want the same two ports, with crashes, ends with every wanted port served', () => {
  const change = fc.record({
    name: fc.constantFrom('a', 'b', 'c'),
    vip: fc.constantFrom('10.0.0.1', '10.0.0.2'),
    isGone: fc.boolean(),
    isLost: fc.boolean(),
    advanceMs: fc.constantFrom(0, 100, 5_000),
  })
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 14 }),
      fc.integer({ min: 0, max: 40 }),
      (history, steps) => {
        const world = new World()
        world.crashAfter(steps)
        const wanted = new Map<string, DesiredService>()
        let isCrashed = false
        for (const { name, vip: address, isGone, isLost, advanceMs } of history) {
          const octet = 'abc'.indexOf(name) + 1
          const one = service(name, address, isLost ? [] : [`10.1.0.${octet}`], !isLost)
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
        // A crash in the middle of a write looks like a failed write to the order, and every later step fails.
        const hasCrashed = isCrashed || world.actions.length >= steps
        world.crashAfter(Infinity)
        if (hasCrashed) {
          world.order = world.start()
          world.order.want(wanted)
          world.run()
          // End-of-RIB: the routers drop what was not sent again.
          for (const prefix of world.routers.keys()) if (!world.order.isAnnounced(prefix)) world.routers.delete(prefix)
          world.order.releaseLeftovers()
        }
        world.advance(60_000)
        const ids = new Set([...wanted.values()].flatMap(({ frontends }) => frontends.map(({ id }) => id)))
        assert.deepEqual(
          world.kernel
            .readAll()
            .map(({ id }) => id)
            .sort(),
          [...ids].sort(),
        )
        // Each port is served as one of those who want it says, and exactly its owners' routes are out.
        for (const { id, backends } of world.kernel.readAll()) {
          const wishes = [...wanted.values()].flatMap(({ frontends }) => frontends.filter((each) => each.id === id))
          assert.ok(wishes.some((each) => JSON.stringify(each.backends) === JSON.stringify(backends)))
        }
        const owners = [...wanted.values()].filter(({ key }) => world.order.verdict(key).code === 'Programmed')
        assert.deepEqual(
          [...world.routers.keys()].sort(),
          [...new Set(owners.flatMap(({ routes }) => routes.map(({ prefix }) => prefix)))].sort(),
        )
      },
    ),
    { numRuns: 400 },
  )
})
