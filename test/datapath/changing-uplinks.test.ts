/** One connection and what an uplink may become under it; and pods that have the network of the node. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { waitFor } from '../wait.ts'
import type { Command } from './actor.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import { client, deployRack, ipv6, pods, uplink, vip, type Actor, type Rack } from './rack.ts'

const skip = whyNoKernel()
const own = { ipv4: '198.51.100.1', ipv6: '2001:db8:51:100::1' } as const
const modes = ['stack', 'redirect'] as const

async function serving(rack: Rack, mode: (typeof modes)[number], frontends: readonly Frontend[]): Promise<Actor> {
  const node = rack.actor('node')
  const places = { bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', interfaces: [] } as const
  const command: Command = { do: 'datapath', mode, frontends, ...places }
  await node.tell(command)
  await node.tell({ do: 'follow', neighbors: [client] })
  return node
}

for (const mode of modes)
  test(`${mode}: a connection goes on while its uplink gets another MTU, another name, and a place in a bridge`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    const node = await serving(rack, mode, [frontendOf(vip, 80, [{ address: pods[0], port: 8080 }])])
    const ip = (...words: readonly string[]): string => rack.run('node', ['ip', ...words])
    const user = rack.actor('client')
    await user.tell({ do: 'connect', address: vip, port: 80 })
    const goesOn = async (): Promise<void> => {
      assert.equal(await user.tell({ do: 'transfer', size: 200_000 }), 'the same')
      assert.equal(await user.tell({ do: 'tcp', address: vip, port: 80, size: 1_000 }), `${client} ${pods[0]}`)
    }
    for (const mtu of [1400, 1280, 9000]) {
      ip('link', 'set', uplink, 'mtu', String(mtu))
      rack.run('client', ['ip', 'link', 'set', 'eth0', 'mtu', String(mtu)])
      ip('link', 'set', 'pod0', 'mtu', String(Math.min(mtu, 1450)))
      await goesOn()
    }
    const carries = (name: string): Promise<void> =>
      waitFor(`programs on ${name}`, async () => {
        const { interfaces } = await node.tell<{ readonly interfaces: readonly string[] }>({ do: 'followed' })
        return interfaces.includes(name)
      }).then(() => undefined)
    ip('link', 'set', uplink, 'down')
    ip('link', 'set', uplink, 'name', 'other0')
    ip('link', 'set', 'other0', 'up')
    await carries('other0')
    await goesOn()
    const move = (from: string, to: string): void => {
      ip('address', 'delete', `${own.ipv4}/24`, 'dev', from)
      ip('address', 'add', `${own.ipv4}/24`, 'dev', to)
    }
    ip('link', 'add', 'bridge0', 'type', 'bridge')
    ip('link', 'set', 'bridge0', 'up')
    ip('link', 'set', 'other0', 'master', 'bridge0')
    move('other0', 'bridge0')
    await carries('bridge0')
    await goesOn()
    ip('link', 'set', 'other0', 'nomaster')
    move('bridge0', 'other0')
    await carries('other0')
    await goesOn()
    const { serving: told, faults } = await node.tell<{ serving: readonly boolean[]; faults: readonly string[] }>({
      do: 'followed',
    })
    assert.deepEqual([told, faults], [[true], []])
  })

for (const mode of modes)
  test(`${mode}: a pod in the network of the node is served, by both families, TCP and datagrams in fragments`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    await rack.actor('node').tell({ do: 'serve', port: 9090 })
    const places = [
      { address: vip, from: client, to: own.ipv4 },
      { address: ipv6.vip, from: ipv6.client, to: own.ipv6 },
    ] as const
    const frontends = places.flatMap(({ address, to }) =>
      (['TCP', 'UDP'] as const).map((protocol) => frontendOf(address, 80, [{ address: to, port: 9090 }], protocol)),
    )
    await serving(rack, mode, frontends)
    const user = rack.actor('client')
    for (const { address, from, to } of places) {
      assert.equal(await user.tell({ do: 'tcp', address, port: 80, size: 200_000 }), `${from} ${to}`)
      for (const size of [100, 3_000, 20_000])
        assert.equal(await user.tell({ do: 'udp', address, port: 80, size }), size, address)
      // What asks the node itself is no flow of the VIP, also from the same host.
      assert.equal(await user.tell({ do: 'tcp', address: to, port: 9090, size: 1_000 }), `${from} ${to}`)
    }
  })
