/** A backend that another node names, behind more VIPs than its entry lists. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, handedOn, translated, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame, udpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, secondVip, client, podAt, nodeAt, vipAt } = familyOf(import.meta.url)
const { SYN, ACK, RST } = tcpFlag
const addresses = [nodeAt(1), nodeAt(2)]
const octets = Uint8Array.from([1, 2, 3])

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })

test('a backend behind more VIPs than are listed is found by its name behind each of them, and behind no other one', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const vips = [1, 2, 3, 4, 5, 6].map((n) => vipAt(30 + n))
  const [shared, other] = [homed(5, 1), homed(6, 1)]
  for (const address of vips) cluster.serve(address, 80, [shared])
  cluster.serve(secondVip, 80, [other])
  const named = (destination: string, flags: number, sourcePort = 40_000): string => {
    const inner = tcpFrame({
      source: client,
      destination,
      sourcePort,
      destinationPort: 80,
      flags,
      ack: flags & ACK ? 7 : 0,
    })
    const bytes = handedOn(inner, { from: nodeAt(1), to: nodeAt(2), backend: shared.backend })
    return translated(ingress(cluster.node(1).datapath, bytes)).destination
  }
  for (const address of vips) assert.equal(named(address, SYN), podAt(5))
  for (const [n, flags] of [SYN, ACK, RST | ACK].entries()) assert.equal(named(secondVip, flags, 41_000 + n), podAt(6))
  // Its flows go on when the tables name it no more, and clients that stay with it go on beginning some.
  for (const address of vips) cluster.serve(address, 80, [other], { resting: [shared] })
  for (const address of vips) assert.equal(named(address, ACK), podAt(5))
  const { datapath } = cluster.node(1)
  const backends = [shared.backend, other.backend]
  for (const address of vips) datapath.upsert({ ...frontendOf(address, 80, backends), affinitySec: 600 })
  for (const address of vips)
    for (let port = 42_000; port < 42_008; port++) assert.equal(named(address, SYN, port), podAt(5))
})

test('a node that serves its own pods alone serves what is handed on to it, and hands on what it has no pod for', {
  skip,
}, (t) => {
  // Two Services of one address under the policy Local: pods of either are on one node.
  const cluster = clusterOf(t, addresses)
  const [web, dns] = [homed(5, 0), homed(6, 1)]
  cluster.serve(vip, 80, [web])
  cluster.serve(vip, 53, [dns], { protocol: 'UDP' })
  for (const [entry, home, port] of [
    [0, 0, 80],
    [1, 0, 80],
    [0, 1, 53],
    [1, 1, 53],
  ] as const) {
    const [pod, ends] = [port === 80 ? 5 : 6, { source: client, destination: vip, destinationPort: port }]
    const sourcePort = 43_000 + entry
    const opening =
      port === 80 ? tcpFrame({ ...ends, sourcePort, flags: SYN }) : udpFrame({ ...ends, sourcePort, data: octets })
    const journey = cluster.send(entry, opening)
    assert.deepEqual(
      [journey.path, translated(journey).destination],
      [entry === home ? [home] : [entry, home], podAt(pod)],
    )
    const back = { source: podAt(pod), destination: client, sourcePort: 8080, destinationPort: sourcePort }
    const answer =
      port === 80 ? tcpFrame({ ...back, flags: SYN | ACK, ack: 1001 }) : udpFrame({ ...back, data: octets })
    const reply = translated(cluster.reply(home, answer))
    assert.deepEqual([reply.source, reply.sourcePort], [vip, port])
  }
})
