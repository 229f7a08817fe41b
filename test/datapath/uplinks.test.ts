/** Uplinks that come and go while the agent runs: by the kernel's own events, in network namespaces. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { waitFor } from '../wait.ts'
import type { Command } from './actor.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
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
      await waitFor('an answer over the new link', answered, { deadlineMs: 2_000, everyMs: 5 })
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
  await waitFor('an answer over the new link', answered, { deadlineMs: 5_000, everyMs: 5 })
})
