/**
 * Frames of flows whose backend is on another node, through herald_xdp and through herald_ingress: what the first one
 * hands on the second one hands on as well, octet by octet, and counted alike; and what is not wholly its own it leaves
 * to the second one, and leaves no trace.
 */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { type Protocol, translatedNode } from '../../src/desired/model.ts'
import { BpfMap, closeFd, openPinned, runProgram, type TestRun } from '../../src/sys/bpf.ts'
import { waitFor } from '../wait.ts'
import { early } from './early.ts'
import { familyOf, type Family } from './family.ts'
import { frontendOf, kernelFixture, verdict, whyNoKernel, type Fixture } from './fixture.ts'
import { extension, frame, moreFragments, TCP, tcpFlag, tcpFrame, tcpSegment, UDP, udpFrame } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const skip = whyNoKernel()
early.choose('handed on')
const families = [familyOf(''), familyOf('?ipv6')]
const { SYN, ACK, FIN, RST, PSH } = tcpFlag
const rounds = 1500
const flows = 8
/** TCP, and UDP over it. */
const firstPort = 40_000
const l3 = 14

if (skip === undefined) {
  enterNetwork()
  layCable(
    'up0',
    families.map(({ nodeAt }) => nodeAt(250)),
  )
}

function sequence(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

interface Scene {
  readonly fixture: Fixture
  readonly datapath: KernelDatapath
  readonly family: Family
  /** Through XDP; undefined: TC has it. What is the turn of TC is asked once more. */
  early(bytes: Uint8Array): TestRun | undefined
  tc(bytes: Uint8Array): TestRun
  tcp(flags: number, flow?: number, data?: Uint8Array): Uint8Array
  udp(flow?: number): Uint8Array
}

function sceneOf(t: TestContext, family: Family, nodes: Family): Scene {
  const { vip, client, podAt } = family
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  datapath.setNodes({ own: [nodes.nodeAt(250)], others: [nodes.nodeAt(2)] })
  early.meet([nodes.nodeAt(2)])
  const pod = { address: podAt(5), port: 8080, node: nodes.nodeAt(2) }
  for (const protocol of ['TCP', 'UDP'] as const) datapath.upsert(frontendOf(vip, 80, [pod], protocol))
  const ends = (flow: number) => ({
    ...{ source: client, destination: vip, sourcePort: firstPort + flow, destinationPort: 80 },
  })
  const tc = (bytes: Uint8Array): TestRun => runProgram(datapath.programs.ingress, bytes)
  const tcp: Scene['tcp'] = (flags, flow = 0, data = new Uint8Array()) =>
    tcpFrame({ ...ends(flow), flags, ack: flags & ACK ? 7 : 0, data })
  const udp: Scene['udp'] = (flow = 0) => udpFrame({ ...ends(flow), data: new Uint8Array(20) })
  return {
    ...{ fixture, datapath, family, tc, tcp, udp },
    early: (bytes) => early.run(datapath, bytes) ?? early.run(datapath, bytes),
  }
}

/** The client has gone on in each flow. */
function begin({ tc, tcp, udp }: Scene): void {
  for (let flow = 0; flow < flows; flow++)
    for (const bytes of [tcp(SYN, flow), tcp(ACK, flow), udp(flow), udp(flow)])
      assert.equal(tc(bytes).verdict, verdict.redirect)
}

function mapNamed(fixture: Fixture, name: string): BpfMap {
  const fd = openPinned(`${fixture.bpffs}/herald/v${schema}/maps/${name}`)
  assert.ok(fd !== undefined, name)
  return new BpfMap(name, fd)
}

/** All that is known of flows. */
function known({ fixture }: Scene): readonly string[] {
  return ['openings', 'connections', 'datagrams', 'forwards', 'affinity', 'fragments'].flatMap((name) => {
    const map = mapNamed(fixture, name)
    const lines = [...map.entries()].map(([key, value]) => `${name} ${Buffer.concat([key, value]).toString('hex')}`)
    closeFd(map.fd)
    return lines.sort()
  })
}

function forwarded({ datapath, family: { isIpv6, vip } }: Scene): readonly number[] {
  const address = isIpv6 ? `[${vip}]` : vip
  return (['TCP', 'UDP'] as const).flatMap((protocol: Protocol) => {
    const counted = datapath.counters(`${address}:80/${protocol}`)
    const pods = counted?.backends.flatMap((pod) => [pod.packetsForwarded, pod.bytesForwarded, pod.packetsIn]) ?? []
    return [counted?.packetsForwarded ?? 0, counted?.bytesForwarded ?? 0, counted?.packetsIn ?? 0, ...pods]
  })
}

/** A frame of one of the flows, of whatever kind, often with octets that nobody would send. */
function anyFrame({ family }: Scene, random: (below: number) => number): Uint8Array {
  const ends = { source: family.client, destination: family.vip }
  const ports = { sourcePort: firstPort + random(flows + 1), destinationPort: random(20) === 0 ? 81 : 80 }
  const data = Uint8Array.from({ length: random(3) === 0 ? random(1500) : random(60) }, () => random(256))
  const flags = [ACK, ACK | PSH, SYN, ACK | FIN, RST, SYN | ACK, 0][random(7)] ?? 0
  const isTcp = random(2) === 0
  const segment = isTcp
    ? tcpSegment({ ...ends, ...ports, flags, seq: random(2 ** 31), ack: random(2 ** 31), data })
    : udpFrame({ ...ends, ...ports, data }).slice(l3 + family.headerBytes)
  const bytes = frame({
    ...{ ...ends, protocol: isTcp ? TCP : UDP, payload: segment },
    ...(random(4) === 0 ? { vlan: random(4095) } : {}),
    ...(random(5) === 0 ? { options: new Uint8Array(4 * (1 + random(5))) } : {}),
    ...(random(20) === 0 ? { fragment: random(2) === 0 ? moreFragments : 3 } : {}),
    ...(family.isIpv6 && random(5) === 0
      ? { extensions: [[extension.hopByHop, new Uint8Array(8 * (1 + random(2)))] as const] }
      : {}),
  })
  // DSCP and ECN, and of IPv6 the flow label.
  const at = l3 + (bytes[12] === 0x81 ? 4 : 0)
  if (random(2) === 0) bytes[at + 1] = random(256)
  if (random(8) === 0) bytes[at + random(60)] = random(256)
  // What an Ethernet link adds to what is short.
  return random(6) === 0 ? Uint8Array.from([...bytes, ...new Uint8Array(random(12))]) : bytes
}

for (const [at, family] of families.entries())
  for (const [nodeAt, nodes] of families.entries())
    test(`what XDP hands on TC hands on alike, octet by octet (IPv${at ? 6 : 4} over IPv${nodeAt ? 6 : 4})`, {
      skip,
    }, (t) => {
      const scene = sceneOf(t, family, nodes)
      begin(scene)
      const random = sequence(20_261_130 + 2 * at + nodeAt)
      const sent = Array.from({ length: rounds }, () => anyFrame(scene, random))
      const [before, first, reasons] = [known(scene), forwarded(scene), scene.datapath.reasons()]
      const handed = sent.map((bytes) => {
        const run = scene.early(bytes)
        return run?.verdict === verdict.redirect ? { bytes, run } : undefined
      })
      const done = handed.filter((each) => each !== undefined)
      assert.deepEqual(known(scene), before, 'it writes nothing')
      const [second, between] = [forwarded(scene), scene.datapath.reasons()]
      for (const { bytes, run } of done) {
        const tc = scene.tc(bytes)
        assert.equal(tc.verdict, verdict.redirect, Buffer.from(bytes).toString('hex'))
        // The type of the frame the kernel writes with its addresses, behind TC.
        const type = Buffer.from(run.packet.subarray(12, l3)).toString('hex')
        const behind = (packet: Uint8Array): string => Buffer.from(packet.subarray(l3)).toString('hex')
        assert.deepEqual([type, behind(run.packet)], [nodes.isIpv6 ? '86dd' : '0800', behind(tc.packet)])
      }
      assert.deepEqual(scene.datapath.reasons(), between, 'nor does TC drop any of them')
      const third = forwarded(scene)
      const grown = (from: readonly number[], to: readonly number[]) => to.map((count, i) => count - (from[i] ?? 0))
      assert.deepEqual(grown(first, second), grown(second, third))
      t.diagnostic(`${done.length} of ${rounds} handed on; ${JSON.stringify(grown(first, second))}`)
      assert.ok(done.length > rounds / 3, `${done.length} ${JSON.stringify(reasons)}`)
    })

describe('left to TC, without a trace', { skip: skip ?? false }, () => {
  const [ipv4 = familyOf('')] = families
  const isLeft = (scene: Scene, bytes: Uint8Array, why: string): void => {
    const before = [...known(scene), ...forwarded(scene)]
    for (let time = 0; time < 3; time++) assert.equal(early.run(scene.datapath, bytes), undefined, why)
    assert.deepEqual([...known(scene), ...forwarded(scene)], before, why)
  }
  const isHanded = (scene: Scene, bytes: Uint8Array): void =>
    assert.equal(scene.early(bytes)?.verdict, verdict.redirect)

  for (const [index, family] of families.entries())
    test(`the first packets of a flow, until its client goes on (IPv${index ? 6 : 4})`, (t) => {
      const scene = sceneOf(t, family, family)
      const { tc, tcp, udp } = scene
      isLeft(scene, tcp(SYN), 'of no flow')
      isLeft(scene, tcp(ACK), 'of a flow that nobody has seen')
      tc(tcp(SYN))
      isLeft(scene, tcp(ACK), 'nobody has gone on')
      tc(tcp(ACK))
      for (const flags of [ACK, ACK | FIN, RST, SYN]) isHanded(scene, tcp(flags))
      isLeft(scene, udp(), 'of no flow')
      tc(udp())
      tc(udp())
      isHanded(scene, udp())
    })

  test('what does not fit, fragments, and what a sender on this machine has not finished', (t) => {
    const scene = sceneOf(t, ipv4, ipv4)
    begin(scene)
    const { tcp, udp } = scene
    const overhead = 48
    const most = 1500 - overhead - 40
    isHanded(scene, tcp(ACK, 0, new Uint8Array(most)))
    isLeft(scene, tcp(ACK, 0, new Uint8Array(most + 1)), 'too big')
    const piece = udp()
    piece[l3 + 6] = moreFragments >> 8
    isLeft(scene, piece, 'a fragment')
    for (const [bytes, checkAt] of [
      [tcp(ACK), 16],
      [udp(), 6],
    ] as const) {
      const unfinished = bytes.slice()
      // The sum over the pseudo header alone, which the card would go on with.
      const at = l3 + 20
      const words = [26, 28, 30, 32].map((place) => (bytes[place] ?? 0) * 256 + (bytes[place + 1] ?? 0))
      let sum = words.reduce((total, word) => total + word, (bytes[23] ?? 0) + bytes.length - at)
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
      unfinished[at + checkAt] = sum >> 8
      unfinished[at + checkAt + 1] = sum & 255
      isLeft(scene, unfinished, 'a checksum that is not finished')
      isHanded(scene, bytes)
    }
  })

  test('a flow that is here too, a backend that is gone, and one behind a translation', (t) => {
    const scene = sceneOf(t, ipv4, ipv4)
    begin(scene)
    const { datapath, fixture, tcp, udp } = scene
    const forwards = mapNamed(fixture, 'forwards')
    const [[key] = []] = [...forwards.entries()].filter(([each]) => each[36] === TCP && each[33] === (firstPort & 255))
    assert.ok(key !== undefined)
    for (const name of ['connections', 'openings']) {
      const map = mapNamed(fixture, name)
      map.update(key, new Uint8Array(map.valueBytes))
      isLeft(scene, tcp(ACK), name)
      map.delete(key)
      isHanded(scene, tcp(ACK))
      closeFd(map.fd)
    }
    closeFd(forwards.fd)
    const pod = { address: ipv4.podAt(5), port: 8080, node: translatedNode }
    datapath.upsert(frontendOf(ipv4.vip, 80, [pod]))
    isLeft(scene, tcp(ACK), 'behind a translation')
    datapath.upsert(frontendOf(ipv4.vip, 80, [{ ...pod, address: ipv4.podAt(6) }], 'UDP'))
    isLeft(scene, udp(), 'its backend drains')
  })

  test('no hardware address, another interface, no address of its own; and now and then one for the stack', async (t) => {
    const scene = sceneOf(t, ipv4, ipv4)
    begin(scene)
    const { datapath, tcp } = scene
    const node = ipv4.nodeAt(2)
    isHanded(scene, tcp(ACK))
    ip('neigh', 'delete', node, 'dev', 'up0')
    isLeft(scene, tcp(ACK), 'nobody knows the hardware address')
    early.meet([node])
    isHanded(scene, tcp(ACK))
    layCable('other0', ['203.0.113.251'])
    ip('route', 'add', node, 'dev', 'other0')
    ip('neigh', 'replace', node, 'lladdr', '02:00:00:00:00:98', 'dev', 'other0', 'nud', 'permanent')
    isLeft(scene, tcp(ACK), 'by another interface')
    ip('link', 'delete', 'other0')
    isHanded(scene, tcp(ACK))
    datapath.setNodes({ own: [], others: [node] })
    isLeft(scene, tcp(ACK), 'no address of its own')
    datapath.setNodes({ own: [ipv4.nodeAt(250)], others: [node] })
    isHanded(scene, tcp(ACK))
    await waitFor('the turn of the stack', () => early.run(datapath, tcp(ACK)) === undefined, {
      deadlineMs: 60_000,
      everyMs: 20,
    })
    isHanded(scene, tcp(ACK))
  })
})
