/** Backends on nodes that take no packets from others: flows leave with an address and a port of this node. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { schema } from '../../src/datapath/layout.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import type { PortRange } from '../../src/desired/model.ts'
import { BpfMap, closeFd, openPinned, programInfo } from '../../src/sys/bpf.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import {
  cut,
  frame,
  icmpMessage,
  parse,
  type Parsed,
  tcpFlag,
  type tcpFrame,
  tcpSegment,
  TCP,
  udpFrame,
  withLifetime,
} from './frames.ts'
import { left, ports, type Rig, snatWorld } from './snat-rig.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, router, ICMP, podAt, nodeAt, isIpv6, tooBig, unreachable } = family
const { own, pod, enter, rigOf, toVip, fromClient, fromPod, portOf, connected } = snatWorld(family)
const { SYN, ACK, RST, FIN } = tcpFlag
const four: PortRange = { first: 61_000, last: 61_003 }
const l3 = 14

if (skip === undefined) enter()

function withMap<Result>(bpffs: string, name: string, use: (map: BpfMap) => Result): Result {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`) ?? assert.fail(name)
  try {
    return use(new BpfMap(name, fd))
  } finally {
    closeFd(fd)
  }
}

const seenAt = 32
const directionAt = 37

/** As if nothing had been heard of any flow for so long. */
function beSilent(bpffs: string, seconds: number): void {
  for (const name of ['snat', 'snat_openings'])
    withMap(bpffs, name, (map) => {
      for (const [key, value] of [...map.entries()].map(([key, value]) => [key.slice(), value.slice()] as const)) {
        const view = new DataView(value.buffer)
        view.setUint32(seenAt, view.getUint32(seenAt, true) - Math.ceil((seconds * 1e9) / 2 ** 30), true)
        map.update(key, value)
      }
    })
}

/** Removes one half of every flow. */
function evictHalf(bpffs: string, direction: 0 | 1): number {
  let evicted = 0
  for (const name of ['snat', 'snat_openings'])
    withMap(bpffs, name, (map) => {
      for (const key of [...map.entries()].map(([key]) => key.slice()).filter((key) => key[directionAt] === direction))
        evicted += Number(map.delete(key))
    })
  return evicted
}

test('a connection leaves with an address and a port of the node, a hop further, and comes back as the VIP', {
  skip,
}, (t) => {
  const rig = rigOf(t)
  const syn = rig.send(fromClient(SYN))
  const port = portOf(syn)
  assert.ok(port >= ports.first && port <= ports.last)
  assert.equal(parse(syn.packet).ttl, parse(fromClient(SYN)).ttl - 1)
  assert.equal(portOf(rig.send(fromClient(SYN))), port, 'sent again')
  const reply = rig.send(fromPod(port, SYN | ACK, { seq: 6, ack: 1001 }))
  const back = left(reply)
  assert.deepEqual([back.source, back.sourcePort, back.destination, back.destinationPort], [vip, 80, client, 40_000])
  assert.equal(back.ttl, parse(fromPod(port, ACK)).ttl - 1)
  const data = Uint8Array.from({ length: 333 }, (_, i) => i)
  const sent = rig.send(fromClient(ACK, 40_000, { seq: 1001, ack: 7, data }))
  assert.equal(portOf(sent), port)
  assert.deepEqual([...parse(sent.packet).payload.slice(20)], [...data])
  const counters = rig.datapath.counters(`${isIpv6 ? `[${vip}]` : vip}:80/TCP`)
  assert.deepEqual([counters?.packetsIn, counters?.packetsOut, counters?.newConnections], [3, 1, 1])
})

test('datagrams go and come likewise, those without a checksum and those in fragments too', { skip }, (t) => {
  const rig = rigOf(t)
  const data = new Uint8Array(64).fill(9)
  const port = portOf(rig.send(udpFrame({ ...toVip(40_000), data })))
  assert.equal(portOf(rig.send(udpFrame({ ...toVip(40_000), data }))), port)
  const answer = { source: pod.address, destination: own, sourcePort: 8080, destinationPort: port, data }
  const back = left(rig.send(udpFrame(answer)))
  assert.deepEqual([back.source, back.sourcePort, back.destination, back.destinationPort], [vip, 80, client, 40_000])
  assert.equal(portOf(rig.send(udpFrame({ ...toVip(40_000), data }))), port)
  if (!isIpv6) {
    const without = parse(rig.send(udpFrame({ ...toVip(40_000), data, noChecksum: true })).packet)
    assert.deepEqual([without.destination, without.view.getUint16(without.l4 + 6)], [pod.address, 0])
  }
  for (const [ends, source, destination] of [
    [toVip(40_000), own, pod.address],
    [answer, vip, client],
  ] as const) {
    const whole = parse(udpFrame({ ...ends, data }))
    const pieces = cut(whole.payload, 32, { ...ends, identification: 77 }).map((piece) => parse(rig.send(piece).packet))
    assert.equal(pieces.length, 3)
    assert.deepEqual(
      pieces.map((piece) => [piece.source, piece.destination, piece.isIpChecksumRight]),
      pieces.map(() => [source, destination, true]),
    )
  }
})

test('no two flows to a pod have one port; when none is left the next one is dropped and counted', { skip }, (t) => {
  const rig = rigOf(t, four)
  const held = [1, 2, 3, 4].map((n) => connected(rig, 40_000 + n))
  assert.deepEqual([...held].sort(), [61_000, 61_001, 61_002, 61_003])
  assert.equal(rig.send(fromClient(SYN, 40_005)).verdict, verdict.shot)
  assert.equal(rig.datapath.reasons()['snat_ports'], 1)
  for (const [n, port] of held.entries())
    assert.equal(portOf(rig.send(fromClient(ACK, 40_001 + n, { seq: 1001 }))), port)
  // Another pod knows nothing of these.
  rig.serve([{ ...pod, address: podAt(6) }])
  assert.equal(left(rig.send(fromClient(SYN, 40_006))).destination, podAt(6))
})

test('who sends a first packet and nothing more makes room, and whoever is established keeps his port', {
  skip,
}, (t) => {
  const rig = rigOf(t, four)
  const kept = connected(rig, 40_000)
  const half = [1, 2, 3].map((n) => portOf(rig.send(fromClient(SYN, 40_000 + n))))
  for (let n = 10; n < 400; n++) assert.notEqual(portOf(rig.send(fromClient(SYN, 40_000 + n))), kept)
  assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), kept)
  assert.equal(left(rig.send(fromPod(kept, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000)
  const last = portOf(rig.send(fromClient(SYN, 41_000)))
  assert.ok(half.includes(last))
  assert.equal(left(rig.send(fromPod(last, SYN | ACK, { seq: 6, ack: 1001 }))).destinationPort, 41_000)
})

for (const [who, isPodFirst, early, late] of [
  ['the pod, so that it is in TIME-WAIT', true, 60, 140],
  ['the client', false, 5, 15],
] as const)
  test(`a port is another flow's when the one before was closed by ${who}, and not sooner (RFC 9293 3.6.1)`, {
    skip,
  }, (t) => {
    const rig = rigOf(t, { first: 61_000, last: 61_000 })
    const port = connected(rig, 40_000)
    const client1 = (flags: number, ack: number) => rig.send(fromClient(flags, 40_000, { seq: 1001, ack }))
    const podEnds = (ack: number) => left(rig.send(fromPod(port, FIN | ACK, { seq: 7, ack })))
    if (isPodFirst) {
      podEnds(1001)
      client1(FIN | ACK, 8)
      left(rig.send(fromPod(port, ACK, { seq: 8, ack: 1002 })))
    } else {
      client1(FIN | ACK, 7)
      podEnds(1002)
    }
    assert.equal(rig.send(fromClient(SYN, 40_001)).verdict, verdict.shot)
    beSilent(rig.bpffs, early)
    assert.equal(rig.send(fromClient(SYN, 40_001)).verdict, verdict.shot)
    beSilent(rig.bpffs, late - early)
    assert.equal(portOf(rig.send(fromClient(SYN, 40_001))), port)
    // Of the one that is over nothing is left: the next segment of its client is of no flow.
    assert.equal(left(client1(ACK, 8)).source, vip)
    assert.equal(rig.datapath.reasons()['snat_unknown'], 1)
  })

test('whatever comes from outside ends no flow: neither a FIN, nor a RST with a number that the pod does not take, nor a ' +
  'SYN; silence ends one after two hours (RFC 5382 5)', { skip }, (t) => {
  const rig = rigOf(t, { first: 61_000, last: 61_000 })
  const port = connected(rig, 40_000)
  for (const flags of [FIN | ACK, RST, SYN])
    assert.equal(portOf(rig.send(fromClient(flags, 40_000, { seq: 900_000_000 }))), port)
  beSilent(rig.bpffs, 7_000)
  assert.equal(rig.send(fromClient(SYN, 40_001)).verdict, verdict.shot)
  assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port)
  beSilent(rig.bpffs, 8_000)
  assert.equal(portOf(rig.send(fromClient(SYN, 40_001))), port)
})

test('a RST that the pod takes ends a connection, and its client may begin anew by another port', { skip }, (t) => {
  const rig = rigOf(t)
  const port = connected(rig, 40_000)
  left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 })))
  portOf(rig.send(fromClient(RST | ACK, 40_000, { seq: 1001 })))
  const next = portOf(rig.send(fromClient(SYN, 40_000, { seq: 5_000 })))
  assert.notEqual(next, port)
  assert.equal(left(rig.send(fromPod(next, SYN | ACK, { seq: 90, ack: 5_001 }))).destinationPort, 40_000)
  assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 5_001, ack: 91 }))), next)
})

test('either half may be evicted: the next packet of the client brings both back, and one of the pod that of the ' +
  'client', { skip }, (t) => {
  const rig = rigOf(t)
  const port = connected(rig, 40_000)
  const half = portOf(rig.send(fromClient(SYN, 40_001)))
  const goesOn = (): void => {
    assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port)
    assert.equal(left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000)
    assert.equal(portOf(rig.send(fromClient(SYN, 40_001))), half)
  }
  assert.equal(evictHalf(rig.bpffs, 0), 2)
  goesOn()
  assert.equal(evictHalf(rig.bpffs, 0), 2)
  beSilent(rig.bpffs, 2)
  assert.equal(left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000)
  goesOn()
  beSilent(rig.bpffs, 2)
  assert.equal(evictHalf(rig.bpffs, 1), 2)
  goesOn()
})

test('a flow goes on as it began when the node of its pod takes packets, and new ones go there in the tunnel', {
  skip,
}, (t) => {
  const rig = rigOf(t)
  const port = connected(rig, 40_000)
  rig.serve([{ ...pod, node: nodeAt(2) }])
  assert.equal(parse(rig.send(fromClient(SYN, 40_001)).packet).destination, nodeAt(2))
  assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port)
  assert.equal(left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000)
  rig.serve([{ address: podAt(7), port: 8080, node: nodeAt(2) }], { resting: [{ ...pod, node: nodeAt(2) }] })
  assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port)
})

test('a segment of a connection that another node has begun is answered by RST', { skip }, (t) => {
  const rig = rigOf(t)
  const answer = left(rig.send(fromClient(ACK, 40_000, { seq: 1001, ack: 77 })))
  assert.deepEqual([answer.source, answer.destination, answer.sourcePort], [vip, client, 80])
  assert.equal(answer.view.getUint8(answer.l4 + 13) & RST, RST)
  assert.equal(rig.datapath.reasons()['snat_unknown'], 1)
  assert.equal(
    withMap(rig.bpffs, 'snat_openings', (map) => [...map.entries()].length),
    0,
  )
})

test('who is not let in gets no port: source ranges are judged before', { skip }, (t) => {
  const rig = rigOf(t)
  rig.serve([pod], { sources: [{ prefix: isIpv6 ? '2001:db8:77::/48' : '10.77.0.0/16', isAllowed: true }] })
  assert.equal(rig.send(fromClient(SYN)).verdict, verdict.shot)
  assert.equal(rig.datapath.reasons()['source_not_allowed'], 1)
  assert.equal(
    withMap(rig.bpffs, 'snat_openings', (map) => [...map.entries()].length),
    0,
  )
})

test('an ICMP error finds its flow by what it quotes, whoever sends it about either direction (RFC 5508 4.2)', {
  skip,
}, (t) => {
  const rig = rigOf(t)
  const port = connected(rig, 40_000)
  const error = (from: string, to: string, quoted: Parameters<typeof tcpFrame>[0], kind = tooBig): Uint8Array => {
    const ends = { source: from, destination: to }
    const inner = frame({ ...quoted, protocol: TCP, payload: tcpSegment(quoted) }).slice(l3)
    return frame({
      ...ends,
      protocol: ICMP,
      payload: icmpMessage(kind.type, 'port' in kind ? 4 : kind.code, 1300, inner, ends),
    })
  }
  const reply = { source: vip, destination: client, sourcePort: 80, destinationPort: 40_000, flags: ACK }
  const request = { source: own, destination: pod.address, sourcePort: port, destinationPort: 8080, flags: ACK }
  const quoteOf = (found: Parsed, packet: Uint8Array): Parsed => parse(packet.slice(found.l4 + 8 - l3))
  const toPod = rig.send(error(router, vip, reply))
  const atPod = left(toPod)
  assert.deepEqual([atPod.source, atPod.destination], [router, pod.address])
  const seen = quoteOf(atPod, toPod.packet)
  assert.deepEqual(
    [seen.source, seen.sourcePort, seen.destination, seen.destinationPort],
    [pod.address, 8080, own, port],
  )
  for (const [from, source] of [
    [router, router],
    [pod.address, vip],
  ] as const) {
    const toClient = rig.send(error(from, own, request))
    const atClient = left(toClient)
    assert.deepEqual([atClient.source, atClient.destination], [source, client])
    const known = quoteOf(atClient, toClient.packet)
    assert.deepEqual(
      [known.source, known.sourcePort, known.destination, known.destinationPort],
      [client, 40_000, vip, 80],
    )
  }
  const strange = error(router, own, { ...request, sourcePort: port - 1 })
  assert.deepEqual([...rig.send(strange).packet], [...strange], 'the node may know of it')
  assert.equal(rig.send(error(router, vip, { ...reply, destinationPort: 40_001 })).verdict, verdict.shot)
  assert.ok(unreachable.type > 0)
})

test('what is too big for the way to the pod is answered with what fits (RFC 1191, RFC 8201)', { skip }, (t) => {
  const rig = rigOf(t)
  connected(rig, 40_000)
  const answer = left(rig.send(fromClient(ACK, 40_000, { seq: 1001, data: new Uint8Array(1_440) })))
  assert.deepEqual([answer.source, answer.destination, answer.protocol], [vip, client, ICMP])
  assert.equal(answer.view.getUint32(answer.l4 + 4), 1_400)
  assert.equal(rig.datapath.reasons()['too_big'], 1)
})

test('ports that the node itself uses are left alone, and what comes to them that is of no flow passes', {
  skip,
}, async (t) => {
  const servers = [61_000, 61_001, 61_003].map((port) => createServer().listen(port, '::'))
  t.after(() => servers.forEach((server) => server.close()))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const rig = rigOf(t, four)
  assert.equal(connected(rig, 40_000), 61_002)
  for (let n = 1; n < 50; n++) assert.equal(rig.send(fromClient(SYN, 40_000 + n)).verdict, verdict.shot)
  for (const flags of [SYN, ACK, RST, FIN | ACK]) {
    const bytes = fromPod(61_001, flags)
    const run = rig.send(bytes)
    assert.deepEqual([run.verdict, [...run.packet]], [verdict.pass, [...bytes]])
  }
})

test("a port at which a Service is served on every node is nobody's", { skip }, (t) => {
  const rig = rigOf(t, four)
  rig.datapath.setNodes({ own: [own], others: [], nodePorts: [own], snatPorts: four })
  const any = isIpv6 ? '::' : '0.0.0.0'
  for (const port of [61_000, 61_002, 61_003])
    rig.datapath.upsert({ ...frontendOf(any, port, [{ address: podAt(9), port: 8080 }]), service: 'default/other' })
  assert.equal(connected(rig, 40_000), 61_001)
})

test("what has no hop left is the stack's to answer, and nothing is begun where the node has no ports for it", {
  skip,
}, (t) => {
  const rig = rigOf(t)
  const last = withLifetime(fromClient(SYN), () => 1)
  const run = rig.send(last)
  assert.deepEqual([run.verdict, [...run.packet]], [verdict.pass, [...last]])
  rig.datapath.setNodes({ own: [own], others: [] })
  assert.equal(rig.send(fromClient(SYN, 40_009)).verdict, verdict.shot)
  assert.equal(rig.datapath.reasons()['node_unreachable'], 1)
})

test('an agent that is started anew, and maps that grow, keep every flow and its port', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const open = (options: Partial<KernelDatapathOptions>): Rig => {
    const datapath = fixture.open(options)
    datapath.setNodes({ own: [own], others: [], snatPorts: ports })
    datapath.upsert(frontendOf(vip, 80, [pod]))
    return { datapath, bpffs: fixture.bpffs, serve: () => {}, send: (bytes) => ingress(datapath, bytes) }
  }
  const first = open({})
  const port = connected(first, 40_000)
  first.datapath.close()
  for (const more of [1, 2]) {
    const rig = open({ maxEntries: { ...smallMaps, snat: more * smallMaps.snat } })
    assert.equal(portOf(rig.send(fromClient(ACK, 40_000, { seq: 1001 }))), port)
    assert.equal(left(rig.send(fromPod(port, ACK, { seq: 7, ack: 1001 }))).destinationPort, 40_000)
    rig.datapath.close()
  }
})

test('the verifier walks fewer than 60 000 instructions per stage', { skip }, (t) => {
  for (const fd of rigOf(t).datapath.stagePrograms) {
    const { name, verifiedInstructions } = programInfo(fd)
    assert.ok(verifiedInstructions > 0 && verifiedInstructions < 60_000, `${name}: ${verifiedInstructions}`)
    t.diagnostic(`${name}: ${verifiedInstructions}`)
  }
})
