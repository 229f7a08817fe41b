/** Frames with VLAN tags as drivers show them, the outer one beside the packet: test runs of programs have no such. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { translatedNode } from '../../src/desired/model.ts'
import { waitFor } from '../wait.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import { clientMac, udpFrame } from './frames.ts'
import { client, deployRack, ipv6, linkAddress, sendFrames, uplink, vip, type Rack } from './rack.ts'

const skip = whyNoKernel()
const customer = [0x81, 0, 0, 7] as const // 802.1Q
const service = [0x88, 0xa8, 0, 100] as const // 802.1ad
const tagged: Readonly<Record<string, readonly number[]>> = {
  'no tag': [],
  'one tag': customer,
  'two tags': [...service, ...customer],
}
const ownAddress = { ipv4: '198.51.100.1', ipv6: '2001:db8:51:100::1' } as const
const places = {
  ipv4: { source: client, destination: vip, own: ownAddress.ipv4 },
  ipv6: { source: ipv6.client, destination: ipv6.vip, own: ownAddress.ipv6 },
} as const

/**
 * Datagrams without a tag that came to where nobody listens: with one they would be of an interface that is not there.
 * Over IPv6 the stack takes those of a tunnel, which have no checksum, for errors.
 */
function arrived(rack: Rack): number {
  const of = (file: string, pattern: RegExp): number => Number(pattern.exec(rack.run('client', ['cat', file]))?.[1])
  const counts = [/^Udp6NoPorts\s+(\d+)/m, /^Udp6InErrors\s+(\d+)/m].map((each) => of('/proc/net/snmp6', each))
  return counts.reduce((sum, count) => sum + count, of('/proc/net/snmp', /^Udp: \d+ (\d+)/m))
}

for (const way of ['in a tunnel', 'from an address of the node'] as const)
  test(`what leaves for another node ${way} has none of the tags by which it came`, { skip }, async (t) => {
    const rack = deployRack(t)
    const node = rack.actor('node')
    const isTunnel = way === 'in a tunnel'
    await node.tell({
      do: 'datapath',
      bpffs: rack.bpffs,
      objectFile: buildBpf(),
      attach: 'tcx',
      interfaces: [uplink],
      frontends: Object.values(places).map(({ source, destination }) =>
        frontendOf(destination, 80, [{ address: source, port: 8080, node: isTunnel ? source : translatedNode }], 'UDP'),
      ),
      nodes: {
        own: Object.values(ownAddress),
        others: Object.values(places).map(({ source }) => source),
        snatPorts: { first: 61_000, last: 65_095 },
      },
    })
    const destinationMac = linkAddress(rack, 'node', uplink)
    let sourcePort = 40_000
    for (const [name, place] of Object.entries(places))
      for (const [what, tags] of Object.entries(tagged)) {
        const before = arrived(rack)
        const bytes = udpFrame({ ...place, sourcePort: sourcePort++, destinationPort: 80 })
        sendFrames(rack, 'client', 'eth0', [
          Uint8Array.from([...destinationMac, ...clientMac, ...tags, ...bytes.slice(12)]),
        ])
        await waitFor(`${name}, ${what}`, () => arrived(rack) === before + 1)
      }
    assert.equal(sourcePort, 40_006)
  })
