/** What each backend has carried, counted by the programs: see counters.test.ts for the tables above them. */
import assert from 'node:assert/strict'
import { unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema, sizes } from '../../src/datapath/layout.ts'
import { indexKey } from '../../src/datapath/maps.ts'
import { frontendId, type Protocol } from '../../src/desired/model.ts'
import { BpfMap, BpfObject, closeFd, openPinned, pin } from '../../src/sys/bpf.ts'
import { familyOf } from './family.ts'
import { egress, frontendOf, ingress, kernelFixture, verdict, whyNoKernel, type Fixture } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'

const skip = whyNoKernel()
const { SYN, ACK } = tcpFlag
const families = [familyOf(''), familyOf('?ipv6')]

type Figures = readonly [packetsIn: number, packetsOut: number, newConnections: number]

/** By the address of the backend. */
function figuresOf(
  datapath: KernelDatapath,
  vip: string,
  port = 80,
  protocol: Protocol = 'TCP',
): Record<string, Figures> {
  const backends = datapath.counters(frontendId(vip, protocol, port))?.backends ?? []
  return Object.fromEntries(
    backends.map(({ backend, packetsIn, packetsOut, newConnections }) => [
      backend.address,
      [packetsIn, packetsOut, newConnections],
    ]),
  )
}

function withCounts<Result>({ bpffs }: Fixture, use: (map: BpfMap) => Result): Result {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/backend_counts`)
  assert.ok(fd !== undefined)
  try {
    return use(new BpfMap('backend_counts', fd))
  } finally {
    closeFd(fd)
  }
}

for (const { isIpv6, vip, secondVip, client, podAt } of families) {
  const text = isIpv6 ? 'IPv6' : 'IPv4'
  const pods = [5, 6, 7].map((n) => ({ address: podAt(n), port: 8080 }))
  const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
  const segment = (sourcePort: number, flags: number): Uint8Array =>
    tcpFrame({ ...toVip, sourcePort, flags, ack: flags & ACK ? 7 : 0, data: new Uint8Array(10) })

  test(`${text}: packets, octets and new flows are counted for the backend that gets them, both ways`, {
    skip,
  }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, pods))
    const sent = new Map<string, number>()
    let octets = 0
    for (let sourcePort = 40_000; sourcePort < 40_030; sourcePort++) {
      const bytes = segment(sourcePort, SYN)
      octets += bytes.length
      const { destination } = parse(ingress(datapath, bytes).packet)
      sent.set(destination, (sent.get(destination) ?? 0) + 1)
      const fromPod = { source: destination, destination: client, sourcePort: 8080, destinationPort: sourcePort }
      assert.equal(parse(egress(datapath, tcpFrame({ ...fromPod, flags: SYN | ACK, ack: 1 })).packet).source, vip)
    }
    assert.equal(sent.size, pods.length)
    assert.deepEqual(
      figuresOf(datapath, vip),
      Object.fromEntries([...sent].sort().map(([address, count]) => [address, [count, count, count]])),
    )
    const counters = datapath.counters(frontendId(vip, 'TCP', 80))
    assert.equal(
      counters?.backends.reduce((sum, { bytesIn }) => sum + bytesIn, 0),
      octets,
    )
    assert.equal(counters?.bytesIn, octets)
    assert.equal(
      counters?.backends.reduce((sum, { bytesOut }) => sum + bytesOut, 0),
      counters?.bytesOut,
    )
  })

  test(`${text}: a backend of two Services has what both sent to it, and of two protocols each its own`, {
    skip,
  }, (t) => {
    const datapath = kernelFixture(t).open()
    const one = pods.slice(0, 1)
    for (const address of [vip, secondVip]) datapath.upsert(frontendOf(address, 80, one))
    datapath.upsert(frontendOf(vip, 80, one, 'UDP'))
    ingress(datapath, segment(40_000, SYN))
    ingress(datapath, tcpFrame({ ...toVip, destination: secondVip, sourcePort: 40_001, flags: SYN }))
    for (let n = 0; n < 3; n++) ingress(datapath, udpFrame(toVip))
    const both = { [podAt(5)]: [2, 0, 2] }
    assert.deepEqual([figuresOf(datapath, vip), figuresOf(datapath, secondVip)], [both, both])
    assert.deepEqual(figuresOf(datapath, vip, 80, 'UDP'), { [podAt(5)]: [3, 0, 1] })
    assert.equal(datapath.counters(frontendId(secondVip, 'TCP', 80))?.packetsIn, 1)
  })

  test(`${text}: what a pod that left still sends is not counted for the one that has its place`, { skip }, (t) => {
    const maxEntries = { backends: 1, backend_counts: 1, tables: 1024, connections: 1024, counters: 4 }
    const datapath = kernelFixture(t).open({ drainSec: 0, maxEntries })
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    ingress(datapath, segment(40_000, SYN))
    datapath.remove(frontendId(vip, 'TCP', 80))
    datapath.upsert(frontendOf(vip, 80, pods.slice(1, 2)))
    const left = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: 40_000 }
    egress(datapath, tcpFrame({ ...left, flags: SYN | ACK, ack: 1 }))
    assert.equal(ingress(datapath, segment(40_000, ACK)).verdict, verdict.redirect, 'it is reset')
    assert.deepEqual(figuresOf(datapath, vip), { [podAt(6)]: [0, 0, 0] })
    ingress(datapath, segment(40_001, SYN))
    assert.deepEqual(figuresOf(datapath, vip), { [podAt(6)]: [1, 0, 1] })
  })

  test(`${text}: a flow with the pod itself is counted for no backend`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    datapath.upsert(frontendOf(vip, 80, pods.slice(0, 1)))
    ingress(datapath, segment(40_000, SYN))
    // The same port at the pod: it sees another one.
    const beside = ingress(datapath, tcpFrame({ ...toVip, destination: podAt(5), destinationPort: 8080, flags: SYN }))
    const { sourcePort } = parse(beside.packet)
    assert.notEqual(sourcePort, 40_000)
    const reply = { source: podAt(5), destination: client, sourcePort: 8080, destinationPort: sourcePort }
    assert.equal(parse(egress(datapath, tcpFrame({ ...reply, flags: SYN | ACK, ack: 1 })).packet).source, podAt(5))
    assert.deepEqual(figuresOf(datapath, vip), { [podAt(5)]: [1, 0, 1] })
  })
}

const { vip, client, podAt } = familyOf('')
const pod = { address: podAt(5), port: 8080 }
const toVip = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }

/** As of a version whose programs lack a map: from its own programs the next one would have it back. */
function withoutMaps(take: (program: number) => void): void {
  const object = new BpfObject(join(dirname(buildBpf()), 'empty.bpf.o'))
  object.load()
  take(object.programFd('empty'))
  object.close()
}

test('counters of backends go on over a restart, and begin where an earlier version had none', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const first = fixture.open()
  first.upsert(frontendOf(vip, 80, [pod]))
  ingress(first, tcpFrame({ ...toVip, flags: SYN }))
  first.close()
  const second = fixture.open()
  ingress(second, tcpFrame({ ...toVip, flags: ACK, ack: 7 }))
  assert.deepEqual(figuresOf(second, vip), { [podAt(5)]: [2, 0, 1] })
  second.close()
  const folder = `${fixture.bpffs}/herald/v${schema}`
  unlinkSync(`${folder}/maps/backend_counts`)
  withoutMaps((program) => {
    // Of the map of stages nothing is left without those.
    unlinkSync(`${folder}/maps/stages`)
    for (const name of ['herald_ingress', 'herald_egress']) {
      unlinkSync(`${folder}/programs/${name}`)
      pin(program, `${folder}/programs/${name}`)
    }
  })
  const third = fixture.open()
  assert.equal(third.status.adopted, true)
  ingress(third, tcpFrame({ ...toVip, flags: ACK, ack: 7 }))
  assert.deepEqual(figuresOf(third, vip), { [podAt(5)]: [1, 0, 0] })
  assert.equal(third.counters(frontendId(vip, 'TCP', 80))?.packetsIn, 3)
})

test('counters of all CPUs are summed up, and more backends than have a place make the map larger', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({
    maxEntries: { backends: 64, backend_counts: 4 },
    mostEntries: { backend_counts: 16 },
  })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const value = withCounts(fixture, (map) => {
    const octets = new Uint8Array(map.valueBytes)
    assert.ok(map.lookup(indexKey(0), octets))
    for (let at = 0; at < octets.length; at += sizes.backendCounters)
      new DataView(octets.buffer).setBigUint64(at + 8, 7n, true)
    map.update(indexKey(0), octets)
    return octets
  })
  const cpus = value.length / sizes.backendCounters
  assert.deepEqual(figuresOf(datapath, vip), { [podAt(5)]: [7 * cpus, 0, 0] })
  for (let n = 0; n < 8; n++) datapath.upsert(frontendOf(vip, 1_000 + n, [{ address: podAt(20 + n), port: 8080 }]))
  assert.equal(
    withCounts(fixture, ({ info }) => info.maxEntries),
    16,
  )
  assert.deepEqual(figuresOf(datapath, vip), { [podAt(5)]: [7 * cpus, 0, 0] }, 'what was counted came along')
  ingress(datapath, tcpFrame({ ...toVip, destinationPort: 1_007, flags: SYN }))
  assert.deepEqual(figuresOf(datapath, vip, 1_007), { [podAt(27)]: [1, 0, 1] })
})
