/** Uplinks that come and go while the agent runs: by the kernel's own events, in network namespaces. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { FrontendCounters, MapUsage } from '../../src/datapath/datapath.ts'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { schema } from '../../src/datapath/layout.ts'
import { waitFor } from '../wait.ts'
import type { Command } from './actor.ts'
import { evict, frontendOf, whyNoKernel } from './fixture.ts'
import { client, deployRack, pods, uplink, vip, type Actor, type Rack } from './rack.ts'

const skip = whyNoKernel()

interface Followed {
  readonly interfaces: readonly string[]
  readonly serving: readonly boolean[]
  readonly faults: readonly string[]
}

async function following(rack: Rack, attach: 'tcx' | 'clsact' = 'tcx'): Promise<Actor> {
  const backend = rack.actor('pod')
  await backend.tell({ do: 'serve', port: 8080 })
  const node = rack.actor('node')
  const command: Command = {
    do: 'datapath',
    bpffs: rack.bpffs,
    objectFile: buildBpf(),
    attach,
    interfaces: [],
    frontends: [frontendOf(vip, 80, [{ address: pods[0], port: 8080 }])],
  }
  await node.tell(command)
  assert.deepEqual(await node.tell({ do: 'follow', neighbors: [client] }), [uplink])
  return node
}

for (const attach of ['tcx', 'clsact'] as const) {
  test(`an uplink that is made anew under its name serves again at once, and nothing was withdrawn (${attach})`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const node = await following(rack, attach)
    const user = rack.actor('client')
    const request = (): Promise<unknown> => user.tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
    await request()
    for (let round = 0; round < 3; round++) {
      rack.renewUplink()
      // Long before the slow poll, which comes once a minute.
      const answered = (): Promise<boolean> =>
        request().then(
          () => true,
          () => false,
        )
      await waitFor('an answer over the new link', answered, { deadlineMs: 20_000, everyMs: 5 })
    }
    const { serving, faults, interfaces } = await node.tell<Followed>({ do: 'followed' })
    assert.deepEqual([serving, faults, interfaces], [[true], [], [uplink]])
  })
}

test('an uplink that is away for long ends serving, and serving begins with the next one', { skip }, async (t) => {
  const rack = deployRack(t)
  const node = await following(rack)
  const followed = (): Promise<Followed> => node.tell<Followed>({ do: 'followed' })
  rack.run('node', ['ip', 'link', 'delete', uplink])
  await waitFor('the end of serving', async () => (await followed()).serving.at(-1) === false)
  assert.deepEqual((await followed()).faults, ['uplink'])
  rack.layUplink()
  await waitFor('serving again', async () => (await followed()).serving.at(-1) === true)
  assert.deepEqual((await followed()).faults, [])
  await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
})

test('a default route that vanishes for a moment takes no program from its interface', { skip }, async (t) => {
  const rack = deployRack(t)
  const node = await following(rack)
  rack.run('node', ['ip', 'address', 'flush', 'dev', uplink])
  rack.run('node', ['ip', 'address', 'add', '198.51.100.1/24', 'dev', uplink])
  assert.deepEqual(await node.tell<Followed>({ do: 'followed' }), {
    interfaces: [uplink],
    serving: [true],
    faults: [],
  })
  await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
})

test('events that were lost in a flood (ENOBUFS) are made up for, and the next ones are heard', { skip }, async (t) => {
  const rack = deployRack(t)
  const node = await following(rack)
  const drops = (): number =>
    rack
      .run('node', ['cat', '/proc/net/netlink'])
      .split('\n')
      .reduce((sum, line) => sum + (Number(line.trim().split(/\s+/)[8]) || 0), 0)
  const held = node.tell({ do: 'busy', ms: 3_000 })
  const routes = Array.from({ length: 4_000 }, (_, i) => `route add 10.9.${i >> 8}.${i & 255}/32 dev ${uplink}`)
  rack.run('node', ['ip', '-batch', '-'], routes.join('\n'))
  await held
  assert.ok(drops() > 0, 'the flood was too small to lose anything')
  rack.renewUplink()
  const user = rack.actor('client')
  const answered = (): Promise<boolean> =>
    user.tell({ do: 'tcp', address: vip, port: 80, size: 1000 }).then(
      () => true,
      () => false,
    )
  await waitFor('an answer over the new link', answered, { deadlineMs: 20_000, everyMs: 5 })
})

/** A program with this verdict, as an object of clang's; one that is not negative ends the chain. */
function foreignObject(t: TestContext, verdict = 0): string {
  const folder = mkdtempSync(join(tmpdir(), 'foreign-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const source = '__attribute__((section("tc"), used)) int foreign(void *skb) { (void)skb; return VERDICT; }'
  writeFileSync(
    join(folder, 'foreign.c'),
    `${source.replace('VERDICT', String(verdict))}\nchar l[] __attribute__((section("license"), used)) = "GPL";\n`,
  )
  const output = join(folder, 'foreign.o')
  execFileSync('clang', ['-target', 'bpf', '-O2', '-c', join(folder, 'foreign.c'), '-o', output])
  return output
}

for (const attach of ['tcx', 'clsact'] as const) {
  test(`${attach}: what was there before ours does not keep packets from it, whatever it answers`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const object = foreignObject(t)
    rack.run('node', ['tc', 'qdisc', 'add', 'dev', uplink, 'clsact'])
    for (const direction of ['ingress', 'egress'])
      rack.run('node', [
        'tc',
        'filter',
        'add',
        'dev',
        uplink,
        direction,
        'prio',
        '1',
        'bpf',
        'da',
        'obj',
        object,
        'sec',
        'tc',
      ])
    // TCX goes before filters whatever their order: of its own chain ours has to be the first.
    if (attach === 'tcx') await rack.actor('node').tell({ do: 'foreign', objectFile: object, device: uplink })
    await following(rack, attach)
    const user = rack.actor('client')
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
  })

  test(`${attach}: what puts itself before ours is named, and nothing is announced meanwhile`, { skip }, async (t) => {
    const rack = deployRack(t)
    const node = await following(rack, attach)
    await node.tell({ do: 'foreign', objectFile: foreignObject(t), device: uplink })
    rack.run('node', ['ip', 'link', 'add', 'spare0', 'type', 'veth', 'peer', 'name', 'spare1'])
    await node.tell({ do: 'unfollow' })
    assert.deepEqual(await node.tell({ do: 'follow', neighbors: [client] }), [])
    const { faults } = await waitFor('the fault', async () => {
      const followed = await node.tell<Followed & { texts: readonly string[] }>({ do: 'followed' })
      return followed.serving.at(-1) === false ? followed : undefined
    })
    assert.ok(faults.includes('attach') && faults.includes('uplink'), faults.join())
    assert.match(
      (await node.tell<readonly string[]>({ do: 'fault-texts' })).join('\n'),
      /program foreign \(id \d+\) on up0 ingress/,
    )
  })
}

for (const attach of ['tcx', 'clsact'] as const)
  test(`${attach}: a foreign program before ours that lets our packets pass withdraws nothing: that is tried with them`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const node = await following(rack, attach)
    await node.tell({ do: 'foreign', objectFile: foreignObject(t, -1), device: uplink })
    await node.tell({ do: 'unfollow' })
    assert.deepEqual(await node.tell({ do: 'follow', neighbors: [client] }), [uplink])
    const { serving, faults } = await node.tell<Followed>({ do: 'followed' })
    assert.deepEqual([serving, faults], [[true], []])
    await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
  })

test('forwarding was preserved over a restart only when every uplink still has the programs (RFC 4724 4.1)', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  rack.layCable('second0', '203.0.113.1', '203.0.113.7')
  const command = { do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', frontends: [] } as const
  const restarted = async (interfaces: readonly string[]): Promise<boolean> => {
    const node = rack.actor('node')
    const { forwarding } = await node.tell<{ readonly forwarding: { readonly isPreserved: boolean } }>({
      ...command,
      interfaces,
    })
    await node.kill('SIGKILL')
    return forwarding.isPreserved
  }
  assert.equal(await restarted([uplink, 'second0']), false, 'a first start')
  assert.equal(await restarted([uplink, 'second0']), true, 'a restart')
  rack.run('node', ['ip', 'link', 'delete', 'second0'])
  assert.equal(await restarted([uplink]), false, 'one of two uplinks went while no agent ran')
  assert.equal(await restarted([uplink]), true, 'the other one alone')
  rack.renewUplink()
  assert.equal(await restarted([uplink]), false, 'the uplink was made anew')
})

test('an interface with the old ingress qdisc is refused under clsact, and taken by TCX', { skip }, async (t) => {
  const rack = deployRack(t)
  rack.run('node', ['tc', 'qdisc', 'add', 'dev', uplink, 'ingress'])
  const node = rack.actor('node')
  const command = { do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), frontends: [] } as const
  await assert.rejects(
    node.tell({ ...command, attach: 'clsact', interfaces: [uplink] }),
    /up0 has the old ingress qdisc/,
  )
  await node.tell({ ...command, attach: 'tcx', interfaces: [uplink] })
})

test('an interface without an Ethernet header is refused with the reason, and the others are served', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  const pod = rack.actor('pod')
  await pod.tell({ do: 'serve', port: 8080 })
  rack.run('node', ['ip', 'tuntap', 'add', 'tun0', 'mode', 'tun'])
  const node = rack.actor('node')
  const frontends = [frontendOf(vip, 80, [{ address: pods[0], port: 8080 }])]
  const command = { do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', frontends } as const
  await assert.rejects(node.tell({ ...command, interfaces: ['tun0', uplink] }), /tun0 has no Ethernet header/)
  await node.tell({ ...command, interfaces: [uplink] })
  await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 10 })
})

test('a bridge and its port, both with our programs, translate a packet once', { skip }, async (t) => {
  const rack = deployRack(t)
  const pod = rack.actor('pod')
  await pod.tell({ do: 'serve', port: 8080 })
  const { address } = JSON.parse(rack.run('node', ['ip', '-j', 'link', 'show', uplink]))[0] as { address: string }
  for (const command of [
    `ip link add br0 address ${address} type bridge`,
    `ip address del 198.51.100.1/24 dev ${uplink}`,
    `ip link set ${uplink} master br0`,
    'ip address add 198.51.100.1/24 dev br0',
    'ip link set br0 up',
  ])
    rack.run('node', command.split(' '))
  const node = rack.actor('node')
  const frontends = [
    frontendOf(
      vip,
      80,
      pods.map((each) => ({ address: each, port: 8080 })),
    ),
  ]
  await node.tell({
    do: 'datapath',
    bpffs: rack.bpffs,
    objectFile: buildBpf(),
    attach: 'tcx',
    interfaces: [uplink, 'br0'],
    frontends,
  })
  const user = rack.actor('client')
  for (let n = 0; n < 10; n++) {
    const localPort = 42_000 + n
    assert.match(
      await user.tell<string>({ do: 'tcp', address: vip, port: 80, size: 5000, localPort }),
      /198\.51\.100\.7/,
    )
  }
  const { newConnections, packetsIn } = await node.tell<FrontendCounters>({ do: 'counters', id: `${vip}:80/TCP` })
  assert.equal(newConnections, 10)
  assert.ok(packetsIn < 200, `${packetsIn} packets`)
  // Twice translated each connection would be a second flow, beside that of the VIP, and nobody would notice.
  const { usage } = await node.tell<{ readonly usage: readonly MapUsage[] }>({ do: 'status' })
  const halves = usage.reduce((sum, { name, entries }) => sum + (/openings|connections/.test(name) ? entries : 0), 0)
  assert.ok(halves > 0 && halves <= 20, `${halves} halves of 10 flows`)
})

test('unloading is refused while an agent runs', { skip }, async (t) => {
  const rack = deployRack(t)
  const node = await following(rack)
  await node.tell({ do: 'lock', bpffs: rack.bpffs })
  await assert.rejects(rack.actor('node').tell({ do: 'unload', bpffs: rack.bpffs }), /another herald agent holds/)
  await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 10 })
})

for (const attach of ['tcx', 'clsact'] as const) {
  test(`${attach}: what a version with another schema left is removed once ours is attached, and serves nobody`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const object = foreignObject(t)
    if (attach === 'clsact') {
      rack.run('node', ['tc', 'qdisc', 'add', 'dev', uplink, 'clsact'])
      for (const direction of ['ingress', 'egress'])
        rack.run(
          'node',
          `tc filter add dev ${uplink} ${direction} prio 49 handle 0x4845 bpf da obj ${object} sec tc`.split(' '),
        )
    } else await rack.actor('node').tell({ do: 'former', bpffs: rack.bpffs, objectFile: object, device: uplink })
    await following(rack, attach)
    await rack.actor('client').tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
    assert.deepEqual(readdirSync(join(rack.bpffs, 'herald')), [`v${schema}`])
    assert.doesNotMatch(rack.run('node', ['tc', 'filter', 'show', 'dev', uplink, 'ingress']), /pref 49/)
    assert.doesNotMatch(rack.run('node', ['bpftool', 'net', 'show', 'dev', uplink]), /foreign/)
  })
}

for (const attach of ['tcx', 'clsact'] as const) {
  test(`${attach}: a reply that leaves by another interface than the request came in is translated all the same`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    const node = await following(rack, attach)
    const user = rack.actor('client')
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 1000 })
    rack.layCable('second0', '203.0.113.1', '203.0.113.7')
    rack.run('client', ['sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.second0.rp_filter=0'])
    await waitFor('the program for replies', () => {
      const links = readdirSync(join(rack.bpffs, 'herald', `v${schema}`, 'links'))
      if (attach === 'tcx')
        return links.some((name) => name.endsWith('egress') && !links.includes(name.replace('egress', 'ingress')))
          ? true
          : undefined
      const filters = rack.run('node', ['tc', 'filter', 'show', 'dev', 'second0', 'egress'])
      return /herald_reply/.test(filters) ? true : undefined
    })
    rack.run('node', ['ip', 'route', 'add', `${client}/32`, 'via', '203.0.113.7', 'dev', 'second0'])
    const sent = (): number => {
      const [link] = JSON.parse(rack.run('node', ['ip', '-s', '-j', 'link', 'show', 'second0']))
      return (link as { readonly stats64: { readonly tx: { readonly packets: number } } }).stats64.tx.packets
    }
    const before = sent()
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 100_000 })
    assert.ok(sent() > before + 3, 'replies leave by the second interface')
    await user.tell({ do: 'connect', address: vip, port: 80 })
    await user.tell({ do: 'exchange', size: 100 })
    // Half of the flow is gone: the other half of it says where a reply belongs, also there.
    evict(rack.bpffs, 1)
    assert.equal(await user.tell({ do: 'exchange', size: 100 }), 100)
    assert.equal((await node.tell<Record<string, number>>({ do: 'reasons' }))['reply_unmatched'], 0)
  })
}
