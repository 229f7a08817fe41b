/**
 * Services that are being deleted, for as long as a finalizer holds them: they may lose what they have, and get
 * nothing.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pool, poolKey, serviceKey, type ServiceParts, World } from './world.ts'

const leaving = { deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: ['example.com/hold'] }
const sharing = (key = 'k'): Readonly<Record<string, string>> => ({ 'lbipam.cilium.io/sharing-key': key })
const web = (parts: ServiceParts = {}): ServiceParts => ({
  created: 1,
  annotations: sharing(),
  spec: { ports: [{ port: 80 }] },
  ...parts,
})

/** `web` and `api` share the first of two addresses. */
async function sharedByTwo(): Promise<World> {
  const world = new World()
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/31']))
  await world.lead()
  world.put('api', { created: 0, annotations: sharing(), spec: { ports: [{ port: 81 }] } })
  world.put('web', web())
  await world.pass(500)
  assert.deepEqual([world.addresses('api'), world.addresses('web')], [['203.0.113.0'], ['203.0.113.0']])
  return world
}

const otherTerms: Readonly<Record<string, ServiceParts>> = {
  'no sharing key': { annotations: {} },
  'another sharing key': { annotations: sharing('other') },
  'another traffic policy': { spec: { ports: [{ port: 80 }], externalTrafficPolicy: 'Local' } },
}

for (const [what, parts] of Object.entries(otherTerms)) {
  for (const isBefore of [true, false]) {
    const when = isBefore ? 'just before it is deleted' : 'while it is being deleted'
    test(`a Service with ${what} ${when} loses the address to who keeps the terms, and gets no other`, async () => {
      const world = await sharedByTwo()
      if (isBefore) world.put('web', web(parts))
      else {
        world.put('web', web({ metadata: leaving }))
        await world.pass(500)
        assert.deepEqual(world.addresses('web'), ['203.0.113.0'])
      }
      world.put('web', web({ ...parts, metadata: leaving }))
      world.put('next', { created: 2 })
      await world.pass(5_000)
      assert.deepEqual([world.addresses('api'), world.addresses('web')], [['203.0.113.0'], []])
      assert.match(world.condition('api'), /^True/)
      assert.equal(world.condition('web'), '', 'of who leaves with nothing nothing is said')
      assert.deepEqual(world.addresses('next'), ['203.0.113.1'], 'the other address is not held for who leaves')
      const before = world.cluster.written.length
      for (const each of world.running) each.isLeader = false
      await world.lead()
      await world.pass(5_000)
      assert.equal(world.cluster.written.length, before, 'a new leader has nothing to say')
      world.cluster.remove(serviceKey('web'))
      await world.pass(1_000)
      assert.deepEqual(world.addresses('api'), ['203.0.113.0'])
    })
  }
}

test('a new leader that finds two owners of whom one leaves takes the address from that one', async () => {
  const world = await sharedByTwo()
  for (const each of world.running) each.isLeader = false
  world.put('web', web({ annotations: {}, metadata: leaving }))
  await world.lead()
  await world.pass(1_000)
  assert.deepEqual([world.addresses('api'), world.addresses('web')], [['203.0.113.0'], []])
  world.put('next', { created: 2 })
  await world.pass(1_000)
  assert.deepEqual(world.addresses('next'), ['203.0.113.1'])
})

test('a Service that waits for its second family and is being deleted holds nothing that comes free', async () => {
  const world = new World()
  const both = { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'PreferDualStack' }
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/31']))
  await world.lead()
  world.put('web', { created: 0, spec: both })
  await world.pass(500)
  world.put('web', { created: 0, spec: both, metadata: leaving })
  await world.pass(500)
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/31', '2001:db8::1/128']))
  world.put('next', { created: 2, spec: { ipFamilies: ['IPv6'] } })
  await world.pass(1_000)
  assert.deepEqual([world.addresses('web'), world.addresses('next')], [['203.0.113.0'], ['2001:db8::1']])
})

test('a Service that is being deleted and asks for another address keeps the one that it has', async () => {
  const world = new World()
  world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/31']))
  await world.lead()
  world.put('web')
  await world.pass(500)
  world.put('web', { annotations: { 'lbipam.cilium.io/ips': '203.0.113.1' }, metadata: leaving })
  world.put('next', { created: 2 })
  await world.pass(1_000)
  assert.deepEqual([world.addresses('web'), world.addresses('next')], [['203.0.113.0'], ['203.0.113.1']])
})
