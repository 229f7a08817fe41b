/** Node ports: Services have some ports of an address of the node, and everything else there is the node's. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { anyNodeAddress, type Backend, type Protocol } from '../../src/desired/model.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { encodeAddressKey } from '../../src/datapath/address-octets.ts'
import { schema } from '../../src/datapath/layout.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'
import { clusterOf, translated } from './cluster.ts'
import { familyOf } from './family.ts'
import { egress, evict, type Fixture, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import { frame, icmpMessage, moreFragments, parse, tcpFlag, tcpFrame, UDP, udpDatagram, udpFrame } from './frames.ts'
import { enterNetwork, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, client, router, ICMP, podAt, nodeAt, vipAt, isIpv6, headerBytes, tooBig, echo } = familyOf(import.meta.url)
const { SYN, ACK, RST } = tcpFlag
const any = isIpv6 ? anyNodeAddress.ipv6 : anyNodeAddress.ipv4
const [here, hereToo, elsewhere] = [nodeAt(1), nodeAt(41), nodeAt(2)]
const pod = { address: podAt(5), port: 8080 }
const nodePort = 30_080
const toNode = { source: client, destination: here, sourcePort: 40_000, destinationPort: nodePort }
const fromPod = { source: pod.address, destination: client, sourcePort: pod.port, destinationPort: 40_000 }

if (skip === undefined) {
  enterNetwork()
  layCable('up0', [here])
}

const atNode = (backends: readonly Backend[], port = nodePort, protocol: Protocol = 'TCP') =>
  frontendOf(any, port, backends, protocol)

function serving(t: TestContext, fixture: Fixture = kernelFixture(t)): KernelDatapath {
  const datapath = fixture.open()
  datapath.setNodes({ own: [here], others: [elsewhere], nodePorts: [here, hereToo] })
  return datapath
}

const syn = (more: Partial<typeof toNode> = {}): Uint8Array => tcpFrame({ ...toNode, ...more, flags: SYN })

/** Both ends are heard, so that the flow is known as established. */
function establish(datapath: KernelDatapath, more: Partial<typeof toNode> = {}): void {
  const back = { ...fromPod, destination: more.source ?? client, destinationPort: more.sourcePort ?? 40_000 }
  assert.equal(
    translated(ingress(datapath, tcpFrame({ ...toNode, ...more, flags: SYN, seq: 99 }))).destination,
    podAt(5),
  )
  egress(datapath, tcpFrame({ ...back, flags: SYN | ACK, seq: 499, ack: 100 }))
  ingress(datapath, tcpFrame({ ...toNode, ...more, flags: ACK, seq: 100, ack: 500 }))
}

function passesToNode(datapath: KernelDatapath, bytes: Uint8Array, what: string): void {
  const run = ingress(datapath, bytes)
  assert.equal(run.verdict, verdict.pass, what)
  assert.deepEqual(run.packet, bytes, what)
}

test('a node port leads to a pod, by each address of the node, and the reply comes from the one that was asked', {
  skip,
}, (t) => {
  const datapath = serving(t)
  const held = datapath.upsert(atNode([pod]))
  assert.deepEqual([held.address, held.port, datapath.read(held.id)], [any, nodePort, held])
  for (const [n, destination] of [here, hereToo].entries()) {
    const ports = { destination, sourcePort: 41_000 + n }
    const there = translated(ingress(datapath, syn(ports)))
    assert.deepEqual([there.destination, there.destinationPort, there.source], [pod.address, pod.port, client])
    assert.ok(there.isIpChecksumRight && there.isL4ChecksumRight)
    const back = tcpFrame({ ...fromPod, destinationPort: ports.sourcePort, flags: SYN | ACK, seq: 1, ack: 1 })
    const reply = translated(egress(datapath, back))
    assert.deepEqual([reply.source, reply.sourcePort, reply.destination], [destination, nodePort, client])
    assert.ok(reply.isIpChecksumRight && reply.isL4ChecksumRight)
  }
  assert.equal(datapath.counters(held.id)?.newConnections, 2)
  passesToNode(datapath, syn({ destination: nodeAt(42) }), 'an address that was not named is no node port')
})

test('everything else of the node is its own: ports, protocols, pings, later fragments, broken headers', {
  skip,
}, (t) => {
  const datapath = serving(t)
  datapath.upsert(atNode([pod]))
  datapath.upsert(atNode([pod], 30_053, 'UDP'))
  for (const destinationPort of [22, 179, 6443, 10_250, nodePort + 1, 30_053])
    for (const flags of [SYN, SYN | ACK, ACK, RST])
      passesToNode(datapath, tcpFrame({ ...toNode, destinationPort, flags }), `port ${destinationPort}`)
  passesToNode(datapath, udpFrame({ ...toNode, data: new Uint8Array(9) }), 'the port is one of TCP')
  const between = { source: client, destination: here }
  const ping = icmpMessage(echo.request, 0, 1, new Uint8Array(32), between)
  passesToNode(datapath, frame({ ...between, protocol: ICMP, payload: ping }), 'a ping')
  passesToNode(datapath, frame({ ...between, protocol: 132, payload: new Uint8Array(32) }), 'SCTP')
  const later = { ...between, protocol: UDP, payload: new Uint8Array(32), fragment: 5, identification: 3 }
  passesToNode(datapath, frame(later), 'a later fragment of nobody knows what')
  const sound = syn()
  for (let length = 14 + headerBytes; length < sound.length; length++) {
    const cut = sound.slice(0, length)
    passesToNode(datapath, cut, `${length} octets`)
  }
  assert.ok(Object.values(datapath.reasons()).every((count) => count === 0))
})

test('UDP and its fragments behind their first go to the pod and back', { skip }, (t) => {
  const datapath = serving(t)
  datapath.upsert(atNode([pod], 30_053, 'UDP'))
  const query = { ...toNode, destinationPort: 30_053 }
  const data = new Uint8Array(64).fill(5)
  assert.equal(translated(ingress(datapath, udpFrame({ ...query, data }))).destination, pod.address)
  const reply = translated(egress(datapath, udpFrame({ ...fromPod, data })))
  assert.deepEqual([reply.source, reply.sourcePort], [here, 30_053])
  const datagram = udpDatagram({ ...query, data })
  const part = { source: client, destination: here, protocol: UDP, identification: 8 }
  const first = frame({ ...part, payload: datagram.slice(0, 40), fragment: moreFragments })
  const second = frame({ ...part, payload: datagram.slice(40), fragment: 5 })
  for (const bytes of [first, second]) assert.equal(translated(ingress(datapath, bytes)).destination, pod.address)
})

test("what comes for a connection that the node began from a node port is the node's, a forged SYN or not", {
  skip,
}, async (t) => {
  const server = net.createServer((socket) => socket.on('error', () => {})).listen(0, here)
  t.after(() => server.close())
  await once(server, 'listening')
  const { port: far } = server.address() as net.AddressInfo
  const own = net.connect({ host: here, port: far, localAddress: here })
  t.after(() => own.destroy())
  await once(own, 'connect')
  const port = own.localPort ?? 0
  const datapath = serving(t)
  datapath.upsert(atNode([pod], port))
  const toOwn = { source: here, destination: here, sourcePort: far, destinationPort: port }
  for (const flags of [SYN | ACK, ACK, SYN, RST])
    passesToNode(datapath, tcpFrame({ ...toOwn, flags }), `flags ${flags}`)
  // Anybody else who asks that port gets the Service.
  assert.equal(translated(ingress(datapath, syn({ destinationPort: port }))).destination, pod.address)
})

test("a port on which the node listens is the node's, and a connection that is established stays where it is", {
  skip,
}, async (t) => {
  const datapath = serving(t)
  const server = net.createServer((socket) => socket.on('error', () => {}))
  t.after(() => server.close())
  await once(server.listen(0, here), 'listening')
  const { port } = server.address() as net.AddressInfo
  datapath.upsert(atNode([pod], port))
  passesToNode(datapath, syn({ destinationPort: port }), 'a process listens')
  server.close()
  await once(server, 'close')
  establish(datapath, { destinationPort: port })
  await once(server.listen(port, here), 'listening')
  const next = tcpFrame({ ...toNode, destinationPort: port, flags: ACK, seq: 100, ack: 500 })
  assert.equal(translated(ingress(datapath, next)).destination, pod.address)
  passesToNode(datapath, syn({ destinationPort: port, sourcePort: 40_001 }), "what begins is the process's")
})

test("without a pod a node port refuses as an address of a load balancer does, from the node's address", {
  skip,
}, (t) => {
  const datapath = serving(t)
  datapath.upsert(atNode([]))
  const run = ingress(datapath, syn())
  assert.equal(run.verdict, verdict.redirect)
  const answer = parse(run.packet)
  assert.deepEqual([answer.source, answer.sourcePort, answer.destination], [here, nodePort, client])
  assert.equal(answer.view.getUint8(answer.l4 + 13) & RST, RST)
  assert.equal(datapath.reasons()['no_backend'], 1)
})

test("an ICMP error about a reply reaches the pod, one about the node's own packets the node", { skip }, (t) => {
  const datapath = serving(t)
  datapath.upsert(atNode([pod]))
  establish(datapath)
  const error = (sourcePort: number): Uint8Array => {
    const quoted = tcpFrame({ source: here, destination: client, sourcePort, destinationPort: 40_000, flags: ACK })
    const between = { source: router, destination: here }
    const payload = icmpMessage(tooBig.type, tooBig.code, 1_300, quoted.slice(14), between)
    return frame({ ...between, protocol: ICMP, payload })
  }
  const told = translated(ingress(datapath, error(nodePort)))
  assert.equal(told.destination, pod.address)
  assert.ok(told.isL4ChecksumRight)
  passesToNode(datapath, error(22), 'of ssh')
})

test("a pod of the node's own network, which has an address of the node, is behind a node port as any other", {
  skip,
}, (t) => {
  const datapath = serving(t)
  const own = { address: here, port: 8443 }
  datapath.upsert(atNode([own]))
  const there = translated(ingress(datapath, syn()))
  assert.deepEqual([there.destination, there.destinationPort], [here, 8443])
  const back = { source: here, destination: client, sourcePort: 8443, destinationPort: 40_000 }
  const reply = translated(egress(datapath, tcpFrame({ ...back, flags: SYN | ACK })))
  assert.deepEqual([reply.source, reply.sourcePort], [here, nodePort])
  passesToNode(datapath, syn({ destinationPort: 22 }), 'ssh of the node')
})

test('either half may be evicted: the other one brings it back', { skip }, (t) => {
  for (const direction of [0, 1] as const) {
    const fixture = kernelFixture(t)
    const datapath = serving(t, fixture)
    datapath.upsert(atNode([pod]))
    establish(datapath)
    evict(fixture.bpffs, direction)
    const reply = translated(egress(datapath, tcpFrame({ ...fromPod, flags: ACK, seq: 500, ack: 100 })))
    assert.deepEqual([reply.source, reply.sourcePort], [here, nodePort], `direction ${direction}`)
    const next = tcpFrame({ ...toNode, flags: ACK, seq: 100, ack: 500 })
    assert.equal(translated(ingress(datapath, next)).destination, pod.address, `direction ${direction}`)
  }
})

test("what a pod sends unasked by UDP is its own where it has node ports alone, and its VIP's where it has one", {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0 })
  datapath.setNodes({ own: [here], others: [], nodePorts: [here] })
  const udp = (address: string): Backend => ({ address, port: 53 })
  datapath.upsert(atNode([udp(podAt(6)), udp(podAt(7))], 30_053, 'UDP'))
  datapath.upsert(frontendOf(vip, 53, [udp(podAt(7))], 'UDP'))
  const unasked = (source: string): Uint8Array =>
    udpFrame({ ...fromPod, source, sourcePort: 53, data: Uint8Array.of(1) })
  assert.equal(translated(egress(datapath, unasked(podAt(6)))).source, podAt(6))
  assert.equal(translated(egress(datapath, unasked(podAt(7)))).source, vip)
})

test('an agent that takes over finds node ports served, and one that serves none takes them away', { skip }, (t) => {
  const fixture = kernelFixture(t)
  const first = serving(t, fixture)
  const held = first.upsert(atNode([pod]))
  establish(first)
  first.close()
  const second = fixture.open()
  assert.deepEqual(second.read(held.id), held)
  assert.equal(translated(ingress(second, syn({ sourcePort: 40_002 }))).destination, pod.address)
  assert.equal(translated(ingress(second, syn({ sourcePort: 40_003, destination: hereToo }))).destination, pod.address)
  second.setNodes({ own: [here], others: [elsewhere] })
  passesToNode(second, syn({ sourcePort: 40_004 }), 'no address has node ports any more')
  second.remove(held.id)
  assert.deepEqual(second.readAll(), [])
})

test('a mark that somebody took from an address of the node is found, and set again with the frontend', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const datapath = serving(t, fixture)
  const held = datapath.upsert(atNode([pod]))
  const name = 'addresses'
  const fd = openPinned(`${fixture.bpffs}/herald/v${schema}/maps/${name}`) ?? assert.fail('it is pinned')
  const map = new BpfMap(name, fd)
  map.delete(encodeAddressKey(here) ?? assert.fail('it is an address'))
  closeFd(fd)
  passesToNode(datapath, syn(), 'nothing is known of the address')
  assert.equal(datapath.read(held.id)?.isEdited, true)
  assert.deepEqual(datapath.upsert(atNode([pod])), held)
  assert.equal(translated(ingress(datapath, syn())).destination, pod.address)
})

test('an address of the node is no VIP, and a VIP none of the node: each is refused where the other is', {
  skip,
}, (t) => {
  const datapath = serving(t)
  assert.throws(() => datapath.upsert(frontendOf(hereToo, 80, [pod])), { code: 'ERR_ADDRESS', message: /of this node/ })
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const nodes = { own: [here], others: [], nodePorts: [here, vip] }
  assert.throws(() => datapath.setNodes(nodes), { code: 'ERR_ADDRESS', message: /is a served address/ })
  // What was served before goes on.
  datapath.upsert(atNode([pod]))
  assert.equal(translated(ingress(datapath, syn())).destination, pod.address)
  assert.equal(translated(ingress(datapath, syn({ destination: vip, destinationPort: 80 }))).destination, pod.address)
})

test('a backend on another node gets the packet by the tunnel, and its node answers from the address that was asked', {
  skip,
}, (t) => {
  const cluster = clusterOf(t, [here, elsewhere])
  cluster.node(0).datapath.setNodes({ own: [here], others: [elsewhere], nodePorts: [here, hereToo] })
  cluster.node(1).datapath.setNodes({ own: [elsewhere], others: [here], nodePorts: [elsewhere] })
  cluster.serve(any, nodePort, [{ backend: pod, home: 1 }])
  for (const [n, destination] of [here, hereToo].entries()) {
    const ports = { destination, sourcePort: 42_000 + n }
    const journey = cluster.send(0, syn(ports))
    assert.deepEqual(journey.path, [0, 1])
    const there = translated(journey)
    assert.deepEqual([there.destination, there.destinationPort, there.source], [pod.address, pod.port, client])
    const back = tcpFrame({ ...fromPod, destinationPort: ports.sourcePort, flags: SYN | ACK, seq: 1, ack: 1 })
    const reply = translated(cluster.reply(1, back))
    assert.deepEqual([reply.source, reply.sourcePort], [destination, nodePort])
    assert.deepEqual(cluster.send(0, tcpFrame({ ...toNode, ...ports, flags: ACK, seq: 1, ack: 2 })).path, [0, 1])
  }
  // By its own address the other node serves it without a detour.
  assert.deepEqual(cluster.send(1, syn({ destination: elsewhere, sourcePort: 42_100 })).path, [1])
  passesToNode(cluster.node(0).datapath, syn({ destination: vipAt(9) }), 'of nobody')
})
