/** Real sockets through three nodes: routers move flows, backends change, packets do not fit, somebody forges. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import { whyNoKernel } from './fixture.ts'
import { connected, deployRemoteRack, families, ownAddress, reachable, vips } from './remote-rack.ts'

const skip = whyNoKernel()
const megabytes = 4 * 2 ** 20

for (const [attach, offloads, mode] of [
  ['tcx', 'on', 'stack'],
  ['clsact', 'off', 'stack'],
  ['tcx', 'off', 'redirect'],
] as const)
  test(`${attach}, offloads ${offloads}, ${mode}: megabytes there and back, octet by octet, while a router moves the ` +
    'connection from node to node and backends come and go', { skip }, async (t) => {
    const rack = await deployRemoteRack(t)
    if (offloads === 'off') {
      await rack.actors.client.tell({ do: 'finish-checksums', device: 'eth0' })
      for (const pod of ['pod1', 'pod2'] as const)
        await rack.actors[pod].tell({ do: 'finish-checksums', device: 'eth0' })
      for (const node of ['node0', 'node1', 'node2'] as const)
        await rack.actors[node].tell({ do: 'finish-checksums', device: 'up0' })
    }
    await rack.serve(attach, [1], mode)
    rack.routeBy(0)
    await reachable(rack)
    for (const family of families) {
      rack.routeBy(0)
      await rack.change([1])
      assert.equal(await connected(rack, family), 1)
      const moved = async (run: () => Promise<void> | void): Promise<void> => {
        const transfer = rack.actors.client.tell<string>({ do: 'transfer', size: megabytes })
        await run()
        assert.equal(await transfer, 'the same', family)
      }
      await moved(() => {})
      await moved(() => [2, 1, 0, 2].forEach((node) => rack.routeBy(node)))
      // Another backend takes all new connections; this one goes on, by nodes that handed it on and one that never did.
      await moved(() => rack.change([2]))
      await moved(() => [0, 1, 2, 0].forEach((node) => rack.routeBy(node)))
      assert.equal(await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 900 }), 900)
      assert.equal(await connected(rack, family), 2)
      await rack.change([1, 2])
      await moved(() => [1, 2, 0].forEach((node) => rack.routeBy(node)))
    }
    for (const node of [0, 1, 2]) {
      const { reply_unmatched, no_backend, rewrite_failed, bad_tunnel, unknown_sender } = await rack.reasons(node)
      assert.deepEqual([reply_unmatched, no_backend, rewrite_failed, bad_tunnel, unknown_sender], [0, 0, 0, 0, 0])
    }
  })

test('what is too big is sent smaller: by TCP that began elsewhere, by UDP in fragments, by a pod whose error comes to ' +
  'another node; and who is no node is not believed', { skip }, async (t) => {
  const rack = await deployRemoteRack(t)
  await rack.serve('tcx', [1])
  rack.routeBy(1)
  await reachable(rack)
  for (const family of families) {
    // It began at its own node, with the whole MSS, and is handed on from here on.
    rack.routeBy(1)
    await connected(rack, family)
    rack.routeBy(0)
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: megabytes }), 'the same')
    const before = (await rack.reasons(0))['too_big'] ?? 0
    assert.ok(before > 0)
    // The client knows by now what fits, and sends fragments that do.
    assert.equal(await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 1_460 }), 1_460)
    // Replies do not fit to the client: the router tells the VIP, by a node that has no flow of it.
    const client = family === 'ipv6' ? '2001:db8:51:100::7' : '198.51.100.7'
    rack.run('router', ['ip', 'route', 'replace', client, 'dev', 'lan', 'mtu', 'lock', '1300'])
    rack.routeBy(2)
    assert.equal(await rack.actors.client.tell({ do: 'transfer', size: megabytes }), 'the same')
  }
  const forged = rack.actors.client.tell({ do: 'udp', address: ownAddress.ipv4(1), port: tunnelPort, size: 200 })
  await assert.rejects(forged, /ETIMEDOUT/)
  assert.equal((await rack.reasons(1))['unknown_sender'], 1)
  for (const node of [0, 1, 2]) assert.equal((await rack.reasons(node))['icmp_unmatched'], 0)
})
