/** Fragments out of order on a network: receive queues and links leave them so, and a host sends them in order. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { whyNoKernel } from './fixture.ts'
import { deployRemoteRack, families, vips, type RemoteRack } from './remote-rack.ts'

const skip = whyNoKernel()
const clients = { ipv4: '198.51.100.7', ipv6: '2001:db8:51:100::7' } as const

/** The link address of the client's router. */
function routerMac(rack: RemoteRack): readonly number[] {
  const [link] = JSON.parse(rack.run('router', ['ip', '-j', 'link', 'show', 'lan'])) as { readonly address: string }[]
  return (link?.address ?? '').split(':').map((octet) => parseInt(octet, 16))
}

test('UDP of 4000 octets whose fragments come in other orders is answered, by the node of the pod and by another one', {
  skip,
}, async (t) => {
  const rack = await deployRemoteRack(t)
  await rack.serve('tcx', [1])
  const destinationMac = routerMac(rack)
  let identification = 0
  for (const node of [1, 0]) {
    rack.routeBy(node)
    for (const family of families) {
      // Who has to be found on the way is found by this one, which may be lost meanwhile.
      await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 9 }).catch(() => 'lost')
      const before = await rack.reasons(node)
      let late = 0
      for (const order of [
        [3, 2, 1, 0],
        [1, 0, 2, 3],
        [2, 3, 0, 1],
        [0, 2, 1, 3],
        [0, 1, 2, 3],
      ]) {
        identification++
        late += order.indexOf(0)
        const pieces = {
          ...{ device: 'eth0', destinationMac, identification, order },
          ...{ source: clients[family], sourcePort: 42_000 + identification },
          ...{ destination: vips[family], destinationPort: 80, octets: 4_000, pieceBytes: 1_024 },
        }
        const answer = await rack.actors.client.tell({ do: 'pieces', pieces })
        assert.equal(answer, 'the same', `${family} by node ${node}, ${order.join()}`)
      }
      const after = await rack.reasons(node)
      const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0)
      assert.deepEqual(['fragment_held', 'fragment_released', 'fragment'].map(grown), [late, late, 0])
    }
  }
})
