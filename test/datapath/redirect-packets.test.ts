/** Flows past netfilter, packet by packet: which go, which go through the stack all the same, and what changes that. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { schema } from '../../src/datapath/layout.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { programInfo, runProgram } from '../../src/sys/bpf.ts'
import { createTcxLink } from '../../src/sys/bpf-attach.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { familyOf } from './family.ts'
import {
  egress,
  evict,
  type Fixture,
  frontendOf,
  ingress,
  kernelFixture,
  leaveLongAgo,
  verdict,
  whyNoKernel,
} from './fixture.ts'
import {
  extension,
  frame,
  icmpMessage,
  parse,
  TCP,
  tcpFlag,
  tcpFrame,
  tcpSegment,
  udpFrame,
  withLifetime,
} from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'
import { policiesOf } from './netfilter.ts'
import { refusedPast } from './refused-past.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, client, podAt, nodeAt, ICMP, tooBig, unreachable, headerBytes, isIpv6 } = family
const { SYN, ACK } = tcpFlag
const pod = { address: podAt(5), port: 8080 }
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
const fromPod = { source: pod.address, destination: client, sourcePort: pod.port, destinationPort: 40_000 }
const lifetimeAt = isIpv6 ? 21 : 22
const syn = (sourcePort = 40_000): Uint8Array => tcpFrame({ ...toVip, sourcePort, flags: SYN })
const ack = (sourcePort = 40_000): Uint8Array => tcpFrame({ ...toVip, sourcePort, flags: ACK, ack: 1 })
const reply = (destinationPort = 40_000): Uint8Array =>
  tcpFrame({ ...fromPod, destinationPort, flags: SYN | ACK, ack: 1 })

const tc = (...args: readonly string[]): void => void execFileSync('tc', args, { stdio: ['ignore', 'ignore', 'pipe'] })
/** As the bandwidth plugin of CNI has it, but for where packets go. */
const limiter = ['u32', 'match', 'u32', '0', '0', 'flowid', '1:1']

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  layCable('pods0', [podAt(1)])
  ip('route', 'add', 'default', 'via', nodeAt(1), 'dev', 'up0')
}

function openIn(fixture: Fixture, options: Partial<KernelDatapathOptions> = {}): KernelDatapath {
  const datapath = fixture.open({ mode: 'redirect', ...options })
  datapath.attach(['up0'])
  datapath.upsert(frontendOf(vip, 80, [pod]))
  datapath.upsert(frontendOf(vip, 53, [pod], 'UDP'))
  return datapath
}

/** As it comes in by the interface of a pod, to which the frame is addressed. */
function byPod(datapath: KernelDatapath, bytes: Uint8Array, device = 'pods0'): ReturnType<typeof ingress> {
  const mac = /ether (\S+)/.exec(ip('link', 'show', device))?.[1] ?? ''
  const frame = bytes.slice()
  frame.set(mac.split(':').map((octet) => parseInt(octet, 16)))
  const { verdict: is, packet, durationNs } = runProgram(datapath.podProgram, frame, 1, 0, ifnameToIndex(device))
  const given = packet.slice()
  given.set(bytes.subarray(0, 6))
  return { verdict: is, packet: given, durationNs }
}
const verdicts = (datapath: KernelDatapath, ...frames: readonly Uint8Array[]): readonly number[] =>
  frames.map((bytes) => ingress(datapath, bytes).verdict)

/** The packet with another TTL or hop limit. */
const aged = (bytes: Uint8Array, lifetime: number): Uint8Array => withLifetime(bytes, () => lifetime)

test('a flow goes to its pod and back past the stack, one hop further each way (RFC 1812 5.3.1, RFC 8200 3)', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t))
  assert.deepEqual([datapath.status.mode, datapath.status.modeReason], ['redirect', undefined])
  for (const bytes of [syn(), ack(), udpFrame({ ...toVip, destinationPort: 53, data: new Uint8Array(9) })]) {
    const { verdict: is, packet } = ingress(datapath, bytes)
    const sent = parse(packet)
    assert.deepEqual([is, sent.destination, sent.destinationPort], [verdict.redirect, pod.address, pod.port])
    assert.equal(packet[lifetimeAt], (bytes[lifetimeAt] ?? 0) - 1)
    assert.ok(sent.isIpChecksumRight && sent.isL4ChecksumRight)
  }
  for (const bytes of [reply(), udpFrame({ ...fromPod, data: new Uint8Array(9) })]) {
    const { verdict: is, packet } = byPod(datapath, bytes)
    const sent = parse(packet)
    assert.deepEqual([is, sent.source, sent.destination], [verdict.redirect, vip, client])
    assert.equal(packet[lifetimeAt], (bytes[lifetimeAt] ?? 0) - 1)
    assert.ok(sent.isIpChecksumRight && sent.isL4ChecksumRight)
  }
  assert.ok(programInfo(datapath.podProgram).verifiedInstructions < 60_000)
})

test('what a router would answer, take apart or look into goes through the stack, and the flow goes on', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t))
  const data = new Uint8Array(1600)
  const special = isIpv6
    ? { extensions: [[extension.hopByHop, Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)]] as const }
    : { options: Uint8Array.of(0x94, 4, 0, 0) }
  assert.deepEqual(verdicts(datapath, syn()), [verdict.redirect])
  for (const [what, bytes] of [
    ['its last hop', aged(ack(), 1)],
    ['a tag', tcpFrame({ ...toVip, flags: ACK, vlan: 100 })],
    ['options', tcpFrame({ ...toVip, flags: ACK, ...special })],
    ['too big', tcpFrame({ ...toVip, flags: ACK, data })],
  ] as const) {
    const { verdict: is, packet } = ingress(datapath, bytes)
    assert.deepEqual([is, parse(packet).destination], [verdict.pass, pod.address], what)
  }
  for (const bytes of [aged(reply(), 1), tcpFrame({ ...fromPod, flags: ACK, ack: 1, data })]) {
    const { verdict: is, packet } = byPod(datapath, bytes)
    assert.deepEqual([is, packet], [verdict.pass, bytes], 'left to the stack as it is')
    assert.equal(parse(egress(datapath, bytes).packet).source, vip)
  }
  assert.deepEqual(verdicts(datapath, ack()), [verdict.redirect])
  // A flow whose first packet cannot go past the stack is one of the stack.
  assert.deepEqual(verdicts(datapath, aged(syn(40_001), 1), ack(40_001)), [verdict.pass, verdict.pass])
})

test('a client behind a pod interface, or on the node, is served through the stack both ways', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t))
  for (const source of [podAt(7), nodeAt(250)]) {
    const request = ingress(datapath, tcpFrame({ ...toVip, source, flags: SYN }))
    assert.deepEqual([request.verdict, parse(request.packet).destination], [verdict.pass, pod.address], source)
    const answer = tcpFrame({ ...fromPod, destination: source, flags: SYN | ACK, ack: 1 })
    const left = byPod(datapath, answer)
    assert.deepEqual([left.verdict, left.packet], [verdict.pass, answer])
  }
})

test('what a pod asks itself goes past netfilter both ways, and its answer is translated where it would leave', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t))
  const request = ingress(datapath, tcpFrame({ ...toVip, source: pod.address, flags: SYN }))
  const { source, destination } = parse(request.packet)
  assert.deepEqual([request.verdict, source, destination], [verdict.redirect, vip, pod.address])
  const answer = tcpFrame({ ...fromPod, destination: vip, flags: SYN | ACK, ack: 1 })
  const left = byPod(datapath, answer)
  assert.deepEqual([left.verdict, left.packet], [verdict.redirect, withLifetime(answer, (lifetime) => lifetime - 1)])
  const { packet, verdict: turned } = egress(datapath, left.packet)
  assert.deepEqual([turned, parse(packet).source, parse(packet).destination], [verdict.redirect, vip, pod.address])
})

test('a flow stays of the kind that it began as, also where one half of it was evicted', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const before = openIn(fixture, { mode: 'stack' })
  assert.equal(before.status.mode, 'stack')
  assert.deepEqual(verdicts(before, syn(1), ack(1)), [verdict.pass, verdict.pass])
  before.close()
  const datapath = openIn(fixture)
  assert.deepEqual(verdicts(datapath, ack(1), syn(2), ack(2)), [verdict.pass, verdict.redirect, verdict.redirect])
  assert.deepEqual(
    [byPod(datapath, reply(1)).verdict, byPod(datapath, reply(2)).verdict],
    [verdict.pass, verdict.redirect],
  )
  evict(fixture.bpffs, 0)
  assert.deepEqual(verdicts(datapath, ack(1), ack(2)), [verdict.pass, verdict.redirect])
  evict(fixture.bpffs, 1)
  assert.deepEqual(verdicts(datapath, ack(1), ack(2)), [verdict.pass, verdict.redirect])
  datapath.close()
  const after = openIn(fixture, { mode: 'stack' })
  assert.deepEqual(verdicts(after, ack(1), ack(2)), [verdict.pass, verdict.pass])
  assert.equal(byPod(after, reply(2)).verdict, verdict.pass)
  assert.equal(parse(egress(after, reply(2)).packet).source, vip)
})

test('ICMP errors about a redirected flow go its way: netfilter would call them INVALID', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t))
  const query = { ...toVip, destinationPort: 53, data: new Uint8Array(9) }
  assert.deepEqual(verdicts(datapath, syn(), udpFrame(query)), [verdict.redirect, verdict.redirect])
  const quotedReply = frame({
    source: vip,
    destination: client,
    protocol: TCP,
    payload: tcpSegment({ source: vip, destination: client, sourcePort: 80, destinationPort: 40_000, flags: ACK }),
  })
  const outside = { source: nodeAt(1), destination: vip }
  const told = icmpMessage(tooBig.type, tooBig.code, 1300, quotedReply.slice(14), outside)
  const inward = ingress(datapath, frame({ ...outside, protocol: ICMP, payload: told }))
  assert.deepEqual([inward.verdict, parse(inward.packet).destination], [verdict.redirect, pod.address])
  assert.ok(parse(inward.packet).isL4ChecksumRight && parse(inward.packet).isIpChecksumRight)
  const quoted = udpFrame({ ...query, destination: pod.address, destinationPort: pod.port }).slice(14)
  const inside = { source: pod.address, destination: client }
  const refusal = icmpMessage(unreachable.type, unreachable.port, 0, quoted, inside)
  const outward = byPod(datapath, frame({ ...inside, protocol: ICMP, payload: refusal }))
  assert.deepEqual([outward.verdict, parse(outward.packet).source], [verdict.redirect, vip])
  assert.ok(parse(outward.packet).isL4ChecksumRight && parse(outward.packet).isIpChecksumRight)
  assert.equal(parse(outward.packet).view.getUint16(parse(outward.packet).l4 + 8 + headerBytes + 2), 53)
})

test('an interface that vanishes takes its flows to the stack, and one made anew takes them back', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t))
  assert.deepEqual(verdicts(datapath, syn(), ack()), [verdict.redirect, verdict.redirect])
  ip('link', 'delete', 'pods0')
  assert.deepEqual(verdicts(datapath, ack(), syn(40_001)), [verdict.pass, verdict.pass], 'nobody was told')
  layCable('pods0', [podAt(1)])
  assert.deepEqual(verdicts(datapath, ack()), [verdict.pass], 'its replies would go through the stack')
  datapath.follow()
  assert.deepEqual(verdicts(datapath, ack(), syn(40_002), ack(40_001)), [
    verdict.redirect,
    verdict.redirect,
    verdict.pass,
  ])
})

test('auto: while something enforces policies new flows go through the stack, and it is said who', { skip }, (t) => {
  let enforcer: string | undefined = 'somebody enforces policies'
  const datapath = openIn(kernelFixture(t), { mode: 'auto', netfilter: policiesOf(() => enforcer) })
  const look = (): void => datapath.attach(['up0'])
  assert.deepEqual([datapath.status.mode, datapath.status.modeReason], ['stack', enforcer])
  assert.deepEqual(verdicts(datapath, syn(1), ack(1)), [verdict.pass, verdict.pass])
  enforcer = undefined
  look()
  assert.deepEqual([datapath.status.mode, datapath.status.modeReason], ['redirect', undefined])
  assert.deepEqual(verdicts(datapath, ack(1), syn(2)), [verdict.pass, verdict.redirect])
  enforcer = 'somebody again'
  look()
  assert.equal(datapath.status.modeReason, enforcer)
  assert.deepEqual(verdicts(datapath, ack(2), syn(3)), [verdict.pass, verdict.pass], 'also what is redirected')
  enforcer = undefined
  datapath.follow()
  assert.deepEqual(verdicts(datapath, ack(2), ack(3)), [verdict.redirect, verdict.pass])
})

test('auto: where something comes into the way a connection leaves for the stack, the side of the client first: a ' +
  'reply that netfilter sees first is masqueraded as what a pod begins', { skip }, (t) => {
  let enforcer: string | undefined
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture, { mode: 'auto', netfilter: policiesOf(() => enforcer) })
  const ways = (port: number): readonly number[] => [
    ...verdicts(datapath, ack(port)),
    byPod(datapath, reply(port)).verdict,
  ]
  const [past, left] = [
    [verdict.redirect, verdict.redirect],
    [verdict.pass, verdict.pass],
  ]
  assert.deepEqual(verdicts(datapath, syn(1), syn(2)), past)
  for (const port of [1, 2]) assert.deepEqual(ways(port), past)
  enforcer = 'somebody'
  datapath.follow()
  assert.equal(byPod(datapath, reply(1)).verdict, verdict.redirect, 'netfilter has seen nothing of the client')
  assert.deepEqual(ways(1), [verdict.pass, verdict.redirect])
  leaveLongAgo(fixture.bpffs)
  assert.deepEqual(ways(1), left)
  assert.equal(parse(egress(datapath, reply(1)).packet).source, vip)
  assert.equal(byPod(datapath, reply(2)).verdict, verdict.redirect, 'another one is not heard of')
  assert.deepEqual(ways(2), [verdict.pass, verdict.redirect])
  enforcer = undefined
  datapath.follow()
  assert.deepEqual([ways(1), ways(2)], [left, past], 'who has left does not come back')
  enforcer = 'somebody again'
  datapath.follow()
  leaveLongAgo(fixture.bpffs)
  assert.deepEqual(ways(2), [verdict.pass, verdict.redirect], 'it begins to leave anew')
})

test('auto: where conntrack takes no connection in its middle new flows go through the stack, and those that are past it ' +
  'stay there, unless a rule comes that they have to meet', { skip }, (t) => {
  let enforcer: string | undefined
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture, { mode: 'auto', netfilter: policiesOf(() => enforcer) })
  const takesAll = (value: 0 | 1): void =>
    void execFileSync('sysctl', ['-qw', `net.netfilter.nf_conntrack_tcp_loose=${value}`])
  const past = [verdict.redirect, verdict.redirect]
  assert.deepEqual([...verdicts(datapath, syn(1)), byPod(datapath, reply(1)).verdict], past)
  takesAll(0)
  t.after(() => takesAll(1))
  datapath.follow()
  assert.equal(datapath.status.mode, 'stack')
  assert.match(datapath.status.modeReason ?? '', /^net\.netfilter\.nf_conntrack_tcp_loose is 0/)
  assert.deepEqual(verdicts(datapath, syn(2), ack(2)), [verdict.pass, verdict.pass])
  leaveLongAgo(fixture.bpffs)
  assert.deepEqual(
    [...verdicts(datapath, ack(1), ack(1)), byPod(datapath, reply(1)).verdict],
    [...past, verdict.redirect],
  )
  enforcer = 'somebody'
  datapath.follow()
  assert.equal(datapath.status.modeReason, enforcer)
  assert.deepEqual(verdicts(datapath, ack(1)), [verdict.pass])
  enforcer = undefined
  takesAll(1)
  datapath.follow()
  assert.deepEqual([datapath.status.mode, datapath.status.modeReason], ['redirect', undefined])
  assert.deepEqual(verdicts(datapath, syn(3), ack(2)), [verdict.redirect, verdict.pass])
})

test('auto: of datagrams, which nobody has to acknowledge, both sides go through the stack at once', { skip }, (t) => {
  let enforcer: string | undefined
  const datapath = openIn(kernelFixture(t), { mode: 'auto', netfilter: policiesOf(() => enforcer) })
  const query = udpFrame({ ...toVip, destinationPort: 53, data: new Uint8Array(9) })
  const answer = udpFrame({ ...fromPod, data: new Uint8Array(9) })
  assert.deepEqual(
    [...verdicts(datapath, query), byPod(datapath, answer).verdict],
    [verdict.redirect, verdict.redirect],
  )
  enforcer = 'somebody'
  datapath.follow()
  assert.deepEqual([byPod(datapath, answer).verdict, ...verdicts(datapath, query)], [verdict.pass, verdict.pass])
})

test('auto: where something is in the way from the start the program meets nothing of what pods send', {
  skip,
}, (t) => {
  let enforcer: string | undefined = 'somebody'
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture, { mode: 'auto', attach: 'tcx', netfilter: policiesOf(() => enforcer) })
  assert.deepEqual(new Pins(fixture.bpffs).podLinks(), [])
  enforcer = undefined
  datapath.follow()
  assert.deepEqual(new Pins(fixture.bpffs).podLinks(), [ifnameToIndex('pods0')])
  assert.deepEqual(verdicts(datapath, syn()), [verdict.redirect])
})

test('auto: a program on an uplink that would see nothing of redirected packets is named, and sees them', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t), { mode: 'auto', netfilter: policiesOf(() => undefined) })
  assert.deepEqual(verdicts(datapath, syn()), [verdict.redirect])
  layCable('up1', [])
  const theirs = createTcxLink(datapath.podProgram, ifnameToIndex('up1'), 'ingress')
  datapath.attach(['up0', 'up1'])
  assert.match(datapath.status.modeReason ?? '', /^program herald_pod .* at ingress of up1 would see nothing of these/)
  assert.deepEqual(verdicts(datapath, ack(), syn(1)), [verdict.pass, verdict.pass])
  assert.ok(theirs > 0)
  ip('link', 'delete', 'up1')
  datapath.attach(['up0'])
  assert.deepEqual([datapath.status.modeReason, ...verdicts(datapath, ack())], [undefined, verdict.redirect])
})

test('auto: a strict rp_filter is asked where there are several uplinks (RFC 3704 2.2), and not needed for one', {
  skip,
}, (t) => {
  const datapath = openIn(kernelFixture(t), { mode: 'auto', netfilter: policiesOf(() => undefined) })
  layCable('up1', [])
  const strict = (device: string, value: number): void =>
    void execFileSync('sysctl', ['-qw', `net.ipv4.conf.${device}.rp_filter=${value}`])
  for (const [n, device] of ['up0', 'up1', 'all'].entries()) {
    strict(device, 1)
    datapath.attach(['up0', 'up1'])
    assert.match(
      datapath.status.modeReason ?? '',
      /^rp_filter of up[01] is 1 \(strict\), .* which of 2 uplinks/,
      device,
    )
    assert.deepEqual(verdicts(datapath, syn(10 * n + 1)), [verdict.pass])
    datapath.attach(['up0'])
    assert.deepEqual(
      [datapath.status.modeReason, ...verdicts(datapath, syn(10 * n + 2))],
      [undefined, verdict.redirect],
    )
    strict(device, device === 'up1' ? 2 : 0)
    datapath.attach(['up0', 'up1'])
    assert.deepEqual(
      [datapath.status.modeReason, ...verdicts(datapath, syn(10 * n + 3))],
      [undefined, verdict.redirect],
    )
  }
  ip('link', 'delete', 'up1')
})

test('what a pod sends as another one, or by another interface, is left to the stack (RFC 3704 2.3)', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t))
  layCable('other0', [podAt(200).replace('10.1.0.', '10.1.9.').replace('fd00:10:1:', 'fd00:10:9:')])
  const query = { ...toVip, destinationPort: 53, data: new Uint8Array(9) }
  assert.deepEqual(verdicts(datapath, syn(), udpFrame(query)), [verdict.redirect, verdict.redirect])
  for (const bytes of [reply(), udpFrame({ ...fromPod, data: new Uint8Array(9) })]) {
    const forged = byPod(datapath, bytes, 'other0')
    assert.deepEqual([forged.verdict, forged.packet], [verdict.pass, bytes])
    assert.equal(byPod(datapath, bytes).verdict, verdict.redirect, 'the pod itself')
  }
  ip('link', 'delete', 'other0')
})

test('a SYN that is sent again, as the pod has not answered by the way that was found, goes through the stack: it may ' +
  'answer by another one', { skip }, (t) => {
  const datapath = openIn(kernelFixture(t))
  assert.deepEqual(verdicts(datapath, syn(), syn()), [verdict.redirect, verdict.pass])
  assert.equal(byPod(datapath, reply()).verdict, verdict.pass)
  assert.equal(parse(egress(datapath, reply()).packet).source, vip)
  assert.deepEqual(verdicts(datapath, ack()), [verdict.pass])
  // One that was answered stays what it is, whoever sends its SYN once more.
  assert.deepEqual(verdicts(datapath, syn(1)), [verdict.redirect])
  assert.equal(byPod(datapath, reply(1)).verdict, verdict.redirect)
  assert.deepEqual(verdicts(datapath, syn(1), ack(1)), [verdict.redirect, verdict.redirect])
})

test('a limit of bandwidth at ingress of the interface of a pod is not passed by: it is named', { skip }, (t) => {
  tc('qdisc', 'add', 'dev', 'pods0', 'ingress')
  tc('filter', 'add', 'dev', 'pods0', 'parent', 'ffff:', 'protocol', 'all', ...limiter)
  const datapath = openIn(kernelFixture(t))
  assert.match(datapath.status.modeReason ?? '', /through the stack: a \w+ filter of priority \d+ at ingress of pods0/)
  assert.deepEqual(verdicts(datapath, syn()), [verdict.pass])
  tc('qdisc', 'delete', 'dev', 'pods0', 'ingress')
  datapath.attach(['up0'])
  assert.deepEqual([datapath.status.modeReason, ...verdicts(datapath, syn(1))], [undefined, verdict.redirect])
})

test('interfaces that come and go all the time cost no more than themselves, and leave nothing', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture)
  for (let round = 0; round < 12; round++) {
    ip('link', 'delete', 'pods0')
    if (round % 2 === 0) datapath.follow()
    layCable('pods0', [podAt(1)])
    datapath.follow()
    assert.deepEqual(verdicts(datapath, syn(1000 + round)), [verdict.redirect])
  }
  assert.equal(datapath.status.modeReason, undefined)
  datapath.close()
  const next = openIn(fixture)
  assert.deepEqual(new Pins(fixture.bpffs).podLinks(), [ifnameToIndex('pods0')])
  assert.deepEqual(verdicts(next, syn(1)), [verdict.redirect])
})

test('auto: what cannot be seen counts as enforced', { skip }, (t) => {
  const policies = (): never => {
    throw new Error('EPERM')
  }
  const datapath = openIn(kernelFixture(t), { mode: 'auto', netfilter: policiesOf(policies) })
  assert.equal(datapath.status.mode, 'stack')
  assert.match(datapath.status.modeReason ?? '', /cannot be seen.*EPERM/)
  assert.deepEqual(verdicts(datapath, syn()), [verdict.pass])
})

/** Of either family the programs are the same. */
const once = isIpv6 ? undefined : test
once?.(
  'auto: a kernel that takes no programs past netfilter serves through the stack, and it is said why',
  {
    skip,
  },
  (t) => {
    const objectFile = refusedPast(t)
    const datapath = openIn(kernelFixture(t), { mode: 'auto', objectFile, netfilter: policiesOf(() => undefined) })
    assert.equal(datapath.status.mode, 'stack')
    assert.match(datapath.status.modeReason ?? '', /^this kernel takes no programs past netfilter: .* refused_past: /)
    assert.deepEqual(verdicts(datapath, syn(), ack()), [verdict.pass, verdict.pass])
    assert.equal(parse(egress(datapath, reply()).packet).source, vip)
    assert.throws(() => openIn(kernelFixture(t), { mode: 'redirect', objectFile }), { code: 'ERR_BPF_LOAD' })
  },
)

test('a program of somebody else on the interface of pods is not passed by: it is named', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = openIn(fixture)
  assert.deepEqual(verdicts(datapath, syn()), [verdict.redirect])
  const theirs = createTcxLink(datapath.programs.egress, ifnameToIndex('pods0'), 'ingress')
  datapath.attach(['up0'])
  assert.match(datapath.status.modeReason ?? '', /herald_egress .* at ingress of pods0 would be passed by/)
  assert.deepEqual(verdicts(datapath, ack(), syn(40_001)), [verdict.pass, verdict.pass])
  assert.ok(theirs > 0)
  ip('link', 'delete', 'pods0')
  layCable('pods0', [podAt(1)])
  datapath.attach(['up0'])
  assert.equal(datapath.status.modeReason, undefined)
  assert.deepEqual(verdicts(datapath, syn(40_002)), [verdict.redirect])
})

test('a version that cannot read what another one has left has the interfaces of pods to itself', { skip }, (t) => {
  const fixture = kernelFixture(t)
  for (const attach of ['tcx', 'clsact'] as const) {
    openIn(fixture, { attach }).close()
    for (const strange of [schema + 1, schema]) {
      const next = openIn(fixture, { attach, version: { schema: strange, converters: [] } })
      assert.equal(next.status.modeReason, undefined)
      assert.deepEqual(verdicts(next, syn(1), ack(1)), [verdict.redirect, verdict.redirect])
      assert.equal(byPod(next, reply(1)).verdict, verdict.redirect)
      assert.deepEqual(new Pins(fixture.bpffs, strange).others(), [])
      next.close()
    }
  }
})
