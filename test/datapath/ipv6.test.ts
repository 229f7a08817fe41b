/**
 * What only IPv6 has: extension headers, neighbor discovery, addresses of a link, and mapped ones that nobody may send.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { egress, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import {
  extension,
  frame,
  ICMP,
  ICMPV6,
  icmpMessage,
  moreFragments,
  parse,
  tcpFlag,
  tcpFrame,
  TCP,
  UDP,
  udpDatagram,
  udpFrame,
  type FrameOptions,
} from './frames.ts'

const skip = whyNoKernel()
const vip = '2001:db8:2::10'
const client = '2001:db8:51:100::7'
const pod = { address: 'fd00:10:1::5', port: 8080 }
const toVip = { source: client, destination: vip, sourcePort: 40000, destinationPort: 80 }
const fromPod = { source: pod.address, destination: client, sourcePort: pod.port, destinationPort: 40000 }
const { SYN, ACK } = tcpFlag

/** Headers of so many octets that ask for nothing: PadN (RFC 8200 4.2). */
const padding = (type: number, length = 8): readonly [number, Uint8Array] => [
  type,
  Uint8Array.from([0, 0, 1, length - 4, ...new Array<number>(length - 4).fill(0)]),
]
/** Routing type 2 with so many segments left. */
const routing = (left: number): readonly [number, Uint8Array] => [
  extension.routing,
  Uint8Array.from([0, 0, 2, left, 0, 0, 0, 0, ...new Array<number>(16).fill(0xfd)]),
]

const chains: Readonly<Record<string, Partial<FrameOptions>>> = {
  'hop-by-hop options': { extensions: [padding(extension.hopByHop)] },
  'long destination options': { extensions: [padding(extension.destination, 64)] },
  'options so long that what is behind them lies far from the start': {
    extensions: [padding(extension.destination, 240)],
  },
  'a routing header that is used up': { extensions: [routing(0)] },
  'one of each': {
    extensions: [padding(extension.hopByHop), padding(extension.destination, 16), routing(0)],
    fragment: 0,
  },
  'an atomic fragment (RFC 6946)': { fragment: 0 },
  'options behind a VLAN tag': { extensions: [padding(extension.hopByHop, 24)], vlan: 7 },
}
for (const [what, options] of Object.entries(chains)) {
  test(`${what}: carried through in both directions (RFC 8200 4.1)`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    const bytes = tcpFrame({ ...toVip, flags: SYN, ...options })
    const there = ingress(datapath, bytes)
    const request = parse(there.packet)
    assert.equal(there.verdict, verdict.pass)
    assert.deepEqual([request.destination, request.destinationPort], [pod.address, pod.port])
    assert.equal(request.headerLength, parse(bytes).headerLength)
    assert.ok(request.isL4ChecksumRight)
    const reply = parse(egress(datapath, tcpFrame({ ...fromPod, flags: SYN | ACK, ...options })).packet)
    assert.deepEqual([reply.source, reply.sourcePort], [vip, 80])
    assert.ok(reply.isL4ChecksumRight)
  })

  test(`${what}: refused as without`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, [pod]))
    const closed = { ...toVip, destinationPort: 81 }
    const reset = parse(ingress(datapath, tcpFrame({ ...closed, flags: SYN, ...options })).packet)
    assert.deepEqual([reset.source, reset.destination, reset.protocol, reset.headerLength], [vip, client, TCP, 40])
    assert.ok(reset.isL4ChecksumRight)
    const datagram = udpFrame({ ...closed, ...options })
    const error = parse(ingress(datapath, datagram).packet)
    assert.deepEqual([error.protocol, error.payload[0], error.payload[1]], [ICMPV6, 1, 4])
    assert.ok(error.isL4ChecksumRight)
    assert.deepEqual(error.payload.slice(8), datagram.slice(parse(datagram).l3))
    const other = frame({ ...toVip, protocol: 47, payload: new Uint8Array(20), ...options })
    const problem = parse(ingress(datapath, other).packet)
    assert.deepEqual([problem.payload[0], problem.payload[1]], [4, 1])
    const pointer = problem.view.getUint32(problem.l4 + 4)
    assert.equal(problem.payload[8 + pointer], 47, 'the pointer is at the next header that nobody knows (RFC 4443 3.4)')
    assert.ok(problem.isL4ChecksumRight)
  })
}

test('headers that are cut off, too many, or lead on to another destination are dropped at a VIP and pass elsewhere', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const many = Array.from({ length: 12 }, () => padding(extension.destination))
  const cut = tcpFrame({ ...toVip, flags: SYN, extensions: [padding(extension.hopByHop)] })
  cut[55] = 200
  const bad = [
    tcpFrame({ ...toVip, flags: SYN, extensions: many }),
    tcpFrame({ ...toVip, flags: SYN, extensions: [routing(1)] }),
    cut,
  ]
  for (const bytes of bad) assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  assert.equal(datapath.reasons()['bad_header'], bad.length)
  for (const options of [{ extensions: many }, { extensions: [routing(1)] }]) {
    const bytes = tcpFrame({ ...fromPod, flags: SYN | ACK, ...options })
    assert.deepEqual(egress(datapath, bytes).packet, bytes)
  }
})

test('fragments follow the first one also when what follows the fragment header differs (RFC 8200 4.5)', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 53, [pod], 'UDP'))
  const whole = { ...toVip, destinationPort: 53, data: new Uint8Array(64).fill(5) }
  const datagram = udpDatagram(whole)
  // Destination options behind the fragment header are of the first fragment only.
  const [, options] = padding(extension.destination)
  const first = Uint8Array.from([...options, ...datagram.slice(0, 32)])
  first[0] = UDP
  const common = { source: client, destination: vip, identification: 8 }
  const [a, b] = [
    frame({ ...common, protocol: extension.destination, payload: first, fragment: moreFragments }),
    frame({ ...common, protocol: UDP, payload: datagram.slice(32), fragment: 5 }),
  ].map((bytes) => ingress(datapath, bytes))
  assert.deepEqual([a?.verdict, b?.verdict], [verdict.pass, verdict.pass])
  const [one, two] = [parse(a?.packet ?? new Uint8Array()), parse(b?.packet ?? new Uint8Array())]
  assert.deepEqual([one.destination, two.destination], [pod.address, pod.address])
  const expected = udpDatagram({ ...whole, destination: pod.address, destinationPort: pod.port })
  assert.deepEqual([...one.payload, ...two.payload], [...expected])
  const stranger = frame({ ...common, identification: 9, protocol: UDP, payload: datagram.slice(32), fragment: 5 })
  assert.equal(ingress(datapath, stranger).verdict, verdict.shot)
})

test('neighbor discovery, and what is of a link or of many hosts, is never touched (RFC 4861)', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const solicitation = (source: string, destination: string): Uint8Array => {
    const bytes = frame({
      source,
      destination,
      protocol: ICMPV6,
      payload: icmpMessage(135, 0, 0, new Uint8Array(16), { source, destination }),
    })
    bytes[21] = 255
    return bytes
  }
  for (const bytes of [
    solicitation(client, vip),
    solicitation(client, 'ff02::1:ff00:10'),
    solicitation('fe80::7', 'fe80::1'),
    tcpFrame({ ...toVip, source: 'fe80::7', flags: SYN }),
    tcpFrame({ ...toVip, destination: 'fe80::1', flags: SYN }),
    udpFrame({ ...toVip, destination: 'ff02::fb' }),
  ]) {
    const run = ingress(datapath, bytes)
    assert.deepEqual([run.verdict, run.packet], [verdict.pass, bytes])
    assert.deepEqual(egress(datapath, bytes).packet, bytes)
  }
  const far = solicitation(client, vip)
  far[21] = 64
  assert.equal(ingress(datapath, far).verdict, verdict.shot, 'from beyond the link it is none, and must not circle')
})

test('mapped addresses on the wire are no IPv4: refused at a VIP, never translated (RFC 4291 2.5.5.2)', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.upsert(frontendOf('192.0.2.10', 80, [{ address: '10.1.0.5', port: 8080 }]))
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const four = { sourcePort: 40000, destinationPort: 80, source: '198.51.100.7', destination: '192.0.2.10' }
  ingress(datapath, tcpFrame({ ...four, flags: SYN }))
  for (const bytes of [
    tcpFrame({ ...toVip, destination: '::ffff:192.0.2.10', flags: SYN }),
    tcpFrame({ ...four, source: '::ffff:198.51.100.7', destination: '::ffff:192.0.2.10', flags: ACK }),
    tcpFrame({ ...toVip, source: '::ffff:198.51.100.7', flags: SYN }),
  ])
    assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  assert.equal(datapath.reasons()['bad_header'], 3)
  const back = { sourcePort: 8080, destinationPort: 40000, flags: SYN | ACK }
  const leak = tcpFrame({ ...back, source: '::ffff:10.1.0.5', destination: '::ffff:198.51.100.7' })
  assert.deepEqual(egress(datapath, leak).packet, leak)
  const direct = tcpFrame({ ...toVip, destination: '::ffff:10.1.0.5', destinationPort: 8080, flags: SYN })
  assert.deepEqual(ingress(datapath, direct).packet, direct)
})

test('each family has its own ICMP: the one of the other is a protocol that nobody serves', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  datapath.upsert(frontendOf('192.0.2.10', 80, [{ address: '10.1.0.5', port: 8080 }]))
  const six = frame({ ...toVip, protocol: ICMP, payload: icmpMessage(8, 0, 1, new Uint8Array(8)) })
  const four = frame({
    source: '198.51.100.7',
    destination: '192.0.2.10',
    protocol: ICMPV6,
    payload: icmpMessage(128, 0, 1, new Uint8Array(8)),
  })
  for (const bytes of [six, four]) assert.equal(ingress(datapath, bytes).verdict, verdict.redirect)
  assert.equal(datapath.reasons()['unowned_protocol'], 2)
})

test('what has no next header is dropped without an answer (RFC 8200 4.7)', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const bytes = frame({ ...toVip, protocol: 59, payload: new Uint8Array(8) })
  assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  assert.equal(datapath.reasons()['not_answerable'], 1)
})

test('every kind of ICMPv6 error about a reply reaches the pod, and one about a request its client (RFC 4443)', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, 80, [pod]))
  ingress(datapath, tcpFrame({ ...toVip, flags: SYN }))
  const router = '2001:db8:113::1'
  for (const type of [1, 2, 3, 4]) {
    for (const options of [{}, ...Object.values(chains)]) {
      const { vlan: _, ...headers } = options
      const reply = { source: vip, destination: client, sourcePort: 80, destinationPort: 40000, flags: ACK }
      const about = (quoted: Uint8Array, destination: string): Uint8Array =>
        icmpMessage(type, 0, 1280, quoted.slice(14), { source: router, destination })
      const payload = about(tcpFrame({ ...reply, ...headers }), vip)
      const inward = parse(
        ingress(datapath, frame({ source: router, destination: vip, protocol: ICMPV6, payload })).packet,
      )
      assert.equal(inward.destination, pod.address)
      assert.ok(inward.isL4ChecksumRight, `type ${type} in`)
      const inner = parse(Uint8Array.from([...new Array<number>(14).fill(0), ...inward.payload.slice(8)]))
      assert.deepEqual([inner.source, inner.sourcePort], [pod.address, pod.port])
      const request = tcpFrame({
        ...toVip,
        destination: pod.address,
        destinationPort: pod.port,
        flags: ACK,
        ...headers,
      })
      const outward = parse(
        egress(
          datapath,
          frame({ source: router, destination: client, protocol: ICMPV6, payload: about(request, client) }),
        ).packet,
      )
      assert.equal(outward.source, router)
      assert.ok(outward.isL4ChecksumRight, `type ${type} out`)
      const shown = parse(Uint8Array.from([...new Array<number>(14).fill(0), ...outward.payload.slice(8)]))
      assert.deepEqual([shown.destination, shown.destinationPort], [vip, 80])
    }
  }
})
