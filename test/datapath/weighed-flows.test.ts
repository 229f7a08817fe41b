/** Weights on the real kernel: new flows fall to the pods as these say, and no flow that there is moves with them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import type { Backend, Protocol } from '../../src/desired/model.ts'
import { familyOf } from './family.ts'
import { frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame, udpFrame } from './frames.ts'

const skip = whyNoKernel()
const { vip, client, podAt } = familyOf(import.meta.url)
const { SYN, ACK } = tcpFlag
const flows = 2_000

const podsOf = (...weights: readonly number[]): readonly Backend[] =>
  weights.map((weight, n) => ({ address: podAt(n + 1), port: 8080, weight }))

function meets(datapath: KernelDatapath, sourcePort: number, protocol: Protocol, flags: number = SYN): string {
  const ends = { source: client, destination: vip, sourcePort, destinationPort: 80 }
  const frame = protocol === 'UDP' ? udpFrame({ ...ends }) : tcpFrame({ ...ends, flags, ack: 7 })
  const run = ingress(datapath, frame)
  return run.verdict === verdict.pass ? parse(run.packet).destination : `verdict ${run.verdict}`
}

/** Of so many flows from this port on: the part that each pod gets. */
function partsOf(datapath: KernelDatapath, from: number, pods: number, protocol: Protocol): readonly number[] {
  const found = Array.from({ length: flows }, (_, n) => meets(datapath, from + n, protocol))
  return Array.from({ length: pods }, (_, n) => found.filter((address) => address === podAt(n + 1)).length / flows)
}

/** What chance makes of so many flows, four times over, and one slot of the table. */
function assertNear(parts: readonly number[], weights: readonly number[]): void {
  const sum = weights.reduce((total, weight) => total + weight, 0)
  for (const [n, weight] of weights.entries()) {
    const due = weight / sum
    const chance = 4 * Math.sqrt((due * (1 - due)) / flows) + 1 / 251
    assert.ok(Math.abs((parts[n] ?? 0) - due) <= chance, `pod ${n + 1} of ${String(weights)}: ${String(parts)}`)
  }
}

for (const protocol of ['TCP', 'UDP'] as const)
  test(`new flows of ${protocol} fall to the pods as their weights say, also after a change of one`, { skip }, (t) => {
    const datapath = kernelFixture(t).open()
    let from = 1_024
    for (const weights of [
      [4, 2, 1],
      [4, 8, 1],
      [1, 1, 1],
      [100, 1, 50],
    ]) {
      datapath.upsert(frontendOf(vip, 80, podsOf(...weights), protocol))
      assertNear(partsOf(datapath, from, weights.length, protocol), weights)
      from += flows
    }
  })

test('a flow stays with its pod whatever weights change, also with one that takes nothing new any more', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(frontendOf(vip, 80, podsOf(3, 2, 1)))
  const ports = Array.from({ length: 300 }, (_, n) => 30_000 + n)
  const began = ports.map((port) => meets(former, port, 'TCP'))
  assert.equal(new Set(began).size, 3)
  const goOn = (datapath: KernelDatapath): readonly string[] => ports.map((port) => meets(datapath, port, 'TCP', ACK))
  assert.deepEqual(goOn(former), began)
  former.upsert(frontendOf(vip, 80, podsOf(1, 9, 90)))
  assert.deepEqual(goOn(former), began)
  const [first, ...others] = podsOf(1, 2, 9)
  assert.ok(first !== undefined)
  const drained = { ...frontendOf(vip, 80, others), resting: [{ address: first.address, port: first.port }] }
  former.upsert(drained)
  assert.deepEqual(goOn(former), began)
  assert.ok(!ports.some((port) => meets(former, port + 1_000, 'TCP') === first.address), 'weight 0')
  former.close()
  const successor = fixture.open()
  successor.upsert(drained)
  assert.deepEqual(goOn(successor), began, 'over a restart')
  assertNear(partsOf(successor, 40_000, 3, 'TCP').slice(1), [2, 9])
})

test('with session affinity clients are spread by the weights', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert({ ...frontendOf(vip, 80, podsOf(1, 99)), affinitySec: 60 })
  const clients = Array.from({ length: 200 }, (_, n) => client.replace(/7$/, `${n + 1}`))
  const found = clients.map((source, n) => {
    const ends = { source, destination: vip, sourcePort: 2_000 + n, destinationPort: 80 }
    return parse(ingress(datapath, tcpFrame({ ...ends, flags: SYN })).packet).destination
  })
  assert.ok(found.filter((address) => address === podAt(2)).length > 180, String(found))
})
