/** Flows whose place in the table has moved, at nodes that know nothing of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, translated, type Cluster, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { evict, frontendOf, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, client, podAt, nodeAt } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const addresses = [1, 2, 3, 4].map(nodeAt)
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })
const podIsn = 6
const firstPort = 41_000

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

const segment = (flags: number, sourcePort: number): Uint8Array =>
  tcpFrame({
    ...{ source: client, destination: vip, sourcePort, destinationPort: 80, flags },
    ...(flags === SYN ? { seq: 1000 } : { seq: 1001, ack: podIsn + 1 }),
  })

/** The pod at which a packet arrives that came in by a node. */
const podOf = (cluster: Cluster, entry: number, bytes: Uint8Array): string =>
  translated(cluster.send(entry, bytes)).destination

/** Connections that were opened by a node, and the pod of each. */
function connected(
  cluster: Cluster,
  entry: number,
  all: readonly Homed[],
  { from = firstPort, count = 40 } = {},
): ReadonlyMap<number, string> {
  const flows = new Map<number, string>()
  for (let sourcePort = from; sourcePort < from + count; sourcePort++) {
    const pod = podOf(cluster, entry, segment(SYN, sourcePort))
    const { home } = all.find(({ backend }) => backend.address === pod) ?? { home: -1 }
    const ends = { source: pod, destination: client, sourcePort: 8080, destinationPort: sourcePort }
    const answer = tcpFrame({ ...ends, flags: SYN | ACK, seq: podIsn, ack: 1001 })
    assert.equal(translated(cluster.reply(home, answer)).source, vip)
    assert.equal(podOf(cluster, entry, segment(ACK, sourcePort)), pod)
    flows.set(sourcePort, pod)
  }
  return flows
}

test('a node that hears of a Service with its first pod goes on with the flows of the others, whichever node they come ' +
  'by', { skip }, (t) => {
  for (const pods of [1, 3]) {
    const cluster = clusterOf(t, addresses)
    const old = Array.from({ length: pods }, (_, n) => homed(4 + n, 1))
    const all = [...old, homed(7, 2), homed(8, 2)]
    cluster.serve(vip, 80, old, { only: [0, 1, 3] })
    const flows = connected(cluster, 0, old)
    cluster.serve(vip, 80, all)
    const paths = new Set<string>()
    for (const [sourcePort, pod] of flows)
      for (const entry of [3, 2, 0]) {
        const journey = cluster.send(entry, segment(ACK, sourcePort))
        assert.equal(translated(journey).destination, pod, `by ${journey.path.join(' ')}`)
        paths.add(journey.path.join(' '))
      }
    assert.ok(paths.has('3 2 1') && paths.has('2 1'), [...paths].join())
    const young = connected(cluster, 3, all, { from: 42_000 })
    assert.ok(new Set(young.values()).size > pods)
    for (const [sourcePort, pod] of young)
      for (const entry of [0, 1, 2]) assert.equal(podOf(cluster, entry, segment(ACK, sourcePort)), pod)
  }
})

test('what such a node takes for the table before ends no flow of its own pods, also when it has forgotten them', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const all = [homed(4, 1), homed(5, 1), homed(7, 2), homed(8, 2)]
  cluster.serve(vip, 80, all)
  const flows = connected(cluster, 0, all)
  const { bpffs, datapath } = cluster.node(2)
  for (const direction of [0, 1] as const) evict(bpffs, direction)
  datapath.remove(frontendOf(vip, 80, []).id)
  cluster.serve(vip, 80, all, { only: [2] })
  for (const entry of [0, 2, 3])
    for (const [sourcePort, pod] of flows) assert.equal(podOf(cluster, entry, segment(ACK, sourcePort)), pod)
})

test('a flow whose place has moved twice goes on by nodes that never saw it, whoever was first and second', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, addresses)
  const first = [homed(4, 1), homed(5, 1)]
  const second = [...first, homed(6, 2)]
  const third = [...second, homed(7, 3)]
  cluster.serve(vip, 80, first)
  // They came by the node of their pods: nobody else knows anything of them.
  const flows = [...connected(cluster, 1, first, { count: 80 })]
  cluster.serve(vip, 80, second)
  flows.push(...connected(cluster, 1, second, { from: 42_000, count: 40 }))
  flows.push(...connected(cluster, 2, second, { from: 43_000, count: 40 }))
  cluster.serve(vip, 80, third)
  const paths = new Set<string>()
  for (const entry of [0, 1, 2, 3])
    for (const [sourcePort, pod] of flows) {
      const journey = cluster.send(entry, segment(ACK, sourcePort))
      assert.equal(translated(journey).destination, pod, `${sourcePort} by ${journey.path.join(' ')}`)
      paths.add(journey.path.join(' '))
    }
  assert.ok(paths.has('0 3 2 1') && paths.has('3 2 1'), [...paths].join())
})

test('a connection that is half open, and of which a flood has evicted both halves, goes on at its pod, also where its ' +
  'place has moved before it began', { skip }, (t) => {
  const cluster = clusterOf(t, addresses)
  const old = [homed(4, 1), homed(5, 1)]
  const all = [...old, homed(6, 0), homed(7, 2)]
  cluster.serve(vip, 80, old)
  cluster.serve(vip, 80, all)
  const flows = new Map<number, string>()
  for (let sourcePort = firstPort; sourcePort < firstPort + 40; sourcePort++)
    flows.set(sourcePort, podOf(cluster, 0, segment(SYN, sourcePort)))
  for (const { bpffs } of cluster.nodes.slice(0, 3)) for (const direction of [0, 1] as const) evict(bpffs, direction)
  const paths = new Set<string>()
  for (const entry of [0, 3])
    for (const [sourcePort, pod] of flows) {
      const journey = cluster.send(entry, segment(ACK, sourcePort))
      assert.equal(translated(journey).destination, pod, `by ${journey.path.join(' ')}`)
      paths.add(journey.path.join(' '))
    }
  assert.ok(paths.has('0 1 0') && paths.has('0 2 1 2'), [...paths].join())
})

test('the table before is asked for a grace, also by whoever adopts it, and then no more', { skip }, (t) => {
  const [old, young] = [homed(4, 1), homed(7, 2)]
  const lost = (previousSec: number): string => {
    const cluster = clusterOf(t, addresses, { previousSec })
    cluster.serve(vip, 80, [old])
    const flows = connected(cluster, 0, [old], { count: 1 })
    assert.deepEqual([...flows.values()], [podAt(4)])
    cluster.serve(vip, 80, [young], { resting: [old] })
    return podOf(cluster, 3, segment(ACK, firstPort))
  }
  assert.equal(lost(3600), podAt(4))
  assert.equal(lost(0), podAt(7))
})

test('whoever adopts the maps goes on with the table before for what is left of its grace', { skip }, (t) => {
  const cluster = clusterOf(t, addresses, { previousSec: 3600 })
  const [old, young] = [homed(4, 1), homed(7, 2)]
  cluster.serve(vip, 80, [old])
  connected(cluster, 0, [old], { count: 1 })
  cluster.serve(vip, 80, [young], { resting: [old] })
  assert.equal(podOf(cluster, 3, segment(ACK, firstPort)), podAt(4))
  const adopt = (previousSec: number): void => {
    for (const index of [2, 3]) cluster.reopen(index, { previousSec })
  }
  adopt(3600)
  assert.equal(podOf(cluster, 3, segment(ACK, firstPort)), podAt(4))
  adopt(0)
  assert.equal(podOf(cluster, 3, segment(ACK, firstPort)), podAt(7), 'no longer than a version gives it')
})
