/** Flows of which the VIP stands for the client at the pod, packet by packet. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { anyNodeAddress } from '../../src/desired/model.ts'
import { handedOn } from './cluster.ts'
import { familyOf } from './family.ts'
import { egress, evict, frontendOf, ingress, kernelFixture, verdict, whyNoKernel } from './fixture.ts'
import {
  checksum,
  clientMac,
  cut,
  frame,
  icmpMessage,
  parse,
  SCTP,
  sctpFrame,
  tcpFlag,
  tcpFrame,
  udpDatagram,
  udpFrame,
  type Endpoints,
  type Parsed,
} from './frames.ts'

const skip = whyNoKernel()
const family = familyOf(import.meta.url)
const { vip, secondVip, client: afar, router, podAt, nodeAt, ICMP, unreachable, headerBytes } = family
const pod = { address: podAt(5), port: 8080 }
const own = nodeAt(2)
/** Whose packets would have an address of the node at both ends, or be dropped as the node's own. */
const clients = { 'the pod itself': pod.address, 'what the node masquerades': own } as const
const { SYN, ACK } = tcpFlag
const makes = { TCP: tcpFrame, UDP: udpFrame } as const

function serving(t: TestContext): KernelDatapath & { readonly bpffs: string } {
  const fixture = kernelFixture(t)
  const datapath = fixture.open({ settleSec: 0 })
  datapath.setNodes({ own: [own], others: [nodeAt(3)] })
  for (const protocol of ['TCP', 'UDP'] as const)
    for (const address of [secondVip, vip]) datapath.upsert(frontendOf(address, 80, [pod], protocol))
  return Object.assign(datapath, { bpffs: fixture.bpffs })
}

type Seen = Parsed & { readonly verdict: number }

const seen = ({ packet, verdict: answer }: ReturnType<typeof ingress>): Seen => ({ ...parse(packet), verdict: answer })

const tuple = ({ source, sourcePort, destination, destinationPort }: Endpoints): readonly unknown[] => [
  source,
  sourcePort,
  destination,
  destinationPort,
]

const back = ({ source, sourcePort, destination, destinationPort }: Endpoints): Endpoints => ({
  source: destination,
  sourcePort: destinationPort,
  destination: source,
  destinationPort: sourcePort,
})

function assertSound(packet: Seen): void {
  assert.ok(packet.isIpChecksumRight && packet.isL4ChecksumRight)
}

const toVip = (source: string, more: Partial<Endpoints> = {}): Endpoints => ({
  ...{ source, sourcePort: 40_000, destination: vip, destinationPort: 80 },
  ...more,
})

for (const [who, client] of Object.entries(clients))
  for (const protocol of ['TCP', 'UDP'] as const) {
    const make = makes[protocol]

    test(`${protocol}, ${who}: the pod sees the VIP, the client hears the VIP and gets it by the way that it sent; ` +
      'either half may be lost', { skip }, (t) => {
      const datapath = serving(t)
      const request = toVip(client)
      const atPod = [vip, 40_000, pod.address, pod.port]
      const asks = (flags: number): Seen => seen(ingress(datapath, make({ ...request, flags, data: Uint8Array.of(1) })))
      const answers = (flags: number): Seen =>
        seen(
          egress(
            datapath,
            make({
              ...{ source: pod.address, sourcePort: pod.port, destination: vip, destinationPort: 40_000 },
              ...{ flags, seq: 70_000, ack: 1001, data: Uint8Array.of(2) },
            }),
          ),
        )
      const isServed = (asking: number, answering: number): void => {
        const [there, here] = [asks(asking), answers(answering)]
        assert.deepEqual([there.verdict, tuple(there)], [verdict.pass, atPod])
        assert.deepEqual([here.verdict, tuple(here)], [verdict.redirect, tuple(back(request))])
        for (const each of [there, here]) assertSound(each)
        assert.deepEqual(
          [here.sourceMac, here.destinationMac],
          [parse(make({ ...request, flags: SYN })).destinationMac, [...clientMac]],
        )
      }
      isServed(SYN, SYN | ACK)
      isServed(ACK, ACK)
      for (const half of [0, 1] as const) {
        evict(datapath.bpffs, half)
        isServed(ACK, ACK)
        // The pod is the first to speak.
        evict(datapath.bpffs, half)
        assert.deepEqual(tuple(answers(ACK)), tuple(back(request)))
        isServed(ACK, ACK)
      }
    })
  }

test('clients of one port are two to the pod, and who is elsewhere is seen', { skip }, (t) => {
  const datapath = serving(t)
  const ports = Object.values(clients).map((client) => {
    const there = seen(ingress(datapath, tcpFrame({ ...toVip(client), flags: SYN })))
    assert.deepEqual([there.source, there.destination], [vip, pod.address])
    const answer = { ...back(there), flags: SYN | ACK, ack: 1001 }
    assert.deepEqual(tuple(seen(egress(datapath, tcpFrame(answer)))), tuple(back(toVip(client))))
    return there.sourcePort
  })
  assert.equal(new Set(ports).size, ports.length)
  const there = seen(ingress(datapath, tcpFrame({ ...toVip(afar), flags: SYN })))
  assert.deepEqual(tuple(there), [afar, 40_000, pod.address, pod.port])
  const here = seen(egress(datapath, tcpFrame({ ...back(there), flags: SYN | ACK })))
  assert.deepEqual([here.verdict, tuple(here)], [verdict.pass, tuple(back(toVip(afar)))])
})

test('who sends as the VIP is in the way of nobody for whom the VIP stands', { skip }, (t) => {
  const datapath = serving(t)
  assert.equal(ingress(datapath, tcpFrame({ ...toVip(vip), flags: SYN })).verdict, verdict.shot)
  for (const client of Object.values(clients)) {
    const request = toVip(client)
    const there = seen(ingress(datapath, tcpFrame({ ...request, flags: SYN })))
    assert.deepEqual([there.source, there.destination], [vip, pod.address])
    const here = seen(egress(datapath, tcpFrame({ ...back(there), flags: SYN | ACK, ack: 1001 })))
    assert.deepEqual([here.verdict, tuple(here)], [verdict.redirect, tuple(back(request))])
  }
})

test('what claims to be of a pod for itself, from the port on which it answers, and has not left it is dropped', {
  skip,
}, (t) => {
  const datapath = serving(t)
  const before = datapath.reasons()['bad_header'] ?? 0
  const forged = udpFrame(toVip(pod.address, { sourcePort: pod.port }))
  assert.equal(ingress(datapath, forged).verdict, verdict.shot)
  assert.equal(datapath.reasons()['bad_header'], before + 1)
  assert.equal(egress(datapath, forged).verdict, verdict.pass)
  assert.equal(ingress(datapath, forged).verdict, verdict.pass)
})

test('what a pod asks its VIP from the port on which it answers is not taken for an answer', { skip }, (t) => {
  const datapath = kernelFixture(t).open({ settleSec: 0 })
  const server = { ...pod, port: 80 }
  datapath.upsert(frontendOf(vip, 80, [server], 'UDP'))
  const request = toVip(pod.address, { sourcePort: 80 })
  for (let round = 0; round < 3; round++) {
    const left = seen(egress(datapath, udpFrame(request)))
    assert.deepEqual([left.verdict, tuple(left)], [verdict.pass, tuple(request)])
    const there = seen(ingress(datapath, udpFrame(request)))
    assert.deepEqual([there.verdict, there.source, there.destination], [verdict.pass, vip, pod.address])
    assert.notEqual(there.sourcePort, 80)
    const here = seen(egress(datapath, udpFrame(back(there))))
    assert.deepEqual([here.verdict, tuple(here)], [verdict.redirect, tuple(back(request))])
    const heard = seen(ingress(datapath, udpFrame(back(request))))
    assert.deepEqual([heard.verdict, tuple(heard)], [verdict.pass, tuple(back(request))])
  }
})

test("what a pod asks another Service of its VIP is not taken for an answer to whoever has that one's port", {
  skip,
}, (t) => {
  const datapath = serving(t)
  for (const protocol of ['TCP', 'UDP'] as const) {
    datapath.upsert(frontendOf(vip, 443, [{ address: podAt(6), port: 8443 }], protocol))
    const [make, flags] = [makes[protocol], SYN]
    const request = toVip(pod.address, { sourcePort: 443 })
    const there = seen(ingress(datapath, make({ ...request, flags })))
    assert.deepEqual([there.verdict, there.source, there.destination], [verdict.pass, vip, pod.address])
    const answer = seen(egress(datapath, make({ ...back(there), flags: SYN | ACK, ack: 1001 })))
    assert.deepEqual([answer.verdict, tuple(answer)], [verdict.redirect, tuple(back(request))])
    const own = toVip(pod.address, { sourcePort: pod.port, destinationPort: 443 })
    const left = seen(egress(datapath, make({ ...own, flags })))
    assert.deepEqual([left.verdict, tuple(left)], [verdict.pass, tuple(own)])
  }
})

for (const [who, client] of Object.entries(clients))
  test(`${who}: ICMP errors about both directions are told to the end that sent it, which knows what they quote`, {
    skip,
  }, (t) => {
    const datapath = serving(t)
    const request = toVip(client)
    const there = seen(ingress(datapath, udpFrame(request)))
    const errorAbout = (quoted: Uint8Array, source: string, destination: string): Uint8Array =>
      frame({
        ...{ source, destination, protocol: ICMP },
        payload: icmpMessage(unreachable.type, unreachable.port, 0, quoted.slice(14, 14 + headerBytes + 8), {
          source,
          destination,
        }),
      })
    const quoteOf = (error: Seen): readonly unknown[] => {
      assertSound(error)
      const quoted = error.payload.slice(8)
      if (!family.isIpv6) assert.equal(checksum(quoted.slice(0, 20)), 0, 'checksum of the quoted header')
      return tuple(parse(Uint8Array.from([...udpFrame(request).slice(0, 14), ...quoted])))
    }
    // Of the pod, about what it sees.
    const left = seen(egress(datapath, errorAbout(udpFrame(there), pod.address, vip)))
    assert.deepEqual([left.verdict, left.source, left.destination], [verdict.redirect, vip, client])
    assert.deepEqual(quoteOf(left), tuple(request))
    // About the reply: of the client, of this node and of a router.
    for (const [source, as] of [
      [client, vip],
      [own, vip],
      [router, router],
    ] as const) {
      const error = seen(ingress(datapath, errorAbout(udpFrame(back(request)), source, vip)))
      assert.deepEqual([error.verdict, error.source, error.destination], [verdict.pass, as, pod.address])
      assert.deepEqual(quoteOf(error), tuple(back(there)))
    }
  })

test('fragments of a datagram follow their first one, both ways', { skip }, (t) => {
  const datapath = serving(t)
  const request = toVip(pod.address)
  const data = new Uint8Array(200)
  const addresses = (packets: readonly Uint8Array[], pass: typeof ingress): readonly unknown[] =>
    packets.map((each) => {
      const { source, destination, isIpChecksumRight } = seen(pass(datapath, each))
      assert.ok(isIpChecksumRight)
      return [source, destination]
    })
  const pieces = (ends: Endpoints, identification: number): readonly Uint8Array[] =>
    cut(udpDatagram({ ...ends, data }), 104, { ...ends, identification })
  assert.deepEqual(addresses(pieces(request, 7), ingress), [
    [vip, pod.address],
    [vip, pod.address],
  ])
  const answer = { source: pod.address, sourcePort: pod.port, destination: vip, destinationPort: 40_000 }
  assert.deepEqual(addresses(pieces(answer, 8), egress), [
    [vip, pod.address],
    [vip, pod.address],
  ])
})

test('SCTP: the ports stay, and the pod sees the VIP', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  const there = { address: podAt(5), port: 3868 }
  datapath.upsert(frontendOf(vip, 3868, [there], 'SCTP'))
  const request = toVip(pod.address, { destinationPort: 3868 })
  const chunks = Uint8Array.of(1, 0, 0, 20, ...Array.from({ length: 16 }, () => 7))
  const asked = seen(ingress(datapath, sctpFrame({ ...request, tag: 0, chunks })))
  assert.deepEqual(
    [asked.protocol, asked.verdict, asked.source, asked.destination],
    [SCTP, verdict.pass, vip, pod.address],
  )
  const answered = seen(egress(datapath, sctpFrame({ ...back({ ...request, ...asked }), tag: 9, chunks })))
  assert.deepEqual([answered.verdict, answered.source, answered.destination], [verdict.redirect, vip, pod.address])
})

test('a node port of another node, which hands on what came from here: its address stands for the client', {
  skip,
}, (t) => {
  const datapath = kernelFixture(t).open()
  const [asked, port] = [nodeAt(41), 30_080]
  datapath.setNodes({ own: [own], others: [nodeAt(3)], nodePorts: [own] })
  datapath.upsert(frontendOf(family.isIpv6 ? anyNodeAddress.ipv6 : anyNodeAddress.ipv4, port, [pod]))
  const request = toVip(own, { destination: asked, destinationPort: port })
  const inner = tcpFrame({ ...request, flags: SYN })
  const there = seen(ingress(datapath, handedOn(inner, { from: nodeAt(3), to: own, backend: pod })))
  assert.deepEqual([there.verdict, tuple(there)], [verdict.pass, [asked, 40_000, pod.address, pod.port]])
  const here = seen(egress(datapath, tcpFrame({ ...back(there), flags: SYN | ACK, ack: 1001 })))
  assert.deepEqual([here.verdict, tuple(here)], [verdict.redirect, tuple(back(request))])
})
