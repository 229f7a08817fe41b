/** Nodes that reach each other by another interface than their clients. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { waitFor } from '../wait.ts'
import { handedOn } from './cluster.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame, udpFrame } from './frames.ts'
import { client, deployRack, ipv6, linkAddress, pods, sendFrames, uplink, vip } from './rack.ts'

const skip = whyNoKernel()
/** Of the nodes. */
const [own, other] = ['203.0.113.1', '203.0.113.2']
const farClient = '203.0.114.7'

test('the answer to what a node has handed on leaves by the way to its client, without the tag of the other one', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  rack.layCable('fabric', own, other)
  // An address is asked for where it is, and by no other cable.
  rack.run('client', ['sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1'])
  const node = rack.actor('node')
  const pod = { address: pods[0], port: 8080 }
  await node.tell({
    do: 'datapath',
    bpffs: rack.bpffs,
    objectFile: buildBpf(),
    attach: 'tcx',
    interfaces: [uplink, 'fabric'],
    frontends: [frontendOf(vip, 80, [pod]), frontendOf(ipv6.vip, 80, [{ ...pod, address: ipv6.pods[0] }])],
    nodes: { own: [own], others: [other] },
  })
  const destinationMac = linkAddress(rack, 'node', 'fabric')
  const count = (file: string, pattern: RegExp): number => Number(pattern.exec(rack.run('client', ['cat', file]))?.[1])
  const segments = (): number => count('/proc/net/snmp', /^Tcp:(?: -?\d+){9} (\d+)/m)
  const unreachable = (): number => count('/proc/net/snmp', /^Icmp: \d+ \d+ \d+ (\d+)/m)
  const ends = { sourcePort: 40_000, destinationPort: 81 }
  const v4 = { source: client, destination: vip, ...ends }
  const v6 = { source: ipv6.client, destination: ipv6.vip, ...ends }
  const sent = [
    { what: 'a RST', inner: tcpFrame({ ...v4, flags: tcpFlag.SYN }), heard: segments },
    { what: 'a RST over IPv6', inner: tcpFrame({ ...v6, flags: tcpFlag.SYN }), heard: segments },
    { what: 'port unreachable', inner: udpFrame(v4), heard: unreachable },
  ]
  for (const [tag, octets] of Object.entries({ 'no tag': [], 'a tag': [0x81, 0, 0, 7] }))
    for (const { what, inner, heard } of sent) {
      const before = heard()
      const bytes = handedOn(inner, { from: other, to: own, backend: pod })
      bytes.set(destinationMac)
      sendFrames(rack, 'client', 'fabric', [Uint8Array.from([...bytes.slice(0, 12), ...octets, ...bytes.slice(12)])])
      await waitFor(`${what}, ${tag}`, () => heard() === before + 1)
    }
})

test('an uplink of the nodes whose rp_filter keeps from pods what is handed on by it is named', { skip }, async (t) => {
  const rack = deployRack(t)
  rack.layCable('fabric', own, other)
  rack.run('node', ['ip', 'route', 'add', 'default', 'via', client])
  const pod = { address: pods[0], port: 8080 }
  const node = rack.actor('node')
  await node.tell({
    do: 'datapath',
    bpffs: rack.bpffs,
    objectFile: buildBpf(),
    attach: 'tcx',
    interfaces: [],
    frontends: [frontendOf(vip, 80, [pod], 'UDP')],
    nodes: { own: [own], others: [other] },
  })
  assert.deepEqual(await node.tell({ do: 'follow', neighbors: [other] }), ['fabric', uplink])
  const ends = { source: farClient, destination: vip, sourcePort: 40_000, destinationPort: 80 }
  const bytes = handedOn(udpFrame(ends), { from: other, to: own, backend: pod })
  bytes.set(linkAddress(rack, 'node', 'fabric'))
  const arrived = (): number => Number(/^Udp: \d+ (\d+)/m.exec(rack.run('pod', ['cat', '/proc/net/snmp']))?.[1])
  for (const [setting, isNamed] of [
    [1, true],
    [2, false],
  ] as const) {
    rack.run('node', ['sysctl', '-qw', `net.ipv4.conf.fabric.rp_filter=${setting}`])
    // Of settings nobody is told: something happens to a link.
    rack.run('node', ['ip', 'address', 'add', `10.9.0.${setting}/32`, 'dev', 'lo'])
    await waitFor(`rp_filter ${setting}`, async () => {
      const texts = await node.tell<readonly string[]>({ do: 'fault-texts' })
      return texts.some((text) => text.includes('set net.ipv4.conf.fabric.rp_filter to 2')) === isNamed
    })
    const before = arrived()
    sendFrames(rack, 'client', 'fabric', [bytes])
    if (!isNamed) await waitFor('the datagram', () => arrived() === before + 1)
  }
  assert.equal(arrived(), 1)
})
