/**
 * Fragments of datagrams for a VIP, in any order. A test run answers with one packet: where the program lets two come
 * in once more, the other one is the one that was given.
 */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { tunnelPort } from '../../src/datapath/datapath.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { clusterOf } from './cluster.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import {
  cut,
  frame,
  moreFragments,
  parse,
  tcpFlag,
  tcpSegment,
  TCP,
  UDP,
  udpDatagram,
  type FrameOptions,
} from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, podAt, nodeAt, isIpv6, headerBytes } = family
const pods = [5, 6, 7, 8].map((n) => ({ address: podAt(n), port: 8080 }))
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 53 }
const l3 = 14

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
}

const cutUp = (payload: Uint8Array, pieceBytes: number, options: Partial<FrameOptions> = {}): readonly Uint8Array[] =>
  cut(payload, pieceBytes, { source: client, destination: vip, ...options })

const dataOf = (octets: number, seed = 1): Uint8Array => Uint8Array.from({ length: octets }, (_, i) => (i * seed) & 255)

function ordersOf<Item>(items: readonly Item[]): readonly (readonly Item[])[] {
  if (items.length < 2) return [items]
  return items.flatMap((item, i) => ordersOf(items.filter((_, other) => other !== i)).map((rest) => [item, ...rest]))
}

interface Come {
  readonly packet: Uint8Array
  /** It was handed on to another node. */
  readonly isHandedOn: boolean
}

/** What is around a packet that is handed on is never in fragments. */
function isWhole(packet: Uint8Array): boolean {
  return isIpv6 ? packet[l3 + 6] === UDP : ((((packet[l3 + 6] ?? 0) << 8) | (packet[l3 + 7] ?? 0)) & 0x3fff) === 0
}

/** What goes on when a packet has come in, in its order. */
function comeIn(datapath: KernelDatapath, bytes: Uint8Array, depth = 0): readonly Come[] {
  assert.ok(depth < 16, 'it comes in again and again')
  const run = ingress(datapath, bytes)
  if (run.verdict === verdict.shot) return []
  if (run.verdict === verdict.pass) return [{ packet: run.packet, isHandedOn: false }]
  if (isWhole(run.packet)) {
    assert.equal(parse(run.packet).destinationPort, tunnelPort)
    return [{ packet: run.packet, isHandedOn: true }]
  }
  return [...comeIn(datapath, bytes, depth + 1), ...comeIn(datapath, run.packet, depth + 1)]
}

const arrive = (datapath: KernelDatapath, packets: readonly Uint8Array[]): readonly Uint8Array[] =>
  packets.flatMap((bytes) => comeIn(datapath, bytes)).map(({ packet }) => packet)

/** The offset in octets of a fragment, and what it carries. */
function pieceOf(packet: Uint8Array): { readonly offset: number; readonly payload: Uint8Array } {
  const view = new DataView(packet.buffer, packet.byteOffset)
  if (isIpv6) {
    const header = l3 + headerBytes
    return { offset: view.getUint16(header + 2) & 0xfff8, payload: packet.slice(header + 8) }
  }
  return { offset: (view.getUint16(l3 + 6) & 0x1fff) * 8, payload: packet.slice(l3 + headerBytes) }
}

/** The datagram that the pod puts together, and where that is; each piece must be there once. */
function putTogether(packets: readonly Uint8Array[]): { readonly at: string; readonly datagram: Uint8Array } {
  const pieces = packets.map(pieceOf).sort((a, b) => a.offset - b.offset)
  let end = 0
  for (const { offset, payload } of pieces) {
    assert.equal(offset, end)
    end += payload.length
  }
  const addresses = new Set(packets.map((packet) => parse(packet).destination))
  assert.equal(addresses.size, 1, [...addresses].join())
  assert.ok(packets.every((packet) => parse(packet).isIpChecksumRight))
  return { at: [...addresses].join(), datagram: Uint8Array.from(pieces.flatMap(({ payload }) => [...payload])) }
}

function serving(t: TestContext, { open } = kernelFixture(t), held: number = smallMaps.held): KernelDatapath {
  const datapath = open({ maxEntries: { ...smallMaps, held } })
  for (const protocol of ['UDP', 'TCP'] as const) datapath.upsert(frontendOf(vip, 53, pods, protocol))
  return datapath
}

const figures = (datapath: KernelDatapath): readonly (number | undefined)[] =>
  ['fragment', 'fragment_held', 'fragment_released', 'rewrite_failed'].map((name) => datapath.reasons()[name])

test('a datagram is served whatever order its fragments come in, each of them once and to one pod', { skip }, (t) => {
  const datapath = serving(t)
  let [identification, held] = [0, 0]
  for (const [octets, pieceBytes] of [
    [4_000, 1_480],
    [3_999, 1_016],
    [5_000, 2_032],
    [5_000, 2_000],
    [70, 24],
  ] as const) {
    const data = dataOf(octets, 7)
    const count = Math.ceil((octets + 8) / pieceBytes)
    for (const order of ordersOf([...Array(count).keys()])) {
      identification++
      const sourcePort = 40_000 + identification
      const pieces = cutUp(udpDatagram({ ...toVip, sourcePort, data }), pieceBytes, { identification })
      const { at, datagram } = putTogether(
        arrive(
          datapath,
          order.map((n) => pieces[n] ?? assert.fail()),
        ),
      )
      const expected = udpDatagram({ ...toVip, sourcePort, data, destination: at, destinationPort: 8080 })
      assert.deepEqual([...datagram], [...expected], `${octets} octets, ${order.join()}`)
      held += order.indexOf(0)
    }
  }
  assert.deepEqual(figures(datapath), [0, held, held, 0])
})

test('a TCP segment in fragments is served in any order too', { skip }, (t) => {
  const datapath = serving(t)
  for (const [n, order] of ordersOf([0, 1, 2]).entries()) {
    const [sourcePort, identification] = [40_000 + n, 50 + n]
    const tcp = { ...toVip, sourcePort, flags: tcpFlag.SYN, data: dataOf(60) }
    const pieces = cutUp(tcpSegment(tcp), 32, { protocol: TCP, identification })
    const { at, datagram } = putTogether(
      arrive(
        datapath,
        order.map((piece) => pieces[piece] ?? assert.fail()),
      ),
    )
    assert.deepEqual([...datagram], [...tcpSegment({ ...tcp, destination: at, destinationPort: 8080 })])
  }
})

test('datagrams whose fragments come among each other, and fragments that come twice, are told apart', {
  skip,
}, (t) => {
  const datapath = serving(t)
  const [a, b] = [1, 2].map((identification) =>
    cutUp(udpDatagram({ ...toVip, sourcePort: 40_000 + identification, data: dataOf(200, identification) }), 80, {
      identification,
    }),
  )
  assert.ok(a !== undefined && b !== undefined)
  const [a0, a1, a2] = a
  const [b0, b1, b2] = b
  assert.ok(a0 && a1 && a2 && b0 && b1 && b2)
  const packets = arrive(datapath, [a2, b1, b2, a1, a1, b0, a0])
  const identificationOf = (packet: Uint8Array): number =>
    isIpv6 ? (packet[l3 + headerBytes + 7] ?? 0) : (packet[l3 + 5] ?? 0)
  for (const identification of [1, 2]) {
    const own = packets.filter((packet) => identificationOf(packet) === identification)
    const { at, datagram } = putTogether(own)
    const whole = { ...toVip, sourcePort: 40_000 + identification, data: dataOf(200, identification) }
    assert.deepEqual([...datagram], [...udpDatagram({ ...whole, destination: at, destinationPort: 8080 })])
  }
})

test('fragments for a backend on another node are handed on in any order, and served there', { skip }, (t) => {
  const cluster = clusterOf(
    t,
    [1, 2].map((n) => nodeAt(n)),
  )
  cluster.serve(vip, 53, [{ backend: { address: podAt(5), port: 8080 }, home: 1 }], { protocol: 'UDP' })
  const [entry, home] = [cluster.node(0).datapath, cluster.node(1).datapath]
  for (const [n, order] of ordersOf([0, 1, 2]).entries()) {
    const whole = { ...toVip, sourcePort: 40_000 + n, data: dataOf(3_001, 3) }
    const pieces = cutUp(udpDatagram(whole), 1_024, { identification: 1 + n })
    const handedOn = order.flatMap((piece) => comeIn(entry, pieces[piece] ?? assert.fail()))
    assert.ok(handedOn.every(({ isHandedOn }) => isHandedOn))
    const ports = handedOn.map(({ packet }) => parse(packet).sourcePort)
    assert.equal(new Set(ports).size, 1, 'one flow to the routers between the nodes')
    const { datagram } = putTogether(
      arrive(
        home,
        handedOn.map(({ packet }) => packet),
      ),
    )
    assert.deepEqual([...datagram], [...udpDatagram({ ...whole, destination: podAt(5), destinationPort: 8080 })])
  }
  assert.deepEqual(figures(home), [0, 0, 0, 0])
})

test('what cannot be held is dropped and counted: of a protocol without ports', { skip }, (t) => {
  const datapath = serving(t)
  const ends = { source: client, destination: vip }
  const strange = frame({ ...ends, protocol: 47, payload: dataOf(64), fragment: 4 })
  const ping = frame({ ...ends, protocol: family.ICMP, payload: dataOf(64), fragment: 4 })
  for (const bytes of [strange, ping]) assert.deepEqual(arrive(datapath, [bytes]), [])
  assert.deepEqual(figures(datapath), [2, 0, 0, 0])
})

test('a flood of fragments of nothing takes the room of what is held, and nothing of what comes in order', {
  skip,
}, (t) => {
  const datapath = serving(t)
  const pieces = cutUp(udpDatagram({ ...toVip, data: dataOf(4_000) }), 1_480, { identification: 200 })
  const [first, second, third] = pieces
  assert.ok(first && second && third)
  const flood = (from: number): void => {
    for (let n = 0; n < 1_000; n++) {
      const source = isIpv6 ? `2001:db8:bad:${(from + n).toString(16)}::1` : `198.18.${n >> 8}.${n & 255}`
      arrive(datapath, [frame({ source, destination: vip, protocol: UDP, payload: dataOf(64), fragment: 185 })])
    }
  }
  assert.equal(arrive(datapath, [first]).length, 1)
  flood(1)
  assert.equal(arrive(datapath, [second, third]).length, 2)
  assert.deepEqual(figures(datapath), [0, 1_000, 0, 0])
})

test('who sends nothing but later fragments has a part of the room: what waits for others waits on, and is served', {
  skip,
}, (t) => {
  const datapath = serving(t, kernelFixture(t), 2_048)
  const [first, ...later] = cutUp(udpDatagram({ ...toVip, data: dataOf(4_000) }), 1_480, { identification: 200 })
  assert.ok(first)
  assert.deepEqual(arrive(datapath, later), [])
  const sent = 3_000
  for (let n = 0; n < sent; n++) {
    // Of IPv6 a host has as many addresses as it likes.
    const source = isIpv6 ? `2001:db8:bad::${n.toString(16)}` : '198.18.0.1'
    const ends = { source, destination: vip, protocol: UDP, identification: n }
    assert.deepEqual(arrive(datapath, [frame({ ...ends, payload: dataOf(64), fragment: 185 })]), [])
  }
  const [refused = 0, held = 0] = figures(datapath)
  assert.equal(refused + held, sent + later.length)
  // 512, and one more for each 60 ms that it took.
  assert.ok(held > 500 && held < sent / 2, `${held} held`)
  assert.equal(arrive(datapath, [first]).length, 1 + later.length)
})

test('one who completes his datagrams has as much room as he asks for', { skip }, (t) => {
  const datapath = serving(t)
  const [datagrams, count] = [300, 9]
  for (let identification = 0; identification < datagrams; identification++) {
    const pieces = cutUp(udpDatagram({ ...toVip, data: dataOf(8 * 24) }), 24, { identification })
    assert.equal(arrive(datapath, pieces.toReversed()).length, count)
  }
  const held = datagrams * (count - 1)
  assert.deepEqual(figures(datapath), [0, held, held, 0])
})

/** As if what lies in a map had come two minutes before; `at`: where a value says when. */
function age(bpffs: string, name: 'fragments' | 'held', at: number): void {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
  if (fd === undefined) assert.fail(`${name} is not pinned`)
  const map = new BpfMap(name, fd)
  const entries = [...map.entries()]
  assert.ok(entries.length > 0)
  for (const [key, value] of entries) {
    const view = new DataView(value.buffer, value.byteOffset)
    view.setUint16(at, view.getUint16(at, true) - 112, true)
    map.update(key, value)
  }
  closeFd(fd)
}

test('fragments are not of a datagram that had the same identification long before', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = serving(t, fixture)
  const piecesOf = (sourcePort: number, seed: number): readonly Uint8Array[] =>
    cutUp(udpDatagram({ ...toVip, sourcePort, data: dataOf(2_000, seed) }), 1_024, { identification: 7 })
  const isServed = (packets: readonly Uint8Array[], sourcePort: number, seed: number): void => {
    const { at, datagram } = putTogether(packets)
    const whole = { ...toVip, sourcePort, data: dataOf(2_000, seed), destination: at, destinationPort: 8080 }
    assert.deepEqual([...datagram], [...udpDatagram(whole)])
  }
  isServed(arrive(datapath, piecesOf(40_001, 3)), 40_001, 3)
  age(fixture.bpffs, 'fragments', 6)
  isServed(arrive(datapath, piecesOf(40_002, 5).toReversed()), 40_002, 5)
  assert.deepEqual(figures(datapath), [0, 1, 1, 0])
  age(fixture.bpffs, 'fragments', 6)
  assert.deepEqual(arrive(datapath, piecesOf(40_003, 7).slice(1)), [])
  age(fixture.bpffs, 'held', 2)
  isServed(arrive(datapath, piecesOf(40_004, 9)), 40_004, 9)
  assert.deepEqual(figures(datapath), [0, 2, 1, 0])
})

test('fragments that contradict each other go round no more often than they came', { skip }, (t) => {
  const datapath = serving(t)
  const ends = { source: client, destination: vip, protocol: UDP, identification: 9 }
  const empty = frame({ ...ends, payload: new Uint8Array(), fragment: 4 | moreFragments })
  const overlapping = frame({ ...ends, payload: dataOf(64), fragment: 2 | moreFragments })
  const first = frame({ ...ends, payload: udpDatagram({ ...toVip, data: dataOf(24) }), fragment: moreFragments })
  // Behind the empty one comes the empty one itself.
  assert.deepEqual(arrive(datapath, [empty, overlapping, empty]), [])
  const went = arrive(datapath, [first, overlapping, empty])
  assert.ok(went.length <= 6, `${went.length} packets of six`)
  const [, held = 0, released = 0] = figures(datapath)
  assert.ok(released <= held)
})
