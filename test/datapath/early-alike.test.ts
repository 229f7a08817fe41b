/**
 * One frame through herald_xdp and through herald_ingress: what the first one decides the second one decides as well,
 * with the same octets and for the same reason. Of frames that nobody has written down: good ones that were broken.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runProgram } from '../../src/sys/bpf.ts'
import { early } from './early.ts'
import { familyOf, type Family } from './family.ts'
import { frontendOf, kernelFixture, whyNoKernel } from './fixture.ts'
import {
  clientMac,
  extension,
  frame,
  icmpMessage,
  moreFragments,
  SCTP,
  TCP,
  tcpFlag,
  tcpFrame,
  UDP,
  udpFrame,
} from './frames.ts'

const skip = whyNoKernel()
early.choose('dropped', 'answered')
const families = [familyOf(''), familyOf('?ipv6')]
const rounds = 3000

/** A sequence that is the same in every run. */
function sequence(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function goodFrames({ vip, secondVip, client, podAt, isIpv6, ICMP, echo }: Family): readonly Uint8Array[] {
  const strangers = isIpv6 ? ['2001:db8:99::1', '::', 'ff02::1', vip] : ['203.0.113.9', '127.0.0.1', '224.0.0.9', vip]
  const ends = (source: string, destination: string, destinationPort: number) => ({
    ...{ source, destination, sourcePort: 40_000, destinationPort },
  })
  const toVip = ends(client, vip, 80)
  return [
    ...[client, ...strangers].flatMap((source) =>
      [vip, secondVip, podAt(5)].flatMap((destination) =>
        [80, 81, 82].flatMap((port) => [
          tcpFrame({ ...ends(source, destination, port), flags: tcpFlag.SYN }),
          tcpFrame({ ...ends(source, destination, port), flags: tcpFlag.ACK }),
          udpFrame({ ...ends(source, destination, port), data: new Uint8Array(9) }),
        ]),
      ),
    ),
    ...[client, ...strangers].flatMap((source) =>
      [0, 1, 7].map((code) =>
        frame({
          ...{ source, destination: vip, protocol: ICMP },
          payload: icmpMessage(echo.request, code, 1, new Uint8Array(30), { source, destination: vip }),
        }),
      ),
    ),
    tcpFrame({ ...toVip, flags: tcpFlag.SYN, vlan: 7 }),
    tcpFrame({ ...toVip, flags: tcpFlag.RST }),
    ...[SCTP, 47, 59, UDP, TCP].map((protocol) =>
      frame({ source: client, destination: vip, protocol, payload: new Uint8Array(12) }),
    ),
    frame({ source: client, destination: vip, protocol: UDP, payload: new Uint8Array(24), fragment: moreFragments }),
    frame({ source: client, destination: vip, protocol: UDP, payload: new Uint8Array(24), fragment: 3 }),
    frame({
      ...{ source: client, destination: vip, protocol: UDP },
      payload: new Uint8Array(24),
      options: new Uint8Array(8),
    }),
    ...(isIpv6
      ? [
          frame({
            ...{ source: client, destination: vip, protocol: ICMP, payload: new Uint8Array(24) },
            extensions: [[extension.hopByHop, new Uint8Array(8)]] as const,
          }),
        ]
      : []),
  ]
}

/** Some octets behind the addresses of Ethernet are others, or some at the end are none. */
function broken(whole: Uint8Array, random: (below: number) => number): Uint8Array {
  const bytes = whole.slice(0, random(4) === 0 ? 14 + random(whole.length - 14) : whole.length)
  for (let changes = random(3); changes > 0; changes--) {
    const at = 12 + random(Math.min(bytes.length, 74) - 12)
    // Often the header's first octets, which say most.
    bytes[random(2) === 0 ? Math.min(14 + random(10), bytes.length - 1) : at] = random(256)
  }
  return bytes
}

for (const [index, family] of families.entries())
  test(`what XDP decides TC decides alike, with the same octets and for the same reason (IPv${index ? 6 : 4})`, {
    skip,
  }, (t) => {
    const { vip, secondVip, podAt } = family
    const datapath = kernelFixture(t).open()
    const pod = { address: podAt(5), port: 8080 }
    const others = [{ prefix: family.isIpv6 ? '2001:db8:98::/48' : '203.0.114.0/24', isAllowed: true }]
    datapath.upsert(frontendOf(vip, 80, [pod, { address: podAt(6), port: 8080 }]))
    datapath.upsert({ ...frontendOf(vip, 81, [pod]), sources: others })
    datapath.upsert({ ...frontendOf(vip, 81, [pod], 'UDP'), sources: others })
    datapath.upsert({ ...frontendOf(secondVip, 80, [pod]), sources: others })
    const good = goodFrames(family)
    const random = sequence(20_261_130 + index)
    const decided = new Map<string, number>()
    for (let round = 0; round < rounds; round++) {
      const whole = good[round < good.length ? round : random(good.length)] ?? new Uint8Array(14)
      const sent = round < good.length ? whole : broken(whole, random)
      const before = datapath.reasons()
      const run = early.run(datapath, sent)
      if (run === undefined) continue
      const between = datapath.reasons()
      const tc = runProgram(datapath.programs.ingress, sent)
      const after = datapath.reasons()
      const changed = (from: typeof before, to: typeof before): readonly string[] =>
        Object.keys(to).filter((reason) => to[reason] !== from[reason])
      const [reason, ...more] = changed(before, between)
      assert.deepEqual([more, changed(between, after)], [[], [reason]], Buffer.from(sent).toString('hex'))
      assert.equal(run.verdict, tc.verdict, Buffer.from(sent).toString('hex'))
      if (reason === 'echo_answered') assert.deepEqual(run.packet, tc.packet)
      decided.set(reason ?? '', (decided.get(reason ?? '') ?? 0) + 1)
    }
    t.diagnostic(JSON.stringify(Object.fromEntries(decided)))
    for (const reason of ['echo_answered', 'bad_header', 'not_answerable', 'source_not_allowed'])
      assert.ok((decided.get(reason) ?? 0) > 5, `${reason}: ${JSON.stringify([...decided])}`)
  })

test('a frame for another station, or of no interface of ours, is nothing to XDP', { skip }, (t) => {
  const { vip, client, podAt } = familyOf('')
  const datapath = kernelFixture(t).open()
  datapath.upsert({ ...frontendOf(vip, 80, [{ address: podAt(5), port: 8080 }]), sources: [] })
  const syn = tcpFrame({
    ...{ source: client, destination: vip, sourcePort: 1, destinationPort: 80 },
    flags: tcpFlag.SYN,
  })
  assert.notEqual(early.run(datapath, syn), undefined)
  const other = syn.slice()
  other.set(clientMac)
  assert.equal(early.run(datapath, other), undefined)
  datapath.attach([])
  assert.equal(early.run(datapath, syn), undefined)
})
