/**
 * What holds in every order of events: users, leaders that come and go, watches that lag, and writes that fail or have
 * no answer; whether a flush is one piece, or is laid down between any two Services while events go on.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ObjectSource, SourceEvents } from '../../src/k8s/source.ts'
import type { StatusOutcome } from '../../src/k8s/status.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'
import { Operator } from '../../src/operator/operator.ts'
import { pool, poolKey, service, serviceKey, SlicedClock, World } from './world.ts'

const runs = 120

const names = ['a', 'b', 'c', 'd', 'e', 'f']
const name = fc.constantFrom(...names)
const faults: readonly StatusOutcome[] = [
  { kind: 'failed', message: 'no answer' },
  { kind: 'refused', message: 'forbidden' },
  { kind: 'limited', afterMs: 700 },
  { kind: 'stale' },
]

type Step =
  | { readonly do: 'put'; readonly name: string; readonly request?: number | undefined; readonly shares: boolean }
  | { readonly do: 'remove' | 'retype' | 'leaving'; readonly name: string }
  | { readonly do: 'pool'; readonly isDisabled: boolean }
  | { readonly do: 'deliver'; readonly most: number }
  | { readonly do: 'turn' | 'lead' | 'settle' }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'fault'; readonly which: number; readonly times: number }
  | { readonly do: 'tenant'; readonly name: string; readonly ips: readonly string[] }

const steps: fc.Arbitrary<Step>[] = [
  fc.record({
    do: fc.constant('put' as const),
    name,
    request: fc.option(fc.nat({ max: 5 }), { nil: undefined }),
    shares: fc.boolean(),
  }),
  fc.record({ do: fc.constantFrom('remove' as const, 'retype' as const, 'leaving' as const), name }),
  fc.record({ do: fc.constant('pool' as const), isDisabled: fc.boolean() }),
  fc.record({ do: fc.constant('deliver' as const), most: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constantFrom('turn' as const, 'lead' as const, 'settle' as const) }),
  fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(500, 3000) }),
  fc.record({
    do: fc.constant('fault' as const),
    which: fc.nat({ max: faults.length - 1 }),
    times: fc.integer({ min: 1, max: 4 }),
  }),
]
const tenant: fc.Arbitrary<Step> = fc.record({
  do: fc.constant('tenant' as const),
  name,
  ips: fc.array(fc.constantFrom('203.0.113.0', '203.0.113.1', '203.0.113.3', '198.51.100.1', 'garbage', '::1'), {
    maxLength: 3,
  }),
})

class Play extends World {
  /** Leaders stay leaders beside the next one. */
  readonly isDouble: boolean
  readonly created = new Map<string, number>()
  #serial = 0
  #faults = 0
  #fault: StatusOutcome = { kind: 'stale' }

  /** Where it is sliced, each flush is laid down wherever it may be, and goes on with the turns of the clock. */
  constructor(isSliced: boolean, isDouble = false) {
    super(isSliced ? new SlicedClock() : undefined)
    this.isDouble = isDouble
    this.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/30']))
    this.cluster.fault = () => {
      if (this.#faults === 0) return undefined
      this.#faults--
      return this.#fault
    }
  }

  async play(step: Step): Promise<void> {
    switch (step.do) {
      case 'put': {
        const created = this.created.get(step.name) ?? this.#serial++
        this.created.set(step.name, created)
        const annotations = {
          ...(step.request === undefined ? {} : { 'lbipam.cilium.io/ips': `203.0.113.${step.request}` }),
          ...(step.shares ? { 'lbipam.cilium.io/sharing-key': 'k' } : {}),
        }
        const ports = [{ port: 1 + names.indexOf(step.name) }]
        return this.put(step.name, { created, annotations, spec: { ports } })
      }
      case 'remove':
        this.created.delete(step.name)
        return this.cluster.remove(serviceKey(step.name))
      case 'retype':
        if (this.created.has(step.name)) this.put(step.name, { spec: { type: 'ClusterIP' } })
        return
      case 'leaving':
        if (this.created.has(step.name))
          this.put(step.name, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } })
        return
      case 'pool':
        return this.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/30'], { disabled: step.isDisabled }))
      case 'deliver':
        for (const { follower } of this.running) follower.deliver(step.most)
        return
      case 'turn':
        if (this.clock instanceof SlicedClock) this.clock.some(7)
        else this.clock.settle()
        for (let i = 0; i < 5; i++) await Promise.resolve()
        return
      case 'lead':
        if (!this.isDouble) for (const each of this.running) each.isLeader = false
        await this.lead()
        return
      case 'settle':
        return this.settle()
      case 'pass':
        return this.pass(step.ms)
      case 'fault':
        this.#faults = step.times
        this.#fault = faults[step.which] ?? this.#fault
        return
      case 'tenant':
        return this.cluster.writeStatus(
          serviceKey(step.name),
          { loadBalancer: { ingress: step.ips.map((ip) => ({ ip })) } },
          'kubectl-patch',
        )
    }
  }

  /** One leader, nothing fails, and all the time that is needed. */
  async rest(): Promise<void> {
    this.#faults = 0
    for (const each of this.running.slice(0, -1)) each.isLeader = false
    if (this.running.length === 0) await this.lead()
    await this.pass(70_000)
  }

  /** Addresses that several Services have as far as each says that it is allocated. */
  doubles(isShared: (name: string) => boolean): readonly string[] {
    const owners = new Map<string, string>()
    const found: string[] = []
    for (const each of names) {
      if (!this.condition(each).startsWith('True')) continue
      for (const address of this.addresses(each)) {
        const other = owners.get(address)
        if (other !== undefined && other !== each && !(isShared(each) && isShared(other)))
          found.push(`${address}: ${other}, ${each}`)
        owners.set(address, each)
      }
    }
    return found
  }
}

const sharesIn = (world: World) => (each: string) =>
  JSON.stringify(world.cluster.objectOf(serviceKey(each)) ?? {}).includes('sharing-key')

test('never two owners without sharing, at no moment, and who can have an address gets one', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.oneof(...steps), { minLength: 5, maxLength: 40 }),
      async (isSliced, all) => {
        const play = new Play(isSliced)
        const unshared = all.map((step) => (step.do === 'put' ? { ...step, shares: false } : step))
        await play.lead()
        for (const step of unshared) {
          await play.play(step)
          assert.deepEqual(
            play.doubles(() => false),
            [],
          )
        }
        await play.play({ do: 'pool', isDisabled: false })
        await play.rest()
        assert.deepEqual(
          play.doubles(() => false),
          [],
        )
        const held = new Set(names.flatMap((each) => play.addresses(each)))
        const waiting = names.filter((each) => play.condition(each).startsWith('False OutOfAddresses'))
        assert.ok(waiting.length === 0 || held.size === 4, `${waiting.join()} wait, ${[...held].join()} are held`)
      },
    ),
    { numRuns: runs },
  )
})

/** Two leaders that each give one address to another Service, and take back what the other one writes. */
const disagreement: readonly Step[] = [
  { do: 'pool', isDisabled: false },
  { do: 'lead' },
  { do: 'put', name: 'a', shares: false },
  { do: 'put', name: 'd', request: 0, shares: true },
  { do: 'deliver', most: 2 },
  { do: 'tenant', name: 'd', ips: ['203.0.113.0'] },
  { do: 'fault', which: 2, times: 1 },
  { do: 'pool', isDisabled: true },
  { do: 'pass', ms: 3000 },
]

test('with sharing, tenants who write statuses, and two leaders for a while: at rest, no two owners', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.oneof(...steps, tenant), { minLength: 5, maxLength: 40 }),
      async (isSliced, all) => {
        const play = new Play(isSliced, true)
        await play.lead()
        for (const step of all) await play.play(step)
        await play.rest()
        assert.deepEqual(play.doubles(sharesIn(play)), [])
      },
    ),
    { numRuns: runs, examples: [[true, [...disagreement]]] },
  )
})

test('a held address never moves while its pool has it, whoever leads and whatever fails', async () => {
  const calm = fc.oneof(...steps).filter(({ do: what }) => what !== 'retype')
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(calm, { minLength: 5, maxLength: 40 }), async (isSliced, all) => {
      const play = new Play(isSliced)
      const had = new Map<string, string>()
      await play.lead()
      for (const step of all) {
        // What a Service asks for stays as it was when it was made.
        await play.play(step.do === 'put' ? { do: 'put', name: step.name, shares: false } : step)
        for (const each of names) {
          const { metadata } = play.cluster.objectOf(serviceKey(each)) ?? {}
          const id = `${each} ${String((metadata as { readonly uid?: string } | undefined)?.uid)}`
          const now = play.addresses(each).join()
          if (had.has(id)) assert.equal(now, had.get(id), id)
          if (now !== '') had.set(id, now)
        }
      }
    }),
    { numRuns: runs },
  )
})

const withoutLost = (status: unknown): string => JSON.stringify(status).replace(/, in place of another: [^"]*/g, '')

/** One that loses an address to another, and is told so. */
const losing: readonly Step[] = [
  { do: 'lead' },
  { do: 'put', name: 'a', shares: true },
  { do: 'put', name: 'f', shares: true },
  { do: 'pass', ms: 500 },
  { do: 'put', name: 'a', shares: false },
]

test('at rest a new leader has nothing to write', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.oneof(...steps), { minLength: 5, maxLength: 40 }),
      async (isSliced, all) => {
        const play = new Play(isSliced)
        for (const step of all) await play.play(step)
        await play.rest()
        const before = [...play.cluster.written]
        await play.play({ do: 'lead' })
        await play.rest()
        // What it lost is in no status: a new leader does not say it any more.
        const saysTheSame = ({ target, status }: (typeof before)[number]): boolean =>
          withoutLost(status) === withoutLost(before.findLast((each) => each.target.name === target.name)?.status)
        assert.deepEqual(
          play.cluster.written.slice(before.length).filter((each) => !saysTheSame(each)),
          [],
        )
      },
    ),
    { numRuns: runs, examples: [[false, [...losing]]] },
  )
})

test('nothing is given before everything was read once', async () => {
  const world = new World()
  let events: SourceEvents | undefined
  const source: ObjectSource = {
    state: world.cluster.follower().state,
    start: async (given) => {
      events = given
    },
    stop: async () => undefined,
    rescan: () => undefined,
  }
  const operator = new Operator({
    source,
    sink: world.cluster.sink('herald-operator'),
    objects: world.cluster.objectSink(),
    clock: world.clock,
    random: () => 0.5,
    log: new MemoryOperatorLog(),
    isLeader: () => true,
  })
  await operator.start()
  world.put('new')
  world.put('old')
  const deliver = (each: string, ingress: readonly object[]): void =>
    events?.upsert(serviceKey(each), { ...service(each), status: { loadBalancer: { ingress } } }, undefined, {
      uid: each,
      resourceVersion: '1',
    })
  deliver('new', [])
  events?.upsert(poolKey('blue'), pool('blue', ['203.0.113.0/28']), undefined, { uid: 'p', resourceVersion: '1' })
  events?.flush()
  await world.pass(5_000)
  assert.deepEqual(world.cluster.written, [])
  assert.equal(operator.figures.inFlight + Number(operator.figures.waiting['service']), 0)
  deliver('old', [{ ip: '203.0.113.0' }])
  events?.synced()
  assert.deepEqual({ ...operator.figures.services }, { allocated: 2, waiting: 0, owned: 0 })
})
