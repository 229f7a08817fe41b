/** A backend that another node names, behind more VIPs than its entry lists. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, handedOn, translated, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const { secondVip, client, podAt, nodeAt, vipAt } = familyOf(import.meta.url)
const { SYN, ACK, RST } = tcpFlag
const addresses = [nodeAt(1), nodeAt(2)]
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
