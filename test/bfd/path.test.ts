/** BFD beside BGP (RFC 5882): two speakers in memory; a script says what the watch over the path has found. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BfdReport, idleReport } from '../../src/bfd/path.ts'
import type { BfdSettings, Neighbor } from '../../src/desired/model.ts'
import { parseAddress } from '../../src/ip/address.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'
import { Recorder } from '../../src/speaker/recording/record.ts'
import { replay } from '../../src/speaker/recording/replay.ts'
import type { Environment } from '../../src/speaker/session/environment.ts'
import { type InMemoryHost, InMemoryNetwork, type InMemoryWatch } from '../../src/speaker/session/in-memory.ts'
import { Speaker } from '../../src/speaker/speaker.ts'
import { neighborOf, Recorded } from '../speaker/pair.ts'
import { seen } from '../speaker/virtual.ts'
import { settings } from './stand.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const [own, far] = ['192.0.2.1', '192.0.2.2']
const restart = { isRestart: false, isForwardingPreserved: false }
const route = { prefix: '198.51.100.0/24', routes: [{ neighbors: [`65002/${own}`], attributes: {} }] }

const reportOf = (more: Partial<BfdReport>): BfdReport => {
  const { problem: _problem, ...report } = idleReport('')
  return { ...report, source: own, ...more }
}

class World {
  readonly network = new InMemoryNetwork()
  readonly host: InMemoryHost = this.network.host(address(own))
  readonly farHost: InMemoryHost = this.network.host(address(far))
  readonly node: Recorded
  readonly router: Recorded
  neighbor: Neighbor

  constructor(more: Partial<Neighbor> = {}, around = (environment: Environment): Environment => environment) {
    this.node = new Recorded({ host: own, port: 179 }, restart, around(this.host))
    this.router = new Recorded({ host: far, port: 179 }, restart, this.farHost)
    this.neighbor = neighborOf(65_001, 65_002, far, { routerId: own, bfd: settings(), ...more })
  }

  async start(): Promise<this> {
    await this.node.speaker.start()
    await this.router.speaker.start()
    const { bfd: _bfd, ...alike } = this.neighbor
    const toNode = { ...neighborOf(65_002, 65_001, own), gracefulRestart: alike.gracefulRestart }
    this.router.speaker.handle({ type: 'routes', prefixes: [route] })
    this.router.speaker.handle({ type: 'configure', neighbors: [toNode as Neighbor] })
    this.configure({})
    await this.established()
    await seen(this.network, 'its route', () => this.node.prefixes.length === 1)
    return this
  }

  configure(more: Partial<Neighbor>): void {
    this.neighbor = { ...this.neighbor, ...more }
    this.node.speaker.handle({ type: 'configure', neighbors: [this.neighbor] })
  }

  async established(): Promise<void> {
    await seen(this.network, 'Established', () => this.peer.state === 'Established')
  }

  get peer(): PeerSnapshot {
    return this.node.peers[0] ?? assert.fail('the node has a neighbor')
  }

  get watch(): InMemoryWatch {
    return [...this.host.watches][0] ?? assert.fail('the path is watched')
  }

  up(): void {
    this.watch.tell(reportOf({ state: 'Up', remoteState: 'Up' }))
  }

  logged(pattern: RegExp): boolean {
    return this.node.said.some((message) => message.type === 'log' && pattern.test(message.message))
  }
}

test('RFC 5882 4.2, RFC 5882 10.2: BFD that goes Down ends the session at once with Cease/BFD Down (RFC 9384), and its routes', async () => {
  const world = await new World().start()
  world.up()
  const flaps = world.peer.flaps
  world.watch.tell(reportOf({ state: 'Down', diagnostic: 1 }))
  assert.notEqual(world.peer.state, 'Established')
  const { lastReset } = world.peer
  assert.deepEqual([lastReset?.direction, lastReset?.code, lastReset?.subcode], ['sent', 6, 10])
  assert.match(lastReset?.text ?? '', /BFD session down: control detection time expired/)
  assert.deepEqual([world.node.prefixes, world.peer.flaps], [[], flaps + 1])
  await seen(world.network, 'the router told', () => world.router.peers[0]?.lastReset?.subcode === 10)
  await world.established()
})

test('RFC 5882 4.3: with graceful restart it ends too, and nothing of the peer is kept', async () => {
  for (const notification of [false, true]) {
    const world = await new World({ gracefulRestart: { restartTimeSec: 60, notification } }).start()
    world.up()
    world.watch.tell(reportOf({ state: 'Down', diagnostic: 3 }))
    assert.deepEqual([world.peer.lastReset?.subcode, world.node.prefixes], [notification ? 9 : 10, []])
  }
})

for (const [what, reports] of [
  ['that never was Up', [{ state: 'Down', diagnostic: 1 }]],
  [
    'that the peer took down (AdminDown)',
    [{ state: 'Up' }, { state: 'Down', diagnostic: 3, remoteState: 'AdminDown' }],
  ],
  ['that only came as far as Init', [{ state: 'Init' }, { state: 'Down', diagnostic: 1 }]],
  ['whose thread ended', [{ state: 'Up' }, { state: 'AdminDown', problem: 'the thread of BFD ended' }]],
  [
    'that stays down after the peer took it down',
    [{ state: 'Up' }, { state: 'Down', remoteState: 'AdminDown' }, { state: 'Down', diagnostic: 1 }],
  ],
] as const)
  test(`RFC 5882 3.2: BFD ${what} ends no session`, async () => {
    const world = await new World().start()
    for (const report of reports) world.watch.tell(reportOf(report))
    await world.network.advance(30)
    assert.deepEqual([world.peer.state, world.peer.flaps], ['Established', 0])
  })

test('a session never waits for BFD, and the peer shows what BFD has found', async () => {
  const world = await new World().start()
  assert.equal(world.peer.state, 'Established')
  world.watch.tell(reportOf({ state: 'Down', problem: 'UDP port 3784 is taken' }))
  const { bfdSession } = world.peer
  assert.deepEqual([bfdSession?.report.state, bfdSession?.report.problem], ['Down', 'UDP port 3784 is taken'])
  assert.ok(world.logged(/^BFD: UDP port 3784 is taken/))
  assert.deepEqual(bfdSession?.settings, settings())
})

test('BFD that is lost while no session is up changes nothing, and the next session begins without it', async () => {
  const world = await new World().start()
  world.up()
  world.router.speaker.handle({ type: 'configure', neighbors: [] })
  await seen(world.network, 'the end', () => world.peer.state !== 'Established')
  const { lastReset } = world.peer
  world.watch.tell(reportOf({ state: 'Down', diagnostic: 1 }))
  assert.deepEqual(world.peer.lastReset, lastReset)
})

test('BFD that fell silent before the session came up, and is given up later, ends no session', async () => {
  const world = await new World().start()
  world.up()
  world.node.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: '*' } })
  await world.established()
  const { flaps } = world.peer
  await world.network.advance(1)
  world.watch.tell(reportOf({ state: 'Down', diagnostic: 1, silentMs: 3_000 }))
  assert.deepEqual([world.peer.state, world.peer.flaps], ['Established', flaps])
  world.up()
  world.watch.tell(reportOf({ state: 'Down', diagnostic: 1, silentMs: 300 }))
  assert.deepEqual([world.peer.lastReset?.subcode, world.peer.flaps], [10, flaps + 1])
})

test('other timers, a profile more or less touch the watch alone, never the session', async () => {
  const world = await new World().start()
  world.up()
  const slower: BfdSettings = settings({ transmitIntervalMs: 500 })
  world.configure({ bfd: slower })
  assert.deepEqual([world.host.watches.size, world.watch.settings], [1, slower])
  const { bfd: _bfd, ...without } = world.neighbor
  world.neighbor = without
  world.configure({})
  assert.equal(world.host.watches.size, 0)
  assert.equal(world.peer.bfdSession, undefined)
  world.configure({ bfd: settings() })
  assert.equal(world.host.watches.size, 1)
  await world.network.advance(60)
  assert.deepEqual(
    [world.peer.state, world.peer.flaps, world.peer.transitions.length],
    ['Established', 0, world.peer.transitions.length],
  )
})

test('what an old watch says after its end is heard by nobody', async () => {
  const world = await new World().start()
  world.up()
  const old = world.watch
  const { bfd: _bfd, ...without } = world.neighbor
  world.neighbor = without
  world.configure({})
  old.tell(reportOf({ state: 'Down', diagnostic: 1 }))
  assert.equal(world.peer.state, 'Established')
})

test('a path is watched between the addresses of the session, and begun anew only where they are others', async () => {
  const world = await new World().start()
  const first = world.watch
  assert.deepEqual(first.path, { peer: far, source: own, isMultihop: false, minimumTtl: 1 })
  first.tell(reportOf({ state: 'Up' }))
  world.node.speaker.handle({ type: 'command', id: 1, command: { what: 'reset', peer: '*' } })
  await world.established()
  assert.equal(world.watch, first)
})

for (const [what, more, expected] of [
  ['an external peer on the link', {}, { isMultihop: false, minimumTtl: 1 }],
  ['an external peer over 5 hops', { multihopTtl: 5 }, { isMultihop: true, minimumTtl: 251 }],
  ['an external peer over any number of hops', { multihopTtl: 255 }, { isMultihop: true, minimumTtl: 1 }],
  [
    'whatever other AS over 5 hops',
    { peerAsn: 0, refusesOwnAs: true, multihopTtl: 5 },
    { isMultihop: true, minimumTtl: 251 },
  ],
  ['an external peer with GTSM over 3 hops', { ttlSecurityHops: 3 }, { isMultihop: true, minimumTtl: 253 }],
  [
    'an external peer with GTSM on the link',
    { ttlSecurityHops: 1, multihopTtl: 255 },
    { isMultihop: false, minimumTtl: 1 },
  ],
  [
    'an internal peer with GTSM on the link',
    { peerAsn: 65_001, ttlSecurityHops: 1 },
    { isMultihop: false, minimumTtl: 1 },
  ],
  ['who is said to be far', { bfd: settings({ isMultihop: true }) }, { isMultihop: true, minimumTtl: 1 }],
  ['who is bound to an interface', { interface: 'eth0' }, { device: 'eth0', isMultihop: false, minimumTtl: 1 }],
  ['with a source', { sourceAddress: own }, { source: own, isMultihop: false, minimumTtl: 1 }],
] as const)
  test(`RFC 5881 2, RFC 5883 3: ${what} is watched as such before there is a session`, async () => {
    const world = new World(more)
    world.configure({})
    assert.deepEqual(world.watch.path, { peer: far, ...expected })
  })

test('whether an internal peer is on the link is asked when it is there, and the routing table answers', async () => {
  const world = new World({ peerAsn: 65_001 })
  world.configure({})
  assert.equal(world.host.watches.size, 0)
})

test('the end of the process closes the watch before the connection, that of a neighbor likewise', async () => {
  const world = await new World().start()
  assert.equal(world.host.watches.size, 1)
  world.node.speaker.handle({ type: 'configure', neighbors: [] })
  assert.equal(world.host.watches.size, 0)
  const other = await new World().start()
  other.node.speaker.handle({ type: 'stop', mode: 'restart', text: '' })
  assert.equal(other.host.watches.size, 0)
})

test('a recording has what BFD found, and its replay ends the session likewise', async () => {
  const lines: string[] = []
  const network = new InMemoryNetwork()
  const host = network.host(address(own))
  const recorder = new Recorder(host, restart, 7, (line) => lines.push(JSON.stringify(line)))
  const speaker = new Speaker(restart, recorder, (message) => recorder.tell(message))
  const neighbor = neighborOf(65_001, 65_002, far, { routerId: own, bfd: settings() })
  await speaker.start()
  recorder.hear({ type: 'configure', neighbors: [neighbor] }, (message) => speaker.handle(message))
  for (const state of ['Up', 'Down'] as const) for (const watch of host.watches) watch.tell(reportOf({ state }))
  const faster = { ...neighbor, bfd: settings({ transmitIntervalMs: 50 }) }
  recorder.hear({ type: 'configure', neighbors: [faster] }, (message) => speaker.handle(message))
  await network.advance(1)
  recorder.hear({ type: 'configure', neighbors: [] }, (message) => speaker.handle(message))
  await network.advance(1)
  for (const word of ['"out":"watch"', '"in":"path"', '"out":"configureWatch"', '"out":"endWatch"'])
    assert.ok(
      lines.some((line) => line.includes(word)),
      word,
    )
  assert.equal((await replay(lines.join('\n'))).difference, undefined)
})
