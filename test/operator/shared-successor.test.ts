/** Who follows a Service that shared an address and is gone: the address of the key stays that of the key. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serviceKey, World } from './world.ts'

class SharingWorld extends World {
  share(name: string, created: number, port: number, namespace = 'default', key = 'k'): void {
    const annotations = { 'metallb.io/allow-shared-ip': key }
    this.put(name, { created, annotations, spec: { ports: [{ port }] } }, namespace)
  }

  async delete(name: string, namespace = 'default'): Promise<void> {
    this.cluster.remove(serviceKey(name, namespace))
    await this.settle()
  }
}

for (const [what, order] of [
  ['deleted first', 'before'],
  ['there first, until the other goes', 'after'],
] as const)
  test(`a Service of another name takes the port and the address of the one that it replaces, ${what}`, async () => {
    const world = new SharingWorld()
    await world.lead()
    world.share('old', 1, 80)
    world.share('beside', 2, 443)
    await world.settle()
    const [address] = world.addresses('beside')
    assert.deepEqual(world.addresses('old'), [address])
    if (order === 'before') await world.delete('old')
    world.share('new', 3, 80)
    await world.settle()
    if (order === 'after') await world.delete('old')
    await world.pass(2_000)
    if (order === 'before') assert.deepEqual(world.addresses('new'), [address])
    assert.deepEqual(world.addresses('beside'), [address])
  })

test('a Service that comes back has its address and its port again, others of its key had others meanwhile', async () => {
  const world = new SharingWorld()
  await world.lead()
  for (const [name, port] of [
    ['a', 80],
    ['b', 81],
  ] as const)
    world.share(name, 1, port)
  await world.settle()
  const before = world.addresses('a')
  await world.delete('a')
  world.share('c', 3, 82)
  await world.settle()
  assert.deepEqual(world.addresses('c'), before)
  world.share('a', 4, 80)
  await world.settle()
  assert.deepEqual(world.addresses('a'), before)
})

test('when all of a key are gone, who comes with the key next has the address that the key had', async () => {
  const world = new SharingWorld()
  await world.lead()
  world.put('other', { created: 0 })
  world.share('a', 1, 80)
  world.share('b', 2, 81)
  await world.settle()
  const before = world.addresses('a')
  await world.delete('a')
  await world.delete('b')
  world.share('c', 3, 80)
  await world.settle()
  assert.deepEqual(world.addresses('c'), before)
})

test('what a Service that is gone shared is closed to every other one: of no key, another key, policy or namespace', async () => {
  const world = new SharingWorld()
  await world.lead()
  world.share('a', 1, 80)
  await world.settle()
  const [address] = world.addresses('a')
  await world.delete('a')
  const spec = { ports: [{ port: 81 }] }
  const local = { ...spec, externalTrafficPolicy: 'Local', selector: { app: 'x' } }
  world.put('plain', { spec })
  world.share('other-key', 2, 81, 'default', 'other')
  world.put('other-policy', { annotations: { 'metallb.io/allow-shared-ip': 'k' }, spec: local })
  world.put('other-namespace', { annotations: { 'lbipam.cilium.io/sharing-key': 'k' }, spec }, 'elsewhere')
  await world.settle()
  const given = ['plain', 'other-key', 'other-policy'].flatMap((name) => world.addresses(name))
  const all = [...given, ...world.addresses('other-namespace', 'elsewhere')]
  assert.deepEqual([all.length, new Set(all).size, all.includes(address ?? '')], [4, 4, false])
  world.share('b', 5, 81)
  await world.settle()
  assert.deepEqual(world.addresses('b'), [address])
})

test('two that shared and came back together share the address again, in whatever order they come', async () => {
  for (const order of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const world = new SharingWorld()
    await world.lead()
    world.share('a', 1, 80)
    world.share('b', 2, 81)
    await world.settle()
    const before = world.addresses('a')
    for (const name of order) await world.delete(name)
    for (const [index, name] of order.entries()) {
      world.share(name, 10 + index, name === 'a' ? 80 : 81)
      await world.settle()
    }
    assert.deepEqual([world.addresses('a'), world.addresses('b')], [before, before], order.join())
  }
})
