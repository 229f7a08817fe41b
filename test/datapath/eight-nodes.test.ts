/** Eight nodes with pods, of which a router asks whichever it likes for each packet, while pods come and nodes go. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, translated, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, client, podAt, nodeAt } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const count = 8
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

test('eight nodes: every segment reaches the pod of its connection and back, by whichever node each of them comes', {
  skip,
}, (t) => {
  const addresses = Array.from({ length: count }, (_, n) => nodeAt(n + 1))
  const cluster = clusterOf(t, addresses)
  const first = Array.from({ length: count }, (_, n) => homed(10 + n, n))
  const more = Array.from({ length: count }, (_, n) => homed(30 + n, (n * 3) % count))
  cluster.serve(vip, 80, first)
  const pods = new Map<number, { readonly pod: string; readonly home: number }>()
  const homes = new Map([...first, ...more].map(({ backend, home }) => [backend.address, home]))
  const send = (port: number, entry: number, flags: number): string => {
    const ends = { source: client, destination: vip, sourcePort: port, destinationPort: 80 }
    const journey = cluster.send(
      entry,
      tcpFrame({ ...ends, flags, ack: flags & ACK ? 7 : 0, seq: flags & ACK ? 1001 : 1000 }),
    )
    return translated(journey).destination
  }
  const answer = (
    port: number,
    { pod, home }: { readonly pod: string; readonly home: number },
    flags: number,
  ): void => {
    const ends = { source: pod, destination: client, sourcePort: 8080, destinationPort: port }
    const reply = translated(cluster.reply(home, tcpFrame({ ...ends, flags, seq: flags & SYN ? 6 : 7, ack: 1001 })))
    assert.deepEqual([reply.source, reply.sourcePort, reply.destinationPort], [vip, 80, port])
  }
  for (let n = 0; n < 120; n++) {
    const port = 20_000 + n
    const pod = send(port, n % count, SYN)
    const known = { pod, home: homes.get(pod) ?? assert.fail(pod) }
    pods.set(port, known)
    answer(port, known, SYN | ACK)
    assert.equal(send(port, (n + 1) % count, ACK), pod)
  }
  assert.equal(new Set([...pods.values()].map(({ pod }) => pod)).size, count)
  // Then of the last node nobody asks for anything any more: its pods are served by the others.
  for (const [round, backends] of [
    [...first, ...more.slice(0, 3)],
    [...first, ...more],
  ].entries()) {
    cluster.serve(vip, 80, backends)
    for (const [port, known] of pods) {
      const entry = (port * 5 + round * 3) % (count - 1)
      assert.equal(send(port, entry, ACK), known.pod, `${port} by node ${entry}, round ${round}`)
      answer(port, known, ACK)
    }
  }
})
