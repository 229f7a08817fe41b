/** ECN on the way between two nodes (RFC 6040), of either family in either family. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, handedOn, innerOf, type Cluster } from './cluster.ts'
import { familyOf } from './family.ts'
import { ingress, verdict, whyNoKernel } from './fixture.ts'
import { checksum, parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const families = [familyOf(''), familyOf('?ipv6')] as const
const l3 = 14
/** RFC 3168 5. */
const [notCapable, capable1, capable0, congested] = [0, 1, 2, 3] as const
const everyEcn = [notCapable, capable1, capable0, congested] as const

/** What comes out, by what went in and what the way made of it; undefined: it is dropped. */
const combined: Readonly<Record<number, readonly (number | undefined)[]>> = {
  [notCapable]: [notCapable, notCapable, notCapable, undefined],
  [capable1]: [capable1, capable1, capable1, congested],
  [capable0]: [capable0, capable1, capable0, congested],
  [congested]: [congested, congested, congested, congested],
}

if (skip === undefined) {
  enterNetwork()
  layCable(
    'up0',
    families.map(({ nodeAt }) => nodeAt(250)),
  )
}

const isIpv6 = (packet: Uint8Array): boolean => (packet[l3] ?? 0) >> 4 === 6

/** Type of service, or traffic class. */
function classOf(packet: Uint8Array): number {
  const [first = 0, second = 0] = packet.slice(l3)
  return isIpv6(packet) ? ((first << 4) | (second >> 4)) & 255 : second
}

function withClass(packet: Uint8Array, value: number): Uint8Array {
  const changed = packet.slice()
  const view = new DataView(changed.buffer)
  if (isIpv6(packet)) view.setUint16(l3, 0x6000 | (value << 4) | (view.getUint16(l3) & 15))
  else {
    view.setUint8(l3 + 1, value)
    view.setUint16(l3 + 10, 0)
    view.setUint16(l3 + 10, checksum(changed.slice(l3, l3 + (view.getUint8(l3) & 15) * 4)))
  }
  return changed
}

/** As it leaves: the type of the frame is written by the kernel behind the program. */
function onWire(packet: Uint8Array): Uint8Array {
  const sent = packet.slice()
  new DataView(sent.buffer).setUint16(12, isIpv6(packet) ? 0x86dd : 0x0800)
  return sent
}

for (const inside of families)
  for (const outside of families) {
    const text = `IPv${inside.isIpv6 ? 6 : 4} in IPv${outside.isIpv6 ? 6 : 4}`
    const { vip, client, podAt } = inside
    const { nodeAt } = outside
    const backend = { address: podAt(5), port: 8080 }
    const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
    const ends = { from: nodeAt(1), to: nodeAt(2), backend }
    const servedBy = (t: Parameters<typeof clusterOf>[0], home: number): Cluster => {
      const cluster = clusterOf(
        t,
        [1, 2, 3].map((n) => nodeAt(n)),
      )
      for (const protocol of ['TCP', 'UDP'] as const) cluster.serve(vip, 80, [{ backend, home }], { protocol })
      return cluster
    }
    const syn = tcpFrame({ ...toVip, flags: tcpFlag.SYN })
    const datagram = udpFrame({ ...toVip, data: new Uint8Array(33).fill(7) })

    test(`${text}: a packet is handed on with its DSCP and ECN outside, and as it was inside (RFC 6040 4.1)`, {
      skip,
    }, (t) => {
      const cluster = servedBy(t, 1)
      for (const bytes of [syn, datagram])
        for (const ecn of everyEcn)
          for (const dscp of [0, 46, 63]) {
            const sent = withClass(bytes, (dscp << 2) | ecn)
            const { packet, verdict: answer } = ingress(cluster.node(0).datapath, sent)
            assert.equal(answer, verdict.redirect)
            assert.equal(classOf(packet), (dscp << 2) | ecn)
            assert.ok(parse(packet).isIpChecksumRight)
            assert.deepEqual([...innerOf(packet)], [...sent])
          }
    })

    test(`${text}: what the way marked goes on inside, or is a drop for who cannot hear it (RFC 6040 4.2)`, {
      skip,
    }, (t) => {
      const { datapath } = servedBy(t, 1).node(1)
      let drops = 0
      for (const bytes of [syn, datagram])
        for (const inner of everyEcn)
          for (const outer of everyEcn) {
            const sent = withClass(bytes, (46 << 2) | inner)
            // The way may change DSCP as well, which is nothing to the packet (RFC 2983 3.1).
            const run = ingress(datapath, withClass(handedOn(sent, ends), (10 << 2) | outer))
            const expected = combined[inner]?.[outer]
            const words = `${inner} inside, ${outer} outside`
            if (expected === undefined) {
              assert.equal(run.verdict, verdict.shot, words)
              assert.equal(datapath.reasons()['congested'], ++drops, words)
              continue
            }
            assert.equal(run.verdict, verdict.pass, words)
            assert.equal(classOf(run.packet), (46 << 2) | expected, words)
            const { destination, isIpChecksumRight, isL4ChecksumRight } = parse(run.packet)
            assert.deepEqual([destination, isIpChecksumRight, isL4ChecksumRight], [podAt(5), true, true], words)
          }
      assert.equal(drops, 2)
    })

    test(`${text}: a mark goes on over a second way, and one of that is kept too`, { skip }, (t) => {
      const cluster = servedBy(t, 2)
      const ack = withClass(tcpFrame({ ...toVip, flags: tcpFlag.ACK, ack: 7 }), capable0)
      const again = ingress(cluster.node(1).datapath, withClass(handedOn(ack, ends), congested))
      assert.equal(again.verdict, verdict.redirect)
      assert.deepEqual([classOf(again.packet), classOf(innerOf(again.packet))], [congested, congested])
      assert.ok(parse(innerOf(again.packet)).isIpChecksumRight)
      const last = ingress(cluster.node(2).datapath, withClass(onWire(again.packet), capable0))
      assert.deepEqual([last.verdict, classOf(last.packet)], [verdict.pass, congested])
    })
  }
