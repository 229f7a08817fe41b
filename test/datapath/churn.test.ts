/** A thousand Services come and go on the kernel's maps while packets of others pass: not one of these is lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { frontendId } from '../../src/desired/model.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const steady = Array.from({ length: 100 }, (_, n) => ({ vip: `192.0.2.${n + 1}`, pod: `10.1.0.${n + 1}` }))
const coming = Array.from({ length: 1000 }, (_, n) => `203.0.${112 + (n >> 8)}.${n & 255}`)

test('1 000 Services come, change and go: of 100 others no packet is lost and no connection moves', { skip }, (t) => {
  const maxEntries = { ...smallMaps, addresses: 4096, frontends: 2048, backends: 2048, tables: 1 << 18, counters: 2048 }
  const datapath = kernelFixture(t).open({ drainSec: 0, maxEntries })
  for (const { vip, pod } of steady) datapath.upsert(frontendOf(vip, 80, [{ address: pod, port: 8080 }]))
  let sent = 0
  const lost: string[] = []
  const send = (index: number, flags: number): void => {
    const { vip, pod } = steady[index % steady.length] ?? assert.fail()
    const ends = { source: '198.51.100.7', destination: vip, sourcePort: 40_000 + (index % 100), destinationPort: 80 }
    const { verdict: said, packet } = ingress(datapath, tcpFrame({ ...ends, flags, ack: 7 }))
    sent++
    if (said !== verdict.pass || parse(packet).destination !== pod) lost.push(`${sent}: ${vip} ${said}`)
  }
  for (let n = 0; n < steady.length; n++) send(n, tcpFlag.SYN)
  const change = (address: string, pods: readonly string[]): void => {
    const backends = pods.map((pod) => ({ address: pod, port: 8080 }))
    datapath.upsert(frontendOf(address, 80, backends))
  }
  for (const [step, act] of [
    (address: string): void => change(address, ['10.1.1.1', '10.1.0.1']),
    (address: string): void => change(address, ['10.1.1.2']),
    (address: string): void => datapath.remove(frontendId(address, 'TCP', 80)),
  ].entries())
    for (const [n, address] of coming.entries()) {
      act(address)
      send(n * 7 + step, tcpFlag.ACK)
      send(n * 3 + step, tcpFlag.ACK)
    }
  assert.deepEqual(lost, [])
  assert.equal(sent, 100 + 6000)
})
