/**
 * A tenant who may write the statuses of his own Services, and is older, wants the address of another's: neither the
 * operator that leads, nor the one that leads next, nor any agent gives it to him.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import { allOf } from '../../src/allocation/work.ts'
import { parseService, type Service } from '../../src/k8s/kinds/service.ts'
import { statusWritersOf } from '../../src/k8s/kinds/status-writers.ts'
import { type RawObject, recordOf } from '../../src/k8s/source.ts'
import { fieldManager } from '../../src/k8s/status.ts'
import { ServiceAddresses } from '../../src/k8s/translate/addresses.ts'
import { pool as range } from '../allocation/requests.ts'
import { serviceKey, World } from './world.ts'

const [victim, thief] = [serviceKey('victim', 'shop'), serviceKey('thief', 'evil')]
const address = '203.0.113.0'
const lastTransitionTime = '2020-01-01T00:00:00Z'
const allocated = {
  ...{ type: 'herald.dev/AddressAllocated', status: 'True', reason: 'Allocated' },
  ...{ message: `${address} of pool blue`, lastTransitionTime },
}
const portsHeld = {
  ...{ type: 'herald.dev/PortsHeld', status: 'True', reason: 'Recorded' },
  ...{ message: `80/TCP of ${address}; shared as `, lastTransitionTime },
}

function newAgent(): ServiceAddresses {
  const reader = new ServiceAddresses(new StatusAddresses())
  reader.setPools([range('blue', ['203.0.113.0/28'])])
  return reader
}

/** What an agent that reads the statuses now gives to each: one that starts, or one that gave before. */
function agents(world: World, reader = newAgent()): readonly (readonly string[])[] {
  const services = new Map<string, Service>()
  for (const key of [thief, victim]) {
    const { value } = parseService(world.cluster.objectOf(key) ?? {})
    if (value !== undefined) services.set(`${key.namespace}/${key.name}`, value)
  }
  allOf(reader.settle(services.keys(), (key) => services.get(key)))
  return ['shop/victim', 'evil/thief'].map((key) => reader.answerOf(key).addresses)
}

/** As an operator does it, under its very name. */
async function applies(world: World, status: RawObject): Promise<void> {
  const { uid, resourceVersion } = recordOf(world.cluster.objectOf(thief)?.['metadata'])
  const target = { ...thief, resource: 'services', uid: String(uid), resourceVersion: String(resourceVersion) }
  assert.equal((await world.cluster.sink(fieldManager).apply({ target, status })).kind, 'written')
}

const ingress = { loadBalancer: { ingress: [{ ip: address, ipMode: 'VIP' }] } }
const conditionsOf = (world: World): readonly unknown[] => {
  const { conditions } = recordOf(world.cluster.objectOf(thief)?.['status'])
  return Array.isArray(conditions) ? conditions : []
}
type Attack = (world: World) => unknown
const attacks: readonly (readonly [string, Attack])[] = [
  ['the address', (world) => world.cluster.writeStatus(thief, { ...ingress, conditions: conditionsOf(world) }, 'me')],
  ['the address alone', (world) => world.cluster.writeStatus(thief, ingress, 'me')],
  [
    'the address and our condition',
    (world) => world.cluster.writeStatus(thief, { ...ingress, conditions: [allocated] }, 'me'),
  ],
  [
    'the address, our condition and a record of ports',
    (world) => world.cluster.writeStatus(thief, { ...ingress, conditions: [allocated, portsHeld] }, 'me'),
  ],
  [
    "all of it under the operator's name",
    (world) => world.cluster.writeStatus(thief, { ...ingress, conditions: [allocated, portsHeld] }, fieldManager),
  ],
  [
    'the condition, and applies all of it as the operator does',
    async (world) => {
      world.cluster.writeStatus(thief, { conditions: [allocated] }, 'me')
      await applies(world, { ...ingress, conditions: [allocated] })
    },
  ],
]

for (const [what, attack] of attacks)
  for (const isLed of [true, false])
    test(`who writes ${what} into his status ${isLed ? 'under a leader' : 'between two leaders'} gets no address`, async () => {
      const world = new World()
      world.put('victim', { created: 10 }, 'shop')
      const leader = await world.lead()
      await world.settle()
      world.put('thief', { created: 1 }, 'evil')
      await world.settle()
      assert.deepEqual(world.addresses('victim', 'shop'), [address])
      leader.isLeader = isLed
      await attack(world)
      // What agents read before anybody has an answer to it.
      assert.deepEqual(agents(world), [[address], []])
      await world.settle()
      assert.deepEqual(agents(world)[0], [address])
      leader.isLeader = false
      await attack(world)
      await world.lead()
      await world.pass(5_000)
      assert.deepEqual(world.addresses('victim', 'shop'), [address])
      assert.match(world.condition('victim', 'shop'), /^True Allocated: 203\.0\.113\.0 /)
      assert.deepEqual(agents(world)[0], [address])
      assert.ok(!agents(world)[1]?.includes(address))
    })

for (const [what, conditions] of [
  ['the address', [allocated]],
  ['the address and a record of ports', [allocated, portsHeld]],
] as const)
  test(`who applies ${what} as the operator does while nobody leads has nothing of who leads next`, async () => {
    const world = new World()
    world.put('victim', { created: 10 }, 'shop')
    const leader = await world.lead()
    world.put('thief', { created: 1 }, 'evil')
    await world.settle()
    const [own] = agents(world)
    assert.deepEqual(own, [address])
    leader.isLeader = false
    await applies(world, { ...ingress, conditions })
    await world.lead()
    await world.pass(5_000)
    assert.deepEqual(world.addresses('victim', 'shop'), [address])
    assert.notDeepEqual(world.addresses('thief', 'evil'), [address])
    assert.deepEqual(agents(world)[0], own)
  })

for (const [what, conditions] of [
  ['the address', [allocated]],
  ['the address and a record of ports', [allocated, portsHeld]],
] as const)
  test(`who applies ${what} as the operator does, faster than it takes that back, has it of no agent`, async () => {
    const world = new World()
    world.put('victim', { created: 10 }, 'shop')
    await world.lead()
    world.put('thief', { created: 1 }, 'evil')
    await world.settle()
    const agent = newAgent()
    const [own, others] = agents(world, agent)
    assert.deepEqual(own, [address])
    for (let i = 0; i < 40; i++) {
      await applies(world, { ...ingress, conditions })
      assert.deepEqual(agents(world, agent)[0], [address])
      await world.pass(500)
      assert.deepEqual(agents(world, agent)[0], [address])
    }
    await world.pass(10_000)
    assert.deepEqual(agents(world, agent), [own, others])
  })

test("who applies a record of another's ports as the operator does has none of them", async () => {
  const world = new World()
  const annotations = { 'metallb.io/allow-shared-ip': 'k' }
  world.put('victim', { created: 10, annotations, spec: { ports: [{ port: 443 }] } }, 'shop')
  const leader = await world.lead()
  await world.settle()
  world.put('thief', { created: 1, annotations, spec: { ports: [{ port: 80 }] } }, 'evil')
  await world.settle()
  assert.deepEqual(world.addresses('thief', 'evil'), world.addresses('victim', 'shop'))
  const own = world.cluster.objectOf(thief) ?? {}
  world.cluster.put(thief, { ...own, spec: { ...recordOf(own['spec']), ports: [{ port: 80 }, { port: 443 }] } })
  await world.settle()
  const agent = newAgent()
  const lost = (): readonly number[] => {
    agents(world, agent)
    return ['shop/victim', 'evil/thief'].map((key) => agent.answerOf(key).lostPorts?.size ?? 0)
  }
  assert.deepEqual(lost(), [0, 1])
  const forges = async (): Promise<void> => {
    const status = recordOf(world.cluster.objectOf(thief)?.['status'])
    const conditions = conditionsOf(world).map((each) => {
      const said = String(recordOf(each)['message'])
      return { ...recordOf(each), message: said.replace(/^80\/TCP of/, '80/TCP 443/TCP of') }
    })
    assert.match(JSON.stringify(conditions), /443\/TCP of/)
    await applies(world, { ...status, conditions })
  }
  for (let i = 0; i < 20; i++) {
    await forges()
    assert.deepEqual(lost(), [0, 1])
    await world.settle()
    assert.deepEqual(lost(), [0, 1])
    await world.pass(2_000)
  }
  await world.pass(20_000)
  leader.isLeader = false
  await forges()
  await world.lead()
  await world.pass(5_000)
  assert.deepEqual(lost(), [0, 1])
  assert.match(world.condition('thief', 'evil'), /443\/TCP belongs to shop\/victim/)
})

test('who has the server forget who wrote a record of ports has forged none', () => {
  const status = { ...ingress, conditions: [allocated, portsHeld] }
  const metadata = { name: 'thief', namespace: 'evil' }
  const spec = { type: 'LoadBalancer', ports: [{ port: 80 }] }
  const read = (more: object): Service | undefined =>
    parseService({ apiVersion: 'v1', kind: 'Service', metadata: { ...metadata, ...more }, spec, status }).value
  assert.equal(read({ managedFields: [] })?.portsHeld, undefined)
  assert.equal(read({ managedFields: [] })?.isAttested, false)
  assert.equal(read({})?.portsHeld, portsHeld.message, 'a folder has no other word')
})

test('what the server was made to forget the operator that leads says once more, once', async () => {
  const world = new World()
  world.put('victim', { created: 10 }, 'shop')
  await world.lead()
  await world.settle()
  const isAttested = (): boolean | undefined => parseService(world.cluster.objectOf(victim) ?? {}).value?.isAttested
  assert.equal(isAttested(), true)
  world.cluster.forgetWriters(victim)
  assert.equal(isAttested(), false)
  await world.settle()
  assert.equal(isAttested(), true)
  const versionOf = (): unknown => recordOf(world.cluster.objectOf(victim)?.['metadata'])['resourceVersion']
  const before = versionOf()
  await world.pass(60_000)
  assert.equal(versionOf(), before)
  assert.deepEqual(world.addresses('victim', 'shop'), [address])
})

test('whose a status is, as an API server says it', () => {
  const key = `k:${JSON.stringify({ type: 'herald.dev/AddressAllocated' })}`
  const entry = (fields: object, more: object = {}): object => ({
    ...{ manager: fieldManager, operation: 'Apply', apiVersion: 'v1', time: lastTransitionTime },
    ...{ fieldsType: 'FieldsV1', fieldsV1: { 'f:status': fields }, subresource: 'status', ...more },
  })
  const condition = { 'f:conditions': { [key]: { '.': {}, 'f:message': {}, 'f:status': {} } } }
  const all = { ...condition, 'f:loadBalancer': { 'f:ingress': {} } }
  const isOwn = (...managedFields: readonly unknown[]): boolean | undefined =>
    statusWritersOf({ metadata: { managedFields } })?.isAllocatedOwn
  assert.equal(isOwn(entry(all)), true)
  // MetalLB wrote the same addresses before.
  assert.equal(isOwn(entry(all), entry({ 'f:loadBalancer': { 'f:ingress': {} } }, { manager: 'controller' })), true)
  assert.equal(isOwn(entry(condition)), false)
  assert.equal(isOwn(entry(all, { operation: 'Update' })), false)
  assert.equal(isOwn(entry(all, { manager: 'kubectl' })), false)
  assert.equal(isOwn(entry(all), entry(condition, { manager: 'kubectl' })), false)
  assert.equal(isOwn(entry(all), entry(condition, { operation: 'Update' })), false)
  assert.equal(isOwn(), false, 'somebody had the server forget who wrote it')
  // What was written beside the status says nothing of it.
  assert.equal(isOwn(entry(all, { subresource: '' })), false)
  for (const junk of [null, 'x', { subresource: 'status' }, { subresource: 'status', fieldsV1: { 'f:status': 7 } }])
    assert.notEqual(isOwn(junk), true)
  assert.equal(statusWritersOf({}), undefined)
})
