/** Update groups against a peer that keeps what it is told: whatever happens to its members, in whatever order. */
import { RefreshSubtype } from '../../src/bgp/messages/numbers.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeMessage } from '../../src/bgp/messages/decode.ts'
import { frameMessage } from '../../src/bgp/messages/header.ts'

import { type CodecContext, ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { LocRib } from '../../src/rib/loc-rib.ts'
import { abandon, nothingSent } from '../../src/speaker/handover.ts'
import { type GroupMember, UpdateGroup } from '../../src/speaker/update-group.ts'

const codec: CodecContext = {
  fourOctetAs: true,
  isExternal: true,
  families: [ipv4Unicast],
  maxMessageBytes: 4096,
  extendedNextHop: false,
  addPathReceive: [],
}
const nextHops = [0xc6336401, 0xc6336402] as const
const limitOfSecond = 6
const hosts: readonly Prefix[] = Array.from({ length: 12 }, (_, i) => prefixOf(0x0a000000 + i, 32))
const names = ['a', 'b', 'c'] as const
type Name = (typeof names)[number]

/** A router with RFC 7313 that says stop when its queue is full. */
class Router implements GroupMember {
  readonly id: Name
  readonly isRefreshFramed: boolean
  readonly table = new Map<Prefix, string>()
  /** Not sent again since BoRR; undefined: no refresh is under way. */
  stale: Set<Prefix> | undefined
  begun = 0
  ended = 0
  room = Number.POSITIVE_INFINITY
  isStopped = false
  /** Announcements since the last look. */
  heard: Prefix[] = []

  constructor(id: Name, isRefreshFramed: boolean) {
    this.id = id
    this.isRefreshFramed = isRefreshFramed
  }

  send(messages: Uint8Array): boolean {
    assert.ok(!this.isStopped, 'nothing is sent to a peer that said stop but the rest of what was compared then')
    this.room--
    for (let at = 0; at < messages.length; ) {
      const frame = frameMessage(messages, at, messages.length, 4096)
      if (frame.kind !== 'frame') return assert.fail(frame.kind)
      at += frame.length
      const decoded = decodeMessage(frame.type, frame.body, codec)
      if (!decoded.ok) return assert.fail(decoded.fault.reason)
      const { message } = decoded.value
      if (message.type === 'routeRefresh') this.#refresh(message.subtype)
      if (message.type !== 'update') continue
      for (const gone of message.withdrawn) this.table.delete(gone)
      for (const reached of message.nlri) {
        this.table.set(reached, `${message.attributes.med} ${message.attributes.nextHop}`)
        this.stale?.delete(reached)
        this.heard.push(reached)
      }
    }
    return this.room > 0
  }

  #refresh(subtype: number): void {
    if (subtype === RefreshSubtype.begin) {
      assert.equal(this.stale, undefined, 'a refresh is ended before the next one begins')
      this.stale = new Set(this.table.keys())
      this.begun++
    } else {
      assert.ok(this.stale !== undefined, 'EoRR without BoRR')
      for (const prefix of this.stale) this.table.delete(prefix)
      this.stale = undefined
      this.ended++
    }
  }
}

class World {
  readonly locRib = new LocRib()
  readonly groups = nextHops.map(
    (nextHop, i) =>
      new UpdateGroup(
        { localAsn: 65_001, isExternal: true, nextHops: { 'ipv4-unicast': nextHop } },
        codec,
        this.locRib,
        i === 1 ? { maxPrefixesOut: limitOfSecond } : {},
      ),
  )
  readonly routers = new Map<Name, { router: Router; group: number }>()
  readonly wanted = new Map<Prefix, { med: number; neighbors: readonly Name[] }>()
  readonly dirty = new Set<Prefix>()

  constructor(framed: readonly boolean[]) {
    for (const [i, name] of names.entries()) {
      this.routers.set(name, { router: new Router(name, framed[i] === true), group: i % 2 })
      this.groupOf(name).join(this.of(name))
    }
  }

  of = (name: Name): Router => this.routers.get(name)?.router ?? assert.fail(name)
  groupOf = (name: Name): UpdateGroup => this.groups[this.routers.get(name)?.group ?? 0] ?? assert.fail(name)

  set(host: number, med: number | undefined, neighbors: readonly Name[]): void {
    const prefix = hosts[host] as Prefix
    if (med === undefined || neighbors.length === 0) this.wanted.delete(prefix)
    else this.wanted.set(prefix, { med, neighbors })
    const routes = this.wanted.has(prefix) ? [{ neighbors, attributes: med === undefined ? {} : { med } }] : []
    if (this.locRib.set(prefix, routes, 1)) this.dirty.add(prefix)
  }

  flush(): void {
    for (const group of this.groups) group.flush([...this.dirty], 1)
    this.dirty.clear()
  }

  /** To another group, on the same session. */
  move(name: Name, to: number): void {
    const handover = this.groupOf(name).leave(name)
    const { router } = this.routers.get(name) ?? assert.fail(name)
    this.routers.set(name, { router, group: to })
    this.groupOf(name).join(router, handover)
  }

  /** The session ends, and another one begins. */
  renew(name: Name): void {
    abandon(this.groupOf(name).leave(name))
    const { group } = this.routers.get(name) ?? assert.fail(name)
    this.routers.set(name, { router: new Router(name, this.of(name).isRefreshFramed), group })
    this.groupOf(name).join(this.of(name), nothingSent)
  }

  drain(name: Name): void {
    this.of(name).room = Number.POSITIVE_INFINITY
    this.of(name).isStopped = false
    this.groupOf(name).drained(name)
  }

  settle(limit = 1000): void {
    for (const name of names) this.drain(name)
    this.flush()
    for (let turn = 0; this.groups.some((group) => group.isBusy); turn++) {
      assert.ok(turn < 2_000, 'the groups come to rest')
      for (const group of this.groups) group.step(limit, 1)
    }
  }

  check(): void {
    for (const name of names) {
      const { router, group } = this.routers.get(name) ?? assert.fail(name)
      const mine = [...this.wanted].filter(([, { neighbors }]) => neighbors.includes(name))
      const expected = new Map(mine.map(([prefix, { med }]) => [prefix, `${med} ${nextHops[group]}`]))
      if (group === 1) {
        assert.equal(router.table.size, Math.min(limitOfSecond, expected.size))
        for (const [prefix, text] of router.table) assert.equal(text, expected.get(prefix))
      } else assert.deepEqual(new Map([...router.table].sort()), new Map([...expected].sort()))
      assert.equal(router.begun, router.ended, 'every BoRR has its EoRR')
      assert.equal(this.groupOf(name).sentCount(name, 'ipv4'), router.table.size)
      assert.equal(this.groupOf(name).isInSync(name), true)
    }
  }
}

const anyName = fc.constantFrom(...names)
const event = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.constant('set' as const),
      fc.nat({ max: 11 }),
      fc.option(fc.nat({ max: 3 }), { nil: undefined }),
      fc.subarray([...names]),
    ),
  },
  { weight: 3, arbitrary: fc.tuple(fc.constant('flush' as const)) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('step' as const), fc.nat({ max: 1 }), fc.integer({ min: 1, max: 6 })) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('refresh' as const), anyName) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('fill' as const), anyName, fc.integer({ min: 1, max: 3 })) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('drain' as const), anyName) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('move' as const), anyName, fc.nat({ max: 1 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('renew' as const), anyName) },
)

function happen(world: World, one: readonly [string, ...unknown[]]): void {
  act(world, one)
  for (const { router } of world.routers.values()) router.isStopped = router.room <= 0
}

function act(world: World, [kind, ...details]: readonly [string, ...unknown[]]): void {
  switch (kind) {
    case 'set':
      return world.set(...(details as [number, number | undefined, readonly Name[]]))
    case 'flush':
      return world.flush()
    case 'step':
      return world.groups[details[0] as number]?.step(details[1] as number, 1)
    case 'refresh':
      return world.groupOf(details[0] as Name).refresh(details[0] as Name, 'ipv4-unicast')
    case 'fill': {
      const router = world.of(details[0] as Name)
      if (router.room > 0) router.room = details[1] as number
      return
    }
    case 'drain':
      return world.drain(details[0] as Name)
    case 'move':
      return world.move(...(details as [Name, number]))
    case 'renew':
      return world.renew(details[0] as Name)
  }
}

test('whatever happens to members and routes, in the end each member has what is wanted and no refresh is open', () => {
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 150, size: 'max' }),
      fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
      fc.integer({ min: 1, max: 20 }),
      (events, framed, limit) => {
        const world = new World(framed)
        for (const one of events) happen(world, one as readonly [string, ...unknown[]])
        world.settle(limit)
        world.check()
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 300) },
  )
})

test('a refresh sends all that a member has, also when it changes its group in the middle of it (RFC 2918 4)', () => {
  for (const isFramed of [true, false])
    for (let steps = 0; steps < 8; steps++) {
      const world = new World([isFramed, isFramed, isFramed])
      for (let host = 0; host < 12; host++) world.set(host, 1, names)
      world.settle()
      const router = world.of('a')
      router.heard = []
      world.groupOf('a').refresh('a', 'ipv4-unicast')
      for (let step = 0; step < steps; step++) world.groupOf('a').step(2, 1)
      // A peer that has forgotten everything hears it again.
      world.move('a', 0)
      world.settle(2)
      world.check()
      assert.deepEqual([...new Set(router.heard)].sort(), [...hosts].sort())
    }
})

test('a member whose queue is full goes on where its walk was, and is sent nothing twice', () => {
  const world = new World([true, true, true])
  for (let host = 0; host < 12; host++) world.set(host, 1, names)
  world.renew('a')
  const router = world.of('a')
  for (let turn = 0; turn < 40 && router.table.size < 12; turn++) {
    router.room = 1
    world.groupOf('a').drained('a')
    for (let step = 0; step < 5; step++) world.groupOf('a').step(2, 1)
    // Changes on the way are noted, and sent once.
    world.set(turn % 3, 2, names)
    world.flush()
  }
  world.settle(2)
  world.check()
  assert.ok(router.heard.length <= 12 + 3, `${router.heard.length} announcements of 12 prefixes`)
})
