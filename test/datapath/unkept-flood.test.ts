/**
 * 600 000 first packets from as many places beside 10 000 idle connections, handshakes under way and new clients. The
 * driver of the benchmarks writes the headers of each.
 */
import assert from 'node:assert/strict'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { BpfMap, BpfObject, closeFd, openPinned, runProgram, type TestRun } from '../../src/sys/bpf.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { familyOf } from './family.ts'
import { egress, frontendOf, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, secondVip, client, podAt, nodeAt, isIpv6 } = familyOf(import.meta.url)
const { SYN, ACK, PSH } = tcpFlag
const served = { [vip]: [5, 6, 7], [secondVip]: [15, 16] }
const [idle, flood, rounds] = [10_000, 200_000, 4]
const openings = 1 << 15
/** Of each kind a CPU makes state for one, and for the next in a while that no test takes. */
const openingsPerSec = 0.01
/** The octets that the driver makes others of are the last two of the address. */
const [floodSource, idleSource] = isIpv6 ? ['2001:db8:66::', '2001:db8:77::'] : ['198.18.0.0', '198.19.0.0']

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  ip('route', 'add', 'default', 'via', nodeAt(1), 'dev', 'up0')
}
const up0 = skip === undefined ? ifnameToIndex('up0') : 0
const mac = skip === undefined ? (/ether (\S+)/.exec(ip('link', 'show', 'up0'))?.[1] ?? '') : ''

function arriving(bytes: Uint8Array): Uint8Array {
  const frame = bytes.slice()
  frame.set(mac.split(':').map((octet) => parseInt(octet, 16)))
  return frame
}

const ingress = (datapath: KernelDatapath, bytes: Uint8Array): TestRun =>
  runProgram(datapath.programs.ingress, arriving(bytes), 1, 0, up0)

const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

/** Sends so many packets, each from another place, from the `first` one on: see bench/bpf/driver.bpf.c. */
function startDriver(t: TestContext): (datapath: KernelDatapath, frame: Uint8Array, first: number, n: number) => void {
  const object = new BpfObject(join(dirname(buildBpf()), 'driver.bpf.o'))
  object.load()
  t.after(() => object.close())
  return (datapath, bytes, first, count) => {
    const frame = arriving(bytes)
    const job = new Uint8Array(88)
    job.set([...word(0xffff_ffff), ...word(first), ...word(isIpv6 ? 1 : 0), ...frame.subarray(0, isIpv6 ? 74 : 54)])
    object.openMap('target').update(word(0), word(datapath.programs.ingress))
    object.openMap('jobs').update(word(0), job)
    assert.equal(runProgram(object.programFd('driver'), frame, count, 0, up0).verdict, verdict.pass)
  }
}

function mapOf(t: TestContext, bpffs: string, name: string): BpfMap {
  const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
  assert.ok(fd !== undefined)
  t.after(() => closeFd(fd))
  return new BpfMap(name, fd)
}

/** What the client sends, and what the pod that it meets answers, as the other end of each gets it. */
class Dialog {
  #datapath: KernelDatapath
  readonly #ends: { readonly source: string; readonly sourcePort: number; readonly destination: string }
  #pod = { source: '', sourcePort: 0, destinationPort: 0 }

  constructor(datapath: KernelDatapath, source: string, sourcePort: number, destination: string) {
    this.#datapath = datapath
    this.#ends = { source, sourcePort, destination }
  }

  asks(flags: number, seq: number, ack = 0): void {
    const sent = tcpFrame({ ...this.#ends, destinationPort: 80, flags, seq, ack })
    const run = ingress(this.#datapath, sent)
    assert.equal(run.verdict, verdict.pass)
    const { destination, destinationPort, sourcePort } = parse(run.packet)
    const pod = { source: destination, sourcePort: destinationPort, destinationPort: sourcePort }
    if (this.#pod.source !== '') assert.deepEqual(pod, this.#pod, 'the same pod')
    this.#pod = pod
  }

  answers(flags: number, seq: number, ack: number, data = 0): void {
    const { source: destination, sourcePort, destination: address } = this.#ends
    const more = { destination, flags, seq, ack, data: new Uint8Array(data) }
    const run = egress(this.#datapath, tcpFrame({ ...this.#pod, ...more }))
    const heard = parse(run.packet)
    assert.deepEqual([run.verdict, heard.source, heard.destinationPort], [verdict.pass, address, sourcePort])
  }

  /** From here on. */
  by(datapath: KernelDatapath): this {
    this.#datapath = datapath
    return this
  }

  begin(): this {
    this.asks(SYN, 1_000)
    this.answers(SYN | ACK, 70_000, 1_001)
    return this
  }

  goOn(): void {
    this.asks(ACK, 1_001, 70_001)
    this.answers(ACK | PSH, 70_001, 1_001, 10)
    this.asks(ACK | PSH, 1_001, 70_011)
  }
}

test('first packets from 600 000 places, of each kind, end none of 10 000 idle connections and no handshake under way, ' +
  'and keep no new client from any VIP', { skip, timeout: 60_000 }, (t) => {
  const fixture = kernelFixture(t)
  const maxEntries = { ...smallMaps, openings, connections: 1 << 16 }
  const drive = startDriver(t)
  const before = fixture.open({ settleSec: 0, maxEntries })
  for (const [address, numbers] of Object.entries(served)) {
    const pods = numbers.map((n) => ({ address: podAt(n), port: 8080 }))
    for (const protocol of ['TCP', 'UDP'] as const) before.upsert(frontendOf(address, 80, pods, protocol))
  }
  const tcp = { destination: vip, sourcePort: 40_000, destinationPort: 80 }
  drive(before, tcpFrame({ ...tcp, source: idleSource, flags: SYN, seq: 1_000 }), 0, idle)
  const [opened, connected] = [mapOf(t, fixture.bpffs, 'openings'), mapOf(t, fixture.bpffs, 'connections')]
  for (const [key, value] of [...opened.entries()]) {
    connected.update(key, value)
    opened.delete(key)
  }
  const underWay = Array.from({ length: 100 }, (_, n) => new Dialog(before, client, 20_000 + n, vip).begin())
  const kept = [...opened.entries()].map(([key]) => Buffer.from(key).toString('hex'))
  assert.equal(kept.length, 2 * underWay.length)
  const datapath = fixture.open({ settleSec: 0, maxEntries, openingsPerSec })
  const floods = [
    tcpFrame({ ...tcp, source: floodSource, flags: SYN, seq: 1_000 }),
    tcpFrame({ ...tcp, source: floodSource, flags: ACK, seq: 1_001, ack: 70_001 }),
    udpFrame({ ...tcp, source: floodSource, data: new Uint8Array(20) }),
  ]
  for (let round = 0; round < rounds; round++) {
    const first = Math.floor((round * flood) / rounds)
    for (const each of floods) drive(datapath, each, first, flood / rounds)
    for (const address of [vip, secondVip])
      for (let n = 0; n < 25; n++) new Dialog(datapath, client, 21_000 + 100 * round + n, address).begin().goOn()
  }
  assert.ok((datapath.reasons()['flow_limited'] ?? 0) > rounds * 1_000)
  assert.equal(datapath.reasons()['reply_unmatched'] ?? 0, 0)
  const left = new Set([...opened.entries()].map(([key]) => Buffer.from(key).toString('hex')))
  assert.deepEqual(
    kept.filter((key) => !left.has(key)),
    [],
  )
  for (const each of underWay) each.by(datapath).goOn()
  const idleLeft = [...connected.entries()].length
  assert.ok(idleLeft >= 2 * idle, `${idleLeft} halves`)
})
