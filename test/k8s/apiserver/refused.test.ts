/** A role that lacks a right at the first start of an agent, over a clock that is turned while no answer is due. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { VirtualClock } from '../../../src/clock/virtual-clock.ts'
import { apiServerSource } from '../../../src/k8s/apiserver/source.ts'
import { type Answer, connectTransport, type Transport } from '../../../src/k8s/apiserver/transport.ts'
import type { ObjectSource } from '../../../src/k8s/source.ts'
import { waitFor } from '../../wait.ts'
import { FakeApiServer, status } from './fake-server.ts'

const configurations = '/apis/cilium.io/v2/ciliumbgpclusterconfigs'
const overrides = '/apis/cilium.io/v2/ciliumbgpnodeconfigoverrides'
const advertisements = '/apis/metallb.io/v1beta1/bgpadvertisements'
const communities = '/apis/metallb.io/v1beta1/communities'

/** Counts lists that were asked for and are not read to their end. */
class CountedTransport implements Transport {
  readonly #of: Transport
  pending = 0

  constructor(of: Transport) {
    this.#of = of
  }

  async get(path: string, signal: AbortSignal): Promise<Answer> {
    this.pending++
    let isOpen = false
    try {
      const answer = await this.#of.get(path, signal)
      isOpen = answer.status === 200 && !path.includes('watch=1')
      return isOpen ? { ...answer, body: this.#counted(answer.body) } : answer
    } finally {
      if (!isOpen) this.pending--
    }
  }

  async *#counted(body: Answer['body']): Answer['body'] {
    try {
      yield* body
    } finally {
      this.pending--
    }
  }

  change(...asked: Parameters<Transport['change']>): Promise<Answer> {
    return this.#of.change(...asked)
  }

  renew(): void {
    this.#of.renew()
  }

  close(): Promise<void> {
    return this.#of.close()
  }
}

class World {
  readonly server = new FakeApiServer()
  readonly clock = new VirtualClock()
  /** What was said, in its order: `+kind/name`, `-kind/name`, `flush`, `synced`. */
  readonly heard: string[] = []
  problems: readonly string[] = []
  /** Of these paths nothing may be read. */
  refused = /^$/
  #transport: CountedTransport | undefined
  #source: ObjectSource | undefined

  async start(t: TestContext, mayLackKinds = true): Promise<void> {
    const { clock, heard, server } = this
    const transport = new CountedTransport(connectTransport(await server.start()))
    const source = apiServerSource({ transport, clock, random: () => 0.5, nodeName: 'node1', mayLackKinds })
    this.#transport = transport
    this.#source = source
    t.after(async () => {
      await source.stop()
      await server.stop()
    })
    server.fault = ({ stream, path }) => {
      if (this.refused.test(path)) status(stream, 403, 'forbidden')
      return this.refused.test(path)
    }
    await source.start({
      upsert: ({ kind, name }) => void heard.push(`+${kind}/${name}`),
      remove: ({ kind, name }) => void heard.push(`-${kind}/${name}`),
      problems: (list) => {
        this.problems = list.map(({ object, message, remedy }) => `${object.kind}/${object.name} ${message}. ${remedy}`)
      },
      flush: () => void heard.push('flush'),
      synced: () => void heard.push('synced'),
    })
  }

  get isReachable(): boolean {
    return this.#source?.state.isReachable === true
  }

  get isSynced(): boolean {
    return this.heard.includes('synced')
  }

  /** Time goes on while the server owes nothing, so that a slow machine changes nothing. */
  until(what: string, isSeen: () => boolean): Promise<unknown> {
    const turn = (): boolean => {
      if (this.#transport?.pending === 0) this.clock.advance(500)
      this.clock.settle()
      return isSeen()
    }
    return waitFor(what, turn, { everyMs: 1, deadlineMs: 30_000 })
  }

  async pass(ms: number): Promise<void> {
    const until = this.clock.monotonic() + ms
    await this.until(`${ms} ms are over`, () => this.clock.monotonic() >= until)
  }

  has(problem: RegExp): boolean {
    return this.problems.some((each) => problem.test(each))
  }
}

for (const [what, refused, expected, stored] of [
  ['pools of MetalLB', /ipaddresspools/, true, []],
  ['all of a group', /cilium\.io/, true, []],
  ['Services', /\/services/, false, []],
  ['EndpointSlices', /endpointslices/, false, []],
  ['its Node', /\/nodes/, false, []],
  ['overrides without a configuration', /nodeconfigoverrides/, true, []],
  ['overrides beside a configuration', /nodeconfigoverrides/, false, [configurations]],
  ['names of communities without an advertisement', /communities/, true, []],
  ['names of communities beside an advertisement', /communities/, false, [advertisements]],
] as const)
  test(`${what} refused from the start: ${expected ? 'the rest goes on' : 'it waits'}`, async (t) => {
    const world = new World()
    world.refused = refused
    for (const path of stored) world.server.put(path, 'a')
    await world.start(t)
    await world.pass(29_000)
    assert.equal(world.isSynced, false, 'a role that is given in the same moment loses nothing')
    assert.ok(world.has(/forbidden\. Nothing comes into force before it was read once; let the role/))
    await world.pass(90_000)
    assert.equal(world.isSynced, expected)
    assert.equal(world.isReachable, false, 'it stays degraded')
    assert.equal(world.has(/forbidden\. It counts as absent until then; let the role/), expected)
  })

test('an operator does without no kind: what it does not see could be given away twice', async (t) => {
  const world = new World()
  world.refused = /ipaddresspools/
  await world.start(t, false)
  await world.pass(120_000)
  assert.equal(world.isSynced, false)
})

test('a kind that counted as absent is read when its right is given, and nothing is said of it any more', async (t) => {
  const world = new World()
  world.refused = /ipaddresspools/
  world.server.put('/apis/metallb.io/v1beta1/ipaddresspools', 'pool')
  await world.start(t)
  await world.until('the rest goes on', () => world.isSynced)
  world.refused = /^$/
  await world.until('it is read', () => world.heard.includes('+IPAddressPool/pool'))
  await world.until('all is well', () => world.isReachable && world.problems.length === 0)
})

test('an answer in between that is no refusal begins the wait anew', async (t) => {
  const world = new World()
  world.refused = /ipaddresspools/
  await world.start(t)
  await world.pass(10_000)
  const { fault } = world.server
  let isBroken = true
  world.server.fault = (request) => {
    if (!isBroken || !/ipaddresspools/.test(request.path)) return fault(request)
    isBroken = false
    status(request.stream, 500, 'etcdserver: no leader')
    return true
  }
  await world.until('it failed otherwise', () => !isBroken)
  await world.pass(29_000)
  assert.equal(world.isSynced, false)
  await world.until('it counts as absent', () => world.isSynced)
})

for (const [kind, path, lacked, lackedPath, both] of [
  [
    'CiliumBGPClusterConfig',
    configurations,
    'CiliumBGPNodeConfigOverride',
    overrides,
    /clusterconfigs|configoverrides/,
  ],
  ['BGPAdvertisement', advertisements, 'Community', communities, /bgpadvertisements|communities/],
] as const) {
  const waits = new RegExp(`^${kind}/late it waits for ${lacked}, which was never read`)

  test(`a ${kind} that may be read later than the start waits for the ${lacked}, and comes after it`, async (t) => {
    const world = new World()
    world.refused = both
    world.server.put(path, 'late')
    world.server.put(lackedPath, 'beside')
    await world.start(t)
    await world.until('the rest goes on', () => world.isSynced)
    world.refused = new RegExp(lackedPath)
    await world.until('it is told', () => world.has(waits))
    await world.pass(120_000)
    assert.ok(!world.heard.includes(`+${kind}/late`), 'not without what it needs')
    world.refused = /^$/
    await world.until('it is in force', () => world.heard.includes(`+${kind}/late`))
    await world.until('and applied', () => world.heard.at(-1) === 'flush')
    const order = world.heard.slice(world.heard.indexOf(`+${lacked}/beside`))
    assert.deepEqual(order.slice(0, 3), [`+${lacked}/beside`, `+${kind}/late`, 'flush'])
    await world.until('all is well', () => world.isReachable && world.problems.length === 0)
  })

  test(`a ${kind} that is made while the ${lacked} is refused waits, and one that goes was never there`, async (t) => {
    const world = new World()
    world.refused = new RegExp(lackedPath)
    world.server.serve(path)
    await world.start(t)
    await world.until('the rest goes on', () => world.isSynced)
    await world.until('it is watched', () => world.server.watches(path) > 0)
    world.server.put(path, 'late')
    await world.until('it is told', () => world.has(waits))
    world.server.delete(path, 'late')
    await world.until('nothing is told of it', () => !world.has(waits))
    assert.ok(!world.heard.some((said) => said.includes('late')), 'neither its coming nor its going')
  })

  test(`the ${lacked} is not needed any more when the last ${kind} goes during the wait`, async (t) => {
    const world = new World()
    world.refused = new RegExp(lackedPath)
    world.server.put(path, 'only')
    await world.start(t)
    await world.pass(60_000)
    assert.equal(world.isSynced, false)
    await world.until('it is watched', () => world.server.watches(path) > 0)
    world.server.delete(path, 'only')
    await world.until('the rest goes on', () => world.isSynced)
  })
}
