import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ControlPacket, encodeControl } from '../../src/bfd/packet.ts'
import { type BfdPath, isPathLost } from '../../src/bfd/path.ts'
import type { BfdDatagram } from '../../src/bfd/sessions.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { heard, Node, settings, Wire } from './stand.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const datagram = (packet: Partial<ControlPacket>, more: Partial<BfdDatagram> = {}): BfdDatagram => ({
  octets: encodeControl({ ...heard, ...packet }),
  source: address('192.0.2.2'),
  destination: address('192.0.2.1'),
  deviceIndex: 2,
  ttl: 255,
  isMultihop: false,
  ...more,
})

for (const [family, a, b] of [
  ['IPv4', '192.0.2.1', '192.0.2.2'],
  ['IPv6', '2001:db8::1', '2001:db8::2'],
  ['link-local addresses', 'fe80::1', 'fe80::2'],
] as const)
  test(`two nodes come up over ${family}, agree on the slower interval, and see a cut after three of them`, () => {
    const wire = new Wire(a, b).begin(settings({ transmitIntervalMs: 50 }), settings({ receiveIntervalMs: 200 }))
    wire.advance(3_000)
    assert.deepEqual([wire.a.report.state, wire.b.report.state], ['Up', 'Up'])
    assert.deepEqual([wire.a.report.transmitIntervalMs, wire.b.report.transmitIntervalMs], [200, 100])
    assert.deepEqual([wire.a.report.detectionTimeMs, wire.b.report.detectionTimeMs], [300, 600])
    const before = wire.a.report
    wire.isCut = true
    wire.advance(300)
    assert.deepEqual([wire.a.report.state, wire.a.report.diagnostic], ['Down', 1])
    assert.ok(isPathLost(before, wire.a.report))
    wire.isCut = false
    wire.advance(3_000)
    assert.deepEqual([wire.a.report.state, wire.b.report.state], ['Up', 'Up'])
    assert.deepEqual([wire.a.counters.counts(0).upEvents, wire.a.counters.counts(0).downEvents], [2, 1])
  })

test('RFC 5880 6.3: a packet with our discriminator is of that session, whatever its source is', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  const { discriminator } = wire.a.report
  const before = wire.a.counters.counts(0).packetsIn
  const other = { source: address('203.0.113.9') }
  wire.a.sessions.receive(datagram({ state: 'Up', yourDiscriminator: discriminator }, other), wire.nowMs)
  assert.equal(wire.a.counters.counts(0).packetsIn, before + 1)
})

test('whom packets may come from, and by which discriminators, is told anew with each session that comes or goes', () => {
  const node = new Node('192.0.2.1')
  const seen: unknown[] = [node.sessions.generation]
  const note = (peers: number, discriminators: number): void => {
    const { generation, admission } = node.sessions
    assert.ok(!seen.includes(generation))
    seen.push(generation)
    assert.deepEqual([admission.peers.length, admission.discriminators.length], [peers, discriminators])
  }
  const paths = [
    { peer: '192.0.2.2', isMultihop: false, minimumTtl: 1 },
    { peer: '192.0.2.2', isMultihop: true, minimumTtl: 1 },
    { peer: 'fe80::1', device: 'eth0', isMultihop: false, minimumTtl: 1 },
  ]
  for (const [id, path] of paths.entries()) node.sessions.watch(id, path, settings(), 0)
  note(2, 3)
  assert.deepEqual(node.sessions.admission.peers, [address('192.0.2.2'), address('fe80::1')])
  assert.ok(node.sessions.admission.discriminators.includes(node.report.discriminator))
  node.sessions.close(0, 0)
  node.sessions.watch(4, paths[0] ?? assert.fail(), settings(), 0)
  note(2, 3)
  node.sessions.close(2, 0)
  node.sessions.expire(10_000)
  note(1, 2)
  assert.deepEqual(node.sessions.admission.peers, [address('192.0.2.2')])
})

test('RFC 5880 6.8.1: discriminators are random, not 0, and each of its own', () => {
  const node = new Node('192.0.2.1')
  for (let i = 0; i < 200; i++)
    node.sessions.watch(i, { peer: `10.0.0.${i}`, isMultihop: false, minimumTtl: 1 }, settings(), 0)
  const all = new Set(node.reports.map(({ report }) => report.discriminator))
  assert.equal(all.size, 200)
  assert.ok(!all.has(0) && [...all].some((one) => one > 0x7fff_ffff))
})

const forged: readonly (readonly [string, Partial<ControlPacket>, Partial<BfdDatagram>, string])[] = [
  ['a discriminator of nobody', { state: 'Down', yourDiscriminator: 0x0bad_0bad }, {}, 'yourDiscriminator'],
  ['an unknown sender', { yourDiscriminator: 0 }, { source: 0x0a000001 }, 'noSession'],
  ['a TTL of 254', { yourDiscriminator: 0 }, { ttl: 254 }, 'ttl'],
  ['the port of several hops', { yourDiscriminator: 0 }, { isMultihop: true }, 'noSession'],
]

for (const [what, packet, more, reason] of forged)
  test(`RFC 5881 5: a forged packet with ${what} ends nothing and is counted`, () => {
    const wire = new Wire().begin()
    wire.advance(3_000)
    for (let i = 0; i < 1_000; i++) wire.a.sessions.receive(datagram(packet, more), wire.nowMs)
    assert.equal(wire.a.report.state, 'Up')
    assert.equal(wire.a.counters.drops[reason as 'ttl'], 1_000)
  })

test('a session that is Up is not ended by who knows the addresses alone, and is by the peer that has lost us', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  const { remoteDiscriminator: myDiscriminator } = wire.a.report
  const unheard = { yourDiscriminator: 0, diagnostic: 1 }
  for (const state of ['Down', 'AdminDown'] as const)
    for (const desiredMinTxUs of [0, 0xffff_ffff])
      wire.a.sessions.receive(datagram({ ...unheard, state, desiredMinTxUs, detectMultiplier: 255 }), wire.nowMs)
  assert.deepEqual([wire.a.report.state, wire.a.report.detectionTimeMs], ['Up', 300])
  assert.equal(wire.a.counters.drops.yourDiscriminator, 4)
  wire.a.sessions.receive(datagram({ ...unheard, state: 'Down', myDiscriminator }), wire.nowMs)
  assert.deepEqual([wire.a.report.state, wire.a.report.diagnostic], ['Down', 3])
})

test('a peer that began anew is told by the silence of its old session, long before the detection time', () => {
  const wire = new Wire().begin(settings({ detectMultiplier: 30 }), settings({ detectMultiplier: 30 }))
  wire.advance(3_000)
  const before = wire.a.report
  assert.deepEqual([before.state, before.detectionTimeMs], ['Up', 3_000])
  // Not a word of its end.
  wire.isCut = true
  wire.b.sessions.close(1, wire.nowMs)
  wire.isCut = false
  wire.b.sessions.watch(2, wire.path(wire.a.address), settings({ detectMultiplier: 30 }), wire.nowMs)
  wire.advance(199)
  assert.equal(wire.a.report.state, 'Up')
  const told = wire.a.reports.length
  wire.advance(1)
  const lost = wire.a.reports[told]?.report
  assert.deepEqual([lost?.state, lost?.diagnostic, lost?.remoteState], ['Down', 3, 'Down'])
  assert.ok((lost?.silentMs ?? 0) >= 200 && (lost?.silentMs ?? 0) <= 300, String(lost?.silentMs))
  // It has heard Down at once, and both are there.
  assert.deepEqual([wire.a.report.state, wire.b.report.state], ['Up', 'Up'])
  assert.notEqual(wire.a.report.remoteDiscriminator, before.remoteDiscriminator)
  assert.equal(wire.a.counters.counts(0).downEvents, 1)
})

test('a flood of packets of who pretends to have begun anew ends no session whose peer is there', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  for (let ms = 0; ms < 5_000; ms++) {
    wire.a.sessions.receive(datagram({ yourDiscriminator: 0, myDiscriminator: 1 + ms }), wire.nowMs)
    // No two packets of the peer in a row are lost.
    wire.isCut = ms % 300 < 70
    wire.advance(1)
  }
  assert.deepEqual([wire.a.report.state, wire.a.counters.counts(0).downEvents], ['Up', 0])
})

test('one peer address behind two interfaces: who says no discriminator is of the interface it came in by', () => {
  const node = new Node('192.0.2.1')
  for (const [id, device] of ['eth0', 'eth1'].entries()) {
    node.deviceIndex = id + 2
    node.sessions.watch(id, { peer: '192.0.2.2', device, isMultihop: false, minimumTtl: 1 }, settings(), 0)
  }
  for (const deviceIndex of [3, 2, 3]) node.sessions.receive(datagram({ yourDiscriminator: 0 }, { deviceIndex }), 0)
  assert.deepEqual([node.counters.counts(0).packetsIn, node.counters.counts(1).packetsIn], [1, 2])
  // A port of the VRF that a session is bound to.
  node.sessions.receive(datagram({ yourDiscriminator: 0 }, { deviceIndex: 9 }), 0)
  assert.equal(node.counters.drops.noSession, 0)
})

test('RFC 5881 5: who knows our discriminator still has to be on the link, and on its port', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  const { discriminator: yourDiscriminator } = wire.a.report
  wire.a.sessions.receive(datagram({ yourDiscriminator }, { ttl: 254 }), wire.nowMs)
  wire.a.sessions.receive(datagram({ yourDiscriminator }, { isMultihop: true }), wire.nowMs)
  assert.equal(wire.a.report.state, 'Up')
  assert.deepEqual([wire.a.counters.drops.ttl, wire.a.counters.drops.yourDiscriminator], [1, 1])
})

test('no octets that a stranger can send take a session down that he cannot see', () => {
  const strangers = fc.record({
    octets: fc.oneof(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ minLength: 24, maxLength: 24 })),
    source: fc.constantFrom(address('192.0.2.2'), address('10.0.0.1'), address('2001:db8::2')),
    ttl: fc.constantFrom(1, 64, 254),
    isMultihop: fc.boolean(),
  })
  const wire = new Wire().begin()
  wire.advance(3_000)
  const before = wire.a.counters.counts(0).packetsIn
  fc.assert(
    fc.property(strangers, (one) => {
      wire.a.sessions.receive({ ...datagram({}), ...one }, wire.nowMs)
      assert.equal(wire.a.report.state, 'Up')
    }),
    { numRuns: 3_000 },
  )
  assert.equal(wire.a.counters.counts(0).packetsIn, before)
  wire.advance(10_000)
  assert.equal(wire.a.counters.counts(0).downEvents, 0)
})

test('RFC 5883 5: over several hops the TTL limit is that of the profile, else of the session', () => {
  for (const [minimumTtl, byPath, taken] of [
    [250, 1, [255, 250]],
    [undefined, 253, [255, 254, 253]],
    [undefined, 1, [255, 250, 1]],
  ] as const) {
    const node = new Node('192.0.2.1')
    const own = minimumTtl === undefined ? settings() : settings({ minimumTtl })
    node.sessions.watch(1, { peer: '192.0.2.2', isMultihop: true, minimumTtl: byPath }, own, 0)
    const before = (): number => node.counters.counts(0).packetsIn
    const passes = [255, 254, 253, 250, 249, 1].filter((ttl) => {
      const count = before()
      node.sessions.receive(datagram({ yourDiscriminator: 0, state: 'AdminDown' }, { ttl, isMultihop: true }), 0)
      return before() > count
    })
    assert.deepEqual([passes.at(-1), passes[0]], [taken.at(-1), 255])
  }
})

test('one link-local peer address on two interfaces is two sessions (RFC 5881 4)', () => {
  const node = new Node('fe80::1')
  for (const [id, device] of ['eth0', 'eth1'].entries()) {
    node.deviceIndex = id + 2
    node.sessions.watch(id, { peer: 'fe80::2', device, isMultihop: false, minimumTtl: 1 }, settings(), 0)
  }
  const from = { source: address('fe80::2'), destination: address('fe80::1') }
  node.sessions.receive(datagram({ yourDiscriminator: 0 }, { ...from, deviceIndex: 3 }), 0)
  assert.deepEqual([node.counters.counts(0).packetsIn, node.counters.counts(1).packetsIn], [0, 1])
  node.sessions.receive(datagram({ yourDiscriminator: 0 }, { ...from, deviceIndex: 9 }), 0)
  assert.equal(node.counters.drops.noSession, 1)
})

test('RFC 5881 3: two who watch one path share a session, and the faster one of them decides', () => {
  const wire = new Wire().begin()
  wire.a.sessions.watch(2, wire.path(wire.b.address), settings({ receiveIntervalMs: 50 }), wire.nowMs)
  assert.equal(wire.a.sessions.size, 1)
  wire.advance(3_000)
  assert.equal(wire.b.report.remoteReceiveIntervalMs, 50)
  assert.deepEqual(
    wire.a.reports.slice(-2).map(({ id, report }) => [id, report.state]),
    [
      [1, 'Up'],
      [2, 'Up'],
    ],
  )
  wire.a.sessions.close(2, wire.nowMs)
  wire.advance(3_000)
  assert.deepEqual([wire.b.report.state, wire.b.report.remoteReceiveIntervalMs], ['Up', 100])
  assert.equal(wire.b.counters.counts(0).downEvents, 0)
})

test('RFC 5883 4: who watches one peer from two addresses of ours has two sessions, each with its own packets', () => {
  const node = new Node('192.0.2.1')
  const path = (source?: string): BfdPath => ({
    ...{ peer: '192.0.2.2', isMultihop: true, minimumTtl: 1 },
    ...(source === undefined ? {} : { source }),
  })
  node.sessions.watch(1, path(), settings(), 0)
  node.sessions.watch(2, path('192.0.2.9'), settings(), 0)
  // The kernel sends from there anyway.
  node.sessions.watch(3, path('192.0.2.1'), settings(), 0)
  node.sessions.watch(4, path(), settings(), 0)
  assert.deepEqual([node.sessions.size, node.openLinks], [2, 2])
  const states = (): readonly (string | undefined)[] =>
    [1, 2, 3, 4].map((id) => node.reports.findLast((each) => each.id === id)?.report.state)
  const hear = (to: string): void =>
    node.sessions.receive(
      datagram({ yourDiscriminator: 0 }, { destination: address(to), isMultihop: true, ttl: 255 }),
      0,
    )
  hear('192.0.2.9')
  assert.deepEqual(states(), ['Down', 'Init', 'Down', 'Down'])
  hear('192.0.2.1')
  assert.deepEqual(states(), ['Init', 'Init', 'Init', 'Init'])
  node.sessions.close(2, 0)
  assert.deepEqual(states(), ['Init', 'Init', 'Init', 'Init'])
  node.sessions.expire(60_000)
  assert.deepEqual([node.sessions.size, node.openLinks], [1, 1])
})

test('while the kernel cannot say from where it would send, whoever watches a peer is taken for one path', () => {
  const node = new Node('192.0.2.1')
  node.refusal = 'there is no route'
  for (const [id, source] of [undefined, '192.0.2.9'].entries()) {
    const more = source === undefined ? {} : { source }
    node.sessions.watch(id, { peer: '192.0.2.2', isMultihop: false, minimumTtl: 1, ...more }, settings(), 0)
  }
  assert.equal(node.sessions.size, 1)
})

test('other timers reach the other side by a Poll, and nobody goes down for them (RFC 5880 6.8.3)', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  wire.a.sessions.configure(1, settings({ transmitIntervalMs: 400, receiveIntervalMs: 400 }), wire.nowMs)
  wire.advance(2_000)
  assert.deepEqual([wire.a.report.detectionTimeMs, wire.b.report.detectionTimeMs], [1_200, 1_200])
  wire.a.sessions.configure(1, settings({ transmitIntervalMs: 20, receiveIntervalMs: 20 }), wire.nowMs)
  wire.b.sessions.configure(1, settings({ transmitIntervalMs: 20, receiveIntervalMs: 20 }), wire.nowMs)
  wire.advance(2_000)
  assert.deepEqual([wire.a.report.detectionTimeMs, wire.b.report.detectionTimeMs], [60, 60])
  assert.deepEqual([wire.a.counters.counts(0).downEvents, wire.b.counters.counts(0).downEvents], [0, 0])
})

test('RFC 5880 6.8.16: who stops to watch says AdminDown, which is no failure there, and then nothing', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  const before = wire.b.report
  wire.a.sessions.close(1, wire.nowMs)
  wire.advance(1)
  assert.deepEqual([wire.b.report.state, wire.b.report.remoteState], ['Down', 'AdminDown'])
  assert.ok(!isPathLost(before, wire.b.report))
  wire.advance(5_000)
  const sent = wire.a.octets.length
  wire.advance(5_000)
  assert.deepEqual([wire.a.octets.length, wire.a.sessions.size, wire.a.openLinks], [sent, 0, 0])
  wire.a.sessions.watch(9, wire.path(wire.b.address), settings(), wire.nowMs)
  wire.advance(5_000)
  assert.equal(wire.b.report.state, 'Up')
})

test('a process that ends says AdminDown of every session at once', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  wire.a.sessions.stop(wire.nowMs)
  assert.deepEqual([wire.a.last.state, wire.a.last.diagnostic, wire.a.openLinks], ['AdminDown', 7, 0])
})

test('a socket that cannot be had is named and tried again, and what is lost meanwhile comes back', () => {
  const wire = new Wire()
  wire.a.refusal = 'bind to the source address: EADDRNOTAVAIL'
  wire.begin()
  wire.advance(2_000)
  assert.notEqual(wire.a.report.state, 'Up')
  assert.equal(wire.a.report.problem, wire.a.refusal)
  wire.a.refusal = undefined
  wire.advance(5_000)
  assert.deepEqual([wire.a.report.state, wire.a.report.problem], ['Up', undefined])
  wire.a.refusal = 'send: ENODEV'
  wire.advance(1_000)
  assert.deepEqual([wire.b.report.state, wire.a.report.problem], ['Down', 'send: ENODEV'])
  wire.a.refusal = undefined
  wire.advance(5_000)
  assert.deepEqual([wire.a.report.state, wire.a.report.problem], ['Up', undefined])
})

test('a port that another daemon has is told of every session of its kind, and so is its end', () => {
  const wire = new Wire().begin()
  wire.a.problem = 'UDP port 3784 is taken'
  wire.a.sessions.retell()
  assert.equal(wire.a.report.problem, 'UDP port 3784 is taken')
  wire.a.problem = undefined
  wire.a.sessions.retell()
  assert.equal(wire.a.report.problem, undefined)
})

test('a peer that is another one with every packet costs those who watch ten reports in a row, then ten a second', () => {
  const node = new Node('192.0.2.1')
  node.sessions.watch(1, { peer: '192.0.2.2', isMultihop: false, minimumTtl: 1 }, settings(), 0)
  for (let ms = 0; ms < 2_000; ms++)
    for (const state of ['Down', 'AdminDown', 'Down'] as const) {
      node.sessions.receive(datagram({ yourDiscriminator: 0, myDiscriminator: 1 + ms, state }), ms)
      node.sessions.expire(ms)
    }
  assert.ok(node.reports.length >= 10 && node.reports.length <= 35, String(node.reports.length))
  node.sessions.receive(datagram({ yourDiscriminator: 0, myDiscriminator: 4_711, state: 'Down' }), 2_000)
  node.sessions.expire(2_000)
  node.sessions.expire(2_100)
  assert.equal(node.report.remoteDiscriminator, 4_711, 'the last of it is told')
})

test('a node that stood still hears what had come before it calls anybody silent', () => {
  const wire = new Wire().begin()
  wire.advance(3_000)
  const packet = datagram({ state: 'Up', yourDiscriminator: wire.a.report.discriminator })
  wire.a.sessions.receive(packet, wire.nowMs + 60_000)
  wire.a.sessions.expire(wire.nowMs + 60_000)
  assert.equal(wire.a.report.state, 'Up')
})

test('sessions beyond the rows of the counters work all the same', () => {
  const node = new Node('192.0.2.1')
  for (let i = 0; i < 1_030; i++)
    node.sessions.watch(i, { peer: `10.0.${i >> 8}.${i & 255}`, isMultihop: false, minimumTtl: 1 }, settings(), 0)
  assert.deepEqual([node.sessions.size, node.report.row], [1_030, -1])
  node.sessions.expire(5_000)
  assert.deepEqual(node.counters.counts(-1), { packetsIn: 0, packetsOut: 0, upEvents: 0, downEvents: 0 })
})
