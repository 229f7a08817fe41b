/** Flows that go past netfilter, on a node whose netfilter lets nothing through: what arrives cannot have met it. */
import assert from 'node:assert/strict'
import { release } from 'node:os'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus, FrontendCounters } from '../../src/datapath/datapath.ts'
import { waitFor } from '../wait.ts'
import type { Command } from './actor.ts'
import { bridgePods } from './bridged.ts'
import { frontendOf, leaveLongAgo, whyNoKernel } from './fixture.ts'
import { harmless, inTheWay, natTable } from './node-rules.ts'
import * as rackPlaces from './rack.ts'
import { deployRack, uplink, type Actor, type Rack } from './rack.ts'

const skip = whyNoKernel()
const isIpv6 = import.meta.url.endsWith('?ipv6')
/** Once more over IPv6: see family.ts. */
const { client, vip, pods } = isIpv6 ? rackPlaces.ipv6 : rackPlaces
const backends = pods.map((address) => ({ address, port: 8080 }))
const frontends = [frontendOf(vip, 80, backends), frontendOf(vip, 53, backends.slice(0, 1), 'UDP')]
const [bits, ipCommand] = isIpv6 ? ([128, ['ip', '-6']] as const) : ([32, ['ip']] as const)

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

/** By iptables over nftables and by the older one. */
const netfilter = (rack: Rack, ...rule: readonly string[]): string =>
  ['nft', 'legacy']
    .map((maker) => rack.run('node', [`${isIpv6 ? 'ip6tables' : 'iptables'}-${maker}`, ...rule]))
    .join('')

/** What kube-proxy has in FORWARD, and behind it nothing that would let a packet through. */
function forbidForwarding(rack: Rack): void {
  netfilter(rack, '-N', 'KUBE-FORWARD')
  netfilter(rack, '-A', 'FORWARD', '-j', 'KUBE-FORWARD')
  netfilter(rack, '-A', 'KUBE-FORWARD', '-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP')
  netfilter(rack, '-P', 'FORWARD', 'DROP')
}

/** Packets that FORWARD has dropped, and what it asks. */
function dropped(rack: Rack): number {
  const counts = netfilter(rack, '-L', '-v', '-x', '-n')
    .split('\n')
    .map((line) => Number((/policy DROP (\d+) packets/.exec(line) ?? /^\s*(\d+) +\d+ +DROP/.exec(line))?.[1] ?? 0))
  return counts.reduce((sum, count) => sum + count, 0)
}

/** A CNI that gives each pod a route of its own. */
function routePods(rack: Rack): void {
  if (rack.run('node', ['ip', 'link']).includes(': cni0:')) rack.run('node', ['ip', 'link', 'delete', 'cni0'])
  for (const [family, address] of [
    ['-4', '10.1.0.1/24'],
    ['-6', 'fd00:10:1::1/64'],
  ] as const) {
    const nodad = family === '-6' ? ['nodad'] : []
    rack.run('node', ['ip', family, 'address', 'replace', address, 'dev', 'pod0', ...nodad])
  }
  for (const pod of pods) rack.run('node', [...ipCommand, 'route', 'replace', `${pod}/${bits}`, 'dev', 'pod0'])
}

const kinds = { routed: { lay: routePods, podLink: 'pod0' }, bridged: { lay: bridgePods, podLink: 'cni0' } } as const
type Offloads = 'offloads' | 'no offloads'

/** Also large packets, of which devices or the stack make segments, and which they merge again. */
async function isServed(user: Actor): Promise<void> {
  for (const size of [1, 5])
    assert.match(await user.tell<string>({ do: 'tcp', address: vip, port: 80, size }), new RegExp(`^${client} `))
  await user.tell({ do: 'connect', address: vip, port: 80 })
  assert.equal(await user.tell({ do: 'transfer', size: 1_000_000 }), 'the same')
  for (const size of [1, 1400]) assert.equal(await user.tell({ do: 'udp', address: vip, port: 53, size }), size)
}

test('both ways to pods, however they are connected and programs attached, with and without offloads, beside rules of ' +
  'kube-proxy; past netfilter nothing of it meets a FORWARD that drops everything', { skip }, async (t) => {
  const rack = deployRack(t)
  const [node, user] = [rack.actor('node'), rack.actor('client')]
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  forbidForwarding(rack)
  // Of a flow that began through the stack an acknowledgment may still be on its way when the next one does not.
  netfilter(rack, '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'ESTABLISHED', '-j', 'ACCEPT')
  const rows: string[] = []
  for (const offloads of ['offloads', 'no offloads'] satisfies Offloads[])
    for (const [kind, { lay, podLink }] of Object.entries(kinds)) {
      lay(rack)
      if (offloads === 'no offloads')
        for (const device of [uplink, podLink]) await node.tell({ do: 'finish-checksums', device })
      for (const attach of ['tcx', 'clsact'] as const)
        for (const mode of ['stack', 'redirect'] as const) {
          netfilter(rack, '-P', 'FORWARD', mode === 'stack' ? 'ACCEPT' : 'DROP')
          const { status } = await node.tell<{ status: DatapathStatus }>(command(rack, { attach, mode }))
          assert.deepEqual([status.mode, status.modeReason], [mode, undefined])
          const [before, handedOn] = [dropped(rack), await node.tell<number>({ do: 'forwarded' })]
          await isServed(user)
          const row = [mode, attach, kind, isIpv6 ? 'ipv6' : 'ipv4', offloads].map((word) => word.padEnd(10)).join('')
          assert.equal(dropped(rack), before, `netfilter has dropped nothing: ${row}`)
          const by = (await node.tell<number>({ do: 'forwarded' })) - handedOn
          assert.ok(mode === 'stack' ? by > 20 : by < 5, `the stack has handed on ${by} packets`)
          rows.push(row)
        }
    }
  for (const row of rows) t.diagnostic(`Linux ${release()}  ${row} yes`)
})

/** Each family meets one kind of pods, and one kind of attachment. */
const [kind, attach] = isIpv6 ? (['bridged', 'clsact'] as const) : (['routed', 'tcx'] as const)

test(`${kind} pods, ${attach}: what does not fit past netfilter is answered before it would meet FORWARD`, {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const [node, user] = [rack.actor('node'), rack.actor('client')]
  const { lay, podLink } = kinds[kind]
  lay(rack)
  forbidForwarding(rack)
  await node.tell<{ status: DatapathStatus }>(command(rack, { attach }))
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  await user.tell({ do: 'connect', address: vip, port: 80 })
  assert.equal(await user.tell({ do: 'transfer', size: 2_000_000 }), 'the same')
  for (const [there, device] of [...pods.map((each) => [each, podLink] as const), [client, uplink] as const])
    rack.run('node', [...ipCommand, 'route', 'replace', `${there}/${bits}`, 'dev', device, 'mtu', 'lock', '1300'])
  assert.equal(await user.tell({ do: 'transfer', size: 300_000 }), 'the same')
  assert.equal(dropped(rack), 0, 'netfilter has met nothing')
  const counters = await node.tell<FrontendCounters>({ do: 'counters', id: frontends[0]?.id ?? '' })
  assert.ok(counters.bytesIn > 2_000_000 && counters.bytesOut > 2_000_000)
  assert.equal(counters.newConnections, 1)
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
    forbidForwarding(rack)
    netfilter(rack, '-P', 'FORWARD', 'ACCEPT')
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

once?.(
  'a firewall that comes later stops what it forbids of live flows at once, lets the others go on, and when it is gone ' +
    'new ones go past netfilter again',
  { skip },
  async (t) => {
    const rack = deployRack(t)
    routePods(rack)
    forbidForwarding(rack)
    netfilter(rack, '-P', 'FORWARD', 'ACCEPT')
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    const node = rack.actor('node')
    // One flow to each pod.
    const users = new Map<string, Actor>()
    const { status } = await node.tell<{ status: DatapathStatus }>(command(rack, { mode: 'auto' }))
    assert.deepEqual([status.mode, status.modeReason], ['redirect', undefined])
    while (users.size < pods.length) {
      const user = rack.actor('client')
      const greeting = await user.tell<string>({ do: 'connect', address: vip, port: 80 })
      users.set(greeting.split(' ')[1] ?? '', user)
    }
    const handedOn = (): Promise<number> => node.tell<number>({ do: 'forwarded' })
    const goesOn = async (pod: string): Promise<void> =>
      assert.equal(await users.get(pod)?.tell({ do: 'exchange', size: 20_000 }), 20_000, pod)
    const [forbidden, allowed] = pods
    for (const pod of pods) await goesOn(pod)
    const rule = ['FORWARD', '-d', forbidden, '-j', 'DROP']
    rack.run('node', ['iptables-nft', '-A', ...rule])
    const stack = await node.tell<DatapathStatus>({ do: 'look' })
    assert.equal(stack.mode, 'stack')
    assert.match(
      stack.modeReason ?? '',
      /^chain FORWARD of table ip filter \(nftables\) has a rule with the verdict drop$/,
    )
    let before = await handedOn()
    await goesOn(allowed)
    assert.ok((await handedOn()) > before, 'through the stack')
    const stopped = users.get(forbidden)?.tell({ do: 'exchange', size: 100 }) ?? Promise.reject(new Error('no flow'))
    let isAnswered = false
    void stopped.then(() => (isAnswered = true))
    const counted = (): boolean =>
      /^\s*[1-9]\d* .*DROP/m.test(rack.run('node', ['iptables-nft', '-L', 'FORWARD', '-v', '-x', '-n']))
    await waitFor('the firewall to have dropped', counted)
    assert.equal(isAnswered, false)
    rack.run('node', ['iptables-nft', '-D', ...rule])
    assert.equal((await node.tell<DatapathStatus>({ do: 'look' })).modeReason, undefined)
    assert.equal(await stopped, 100, 'sent again')
    for (const pod of pods) await goesOn(pod)
    const late = rack.actor('client')
    await late.tell({ do: 'connect', address: vip, port: 80 })
    before = await handedOn()
    assert.equal(await late.tell({ do: 'exchange', size: 20_000 }), 20_000)
    assert.equal(await handedOn(), before, 'past netfilter')
    assert.equal(dropped(rack), 0, 'nothing was INVALID')
  },
)

once?.(
  'a firewall that comes, beside a rule that masquerades what pods begin, ends no connection in which the pod speaks ' +
    'first: netfilter sees its client before',
  { skip },
  async (t) => {
    const rack = deployRack(t)
    routePods(rack)
    const pods24 = '10.1.0.0/24'
    const masquerading = ['POSTROUTING', '-s', pods24, '!', '-d', pods24, '-j', 'MASQUERADE']
    rack.run('node', ['iptables-nft', '-t', 'nat', '-A', ...masquerading])
    const pod = rack.actor('pod')
    await pod.tell({ do: 'serve', port: 8080 })
    const node = rack.actor('node')
    const { status } = await node.tell<{ status: DatapathStatus }>(command(rack, { mode: 'auto' }))
    assert.deepEqual([status.mode, status.modeReason], ['redirect', undefined])
    const user = rack.actor('client')
    await user.tell({ do: 'connect', address: vip, port: 80 })
    const isTold = async (when: string): Promise<void> => {
      const heard = user.tell({ do: 'hear', size: 5000 })
      await pod.tell({ do: 'say', size: 5000 })
      assert.equal(await heard, 5000, when)
    }
    await isTold('past netfilter')
    rack.run('node', ['iptables-nft', '-A', 'FORWARD', '-s', '203.0.113.9', '-j', 'DROP'])
    assert.equal((await node.tell<DatapathStatus>({ do: 'look' })).mode, 'stack')
    await isTold('netfilter has seen nothing of the connection')
    leaveLongAgo(rack.bpffs)
    await isTold('netfilter has seen the client acknowledge')
    assert.equal(await user.tell({ do: 'exchange', size: 20_000 }), 20_000)
    const before = await node.tell<number>({ do: 'forwarded' })
    await isTold('both sides through the stack')
    assert.ok((await node.tell<number>({ do: 'forwarded' })) - before >= 2, 'what the pod says, and its acknowledgment')
  },
)

once?.('auto does to a flow what the stack does, whatever translates addresses on the node', { skip }, async (t) => {
  const rack = deployRack(t)
  bridgePods(rack)
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  const [node, user] = [rack.actor('node'), rack.actor('client')]
  const lay = (rules: string): void => void rack.run('node', ['iptables-nft-restore'], natTable('iptables-nft', rules))
  const seenByPod = (): Promise<string> =>
    user.tell<string>({ do: 'tcp', address: vip, port: 80, size: 1 }).catch((error: Error) => error.message)
  for (const mode of ['stack', 'auto'] as const) {
    await node.tell(command(rack, { mode }))
    for (const [who, rules] of [...Object.entries(harmless), ['all', Object.values(harmless).join('\n')] as const]) {
      lay(rules)
      const status = await node.tell<DatapathStatus>({ do: 'look' })
      assert.deepEqual([status.mode, status.modeReason], [mode === 'auto' ? 'redirect' : 'stack', undefined], who)
      assert.match(await seenByPod(), new RegExp(`^${client} `), `${mode}: ${who}`)
    }
  }
  for (const [what, { rules, isSure }] of Object.entries(inTheWay)) {
    lay(`${harmless['kube-proxy'] ?? ''}\n${rules}`)
    assert.equal((await node.tell<DatapathStatus>({ do: 'look' })).mode, 'stack', what)
    if (isSure) assert.doesNotMatch(await seenByPod(), new RegExp(`^${client} `), what)
  }
})
