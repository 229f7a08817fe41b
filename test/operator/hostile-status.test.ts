/** Statuses that somebody else writes, in every form that an API server takes, and a server that goes back in time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObjectSource, RawObject, SourceEvents } from '../../src/k8s/source.ts'
import { clipped } from '../../src/operator/clipped.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'
import { Operator } from '../../src/operator/operator.ts'
import { pool, poolKey, service, serviceKey, World } from './world.ts'

type Entry = string | RawObject

function writes(world: World, name: string, entries: readonly Entry[], manager = 'controller'): void {
  const ingress = entries.map((each) => (typeof each === 'string' ? { ip: each } : each))
  world.cluster.writeStatus(serviceKey(name), { loadBalancer: { ingress } }, manager)
}

test('an address of a pool that does not serve the Service is not taken over, nor one beside what it asks for', async () => {
  const world = new World()
  const selects = { serviceSelector: { matchLabels: { env: 'prod' } } }
  world.cluster.put(poolKey('prod'), pool('prod', ['198.51.100.0/28'], selects))
  world.cluster.put(poolKey('shut'), pool('shut', ['192.0.2.0/28'], { disabled: true }))
  world.put('plain')
  world.put('asks', { annotations: { 'metallb.io/loadBalancerIPs': '203.0.113.5' } })
  const { log } = await world.lead()
  await world.settle()
  for (const [name, address] of [
    ['plain', '198.51.100.1'],
    ['plain', '192.0.2.1'],
    ['asks', '203.0.113.7'],
  ] as const) {
    writes(world, name, [address])
    await world.settle()
    assert.match(world.condition(name), /^False StatusOwned: 203\.0\.113\.\d+ is held/, address)
  }
  assert.deepEqual(
    log.lines.filter((line) => /it keeps that one/.test(line)),
    [],
  )
})

test('one free address that is written to two Services goes to the older one, and the other keeps its own', async () => {
  for (const order of [
    ['old', 'young'],
    ['young', 'old'],
  ]) {
    const world = new World()
    world.put('old', { created: 1 })
    world.put('young', { created: 2 })
    await world.lead()
    await world.settle()
    for (const name of order) writes(world, name, ['203.0.113.7'])
    await world.settle()
    assert.match(world.condition('old'), /^True Allocated: 203\.0\.113\.7/, order.join())
    assert.match(world.condition('young'), /^False StatusOwned: 203\.0\.113\.1 is held/, order.join())
  }
})

test('any textual form of an address in a status is that address: it is imported, kept as written, given to nobody', async () => {
  const world = new World()
  world.cluster.put(poolKey('six'), pool('six', ['2001:db8::/124']))
  world.put('mapped', { created: 1 })
  const families = { ipFamilies: ['IPv6'] }
  world.put('upper', { created: 2, spec: families })
  writes(world, 'mapped', ['::ffff:203.0.113.0'])
  writes(world, 'upper', ['2001:0DB8:0::0000'])
  world.put('next', { created: 3 })
  world.put('next6', { created: 4, spec: families })
  await world.lead()
  await world.pass(5_000)
  assert.deepEqual(
    [world.addresses('mapped'), world.addresses('upper')],
    [['::ffff:203.0.113.0'], ['2001:0DB8:0::0000']],
  )
  assert.match(world.condition('mapped'), /^True Allocated: 203\.0\.113\.0 /)
  assert.match(world.condition('upper'), /^True Allocated: 2001:db8:: /)
  assert.deepEqual([world.addresses('next'), world.addresses('next6')], [['203.0.113.1'], ['2001:db8::1']])
})

test('names, both, ipMode Proxy and junk in a status: told or kept, never forced, and nobody else is disturbed', async () => {
  const world = new World()
  const statuses: Readonly<Record<string, readonly Entry[]>> = {
    name: [{ hostname: 'lb.example' }],
    both: [{ ip: '203.0.113.9', hostname: 'lb.example' }],
    proxy: [{ ip: '203.0.113.10', ipMode: 'Proxy' }],
    junk: [{ ip: 'not one' }, { ip: '0.0.0.0' }, {}],
    good: [],
  }
  for (const [index, [name, entries]] of Object.entries(statuses).entries()) {
    world.put(name, { created: index })
    writes(world, name, entries)
  }
  const { operator } = await world.lead()
  await world.pass(5_000)
  for (const name of ['both', 'proxy']) {
    assert.deepEqual(world.ingress(name), statuses[name])
    assert.match(world.condition(name), /^True Allocated/)
  }
  for (const name of ['name', 'junk']) {
    assert.deepEqual(world.ingress(name), statuses[name])
    assert.match(world.condition(name), /^False StatusOwned/)
  }
  assert.equal(operator.figures.services.owned, 3, 'an empty list of somebody else is his as well')
  const before = world.cluster.written.length
  await world.pass(3_600_000)
  assert.equal(world.cluster.written.length, before)
})

test('a Service that nobody understands any more loses its address to no other, over a change of leader', async () => {
  for (const breaks of [
    (world: World) => world.put('broken', { annotations: { 'lbipam.cilium.io/ips': manyAddresses.join() } }),
    (world: World) => world.put('broken', { spec: { ports: [{ port: 'http' }] } }),
    (world: World) => writes(world, 'broken', ['203.0.113.0', ...manyAddresses]),
  ]) {
    const world = new World()
    world.put('broken')
    const first = await world.lead()
    await world.settle()
    assert.deepEqual(world.addresses('broken'), ['203.0.113.0'])
    breaks(world)
    await world.settle()
    first.isLeader = false
    world.put('next', { created: 1 })
    world.put('asks', { created: 2, annotations: { 'lbipam.cilium.io/ips': '203.0.113.0' } })
    await world.lead()
    await world.pass(5_000)
    assert.equal(world.addresses('broken')[0], '203.0.113.0')
    assert.deepEqual(world.addresses('next'), ['203.0.113.1'])
    assert.deepEqual(world.addresses('asks'), [])
  }
})

const manyAddresses = Array.from({ length: 100 }, (_, index) => `198.51.100.${index + 1}`)

test('texts are clipped by octets between characters: the server takes them, and gives back what was sent', async () => {
  for (const text of ['💥', 'é', 'a', '漢', '\ud83d'].map((each) => each.repeat(3000))) {
    for (const octets of [1021, 1022, 1023, 1024]) {
      const short = clipped(text, octets)
      assert.ok(Buffer.byteLength(short) <= octets && Buffer.byteLength(short) > octets - 8)
      assert.ok(short.isWellFormed())
    }
  }
  assert.equal(clipped('short', 5), 'short')
  const world = new World()
  for (const [index, each] of ['💥', 'é', 'a'].entries())
    world.put(`s${index}`, { annotations: { 'lbipam.cilium.io/ips': each.repeat(3000) } })
  await world.lead()
  await world.pass(3_000)
  assert.ok(world.cluster.events.length >= 3)
  for (const { note } of world.cluster.events) assert.ok(Buffer.byteLength(note) <= 1024 && note.isWellFormed())
})

test('a server restored from a backup knows older versions than we wrote: they count, and addresses are written again', async () => {
  const world = new World()
  let events: SourceEvents | undefined
  const source: ObjectSource = {
    state: world.cluster.follower().state,
    start: async (given) => void (events = given),
    stop: async () => undefined,
    rescan: () => undefined,
  }
  const log = new MemoryOperatorLog()
  const sink = world.cluster.sink('herald-operator')
  const objects = world.cluster.objectSink()
  const parts = { source, sink, objects, log, clock: world.clock, random: () => 0.5, isLeader: () => true }
  const operator = new Operator(parts)
  await operator.start()
  const deliver = (resourceVersion: string): void =>
    events?.upsert(serviceKey('web'), service('web'), undefined, { uid: 'web', resourceVersion })
  events?.upsert(poolKey('blue'), pool('blue', ['203.0.113.0/28']), undefined, { uid: 'p', resourceVersion: '1' })
  const asked: string[] = []
  let written = 500
  world.cluster.fault = ({ target, status }) => {
    if (target.kind !== 'Service') return { kind: 'gone' }
    asked.push(`${target.resourceVersion} ${JSON.stringify(status['loadBalancer'])}`)
    return { kind: 'written', resourceVersion: String(++written) }
  }
  deliver('400')
  events?.synced()
  await world.pass(1_000)
  const given = '{"ingress":[{"ip":"203.0.113.0","ipMode":"VIP"}]}'
  assert.deepEqual(asked, [`400 ${given}`])
  // The watch is behind for a moment: what was written is not written again.
  deliver('450')
  events?.flush()
  await world.pass(5_000)
  events?.upsert(serviceKey('web'), { ...service('web'), status: statusOf(world, asked) }, undefined, {
    uid: 'web',
    resourceVersion: '501',
  })
  events?.flush()
  await world.pass(20_000)
  assert.equal(asked.length, 1)
  assert.deepEqual(
    log.lines.filter((line) => line.startsWith('warn')),
    [],
  )
  // A backup from before the write.
  deliver('400')
  events?.flush()
  await world.pass(20_000)
  assert.deepEqual(asked.slice(1), [`400 ${given}`])
  assert.equal(log.lines.filter((line) => /does not know what was written/.test(line)).length, 1)
  await operator.stop()
})

/** As the first write left it. */
function statusOf({ clock }: World, [first = '']: readonly string[]): RawObject {
  const lastTransitionTime = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
  const message = '203.0.113.0 of pool blue'
  const condition = { type: 'herald.dev/AddressAllocated', status: 'True', reason: 'Allocated', message }
  return {
    loadBalancer: JSON.parse(first.slice(first.indexOf(' ') + 1)),
    conditions: [{ ...condition, lastTransitionTime }],
  }
}
