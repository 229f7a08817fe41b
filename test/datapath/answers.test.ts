import assert from 'node:assert/strict'
import { test } from 'node:test'
import { familyOf } from './family.ts'
import { egress, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import {
  checksum,
  clientMac,
  frame,
  icmpMessage,
  ipOctets,
  moreFragments,
  ownMac,
  parse,
  TCP,
  tcpFlag,
  tcpFrame,
  tcpSegment,
  UDP,
  udpDatagram,
  udpFrame,
  type Parsed,
} from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, router, podAt, vipAt, ICMP, echo, unreachable, tooBig, headerBytes, sourceAt, destinationAt } =
  family
const pod = { address: podAt(5), port: 8080 }
/** RFC 1122 3.2.2, RFC 4443 2.4 (e). */
const noHosts = family.isIpv6
  ? ['::', '::1', 'ff02::1', '::ffff:198.51.100.7', vip]
  : ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', vip]
const toVip = { source: client, destination: vip, sourcePort: 40000, destinationPort: 81 }

function assertSentBack(answer: Parsed): void {
  assert.deepEqual([answer.source, answer.destination], [vip, client])
  assert.deepEqual([answer.destinationMac, answer.sourceMac], [[...clientMac], [...ownMac]])
  assert.ok(answer.isIpChecksumRight, 'IP checksum')
  assert.ok(answer.isL4ChecksumRight, 'transport checksum')
}

test('ping of a VIP is answered in place, whatever the payload does to the checksum', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const carry = 0xffff - 0x0800
  for (const rest of [0, 1, 0x12345678, carry, carry - 1, carry + 1, 0xf7ff0000, 0xffffffff]) {
    for (const data of [
      new Uint8Array(),
      Uint8Array.of(1),
      new Uint8Array(56).fill(0xff),
      new Uint8Array(1400).fill(3),
    ]) {
      const run = ingress(
        datapath,
        frame({
          source: client,
          destination: vip,
          protocol: ICMP,
          payload: icmpMessage(echo.request, 0, rest, data, toVip),
        }),
      )
      const answer = parse(run.packet)
      assert.equal(run.verdict, verdict.redirect)
      assertSentBack(answer)
      assert.deepEqual([answer.payload[0], answer.payload[1], answer.ttl], [echo.reply, 0, 64])
      assert.deepEqual(answer.payload.slice(4), icmpMessage(echo.request, 0, rest, data).slice(4))
    }
  }
  assert.equal(datapath.reasons()['echo_answered'], 32)
})

test('a SYN to a port that no Service owns is reset, acknowledging it (RFC 9293 3.10.7.1)', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  for (const extra of [{}, { vlan: 7 }, { options: Uint8Array.of(1, 1, 1, 1) }, { data: Uint8Array.of(1, 2, 3) }]) {
    const run = ingress(datapath, tcpFrame({ ...toVip, flags: tcpFlag.SYN, seq: 0xfffffffe, ...extra }))
    const answer = parse(run.packet)
    assert.equal(run.verdict, verdict.redirect)
    assertSentBack(answer)
    assert.deepEqual(
      [answer.protocol, answer.sourcePort, answer.destinationPort, answer.totalLength, run.packet.length - answer.l3],
      [TCP, 81, 40000, headerBytes + 20, headerBytes + 20],
    )
    assert.equal(answer.view.getUint32(answer.l4 + 4), 0, 'sequence number')
    assert.equal(
      answer.view.getUint32(answer.l4 + 8),
      (0xfffffffe + 1 + ('data' in extra ? 3 : 0)) >>> 0,
      'acknowledgment',
    )
    assert.equal(answer.view.getUint8(answer.l4 + 13), tcpFlag.RST | tcpFlag.ACK)
  }
})

test('a segment with ACK is reset with the sequence number that it acknowledges', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const answer = parse(
    ingress(
      datapath,
      tcpFrame({ ...toVip, flags: tcpFlag.ACK | tcpFlag.FIN, seq: 9, ack: 123456, data: new Uint8Array(777) }),
    ).packet,
  )
  assertSentBack(answer)
  assert.equal(answer.view.getUint32(answer.l4 + 4), 123456)
  assert.equal(answer.view.getUint8(answer.l4 + 13), tcpFlag.RST)
})

test('a datagram to an unowned port gets port unreachable with the start of it (RFC 792, RFC 4443 3.1)', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  for (const extra of [
    {},
    { data: new Uint8Array(1000).fill(7) },
    { data: new Uint8Array(1400).fill(9) },
    { data: Uint8Array.of(1) },
    ...[2, 3, 7, 8, 9, 15, 16, 17].map((length) => ({ data: new Uint8Array(length).fill(0xe3) })),
    { options: new Uint8Array(40).fill(1) },
    { vlan: 9 },
  ]) {
    const bytes = udpFrame({ ...toVip, ...extra })
    const run = ingress(datapath, bytes)
    const answer = parse(run.packet)
    const asked = parse(bytes)
    assert.equal(run.verdict, verdict.redirect)
    assertSentBack(answer)
    assert.deepEqual(
      [answer.protocol, answer.payload[0], answer.payload[1]],
      [ICMP, unreachable.type, unreachable.port],
    )
    // IPv6 quotes as much as fits into its minimum MTU (RFC 4443 2.4 (c)).
    const end = family.isIpv6 ? Math.min(bytes.length, asked.l3 + 1280 - 48) : asked.l4 + 8
    assert.deepEqual(answer.payload.slice(8), bytes.slice(asked.l3, end))
    assert.equal(run.packet.length, answer.l3 + answer.totalLength)
  }
})

test('another protocol gets protocol unreachable, over IPv6 a parameter problem (RFC 4443 3.4), however short it is', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  for (const length of [0, 3, 8, 100]) {
    const answer = parse(
      ingress(datapath, frame({ source: client, destination: vip, protocol: 47, payload: new Uint8Array(length) }))
        .packet,
    )
    assertSentBack(answer)
    const expected = family.isIpv6 ? [4, 1, 8 + 40 + length] : [3, 2, 8 + 20 + Math.min(8, length)]
    assert.deepEqual([answer.payload[0], answer.payload[1], answer.payload.length], expected)
    if (family.isIpv6) assert.equal(answer.view.getUint32(answer.l4 + 4), 6, 'pointer to the next header')
  }
  assert.equal(datapath.reasons()['unowned_protocol'], 4)
})

test('a Service without backends refuses as an unowned port does', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 81, []))
  datapath.upsert(frontendOf(vip, 81, [], 'UDP'))
  assert.equal(ingress(datapath, tcpFrame({ ...toVip, flags: tcpFlag.SYN })).verdict, verdict.redirect)
  assert.equal(ingress(datapath, udpFrame(toVip)).verdict, verdict.redirect)
  assert.equal(datapath.reasons()['no_backend'], 2)
})

test('nothing is answered to a RST, an ICMP error, a later fragment or a source that is no host (RFC 1122 3.2.2)', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const refused = [
    tcpFrame({ ...toVip, flags: tcpFlag.RST }),
    tcpFrame({ ...toVip, flags: tcpFlag.RST | tcpFlag.ACK, ack: 4 }),
    ...noHosts.flatMap((source) => [
      tcpFrame({ ...toVip, source, flags: tcpFlag.SYN }),
      udpFrame({ ...toVip, source }),
      frame({ source, destination: vip, protocol: ICMP, payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8)) }),
    ]),
    frame({ source: client, destination: vip, protocol: 47, payload: new Uint8Array(16), fragment: 3 }),
    frame({ source: client, destination: vip, protocol: UDP, payload: new Uint8Array(16), fragment: 3 }),
    frame({ source: client, destination: vip, protocol: ICMP, payload: new Uint8Array(16), fragment: 3 }),
    frame({
      source: client,
      destination: vip,
      protocol: ICMP,
      payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8)),
      fragment: moreFragments,
    }),
    frame({
      source: client,
      destination: vip,
      protocol: ICMP,
      payload: icmpMessage(
        unreachable.type,
        unreachable.port,
        0,
        frame({ source: vip, destination: client, protocol: UDP, payload: new Uint8Array(8) }).slice(14),
      ),
    }),
    frame({
      source: client,
      destination: vip,
      protocol: ICMP,
      payload: icmpMessage(echo.reply, 0, 0, new Uint8Array(8)),
    }),
    frame({
      source: client,
      destination: vip,
      protocol: ICMP,
      payload: icmpMessage(family.isIpv6 ? 135 : 13, 0, 0, new Uint8Array(12)),
    }),
  ]
  for (const [index, bytes] of refused.entries())
    assert.equal(ingress(datapath, bytes).verdict, verdict.shot, `packet ${index}`)
  const counted = Object.values(datapath.reasons()).reduce((sum, packets) => sum + packets, 0)
  assert.equal(counted, refused.length, 'each is counted once')
})

test('answers are limited per CPU, what exceeds the limit is dropped and counted', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const syn = tcpFrame({ ...toVip, flags: tcpFlag.SYN })
  for (let sent = 0; sent < 2000; sent++) ingress(datapath, syn)
  const { answer_limited: limited = 0, unowned_port: answered = 0 } = datapath.reasons()
  assert.equal(limited + answered, 2000)
  assert.ok(limited > 0, 'some are dropped')
  assert.ok(answered >= 256, 'a burst is answered')
})

test('who scans the ports of one VIP silences no other answer: not another VIP, not another kind of the same', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open({ drainSec: 0 })
  const others = Array.from({ length: 8 }, (_, n) => vipAt(20 + n))
  for (const address of [vip, ...others]) {
    datapath.upsert(frontendOf(address, 80, [pod]))
    datapath.upsert(frontendOf(address, 82, []))
  }
  for (let port = 1000; port < 3000; port++)
    ingress(datapath, tcpFrame({ ...toVip, destinationPort: port, flags: tcpFlag.SYN }))
  assert.ok((datapath.reasons()['answer_limited'] ?? 0) > 0, 'the scan is limited')
  const ping = { source: client, protocol: ICMP, payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8)) }
  for (const bytes of [
    tcpFrame({ ...toVip, destinationPort: 82, flags: tcpFlag.SYN }),
    frame({ ...ping, destination: vip }),
    frame({ source: client, destination: vip, protocol: 47, payload: new Uint8Array(8) }),
    ...others.map((destination) => frame({ ...ping, destination })),
  ])
    assert.equal(ingress(datapath, bytes).verdict, verdict.redirect)
  const answered = others.filter(
    (destination) => ingress(datapath, tcpFrame({ ...toVip, destination, flags: tcpFlag.SYN })).verdict === 7,
  )
  // One of 256 VIPs shares the bucket of the scanned one.
  assert.ok(answered.length >= others.length - 1, `${answered.length} of ${others.length} VIPs answer`)
})

test('an ICMP error about a reply reaches the pod, inside and outside translated (RFC 5508)', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  ingress(datapath, tcpFrame({ ...toVip, destinationPort: 80, flags: tcpFlag.SYN }))
  const reply = frame({
    source: vip,
    destination: client,
    protocol: TCP,
    payload: tcpSegment({
      source: vip,
      destination: client,
      sourcePort: 80,
      destinationPort: 40000,
      flags: tcpFlag.ACK,
    }),
  })
  for (const quoted of [headerBytes + 8, headerBytes + 20]) {
    const run = ingress(
      datapath,
      frame({
        source: router,
        destination: vip,
        protocol: ICMP,
        payload: icmpMessage(tooBig.type, tooBig.code, 1400, reply.slice(14, 14 + quoted), {
          source: router,
          destination: vip,
        }),
      }),
    )
    const error = parse(run.packet)
    assert.equal(run.verdict, verdict.pass)
    assert.deepEqual([error.source, error.destination], [router, pod.address])
    assert.ok(error.isIpChecksumRight && error.isL4ChecksumRight)
    const inner = error.payload.slice(8)
    if (!family.isIpv6) assert.equal(checksum(inner.slice(0, 20)), 0, 'checksum of the quoted header')
    assert.deepEqual(
      [...inner.slice(sourceAt, destinationAt), ...inner.slice(headerBytes, headerBytes + 2)],
      [...ipOctets(pod.address), pod.port >> 8, pod.port & 255],
    )
  }
})

test('an ICMP error about a request leaves as one about the VIP, from the VIP when the pod sent it', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 53, [pod], 'UDP'))
  ingress(datapath, udpFrame({ ...toVip, destinationPort: 53 }))
  const request = frame({
    source: client,
    destination: pod.address,
    protocol: UDP,
    payload: udpDatagram({ source: client, destination: pod.address, sourcePort: 40000, destinationPort: pod.port }),
  })
  for (const [source, expected] of [
    [pod.address, vip],
    [router, router],
  ] as const) {
    const error = parse(
      egress(
        datapath,
        frame({
          source,
          destination: client,
          protocol: ICMP,
          payload: icmpMessage(unreachable.type, unreachable.port, 0, request.slice(14), {
            source,
            destination: client,
          }),
        }),
      ).packet,
    )
    assert.equal(error.source, expected)
    assert.ok(error.isIpChecksumRight && error.isL4ChecksumRight)
    const inner = error.payload.slice(8)
    if (!family.isIpv6) assert.equal(checksum(inner.slice(0, 20)), 0)
    assert.deepEqual(
      [...inner.slice(destinationAt, headerBytes), ...inner.slice(headerBytes + 2, headerBytes + 4)],
      [...ipOctets(vip), 0, 53],
    )
  }
})

test('an ICMP error that matches no connection, or lies about its packet, is dropped and counted', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  ingress(datapath, tcpFrame({ ...toVip, destinationPort: 80, flags: tcpFlag.SYN }))
  const quote = (source: string, destinationPort: number): Uint8Array =>
    frame({
      source,
      destination: client,
      protocol: TCP,
      payload: tcpSegment({ source, destination: client, sourcePort: 80, destinationPort, flags: tcpFlag.ACK }),
    }).slice(14)
  const about = (inner: Uint8Array): Uint8Array =>
    frame({
      source: client,
      destination: vip,
      protocol: ICMP,
      payload: icmpMessage(tooBig.type, tooBig.code, 1400, inner),
    })
  const lies = [
    about(quote(vip, 40001)),
    about(quote(vipAt(99), 40000)),
    about(quote(vip, 40000).slice(0, headerBytes)),
    about(new Uint8Array()),
    about(quote(vip, 40000).fill(0xff, 0, 4)),
  ]
  for (const bytes of lies) assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  assert.equal(datapath.reasons()['icmp_unmatched'], lies.length)
})
