/**
 * What runs in the machine of another kernel: our own loader, real sockets over two nodes, adoption, unloading. Each
 * name is a cell of the matrix that kernels.test.ts prints: `ATTACH | FAMILY | CHECK`.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { release } from 'node:os'
import { test, type TestContext } from 'node:test'
import koffi from 'koffi'
import type { AttachMode } from '../../../src/datapath/datapath.ts'
import { ownSocketMaps } from '../../../src/datapath/sockets.ts'
import { translatedNode } from '../../../src/desired/model.ts'
import { EventRing, ringKinds } from '../../../src/flows/event-ring.ts'
import { isBefore } from '../../../src/datapath/refusal.ts'
import { programInfo, runXdpProgram } from '../../../src/sys/bpf.ts'
import { isTcxSupported } from '../../../src/sys/bpf-attach.ts'
import { ifnameToIndex, stationAddress } from '../../../src/sys/links.ts'
import { waitFor } from '../../wait.ts'
import type { KernelDatapath } from '../../../src/datapath/kernel.ts'
import { handedOn, translated } from '../cluster.ts'
import { familyOf, type Family } from '../family.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict } from '../fixture.ts'
import { xdpVerdict } from '../early.ts'
import { keepTags } from '../features.ts'
import { cut, frame, icmpMessage, parse, tcpFlag, tcpFrame, udpDatagram } from '../frames.ts'
import { ip, layCable } from '../network.ts'
import { sendFrames } from '../pieces.ts'
import { endedBy, socketFrontend, startSocketWorld } from '../socket-fixture.ts'
import { connected, deployRemoteRack, families, reachable, vips, type RemoteRack } from '../remote-rack.ts'

/** What the kernel holds of programs and maps, whoever loaded them: in this machine nobody else does. */
const libbpf = koffi.load('libbpf.so.1')
const nextIds = ['prog', 'map'].map((kind) => libbpf.func(`int bpf_${kind}_get_next_id(uint32_t after, void *next)`))
const isEmpty = (): boolean => nextIds.every((next) => Number(next(0, new Uint32Array(1))) < 0)

/** Of each program: what is added next has room, and loading takes a moment. */
const mostVerified = 60_000
let modes: readonly AttachMode[] = []

test('any | both | loaded', (t: TestContext) => {
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  modes = isTcxSupported(datapath.programs.ingress) ? ['tcx', 'clsact'] : ['clsact']
  assert.equal(datapath.status.attach, modes[0], 'by itself it takes the better one')
  for (const fd of [...Object.values(datapath.programs), ...datapath.stagePrograms]) {
    const { name, verifiedInstructions } = programInfo(fd)
    t.diagnostic(`${name}: ${verifiedInstructions} instructions verified`)
    assert.ok(verifiedInstructions < mostVerified, name)
  }
  takesOff(datapath)
  goesOn(datapath)
  // Larger maps of flows are taken over by programs that call those of before.
  const said: string[] = []
  fixture.open({ maxEntries: { ...smallMaps, openings: 2 * smallMaps.openings }, log: (text) => said.push(text) })
  assert.match(said.join('\n'), /taking over/)
  assert.doesNotMatch(said.join('\n'), /this kernel cannot/)
})

test('any | both | loaded past netfilter', (t: TestContext) => {
  const { programs, status } = kernelFixture(t).open({ mode: 'redirect' })
  assert.deepEqual([status.mode, status.modeReason], ['redirect', undefined])
  for (const fd of Object.values(programs)) {
    const { name, verifiedInstructions } = programInfo(fd)
    t.diagnostic(`${name}, redirect: ${verifiedInstructions} instructions verified`)
    assert.ok(verifiedInstructions < mostVerified, name)
  }
})

test('any | both | fragments', (t: TestContext) => {
  const datapath = kernelFixture(t).open()
  for (const { vip, client, podAt } of [familyOf(''), familyOf('?ipv6')]) {
    datapath.upsert(frontendOf(vip, 53, [{ address: podAt(5), port: 8080 }], 'UDP'))
    const ends = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 53 }
    // Of two pieces each, which a test run takes.
    const datagram = udpDatagram({ ...ends, data: Uint8Array.from({ length: 6_000 }, (_, i) => i & 255) })
    const [first, second, third] = cut(datagram, 2_400, ends)
    assert.ok(first && second && third)
    const meets = (bytes: Uint8Array): number => ingress(datapath, bytes).verdict
    assert.deepEqual([third, second].map(meets), [verdict.shot, verdict.shot])
    const inOrder = [first, second, third]
    for (const [n, next] of [second, third].entries()) {
      const released = ingress(datapath, inOrder[n] ?? first)
      assert.equal(released.verdict, verdict.redirect)
      assert.deepEqual([...released.packet], [...next])
    }
    assert.deepEqual(inOrder.map(meets), [verdict.pass, verdict.pass, verdict.pass])
  }
  const { fragment, fragment_held, fragment_released } = datapath.reasons()
  assert.deepEqual([fragment, fragment_held, fragment_released], [0, 4, 4])
})

test('any | both | in front of the kernel', (t: TestContext) => {
  const fixture = kernelFixture(t)
  const both = [familyOf(''), familyOf('?ipv6')]
  layCable(
    'early0',
    both.map(({ nodeAt }) => nodeAt(2)),
  )
  t.after(() => ip('link', 'delete', 'early0'))
  for (const { nodeAt } of both)
    ip('neigh', 'replace', nodeAt(1), 'lladdr', '02:00:00:00:00:99', 'dev', 'early0', 'nud', 'permanent')
  keepTags('early0')
  const ifindex = ifnameToIndex('early0')
  const isBlinding = !isBefore(release(), [6, 9])
  for (const acceleration of ['native', 'generic'] as const) {
    const datapath = fixture.open({ acceleration })
    datapath.attach(['early0'])
    const [found] = datapath.status.acceleration?.interfaces ?? []
    if (acceleration === 'generic' && isBlinding) {
      assert.match(found?.reason ?? '', /hides from TC/)
      continue
    }
    assert.deepEqual([found?.interface, found?.mode], ['early0', acceleration])
    const program = datapath.earlyProgram ?? -1
    const { name, verifiedInstructions } = programInfo(program)
    t.diagnostic(`${name}, ${acceleration}: ${verifiedInstructions} instructions verified`)
    assert.ok(verifiedInstructions < mostVerified, name)
    for (const family of both) {
      const { vip, client, podAt, ICMP, echo } = family
      assert.equal(handsOnEarly(datapath, family, ifindex), acceleration === 'native')
      datapath.upsert({ ...frontendOf(vip, 80, [{ address: podAt(5), port: 8080 }]) })
      const ends = { source: client, destination: vip }
      const asked = frame({
        ...ends,
        protocol: ICMP,
        payload: icmpMessage(echo.request, 0, 1, new Uint8Array(9), ends),
      })
      asked.set(stationAddress(ifindex) ?? [])
      const { verdict: answered, packet } = runXdpProgram(program, asked, ifindex)
      assert.deepEqual([answered, parse(packet).destination, parse(packet).ttl], [xdpVerdict.tx, client, 64])
      const cut = asked.slice(0, -12)
      assert.equal(runXdpProgram(program, cut, ifindex).verdict, xdpVerdict.drop)
    }
    datapath.close()
  }
})

/** Whether a packet of a flow that TC has handed on before leaves for the node from here. */
function handsOnEarly(datapath: KernelDatapath, { vip, client, podAt, nodeAt }: Family, ifindex: number): boolean {
  datapath.setNodes({ own: [nodeAt(2)], others: [nodeAt(1)] })
  datapath.upsert(frontendOf(vip, 81, [{ address: podAt(6), port: 8080, node: nodeAt(1) }]))
  const sent = (flags: number): Uint8Array =>
    tcpFrame({ source: client, destination: vip, sourcePort: 40_000, destinationPort: 81, flags })
  for (const flags of [tcpFlag.SYN, tcpFlag.ACK]) assert.equal(ingress(datapath, sent(flags)).verdict, verdict.redirect)
  const bytes = sent(tcpFlag.ACK)
  bytes.set(stationAddress(ifindex) ?? [])
  // One now and then is for the stack.
  const runs = [1, 2, 3].map(() => runXdpProgram(datapath.earlyProgram ?? -1, bytes, ifindex))
  const onward = runs.find((run) => run.verdict === xdpVerdict.tx)
  if (onward !== undefined) assert.equal(parse(onward.packet).destination, nodeAt(1))
  return onward !== undefined
}

test('any | both | in front of a bond', async (t: TestContext) => {
  ip('link', 'add', 'bond9', 'type', 'bond', 'mode', 'active-backup')
  ip('link', 'add', 'early0', 'type', 'veth', 'peer', 'name', 'early1')
  t.after(() => ['early0', 'bond9'].forEach((name) => ip('link', 'delete', name)))
  const datapath = kernelFixture(t).open({ acceleration: 'native', attach: 'clsact' })
  const { vip, client, podAt } = familyOf('')
  datapath.upsert({ ...frontendOf(vip, 80, [{ address: podAt(5), port: 8080 }]), sources: [] })
  ip('link', 'set', 'bond9', 'up')
  datapath.attach(['bond9'])
  // One that joins later.
  ip('link', 'set', 'early0', 'master', 'bond9')
  for (const end of ['early1', 'early0']) ip('link', 'set', end, 'up')
  datapath.follow()
  const [found] = datapath.status.acceleration?.interfaces ?? []
  assert.deepEqual([found?.interface, found?.mode], ['bond9', 'native'])
  // What is counted from here on the program of XDP has dropped.
  execFileSync('tc', ['qdisc', 'delete', 'dev', 'bond9', 'clsact'])
  const ends = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
  const sent = tcpFrame({ ...ends, flags: tcpFlag.SYN })
  sent.set(stationAddress(ifnameToIndex('bond9')) ?? [])
  await waitFor('a member to be heard', () => {
    sendFrames('early1', [sent])
    return (datapath.reasons()['source_not_allowed'] ?? 0) > 0
  })
})

/**
 * What another node handed on, of each family in each: before Linux 6.3 the kernel has no flags for the unlike ones.
 */
function takesOff(datapath: KernelDatapath): void {
  const [v4, v6] = [familyOf(''), familyOf('?ipv6')]
  datapath.setNodes({ own: [v4.nodeAt(2), v6.nodeAt(2)], others: [v4.nodeAt(1), v6.nodeAt(1)] })
  for (const { vip, client, podAt } of [v4, v6]) {
    const backend = { address: podAt(5), port: 8080 }
    datapath.upsert(frontendOf(vip, 80, [backend]))
    for (const [index, { nodeAt }] of [v4, v6].entries()) {
      const ends = { source: client, destination: vip, sourcePort: 40_000 + index, destinationPort: 80 }
      const sent = tcpFrame({ ...ends, flags: tcpFlag.SYN, data: new Uint8Array(20).fill(1) })
      const arrived = translated(ingress(datapath, handedOn(sent, { from: nodeAt(1), to: nodeAt(2), backend })))
      assert.deepEqual([arrived.destination, arrived.isL4ChecksumRight, arrived.l3], [backend.address, true, 14])
      assert.deepEqual([...arrived.payload.slice(-20)], [...sent.slice(-20)])
    }
  }
}

/** From program to program: a flow to a node that takes no packets is begun by the second one. */
function goesOn(datapath: KernelDatapath): void {
  const begun = (): number => datapath.usage().find(({ name }) => name === 'snat_openings')?.entries ?? 0
  for (const { vip, client, podAt, nodeAt } of [familyOf(''), familyOf('?ipv6')]) {
    datapath.setNodes({ own: [nodeAt(2)], others: [], snatPorts: { first: 61_000, last: 65_095 } })
    datapath.upsert(frontendOf(vip, 80, [{ address: podAt(5), port: 8080, node: translatedNode }]))
    const before = begun()
    const ends = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
    assert.equal(ingress(datapath, tcpFrame({ ...ends, flags: tcpFlag.SYN })).verdict, verdict.shot, 'there is no way')
    assert.equal(begun() - before, 2)
  }
}

test('sockets', async (t) => {
  const pods = { ipv4: '10.1.1.5', ipv6: 'fd00:1::5' } as const
  const world = await startSocketWorld(Object.values(pods))
  const said: string[] = []
  try {
    const balancer = world.open({ log: (text) => said.push(text) })
    const client = world.client()
    const ring = new EventRing(ringKinds.sockets, ownSocketMaps(world.bpffs))
    t.after(() => ring.close())
    ring.observe(process.hrtime.bigint() + 3_600_000_000_000n)
    for (const family of families)
      await t.test(`socket | ${family} | client of the node`, async () => {
        const [vip, pod] = [vips[family], pods[family]]
        const ask = (): Promise<unknown> => client.run({ do: 'connect', name: family, address: vip, port: 80 })
        for (const protocol of ['TCP', 'UDP'] as const) balancer.upsert(socketFrontend(vip, protocol, [pod]))
        assert.deepEqual(await ask(), { peer: `${vip} 80`, by: `${pod} ${pod}` })
        const answer = await client.run({ do: 'send', name: family, address: vip, port: 80 })
        assert.deepEqual(answer, { from: `${vip} 80`, by: `${pod} ${pod}` })
        balancer.upsert(socketFrontend(vip, 'TCP', []))
        // Before 6.1 it is EPERM, and said so.
        await assert.rejects(ask(), said.some((text) => /EPERM/.test(text)) ? /EPERM/ : /ECONNREFUSED/)
        const told = ring.read(100, process.hrtime.bigint())
        assert.deepEqual(
          told.map(({ detail, socket }) => [detail, socket?.process]),
          ['by_connect', 'by_send', 'no_backend'].map((detail) => [detail, client.child.pid]),
        )
      })
    for (const family of families)
      await t.test(`socket | ${family} | end of who has nobody`, async (each) => {
        const { whyNoEnds } = balancer.status
        // bpf_get_socket_cookie of a walk is in Linux 5.12.
        if (whyNoEnds !== undefined) {
          assert.ok(isBefore(release(), [5, 12]), whyNoEnds)
          assert.equal(
            endedBy(balancer, 'UDP', () => true),
            0,
          )
          return each.diagnostic(`sockets are not ended: ${whyNoEnds}`)
        }
        const call = (what: 'connect' | 'receive') =>
          client.run({ do: 'call', name: `ended ${family}`, call: what, address: vips[family], port: 80 })
        await call('connect')
        const isIt: Parameters<typeof balancer.endSockets>[1] = ({ frontend }) => frontend.address === vips[family]
        assert.equal(endedBy(balancer, 'UDP', isIt), 1)
        await assert.rejects(call('receive'), /ECONNABORTED/)
      })
  } finally {
    await world.end()
  }
})

test('two nodes', async (t) => {
  await waitFor('what the test before had to be freed', isEmpty)
  const rack = await deployRemoteRack(t, { nodes: [0, 1], pods: [1] })
  for (const attach of modes) {
    await t.test(`${attach} | both | attached`, async () => {
      await rack.serve(attach, [1])
      rack.routeBy(0)
      await reachable(rack)
    })
    for (const family of families) {
      await t.test(`${attach} | ${family} | pod here`, () => isAnswered(rack, family, 1))
      await t.test(`${attach} | ${family} | pod on another node`, () => isAnswered(rack, family, 0))
    }
    // Each start of a datapath takes such a machine long: one for both families. Who takes over has the stack again.
    await rack.serve(attach, [1], 'redirect')
    for (const family of families)
      await t.test(`${attach} | ${family} | past netfilter`, async () => {
        const handedOn = (): Promise<number> => rack.actors.node1.tell<number>({ do: 'forwarded' })
        // Also what the other node hands on. Of a connection before it an acknowledgment may still come.
        for (const node of [1, 0]) {
          const before = await handedOn()
          await isAnswered(rack, family, node)
          assert.ok((await handedOn()) - before < 5, 'the stack has handed nothing on')
        }
      })
    await t.test(`${attach} | both | taken over`, async () => {
      // The node of the pod: it translates replies, and unwraps what the other one hands on.
      assert.equal(await connected(rack, 'ipv6'), 1)
      const { adopted, interfaces, problems } = await rack.succeed(1, attach, [1])
      assert.deepEqual([adopted, interfaces, problems], [true, ['up0'], []])
      assert.equal(await rack.actors.client.tell({ do: 'exchange', size: 3000 }), 3000, 'the connection of before')
      assert.equal(await connected(rack, 'ipv4'), 1)
    })
    await t.test(`${attach} | both | unloaded`, async () => {
      for (const removed of await rack.unload()) assert.ok(removed.length > 20, removed.join('\n'))
      await waitFor('programs and maps to be freed', isEmpty)
      assert.doesNotMatch(rack.run('node1', ['tc', 'qdisc', 'show', 'dev', 'up0']), /clsact/)
    })
  }
})

/** TCP and UDP by a node: the pod is at the second one. */
async function isAnswered(rack: RemoteRack, family: (typeof families)[number], node: number): Promise<void> {
  const { client } = rack.actors
  rack.routeBy(node)
  assert.equal(await connected(rack, family), 1)
  assert.equal(await client.tell({ do: 'exchange', size: 20_000 }), 20_000)
  assert.equal(await client.tell({ do: 'udp', address: vips[family], port: 80, size: 900 }), 900)
}
