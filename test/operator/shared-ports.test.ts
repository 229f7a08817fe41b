/**
 * Ports of a shared address belong to who had them first: the operator says so on the Service, finds it there after a
 * restart, and agents go by it, whoever is older and whatever a tenant changes meanwhile.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../../src/allocation/memory-book.ts'
import { allOf } from '../../src/allocation/work.ts'
import { StatusAddresses } from '../../src/allocation/status-addresses.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { parseService, type Service } from '../../src/k8s/kinds/service.ts'
import { ServiceAddresses } from '../../src/k8s/translate/addresses.ts'
import { pool as range } from '../allocation/requests.ts'
import { pool, poolKey, serviceKey, World } from './world.ts'

const metallb = { 'metallb.io/allow-shared-ip': 'k' }
const local: RawObject = { externalTrafficPolicy: 'Local', selector: { app: 'x' } }

class SharedWorld extends World {
  /** The address and the ports that a Service has by the condition. */
  held(name: string, namespace = 'default'): string {
    const { status } = this.cluster.objectOf(serviceKey(name, namespace)) ?? {}
    const { conditions = [] } = (status ?? {}) as { readonly conditions?: readonly RawObject[] }
    const found = conditions.find(({ type }) => type === 'herald.dev/PortsHeld')
    return found === undefined ? '' : `${String(found['status'])} ${String(found['message'])}`
  }

  share(name: string, created: number, ports: readonly number[], more: RawObject = {}, namespace = 'default'): void {
    const spec = { ports: ports.map((port) => ({ port, name: `p${port}` })), ...more }
    this.put(name, { created, annotations: metallb, spec }, namespace)
  }

  /** What an agent has that reads the API server now, by `namespace/name`: `203.0.113.0 80/TCP`. */
  agent(...all: readonly (readonly [name: string, namespace: string])[]): Map<string, readonly string[]> {
    const reader = new ServiceAddresses(new StatusAddresses())
    reader.setPools([range('blue', ['203.0.113.0/28'])])
    const services = new Map<string, Service>()
    for (const [name, namespace] of all) {
      const object = this.cluster.objectOf(serviceKey(name, namespace))
      const { value } = object === undefined ? { value: undefined } : parseService(object)
      if (value !== undefined) services.set(`${namespace}/${name}`, value)
    }
    allOf(reader.settle(services.keys(), (key) => services.get(key)))
    const served = (key: string): readonly string[] => {
      const { addresses, tenure } = reader.answerOf(key)
      return addresses.flatMap((address) => (tenure?.ports.get(address) ?? ['*']).map((port) => `${address} ${port}`))
    }
    return new Map([...services.keys()].map((key) => [key, served(key)]))
  }
}

const both = [
  ['victim', 'default'],
  ['guest', 'elsewhere'],
] as const

test('an older Service of another namespace that adds a port of a younger one does not get it, now or after a restart', async () => {
  const world = new SharedWorld()
  const leader = await world.lead()
  world.share('victim', 10, [80])
  world.share('guest', 1, [81], {}, 'elsewhere')
  await world.settle()
  assert.equal(world.held('victim'), 'True 80/TCP of 203.0.113.0; shared as ["k",["*"],"Cluster"]')
  world.share('guest', 1, [81, 80], {}, 'elsewhere')
  // The agents see it before the operator did anything.
  const served = [
    ['default/victim', ['203.0.113.0 80/TCP']],
    ['elsewhere/guest', ['203.0.113.0 81/TCP']],
  ]
  assert.deepEqual([...world.agent(...both)], served)
  await world.settle()
  assert.match(world.condition('victim'), /^True Allocated: 203\.0\.113\.0 of pool blue$/)
  assert.match(
    world.condition('guest', 'elsewhere'),
    /^True SomePortsTaken: .*; 203\.0\.113\.0 80\/TCP belongs to default\/victim, which had it first$/,
  )
  assert.deepEqual([...world.agent(...both)], served)
  await world.pass(3_000)
  leader.isLeader = false
  const before = world.cluster.written.length
  await world.lead()
  await world.pass(5_000)
  assert.equal(world.cluster.written.length, before, 'a new leader finds the same')
  assert.deepEqual([...world.agent(...both)], served)
})

test('nor by a change of its key, its namespaces or its traffic policy while no operator runs', async () => {
  const away: readonly RawObject[] = [
    { annotations: {} },
    { annotations: { 'metallb.io/allow-shared-ip': 'other' } },
    { annotations: { 'lbipam.cilium.io/sharing-key': 'k' } },
    { annotations: metallb, spec: { ports: [{ port: 81 }], ...local } },
  ]
  for (const change of away) {
    const world = new SharedWorld()
    const leader = await world.lead()
    world.share('victim', 10, [80])
    world.share('guest', 1, [81], {}, 'elsewhere')
    await world.settle()
    assert.deepEqual(world.addresses('guest', 'elsewhere'), ['203.0.113.0'])
    leader.isLeader = false
    world.put('guest', { created: 1, spec: { ports: [{ port: 81 }] }, ...change }, 'elsewhere')
    assert.deepEqual(world.agent(...both).get('default/victim'), ['203.0.113.0 80/TCP'], JSON.stringify(change))
    assert.deepEqual(world.agent(...both).get('elsewhere/guest'), [], JSON.stringify(change))
    await world.lead()
    await world.pass(5_000)
    assert.match(world.condition('victim'), /^True Allocated/)
    assert.deepEqual(world.addresses('guest', 'elsewhere'), ['203.0.113.1'], JSON.stringify(change))
    assert.deepEqual(world.agent(...both).get('default/victim'), ['203.0.113.0 80/TCP'])
  }
})

test('a port is served once it is recorded: of two that add one, all agents serve the same one', async () => {
  const world = new SharedWorld()
  const leader = await world.lead()
  world.share('victim', 10, [80])
  world.share('guest', 1, [81], {}, 'elsewhere')
  await world.settle()
  leader.isLeader = false
  world.share('victim', 10, [80, 90])
  world.share('guest', 1, [81, 90], {}, 'elsewhere')
  await world.settle()
  assert.deepEqual([...world.agent(...both).values()], [['203.0.113.0 80/TCP'], ['203.0.113.0 81/TCP']])
  await world.lead()
  await world.settle()
  assert.deepEqual(
    [...world.agent(...both).values()],
    [['203.0.113.0 80/TCP'], ['203.0.113.0 81/TCP', '203.0.113.0 90/TCP']],
  )
})

test('what MetalLB gave is taken over by age, also where the list of addresses stays its own', async () => {
  const world = new SharedWorld()
  world.share('young', 10, [80])
  world.share('old', 1, [80, 81])
  for (const name of ['young', 'old'])
    world.cluster.writeStatus(serviceKey(name), { loadBalancer: { ingress: [{ ip: '203.0.113.4' }] } }, 'controller')
  const names = [
    ['young', 'default'],
    ['old', 'default'],
  ] as const
  const byAge = [[], ['203.0.113.4 80/TCP', '203.0.113.4 81/TCP']]
  assert.deepEqual([...world.agent(...names).values()], byAge)
  await world.lead()
  await world.settle()
  assert.match(world.held('old'), /^True 80\/TCP 81\/TCP of 203\.0\.113\.4;/)
  assert.match(world.held('young'), /^True none of 203\.0\.113\.4;/)
  assert.deepEqual([...world.agent(...names).values()], byAge)
  // From now on the record counts: an older third one that MetalLB's list names too gets none of them.
  world.share('young', 10, [443])
  await world.settle()
  world.share('old', 1, [80, 81, 443])
  await world.settle()
  assert.deepEqual(world.agent(...names).get('default/young'), ['203.0.113.4 443/TCP'])
})

test('what a Service had of an address that its status has no more is nothing, though nobody took it from its status', async () => {
  const world = new SharedWorld()
  const leader = await world.lead()
  world.share('guest', 1, [80], {}, 'elsewhere')
  world.share('victim', 10, [81])
  await world.settle()
  world.share('victim', 10, [81, 80])
  await world.settle()
  assert.deepEqual(world.agent(...both).get('default/victim'), ['203.0.113.0 81/TCP'])
  // Of another type the server takes its addresses away, and the operator ends before it could write to it.
  world.cluster.fault = ({ target: { name } }) =>
    name === 'guest' ? { kind: 'failed', message: 'no answer' } : undefined
  const kept = world.cluster.objectOf(serviceKey('guest', 'elsewhere'))?.['status'] as RawObject
  world.share('guest', 1, [80], { type: 'ClusterIP' }, 'elsewhere')
  world.cluster.writeStatus(serviceKey('guest', 'elsewhere'), { conditions: kept['conditions'] }, 'herald-operator')
  await world.settle()
  const served = ['203.0.113.0 81/TCP', '203.0.113.0 80/TCP']
  assert.deepEqual(world.agent(...both).get('default/victim'), served)
  leader.isLeader = false
  world.cluster.fault = undefined
  world.share('guest', 1, [80], {}, 'elsewhere')
  await world.lead()
  await world.pass(5_000)
  assert.deepEqual(world.agent(...both).get('default/victim'), served)
  assert.match(world.condition('guest', 'elsewhere'), /^True Allocated: 203\.0\.113\.1 /)
})

const port80: RawObject = { ports: [{ port: 80, name: 'p80' }] }
for (const [what, annotations, spec] of [
  ['a port', metallb, { ports: [{ port: 82, name: 'p82' }] }],
  ['its type', metallb, { ...port80, type: 'ClusterIP' }],
  ['its class', metallb, { ...port80, loadBalancerClass: 'example.com/other' }],
  ['its key', { 'metallb.io/allow-shared-ip': 'other' }, port80],
  ['that it shares', {}, port80],
  ['with whom it shares', { 'lbipam.cilium.io/sharing-key': 'k' }, port80],
  ['its traffic policy', metallb, { ...port80, ...local }],
  ['the address that it asks for', { ...metallb, 'metallb.io/loadBalancerIPs': '203.0.113.9' }, port80],
] as const)
  test(`who changes ${what} and takes that back, so fast that its status is not written, gets no port of another`, async () => {
    const world = new SharedWorld()
    await world.lead()
    world.share('guest', 1, [80], {}, 'elsewhere')
    world.share('victim', 10, [81])
    await world.settle()
    world.cluster.fault = ({ target: { name } }) => (name === 'guest' ? { kind: 'stale' } : undefined)
    world.put('guest', { created: 1, annotations, spec }, 'elsewhere')
    await world.settle()
    world.share('victim', 10, [81, 80])
    await world.settle()
    const said = /^True SomePortsTaken: .*; 203\.0\.113\.0 80\/TCP belongs to elsewhere\/guest, which had it first$/
    assert.match(world.condition('victim'), said, 'it is looked at, and told why it waits')
    const had = world.agent(...both).get('default/victim') ?? []
    const lost = (): readonly string[] => {
      const now = world.agent(...both).get('default/victim')
      return had.filter((place) => !now?.includes(place))
    }
    world.share('guest', 1, [80], {}, 'elsewhere')
    assert.deepEqual(lost(), [], 'as agents see it at once')
    await world.pass(5_000)
    assert.deepEqual(lost(), [], 'as the operator says')
    world.cluster.fault = undefined
    await world.pass(60_000)
    assert.deepEqual(lost(), [], 'in the end')
  })

test('a port of one that leaves goes to who waits for it once the status of the other is written, over a change of leader', async () => {
  const world = new SharedWorld()
  const leader = await world.lead()
  world.share('victim', 1, [80])
  world.share('guest', 10, [90], {}, 'elsewhere')
  await world.settle()
  world.share('victim', 1, [80, 90])
  world.share('guest', 10, [90], local, 'elsewhere')
  leader.isLeader = false
  await world.lead()
  await world.pass(3_000)
  const ends = [...world.agent(...both).values()]
  assert.deepEqual(ends, [['203.0.113.0 80/TCP', '203.0.113.0 90/TCP'], ['203.0.113.1 90/TCP']])
})

test('a Service that shares no more says nothing of ports', async () => {
  const world = new SharedWorld()
  await world.lead()
  world.share('web', 1, [80])
  await world.settle()
  assert.notEqual(world.held('web'), '')
  world.put('web', { created: 1, spec: { ports: [{ port: 80 }] } })
  await world.settle()
  assert.deepEqual([world.held('web'), world.addresses('web')], ['', ['203.0.113.0']])
})

const names = ['a', 'b', 'c', 'd'] as const
const ports = [80, 443, 53, 90]
const put = fc.record({
  do: fc.constant('put' as const),
  name: fc.constantFrom(...names),
  ports: fc.subarray(ports, { minLength: 1 }),
  change: fc.constantFrom<RawObject>({}, {}, {}, {}, {}, local),
  key: fc.constantFrom('k', 'k', 'k', 'k', 'k', 'k', 'l', ''),
  type: fc.constantFrom(...Array.from({ length: 7 }, () => 'LoadBalancer'), 'ClusterIP'),
})
const step = fc.oneof(
  { weight: 4, arbitrary: put },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), name: fc.constantFrom(...names) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('settle' as const, 'lead' as const) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'leaderless' } as const) },
  // Nothing that is written to these arrives: they change too fast, or the server stalls.
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), of: fc.subarray([...names]) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deliver' as const), most: fc.integer({ min: 1, max: 3 }) }) },
)

test('no history of tenants and leaders takes a port from a Service at rest, at no agent and at no moment', async () => {
  const all = names.map((name, index) => [name, index % 2 === 0 ? 'default' : 'elsewhere'] as const)
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 30 }), async (isLastOldest, steps) => {
      const world = new SharedWorld()
      world.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/28']))
      await world.lead()
      // At first they share one address, each with a port of its own.
      for (const [index, [name, namespace]] of all.entries())
        world.share(name, isLastOldest ? -index : index, ports.slice(index, index + 1), {}, namespace)
      await world.settle()
      let had = world.agent(...all)
      // Who gives a port up and asks for it again may meet what the operator decided in between.
      const unsettled = new Set<string>()
      assert.equal(new Set([...had.values()].flat().map((place) => place.split(' ')[0])).size, 1)
      for (const each of steps) {
        const at = all.find(([name]) => 'name' in each && each.name === name)
        if (at !== undefined) unsettled.add(`${at[1]}/${at[0]}`)
        if (each.do === 'put' && at !== undefined) {
          const created = isLastOldest ? -names.indexOf(each.name) : names.indexOf(each.name)
          const annotations = each.key === '' ? {} : { 'metallb.io/allow-shared-ip': each.key }
          const spec = {
            ports: each.ports.map((port) => ({ port, name: `p${port}` })),
            ...each.change,
            type: each.type,
          }
          world.put(each.name, { created, annotations, spec }, at[1])
        } else if (each.do === 'remove' && at !== undefined) world.cluster.remove(serviceKey(...at))
        else if (each.do === 'lose')
          world.cluster.fault = ({ target }) =>
            each.of.some((name) => name === target.name) ? { kind: 'stale' } : undefined
        else if (each.do === 'deliver') for (const { follower } of world.running) follower.deliver(each.most)
        else if (each.do === 'lead' || each.do === 'leaderless') {
          for (const running of world.running) running.isLeader = false
          if (each.do === 'lead') await world.lead()
        } else await world.settle()
        const now = world.agent(...all)
        const flat = [...now.values()].flat()
        assert.equal(new Set(flat).size, flat.length, 'one port of two Services')
        for (const [key, places] of had)
          if (!unsettled.has(key))
            for (const place of places) assert.ok(now.get(key)?.includes(place), `${key} lost ${place}`)
        had = now
        if (each.do === 'settle' && world.running.some(({ isLeader }) => isLeader)) unsettled.clear()
      }
      world.cluster.fault = undefined
      // At rest all agents have what the operator has, which is what one that starts now finds.
      for (const running of world.running) running.isLeader = false
      await world.lead()
      await world.pass(3_000)
      const next = new ServiceAddresses(new FolderAllocator(new MemoryBook()))
      next.setPools([range('blue', ['203.0.113.0/28'])])
      const services = new Map<string, Service>(
        all.flatMap(([name, namespace]) => {
          const object = world.cluster.objectOf(serviceKey(name, namespace))
          const { value } = object === undefined ? { value: undefined } : parseService(object)
          return value === undefined ? [] : [[`${namespace}/${name}`, value] as const]
        }),
      )
      allOf(next.settle(services.keys(), (key) => services.get(key)))
      for (const [key, places] of world.agent(...all)) {
        const { addresses, tenure } = next.answerOf(key)
        const found = addresses.flatMap((address) =>
          (tenure?.ports.get(address) ?? ['*']).map((port) => `${address} ${port}`),
        )
        assert.deepEqual(found, places, key)
      }
    }),
    { numRuns: 60 },
  )
})
