/** Real sockets to a pod on a node that takes no packets from others: through two nodes, by addresses of theirs. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor } from '../wait.ts'
import { whyNoKernel } from './fixture.ts'
import {
  deployRemoteRack,
  families,
  ownAddress,
  reachable,
  vips,
  type FamilyName,
  type RemoteRack,
} from './remote-rack.ts'

const skip = whyNoKernel()
const megabytes = 2 * 2 ** 20
const snatPorts = { first: 61_000, last: 65_095 }

async function deploy(t: Parameters<typeof deployRemoteRack>[0], ports = snatPorts): Promise<RemoteRack> {
  const rack = await deployRemoteRack(t, { nodes: [0, 1], pods: [2], bare: [2], snatPorts: ports })
  for (const node of ['node0', 'node1'] as const) {
    rack.run(node, ['ip', 'route', 'add', '10.2.0.0/24', 'via', ownAddress.ipv4(2)])
    rack.run(node, ['ip', 'route', 'add', 'fd00:10:2::/64', 'via', ownAddress.ipv6(2)])
  }
  return rack
}

/** Whom the pod sees, by address and port. */
async function seenBy(rack: RemoteRack, family: FamilyName): Promise<string> {
  const greeting = await rack.actors.client.tell<string>({ do: 'connect', address: vips[family], port: 80 })
  return greeting.split(' ')[0] ?? ''
}

/** A datagram may be lost, and is sent again. */
async function echoed(rack: RemoteRack, family: FamilyName, size: number): Promise<void> {
  const ask = (): Promise<unknown> => rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size })
  await waitFor(`${size} octets`, async () => (await ask().catch(() => 0)) === size)
}

for (const [attach, offloads] of [
  ['tcx', 'on'],
  ['clsact', 'off'],
] as const)
  test(`${attach}, offloads ${offloads}: megabytes there and back, octet by octet, with a pod on a node without any of ` +
    'this, which sees the node by which they came', { skip }, async (t) => {
    const rack = await deploy(t)
    if (offloads === 'off')
      for (const [place, device] of [
        ['client', 'eth0'],
        ['pod2', 'eth0'],
        ['node0', 'up0'],
      ] as const)
        await rack.actors[place].tell({ do: 'finish-checksums', device })
    await rack.serve(attach, [2])
    rack.routeBy(0)
    await reachable(rack)
    for (const family of families) {
      rack.routeBy(0)
      assert.equal(await seenBy(rack, family), ownAddress[family](0))
      assert.equal(await rack.actors.client.tell<string>({ do: 'transfer', size: megabytes }), 'the same', family)
      for (const size of [900, 901]) await echoed(rack, family, size)
      rack.routeBy(1)
      assert.equal(await seenBy(rack, family), ownAddress[family](1))
    }
    for (const node of [0, 1]) {
      const { reply_unmatched, no_backend, rewrite_failed, snat_ports } = await rack.reasons(node)
      assert.deepEqual([reply_unmatched, no_backend, rewrite_failed, snat_ports], [0, 0, 0, 0])
    }
  })
