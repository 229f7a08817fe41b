/** Flows of backends on other nodes that somebody else's packets, old memories or a port's own use might hide. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, translated, type Cluster, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { egress, evict, ingress, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, secondVip, client, podAt, nodeAt } = familyOf(import.meta.url)
const { SYN, ACK, RST } = tcpFlag
const addresses = [nodeAt(1), nodeAt(2), nodeAt(3), nodeAt(4)]
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })
const podIsn = 6
const count = 40

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

const segment = (flags: number, sourcePort: number, seq = 1000, ack = podIsn + 1): Uint8Array =>
  tcpFrame({
    ...{ source: client, destination: vip, sourcePort, destinationPort: 80 },
    ...{ flags, seq, ack: flags & ACK ? ack : 0 },
  })

/** The pod at which a packet arrives that came in by a node. */
const podOf = (cluster: Cluster, entry: number, bytes: Uint8Array): string =>
  translated(cluster.send(entry, bytes)).destination

function answer(cluster: Cluster, all: readonly Homed[], pod: string, sourcePort: number, ack = 1001): void {
  const { home } = all.find(({ backend }) => backend.address === pod) ?? { home: -1 }
  const reply = tcpFrame({
    ...{ source: pod, destination: client, sourcePort: 8080, destinationPort: sourcePort },
    ...{ flags: SYN | ACK, seq: podIsn, ack },
  })
  assert.equal(translated(cluster.reply(home, reply)).source, vip)
}

/** Connections that were opened by a node, and the pod of each. */
function connected(cluster: Cluster, entry: number, all: readonly Homed[]): ReadonlyMap<number, string> {
  const flows = new Map<number, string>()
  for (let sourcePort = 41_000; sourcePort < 41_000 + count; sourcePort++) {
    const pod = podOf(cluster, entry, segment(SYN, sourcePort))
    answer(cluster, all, pod, sourcePort)
    assert.equal(podOf(cluster, entry, segment(ACK, sourcePort)), pod)
    flows.set(sourcePort, pod)
  }
  return flows
}

test('a SYN that somebody else sends by a node that does not know the flow hides it from nobody (RFC 5961 4)', {
  skip,
}, (t) => {
  for (const attacked of [2, 3]) {
    const cluster = clusterOf(t, addresses)
    const old = [4, 5, 6].map((n) => homed(n, 1))
    const all = [...old, ...[7, 8, 9].map((n) => homed(n, 2))]
    cluster.serve(vip, 80, old)
    const flows = connected(cluster, 0, old)
    cluster.serve(vip, 80, all)
    let elsewhere = 0
    for (const [sourcePort, pod] of flows) {
      const forged = podOf(cluster, attacked, segment(SYN, sourcePort, 77_000))
      if (forged !== pod) {
        elsewhere++
        answer(cluster, all, forged, sourcePort, 77_001)
      }
      // The router sends the flow there from now on.
      for (let n = 0; n < 2; n++) assert.equal(podOf(cluster, attacked, segment(ACK, sourcePort)), pod)
      assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), pod)
    }
    assert.ok(elsewhere > 0, 'some have another place in the table now')
  }
})

test('one half of a flow that is handed on may vanish, also when the table names another pod of that node by then', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const old = [4, 5, 6].map((n) => homed(n, 1))
  cluster.serve(vip, 80, old)
  const flows = connected(cluster, 0, old)
  cluster.serve(vip, 80, [...old, ...[7, 8, 9].map((n) => homed(n, 1))])
  for (const index of [0, 1]) evict(cluster.node(index).bpffs, 0)
  for (const [sourcePort, pod] of flows) assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), pod)
})

test('a connection that begins on the ports of an old one, whose pod takes no more, goes on where it began', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const [old, between, young] = [homed(5, 1), homed(6, 2), homed(7, 3)]
  cluster.serve(vip, 80, [old])
  const sourcePort = 40_000
  assert.equal(podOf(cluster, 0, segment(SYN, sourcePort)), podAt(5))
  answer(cluster, [old], podAt(5), sourcePort)
  assert.equal(podOf(cluster, 0, segment(ACK, sourcePort)), podAt(5))
  const ends = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: sourcePort }
  cluster.reply(1, tcpFrame({ ...ends, flags: RST | ACK, seq: podIsn + 1, ack: 1001 }))
  // A rollout: its place moves twice while it ends.
  cluster.serve(vip, 80, [between], { resting: [old] })
  cluster.serve(vip, 80, [young], { resting: [old, between] })
  const pod = podOf(cluster, 0, segment(SYN, sourcePort, 5000))
  assert.equal(pod, podAt(7))
  answer(cluster, [young], pod, sourcePort)
  for (let n = 0; n < 3; n++) assert.equal(podOf(cluster, 0, segment(ACK, sourcePort, 5001)), podAt(7))
})

test('what a node hands on leaves as it is, also from a port that a backend on the node has', { skip }, (t) => {
  const cluster = clusterOf(t, addresses, { settleSec: 0 })
  cluster.serve(vip, 80, [homed(5, 1)])
  const { datapath } = cluster.node(0)
  const sent = ingress(datapath, segment(SYN, 40_000))
  assert.equal(sent.verdict, verdict.redirect)
  const port = parse(sent.packet).sourcePort
  cluster.serve(secondVip, 53, [{ backend: { address: nodeAt(1), port }, home: 0 }], { protocol: 'UDP', only: [0] })
  const left = egress(datapath, sent.packet)
  assert.deepEqual([left.verdict, [...left.packet]], [verdict.pass, [...sent.packet]])
})
