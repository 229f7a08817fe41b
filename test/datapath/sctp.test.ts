/** SCTP for a VIP, packet by packet: by address alone, since its checksum covers the ports. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { Backend } from '../../src/desired/model.ts'
import type { TestRun } from '../../src/sys/bpf.ts'
import { clusterOf, translated, type Homed } from './cluster.ts'
import { familyOf } from './family.ts'
import { egress, evict, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { crc32c, cut, frame, icmpMessage, parse, SCTP, sctpFrame, sctpPacket, type Parsed } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, router, podAt, nodeAt, isIpv6, ICMP, unreachable } = family
const port = 3868
const pods = [5, 6, 7, 8].map((n) => ({ address: podAt(n), port }))
const [pod = { address: podAt(5), port }] = pods
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: port }
/** Chunk types of RFC 9260 3.2. */
const chunk = { data: 0, init: 1, initAck: 2, heartbeat: 4, abort: 6, cookieEcho: 10, cookieAck: 11 } as const
const l3 = 14

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

function chunksOf(type: number, octets = 20): Uint8Array {
  const chunks = Uint8Array.from({ length: 4 + octets }, (_, i) => (i * 7) & 255)
  chunks.set([type, 0, 0, 4 + octets])
  return chunks
}

const init = (ports: Partial<typeof toVip> = {}): Uint8Array =>
  sctpFrame({ ...toVip, ...ports, tag: 0, chunks: chunksOf(chunk.init) })
const later = (ports: Partial<typeof toVip> = {}, type: number = chunk.data): Uint8Array =>
  sctpFrame({ ...toVip, ...ports, tag: 0xfeed_beef, chunks: chunksOf(type, 200) })
const fromPod = (type: number, { address }: Backend = pod, sourcePort = 40_000): Uint8Array =>
  sctpFrame({
    ...{ source: address, destination: client, sourcePort: port, destinationPort: sourcePort },
    ...{ tag: 0xabad_cafe, chunks: chunksOf(type, 60) },
  })

function serving(t: Parameters<typeof kernelFixture>[0], backends: readonly Backend[] = [pod]): KernelDatapath {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, port, backends, 'SCTP'))
  return datapath
}

function assertUnchanged(run: TestRun, sent: Uint8Array): Parsed {
  const packet = translated(run)
  assert.deepEqual([...packet.payload], [...parse(sent).payload], 'not one octet behind the IP header')
  const blank = packet.payload.slice()
  blank.set([0, 0, 0, 0], 8)
  const sum = new DataView(packet.payload.buffer, packet.payload.byteOffset).getUint32(8, true)
  assert.ok(packet.isIpChecksumRight && sum === crc32c(blank))
  return packet
}

/** What is sent in turn until both ends know of the association. */
function associate(datapath: KernelDatapath, sourcePort = 40_000): Backend {
  const { destination } = translated(ingress(datapath, init({ sourcePort })))
  const chosen = pods.find(({ address }) => address === destination) ?? assert.fail(destination)
  translated(egress(datapath, fromPod(chunk.initAck, chosen, sourcePort)))
  translated(ingress(datapath, later({ sourcePort }, chunk.cookieEcho)))
  translated(egress(datapath, fromPod(chunk.cookieAck, chosen, sourcePort)))
  return chosen
}

const podOf = (datapath: KernelDatapath, bytes: Uint8Array): string => translated(ingress(datapath, bytes)).destination

test('an association goes to the pod and back, and nothing but the addresses changes (RFC 9260 6.8)', { skip }, (t) => {
  const datapath = serving(t)
  for (const sent of [init(), later({}, chunk.cookieEcho), later(), later({}, chunk.heartbeat)]) {
    const request = assertUnchanged(ingress(datapath, sent), sent)
    assert.deepEqual([request.source, request.destination, request.protocol], [client, pod.address, SCTP])
    const answer = fromPod(chunk.initAck)
    const reply = assertUnchanged(egress(datapath, answer), answer)
    assert.deepEqual([reply.source, reply.destination], [vip, client])
  }
  const counters = datapath.counters(frontendOf(vip, port, [], 'SCTP').id)
  assert.deepEqual([counters?.packetsIn, counters?.packetsOut, counters?.newConnections], [4, 4, 1])
})

test('one number serves TCP, UDP and SCTP apart from each other', { skip }, (t) => {
  const datapath = serving(t, [pod])
  const other = { address: podAt(9), port }
  datapath.upsert(frontendOf(vip, port, [other], 'UDP'))
  assert.equal(podOf(datapath, init()), pod.address)
  datapath.remove(frontendOf(vip, port, [], 'SCTP').id)
  assert.notEqual(ingress(datapath, init({ sourcePort: 40_001 })).verdict, verdict.pass)
})

test('an association stays with its pod when backends come, go to rest, drain, and halves are lost', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  datapath.upsert(frontendOf(vip, port, pods, 'SCTP'))
  const held = new Map(Array.from({ length: 24 }, (_, n) => [41_000 + n, associate(datapath, 41_000 + n).address]))
  assert.equal(new Set(held.values()).size, pods.length)
  const stay = (): void => {
    for (const [sourcePort, address] of held) {
      assert.equal(podOf(datapath, later({ sourcePort })), address)
      const reply = translated(egress(datapath, fromPod(chunk.data, { address, port }, sourcePort)))
      assert.equal(reply.source, vip)
    }
  }
  datapath.upsert(frontendOf(vip, port, [...pods, { address: podAt(9), port }], 'SCTP'))
  stay()
  for (const half of [0, 1] as const) {
    evict(fixture.bpffs, half)
    stay()
  }
  datapath.upsert({ ...frontendOf(vip, port, pods.slice(1), 'SCTP'), resting: pods.slice(0, 1) })
  stay()
  datapath.upsert(frontendOf(vip, port, pods.slice(2), 'SCTP'))
  stay()
})

test('an INIT of whoever forges the client moves no association, and one to a pod that drains is begun elsewhere', {
  skip,
}, (t) => {
  const datapath = serving(t, pods)
  const { address } = associate(datapath)
  const others = pods.filter((each) => each.address !== address)
  datapath.upsert(frontendOf(vip, port, others, 'SCTP'))
  // To the pod, which answers by the tag that the client has (RFC 9260 5.2.2).
  assert.equal(podOf(datapath, init()), address)
  assert.equal(podOf(datapath, later()), address)
  assert.notEqual(podOf(datapath, init({ sourcePort: 40_001 })), address)
})

test('of a handshake that is not over a second INIT finds another pod, and what follows an INIT does not', {
  skip,
}, (t) => {
  const datapath = serving(t, pods)
  const first = podOf(datapath, init())
  const others = pods.filter((each) => each.address !== first)
  datapath.upsert(frontendOf(vip, port, others, 'SCTP'))
  assert.equal(podOf(datapath, later({}, chunk.cookieEcho)), first)
  const second = podOf(datapath, init())
  assert.ok(others.some(({ address }) => address === second))
})

test('the client port of a second VIP with the same pod is not changed: it is refused, and the first one goes on', {
  skip,
}, (t) => {
  const datapath = serving(t)
  datapath.upsert(frontendOf(secondVip, port, [pod], 'SCTP'))
  associate(datapath)
  const before = datapath.reasons()['flows_full'] ?? 0
  assert.equal(ingress(datapath, init({ destination: secondVip })).verdict, verdict.shot)
  assert.equal(datapath.reasons()['flows_full'], before + 1)
  const sent = later()
  assert.equal(assertUnchanged(ingress(datapath, sent), sent).destination, pod.address)
  // Where nobody was heard to take part the later one makes its way.
  translated(ingress(datapath, init({ sourcePort: 40_002 })))
  const beside = init({ sourcePort: 40_002, destination: secondVip })
  assert.equal(assertUnchanged(ingress(datapath, beside), beside).destination, pod.address)
})

test('another port of the pod is never written into a packet', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf(vip, port, [{ ...pod, port: port + 1 }], 'TCP'))
  assert.notEqual(ingress(datapath, init()).verdict, verdict.pass)
  assert.throws(
    () => datapath.upsert(frontendOf(vip, port, [{ ...pod, port: port + 1 }], 'SCTP')),
    /reaches no backend/,
  )
})

test('what nobody serves is answered as an ABORT would be, by protocol unreachable (RFC 9260 10)', { skip }, (t) => {
  const datapath = serving(t)
  datapath.upsert(frontendOf(secondVip, port, [], 'SCTP'))
  const unowned = [
    init({ destinationPort: 1 }),
    later({ destinationPort: 1 }),
    sctpFrame({ ...toVip, destination: secondVip, tag: 0, chunks: chunksOf(chunk.init) }),
  ]
  for (const sent of unowned) {
    const run = ingress(datapath, sent)
    const answer = parse(run.packet)
    assert.equal(run.verdict, verdict.redirect)
    assert.deepEqual([answer.protocol, answer.destination], [ICMP, client])
    assert.deepEqual([answer.payload[0], answer.payload[1]], isIpv6 ? [4, 1] : [3, 2])
    assert.ok(answer.isL4ChecksumRight)
  }
  const { unowned_port: ports, no_backend: empty } = datapath.reasons()
  assert.deepEqual([ports, empty], [2, 1])
})

test('a packet that is cut off in its header is dropped and counted, whatever its length', { skip }, (t) => {
  const datapath = serving(t)
  const whole = sctpPacket({ ...toVip, tag: 0, chunks: chunksOf(chunk.init) })
  for (let length = 0; length < 12; length++) {
    const short = frame({ source: client, destination: vip, protocol: SCTP, payload: whole.slice(0, length) })
    assert.equal(ingress(datapath, short).verdict, verdict.shot, `${length} octets`)
  }
  assert.equal(datapath.reasons()['bad_header'], 12)
})

test('fragments behind their first go to its pod', { skip }, (t) => {
  const datapath = serving(t)
  const payload = sctpPacket({ ...toVip, tag: 7, chunks: chunksOf(chunk.data, 400) })
  for (const piece of cut(payload, 200, { source: client, destination: vip, protocol: SCTP }))
    assert.equal(podOf(datapath, piece), pod.address)
})

test('an ICMP error about a reply reaches the pod, with its address inside and out', { skip }, (t) => {
  const datapath = serving(t)
  associate(datapath)
  const reply = egress(datapath, fromPod(chunk.data)).packet
  const quoted = reply.slice(l3, l3 + parse(reply).headerLength + 12)
  const between = { source: router, destination: vip }
  const message = icmpMessage(unreachable.type, isIpv6 ? 1 : 2, 0, quoted, between)
  const run = ingress(datapath, frame({ ...between, protocol: ICMP, payload: message }))
  const error = translated(run)
  assert.ok(error.isIpChecksumRight && error.isL4ChecksumRight)
  const inner = parse(run.packet, error.l4 + 8)
  assert.deepEqual([error.destination, inner.source, inner.sourcePort], [pod.address, pod.address, port])
})

test('any node takes any packet of an association, also of one that it has not seen begin', { skip }, (t) => {
  const cluster = clusterOf(t, [nodeAt(1), nodeAt(2), nodeAt(3)])
  const homed = (n: number): Homed => ({ backend: { address: podAt(n), port }, home: n % 3 })
  cluster.serve(vip, port, [4, 5, 6, 7].map(homed), { protocol: 'SCTP' })
  const held = new Map<number, string>()
  for (let sourcePort = 41_000; sourcePort < 41_024; sourcePort++) {
    const journey = cluster.send(sourcePort % 3, init({ sourcePort }))
    const { destination } = translated(journey)
    held.set(sourcePort, destination)
    const home = [4, 5, 6, 7].find((n) => podAt(n) === destination) ?? assert.fail(destination)
    const answer = fromPod(chunk.initAck, { address: destination, port }, sourcePort)
    assert.equal(assertUnchanged(cluster.reply(home % 3, answer), answer).source, vip)
    translated(cluster.send(sourcePort % 3, later({ sourcePort }, chunk.cookieEcho)))
  }
  cluster.serve(vip, port, [4, 5, 6, 7, 8].map(homed), { protocol: 'SCTP' })
  for (const [sourcePort, pod] of held)
    for (const entry of [0, 1, 2]) {
      const sent = later({ sourcePort })
      assert.equal(assertUnchanged(cluster.send(entry, sent), sent).destination, pod)
    }
})
