/** What does not fit with its encapsulation, and nodes that speak the other family among each other. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterOf, handedOn, innerOf, translated, tunnelBytes, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { ingress, verdict, whyNoKernel } from './fixture.ts'
import { frame, icmpMessage, parse, tcpFlag, tcpFrame, tcpSegment, TCP, udpFrame } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, router, ICMP, podAt, nodeAt, isIpv6, headerBytes, tooBig } = family
const { SYN, ACK } = tcpFlag
const l3 = 14
const overhead = headerBytes + tunnelBytes
const wayMtu = 1400
const homed = (n: number, home: number): Homed => ({ backend: { address: podAt(n), port: 8080 }, home })
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
/** What the kernel takes from anybody's ICMP error about a ping at least, and what a client can make use of. */
const [forgedMtu, leastMtu] = isIpv6 ? [1280, 1280] : [552, 576]
const otherFamily = isIpv6 ? ['203.0.113.101', '203.0.113.102'] : ['fd00:113::101', 'fd00:113::102']

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250), isIpv6 ? '203.0.113.250' : 'fd00:113::fa'])
  ip('route', 'add', nodeAt(3), 'dev', 'up0', 'mtu', 'lock', String(wayMtu))
  ip('route', 'add', nodeAt(4), 'dev', 'up0', 'mtu', 'lock', String(forgedMtu))
}

/** Of so many octets with its IP header. */
const sized = (protocol: 'TCP' | 'UDP', length: number): Uint8Array =>
  protocol === 'TCP'
    ? tcpFrame({ ...toVip, flags: ACK, ack: 7, data: new Uint8Array(length - headerBytes - 20).fill(3) })
    : udpFrame({ ...toVip, data: new Uint8Array(length - headerBytes - 8).fill(3) })

test('what does not fit on the way to the node is answered with what does (RFC 1191 4, RFC 4443 3.2), from the VIP', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), nodeAt(2), nodeAt(3)])
  for (const [home, mtu] of [
    [1, 1500],
    [2, wayMtu],
  ] as const) {
    const { datapath } = cluster.node(0)
    for (const protocol of ['TCP', 'UDP'] as const) {
      cluster.serve(vip, 80, [homed(5, home)], { protocol })
      const fits = ingress(datapath, sized(protocol, mtu - overhead))
      assert.deepEqual([fits.verdict, parse(fits.packet).totalLength], [verdict.redirect, mtu])
      const sent = sized(protocol, mtu - overhead + 1)
      const { packet } = ingress(datapath, sent)
      const answer = parse(packet)
      assert.deepEqual([answer.source, answer.destination, answer.protocol], [vip, client, ICMP], protocol)
      assert.ok(answer.isIpChecksumRight && answer.isL4ChecksumRight)
      assert.deepEqual([...answer.payload.slice(0, 2)], [tooBig.type, tooBig.code])
      assert.equal(answer.view.getUint32(answer.l4 + 4), mtu - overhead)
      const quoted = answer.payload.slice(8)
      assert.deepEqual([...quoted], [...sent.slice(l3, l3 + quoted.length)])
      assert.ok(quoted.length >= (isIpv6 ? 1200 : headerBytes + 8))
    }
  }
  assert.equal(cluster.node(0).datapath.reasons()['too_big'], 4)
})

test('no client is told of an MTU with which it cannot send: what would fit then is handed on', { skip }, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), nodeAt(4)])
  for (const protocol of ['TCP', 'UDP'] as const) {
    cluster.serve(vip, 80, [homed(5, 1)], { protocol })
    const { datapath } = cluster.node(0)
    const fits = ingress(datapath, sized(protocol, leastMtu))
    assert.deepEqual([fits.verdict, parse(fits.packet).totalLength], [verdict.redirect, leastMtu + overhead])
    const answer = parse(ingress(datapath, sized(protocol, leastMtu + 1)).packet)
    assert.deepEqual([answer.protocol, answer.view.getUint32(answer.l4 + 4)], [ICMP, leastMtu], protocol)
  }
})

test('who sends much that is too big is answered so often and no more, and an ICMP error never', { skip }, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), nodeAt(2), nodeAt(3)])
  cluster.serve(vip, 80, [homed(5, 2)], { protocol: 'UDP' })
  const { datapath } = cluster.node(0)
  // One in a millisecond is answered, and 256 at once: a slow machine answers all.
  for (let n = 0; n < 1000; n++) ingress(datapath, sized('UDP', 1500))
  const { too_big: answered = 0, answer_limited: limited = 0 } = datapath.reasons()
  assert.ok(answered >= 256, `${answered} answered, ${limited} not`)
  assert.equal(answered + limited, 1000)
  const reply = { source: vip, destination: client, sourcePort: 80, destinationPort: 40_000 }
  const payload = tcpSegment({ ...reply, flags: ACK, data: new Uint8Array(1400 - headerBytes - 20) })
  const ends = { source: router, destination: vip }
  cluster.serve(vip, 80, [homed(5, 2)])
  const quoted = frame({ ...reply, protocol: TCP, payload }).slice(l3)
  const error = frame({ ...ends, protocol: ICMP, payload: icmpMessage(tooBig.type, tooBig.code, 1300, quoted, ends) })
  assert.equal(ingress(datapath, error).verdict, verdict.shot)
  assert.equal(datapath.reasons()['not_answerable'], 1)
})

test('a later fragment that does not fit is dropped: its first one is answered', { skip }, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), nodeAt(2), nodeAt(3)])
  cluster.serve(vip, 80, [homed(5, 2)], { protocol: 'UDP' })
  const whole = udpFrame({ ...toVip, data: new Uint8Array(2800) }).slice(l3 + headerBytes)
  const common = { source: client, destination: vip, protocol: 17, identification: 9 }
  const { datapath } = cluster.node(0)
  const first = ingress(datapath, frame({ ...common, fragment: 0x2000, payload: whole.slice(0, 1432) }))
  assert.equal(parse(first.packet).protocol, ICMP)
  assert.equal(ingress(datapath, frame({ ...common, fragment: 179, payload: whole.slice(1432) })).verdict, verdict.shot)
  assert.deepEqual([datapath.reasons()['too_big'], datapath.reasons()['not_answerable']], [1, 1])
})

test('nodes that speak the other family among each other hand on all the same', { skip }, (t) => {
  const cluster = clusterOf(t, otherFamily)
  cluster.serve(vip, 80, [homed(5, 1)])
  const sent = tcpFrame({ ...toVip, flags: SYN, data: new Uint8Array(20).fill(1) })
  const { packet, verdict: answer } = ingress(cluster.node(0).datapath, sent)
  assert.equal(answer, verdict.redirect)
  const outer = parse(packet)
  assert.deepEqual([outer.source, outer.destination], otherFamily)
  assert.deepEqual([...innerOf(packet)], [...sent])
  assert.equal(outer.totalLength, sent.length - l3 + (isIpv6 ? 20 : 40) + tunnelBytes)
  // A driver says the type of what comes in; the test run takes it from the frame.
  const own = handedOn(sent, {
    from: otherFamily[0] ?? '',
    to: otherFamily[1] ?? '',
    backend: { address: podAt(5), port: 8080 },
  })
  const arrived = translated(ingress(cluster.node(1).datapath, own))
  assert.deepEqual([arrived.destination, arrived.isL4ChecksumRight, arrived.l3], [podAt(5), true, l3])
})
