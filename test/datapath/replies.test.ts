/** The program on interfaces that are no uplinks, by which replies leave all the same. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { replyProgramId } from '../../src/datapath/attachment.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { closeFd, openProgram, runProgram } from '../../src/sys/bpf.ts'
import { familyOf } from './family.ts'
import { evict, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame, type Parsed } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, secondVip, client, podAt, nodeAt } = familyOf(import.meta.url)
const pod = { address: podAt(5), port: 8080 }
const { SYN, ACK } = tcpFlag
const makes = { TCP: tcpFrame, UDP: udpFrame } as const

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  layCable('side0', [])
}

interface Side {
  readonly datapath: KernelDatapath
  readonly bpffs: string
  /** What becomes of a packet that leaves by it. */
  leave(bytes: Uint8Array): Parsed & { readonly verdict: number }
}

function sideOf(t: TestContext): Side {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0, attach: 'tcx' })
  datapath.attach(['up0'], ['side0'])
  const program = openProgram(replyProgramId(new Pins(fixture.bpffs)) ?? 0)
  assert.ok(program !== undefined, 'the program for replies is attached')
  t.after(() => closeFd(program))
  return {
    datapath,
    bpffs: fixture.bpffs,
    leave: (bytes) => {
      const run = runProgram(program, bytes)
      return { ...parse(run.packet), verdict: run.verdict }
    },
  }
}

for (const protocol of ['TCP', 'UDP'] as const)
  test(`${protocol}: a reply leaves with the VIP by an interface that is no uplink, also when its half was evicted and ` +
    'the pod is the first to speak', { skip }, (t) => {
    const { datapath, bpffs, leave } = sideOf(t)
    for (const address of [secondVip, vip]) datapath.upsert(frontendOf(address, 80, [pod], protocol))
    const make = makes[protocol]
    const request = { source: client, sourcePort: 40_000, destination: vip, destinationPort: 80 }
    const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: 40_000 }
    ingress(datapath, make({ ...request, flags: SYN }))
    const said = (flags: number): readonly unknown[] => {
      const left = leave(make({ ...reply, flags, seq: 6, ack: 1001 }))
      return [left.verdict, left.source, left.sourcePort, left.isIpChecksumRight && left.isL4ChecksumRight]
    }
    const right = [verdict.pass, vip, 80, true]
    assert.deepEqual(said(SYN | ACK), right)
    evict(bpffs, 1)
    assert.deepEqual(said(ACK), right, 'an opening')
    ingress(datapath, make({ ...request, flags: ACK, seq: 1001, ack: 7 }))
    evict(bpffs, 1)
    assert.deepEqual(said(ACK), right, 'what both ends know of')
    assert.deepEqual(said(ACK), right)
  })

test('what is of no flow of a VIP leaves there as it is: nobody knows whether it may', { skip }, (t) => {
  const { datapath, leave } = sideOf(t)
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const reply = { source: pod.address, sourcePort: pod.port, destination: client, destinationPort: 40_000 }
  for (const flags of [SYN, ACK, SYN | ACK]) {
    const left = leave(tcpFrame({ ...reply, flags }))
    assert.deepEqual([left.verdict, left.source, left.sourcePort], [verdict.pass, pod.address, pod.port])
  }
  assert.equal(datapath.reasons()['reply_unmatched'], 0)
})
