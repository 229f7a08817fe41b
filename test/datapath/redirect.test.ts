/** Flows that go past netfilter, on a node whose netfilter lets nothing through: what arrives cannot have met it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus, FrontendCounters } from '../../src/datapath/datapath.ts'
import type { Command } from './actor.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import * as rackPlaces from './rack.ts'
import { deployRack, uplink, type Rack } from './rack.ts'

const skip = whyNoKernel()
const isIpv6 = import.meta.url.endsWith('?ipv6')
/** Once more over IPv6: see family.ts. */
const { client, vip, pods } = isIpv6 ? rackPlaces.ipv6 : rackPlaces
const backends = pods.map((address) => ({ address, port: 8080 }))
const frontends = [frontendOf(vip, 80, backends), frontendOf(vip, 53, backends.slice(0, 1), 'UDP')]
const [bits, router, ipCommand] = isIpv6
  ? ([128, 'fd00:10:1::1', ['ip', '-6']] as const)
  : ([32, '10.1.0.1', ['ip']] as const)

type DatapathCommand = Extract<Command, { do: 'datapath' }>
const command = (rack: Rack, more: Partial<DatapathCommand> = {}): DatapathCommand => ({
  do: 'datapath',
  bpffs: rack.bpffs,
  objectFile: buildBpf(),
  attach: 'tcx',
  mode: 'redirect',
  interfaces: [uplink],
  frontends,
  ...more,
})

const netfilter = (rack: Rack, ...rule: readonly string[]): string =>
  rack.run('node', [isIpv6 ? 'ip6tables' : 'iptables', ...rule])

/** What kube-proxy has in FORWARD, and behind it nothing that would let a packet through. */
function forbidForwarding(rack: Rack): void {
  netfilter(rack, '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP')
  netfilter(rack, '-P', 'FORWARD', 'DROP')
}

/** Packets that FORWARD has dropped. */
function dropped(rack: Rack): number {
  const counts = netfilter(rack, '-L', 'FORWARD', '-v', '-x', '-n')
    .split('\n')
    .map((line) => Number((/policy DROP (\d+) packets/.exec(line) ?? /^\s*(\d+) +\d+ +DROP/.exec(line))?.[1] ?? 0))
  return counts.reduce((sum, count) => sum + count, 0)
}

/** A CNI that gives each pod a route of its own. */
function routePods(rack: Rack): void {
  for (const pod of pods) rack.run('node', [...ipCommand, 'route', 'replace', `${pod}/${bits}`, 'dev', 'pod0'])
}

/** A CNI whose pods are ports of a bridge. */
function bridgePods(rack: Rack): void {
  for (const words of [
    ['link', 'add', 'cni0', 'type', 'bridge'],
    ['address', 'flush', 'dev', 'pod0'],
    ['link', 'set', 'pod0', 'master', 'cni0'],
    ['link', 'set', 'cni0', 'up'],
  ])
    rack.run('node', ['ip', ...words])
  const nodad = isIpv6 ? ['nodad'] : []
  rack.run('node', [...ipCommand, 'address', 'add', `${router}/${isIpv6 ? 64 : 24}`, 'dev', 'cni0', ...nodad])
  rack.run('node', ['ping', '-c', '1', '-i', '0.2', '-w', '5', pods[0]])
}

/** Each family meets one kind of pods, and one kind of attachment. */
const [kind, lay, podLink, attach] = isIpv6
  ? (['bridged', bridgePods, 'cni0', 'clsact'] as const)
  : (['routed', routePods, 'pod0', 'tcx'] as const)

test(`${kind} pods, ${attach}: flows go past a netfilter that drops everything, through the stack they do not`, {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const [node, user] = [rack.actor('node'), rack.actor('client')]
  lay(rack)
  forbidForwarding(rack)
  const { status } = await node.tell<{ status: DatapathStatus }>(command(rack, { attach }))
  assert.deepEqual([status.mode, status.modeReason], ['redirect', undefined])
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  for (const size of [1, 5])
    assert.match(await user.tell<string>({ do: 'tcp', address: vip, port: 80, size }), new RegExp(`^${client} `))
  // Merged packets, of which the uplink and the pod make segments.
  await user.tell({ do: 'connect', address: vip, port: 80 })
  assert.equal(await user.tell({ do: 'transfer', size: 2_000_000 }), 'the same')
  for (const size of [1, 1400]) assert.equal(await user.tell({ do: 'udp', address: vip, port: 53, size }), size)
  // What does not fit is answered by the stack before it would meet FORWARD, and sent again smaller.
  for (const [there, device] of [...pods.map((each) => [each, podLink] as const), [client, uplink] as const])
    rack.run('node', [...ipCommand, 'route', 'replace', `${there}/${bits}`, 'dev', device, 'mtu', 'lock', '1300'])
  assert.equal(await user.tell({ do: 'transfer', size: 300_000 }), 'the same')
  assert.equal(dropped(rack), 0, 'netfilter has met nothing')
  const counters = await node.tell<FrontendCounters>({ do: 'counters', id: frontends[0]?.id ?? '' })
  assert.ok(counters.bytesIn > 2_000_000 && counters.bytesOut > 2_000_000)
  assert.equal(counters.newConnections, 3)
  // The next process is told to go through the stack.
  await node.tell(command(rack, { attach, mode: 'stack' }))
  await assert.rejects(user.tell({ do: 'udp', address: vip, port: 53, size: 1 }), /ETIMEDOUT/)
  assert.ok(dropped(rack) > 0)
  await node.tell({ do: 'unload', bpffs: rack.bpffs })
  assert.deepEqual(await node.tell({ do: 'unload', bpffs: rack.bpffs }), [])
})

/** Of either family the programs decide alike: see redirect-packets.test.ts. */
const once = isIpv6 ? undefined : test
once?.(
  'live flows go on through a change to redirection and back, a SIGKILL and a successor; nothing is INVALID',
  { skip },
  async (t) => {
    const rack = deployRack(t)
    routePods(rack)
    netfilter(rack, '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP')
    // One after the other: each of these processes has much to read when it starts.
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    let node = rack.actor('node')
    await node.tell(command(rack, { mode: 'stack' }))
    const [through, past] = [rack.actor('client'), rack.actor('client')]
    const bothGoOn = async (when: string): Promise<void> => {
      for (const user of [through, past])
        assert.equal(await user.tell({ do: 'exchange', size: 100_000 }), 100_000, when)
    }
    await through.tell({ do: 'connect', address: vip, port: 80 })
    await node.tell(command(rack))
    await past.tell({ do: 'connect', address: vip, port: 80 })
    await bothGoOn('redirecting')
    await node.kill('SIGKILL')
    await bothGoOn('without an agent')
    await past.tell({ do: 'tcp', address: vip, port: 80, size: 10 })
    node = rack.actor('node')
    const { status } = await node.tell<{ status: DatapathStatus }>(command(rack, { frontends: [] }))
    assert.deepEqual([status.adopted, status.mode, status.modeReason], [true, 'redirect', undefined])
    await bothGoOn('after a restart')
    await node.tell(command(rack, { mode: 'stack' }))
    await bothGoOn('through the stack')
    await node.tell(command(rack))
    await bothGoOn('redirecting again')
    assert.equal(dropped(rack), 0)
  },
)
