/** Pods that reach themselves, and what is on their node, by a VIP over the uplink: a router brings it back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitFor } from '../wait.ts'
import { whyNoKernel } from './fixture.ts'
import { deployRemoteRack, families, ownAddress, reachable, vips, type Place, type RemoteRack } from './remote-rack.ts'

const skip = whyNoKernel()
const podNets = { ipv4: '10.1.0.0/24', ipv6: 'fd00:10:1::/64' } as const
const iptables = { ipv4: 'iptables-nft', ipv6: 'ip6tables-nft' } as const

/** As a CNI does to what leaves the networks of pods. */
function masquerade(rack: RemoteRack): void {
  for (const family of families) {
    const net = podNets[family]
    rack.run('node1', [
      iptables[family],
      ...['-t', 'nat', '-A', 'POSTROUTING', '-s', net, '!', '-d', net, '-j', 'MASQUERADE'],
    ])
  }
}

/** Whoever asks from this place gets its answers, and the pod sees the VIP. */
async function isServed(rack: RemoteRack, place: 'pod1' | 'node1', what: string): Promise<void> {
  const user = rack.actors[place as Place]
  for (const family of families) {
    const address = vips[family]
    const greeting = await user.tell<string>({ do: 'tcp', address, port: 80, size: 5 })
    assert.equal(greeting.split(' ')[0], address, `${what} ${family}`)
    await user.tell({ do: 'connect', address, port: 80 })
    assert.equal(await user.tell({ do: 'transfer', size: 300_000 }), 'the same', `${what} ${family}`)
    for (const size of [1, 1300]) assert.equal(await user.tell({ do: 'udp', address, port: 80, size }), size, what)
    // In fragments. Of those that do not fit into the tunnel the first ones are lost, and the sender is told what does.
    await waitFor(`${what}, ${family}: fragments`, () =>
      user.tell({ do: 'udp', address, port: 80, size: 4000 }).then(
        (size) => size === 4000,
        () => false,
      ),
    )
  }
}

for (const [attach, mode] of [
  ['tcx', 'stack'],
  ['clsact', 'redirect'],
] as const)
  test(`${attach}, ${mode}: a pod reaches itself by its VIP over the uplink, by its own node and by another one, also ` +
    'where a CNI masquerades what leaves; so does its node', { skip }, async (t) => {
    const rack = await deployRemoteRack(t, { nodes: [0, 1], pods: [1] })
    await rack.serve(attach, [1], mode)
    rack.routeBy(1)
    await reachable(rack)
    for (const family of families)
      rack.run('router', ['ip', 'route', 'add', podNets[family], 'via', ownAddress[family](1)])
    for (const masquerades of [false, true]) {
      if (masquerades) masquerade(rack)
      for (const node of [1, 0]) {
        rack.routeBy(node)
        await isServed(rack, 'pod1', `masqueraded: ${masquerades}, by node ${node}`)
      }
    }
    for (const node of [1, 0]) {
      rack.routeBy(node)
      await isServed(rack, 'node1', `from the node, by node ${node}`)
    }
    for (const family of families) {
      const greeting = await rack.actors.client.tell<string>({ do: 'tcp', address: vips[family], port: 80, size: 1 })
      assert.match(greeting, /^(198\.51\.100\.7|2001:db8:51:100::7) /, 'who is elsewhere is seen')
    }
  })
