/** Somebody writes whatever he likes into the maps that only programs write: it costs those flows, and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { schema } from '../../src/datapath/layout.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { familyOf } from './family.ts'
import { egress, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'

const skip = whyNoKernel()
const { vip, client, podAt } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const pods = [5, 6, 7].map((n) => ({ address: podAt(n), port: 8080 }))
const ofPrograms = [
  'openings',
  'connections',
  'datagrams',
  'forwards',
  'fragments',
  'affinity',
  'snat',
  'snat_openings',
]

/** Other octets in every entry, of a sequence that is the same in every run; answers with how many there were. */
function scribble(bpffs: string, seed: number): number {
  let state = seed
  const next = (): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 24
  let edited = 0
  for (const name of ofPrograms) {
    const fd = openPinned(`${bpffs}/herald/v${schema}/maps/${name}`)
    if (fd === undefined) assert.fail(`${name} is not pinned`)
    const map = new BpfMap(name, fd)
    for (const [key, value] of [...map.entries()]) {
      map.update(
        key,
        value.map(() => next()),
      )
      edited++
    }
    closeFd(fd)
  }
  return edited
}

test('whatever is written over flows: who begins anew on their tuples is served there and back, and so is all else', {
  skip,
}, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const datapath = open()
  for (const protocol of ['TCP', 'UDP'] as const)
    datapath.upsert({ ...frontendOf(vip, 80, pods, protocol), ...(protocol === 'UDP' ? { affinitySec: 60 } : {}) })
  const toVip = (sourcePort: number) => ({ source: client, destination: vip, sourcePort, destinationPort: 80 })
  const isPod = (address: string): boolean => pods.some((pod) => pod.address === address)
  /** A connection, or a datagram and its answer, of which each packet arrives where it should. */
  const exchange = (sourcePort: number): void => {
    for (const isTcp of [true, false]) {
      const ends = toVip(sourcePort)
      const sent = ingress(datapath, isTcp ? tcpFrame({ ...ends, flags: SYN }) : udpFrame(ends))
      assert.equal(sent.verdict, verdict.pass, `${sourcePort} ${isTcp}`)
      const { destination, sourcePort: seen } = parse(sent.packet)
      assert.ok(isPod(destination), destination)
      const back = { source: destination, destination: client, sourcePort: 8080, destinationPort: seen }
      const reply = egress(
        datapath,
        isTcp ? tcpFrame({ ...back, flags: SYN | ACK, seq: 6, ack: 1001 }) : udpFrame(back),
      )
      const said = parse(reply.packet)
      assert.deepEqual([said.source, said.sourcePort, said.destinationPort], [vip, 80, sourcePort])
      if (isTcp) ingress(datapath, tcpFrame({ ...ends, flags: ACK, seq: 1001, ack: 7 }))
    }
  }
  for (let seed = 1; seed <= 40; seed++) {
    for (const port of [40_000, 40_001, 40_002]) exchange(port)
    assert.ok(scribble(bpffs, seed) >= 6)
    exchange(50_000 + seed)
  }
})
