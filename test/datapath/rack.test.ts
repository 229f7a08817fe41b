import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { FrontendCounters } from '../../src/datapath/datapath.ts'
import { schema } from '../../src/datapath/layout.ts'
import { waitFor } from '../wait.ts'
import type { Command } from './actor.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import * as rackPlaces from './rack.ts'
import { deployRack, uplink, type Rack } from './rack.ts'

const skip = whyNoKernel()
/** Once more over IPv6: see family.ts. */
const { client, vip, pods } = import.meta.url.endsWith('?ipv6') ? rackPlaces.ipv6 : rackPlaces
const backends = pods.map((address) => ({ address, port: 8080 }))
const frontends = [
  frontendOf(vip, 80, backends),
  frontendOf(vip, 53, backends.slice(0, 1), 'UDP'),
  frontendOf(vip, 81, []),
]
const datapathCommand = (rack: Rack, attach: 'tcx' | 'clsact'): Command => ({
  do: 'datapath',
  bpffs: rack.bpffs,
  objectFile: buildBpf(),
  attach,
  interfaces: [uplink],
  frontends,
})

for (const attach of ['tcx', 'clsact'] as const) {
  test(`${attach}: real sockets reach the pods through the VIP, everything else about it is refused at once`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
    await pod.tell({ do: 'serve', port: 8080 })
    assert.deepEqual(await node.tell({ do: 'uplinks', neighbors: [client] }), [uplink])
    assert.deepEqual(await node.tell(datapathCommand(rack, attach)), {
      status: {
        kind: 'ebpf',
        attach,
        mode: 'stack',
        interfaces: [uplink],
        adopted: false,
        lostUplinks: 0,
        schema,
        problems: [],
      },
      served: frontends.map(({ id }) => id).sort(),
      forwarding: { isPreserved: false, why: 'nothing of an earlier process was taken over' },
    })
    const seen = new Set<string>()
    for (let i = 0; i < 30; i++) seen.add(await user.tell<string>({ do: 'tcp', address: vip, port: 80, size: 1 + i }))
    assert.deepEqual(
      [...seen].sort(),
      pods.map((address) => `${client} ${address}`),
      'both pods serve and see the client itself',
    )
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 3_000_001 })
    for (const size of [1, 1000, 1472, 4001, 20_000])
      assert.equal(await user.tell({ do: 'udp', address: vip, port: 53, size }), size)
    rack.run('client', ['ping', '-c', '3', '-i', '0.01', '-W', '1', vip])
    for (const port of [81, 82])
      await assert.rejects(user.tell({ do: 'tcp', address: vip, port, size: 1 }), /ECONNREFUSED/)
    await assert.rejects(user.tell({ do: 'udp', address: vip, port: 54, size: 1 }), /ECONNREFUSED/)
    const counters = await node.tell<FrontendCounters>({ do: 'counters', id: frontends[0]?.id ?? '' })
    assert.equal(counters.newConnections, 31)
    assert.ok(counters.bytesIn > 3_000_000 && counters.bytesOut > 3_000_000)
    const reasons = await node.tell<Record<string, number>>({ do: 'reasons' })
    assert.deepEqual([reasons['echo_answered'], reasons['no_backend'], reasons['unowned_port']], [3, 1, 2])
  })

  test(`${attach}: the kernel serves on after SIGKILL, a successor adopts, unload leaves nothing`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
    await pod.tell({ do: 'serve', port: 8080 })
    await node.tell(datapathCommand(rack, attach))
    await user.tell({ do: 'connect', address: vip, port: 80 })
    await node.kill('SIGKILL')
    assert.equal(await user.tell({ do: 'exchange', size: 100_000 }), 100_000)
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 10 })
    const successor = rack.actor('node')
    const { status } = await successor.tell<{ status: { adopted: boolean; interfaces: string[] } }>({
      ...(datapathCommand(rack, attach) as Extract<Command, { do: 'datapath' }>),
      frontends: [],
    })
    assert.deepEqual([status.adopted, status.interfaces], [true, [uplink]])
    assert.equal(await user.tell({ do: 'exchange', size: 100_000 }), 100_000)
    const removed = await successor.tell<string[]>({ do: 'unload', bpffs: rack.bpffs })
    assert.ok(removed.length > 11, removed.join('\n'))
    assert.deepEqual(await successor.tell({ do: 'unload', bpffs: rack.bpffs }), [])
    await assert.rejects(
      user.tell({ do: 'udp', address: vip, port: 53, size: 1 }),
      /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
    )
    assert.doesNotMatch(rack.run('node', ['tc', 'qdisc', 'show', 'dev', uplink]), /clsact/)
  })

  test(`${attach}: replacing the programs loses no packet of a busy connection`, { skip }, async (t) => {
    const rack = deployRack(t)
    const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
    await pod.tell({ do: 'serve', port: 8080 })
    await node.tell(datapathCommand(rack, attach))
    const upgrades = (async () => {
      for (let i = 0; i < 5; i++) await node.tell(datapathCommand(rack, attach))
      return 'done'
    })()
    let isDone = false
    void upgrades.then(() => (isDone = true))
    let answered = 0
    // A lost datagram is not sent again: it would time out and fail here.
    for (; !isDone || answered < 100; answered++)
      assert.equal(await user.tell({ do: 'udp', address: vip, port: 53, size: 64 }), 64)
    assert.equal(await upgrades, 'done')
  })
}

test('changing from clsact to TCX keeps the connections and leaves one kind of program', { skip }, async (t) => {
  const rack = deployRack(t)
  const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  await node.tell(datapathCommand(rack, 'clsact'))
  await user.tell({ do: 'connect', address: vip, port: 80 })
  assert.match(rack.run('node', ['tc', 'filter', 'show', 'dev', uplink, 'ingress']), /herald_ingress/)
  await node.tell(datapathCommand(rack, 'tcx'))
  assert.equal(rack.run('node', ['tc', 'filter', 'show', 'dev', uplink, 'ingress']), '')
  assert.equal(await user.tell({ do: 'exchange', size: 50_000 }), 50_000)
})

test('a client that closes its VIP connection can use the same port to the pod directly, and back', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  await node.tell({
    ...(datapathCommand(rack, 'tcx') as Extract<Command, { do: 'datapath' }>),
    frontends: [frontendOf(vip, 80, backends.slice(0, 1))],
  })
  rack.run('client', ['sysctl', '-qw', 'net.ipv4.tcp_tw_reuse=1'])
  const [address] = pods
  await user.tell({ do: 'tcp', address: vip, port: 80, size: 9, localPort: 40001 })
  await user.tell({ do: 'tcp', address, port: 8080, size: 9, localPort: 40001 })
  assert.equal(
    await waitFor(
      'the ports of the VIP connection to be free again',
      () =>
        user
          .tell<string>({ do: 'tcp', address: vip, port: 80, size: 9, localPort: 40001 })
          .catch((error: unknown) => (/EADDR/.test(String(error)) ? undefined : Promise.reject(error))),
      { everyMs: 250 },
    ),
    `${client} ${address}`,
  )
})

test('translations and answers of packets from local senders (CHECKSUM_PARTIAL) have right checksums once a ' +
  'device finishes them', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  await node.tell(datapathCommand(rack, 'tcx'))
  for (const device of [uplink, 'pod0']) await node.tell({ do: 'finish-checksums', device })
  await user.tell({ do: 'tcp', address: vip, port: 80, size: 300_001 })
  for (const size of [1, 1000, 4001]) assert.equal(await user.tell({ do: 'udp', address: vip, port: 53, size }), size)
  for (const port of [81, 82])
    await assert.rejects(user.tell({ do: 'tcp', address: vip, port, size: 1 }), /ECONNREFUSED/)
  for (const size of [0, 1, 1000])
    await assert.rejects(user.tell({ do: 'udp', address: vip, port: 54, size }), /ECONNREFUSED/)
  rack.run('client', ['ping', '-c', '1', '-W', '1', vip])
  const counted = ['Tcp', 'Icmp', 'Udp', 'Icmp6', 'Udp6'].map((name) => `${name}InCsumErrors`)
  const lines = rack
    .run('client', ['nstat', '-asz', ...counted])
    .split('\n')
    .slice(1)
  for (const name of counted) {
    const line = lines.find((each) => each.startsWith(name))
    assert.match(line ?? '', /^\w+ +0 /, name)
  }
})

test('after an interface was made anew the programs are attached to it again, and filters of others stay', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const [node, pod, user] = [rack.actor('node'), rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  await node.tell(datapathCommand(rack, 'clsact'))
  rack.run('node', [
    'tc',
    'filter',
    'add',
    'dev',
    uplink,
    'ingress',
    'prio',
    '7',
    'bpf',
    'direct-action',
    'object-pinned',
    `${rack.bpffs}/herald/v${schema}/programs/herald_egress`,
  ])
  await node.tell({ do: 'unload', bpffs: rack.bpffs })
  const left = rack.run('node', ['tc', 'filter', 'show', 'dev', uplink, 'ingress'])
  assert.match(left, /pref 7 bpf/)
  assert.doesNotMatch(left, /herald_ingress/)
  await node.tell(datapathCommand(rack, 'tcx'))
  rack.renewUplink()
  await node.tell(datapathCommand(rack, 'tcx'))
  await user.tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
})
