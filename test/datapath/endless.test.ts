/** Forged datagrams from places that answer: no two of these answer each other without an end. */
import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { test, type TestContext } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { anyNodeAddress, translatedNode } from '../../src/desired/model.ts'
import { handedOn } from './cluster.ts'
import { familyOf } from './family.ts'
import { egress, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { parse, udpFrame, type Endpoints } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client, podAt, nodeAt, isIpv6 } = family
const [own, other] = [nodeAt(250), nodeAt(3)]
const anyNode = isIpv6 ? anyNodeAddress.ipv6 : anyNodeAddress.ipv4
const nodePort = 30_053
const snatPorts = { first: 1024, last: 2023 }
const [a, b] = [podAt(5), podAt(6)]
const pods: readonly string[] = [a, b, own]
const data = Uint8Array.of(1, 2, 3, 4)

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [own])
}

function serving(t: TestContext): KernelDatapath {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  datapath.setNodes({ own: [own], others: [other], nodePorts: [own], snatPorts })
  for (const [address, port, pod, podPort] of [
    [vip, 7, a, 7007],
    [vip, 17, b, 7017],
    [vip, 53, a, 7053],
    [secondVip, 7, b, 7007],
    [secondVip, 17, own, 9900],
    [anyNode, nodePort, b, 7053],
  ] as const)
    datapath.upsert(frontendOf(address, port, [{ address: pod, port: podPort }], 'UDP'))
  datapath.upsert(frontendOf(secondVip, 9, [{ address: nodeAt(77), port: 7009, node: translatedNode }], 'UDP'))
  return datapath
}

const back = ({ source, sourcePort, destination, destinationPort }: Endpoints): Endpoints => ({
  ...{ source: destination, sourcePort: destinationPort, destination: source, destinationPort: sourcePort },
})

/** How often a pod gets something where all of them answer, and a router brings back what is for an address of here. */
function heard(datapath: KernelDatapath, forged: Endpoints): number {
  let next = forged
  for (let round = 0; round < 8; round++) {
    const came = ingress(datapath, udpFrame({ ...next, data }))
    const there = parse(came.packet)
    if (came.verdict !== verdict.pass || !pods.includes(there.destination)) return round
    const left = egress(datapath, udpFrame({ ...back(there), data }))
    assert.notEqual(left.verdict, verdict.shot)
    next = parse(left.packet)
  }
  return Infinity
}

for (const [who, ends, times] of [
  ['another port of the VIP, of another pod', { source: vip, sourcePort: 17 }, 0],
  ['another port of the VIP, of the same pod', { source: vip, sourcePort: 53 }, 0],
  ['another port of the pod, on which it answers', { source: a, sourcePort: 7053 }, 0],
  ['a node port of this node', { source: own, sourcePort: nodePort }, 0],
  ['a node port of another node', { source: other, sourcePort: nodePort }, 0],
  ['the VIP to a pod behind it', { source: vip, sourcePort: 7, destination: a, destinationPort: 7007 }, 1],
  [
    'a VIP to a pod in the network of the node',
    { source: vip, sourcePort: 7, destination: own, destinationPort: 9900 },
    1,
  ],
  ['the VIP to a node port', { source: vip, sourcePort: 7, destination: own, destinationPort: nodePort }, 1],
  [
    'a node port to a node port',
    { source: other, sourcePort: nodePort, destination: own, destinationPort: nodePort },
    0,
  ],
] as const)
  test(`as from ${who}`, { skip }, (t) => {
    const datapath = serving(t)
    const forged = { destination: vip, destinationPort: 7, ...ends }
    assert.equal(heard(datapath, forged), times)
    assert.equal(datapath.reasons()['bad_header'], 1)
  })

test('as from a node port, for a pod that is reached from an address of this node', { skip }, (t) => {
  const datapath = serving(t)
  const toPod = { destination: secondVip, destinationPort: 9 }
  const run = (source: string, sourcePort: number): number =>
    ingress(datapath, udpFrame({ source, sourcePort, ...toPod, data })).verdict
  assert.equal(run(other, nodePort), verdict.shot)
  assert.equal(datapath.reasons()['bad_header'], 1)
  assert.equal(run(client, nodePort), verdict.redirect)
})

test('as from a pod that has answered somebody else there', { skip }, (t) => {
  const datapath = serving(t)
  const forged = { source: secondVip, sourcePort: 7, destination: vip, destinationPort: 17 }
  assert.equal(parse(ingress(datapath, udpFrame({ ...forged, data })).packet).destination, b)
  const asPod = { source: b, sourcePort: 7017, destination: secondVip, destinationPort: 7 }
  assert.equal(ingress(datapath, udpFrame({ ...asPod, data })).verdict, verdict.shot)
})

test('as from another port of the VIP, handed on by a node', { skip }, (t) => {
  const datapath = serving(t)
  const forged = udpFrame({ source: vip, sourcePort: 17, destination: vip, destinationPort: 7, data })
  const backend = { address: a, port: 7007 }
  assert.equal(ingress(datapath, handedOn(forged, { from: other, to: own, backend })).verdict, verdict.shot)
  assert.equal(datapath.reasons()['bad_header'], 1)
})

test('who begins by himself from such a port is served: a pod, one that answers no more, and a socket of the node', {
  skip,
}, async (t) => {
  const datapath = serving(t)
  const isServed = (ends: Endpoints): void => {
    const came = ingress(datapath, udpFrame({ ...ends, data }))
    assert.deepEqual([came.verdict, parse(came.packet).destination], [verdict.pass, a])
  }
  const request = { source: a, sourcePort: 7053, destination: vip, destinationPort: 7 }
  assert.equal(egress(datapath, udpFrame({ ...request, data })).verdict, verdict.pass)
  isServed(request)
  datapath.remove(frontendOf(vip, 53, [], 'UDP').id)
  isServed({ ...request, sourcePort: 7054 })
  isServed({ ...request, source: client, sourcePort: nodePort })
  const socket = createSocket(isIpv6 ? 'udp6' : 'udp4')
  await new Promise<void>((resolve) => socket.bind(nodePort, own, resolve))
  isServed({ ...request, source: own, sourcePort: nodePort })
  await new Promise<void>((resolve) => socket.close(resolve))
})
