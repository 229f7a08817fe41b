/** Whom sockets are led to, from connect(2) in the kernel to what an observer is told, over both rings. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { after, test, type TestContext } from 'node:test'
import type { FlowQuery, FlowResponse } from '../../src/api/flow-types.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { ownSocketMaps } from '../../src/datapath/sockets.ts'
import { EventRing, ringKinds } from '../../src/flows/event-ring.ts'
import { FlowsThread } from '../../src/flows/flows-thread.ts'
import { BpfMap, openPinned } from '../../src/sys/bpf.ts'
import { waitFor } from '../wait.ts'
import { frontendOf, ingress, kernelFixture, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'
import { podPort, socketFrontend, startSocketWorld } from './socket-fixture.ts'

const reason = whyNoKernel()
const skip = reason ?? false
const families = {
  ipv4: { vip: '203.0.113.1', pod: '10.1.1.5', asked: '203.0.113.1', none: '0.0.0.0' },
  ipv6: { vip: '2001:db8:f::1', pod: 'fd00:1::5', asked: '2001:db8:f::1', none: '::' },
  // RFC 4291 2.5.5.2: an IPv6 socket that asks for an IPv4 address.
  mapped: { vip: '203.0.113.1', pod: '10.1.1.5', asked: '::ffff:203.0.113.1', none: '0.0.0.0' },
} as const
const world = reason === undefined ? await startSocketWorld(['10.1.1.5', 'fd00:1::5']) : undefined
after(() => world?.end())
const laterNs = 60_000_000_000n
const nowNs = (): bigint => process.hrtime.bigint()

/** The ring of the sockets, of which somebody looks at once. */
function ringOf(t: TestContext): EventRing {
  assert.ok(world)
  const ring = new EventRing(ringKinds.sockets, ownSocketMaps(world.bpffs))
  t.after(() => ring.close())
  ring.observe(nowNs() + laterNs)
  return ring
}

for (const [family, { vip, pod, asked, none }] of Object.entries(families))
  test(`a connection, the first datagram to a backend and a refusal are told, with whose socket it is (${family})`, {
    skip,
  }, async (t) => {
    assert.ok(world)
    const balancer = world.open()
    for (const protocol of ['TCP', 'UDP'] as const) balancer.upsert(socketFrontend(vip, protocol, [pod]))
    const ring = ringOf(t)
    const actor = world.client()
    const began = nowNs()
    await actor.run({ do: 'connect', name: 'a', address: asked, port: 80 })
    for (const _ of [1, 2, 3]) await actor.run({ do: 'send', name: 'a', address: asked, port: 80 })
    balancer.upsert(socketFrontend(vip, 'TCP', []))
    await assert.rejects(actor.run({ do: 'connect', name: 'b', address: asked, port: 80 }), /ECONNREFUSED/)
    // What is no frontend is nothing of ours.
    await actor.run({ do: 'connect', name: 'c', address: pod, port: podPort })
    const events = ring.read(100, nowNs())
    const [backend, destination, source] = [
      { address: pod, port: podPort },
      { address: vip, port: 80 },
      { address: none, port: 0 },
    ]
    assert.deepEqual(
      events.map(({ timeNs: _, socket: __, ...event }) => event),
      (
        [
          ['led', 'by_connect', 6, backend],
          ['led', 'by_send', 17, backend],
          ['drop', 'no_backend', 6, undefined],
        ] as const
      ).map(([type, detail, protocol, to]) => ({
        ...{ type, detail, protocol, source, destination, backend: to, tcpFlags: 0, length: 0 },
      })),
    )
    const times = [began, ...events.map(({ timeNs }) => timeNs), nowNs()]
    assert.deepEqual(
      times,
      [...times].sort((a, b) => Number(a - b)),
    )
    const cookies = new Set(events.map(({ socket }) => socket?.cookie))
    assert.equal(cookies.size, 3)
    for (const { socket } of events) {
      assert.equal(socket?.process, actor.child.pid)
      assert.equal(socket?.cgroup, statSync(world.group, { bigint: true }).ino)
      assert.notEqual(socket?.command, '')
    }
    assert.equal(ring.untold(), 0)
    await actor.end()
  })

test('an observer is told of sockets and of packets, in their order, by Service and pod, as Hubble names it', {
  skip,
}, async (t) => {
  assert.ok(world)
  const { vip, pod } = families.ipv4
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const fixture = kernelFixture(t)
  const datapath = fixture.open()
  datapath.upsert(frontendOf(vip, 80, [{ address: pod, port: podPort }]))
  const warnings: string[] = []
  const flows = new FlowsThread({
    mapsFolder: new Pins(fixture.bpffs).mapsFolder,
    socketMapsFolder: ownSocketMaps(world.bpffs),
    nodeName: 'node1',
    isAlways: false,
    names: ({ frontend, backend }) =>
      frontend === `${vip}:80/TCP` ? { service: 'shop/web', ...(backend === pod ? { pod: 'shop/web-0' } : {}) } : {},
    warn: (message) => warnings.push(message),
  })
  t.after(async () => {
    await flows.stop()
    assert.deepEqual(warnings, [])
  })
  const found: NonNullable<FlowResponse['flow']>[] = []
  const look = (query: Pick<FlowQuery, 'allow'>): void => {
    const sink = {
      write: (text: string, taken: () => void): void => {
        for (const line of text.split('\n').filter((each) => each !== ''))
          found.push(...[(JSON.parse(line) as FlowResponse).flow ?? []].flat())
        taken()
      },
      end: () => {},
    }
    flows.observe({ follow: true, deny: {}, ...query }, sink)
  }
  look({ allow: {} })
  const actor = world.client()
  // Until it looks, something may pass unseen: it is done again.
  const connect = async (): Promise<boolean> => {
    await actor.run({ do: 'connect', name: 'a', address: vip, port: 80 })
    return found.length > 0
  }
  await waitFor('a connection to be told', connect, { everyMs: 100 })
  const frame = { source: '198.51.100.7', destination: vip, sourcePort: 40_000, destinationPort: 80 }
  const isNew = ({ herald: { type } }: (typeof found)[number]): boolean => type === 'new'
  ingress(datapath, tcpFrame({ ...frame, flags: tcpFlag.SYN, seq: 1000 }))
  await connect()
  await waitFor('what follows the packet', () => found.some(isNew) && !found.slice(-1).some(isNew))
  const [flow] = found
  assert.deepEqual(
    [flow?.verdict, flow?.Type, flow?.event_type, flow?.sock_xlate_point, flow?.herald.type, flow?.herald.detail],
    ['TRANSLATED', 'SOCK', { type: 7, sub_type: 2 }, 'SOCK_XLATE_POINT_POST_DIRECTION_FWD', 'led', 'by_connect'],
  )
  assert.deepEqual(flow?.destination_service, { namespace: 'shop', name: 'web' })
  assert.deepEqual(flow?.destination, { namespace: 'shop', pod_name: 'web-0' })
  assert.deepEqual([flow?.herald.process?.id, flow?.herald.backend], [actor.child.pid, { address: pod, port: podPort }])
  const times = found.map(({ time }) => time)
  assert.deepEqual(times, [...times].sort())
  await actor.end()
})

// Last: what it leaves behind is a limit that lets nothing through on this processor for an hour.
test('nothing is told while nobody looks, and what is beyond the limit is counted', { skip }, async (t) => {
  assert.ok(world)
  const { vip, pod } = families.ipv4
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod]))
  const ring = ringOf(t)
  const actor = world.client()
  const many = (count: number): Promise<unknown> => actor.run({ do: 'connect many', address: vip, port: 80, count })
  ring.observe(0n)
  await many(10)
  // Who looked has ended without a word.
  ring.observe(nowNs() - 1n)
  await many(10)
  assert.deepEqual(ring.read(100, nowNs()), [])
  // An hour between two of a kind.
  const map = new BpfMap('socket_observation', openPinned(`${ownSocketMaps(world.bpffs)}/socket_observation`) ?? -1)
  map.update(new Uint8Array(4), new Uint8Array(BigUint64Array.of(nowNs() + laterNs, 3_600_000_000_000n).buffer))
  await many(2_000)
  const told = ring.read(10_000, nowNs()).length
  assert.ok(told >= 256, `${told} of a burst`)
  assert.equal(told + ring.untold(), 2_000)
  await actor.end()
})
