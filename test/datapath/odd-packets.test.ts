/** Packets that contradict themselves: nothing is believed of them, and they open no flow. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import {
  extension,
  frame,
  icmpMessage,
  moreFragments,
  parse,
  tcpFlag,
  tcpFrame,
  tcpSegment,
  TCP,
  udpFrame,
} from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, ICMP, podAt, isIpv6, headerBytes, echo } = family
const pod = { address: podAt(5), port: 8080 }
const other = { address: podAt(6), port: 8080 }
const toVip = { source: client, destination: vip, sourcePort: 40000, destinationPort: 80 }
const l3 = 14
const l4 = l3 + headerBytes

/** The packet with another length in its IP header. */
function saying(bytes: Uint8Array, length: number): Uint8Array {
  const copy = bytes.slice()
  new DataView(copy.buffer).setUint16(l3 + (isIpv6 ? 4 : 2), length)
  return copy
}

const flows = (datapath: KernelDatapath): number =>
  datapath
    .usage()
    .reduce((sum, { name, entries }) => sum + (/openings|connections|datagrams/.test(name) ? entries : 0), 0)

const ping = frame({
  ...toVip,
  protocol: ICMP,
  payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8), toVip),
})

test('a length of 0 is that of a merged packet beyond 64 KiB only, and what is behind the end is not read', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  datapath.upsert(frontendOf(vip, 80, [pod], 'UDP'))
  const packets = [
    tcpFrame({ ...toVip, flags: tcpFlag.SYN }),
    tcpFrame({ ...toVip, destinationPort: 81, flags: tcpFlag.SYN }),
    udpFrame(toVip),
    udpFrame({ ...toVip, destinationPort: 81 }),
    ping,
  ]
  for (const length of isIpv6 ? [0] : [0, 20]) {
    for (const bytes of packets) {
      const run = ingress(datapath, saying(bytes, length))
      assert.equal(run.verdict, verdict.shot, `${length}: ${Buffer.from(bytes).toString('hex')}`)
    }
  }
  assert.equal(datapath.reasons()['bad_header'], packets.length * (isIpv6 ? 1 : 2))
  assert.equal(flows(datapath), 0)
  const shortEcho = saying(ping, isIpv6 ? 7 : 27)
  assert.equal(ingress(datapath, shortEcho).verdict, verdict.shot)
})

test('a data offset that is too small, or beyond the segment, is none of TCP (RFC 9293 3.1)', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  for (const flags of [tcpFlag.SYN, tcpFlag.ACK, tcpFlag.RST | tcpFlag.ACK]) {
    for (const offset of [0, 1, 4, 6, 15]) {
      const bytes = tcpFrame({ ...toVip, flags, data: new Uint8Array(offset === 6 ? 3 : 0) })
      bytes[l4 + 12] = offset << 4
      assert.equal(ingress(datapath, bytes).verdict, verdict.shot, `offset ${offset}`)
    }
  }
  assert.deepEqual([datapath.reasons()['bad_header'], flows(datapath)], [15, 0])
  const whole = tcpFrame({ ...toVip, flags: tcpFlag.SYN, data: new Uint8Array(40) })
  whole[l4 + 12] = 0xf0
  assert.equal(ingress(datapath, whole).verdict, verdict.pass)
})

test('a packet that claims to come from where it goes is dropped: the answer would be the next request', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  for (const protocol of ['TCP', 'UDP'] as const) datapath.upsert(frontendOf(vip, 80, [pod], protocol))
  const land = { source: vip, destination: vip, sourcePort: 80, destinationPort: 80 }
  // What a pod asks a VIP leaves with its own address, also where it answers for another frontend of it.
  for (const sourcePort of [80, 81])
    for (const bytes of [tcpFrame({ ...land, sourcePort, flags: tcpFlag.SYN }), udpFrame({ ...land, sourcePort })])
      assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  assert.deepEqual([datapath.reasons()['bad_header'], flows(datapath)], [4, 0])
})

/** What a pod that listens takes no notice of, and so never answers. */
const silent: Readonly<Record<string, (port: number) => readonly Uint8Array[]>> = {
  'a segment without flags': (sourcePort) => [tcpFrame({ ...toVip, sourcePort, flags: 0 })],
  'a FIN alone': (sourcePort) => [tcpFrame({ ...toVip, sourcePort, flags: tcpFlag.FIN })],
  'an ACK that no pod answered': (sourcePort) => [tcpFrame({ ...toVip, sourcePort, flags: tcpFlag.ACK })],
  'fragments of a RST': (sourcePort) => {
    const segment = tcpSegment({ ...toVip, sourcePort, flags: tcpFlag.RST, data: new Uint8Array(12) })
    const common = { source: client, destination: vip, protocol: TCP, identification: sourcePort & 255 }
    return [
      frame({ ...common, fragment: moreFragments, payload: segment.slice(0, 24) }),
      frame({ ...common, fragment: 3, payload: segment.slice(24) }),
    ]
  },
}
for (const [what, packets] of Object.entries(silent))
  test(`${what} keeps no later SYN of its tuple at a backend that takes nothing new`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    for (const bytes of packets(40_001)) assert.equal(ingress(datapath, bytes).verdict, verdict.pass)
    datapath.upsert({ ...frontendOf(vip, 80, [other]), resting: [pod] })
    const { packet } = ingress(datapath, tcpFrame({ ...toVip, sourcePort: 40_001, flags: tcpFlag.SYN }))
    assert.equal(parse(packet).destination, other.address)
  })

// IPv4 has no header of that kind.
if (isIpv6)
  test('a second fragment header makes no whole packet of a fragment (RFC 8200 4.1)', { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    const header = (word: number): readonly [number, Uint8Array] => [
      extension.fragment,
      Uint8Array.of(0, 0, word >> 8, word & 255, 0, 0, 0, 9),
    ]
    for (const fragment of [0, moreFragments, 5])
      for (const word of [0, 1, 5 << 3]) {
        const bytes = tcpFrame({ ...toVip, flags: tcpFlag.SYN, extensions: [header(word)], fragment })
        // The frame's writer puts a length where a fragment header has none.
        bytes[l4 + 1] = 0
        assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
      }
    assert.equal(flows(datapath), 0)
  })
