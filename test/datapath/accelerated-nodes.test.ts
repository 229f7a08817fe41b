/** herald_xdp on nodes that hand packets on to each other, with real senders and real sockets at the pods. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatapathStatus, EarlyPackets } from '../../src/datapath/datapath.ts'
import { passing } from './early.ts'
import { whyNoKernel } from './fixture.ts'
import { connected, deployRemoteRack, families, reachable, vips, type RemoteRack } from './remote-rack.ts'
import { underLoadOf } from './under-load.ts'

const skip = whyNoKernel()
const megabytes = 4 * 2 ** 20

/** The segment of the nodes as a network has it: checksums are finished, and what a driver sends arrives. */
async function layWire(rack: RemoteRack, object: string): Promise<void> {
  for (const port of ['port0', 'port1', 'port2'])
    rack.run('router', ['ip', 'link', 'set', 'dev', port, 'xdpdrv', 'obj', object, 'sec', 'xdp'])
  for (const place of ['client', 'pod1'] as const)
    await rack.actors[place].tell({ do: 'finish-checksums', device: 'eth0' })
}

async function packetsAt(rack: RemoteRack, node: 'node0' | 'node1'): Promise<EarlyPackets> {
  const { status } = await rack.actors[node].tell<{ readonly status: DatapathStatus }>({ do: 'status' })
  const [found] = status.acceleration?.interfaces ?? []
  assert.deepEqual([found?.interface, found?.mode], ['up0', 'native'])
  return found?.packets ?? assert.fail()
}

test('what a node hands on from its driver arrives at the pod of the other node, octet by octet; flows that come by ' +
  'that node are its own', { skip }, async (t) => {
  const rack = await deployRemoteRack(t)
  await layWire(rack, passing(t))
  await rack.serve('tcx', [1], 'stack', 'native')
  rack.routeBy(0)
  await reachable(rack)
  for (const family of families) {
    rack.routeBy(0)
    assert.equal(await connected(rack, family), 1)
    const before = await packetsAt(rack, 'node0')
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: megabytes }), 'the same', family)
    const { handedOn } = await packetsAt(rack, 'node0')
    assert.ok(handedOn - before.handedOn > megabytes / 1500 / 2, `${family}: ${handedOn} after ${before.handedOn}`)
    // By the node of the pod, and by the other one again.
    const at1 = await packetsAt(rack, 'node1')
    rack.routeBy(1)
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: 100_000 }), 'the same', family)
    assert.deepEqual(await packetsAt(rack, 'node1'), at1)
    rack.routeBy(0)
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: 100_000 }), 'the same', family)
    assert.equal(await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 900 }), 900)
  }
  for (const node of [0, 1]) {
    const { no_backend, rewrite_failed, bad_tunnel, unknown_sender } = await rack.reasons(node)
    assert.deepEqual([no_backend, rewrite_failed, bad_tunnel, unknown_sender], [0, 0, 0, 0])
  }
})

test('a sender that leaves checksums to its card is served as ever: its packets are left to TC', {
  skip,
}, async (t) => {
  const rack = await deployRemoteRack(t)
  const object = passing(t)
  for (const port of ['port0', 'port1', 'port2'])
    rack.run('router', ['ip', 'link', 'set', 'dev', port, 'xdpdrv', 'obj', object, 'sec', 'xdp'])
  await rack.serve('tcx', [1], 'stack', 'native')
  rack.routeBy(0)
  await reachable(rack)
  for (const family of families) {
    assert.equal(await connected(rack, family), 1)
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: megabytes }), 'the same', family)
  }
})

test('programs are replaced, and XDP comes and goes, under load: no segment of what it hands on is lost', {
  skip,
}, async (t) => {
  const rack = await deployRemoteRack(t)
  await layWire(rack, passing(t))
  await rack.actors.node0.tell({ do: 'keep-queue', device: 'up0' })
  await rack.serve('tcx', [1], 'stack', 'native')
  rack.routeBy(0)
  await reachable(rack)
  for (const family of families) {
    const ends = {
      address: vips[family],
      places: ['client', 'pod1'] as const,
      run: (place: 'client' | 'pod1', command: readonly string[]) => rack.run(place, command),
    }
    await underLoadOf(ends, rack.actors.client, async () => {
      for (const early of ['native', 'disabled', 'native', 'native', 'disabled', 'native'] as const) {
        const { acceleration } = await rack.succeed(0, 'tcx', [1], early)
        assert.equal(acceleration?.interfaces[0]?.mode, early === 'native' ? 'native' : undefined)
      }
    })
    assert.ok((await packetsAt(rack, 'node0')).handedOn > 100)
  }
})
