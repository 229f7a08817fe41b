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

/** Of the datagram before: no two have one. */
let identification = 0

interface Orders {
  readonly octets: number
  readonly pieceBytes: number
  readonly orders: readonly (readonly number[])[]
}

/** Datagrams to each node in turn, which all are answered; each fragment that comes before the first one is held. */
async function exchange(rack: RemoteRack, { octets, pieceBytes, orders }: Orders): Promise<void> {
  const destinationMac = routerMac(rack)
  for (const node of [1, 0]) {
    rack.routeBy(node)
    for (const family of families) {
      // Who has to be found on the way is found by this one, which may be lost meanwhile.
      await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 9 }).catch(() => 'lost')
      const before = await rack.reasons(node)
      let [late, held] = [0, 0]
      for (const order of orders) {
        identification++
        const early = order.slice(0, order.indexOf(0))
        late += early.length
        held += new Set(early).size
        const pieces = {
          ...{ device: 'eth0', destinationMac, identification, order },
          ...{ source: clients[family], sourcePort: 42_000 + identification },
          ...{ destination: vips[family], destinationPort: 80, octets, pieceBytes },
        }
        const answer = await rack.actors.client.tell({ do: 'pieces', pieces })
        assert.equal(answer, 'the same', `${family} by node ${node}, ${order.join()}`)
      }
      const after = await rack.reasons(node)
      const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0)
      assert.deepEqual(['fragment_held', 'fragment_released', 'fragment'].map(grown), [late, held, 0])
    }
  }
}

test('UDP of 4000 octets whose fragments come in other orders is answered, by the node of the pod and by another one', {
  skip,
}, async (t) => {
  const rack = await deployRemoteRack(t)
  await rack.serve('tcx', [1])
  await exchange(rack, {
    octets: 4_000,
    pieceBytes: 1_024,
    orders: [
      [3, 2, 1, 0],
      [1, 0, 2, 3],
      [2, 3, 0, 1],
      [0, 2, 1, 3],
      [0, 1, 2, 3],
    ],
  })
})

for (const [attach, mode] of [
  ['tcx', 'stack'],
  ['clsact', 'redirect'],
] as const)
  test(`${attach}, ${mode}: so is one of 64 KiB in jumbo frames, also with fragments that come twice`, {
    skip,
  }, async (t) => {
    const rack = await deployRemoteRack(t, { mtu: 16_384, nodes: [0, 1], pods: [1] })
    await rack.serve(attach, [1], mode)
    const octets = 65_000
    // Over IPv6 the last two are as many octets as seven pieces have, and one.
    for (const pieceBytes of [9_096, 8_952, 14_288, 2_000]) {
      const last = Math.ceil((octets + 8) / pieceBytes) - 1
      const inOrder = Array.from({ length: last + 1 }, (_, n) => n)
      const backwards = inOrder.toReversed()
      await exchange(rack, {
        ...{ octets, pieceBytes },
        orders: [
          backwards,
          [...inOrder.filter((n) => n % 2 === 1), ...inOrder.filter((n) => n % 2 === 0)],
          [last, last, 2, ...backwards.slice(1), 1],
          inOrder,
        ],
      })
    }
    const longer = { octets: 40_000, pieceBytes: 14_320, orders: [[1, 0, 2]] }
    await assert.rejects(exchange(rack, longer), /ETIMEDOUT/)
    assert.equal((await rack.reasons(1))['fragment'], 1)
  })

test('a flood of jumbo frames that complete nothing takes no place from a datagram that waits, and is counted', {
  skip,
}, async (t) => {
  const rack = await deployRemoteRack(t, { mtu: 9_216, nodes: [0, 1], pods: [1] })
  await rack.serve('tcx', [1])
  const destinationMac = routerMac(rack)
  // Each of these takes five places, of 2048.
  const count = 500
  const floods = { ipv4: '198.51.100.66', ipv6: '2001:db8:51:666::66' } as const
  for (const node of [1, 0]) {
    rack.routeBy(node)
    for (const family of families) {
      await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 9 }).catch(() => 'lost')
      const before = await rack.reasons(node)
      identification++
      const pieces = {
        ...{ device: 'eth0', destinationMac, identification, order: [7, 6, 5, 4, 3, 2, 1, 0] },
        ...{ source: clients[family], sourcePort: 42_000 + identification },
        ...{ destination: vips[family], destinationPort: 80, octets: 65_000, pieceBytes: 9_000 },
        flood: { source: floods[family], count },
      }
      assert.equal(await rack.actors.client.tell({ do: 'pieces', pieces }), 'the same', `${family} by node ${node}`)
      const after = await rack.reasons(node)
      const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0)
      const [held, released, refused] = [grown('fragment_held'), grown('fragment_released'), grown('fragment')]
      assert.equal(held + refused, 7 + count)
      assert.equal(released, 7)
      assert.ok(held < count / 2, `${held} held`)
    }
  }
})

test('a short fragment that waits for a first one with a long header comes in once', { skip }, async (t) => {
  const rack = await deployRemoteRack(t, { nodes: [0, 1], pods: [1] })
  await rack.serve('tcx', [1])
  const destinationMac = routerMac(rack)
  for (const node of [1, 0]) {
    rack.routeBy(node)
    for (const family of families) {
      await rack.actors.client.tell({ do: 'udp', address: vips[family], port: 80, size: 9 }).catch(() => 'lost')
      const before = await rack.reasons(node)
      identification++
      const pieces = {
        ...{ device: 'eth0', destinationMac, identification, order: [1, 0] },
        ...{ source: clients[family], sourcePort: 42_000 + identification, optionBytes: 40 },
        ...{ destination: vips[family], destinationPort: 80, octets: 100, pieceBytes: 104 },
      }
      assert.equal(await rack.actors.client.tell({ do: 'pieces', pieces }), 'the same', `${family} by node ${node}`)
      const after = await rack.reasons(node)
      const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0)
      const counted = ['fragment_held', 'fragment_released', 'fragment', 'rewrite_failed'].map(grown)
      assert.deepEqual(counted, [1, 1, 0, 0], `${family} by node ${node}`)
    }
  }
})
