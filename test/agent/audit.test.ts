/** What somebody else changes in the maps of the kernel is found, said, counted and written again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeAddressKey } from '../../src/datapath/address-octets.ts'
import { encodeFrontendKey, offsets, sizes } from '../../src/datapath/layout.ts'
import { service, want, World } from './world.ts'

const vip = '10.0.0.1'
const key = encodeFrontendKey({ address: vip, protocol: 'TCP', port: 80 }) ?? new Uint8Array()

const edits: readonly (readonly [string, (world: World) => void])[] = [
  ['a frontend is deleted', ({ kernel }) => void kernel.maps.store('frontends').delete(key)],
  [
    'an address is deleted',
    ({ kernel }) => void kernel.maps.store('addresses').delete(encodeAddressKey(vip) ?? new Uint8Array()),
  ],
  [
    'a backend is written over',
    ({ kernel }) => new Uint8Array(kernel.maps.memory('backends').buffer).fill(7, 0, sizes.backend),
  ],
  ['the tables are cleared', ({ kernel }) => new Uint8Array(kernel.maps.memory('tables').buffer).fill(0)],
  [
    'one slot of a table names no backend that there is',
    ({ kernel }) => kernel.maps.memory('tables').setUint32(17 * sizes.backendRef, 0xffff_ffff, true),
  ],
  [
    'the while of a backend is written to be over',
    ({ kernel }) => kernel.maps.memory('backends').setBigUint64(offsets.backend.drain_until_ns, 1n, true),
  ],
  [
    'the entry by which replies are known is deleted',
    ({ kernel }) => {
      const sources = kernel.maps.store('sources')
      for (const [source] of sources.entries()) sources.delete(source)
    },
  ],
  [
    'a frontend is to be counted for another Service',
    ({ kernel }) => {
      const frontends = kernel.maps.store('frontends')
      const value = frontends.get(key) ?? new Uint8Array()
      new DataView(value.buffer).setUint32(offsets.frontend.service, 9, true)
      frontends.put(key, value)
    },
  ],
]
for (const [what, edit] of edits)
  test(`${what}: it is one fault, and served again as it was after the next look`, () => {
    const world = new World()
    world.order.want(want(service('web', vip, ['10.1.0.1', '10.1.0.2'])))
    world.run()
    world.order.audit(8)
    assert.deepEqual(world.faults.current, [])
    const before = world.kernel.read(`${vip}:80/TCP`)
    edit(world)
    world.order.audit(8)
    assert.deepEqual(
      world.faults.current.map(({ key: fault, times }) => [fault, times]),
      [['edited', 1]],
    )
    world.run()
    assert.deepEqual(world.kernel.read(`${vip}:80/TCP`), before)
    assert.deepEqual(world.kernel.maps.check(), [])
    assert.ok(world.order.isAnnounced(`${vip}/32`))
    world.order.audit(8)
    assert.deepEqual(world.faults.current, [])
    assert.equal(world.faults.totals.get('edited'), 1)
  })

test('what somebody changed and was written again is no fault any more when its Service goes before the next look', () => {
  for (const [what, edit] of edits) {
    const world = new World()
    world.order.want(want(service('web', vip, ['10.1.0.1', '10.1.0.2'])))
    world.run()
    edit(world)
    world.order.audit(8)
    world.run()
    world.order.want(new Map([['default/web', undefined]]))
    world.run()
    world.clock.advance(60_000)
    world.run()
    assert.deepEqual([world.faults.current, world.kernel.readAll()], [[], []], what)
  }
})

test('a look goes on where the last one ended', () => {
  const world = new World()
  for (let n = 1; n <= 5; n++) world.order.want(want(service(`web-${n}`, `10.0.0.${n}`, [`10.1.0.${n}`])))
  world.run()
  world.kernel.maps.store('frontends').delete(key)
  const looks = [1, 2, 3, 4, 5].map(() => {
    world.order.audit(1)
    return world.faults.current.length
  })
  assert.deepEqual(looks.at(-1), 1)
  assert.equal(world.faults.totals.get('edited'), 1)
})
