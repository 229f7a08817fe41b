/** Programs and maps that are replaced by others while packets go on: another schema, larger maps. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus, MapUsage } from '../../src/datapath/datapath.ts'
import { planHandOver } from '../../src/datapath/hand-over.ts'
import { mapNames, schema } from '../../src/datapath/layout.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { BpfObject, pin } from '../../src/sys/bpf.ts'
import type { Command } from './actor.ts'
import { frontendOf, kernelFixture, whyNoKernel } from './fixture.ts'
import { deployRack, pods, uplink, vip, type Rack } from './rack.ts'
import { underLoad } from './under-load.ts'

const skip = whyNoKernel()
const backends = pods.map((address) => ({ address, port: 8080 }))
const frontends = [frontendOf(vip, 80, backends)]

type Opening = Extract<Command, { readonly do: 'datapath' }>

function opening(rack: Rack, attach: 'tcx' | 'clsact', more: Partial<Opening> = {}): Opening {
  const base = { bpffs: rack.bpffs, objectFile: buildBpf(), attach, interfaces: [uplink], frontends }
  return { do: 'datapath', ...base, ...more }
}

for (const [attach, mode] of [
  ['tcx', 'stack'],
  ['clsact', 'stack'],
  ['tcx', 'redirect'],
  ['clsact', 'redirect'],
] as const)
  test(`${attach}, ${mode}: a version with another schema takes programs and flows over under load: no segment is lost ` +
    'and no connection ends', { skip }, async (t) => {
    const rack = deployRack(t)
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    const former = rack.actor('node')
    await former.tell(opening(rack, attach, { mode }))
    const user = rack.actor('client')
    const next = rack.actor('node')
    let status: DatapathStatus | undefined
    await underLoad(rack, user, async () => {
      await former.kill('SIGKILL')
      const opened = await next.tell<{ readonly status: DatapathStatus }>(opening(rack, attach, { mode, isNext: true }))
      ;({ status } = opened)
    })
    assert.deepEqual([status?.adopted, status?.schema, status?.interfaces], [true, schema + 1, [uplink]])
    assert.equal((await next.tell<Record<string, number>>({ do: 'reasons' }))['reply_unmatched'], 0)
    assert.deepEqual(readdirSync(join(rack.bpffs, 'herald')), [`v${schema + 1}`])
    assert.ok(!existsSync(join(rack.bpffs, 'herald', `v${schema + 1}`, 'arriving')))
    assert.deepEqual([status?.mode, status?.modeReason], [mode, undefined])
  })

for (const attach of ['tcx', 'clsact'] as const) {
  test(`${attach}: maps that fill are made larger under load, before they are full: no segment is lost`, {
    skip,
  }, async (t) => {
    const rack = deployRack(t)
    await rack.actor('pod').tell({ do: 'serve', port: 8080 })
    const node = rack.actor('node')
    await node.tell(
      opening(rack, attach, { maxEntries: { frontends: 16 }, mostEntries: { frontends: 64, counters: 256 } }),
    )
    const more = Array.from({ length: 100 }, (_, n) => frontendOf('192.0.2.20', 1000 + n, backends.slice(0, 1)))
    await underLoad(rack, rack.actor('client'), () => node.tell({ do: 'upsert', frontends: more.slice(0, 40) }))
    const { said, usage, status } = await node.tell<{
      readonly said: readonly string[]
      readonly usage: readonly MapUsage[]
      readonly status: DatapathStatus
    }>({ do: 'status' })
    const sizeOf = (name: string): number | undefined => usage.find((map) => map.name === name)?.maxEntries
    assert.deepEqual([sizeOf('frontends'), sizeOf('counters')], [64, 64], said.join('\n'))
    assert.match(said.join('\n'), /made larger before they were full: frontends to 32\n(.*\n)*.*frontends to 64/)
    assert.deepEqual([status.problems, status.interfaces], [[], [uplink]])
    assert.deepEqual(readdirSync(join(rack.bpffs, 'herald', `v${schema}`)).sort(), ['links', 'maps', 'programs'])
    // It may not become larger than 64: that is said before it is full, and what fits is served all the same.
    await node.tell({ do: 'upsert', frontends: more.slice(40, 60) })
    const { status: crowded } = await node.tell<{ readonly status: DatapathStatus }>({ do: 'status' })
    assert.match(
      crowded.problems?.map(({ text }) => text).join() ?? '',
      /frontends is 75 % full \(48 of 64\) and cannot/,
    )
    await assert.rejects(node.tell({ do: 'upsert', frontends: more.slice(60) }), /frontends takes no more than 64/)
  })
}

test('programs that are asked for replies are those of the hand-over that was broken off, and of none before it', {
  skip,
}, (t) => {
  const { bpffs, open } = kernelFixture(t)
  open().close()
  const pins = new Pins(bpffs)
  const object = new BpfObject(buildBpf())
  t.after(() => object.close())
  object.load()
  pin(object.openMap('formers').fd, pins.formers)
  const prepare = (): void => {
    const next = new BpfObject(buildBpf())
    planHandOver(pins, (name) => (name === mapNames[0] ? Infinity : 0), [])?.prepare(next)
    next.close()
  }
  mkdirSync(pins.swapped)
  prepare()
  assert.ok(existsSync(pins.formers), 'broken off')
  rmdirSync(pins.swapped)
  prepare()
  assert.ok(!existsSync(pins.formers), 'finished by a version that knows nothing of the pin')
})
