/** New flows beyond those for which a CPU makes state: served by the table, never dropped, and counted. */
import assert from 'node:assert/strict'
import { cpus } from 'node:os'
import { test } from 'node:test'
import { replyProgramId } from '../../src/datapath/attachment.ts'
import { anyNodeAddress, frontendId } from '../../src/desired/model.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { BpfMap, closeFd, openPinned, openProgram, runProgram, type TestRun } from '../../src/sys/bpf.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { familyOf } from './family.ts'
import { egress, evict, frontendOf, kernelFixture, verdict, whyNoKernel, type Fixture } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame, type Parsed } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'
import { waitFor } from '../wait.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, podAt, nodeAt, isIpv6 } = family
const pods = [5, 6, 7].map((n) => ({ address: podAt(n), port: 8080 }))
const [pod] = pods as [(typeof pods)[0]]
const { SYN, ACK, PSH } = tcpFlag
/** A CPU makes state for one flow, and for the next in a while that no test takes. */
const openingsPerSec = 0.01

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  layCable('side0', [podAt(250)])
  ip('route', 'add', 'default', 'via', nodeAt(1), 'dev', 'up0')
}

const up0 = skip === undefined ? ifnameToIndex('up0') : 0
const mac = skip === undefined ? (/ether (\S+)/.exec(ip('link', 'show', 'up0'))?.[1] ?? '') : ''

/** As it comes in by the uplink: of where replies leave the kernel is asked. */
function ingress(datapath: KernelDatapath, bytes: Uint8Array): TestRun {
  const frame = bytes.slice()
  frame.set(mac.split(':').map((octet) => parseInt(octet, 16)))
  return runProgram(datapath.programs.ingress, frame, 1, 0, up0)
}

/** `enum opening_kind` of unkept.h. */
const kinds = { syn: 0, segment: 1, datagram: 2, hairpin: 3 } as const

/** As if each CPU had met a flood of this kind for so long: test runs are on any of them. */
function exhaust(bpffs: string, kind: keyof typeof kinds, sec = 3_600): void {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/limits`)
  assert.ok(fd !== undefined)
  const map = new BpfMap('limits', fd)
  // LIMIT_OPENING, behind six limits of answers with 256 places each.
  const key = new Uint8Array(Uint32Array.of(6 * 256 + kinds[kind]).buffer)
  const far = process.hrtime.bigint() + BigInt(sec) * 1_000_000_000n
  map.update(key, new Uint8Array(new BigUint64Array(map.valueBytes / 8).fill(far).buffer))
  closeFd(fd)
}

const from = (sourcePort: number, to = vip): { source: string; sourcePort: number; destination: string } => ({
  source: client,
  sourcePort,
  destination: to,
})
const synOf = (port: number): Uint8Array => tcpFrame({ ...from(port), destinationPort: 80, flags: SYN, seq: 1_000 })
const ackOf = (port: number): Uint8Array =>
  tcpFrame({ ...from(port), destinationPort: 80, flags: ACK, seq: 1_001, ack: 70_001 })
const datagramOf = (port: number): Uint8Array => udpFrame({ ...from(port), destinationPort: 80 })

function limitedOf(t: Parameters<typeof kernelFixture>[0]): { fixture: Fixture; datapath: KernelDatapath } {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0, openingsPerSec })
  for (const protocol of ['TCP', 'UDP'] as const) datapath.upsert(frontendOf(vip, 80, pods, protocol))
  return { fixture, datapath }
}

const entries = (datapath: KernelDatapath, map: string): number =>
  datapath.usage().find(({ name }) => name === map)?.entries ?? assert.fail(map)

/** What the client of a port hears when the pod that it met answers. */
function answer(datapath: KernelDatapath, seen: Parsed, make: typeof tcpFrame, flags = SYN | ACK): Parsed {
  const run = egress(
    datapath,
    make({
      source: seen.destination,
      sourcePort: seen.destinationPort,
      destination: client,
      destinationPort: seen.sourcePort,
      flags,
      seq: 70_000,
      ack: 1_001,
    }),
  )
  assert.equal(run.verdict, verdict.pass)
  return parse(run.packet)
}

test('a flow beyond the limit is served without state, both ways, and its next segment makes the state', {
  skip,
}, (t) => {
  const { fixture, datapath } = limitedOf(t)
  const without = kernelFixture(t).open({ settleSec: 0 })
  without.upsert(frontendOf(vip, 80, pods))
  exhaust(fixture.bpffs, 'syn')
  const [before, counted] = [entries(datapath, 'openings'), datapath.reasons()['flow_limited'] ?? 0]
  const met = new Set<string>()
  for (let port = 30_000; port < 30_100; port++) {
    const seen = parse(ingress(datapath, synOf(port)).packet)
    assert.equal(seen.destination, parse(ingress(without, synOf(port)).packet).destination, 'the table decides')
    assert.ok(seen.isL4ChecksumRight && seen.isIpChecksumRight)
    const heard = answer(datapath, seen, tcpFrame)
    assert.deepEqual([heard.source, heard.sourcePort, heard.destinationPort], [vip, 80, port])
    assert.ok(heard.isL4ChecksumRight)
    met.add(seen.destination)
  }
  assert.equal(met.size, pods.length)
  assert.equal(entries(datapath, 'openings'), before, 'nothing is kept of them')
  assert.equal(datapath.reasons()['flow_limited'], counted + 100)
  // Segments have a limit of their own: this one is a flow from here on.
  const seen = parse(ingress(datapath, ackOf(30_000)).packet)
  assert.ok(entries(datapath, 'openings') > before)
  const heard = answer(datapath, seen, tcpFrame, ACK | PSH)
  assert.deepEqual([heard.source, heard.destinationPort], [vip, 30_000])
  evict(fixture.bpffs, 1)
  assert.equal(answer(datapath, seen, tcpFrame, ACK | PSH).source, vip, 'of which one half is enough')
})

test('a flood of segments that are of no connection, and one of datagrams, are served so too', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  for (const [what, make, reply] of [
    ['segment', ackOf, (seen: Parsed) => answer(datapath, seen, tcpFrame, tcpFlag.RST)],
    ['datagram', datagramOf, (seen: Parsed) => answer(datapath, seen, udpFrame)],
  ] as const) {
    exhaust(fixture.bpffs, what)
    const before = entries(datapath, 'openings')
    for (let port = 30_000; port < 30_050; port++) {
      const run = ingress(datapath, make(port))
      assert.equal(run.verdict, verdict.pass, what)
      const heard = reply(parse(run.packet))
      assert.deepEqual([heard.source, heard.sourcePort, heard.destinationPort], [vip, 80, port], what)
    }
    assert.equal(entries(datapath, 'openings'), before, what)
  }
  assert.equal(datapath.reasons()['reply_unmatched'] ?? 0, 0)
})

test('no kind of flood keeps another kind from its state, nor touches what is established', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  const seen = parse(ingress(datapath, synOf(20_000)).packet)
  answer(datapath, seen, tcpFrame)
  ingress(datapath, ackOf(20_000))
  assert.equal(entries(datapath, 'connections'), 2)
  exhaust(fixture.bpffs, 'syn')
  // The first of their kinds on this CPU, or on another one.
  const before = entries(datapath, 'openings')
  ingress(datapath, ackOf(30_000))
  ingress(datapath, datagramOf(30_000))
  assert.equal(entries(datapath, 'openings'), before + 4)
  assert.equal(parse(ingress(datapath, ackOf(20_000)).packet).destination, seen.destination)
  assert.equal(answer(datapath, seen, tcpFrame, ACK).source, vip)
})

test('where a reply alone does not tell whose it is state is made whatever comes', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  // Of two ports with one pod the client's own may mean either.
  datapath.upsert(frontendOf(secondVip, 80, [pod]))
  datapath.upsert(frontendOf(secondVip, 81, [pod]))
  exhaust(fixture.bpffs, 'syn')
  const counted = datapath.reasons()['flow_limited']
  for (const destinationPort of [80, 81]) {
    const before = entries(datapath, 'openings')
    const tuple = { ...from(30_000 + destinationPort, secondVip), destinationPort }
    const seen = parse(ingress(datapath, tcpFrame({ ...tuple, flags: SYN, seq: 1_000 })).packet)
    assert.equal(entries(datapath, 'openings'), before + 2)
    const heard = answer(datapath, seen, tcpFrame)
    assert.deepEqual([heard.source, heard.sourcePort], [secondVip, destinationPort])
  }
  assert.equal(datapath.reasons()['flow_limited'], counted)
})

test('a flow to the pod itself on the same ports stays another one: then state is made', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  exhaust(fixture.bpffs, 'syn')
  const seen = parse(ingress(datapath, synOf(30_000)).packet)
  const direct = { source: client, sourcePort: 30_001, destination: seen.destination, destinationPort: 8080 }
  const port = Array.from({ length: 200 }, (_, n) => 31_000 + n).find(
    (each) => parse(ingress(datapath, synOf(each)).packet).destination === seen.destination,
  )
  assert.ok(port !== undefined)
  ingress(datapath, tcpFrame({ ...direct, sourcePort: port, flags: SYN, seq: 5 }))
  const translated = parse(ingress(datapath, synOf(port)).packet)
  assert.notEqual(translated.sourcePort, port, 'the pod sees two flows')
  assert.deepEqual([answer(datapath, translated, tcpFrame).destinationPort], [port])
})

test('a CPU makes state for so many flows of a kind in a second, and all beyond are counted', { skip }, (t) => {
  const { datapath } = limitedOf(t)
  const sent = 2 * cpus().length + 50
  for (let port = 1_024; port < 1_024 + sent; port++) assert.equal(ingress(datapath, synOf(port)).verdict, verdict.pass)
  const limited = datapath.reasons()['flow_limited'] ?? 0
  assert.ok(limited >= sent - cpus().length && limited < sent, `${limited} of ${sent}`)
  const shown = datapath.drops().filter(({ packets }) => packets > 0)
  assert.deepEqual(shown, [
    { reason: 'flow_limited', family: isIpv6 ? 'ipv6' : 'ipv4', fate: 'served', packets: limited },
  ])
})

test('with room for all nothing is limited, and a reply of no known flow is dropped as ever', { skip }, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.upsert(frontendOf(vip, 80, pods))
  for (let port = 1_024; port < 2_500; port++) ingress(datapath, synOf(port))
  assert.equal(datapath.reasons()['flow_limited'], 0)
  const reply = { source: pod.address, sourcePort: 8080, destination: client, destinationPort: 60_000 }
  assert.equal(egress(datapath, tcpFrame({ ...reply, flags: SYN | ACK })).verdict, verdict.shot)
})

test('where a reply would leave by what is no uplink state is made, and what is of no flow leaves there as it is', {
  skip,
}, (t) => {
  const { fixture, datapath } = limitedOf(t)
  datapath.attach(['up0'], ['side0'])
  const program = openProgram(replyProgramId(new Pins(fixture.bpffs)) ?? 0)
  assert.ok(program !== undefined)
  t.after(() => closeFd(program))
  exhaust(fixture.bpffs, 'syn')
  const before = entries(datapath, 'openings')
  assert.equal(ingress(datapath, synOf(30_000)).verdict, verdict.pass)
  assert.equal(entries(datapath, 'openings'), before, 'replies may be of flows without state from here on')
  // Another pod that came over the network of the pods: of its connections nothing is known, and nothing may be.
  const inside = podAt(99)
  for (const [make, flags] of [
    [tcpFrame, SYN | ACK],
    [tcpFrame, ACK],
    [udpFrame, 0],
  ] as const)
    for (const { address } of pods)
      for (let port = 50_000; port < 50_020; port++) {
        const reply = { source: address, sourcePort: 8080, destination: inside, destinationPort: port, flags }
        const left = parse(runProgram(program, make(reply)).packet)
        assert.deepEqual([left.source, left.sourcePort], [address, 8080])
      }
  // A client of the VIP that is answered by there.
  const come = { source: inside, sourcePort: 30_000, destination: vip, destinationPort: 80 }
  const seen = parse(ingress(datapath, tcpFrame({ ...come, flags: SYN, seq: 1_000 })).packet)
  assert.equal(entries(datapath, 'openings'), before + 2)
  const reply = { source: seen.destination, sourcePort: 8080, destination: inside, destinationPort: 30_000 }
  assert.equal(parse(runProgram(program, tcpFrame({ ...reply, flags: SYN | ACK })).packet).source, vip)
})

test('of several uplinks a flow without state may come in by one and be answered by another, as an adopter knows too', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const open = (): KernelDatapath => {
    const datapath = fixture.open({ settleSec: 0, openingsPerSec })
    for (const protocol of ['TCP', 'UDP'] as const) datapath.upsert(frontendOf(vip, 80, pods, protocol))
    return datapath
  }
  layCable('up1', [])
  const former = open()
  former.attach(['up0', 'up1'])
  former.close()
  const datapath = open()
  datapath.attach(['up0', 'up1'])
  for (const kind of ['syn', 'datagram'] as const) exhaust(fixture.bpffs, kind)
  ip('route', 'add', `${client}/${isIpv6 ? 128 : 32}`, 'dev', 'up1')
  const before = entries(datapath, 'openings')
  for (let port = 30_000; port < 30_020; port++)
    for (const [sent, make] of [
      [synOf(port), tcpFrame],
      [datagramOf(port), udpFrame],
    ] as const) {
      const heard = answer(datapath, parse(ingress(datapath, sent).packet), make)
      assert.deepEqual([heard.source, heard.sourcePort, heard.destinationPort], [vip, 80, port])
    }
  assert.equal(entries(datapath, 'openings'), before)
  // No uplink any more.
  datapath.attach(['up0'])
  assert.equal(ingress(datapath, synOf(40_000)).verdict, verdict.pass)
  assert.equal(entries(datapath, 'openings'), before + 2)
  ip('link', 'delete', 'up1')
})

test('a flow of a node port has state whatever comes, also where a VIP stands before the same pod', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  const own = nodeAt(250)
  datapath.setNodes({ own: [own], others: [], nodePorts: [own] })
  const any = isIpv6 ? anyNodeAddress.ipv6 : anyNodeAddress.ipv4
  for (const protocol of ['TCP', 'UDP'] as const) datapath.upsert(frontendOf(any, 30_080, pods, protocol))
  for (const kind of ['syn', 'datagram'] as const) exhaust(fixture.bpffs, kind)
  const counted = datapath.reasons()['flow_limited']
  for (const [make, flags] of [
    [tcpFrame, SYN | ACK],
    [udpFrame, 0],
  ] as const) {
    const before = entries(datapath, 'openings')
    const seen = parse(ingress(datapath, make({ ...from(31_000, own), destinationPort: 30_080, flags: SYN })).packet)
    assert.equal(entries(datapath, 'openings'), before + 2)
    const heard = answer(datapath, seen, make, flags)
    assert.deepEqual([heard.source, heard.sourcePort, heard.destinationPort], [own, 30_080, 31_000])
  }
  assert.equal(datapath.reasons()['flow_limited'], counted)
  // That of the VIP goes without, and its reply is the VIP's.
  const seen = parse(ingress(datapath, synOf(32_000)).packet)
  assert.equal(datapath.reasons()['flow_limited'], (counted ?? 0) + 1)
  assert.equal(answer(datapath, seen, tcpFrame).source, vip)
})

test("a flood of SYNs makes nothing the VIP's that a pod says on a connection, and one of segments does no longer " +
  'than it lasts', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  exhaust(fixture.bpffs, 'syn')
  const seen = parse(ingress(datapath, synOf(30_000)).packet)
  const reply = {
    source: seen.destination,
    sourcePort: 8080,
    destination: client,
    destinationPort: 30_000,
    seq: 70_001,
    ack: 1_001,
  }
  // Of a connection with the pod itself whose state was evicted it would look the same.
  for (const flags of [ACK, ACK | PSH, ACK | tcpFlag.FIN])
    assert.equal(egress(datapath, tcpFrame({ ...reply, flags })).verdict, verdict.shot)
  for (const flags of [SYN | ACK, tcpFlag.RST, tcpFlag.RST | ACK])
    assert.equal(parse(egress(datapath, tcpFrame({ ...reply, flags })).packet).source, vip)
  assert.equal(egress(datapath, udpFrame(reply)).verdict, verdict.pass)
  exhaust(fixture.bpffs, 'segment')
  assert.equal(parse(ingress(datapath, ackOf(30_000)).packet).destination, seen.destination)
  assert.equal(parse(egress(datapath, tcpFrame({ ...reply, flags: ACK | PSH })).packet).source, vip)
})

test('when a flood is over flows have state again', { skip }, async (t) => {
  const { fixture, datapath } = limitedOf(t)
  const before = entries(datapath, 'openings')
  exhaust(fixture.bpffs, 'syn', 3)
  let port = 30_000
  await waitFor('a flow to have state', () => {
    assert.equal(ingress(datapath, synOf(port++)).verdict, verdict.pass)
    return entries(datapath, 'openings') === before + 2
  })
  assert.equal(entries(datapath, 'openings'), before + 2)
})

test('what a flow without state sends and gets is counted for its Service and its pod alone', { skip }, (t) => {
  const { fixture, datapath } = limitedOf(t)
  // Listed behind the one that is meant, and asked after it.
  datapath.upsert(frontendOf(secondVip, 80, pods))
  exhaust(fixture.bpffs, 'syn')
  const limited = (): number => datapath.reasons()['flow_limited'] ?? 0
  let flows = 0
  for (let port = 30_000; port < 30_060; port++) {
    const counted = limited()
    const seen = parse(ingress(datapath, synOf(port)).packet)
    answer(datapath, seen, tcpFrame)
    flows += limited() - counted
  }
  assert.ok(flows > 10, 'of most the table of one VIP alone names the pod')
  const [of, other] = [vip, secondVip].map((address) => datapath.counters(frontendId(address, 'TCP', 80)))
  assert.deepEqual([of?.packetsIn, of?.packetsOut, of?.newConnections], [60, 60, 60])
  assert.deepEqual([other?.packetsIn, other?.packetsOut], [0, 0])
})

test('a flood as from this node or from a pod makes no state beyond the limit, and takes nothing from others', {
  skip,
}, (t) => {
  const { fixture, datapath } = limitedOf(t)
  const own = nodeAt(2)
  datapath.setNodes({ own: [own], others: [] })
  exhaust(fixture.bpffs, 'hairpin')
  const refused = (): number => datapath.reasons()['flows_full'] ?? 0
  const [before, counted] = [entries(datapath, 'openings'), refused()]
  for (let sourcePort = 30_000; sourcePort < 30_020; sourcePort++) {
    const ends = { source: own, sourcePort, destination: vip, destinationPort: 80 }
    for (const bytes of [tcpFrame({ ...ends, flags: SYN }), udpFrame(ends)])
      assert.equal(ingress(datapath, bytes).verdict, verdict.shot)
  }
  assert.equal(entries(datapath, 'openings'), before)
  assert.equal(refused(), counted + 40)
  assert.equal(ingress(datapath, synOf(30_000)).verdict, verdict.pass)
  assert.ok(entries(datapath, 'openings') > before)
})
