/** Flows: nobody but their two ends can end, move or leak one, and either half of their state may be lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { familyOf } from './family.ts'
import { egress, evict, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { frame, icmpMessage, parse, TCP, tcpFlag, tcpFrame, tcpSegment, udpFrame, type Parsed } from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, podAt, vipAt, ICMP, unreachable } = family
const pod = { address: podAt(5), port: 8080 }
const other = { address: podAt(6), port: 8080 }
const { SYN, ACK, FIN, RST, PSH } = tcpFlag

/** One TCP connection, with the numbers of both ends. */
class Connection {
  readonly #datapath: KernelDatapath
  readonly to: string
  readonly toPort: number
  readonly port: number
  clientSeq = 1000
  podSeq = 70_000
  /** As the pod sees it. */
  seenPort = 0
  seenPod = ''

  constructor(datapath: KernelDatapath, port = 40_000, to = vip, toPort = 80) {
    this.#datapath = datapath
    this.to = to
    this.toPort = toPort
    this.port = port
  }

  /** What becomes of a segment of the client. */
  fromClient(
    flags: number,
    length = 0,
    seq = this.clientSeq,
    ack = this.podSeq,
  ): Parsed & { readonly verdict: number } {
    const { to: destination, toPort: destinationPort, port: sourcePort } = this
    const data = new Uint8Array(length)
    const bytes = tcpFrame({ source: client, destination, sourcePort, destinationPort, flags, seq, ack, data })
    const run = ingress(this.#datapath, bytes)
    return { ...parse(run.packet), verdict: run.verdict }
  }

  fromPod(flags: number, length = 0): Parsed & { readonly verdict: number } {
    const run = egress(
      this.#datapath,
      tcpFrame({
        source: this.seenPod,
        sourcePort: pod.port,
        destination: client,
        destinationPort: this.seenPort,
        flags,
        seq: this.podSeq,
        ack: this.clientSeq,
        data: new Uint8Array(length),
      }),
    )
    return { ...parse(run.packet), verdict: run.verdict }
  }

  open(): this {
    const syn = this.fromClient(SYN)
    this.seenPod = syn.destination
    this.seenPort = syn.sourcePort
    this.clientSeq++
    this.fromPod(SYN | ACK)
    this.podSeq++
    this.fromClient(ACK)
    return this
  }

  sends(length: number): void {
    this.fromClient(ACK | PSH, length)
    this.clientSeq += length
  }

  /** Both ends are where they were, and the client sees whom it talks to. */
  assertAlive(what: string): void {
    const there = this.fromClient(ACK)
    assert.equal(there.verdict, verdict.pass, what)
    assert.deepEqual([there.destination, there.sourcePort], [this.seenPod, this.seenPort], what)
    const back = this.fromPod(ACK)
    assert.equal(back.verdict, verdict.pass, what)
    assert.deepEqual(
      [back.source, back.sourcePort, back.destinationPort],
      [this.to, this.toPort, this.port],
      `${what}: the client hears whom it spoke to`,
    )
    assert.ok(there.isL4ChecksumRight && back.isL4ChecksumRight && back.isIpChecksumRight, what)
  }
}

/** What a host sends that knows the tuple and neither sequence number. */
const spoofed = fc.record({
  kind: fc.constantFrom('tcp', 'tcp', 'tcp', 'icmp', 'udp'),
  direct: fc.boolean(),
  flags: fc.constantFrom(SYN, RST, RST | ACK, FIN, FIN | ACK, ACK, SYN | ACK, SYN | FIN, SYN | RST, FIN | RST, 0, 0x3f),
  // Never a number near those of the connection: that would be a guess.
  seq: fc.integer({ min: 0x1000_0000, max: 0x7fff_0000 }),
  ack: fc.integer({ min: 0x1000_0000, max: 0x7fff_0000 }),
  length: fc.constantFrom(0, 0, 1, 100),
  code: fc.nat(15),
})

for (const [state, change] of [
  ['takes new connections', () => {}],
  ['drains', (datapath) => datapath.upsert(frontendOf(vip, 80, [other]))],
  ['rests', (datapath) => datapath.upsert({ ...frontendOf(vip, 80, [other]), resting: [pod] })],
] as readonly (readonly [string, (datapath: KernelDatapath) => void])[]) {
  test(`whatever a host sends that knows the tuple, a connection with a backend that ${state} is neither ended nor ` +
    'moved nor leaked', { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    const connection = new Connection(datapath).open()
    change(datapath)
    const send = ({
      kind,
      direct,
      flags,
      seq,
      ack,
      length,
      code,
    }: typeof spoofed extends fc.Arbitrary<infer T> ? T : never) => {
      const tuple = {
        source: client,
        sourcePort: connection.port,
        destination: direct ? pod.address : vip,
        destinationPort: direct ? pod.port : 80,
      }
      const data = new Uint8Array(length)
      if (kind === 'udp') return udpFrame({ ...tuple, data })
      if (kind === 'tcp') return tcpFrame({ ...tuple, flags, seq, ack, data })
      const quoted = tcpSegment({
        ...tuple,
        source: tuple.destination,
        destination: client,
        sourcePort: 80,
        destinationPort: connection.port,
        flags,
        seq,
      })
      const packet = frame({ source: tuple.destination, destination: client, protocol: TCP, payload: quoted })
      const payload = icmpMessage(unreachable.type, code, 0, packet.slice(14), {
        source: client,
        destination: tuple.destination,
      })
      return frame({ source: client, destination: tuple.destination, protocol: ICMP, payload })
    }
    fc.assert(
      fc.property(fc.array(spoofed, { minLength: 1, maxLength: 8 }), (packets) => {
        for (const packet of packets) ingress(datapath, send(packet))
        connection.assertAlive(JSON.stringify(packets))
      }),
      { numRuns: 150, seed: 7 },
    )
  })
}

const endings: readonly (readonly [string, (connection: Connection) => void])[] = [
  [
    "the client and the pod have sent FIN, and the pod has acknowledged the client's",
    (connection) => {
      connection.fromClient(FIN | ACK)
      connection.clientSeq++
      connection.fromPod(FIN | ACK)
    },
  ],
  [
    'the pod has sent FIN first',
    (connection) => {
      connection.fromPod(FIN | ACK)
      connection.podSeq++
      connection.fromClient(FIN | ACK)
      connection.clientSeq++
      connection.fromPod(ACK)
    },
  ],
  ['the client has sent a RST with the number that the pod expects', (connection) => connection.fromClient(RST)],
  [
    'the client has sent a RST behind data in flight',
    (connection) => {
      connection.sends(3000)
      connection.fromClient(RST | ACK)
    },
  ],
  ['the pod has sent a RST', (connection) => connection.fromPod(RST)],
]
for (const [how, end] of endings) {
  test(`a SYN begins a new connection once the former one is over: ${how}`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    const former = new Connection(datapath).open()
    datapath.upsert(frontendOf(vip, 80, [other]))
    assert.equal(former.fromClient(SYN, 0, 99_999).destination, pod.address, 'not before')
    end(former)
    const next = new Connection(datapath).open()
    assert.equal(next.seenPod, other.address)
    next.assertAlive('the new one')
  })
}

test('a FIN of each side that nobody acknowledges, or a RST out of the window, ends nothing', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const connection = new Connection(datapath).open()
  datapath.upsert(frontendOf(vip, 80, [other]))
  connection.fromPod(FIN | ACK)
  connection.podSeq++
  connection.fromClient(FIN | ACK, 0, connection.clientSeq + 50_000)
  for (const offset of [-1, 1, 70_000, -70_000, 0x4000_0000])
    connection.fromClient(RST, 0, (connection.clientSeq + offset) >>> 0)
  assert.equal(connection.fromClient(SYN, 0, 5).destination, pod.address)
  connection.assertAlive('half closed')
})

for (const protocol of ['TCP', 'UDP'] as const) {
  for (const first of ['VIP', 'pod'] as const) {
    test(`${protocol}: flows of one client port to the VIP and to its pod directly are two flows, the ${first} first`, {
      skip,
    }, (t) => {
      const datapath = kernelFixture(t).open()
      datapath.upsert(frontendOf(vip, 80, [pod], protocol))
      const make = protocol === 'TCP' ? tcpFrame : udpFrame
      const places = [
        { destination: vip, destinationPort: 80 },
        { destination: pod.address, destinationPort: pod.port },
      ]
      if (first === 'pod') places.reverse()
      const seen = places.map((place) =>
        parse(ingress(datapath, make({ source: client, sourcePort: 40_000, ...place, flags: SYN })).packet),
      )
      assert.deepEqual([seen[0]?.sourcePort, seen[1]?.sourcePort === 40_000], [40_000, false])
      for (let round = 0; round < 3; round++) {
        for (const [i, place] of places.entries()) {
          const port = seen[i]?.sourcePort ?? 0
          const there = parse(
            ingress(
              datapath,
              make({ source: client, sourcePort: 40_000, ...place, flags: ACK, data: Uint8Array.of(1) }),
            ).packet,
          )
          assert.deepEqual([there.destination, there.destinationPort, there.sourcePort], [pod.address, pod.port, port])
          assert.ok(there.isIpChecksumRight && there.isL4ChecksumRight)
          const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: port }
          const back = parse(egress(datapath, make({ ...reply, flags: ACK, data: Uint8Array.of(2) })).packet)
          assert.deepEqual(
            [back.source, back.sourcePort, back.destinationPort],
            [place.destination, place.destinationPort, 40_000],
          )
          assert.ok(back.isIpChecksumRight && back.isL4ChecksumRight)
        }
      }
    })
  }
}

test('a direct connection may have the ports of a VIP connection that is over, and the other way round', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  for (const [to, port] of [
    [vip, 80],
    [pod.address, pod.port],
    [vip, 80],
  ] as const) {
    const connection = new Connection(datapath, 40_000, to, port).open()
    assert.equal(connection.seenPort, 40_000, `to ${to}`)
    connection.assertAlive(`to ${to}`)
    connection.fromClient(FIN | ACK)
    connection.clientSeq++
    connection.fromPod(FIN | ACK)
  }
})

test('a connection that the pod begins from its service port is its own', { skip }, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const fromPod = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: 443 }
  for (const flags of [SYN, ACK, ACK | PSH, FIN | ACK]) {
    const bytes = tcpFrame({ ...fromPod, flags })
    assert.deepEqual(egress(datapath, bytes).packet, bytes)
  }
})

for (const half of [0, 1] as const) {
  test(`the half of the ${half === 0 ? 'client' : 'pod'}'s packets may vanish: the next packet of either side brings ` +
    'it back, with one flow, with two on one client port, and directly', { skip }, (t) => {
    const fixture = kernelFixture(t)
    const datapath = fixture.open({ settleSec: 0 })
    datapath.upsert(frontendOf(vip, 80, [pod]))
    datapath.upsert(frontendOf(secondVip, 80, [pod]))
    const connections = [
      new Connection(datapath).open(),
      new Connection(datapath, 40_000, secondVip).open(),
      new Connection(datapath, 40_000, pod.address, pod.port).open(),
      new Connection(datapath, 40_001, pod.address, pod.port).open(),
    ]
    assert.equal(new Set(connections.slice(0, 3).map(({ seenPort }) => seenPort)).size, 3)
    for (const connection of connections) connection.assertAlive('before')
    evict(fixture.bpffs, half)
    const backs = connections.map((connection) => connection.fromPod(ACK, 10))
    // A direct flow with its own ports has one half, and when that is gone the client has to speak first.
    for (const [i, back] of backs.slice(0, 3).entries())
      assert.deepEqual([back.verdict, back.source], [verdict.pass, connections[i]?.to], `flow ${i}, pod first`)
    for (const connection of connections) connection.assertAlive('after the pod spoke')
    evict(fixture.bpffs, half)
    for (const connection of connections) connection.assertAlive('client first')
  })
}

test('a forward half that is lost while the backends change is found by the table before', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0 })
  const pods = [1, 2, 3, 4].map((n) => ({ address: podAt(n), port: 8080 }))
  datapath.upsert(frontendOf(vip, 80, pods))
  const connections = Array.from({ length: 60 }, (_, n) => new Connection(datapath, 41_000 + n).open())
  datapath.upsert({ ...frontendOf(vip, 80, pods.slice(0, 2)), resting: pods.slice(2) })
  evict(fixture.bpffs, 0)
  for (const connection of connections) connection.assertAlive(`port ${connection.port}`)
})

for (const protocol of ['TCP', 'UDP'] as const) {
  test(`${protocol}: when all state is lost a pod's packet never leaves with the pod's address, and is counted`, {
    skip,
  }, (t) => {
    const fixture = kernelFixture(t)
    const datapath = fixture.open({ settleSec: 0 })
    for (const address of [vip, secondVip]) datapath.upsert(frontendOf(address, 80, [pod], protocol))
    const make = protocol === 'TCP' ? tcpFrame : udpFrame
    const tuple = { source: client, sourcePort: 40_000, destination: vip, destinationPort: 80 }
    const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: 40_000 }
    ingress(datapath, make({ ...tuple, flags: SYN }))
    evict(fixture.bpffs, 0)
    evict(fixture.bpffs, 1)
    assert.equal(egress(datapath, make({ ...reply, flags: ACK })).verdict, verdict.shot)
    assert.equal(datapath.reasons()['reply_unmatched'], 1)
    ingress(datapath, make({ ...tuple, flags: ACK }))
    assert.equal(parse(egress(datapath, make({ ...reply, flags: ACK })).packet).source, vip, 'the client spoke again')
  })
}

test('a datagram that a backend of one VIP sends unasked is of the VIP, and its answer comes back to it', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.upsert(frontendOf(vip, 53, [pod, other], 'UDP'))
  for (const from of [pod, other]) {
    const reply = { source: from.address, sourcePort: from.port, destination: client, destinationPort: 1234 }
    const out = parse(egress(datapath, udpFrame(reply)).packet)
    assert.deepEqual([out.source, out.sourcePort], [vip, 53])
    const answer = { source: client, sourcePort: out.destinationPort, destination: vip, destinationPort: 53 }
    const back = parse(ingress(datapath, udpFrame(answer)).packet)
    if (from === pod) assert.equal(back.destination, pod.address)
  }
})

test("what a pod says on connections older than its Service passes for a while, and is no VIP's", { skip }, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 60 })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const push = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: 40_000 }
  const bytes = tcpFrame({ ...push, flags: ACK | PSH })
  assert.deepEqual(egress(datapath, bytes).packet, bytes)
  const connection = new Connection(datapath).open()
  assert.notEqual(connection.seenPort, 40_000, 'the pod has this port in use')
  connection.assertAlive('beside the older one')
  assert.deepEqual(egress(datapath, bytes).packet, bytes)
})

test('a flood of SYNs, datagrams and stray segments from as many sources evicts nothing that is established', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  datapath.upsert(frontendOf(vip, 80, [pod], 'UDP'))
  const idle = Array.from({ length: 200 }, (_, n) => new Connection(datapath, 20_000 + n).open())
  const sessions = Array.from({ length: 100 }, (_, n) => ({
    source: client,
    sourcePort: 20_000 + n,
    destination: vip,
    destinationPort: 80,
  }))
  for (const session of sessions) {
    ingress(datapath, udpFrame(session))
    egress(
      datapath,
      udpFrame({
        ...session,
        source: pod.address,
        sourcePort: pod.port,
        destination: client,
        destinationPort: session.sourcePort,
      }),
    )
    ingress(datapath, udpFrame(session))
  }
  for (let n = 0; n < 9000; n++) {
    const source = family.isIpv6 ? `2001:db8:113::${n.toString(16)}` : `203.0.${n >> 8}.${n & 255}`
    const tuple = { source, sourcePort: 1024 + n, destination: vip, destinationPort: 80 }
    const direct = { ...tuple, destination: pod.address, destinationPort: pod.port }
    ingress(datapath, tcpFrame({ ...tuple, flags: SYN }))
    if (n % 3 === 0) ingress(datapath, tcpFrame({ ...tuple, flags: ACK, seq: 5, ack: 6 }))
    if (n % 3 === 1) ingress(datapath, udpFrame(tuple))
    if (n % 3 === 2) ingress(datapath, tcpFrame({ ...direct, flags: SYN }))
    // The pod answers a SYN, and one that makes no sense with an ACK of its own.
    const answer = { source: pod.address, sourcePort: pod.port, destination: source, destinationPort: 1024 + n }
    egress(datapath, tcpFrame({ ...answer, flags: SYN | ACK, seq: 9, ack: 1001 }))
    egress(datapath, tcpFrame({ ...answer, flags: ACK, seq: 10, ack: 1001 }))
  }
  for (const connection of idle) {
    const back = connection.fromPod(ACK, 1)
    assert.deepEqual([back.verdict, back.source], [verdict.pass, vip], `the pod speaks first to ${connection.port}`)
  }
  for (const connection of idle) connection.assertAlive(`port ${connection.port}`)
  for (const { sourcePort } of sessions) {
    const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: sourcePort }
    assert.equal(parse(egress(datapath, udpFrame(reply)).packet).source, vip)
  }
})

for (const protocol of ['TCP', 'UDP'] as const) {
  test(`${protocol}: who takes every port of a client, by forging its address, keeps it from no new flow`, {
    skip,
  }, (t) => {
    const datapath = kernelFixture(t).open({ settleSec: 0 })
    const vips = [vip, ...[1, 2, 3, 4, 5].map((n) => vipAt(20 + n))]
    for (const address of vips) datapath.upsert(frontendOf(address, 80, [pod], protocol))
    const make = protocol === 'TCP' ? tcpFrame : udpFrame
    const held = new Connection(datapath, 40_000, vips[1])
    if (protocol === 'TCP') held.open()
    for (const flags of [SYN, ACK]) {
      for (let sourcePort = 1024; sourcePort < 65_536; sourcePort += 61)
        for (const near of [
          40_000,
          40_000 + 0x3a5d,
          (40_000 + 2 * 0x3a5d) % 65_536,
          (40_000 + 3 * 0x3a5d) % 65_536,
          sourcePort,
        ])
          ingress(
            datapath,
            make({ source: client, sourcePort: near, destination: pod.address, destinationPort: pod.port, flags }),
          )
      for (const destination of vips.slice(2))
        ingress(datapath, make({ source: client, sourcePort: 40_000, destination, destinationPort: 80, flags }))
    }
    const there = parse(
      ingress(datapath, make({ source: client, sourcePort: 40_000, destination: vip, destinationPort: 80, flags: SYN }))
        .packet,
    )
    assert.equal(there.destination, pod.address)
    const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: there.sourcePort }
    const back = parse(egress(datapath, make({ ...reply, flags: SYN | ACK })).packet)
    assert.deepEqual([back.source, back.sourcePort, back.destinationPort], [vip, 80, 40_000])
    if (protocol === 'TCP') held.assertAlive('what both ends know of')
    assert.equal(datapath.reasons()['flows_full'], 0)
  })
}
