/** herald_xdp on a real interface, with real senders. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { release } from 'node:os'
import { test, type TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus } from '../../src/datapath/datapath.ts'
import { isBefore } from '../../src/datapath/refusal.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { passing } from './early.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import { client, deployRack, ipv6, pods, uplink, vip, type Actor, type Rack } from './rack.ts'

const skip = whyNoKernel()
const router = '198.51.100.1'
/** What the kernel is to show TC all of, see acceleration.ts. */
const modes = isBefore(release(), [6, 9]) ? (['native', 'generic'] as const) : (['native'] as const)
type Mode = (typeof modes)[number]
/** Of its ports one is for others alone. */
const frontends: readonly Frontend[] = [[vip, pods[0]] as const, [ipv6.vip, ipv6.pods[0]] as const].flatMap(
  ([address, pod]) => [
    frontendOf(address, 80, [{ address: pod, port: 8080 }]),
    {
      ...frontendOf(address, 81, [{ address: pod, port: 8080 }], 'UDP'),
      sources: [{ prefix: address.includes(':') ? '2001:db8:99::/48' : '203.0.113.0/24', isAllowed: true }],
    },
  ],
)

interface Looked {
  readonly status: DatapathStatus
  readonly reasons: Readonly<Record<string, number>>
}

/** What goes to whoever looks at the interface: he is behind XDP. The first line of what asks for an echo. */
async function firstSeen(rack: Rack, ask: () => void): Promise<string> {
  const filter = '(icmp and icmp[0] == 8) or (icmp6 and ip6[40] == 128)'
  const watch = rack.start('node', ['tcpdump', '-lnQ', 'in', '-c', '1', '-i', uplink, filter])
  const lines = createInterface({ input: watch.stdout ?? process.stdin })
  const [ready, line] = [once(watch.stderr ?? watch, 'data'), once(lines, 'line')]
  await ready
  ask()
  return String((await line)[0])
}

const isAnswered = (rack: Rack, address: string): string =>
  rack.run('client', ['ping', '-c', '3', '-i', '0.2', '-w', '10', '-s', '1200', '-p', 'ff00', address])

async function serving(t: TestContext, rack: Rack, acceleration: Mode): Promise<Actor> {
  const [pod, node] = [rack.actor('pod'), rack.actor('node')]
  await pod.tell({ do: 'serve', port: 8080 })
  await node.tell({ do: 'keep-tags', device: uplink })
  // A veth takes what XDP sends back only where its other end has a program as well.
  rack.run('client', ['ip', 'link', 'set', 'dev', 'eth0', 'xdpdrv', 'obj', passing(t), 'sec', 'xdp'])
  const { bpffs } = rack
  await node.tell({
    do: 'datapath',
    ...{ bpffs, objectFile: buildBpf(), attach: 'tcx', interfaces: [uplink], frontends, acceleration },
  })
  return node
}

for (const mode of modes)
  test(`${mode}: pings of both families are answered in front of the kernel, all else goes on as ever`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const node = await serving(t, rack, mode)
    const user = rack.actor('client')
    const looked = (): Promise<Looked> => node.tell<Looked>({ do: 'status' })
    const packets = { handedOn: 0, answered: 0, dropped: 0 }
    const left = 'generic XDP is shown merged packets, and what it sends nobody divides again'
    const reason = `packets for other nodes are left to TC: ${left}`
    const [atFirst] = (await looked()).status.acceleration?.interfaces ?? []
    const taken =
      mode === 'native' ? { takes: ['answered', 'handedOn', 'dropped'] } : { takes: ['answered', 'dropped'], reason }
    assert.deepEqual(atFirst, { interface: uplink, mode, packets, ...taken })
    for (const [what, own] of [
      [vip, router],
      [ipv6.vip, '2001:db8:51:100::1'],
    ] as const) {
      const seen = await firstSeen(rack, () => {
        assert.match(isAnswered(rack, what), /3 received, 0% packet loss/)
        isAnswered(rack, own)
      })
      assert.ok(seen.includes(`> ${own}: ICMP`), `the pings of ${what} met the kernel: ${seen}`)
    }
    assert.equal((await looked()).reasons['echo_answered'], 6)
    assert.equal((await looked()).status.acceleration?.interfaces[0]?.packets?.answered, 6)
    for (const address of [vip, ipv6.vip]) {
      await user.tell({ do: 'tcp', address, port: 80, size: 1_000_000 })
      await assert.rejects(user.tell({ do: 'udp', address, port: 81, size: 9 }))
    }
    const { reasons } = await looked()
    assert.ok((reasons['source_not_allowed'] ?? 0) >= 2, JSON.stringify(reasons))
    assert.ok(((await looked()).status.acceleration?.interfaces[0]?.packets?.dropped ?? 0) >= 2)
    await assert.rejects(user.tell({ do: 'tcp', address: vip, port: 82, size: 9 }), /ECONNREFUSED/)
  })

test('an address of the interface that changes: TC answers, and this program again once the agent has seen it', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const node = await serving(t, rack, 'native')
  rack.run('node', ['ip', 'link', 'set', uplink, 'address', '02:00:00:00:00:77'])
  rack.run('client', ['ip', 'neigh', 'flush', 'all'])
  const seen = await firstSeen(rack, () => assert.match(isAnswered(rack, vip), /3 received/))
  assert.ok(seen.includes(`> ${vip}: ICMP`), seen)
  await node.tell({ do: 'look' })
  const later = await firstSeen(rack, () => {
    assert.match(isAnswered(rack, vip), /3 received/)
    isAnswered(rack, router)
  })
  assert.ok(later.includes(`${client} > ${router}: ICMP`), later)
})
