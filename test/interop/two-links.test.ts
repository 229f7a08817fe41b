/**
 * A node with two links, at the end of each a router (BIRD) with the same link-local address, as where every router has
 * fe80::1 on every port.
 *
 *     router 65011, fe80::2 --eth0-- node 65001, fe80::1 --eth1-- fe80::2, router 65012
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import { waitFor } from '../wait.ts'
import { missing, signalGroup } from './link.ts'
import { SpeakerProcess } from './speaker.ts'

const devices = ['eth0', 'eth1'] as const
const asnOf = { eth0: 65_011, eth1: 65_012 } as const
const run = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const configuration = (asn: number): string => `log "/dev/null" all;
router id 192.0.2.${asn - 65_000};
protocol device {}
protocol radv { interface "eth0" { max ra interval 4; min ra interval 3; }; }
protocol static own { ipv4; route 10.${asn - 65_000}.0.0/24 blackhole; }
protocol bgp node {
  local fe80::2 as ${asn}; neighbor fe80::1 as 65001; interface "eth0";
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { import all; export all; extended next hop on; }; }
`

test('two routers with one link-local address on two links are two neighbors, whoever dials and however they ' +
  'are found', {
  skip: missing('bird', 'ip'),
}, async (t) => {
  const names = {
    node: `it-two-node-${process.pid}`,
    eth0: `it-two-eth0-${process.pid}`,
    eth1: `it-two-eth1-${process.pid}`,
  }
  const directory = mkdtempSync(join(tmpdir(), 'herald-two-links-'))
  const children: ChildProcess[] = []
  const inside = (namespace: string, ...command: readonly string[]): ChildProcess => {
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    })
    children.push(child)
    return child
  }
  t.after(() => {
    for (const child of children) signalGroup(child, 'SIGKILL')
    for (const namespace of Object.values(names))
      if (existsSync(`/run/netns/${namespace}`)) run('ip', 'netns', 'delete', namespace)
    rmSync(directory, { recursive: true, force: true })
  })
  for (const namespace of Object.values(names)) {
    run('ip', 'netns', 'add', namespace)
    run(
      'ip',
      'netns',
      'exec',
      namespace,
      'sysctl',
      '-qw',
      'net.ipv6.conf.all.accept_dad=0',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.default.addr_gen_mode=1',
      'net.ipv6.conf.all.forwarding=1',
    )
  }
  for (const device of devices) {
    run(
      'ip',
      'link',
      'add',
      device,
      'netns',
      names.node,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      names[device],
    )
    for (const [namespace, name, address] of [
      [names.node, device, 'fe80::1'],
      [names[device], 'eth0', 'fe80::2'],
    ] as const) {
      run('ip', '-n', namespace, 'address', 'add', `${address}/64`, 'dev', name, 'nodad')
      run('ip', '-n', namespace, 'link', 'set', name, 'up')
    }
    writeFileSync(join(directory, `${device}.conf`), configuration(asnOf[device]))
    inside(names[device], 'bird', '-f', '-c', join(directory, `${device}.conf`), '-s', join(directory, `${device}.ctl`))
  }
  const speaker = new SpeakerProcess(
    { spawn: (_side, ...command) => inside(names.node, ...command) },
    { listen: { host: '::', port: 179 }, isRestart: false, isForwardingPreserved: false },
  )
  const neighbor = (peerAddress: string, device: (typeof devices)[number], passive: boolean): Neighbor => ({
    id: `65001/${peerAddress}%${device}`,
    source: { kind: 'test', name: 'test' },
    virtualRouter: '65001',
    localAsn: 65_001,
    peerAsn: asnOf[device],
    peerAddress,
    peerPort: 179,
    routerId: '192.0.2.1',
    families: ['ipv4-unicast'],
    holdTimeSec: 9,
    keepaliveSec: 3,
    connectRetrySec: 1,
    multihopTtl: 1,
    passive,
    interface: device,
  })
  for (const [peerAddress, passive] of [
    ['fe80::2', true],
    ['fe80::2', false],
    ['::', false],
  ] as const) {
    speaker.post(
      { type: 'configure', neighbors: [] },
      { type: 'configure', neighbors: devices.map((device) => neighbor(peerAddress, device, passive)) },
    )
    const peers = await waitFor(`both sessions with ${peerAddress}`, async () => {
      const all = await speaker.peers()
      return (
        all.length === 2 &&
        all.every(({ state, families }) => state === 'Established' && families[0]?.received === 1) &&
        all
      )
    })
    assert.deepEqual(
      peers.map(({ peerAddress: address, peerAsn }) => [address, peerAsn]),
      [
        ['fe80::2%eth0', 65_011],
        ['fe80::2%eth1', 65_012],
      ],
    )
    // The other one would refuse the AS. Of two that dial at once one closes a connection, and says no more.
    const resets = peers.flatMap(({ lastReset }) => lastReset?.text ?? [])
    assert.deepEqual(
      resets.filter((text) => text !== 'peer closed: Cease'),
      [],
      'no connection went to the other neighbor',
    )
  }
  assert.equal(speaker.stderr, '')
})
