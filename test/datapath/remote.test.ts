/** Backends on other nodes: any node takes any packet of any flow, and the pod's node serves it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import { clusterOf, handedOn, innerOf, translated, tunnelBytes, type Cluster, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { evict, ingress, verdict, whyNoKernel } from './fixture.ts'
import {
  checksum,
  frame,
  icmpMessage,
  ipOctets,
  moreFragments,
  parse,
  tcpFlag,
  tcpFrame,
  tcpSegment,
  TCP,
  UDP,
  udpFrame,
} from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, router, ICMP, podAt, nodeAt, isIpv6, headerBytes, tooBig, echo } = family
const { SYN, ACK, RST, FIN } = tcpFlag
const l3 = 14
/** The mark that nobody hands it on again. */
const final = 1
const addresses = [nodeAt(1), nodeAt(2), nodeAt(3)]
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
const segment = (flags: number, sourcePort = 40_000, data = new Uint8Array()): Uint8Array =>
  tcpFrame({ ...toVip, sourcePort, flags, ack: flags & ACK ? 7 : 0, data })

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

/** The pod at which a packet arrives that came in by a node; the path must not be longer than `hops`. */
function podOf(cluster: Cluster, entry: number, bytes: Uint8Array, hops = 1): string {
  const journey = cluster.send(entry, bytes)
  assert.ok(journey.path.length <= hops + 1, `by ${journey.path.join(' ')}`)
  return translated(journey).destination
}

test('a packet is handed on as it came, with the backend and in the family of the nodes, octet by octet', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const { backend } = homed(5, 1)
  for (const protocol of ['TCP', 'UDP'] as const) {
    cluster.serve(vip, 80, [homed(5, 1)], { protocol })
    const data = Uint8Array.from({ length: 33 }, (_, i) => i)
    const sent = protocol === 'TCP' ? segment(SYN, 40_000, data) : udpFrame({ ...toVip, data })
    sent[l3 + 1] = isIpv6 ? 0xb3 : 0xb9 // DSCP 46 (of IPv6 its lower half) and ECN.
    const { packet, verdict: answer } = ingress(cluster.node(0).datapath, sent)
    assert.equal(answer, verdict.redirect)
    const inner = sent.slice(l3)
    const outer = parse(packet)
    assert.deepEqual([outer.source, outer.destination, outer.protocol], [addresses[0], addresses[1], UDP])
    assert.ok(outer.isIpChecksumRight && outer.sourcePort >= 49_152 && outer.destinationPort === tunnelPort)
    const length = inner.length + tunnelBytes
    const ports = [outer.sourcePort >> 8, outer.sourcePort & 255, tunnelPort >> 8, tunnelPort & 255]
    const mapped = isIpv6 ? [] : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
    const tail = [...ports, length >> 8, length & 255, 0, 0, 1, 0, 0x1f, 0x90, ...mapped, ...ipOctets(backend.address)]
    const expected = [...outerHeader(sent, length), ...tail, ...inner]
    assert.deepEqual([...packet.slice(l3)], expected, protocol)
    assert.deepEqual([...innerOf(packet)], [...sent])
  }
})

/** IP from the first node to the second, of what was sent: with its DSCP and ECN, not to be fragmented. */
function outerHeader(sent: Uint8Array, length: number): readonly number[] {
  const ends = [...ipOctets(nodeAt(1)), ...ipOctets(nodeAt(2))]
  const [, tos = 0] = sent.slice(l3)
  const trafficClass = (((sent[l3] ?? 0) << 4) | (tos >> 4)) & 255
  if (isIpv6)
    return [0x60 | (trafficClass >> 4), (trafficClass << 4) & 255, 0, 0, length >> 8, length & 255, UDP, 64, ...ends]
  const total = length + 20
  const header = [0x45, tos, total >> 8, total & 255, 0, 0, 0x40, 0, 64, UDP, 0, 0, ...ends]
  const sum = checksum(header)
  return [...header.slice(0, 10), sum >> 8, sum & 255, ...header.slice(12)]
}

test('what was handed on is served as if it had come there, and its reply leaves there with the VIP', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const lone = clusterOf(t, [nodeAt(9)])
  for (const protocol of ['TCP', 'UDP'] as const) {
    cluster.serve(vip, 80, [homed(5, 2)], { protocol })
    lone.serve(vip, 80, [homed(5, 0)], { protocol })
    const data = new Uint8Array(101).fill(7)
    const sent = protocol === 'TCP' ? segment(SYN, 40_000, data) : udpFrame({ ...toVip, data })
    const journey = cluster.send(0, sent)
    assert.deepEqual(journey.path, [0, 2])
    assert.deepEqual([...journey.packet], [...lone.send(0, sent).packet])
    const fromPod = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: 40_000 }
    const answer = protocol === 'TCP' ? tcpFrame({ ...fromPod, flags: SYN | ACK, ack: 1001 }) : udpFrame(fromPod)
    const reply = translated(cluster.reply(2, answer))
    assert.deepEqual([reply.source, reply.sourcePort, reply.isL4ChecksumRight], [vip, 80, true])
  }
  const counters = cluster.node(0).datapath.counters(`${isIpv6 ? `[${vip}]` : vip}:80/TCP`)
  assert.deepEqual([counters?.packetsIn, counters?.packetsForwarded, counters?.newConnections], [0, 1, 0])
  const there = cluster.node(2).datapath.counters(`${isIpv6 ? `[${vip}]` : vip}:80/TCP`)
  assert.deepEqual([there?.packetsIn, there?.packetsForwarded, there?.newConnections], [1, 0, 1])
  const ofPods = [counters, there].map((each) => each?.backends.map((pod) => [pod.packetsIn, pod.packetsForwarded]))
  assert.deepEqual(ofPods, [[[0, 1]], [[1, 0]]])
})

test('every node chooses the same backend for a flow, whichever of them is asked first or later', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  const backends = [4, 5, 6, 7, 8].map((n) => homed(n, n % 3))
  for (const protocol of ['TCP', 'UDP'] as const) cluster.serve(vip, 80, backends, { protocol })
  const pods = new Set<string>()
  for (let n = 0; n < 60; n++) {
    const [first, later, last] = [n % 3, (n + 1) % 3, (n + 2) % 3]
    const pod = podOf(cluster, first, segment(SYN, 40_000 + n))
    pods.add(pod)
    for (const entry of [later, last, first, later]) assert.equal(podOf(cluster, entry, segment(ACK, 40_000 + n)), pod)
    const datagram = udpFrame({ ...toVip, sourcePort: 40_000 + n })
    const bound = podOf(cluster, first, datagram)
    for (const entry of [later, last, first]) assert.equal(podOf(cluster, entry, datagram), bound)
  }
  assert.equal(pods.size, backends.length)
})

/** Flows that began by the first node, and where each is. */
function begun(cluster: Cluster, count: number): ReadonlyMap<number, string> {
  const flows = new Map<number, string>()
  for (let sourcePort = 41_000; sourcePort < 41_000 + count; sourcePort++) {
    const pod = podOf(cluster, 0, segment(SYN, sourcePort))
    flows.set(sourcePort, pod)
    assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), pod)
  }
  return flows
}

test('flows stay where they are while backends come and go, at the node that handed them on and at one that never saw ' +
  'them; unless their pod is gone', { skip }, (t) => {
  const cluster = clusterOf(t, addresses, { drainSec: 30 })
  const first = [4, 5, 6, 7].map((n) => homed(n, n % 3))
  cluster.serve(vip, 80, first)
  const flows = begun(cluster, 60)
  const changes = [
    [...first, homed(8, 2)],
    [...first, homed(8, 2), homed(9, 0)],
    first.slice(0, 3),
    first,
    [...first.slice(1), homed(10, 1)],
  ]
  let longest = 0
  for (const backends of changes) {
    const resting = first.filter((each) => !backends.includes(each))
    cluster.serve(vip, 80, backends, { resting })
    for (const [sourcePort, pod] of flows) {
      const journey = cluster.send(0, segment(ACK, sourcePort))
      assert.equal(translated(journey).destination, pod)
      assert.ok(journey.path.length <= 2, 'who handed it on before knows where to')
    }
  }
  for (const [sourcePort, pod] of flows) {
    const journey = cluster.send(1 + (sourcePort % 2), segment(ACK, sourcePort))
    longest = Math.max(longest, journey.path.length)
    assert.equal(translated(journey).destination, pod, `by ${journey.path.join(' ')}`)
  }
  assert.equal(longest, 3, 'some are found by a second chance only')
})

test('a flood that evicts what a node knows of the flows that it hands on ends none of them, nor does a change after it', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses, { drainSec: 30 })
  const backends = [4, 5, 6, 7, 8].map((n) => homed(n, 1 + (n % 2)))
  cluster.serve(vip, 80, backends)
  const flows = begun(cluster, 40)
  evict(cluster.node(0).bpffs, 0)
  for (const [sourcePort, pod] of flows) assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), pod)
  cluster.serve(vip, 80, [...backends, homed(9, 2), homed(10, 1)])
  evict(cluster.node(0).bpffs, 0)
  for (const [sourcePort, pod] of flows) assert.equal(podOf(cluster, 0, segment(ACK, sourcePort), 2), pod)
})

test('one half of a flow at its node may vanish, whoever hands its packets on', { skip }, (t) => {
  for (const direction of [0, 1] as const) {
    const cluster = clusterOf(t, addresses)
    const backends = [4, 5, 6, 7].map((n) => homed(n, 1 + (n % 2)))
    cluster.serve(vip, 80, backends)
    const flows = begun(cluster, 12)
    for (const [sourcePort, pod] of flows) {
      const fromPod = { source: pod, destination: client, sourcePort: 8080, destinationPort: sourcePort }
      const home = backends.find(({ backend }) => backend.address === pod)?.home ?? 0
      const answer = tcpFrame({ ...fromPod, flags: SYN | ACK, seq: 6, ack: 1001 })
      assert.equal(translated(cluster.reply(home, answer)).source, vip)
    }
    for (const index of [1, 2]) evict(cluster.node(index).bpffs, direction)
    for (const [sourcePort, pod] of flows) {
      const fromPod = { source: pod, destination: client, sourcePort: 8080, destinationPort: sourcePort }
      const home = backends.find(({ backend }) => backend.address === pod)?.home ?? 0
      if (direction === 1)
        assert.equal(translated(cluster.reply(home, tcpFrame({ ...fromPod, flags: ACK, ack: 1001 }))).source, vip)
      assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), pod)
      assert.equal(translated(cluster.reply(home, tcpFrame({ ...fromPod, flags: ACK, ack: 1001 }))).source, vip)
    }
  }
})

test('no SYN moves a flow that is handed on (RFC 5961), and after its end the tuple begins anew where the table says', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const [old, young] = [homed(5, 1), homed(6, 2)]
  cluster.serve(vip, 80, [old])
  assert.equal(podOf(cluster, 0, segment(SYN)), podAt(5))
  const fromPod = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: 40_000 }
  cluster.reply(1, tcpFrame({ ...fromPod, flags: SYN | ACK, seq: 6, ack: 1001 }))
  assert.equal(podOf(cluster, 0, segment(ACK)), podAt(5))
  cluster.serve(vip, 80, [young], { resting: [old] })
  assert.equal(podOf(cluster, 0, segment(SYN)), podAt(5), 'the pod answers with a challenge')
  assert.equal(podOf(cluster, 0, segment(ACK)), podAt(5))
  // The pod gives up: whoever begins now does so where new flows go, and goes on there.
  assert.equal(translated(cluster.reply(1, tcpFrame({ ...fromPod, flags: RST | ACK, seq: 7, ack: 1001 }))).source, vip)
  assert.equal(podOf(cluster, 0, segment(SYN), 2), podAt(6))
  assert.equal(podOf(cluster, 0, segment(ACK), 2), podAt(6))
  assert.equal(podOf(cluster, 2, segment(FIN | ACK), 2), podAt(6))
})

const numbered = (flags: number, seq: number, ack = 7): Uint8Array => tcpFrame({ ...toVip, flags, seq, ack })

/** The pod answers a SYN that it has got with this number. */
function answerSyn(cluster: Cluster, home: number, n: number, seq: number, isn = 6): void {
  const fromPod = { source: podAt(n), destination: client, sourcePort: 8080, destinationPort: 40_000 }
  const answer = tcpFrame({ ...fromPod, flags: SYN | ACK, seq: isn, ack: seq + 1 })
  assert.equal(translated(cluster.reply(home, answer)).source, vip)
}

test('no SYN takes a flow from a node that hands it on, whichever node the SYN came by', { skip }, (t) => {
  // The node by which the flow goes, and the one by which the SYN comes.
  for (const [entry, forger] of [
    [0, 0],
    [0, 2],
    [0, 3],
    [2, 0],
    [2, 3],
  ] as const) {
    const cluster = clusterOf(t, [...addresses, nodeAt(4)])
    const [one, two] = [homed(5, 1), homed(6, 2)]
    const isByBoth = entry === forger
    const [served, other, pod] = isByBoth ? [two, one, 6] : [one, two, 5]
    cluster.serve(vip, 80, [one])
    // Its first node does not know yet what the next one does: the flow goes by both to a third one.
    if (isByBoth) cluster.serve(vip, 80, [two], { resting: [one], only: [1, 2, 3] })
    assert.equal(podOf(cluster, entry, numbered(SYN, 1_000), 2), podAt(pod))
    answerSyn(cluster, served.home, pod, 1_000)
    assert.equal(podOf(cluster, entry, numbered(ACK, 1_001), 2), podAt(pod))
    cluster.serve(vip, 80, [other], { resting: [served] })
    const forgedSeq = 3_000_000_000
    assert.equal(podOf(cluster, forger, numbered(SYN, forgedSeq)), other.backend.address)
    answerSyn(cluster, other.home, isByBoth ? 5 : 6, forgedSeq, 900_000)
    for (const flags of [ACK, FIN | ACK])
      for (const by of [entry, forger])
        assert.equal(podOf(cluster, by, numbered(flags, 1_001), 2), podAt(pod), `${entry} ${forger}: by ${by}`)
    if (entry === 2) {
      // The table before is not the flow's any more; who handed it on still knows.
      for (const backends of [[homed(7, 0)], [two]]) cluster.serve(vip, 80, backends, { resting: [one] })
      assert.equal(podOf(cluster, entry, numbered(ACK, 1_001), 2), podAt(pod))
    }
    // Whoever sent the SYN goes on where it was answered, as one that is honest does.
    assert.equal(podOf(cluster, forger, numbered(ACK, forgedSeq + 1, 900_001), 2), other.backend.address)
  }
})

test('what was handed on four times is served or refused, and goes nowhere else; each node marks it once more', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const [here, there] = [homed(5, 1), homed(6, 2)]
  cluster.serve(vip, 80, [there], { only: [0, 1] })
  const last = (bytes: Uint8Array, flags: number): Uint8Array =>
    handedOn(bytes, { from: nodeAt(1), to: nodeAt(2), backend: here.backend, flags })
  for (const [flags, next] of [
    [0, 2],
    [2, 4],
    [4, final],
  ] as const) {
    const again = ingress(cluster.node(1).datapath, last(segment(ACK), flags))
    assert.deepEqual([again.verdict, again.packet[l3 + headerBytes + 9]], [verdict.redirect, next])
  }
  for (const [n, flags] of [final, 6, 7, 0xff].entries()) {
    const refused = ingress(cluster.node(1).datapath, last(segment(SYN), flags))
    assert.equal(refused.verdict, verdict.redirect)
    const answer = parse(refused.packet)
    assert.deepEqual([answer.source, answer.destination, answer.protocol], [vip, client, TCP])
    assert.equal(answer.view.getUint8(answer.l4 + 13) & RST, RST)
    assert.equal(cluster.node(1).datapath.reasons()['no_backend'], n + 1)
  }
  // The node of the one that is named may be behind, or ahead of who named it.
  cluster.serve(vip, 80, [here], { only: [1] })
  assert.equal(translated(ingress(cluster.node(1).datapath, last(segment(SYN), 0))).destination, podAt(5))
})

test('a backend is found by its name only behind the VIP that it stands behind', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  cluster.serve(secondVip, 80, [homed(6, 1)])
  const bytes = handedOn(segment(SYN), { from: nodeAt(1), to: nodeAt(2), backend: { address: podAt(6), port: 8080 } })
  assert.equal(translated(ingress(cluster.node(1).datapath, bytes)).destination, podAt(5))
})

/** What comes to the port of the tunnel and is nothing that a node hands on, and the reason for which it is dropped. */
const garbage: Readonly<Record<string, readonly [reason: string, (inner: Uint8Array) => Uint8Array]>> = {
  'a sender that is no node': ['unknown_sender', (inner) => tunnelled(inner, { from: nodeAt(77) })],
  'a client': ['unknown_sender', (inner) => tunnelled(inner, { from: client })],
  'its own address': ['unknown_sender', (inner) => tunnelled(inner, { from: nodeAt(2) })],
  'nothing behind the UDP header': ['bad_tunnel', (inner) => tunnelled(inner, { cut: 0 })],
  'half a header': ['bad_tunnel', (inner) => tunnelled(inner, { cut: 11 })],
  'a header and no packet': ['bad_tunnel', (inner) => tunnelled(inner, { cut: 20 })],
  'half an IP header': ['bad_tunnel', (inner) => tunnelled(inner, { cut: 30 })],
  'half a TCP header': ['bad_header', (inner) => tunnelled(inner, { cut: 20 + headerBytes + 12 })],
  'another version': ['bad_tunnel', (inner) => tunnelled(inner, { version: 2 })],
  'no IP': ['bad_tunnel', (inner) => tunnelled(withOctet(inner, l3, 0x15), {})],
  'one in another': ['bad_tunnel', (inner) => tunnelled(tunnelled(inner, {}), {})],
  'a destination that is no VIP': [
    'bad_tunnel',
    () => tunnelled(tcpFrame({ ...toVip, destination: podAt(9), flags: SYN }), {}),
  ],
  'a pod as its destination': [
    'bad_tunnel',
    () => tunnelled(tcpFrame({ ...toVip, destination: podAt(5), flags: SYN }), {}),
  ],
  'a source that is the VIP': [
    'bad_header',
    () => tunnelled(tcpFrame({ source: vip, destination: vip, sourcePort: 80, destinationPort: 80, flags: SYN }), {}),
  ],
  'a length that is longer than it': [
    'bad_header',
    (inner) => tunnelled(withOctet(inner, l3 + (isIpv6 ? 4 : 2), 9), {}),
  ],
}
const tunnelled = (inner: Uint8Array, options: Partial<Parameters<typeof handedOn>[1]>): Uint8Array =>
  handedOn(inner, { from: nodeAt(1), to: nodeAt(2), backend: { address: podAt(5), port: 8080 }, ...options })
function withOctet(bytes: Uint8Array, at: number, octet: number): Uint8Array {
  const copy = bytes.slice()
  copy[at] = octet
  return copy
}
test('nothing is believed of what is no packet that a node hands on, and it opens no flow', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(1)
  const flows = (): number =>
    datapath.usage().reduce((sum, { name, entries }) => sum + (/openings|connections/.test(name) ? entries : 0), 0)
  for (const [what, [reason, build]] of Object.entries(garbage)) {
    const before = datapath.reasons()[reason] ?? 0
    const run = ingress(datapath, build(segment(SYN)))
    assert.deepEqual([run.verdict, (datapath.reasons()[reason] ?? 0) - before], [verdict.shot, 1], what)
    assert.equal(flows(), 0, what)
  }
  assert.equal(translated(ingress(datapath, tunnelled(segment(SYN), {}))).destination, podAt(5))
})

test('an address of a node of IPv4 that is mapped into IPv6 is no node (RFC 4291 2.5.5.2)', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(1)
  datapath.setNodes({ own: ['203.0.113.2', 'fd00:113::2'], others: ['203.0.113.1'] })
  const forged = tunnelled(segment(SYN), { from: '::ffff:203.0.113.1', to: 'fd00:113::2' })
  assert.equal(ingress(datapath, forged).verdict, verdict.shot)
  assert.equal(datapath.reasons()['unknown_sender'], 1)
})

test('other ports of its own address, and every port of a node without a tunnel, are not touched', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(1)
  const others = [
    tunnelled(segment(SYN), { port: 8472 }),
    tcpFrame({ ...toVip, destination: nodeAt(2), destinationPort: tunnelPort, flags: SYN }),
    tcpFrame({ ...toVip, destination: nodeAt(2), destinationPort: 179, flags: SYN }),
  ]
  for (const bytes of others) assert.deepEqual([...ingress(datapath, bytes).packet], [...bytes])
  datapath.setNodes({ own: [], others: [nodeAt(1)] })
  const bytes = tunnelled(segment(SYN), {})
  const run = ingress(datapath, bytes)
  assert.deepEqual([run.verdict, [...run.packet]], [verdict.pass, [...bytes]])
})

test('nodes that come, go or change their address: who is no node any more is not believed', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(1)
  datapath.setNodes({ own: [nodeAt(2)], others: [nodeAt(3)] })
  assert.equal(ingress(datapath, tunnelled(segment(SYN), {})).verdict, verdict.shot)
  datapath.setNodes({ own: [nodeAt(22)], others: [nodeAt(1), nodeAt(3)] })
  assert.equal(ingress(datapath, tunnelled(segment(SYN), {})).verdict, verdict.pass, 'nothing of ours')
  assert.equal(translated(ingress(datapath, tunnelled(segment(SYN), { to: nodeAt(22) }))).destination, podAt(5))
  const first = cluster.node(0).datapath
  first.upsert({
    ...{ id: `${isIpv6 ? `[${vip}]` : vip}:80/TCP`, service: 'default/test', address: vip, protocol: 'TCP', port: 80 },
    backends: [{ address: podAt(5), port: 8080, node: nodeAt(22) }],
  })
  assert.equal(parse(ingress(first, segment(ACK)).packet).destination, nodeAt(22))
})

test('a node without a route, or without an own address of that family, drops and counts', { skip }, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), isIpv6 ? 'fd99::1' : '10.99.0.1'])
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(0)
  assert.equal(ingress(datapath, segment(SYN)).verdict, verdict.shot)
  datapath.setNodes({ own: [], others: [] })
  assert.equal(ingress(datapath, segment(SYN)).verdict, verdict.shot)
  assert.equal(datapath.reasons()['node_unreachable'], 2)
})

test('ICMP errors go to the node that has the flow, whichever node gets them', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  podOf(cluster, 0, segment(SYN))
  const reply = { source: vip, destination: client, sourcePort: 80, destinationPort: 40_000 }
  const quoted = frame({ ...reply, protocol: TCP, payload: tcpSegment({ ...reply, flags: ACK }) }).slice(14)
  const ends = { source: router, destination: vip }
  const error = frame({ ...ends, protocol: ICMP, payload: icmpMessage(tooBig.type, tooBig.code, 1400, quoted, ends) })
  for (const entry of [0, 2, 1]) {
    const journey = cluster.send(entry, error)
    const arrived = translated(journey)
    assert.deepEqual([arrived.destination, journey.path.at(-1), arrived.isL4ChecksumRight], [podAt(5), 1, true])
    const inside = parse(journey.packet.slice(arrived.l4 + 8 - 14))
    assert.deepEqual([inside.source, inside.sourcePort], [podAt(5), 8080])
  }
  const stranger = { ...reply, destinationPort: 40_001 }
  const other = frame({ ...stranger, protocol: TCP, payload: tcpSegment({ ...stranger, flags: ACK }) }).slice(14)
  const lost = frame({ ...ends, protocol: ICMP, payload: icmpMessage(tooBig.type, tooBig.code, 1400, other, ends) })
  assert.equal(cluster.send(0, lost).verdict, verdict.shot)
  assert.equal(cluster.node(1).datapath.reasons()['icmp_unmatched'], 1)
  // A ping of the VIP needs no backend.
  const ping = frame({ ...toVip, protocol: ICMP, payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8), toVip) })
  assert.deepEqual(cluster.send(0, ping).path, [0])
})

test('fragments follow their first one to the same pod', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(
    vip,
    80,
    [5, 6, 7].map((n) => homed(n, 1 + (n % 2))),
    { protocol: 'UDP' },
  )
  const datagram = udpFrame({ ...toVip, data: new Uint8Array(64).fill(9) }).slice(l3 + headerBytes)
  const common = { source: client, destination: vip, protocol: UDP, identification: 77 }
  const first = frame({ ...common, fragment: moreFragments, payload: datagram.slice(0, 32) })
  const later = frame({ ...common, fragment: 4, payload: datagram.slice(32) })
  const journey = cluster.send(0, first)
  const pod = translated(journey).destination
  const rest = cluster.send(0, later)
  assert.equal(rest.verdict, verdict.pass)
  assert.deepEqual([parse(rest.packet).destination, rest.path], [pod, journey.path])
})

test('a tag of the link by which it came stays there', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const bytes = tcpFrame({ ...toVip, flags: SYN, vlan: 7 })
  const journey = cluster.send(0, bytes)
  assert.deepEqual([journey.path, translated(journey).destination], [[0, 1], podAt(5)])
})

test('the MSS of a flow that began by another node leaves room for what is around its segments', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  cluster.serve(vip, 80, [homed(5, 1)])
  const mssOf = (entry: number, sourcePort: number, option: readonly number[]): readonly number[] => {
    podOf(cluster, entry, segment(SYN, sourcePort))
    const fromPod = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: sourcePort }
    const plain = tcpSegment({ ...fromPod, flags: SYN | ACK, ack: 1001, data: Uint8Array.from(option) })
    plain[12] = (20 + option.length) << 2
    plain.set([0, 0], 16)
    const pseudo = parse(frame({ ...fromPod, protocol: TCP, payload: plain }))
    const sum = checksumOf(pseudo.source, pseudo.destination, plain)
    plain.set([sum >> 8, sum & 255], 16)
    const reply = translated(cluster.reply(1, frame({ ...fromPod, protocol: TCP, payload: plain })))
    assert.ok(reply.isL4ChecksumRight)
    return [...reply.payload.slice(20)]
  }
  assert.deepEqual(mssOf(0, 40_001, [2, 4, 0x05, 0xb4]), [2, 4, (1460 - 68) >> 8, (1460 - 68) & 255])
  assert.deepEqual(mssOf(1, 40_002, [2, 4, 0x05, 0xb4]), [2, 4, 0x05, 0xb4], 'it came here by itself')
  assert.deepEqual(mssOf(0, 40_003, [1, 1, 1, 1]), [1, 1, 1, 1])
  assert.deepEqual(mssOf(0, 40_004, [2, 4, 0x02, 0x18]), [2, 4, 0x02, 0x18], 'as small as one may be')
})

function checksumOf(source: string, destination: string, payload: Uint8Array): number {
  const ends = [...ipOctets(source), ...ipOctets(destination)]
  const length = [payload.length >> 8, payload.length & 255]
  return checksum(isIpv6 ? [...ends, 0, 0, ...length, 0, 0, 0, TCP] : [...ends, 0, TCP, ...length], payload)
}
