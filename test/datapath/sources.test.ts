/** Source ranges: who may open flows to a Service; everybody else gets silence, from all of the VIP. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { encodeRangeKey, schema } from '../../src/datapath/layout.ts'
import { listPinnedMaps, rawEntries } from '../../src/datapath/pinned-maps.ts'
import type { Frontend, SourceRange } from '../../src/desired/model.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { waitFor } from '../wait.ts'
import { familyOf } from './family.ts'
import { egress, frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import {
  frame,
  icmpMessage,
  moreFragments,
  parse,
  TCP,
  tcpFlag,
  tcpFrame,
  UDP,
  udpDatagram,
  udpFrame,
} from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, router, podAt, vipAt, ICMP, echo, tooBig } = family
const pod = { address: podAt(5), port: 8080 }
const { SYN, ACK } = tcpFlag
const [inside, stranger] = [client, router]
const host = (address: string): string => `${address}/${family.isIpv6 ? 128 : 32}`
const everywhere = family.isIpv6 ? '::/0' : '0.0.0.0/0'
const network = family.isIpv6 ? '2001:db8:51:100::/64' : '198.51.100.0/24'
const allow = (...prefixes: readonly string[]): readonly SourceRange[] =>
  prefixes.map((prefix) => ({ prefix, isAllowed: true }))
const deny = (...prefixes: readonly string[]): readonly SourceRange[] => [
  ...allow(everywhere),
  ...prefixes.map((prefix) => ({ prefix, isAllowed: false })),
]
const limited = (sources: readonly SourceRange[] | undefined, address = vip, port = 80): Frontend => ({
  ...frontendOf(address, port, [pod]),
  ...(sources === undefined ? {} : { sources }),
})
const ends = (source: string, destinationPort = 80, destination = vip) => ({
  source,
  destination,
  sourcePort: 40_000,
  destinationPort,
})

function fate(datapath: KernelDatapath, packet: Uint8Array): string {
  const run = ingress(datapath, packet)
  if (run.verdict === verdict.redirect) return 'answered'
  return run.verdict === verdict.pass ? parse(run.packet).destination : 'silence'
}

const syn = (source: string, more: object = {}): Uint8Array => tcpFrame({ ...ends(source), flags: SYN, ...more })
const ping = (source: string, destination = vip): Uint8Array =>
  frame({
    source,
    destination,
    protocol: ICMP,
    payload: icmpMessage(echo.request, 0, 1, new Uint8Array(8), { source, destination }),
  })

test('a client inside of the ranges is served and answered as ever; one outside meets silence, whatever it sends', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(limited(allow(network)))
  datapath.upsert({ ...frontendOf(vip, 53, [pod], 'UDP'), sources: allow(network) })
  datapath.upsert({ ...frontendOf(vip, 81, []), sources: allow(network) })
  const packets: readonly (readonly [string, (source: string) => Uint8Array, string])[] = [
    ['a SYN', (source) => syn(source), pod.address],
    ['a datagram', (source) => udpFrame(ends(source, 53)), pod.address],
    [
      'a segment of a connection that nobody knows',
      (source) => tcpFrame({ ...ends(source, 80), sourcePort: 2, flags: ACK, ack: 1 }),
      pod.address,
    ],
    ['a ping', (source) => ping(source), 'answered'],
    ['a port that no Service has', (source) => tcpFrame({ ...ends(source, 82), flags: SYN }), 'answered'],
    ['a port of UDP that no Service has', (source) => udpFrame(ends(source, 82)), 'answered'],
    ['a port without a backend', (source) => tcpFrame({ ...ends(source, 81), flags: SYN }), 'answered'],
    [
      'a protocol that nobody serves',
      (source) => frame({ source, destination: vip, protocol: 47, payload: new Uint8Array(16) }),
      'answered',
    ],
  ]
  for (const [what, packet, answer] of packets) {
    assert.equal(fate(datapath, packet(inside)), answer, `${what}, from inside`)
    assert.equal(fate(datapath, packet(stranger)), 'silence', `${what}, from outside`)
  }
  assert.equal(datapath.reasons()['source_not_allowed'], packets.length)
  const family4 = datapath.drops().find(({ reason, packets: some }) => reason === 'source_not_allowed' && some > 0)
  assert.deepEqual([family4?.family, family4?.fate], [family.isIpv6 ? 'ipv6' : 'ipv4', 'dropped'])
})

test('fragments of a datagram from outside are dropped, the first one and those that follow it', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert({ ...frontendOf(vip, 53, [pod], 'UDP'), sources: allow(network) })
  const parts = (source: string): readonly Uint8Array[] => {
    const whole = udpDatagram({ ...ends(source, 53), data: new Uint8Array(64) })
    const of = { source, destination: vip, protocol: UDP, identification: 77 }
    return [
      frame({ ...of, fragment: moreFragments, payload: whole.subarray(0, 40) }),
      frame({ ...of, fragment: 5, payload: whole.subarray(40) }),
    ]
  }
  assert.deepEqual(
    parts(inside).map((part) => fate(datapath, part)),
    [pod.address, pod.address],
  )
  assert.deepEqual(
    parts(stranger).map((part) => fate(datapath, part)),
    ['silence', 'silence'],
  )
  assert.equal(datapath.reasons()['source_not_allowed'], 2)
  assert.equal(datapath.usage().find(({ name }) => name === 'openings')?.entries, 2, 'one flow, both halves')
})

test('an error of a router on the way is delivered although the router is outside', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(limited(allow(network)))
  assert.equal(fate(datapath, syn(inside)), pod.address)
  const reply = { source: vip, destination: inside, sourcePort: 80, destinationPort: 40_000 }
  const quoted = tcpFrame({ ...reply, flags: ACK, data: new Uint8Array(8) }).subarray(14)
  const message = { source: stranger, destination: vip }
  const error = frame({
    ...message,
    protocol: ICMP,
    payload: icmpMessage(tooBig.type, tooBig.code, 1400, quoted, message),
  })
  assert.equal(fate(datapath, error), pod.address)
})

test('ranges that change are for new flows: what is established goes on, and what comes after it is judged anew', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(limited(allow(network)))
  assert.equal(fate(datapath, syn(inside)), pod.address)
  const answer = { source: pod.address, destination: inside, sourcePort: 8080, destinationPort: 40_000 }
  egress(datapath, tcpFrame({ ...answer, flags: SYN | ACK, seq: 9, ack: 1001 }))
  datapath.upsert(limited(allow(host(stranger))))
  assert.equal(fate(datapath, tcpFrame({ ...ends(inside), flags: ACK, seq: 1001, ack: 10 })), pod.address)
  assert.equal(parse(egress(datapath, tcpFrame({ ...answer, flags: ACK, seq: 10, ack: 1001 })).packet).source, vip)
  assert.equal(fate(datapath, syn(inside, { sourcePort: 40_001 })), 'silence')
  assert.equal(fate(datapath, syn(stranger)), pod.address)
  datapath.upsert(limited(undefined))
  assert.equal(fate(datapath, syn(inside, { sourcePort: 40_001 })), pod.address)
})

test('the longest range decides; an empty list lets in nobody, and everywhere is everybody', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  const lists: readonly (readonly [string, readonly SourceRange[], isIn: boolean, isStrangerIn: boolean])[] = [
    ['nobody', [], false, false],
    ['everybody', allow(everywhere), true, true],
    ['one host', allow(host(inside)), true, false],
    ['others', allow(host(stranger)), false, true],
    ['all but a network', deny(network), false, true],
    ['all but nobody of note', deny(host(podAt(1))), true, true],
    ['a host of a network that is kept out', [...deny(network), ...allow(host(inside))], true, true],
    ['a network but for one host', [...allow(network), { prefix: host(inside), isAllowed: false }], false, false],
  ]
  let sourcePort = 1024
  for (const [what, sources, isIn, isStrangerIn] of lists) {
    const held = datapath.upsert(limited(sources))
    assert.deepEqual(
      new Set(held.sources?.map(({ prefix }) => prefix)),
      new Set(sources.map(({ prefix }) => prefix)),
      what,
    )
    sourcePort++
    assert.equal(fate(datapath, syn(inside, { sourcePort })) === pod.address, isIn, `${what}: inside`)
    assert.equal(fate(datapath, syn(stranger, { sourcePort })) === pod.address, isStrangerIn, `${what}: stranger`)
    assert.equal(fate(datapath, ping(stranger)) === 'answered', isStrangerIn, `${what}: a ping`)
  }
})

test('Services that share a VIP have their own ranges; the VIP answers whomever one of them lets in', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(limited(allow(host(inside)), vip, 80))
  assert.equal(fate(datapath, ping(stranger)), 'silence')
  datapath.upsert(limited(deny(host(inside)), vip, 81))
  for (const source of [inside, stranger]) assert.equal(fate(datapath, ping(source)), 'answered')
  const at = (source: string, port: number): string => fate(datapath, tcpFrame({ ...ends(source, port), flags: SYN }))
  assert.deepEqual(
    [at(inside, 80), at(stranger, 80), at(inside, 81), at(stranger, 81)],
    [pod.address, 'silence', 'silence', pod.address],
  )
  datapath.remove(limited(undefined, vip, 81).id)
  assert.deepEqual([fate(datapath, ping(inside)), fate(datapath, ping(stranger))], ['answered', 'silence'])
  datapath.upsert(limited(undefined, vip, 82))
  assert.equal(fate(datapath, ping(stranger)), 'answered')
  datapath.upsert(limited(allow(host(inside)), secondVip))
  assert.equal(fate(datapath, ping(stranger)), 'answered', 'another VIP changes nothing')
})

test('while ranges change as fast as they can no client of both lists is dropped, and none of neither let in', {
  skip,
}, async (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ drainSec: 0 })
  datapath.upsert(limited(allow(network)))
  const script = fileURLToPath(new URL('flips.ts', import.meta.url))
  const flips = spawn(process.execPath, [script, fixture.bpffs, buildBpf(), vip, network], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => flips.once('exit', resolve))
  t.after(async () => {
    flips.kill('SIGKILL')
    await ended
  })
  let flipped = 0
  createInterface({ input: flips.stdout }).on('line', (count) => (flipped = Number(count)))
  let [sourcePort, dropped, letIn] = [1024, 0, 0]
  await waitFor(
    'many changes under load',
    () => {
      for (let n = 0; n < 500; n++) {
        sourcePort = sourcePort < 60_000 ? sourcePort + 1 : 1024
        if (fate(datapath, syn(inside, { sourcePort })) === 'silence') dropped++
        if (fate(datapath, syn(stranger, { sourcePort })) !== 'silence') letIn++
      }
      return flipped > 300
    },
    { everyMs: 0 },
  )
  assert.deepEqual([dropped, letIn], [0, 0])
})

function withRanges(bpffs: string, change: (map: BpfMap) => void, name = 'ranges'): void {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
  if (fd === undefined) throw new Error(`${name} is not pinned`)
  change(new BpfMap(name, fd))
  closeFd(fd)
}
const yes = Uint8Array.of(1, 0, 0, 0)
const rangeKey = (set: number, prefix: string): Uint8Array => encodeRangeKey({ set, prefix }) ?? new Uint8Array()

test('a restart keeps the ranges in force, and what a crash left half-written goes', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  const wanted = limited(allow(network, host(stranger)))
  former.upsert(wanted)
  former.upsert(limited([], secondVip))
  former.close()
  // Of a set that no frontend names yet.
  withRanges(fixture.bpffs, (map) => map.update(rangeKey(77, everywhere), yes))
  const successor = fixture.open()
  assert.equal(fate(successor, syn(inside)), pod.address)
  const prefixes = successor.read(wanted.id)?.sources?.map(({ prefix }) => prefix)
  assert.deepEqual(new Set(prefixes), new Set([network, host(stranger)]))
  assert.deepEqual(successor.read(limited([], secondVip).id)?.sources, [])
  assert.equal(successor.usage().find(({ name }) => name === 'ranges')?.entries, 2)
  withRanges(fixture.bpffs, (map) => assert.equal([...map.entries()].length, 2))
  // As `herald lb maps` shows it.
  const shown = listPinnedMaps(fixture.bpffs).find(({ name }) => name === 'ranges')
  assert.deepEqual([shown?.type, shown?.entries, shown?.keyBytes], ['lpm_trie', 2, 24])
  assert.deepEqual(
    [...rawEntries(fixture.bpffs, 'ranges')].flat().map(({ value }) => value),
    ['01000000', '01000000'],
  )
  successor.upsert(limited(allow(host(inside))))
  assert.equal(fate(successor, syn(stranger)), 'silence')
})

test('what somebody else changes in the maps is seen when it is read, and mended when it is written again', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  const wanted = limited(allow(network))
  datapath.upsert(wanted)
  const zero = new Uint8Array(4)
  const edits: readonly (readonly [string, () => void])[] = [
    ['a range is gone', () => withRanges(fixture.bpffs, (map) => void map.delete(rangeKey(1, network)))],
    ['a range says the contrary', () => withRanges(fixture.bpffs, (map) => map.update(rangeKey(1, network), zero))],
    [
      'a range is there in addition',
      () => withRanges(fixture.bpffs, (map) => map.update(rangeKey(1, host(stranger)), yes)),
    ],
    [
      'the frontend names no ranges',
      () =>
        withRanges(
          fixture.bpffs,
          (map) => {
            for (const [key, value] of map.entries()) map.update(key, value.fill(0, 48, 52))
          },
          'frontends',
        ),
    ],
    [
      'the VIP answers everybody',
      () =>
        withRanges(
          fixture.bpffs,
          (map) => {
            for (const [key, value] of map.entries()) map.update(key, value.fill(0, 8, 12))
          },
          'addresses',
        ),
    ],
  ]
  for (const [what, edit] of edits) {
    edit()
    const found = datapath.read(wanted.id)
    assert.notDeepEqual(found?.sources, wanted.sources, what)
    datapath.upsert(wanted)
    assert.deepEqual(datapath.read(wanted.id)?.sources, wanted.sources, what)
    assert.deepEqual([fate(datapath, syn(inside)), fate(datapath, syn(stranger))], [pod.address, 'silence'], what)
    assert.equal(fate(datapath, ping(stranger)), 'silence', what)
  }
})

test('ranges that find no room are refused, and those before stay; with room to grow the map grows under them', {
  skip,
}, (t) => {
  const many = Array.from({ length: 20 }, (_, n) => host(podAt(n + 1)))
  const options = { maxEntries: { ...smallMaps, ranges: 16 } }
  const datapath = kernelFixture(t).open(options)
  datapath.upsert(limited(allow(network)))
  for (const address of [vip, secondVip])
    assert.throws(() => datapath.upsert(limited(allow(...many), address)), { code: 'ERR_MAP_FULL' })
  assert.equal(datapath.read(limited(undefined, secondVip).id), undefined)
  assert.deepEqual(datapath.read(limited(undefined).id)?.sources, allow(network))
  assert.deepEqual([fate(datapath, syn(inside)), fate(datapath, syn(stranger))], [pod.address, 'silence'])
  const growing = kernelFixture(t).open({ ...options, mostEntries: { ranges: 256 } })
  growing.upsert(limited(allow(network)))
  assert.equal(fate(growing, syn(inside)), pod.address)
  for (let n = 0; n < 8; n++) growing.upsert(limited(allow(...many.slice(0, n + 2)), vipAt(100 + n)))
  growing.upsert(limited(allow(...many), secondVip))
  assert.equal(growing.usage().find(({ name }) => name === 'ranges')?.maxEntries, 128)
  assert.equal(growing.read(limited(undefined, secondVip).id)?.sources?.length, 20)
  assert.equal(fate(growing, tcpFrame({ ...ends(inside), flags: ACK, ack: 7 })), pod.address, 'the flow went along')
  assert.equal(fate(growing, syn(stranger)), 'silence')
})

test('a TCP segment in fragments from outside opens nothing either', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(limited(allow(network)))
  const of = { source: stranger, destination: vip, protocol: TCP, identification: 5 }
  const whole = parse(syn(stranger, { data: new Uint8Array(20) })).payload
  assert.equal(fate(datapath, frame({ ...of, fragment: moreFragments, payload: whole.subarray(0, 24) })), 'silence')
  assert.equal(fate(datapath, frame({ ...of, fragment: 3, payload: whole.subarray(24) })), 'silence')
  assert.equal(datapath.reasons()['source_not_allowed'], 2)
})
