/** Somebody unmounts the bpf file system under an agent, or removes what is in it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { schema } from '../../src/datapath/layout.ts'
import { openDatapath } from '../../src/datapath/open.ts'
import { mountBpffs } from '../../src/sys/mount.ts'
import { waitFor } from '../wait.ts'
import type { Load } from './actor.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'
import { client, deployRack, pods, vip } from './rack.ts'

const skip = whyNoKernel()
const [pod, other] = ['10.1.0.5', '10.1.0.6'].map((address) => ({ address, port: 8080 }))
assert.ok(pod !== undefined && other !== undefined)

/** Also while somebody has something open in it. */
const unmount = (bpffs: string): void => void execFileSync('umount', ['--lazy', bpffs])
const losses: Readonly<Record<string, (bpffs: string) => void>> = {
  'the file system is unmounted': unmount,
  'another one is mounted over it': (bpffs) => void execFileSync('mount', ['-t', 'bpf', 'bpf', bpffs]),
  'all that is in it is removed': (bpffs) => rmSync(join(bpffs, 'herald'), { recursive: true }),
  'a map and a program are removed': (bpffs) => {
    for (const name of ['maps/connections', 'maps/stages', 'programs/herald_egress'])
      unlinkSync(join(bpffs, `herald/v${schema}`, name))
  },
}

/** Where a packet of one client goes; `refused` when nobody has it. */
function sent(datapath: KernelDatapath, flags: number): string {
  const ends = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80 }
  const run = ingress(datapath, tcpFrame({ ...ends, flags }))
  return run.verdict === verdict.pass ? parse(run.packet).destination : 'refused'
}

for (const [what, lose] of Object.entries(losses))
  test(`${what}: all is pinned again, and the next agent goes on with every flow`, { skip }, (t) => {
    const { bpffs, open } = kernelFixture(t)
    const log: string[] = []
    const agent = open({ log: (message) => log.push(message), mostEntries: { frontends: 256, counters: 256 } })
    agent.attach(['lo'])
    agent.upsert(frontendOf(vip, 80, [pod]))
    assert.equal(sent(agent, tcpFlag.SYN), pod.address)
    lose(bpffs)
    // Maps are made larger before anybody has looked.
    if (what === 'the file system is unmounted')
      for (let n = 0; n < smallMaps.frontends; n++) agent.upsert(frontendOf(vip, 1000 + n, [pod]))
    agent.attach(['lo'])
    assert.deepEqual(agent.status.problems, [])
    assert.equal(log.filter((line) => line.startsWith('pinned again')).length, 1, log.join('\n'))
    agent.close()
    const next = open()
    assert.deepEqual([next.status.adopted, next.status.lostUplinks, next.status.interfaces], [true, 0, ['lo']])
    next.upsert(frontendOf(vip, 80, [other], 'TCP'))
    assert.equal(sent(next, tcpFlag.ACK), pod.address)
    next.close()
    if (what === 'another one is mounted over it') execFileSync('umount', [bpffs])
  })

test('maps that somebody removes while no agent runs, some or all, are found by the programs that serve', {
  skip,
}, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const maps = join(bpffs, `herald/v${schema}/maps`)
  const first = open()
  first.attach(['lo'])
  first.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(sent(first, tcpFlag.SYN), pod.address)
  first.close()
  const all = readdirSync(maps)
  for (const names of [['backends'], ['snat'], ['connections', 'stages'], all]) {
    for (const name of names) unlinkSync(join(maps, name))
    const log: string[] = []
    const next = open({ log: (message) => log.push(message) })
    const told = log.filter((line) => line.startsWith('pinned again'))
    assert.deepEqual([told.length, readdirSync(maps)], [1, all], `${names.join()}: ${log.join('\n')}`)
    assert.equal(sent(next, tcpFlag.ACK), pod.address, names.join())
    assert.equal(next.status.adopted, true)
    next.close()
  }
})

test('an uplink that has lost one of its links while no agent ran is lost: forwarding was not preserved (RFC 4724 4.1)', {
  skip,
}, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const links = join(bpffs, `herald/v${schema}/links`)
  const lost = ['', 'ingress', 'egress'].map((direction) => {
    const agent = open()
    agent.attach(['lo'])
    agent.close()
    const name = readdirSync(links).find((each) => each.endsWith(`-${direction}`))
    if (name !== undefined) unlinkSync(join(links, name))
    const next = open()
    const { lostUplinks } = next.status
    next.attach(['lo'])
    next.close()
    return lostUplinks
  })
  assert.deepEqual(lost, [0, 1, 1])
})

test('where it cannot be mounted again that is a problem, nothing is lost, and nothing grows until it can', {
  skip,
}, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const agent = open({ mostEntries: { frontends: 4 * smallMaps.frontends } })
  agent.attach(['lo'])
  agent.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(sent(agent, tcpFlag.SYN), pod.address)
  unmount(bpffs)
  rmdirSync(bpffs)
  writeFileSync(bpffs, '')
  agent.attach(['lo'])
  assert.deepEqual(agent.status.interfaces, ['lo'])
  assert.match(agent.status.problems?.[0]?.text ?? '', /is not pinned in .* any more, and cannot be: .*cannot be made/)
  const room = (): number | undefined => agent.usage().find(({ name }) => name === 'frontends')?.maxEntries
  for (let n = 0; n < smallMaps.frontends - 1; n++) agent.upsert(frontendOf(vip, 1000 + n, [pod]))
  assert.equal(room(), smallMaps.frontends)
  assert.equal(sent(agent, tcpFlag.ACK), pod.address)
  unlinkSync(bpffs)
  mkdirSync(bpffs)
  agent.attach(['lo'])
  assert.deepEqual(
    agent.status.problems?.filter(({ subject }) => subject === 'pins'),
    [],
  )
  assert.deepEqual(readdirSync(join(bpffs, 'herald')), [`v${schema}`])
})

test('who has pinned again keeps a second agent away', { skip }, async (t) => {
  const { bpffs } = kernelFixture(t)
  const choice = {
    ...({ kind: 'ebpf', bpffs, objectFile: buildBpf(), attach: 'auto', mode: 'stack' } as const),
    log: () => undefined,
  }
  const first = await openDatapath(choice)
  unmount(bpffs)
  mountBpffs(bpffs)
  first.datapath.attach(['lo'])
  await assert.rejects(openDatapath(choice), { code: 'ERR_ALREADY_RUNNING' })
  first.datapath.close()
  first.releaseBpffs()
  const second = await openDatapath(choice)
  assert.equal(second.datapath.status.adopted, true)
  second.datapath.close()
  second.releaseBpffs()
})

for (const attach of ['tcx', 'clsact'] as const)
  test(`${attach}: packets meet the programs all the while, and no connection ends`, { skip }, async (t) => {
    const rack = deployRack(t)
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    const node = rack.actor('node')
    await node.tell({
      do: 'datapath',
      bpffs: rack.bpffs,
      objectFile: buildBpf(),
      attach,
      interfaces: [],
      frontends: [frontendOf(vip, 80, [{ address: pods[0], port: 8080 }])],
    })
    await node.tell({ do: 'follow', neighbors: [client] })
    const user = rack.actor('client')
    await user.tell({ do: 'load', address: vip, port: 80, connections: 4 })
    const opened = async (): Promise<number> => (await user.tell<Load>({ do: 'load-so-far' })).opened
    for (const lose of [unmount, losses['all that is in it is removed']]) {
      lose?.(rack.bpffs)
      const before = await opened()
      await waitFor('connections without pins', async () => (await opened()) > before + 20)
      // An interface comes by which replies may leave: the agent looks.
      rack.layCable('some0', '10.9.0.1', '10.9.0.2')
      await waitFor('new pins', () => existsSync(join(rack.bpffs, 'herald')))
      rack.run('node', ['ip', 'link', 'delete', 'some0'])
      const there = await opened()
      await waitFor('connections afterwards', async () => (await opened()) > there + 20)
    }
    const { failures, exchanges } = await user.tell<Load>({ do: 'load-end' })
    assert.deepEqual(failures, [])
    assert.ok(exchanges > 0)
  })
