/** What a host outside that knows a tuple can do to a flow of a backend on another node: nothing that lasts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, handedOn, translated, type Cluster, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { ingress, verdict, whyNoKernel } from './fixture.ts'
import { frame, icmpMessage, parse, TCP, tcpFlag, tcpFrame, tcpSegment, UDP, udpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, client, router, podAt, nodeAt, vipAt, ICMP, tooBig } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const addresses = [1, 2, 3, 4].map(nodeAt)
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })
const final = 1
const mostTimes = 4

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

const datagram = (sourcePort: number, to = vip): Uint8Array =>
  udpFrame({ source: client, destination: to, sourcePort, destinationPort: 80, data: Uint8Array.of(7) })

/** The pod at which a packet arrives that came in by a node. */
function podOf(cluster: Cluster, entry: number, bytes: Uint8Array): string {
  const journey = cluster.send(entry, bytes)
  assert.ok(journey.path.length <= mostTimes + 1, `by ${journey.path.join(' ')}`)
  return translated(journey).destination
}

function answer(cluster: Cluster, all: readonly Homed[], pod: string, port: number, from = vip): void {
  const { home } = all.find(({ backend }) => backend.address === pod) ?? { home: -1 }
  const reply = udpFrame({ source: pod, destination: client, sourcePort: 8080, destinationPort: port })
  const left = translated(cluster.reply(home, reply))
  assert.deepEqual([left.source, left.sourcePort, left.destinationPort], [from, 80, port])
}

interface Attack {
  readonly entry: number
  readonly forger: number
  /** Where the pods are that come once the flows are there. */
  readonly young: number
  /** How often the client has sent before. */
  readonly sent: number
  readonly isAnswered: boolean
}

const attacks: readonly Attack[] = [0, 2].flatMap((entry) =>
  [0, 1, 2, 3]
    .filter((forger) => forger !== entry)
    .flatMap((forger) =>
      [
        [1, false],
        [2, true],
      ].flatMap(([sent, isAnswered]) =>
        [entry, 3].map((young) => ({ entry, forger, young, sent: Number(sent), isAnswered: Boolean(isAnswered) })),
      ),
    ),
)

test('no datagram that somebody else sends by another node moves a flow that a node hands on, however many he sends and ' +
  'whether pods answer', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  let moved = 0
  for (const [n, attack] of attacks.entries()) {
    const { entry, forger, young, sent, isAnswered } = attack
    const [to, pod] = [vipAt(30 + n), 5 + 6 * n]
    const old = [0, 1, 2].map((each) => homed(pod + each, 1))
    const all = [...old, ...[3, 4, 5].map((each) => homed(pod + each, young))]
    cluster.serve(to, 80, old, { protocol: 'UDP' })
    const flows = new Map<number, string>()
    for (let port = 41_000; port < 41_012; port++) {
      const met = podOf(cluster, entry, datagram(port, to))
      flows.set(port, met)
      if (isAnswered) answer(cluster, old, met, port, to)
      for (let again = 1; again < sent; again++) assert.equal(podOf(cluster, entry, datagram(port, to)), met)
    }
    cluster.serve(to, 80, all, { protocol: 'UDP' })
    for (const [port, home] of flows) {
      for (let forged = 0; forged < 3; forged++) {
        const met = podOf(cluster, forger, datagram(port, to))
        if (met !== home) moved++
        if (isAnswered) answer(cluster, all, met, port, to)
      }
      for (let again = 0; again < 2; again++)
        assert.equal(podOf(cluster, entry, datagram(port, to)), home, JSON.stringify({ ...attack, port }))
    }
  }
  assert.ok(moved > 0, 'a node that knows nothing of a flow sends what is forged to another pod')
})

test('a datagram that nobody may hand on again is served where it comes, and the flow that is handed on from there goes ' +
  'on where it was', { skip }, (t) => {
  const cluster = clusterOf(t, addresses.slice(0, 3))
  const [old, young] = [homed(5, 1), homed(6, 0)]
  for (const [port, sent] of [
    [40_000, 1],
    [40_001, 2],
  ] as const) {
    cluster.serve(vip, 80, [old], { protocol: 'UDP' })
    for (let n = 0; n < sent; n++) assert.equal(podOf(cluster, 0, datagram(port)), podAt(5))
    cluster.serve(vip, 80, [old, young], { protocol: 'UDP' })
    const { backend } = young
    const last = handedOn(datagram(port), { from: nodeAt(3), to: nodeAt(1), backend, flags: final })
    for (let n = 0; n < 3; n++) {
      assert.equal(translated(ingress(cluster.node(0).datapath, last)).destination, podAt(6))
      answer(cluster, [young], podAt(6), port)
      assert.equal(podOf(cluster, 0, datagram(port)), podAt(5), `after ${n + 1}`)
    }
  }
})

test('the node of a flow of datagrams serves it, also when another one handed it on and routers bring it there', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const old = homed(5, 1)
  cluster.serve(vip, 80, [old], { protocol: 'UDP' })
  for (let n = 0; n < 2; n++) {
    assert.equal(podOf(cluster, 0, datagram(40_000)), podAt(5))
    answer(cluster, [old], podAt(5), 40_000)
  }
  cluster.serve(vip, 80, [homed(6, 2)], { protocol: 'UDP', resting: [old] })
  for (const entry of [1, 0, 1]) assert.deepEqual(cluster.send(entry, datagram(40_000)).path.at(-1), 1)
  // By a node that knows nothing of it the table in force decides, as for a new flow.
  assert.equal(podOf(cluster, 3, datagram(40_000)), podAt(6))
  assert.equal(podOf(cluster, 0, datagram(40_000)), podAt(5))
})

test('two nodes that each remember the other one for a flow hand a datagram on a few times, and one of them serves it', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses.slice(0, 2))
  const [first, second] = [homed(5, 1), homed(6, 0)]
  cluster.serve(vip, 80, [first], { protocol: 'UDP', only: [0] })
  cluster.serve(vip, 80, [second], { protocol: 'UDP', only: [1] })
  for (const node of [0, 1]) {
    const sent = ingress(cluster.node(node).datapath, datagram(40_000))
    assert.equal(sent.verdict, verdict.redirect)
  }
  cluster.serve(vip, 80, [first, second], { protocol: 'UDP' })
  const pods = [0, 1, 0, 1].map((entry) => podOf(cluster, entry, datagram(40_000)))
  assert.deepEqual(new Set(pods).size, 1, pods.join(' '))
})

/** A router says that what the VIP has sent to the client does not fit. */
function tooBigFor(protocol: 'TCP' | 'UDP', sourcePort: number, seq = 0): Uint8Array {
  const reply = { source: vip, destination: client, sourcePort: 80, destinationPort: sourcePort }
  const quoted =
    protocol === 'UDP'
      ? udpFrame(reply).slice(14)
      : frame({ ...reply, protocol: TCP, payload: tcpSegment({ ...reply, flags: ACK, seq }) }).slice(14)
  const ends = { source: router, destination: vip }
  return frame({ ...ends, protocol: ICMP, payload: icmpMessage(tooBig.type, tooBig.code, 1400, quoted, ends) })
}

test('an ICMP error goes to the pod that has sent what it quotes, whoever has begun another flow of that tuple at the ' +
  'node that gets it', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  const [old, young] = [homed(5, 1), homed(6, 0)]
  const segment = (flags: number, seq: number, ack: number): Uint8Array =>
    tcpFrame({ source: client, destination: vip, sourcePort: 40_000, destinationPort: 80, flags, seq, ack })
  const answered = (home: number, n: number, seq: number, ack: number): void => {
    const ends = { source: podAt(n), destination: client, sourcePort: 8080, destinationPort: 40_000 }
    const reply = tcpFrame({ ...ends, flags: SYN | ACK, seq, ack })
    assert.equal(translated(cluster.reply(home, reply)).source, vip)
  }
  cluster.serve(vip, 80, [old])
  assert.equal(podOf(cluster, 0, segment(SYN, 1000, 0)), podAt(5))
  answered(1, 5, 6, 1001)
  assert.equal(podOf(cluster, 0, segment(ACK, 1001, 7)), podAt(5))
  cluster.serve(vip, 80, [young], { resting: [old] })
  for (const isAnswered of [false, true]) {
    assert.equal(podOf(cluster, 2, segment(SYN, 77_000, 0)), podAt(6))
    if (isAnswered) answered(0, 6, 3_000_000_000, 77_001)
    for (const entry of [0, 1, 2, 3]) {
      const arrived = translated(cluster.send(entry, tooBigFor('TCP', 40_000, 7)))
      assert.deepEqual([arrived.destination, arrived.isL4ChecksumRight], [podAt(5), true], `by ${entry}, ${isAnswered}`)
    }
  }
  assert.equal(podOf(cluster, 0, tooBigFor('TCP', 40_000, 3_000_000_001)), podAt(6), 'that of the one who was answered')
})

test('an ICMP error about a datagram goes where the node hands its flow on, whatever flow another node has begun', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses.slice(0, 3))
  const [old, young] = [homed(5, 1), homed(6, 0)]
  cluster.serve(vip, 80, [old], { protocol: 'UDP' })
  for (let n = 0; n < 2; n++) assert.equal(podOf(cluster, 0, datagram(40_000)), podAt(5))
  answer(cluster, [old], podAt(5), 40_000)
  cluster.serve(vip, 80, [young], { protocol: 'UDP', resting: [old] })
  const { backend } = young
  const last = handedOn(datagram(40_000), { from: nodeAt(3), to: nodeAt(1), backend, flags: final })
  assert.equal(translated(ingress(cluster.node(0).datapath, last)).destination, podAt(6))
  for (const entry of [0, 1]) {
    const journey = cluster.send(entry, tooBigFor('UDP', 40_000))
    const arrived = translated(journey)
    assert.deepEqual([arrived.destination, arrived.isL4ChecksumRight], [podAt(5), true], `by ${entry}`)
    const inside = parse(journey.packet.slice(arrived.l4 + 8 - 14))
    assert.deepEqual([inside.source, inside.sourcePort, inside.protocol], [podAt(5), 8080, UDP])
  }
})
