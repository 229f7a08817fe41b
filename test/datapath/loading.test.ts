import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { createNoneDatapath } from '../../src/datapath/none.ts'
import { openKernelDatapath, openKernelDatapathAside } from '../../src/datapath/kernel.ts'
import { mapNames, mapShapes, schema } from '../../src/datapath/layout.ts'
import type { KernelDatapathOptions } from '../../src/datapath/loading.ts'
import { closeFd, mapInfo, openPinned, programMaps } from '../../src/sys/bpf.ts'
import { listLinks, lookAtLinks } from '../../src/sys/links.ts'
import { makeMapsAside } from '../../src/sys/map-maker.ts'
import { messageOf } from '../../src/errors.ts'
import { egress, frontendOf, ingress, kernelFixture, smallMaps, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'
import { refusedPast } from './refused-past.ts'

const skip = whyNoKernel()

test('what keeps the datapath from loading is said with a code', { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const { bpffs } = kernelFixture(t)
  const garbage = join(folder, 'garbage.o')
  writeFileSync(garbage, 'not an object')
  assert.throws(() => openKernelDatapath({ bpffs: folder, objectFile: buildBpf(), attach: 'auto' }), {
    code: 'ERR_BPFFS',
  })
  assert.throws(() => openKernelDatapath({ bpffs, objectFile: join(folder, 'none.o'), attach: 'auto' }), {
    code: 'ERR_BPF_OBJECT_MISSING',
  })
  assert.throws(() => openKernelDatapath({ bpffs, objectFile: garbage, attach: 'auto' }), {
    code: 'ERR_BPF_LOAD',
    message: /libbpf: elf/,
  })
})

test('while the kernel loads the loop goes round, and what is adopted is the same', { skip }, async (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(frontendOf('192.0.2.1', 80, [{ address: '10.1.0.5', port: 8080 }]))
  former.close()
  let rounds = 0
  const count = (): void => {
    rounds++
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  t.after(() => clearImmediate(next))
  // Larger ones of flows too, so that these are handed over.
  const maxEntries = { ...smallMaps, connections: 2 * smallMaps.connections }
  const datapath = await openKernelDatapathAside({
    ...{ bpffs: fixture.bpffs, objectFile: buildBpf(), attach: 'auto', maxEntries },
  })
  try {
    assert.ok(rounds > 0)
    assert.equal(datapath.status.adopted, true)
    assert.deepEqual(
      datapath.readAll().map(({ id }) => id),
      ['192.0.2.1:80/TCP'],
    )
    assert.equal(datapath.usage().find(({ name }) => name === 'connections')?.maxEntries, maxEntries.connections)
  } finally {
    datapath.close()
  }
})

test('the maps that other threads make ahead are those that the object makes by itself', { skip }, async (t) => {
  const shapesOf = (bpffs: string): ReadonlyMap<string, object> =>
    new Map(
      mapNames.map((name) => {
        const fd = openPinned(join(mapsOf(bpffs), name)) ?? assert.fail(`${name} is not pinned`)
        const { id: _, ...shape } = mapInfo(fd)
        closeFd(fd)
        return [name, shape]
      }),
    )
  const [alone, ahead] = [kernelFixture(t), kernelFixture(t)]
  alone.open()
  const options = { bpffs: ahead.bpffs, objectFile: buildBpf(), attach: 'auto', maxEntries: smallMaps } as const
  const datapath = await openKernelDatapathAside(options)
  t.after(() => datapath.close())
  assert.deepEqual(shapesOf(ahead.bpffs), shapesOf(alone.bpffs))
  assert.equal(datapath.status.adopted, false)
})

test('programs that two threads loaded serve as one: what one of them notes the others know', { skip }, async (t) => {
  const { bpffs } = kernelFixture(t)
  const datapath = await openKernelDatapathAside({
    ...{ bpffs, objectFile: buildBpf(), attach: 'auto', maxEntries: smallMaps },
  })
  t.after(() => datapath.close())
  const [vip, client, pod] = ['192.0.2.1', '198.51.100.7', { address: '10.1.0.5', port: 8080 }]
  datapath.upsert(frontendOf(vip, 80, [pod]))
  const { SYN, ACK } = tcpFlag
  const sent = { source: client, destination: vip, sourcePort: 40_000, destinationPort: 80, flags: SYN }
  assert.equal(parse(ingress(datapath, tcpFrame(sent)).packet).destination, pod.address)
  const answer = { source: pod.address, destination: client, sourcePort: pod.port, destinationPort: 40_000 }
  const replied = parse(egress(datapath, tcpFrame({ ...answer, flags: SYN | ACK })).packet)
  assert.deepEqual([replied.source, replied.sourcePort], [vip, 80])
  const mapsSeenBy = (program: number): ReadonlyMap<string, number> =>
    new Map(
      programMaps(program).map((map) => {
        const { id } = mapInfo(map.fd)
        closeFd(map.fd)
        return [map.name, id]
      }),
    )
  // By a tail call a packet goes on from one to the other, with what lies in the maps of one place.
  const [ofIngress, ofSnat] = [datapath.programs.ingress, datapath.stagePrograms[0] ?? 0].map(mapsSeenBy)
  const both = [...(ofIngress?.keys() ?? [])].filter((name) => ofSnat?.has(name) && !name.includes('.'))
  assert.ok(both.includes('scratch') && both.includes('passages'), both.join())
  for (const name of both) assert.equal(ofIngress?.get(name), ofSnat?.get(name), name)
})

test('a first start that is refused leaves no map, whoever made it', { skip }, async (t) => {
  const { bpffs } = kernelFixture(t)
  const asked = { bpffs, objectFile: buildBpf(), attach: 'auto' } as const
  // More than any machine has memory for: the other maps are there before that is known.
  const tooMany = { ...smallMaps, connections: 2 ** 30 }
  await assert.rejects(openKernelDatapathAside({ ...asked, maxEntries: tooMany }), {
    code: 'ERR_BPF_LOAD',
    message: /ENOMEM|E2BIG/,
  })
  assert.deepEqual(readdirSync(mapsOf(bpffs)), [])
  const past: KernelDatapathOptions = { ...asked, objectFile: refusedPast(t), mode: 'redirect', maxEntries: smallMaps }
  await assert.rejects(openKernelDatapathAside(past), { code: 'ERR_BPF_LOAD' })
  assert.deepEqual(readdirSync(mapsOf(bpffs)), [])
  const next = await openKernelDatapathAside({ ...asked, maxEntries: smallMaps })
  t.after(() => next.close())
  assert.equal(next.status.adopted, false)
})

test('maps that another version left in its first start are made anew where they are of another size', {
  skip,
}, async (t) => {
  // It has more reasons and fewer limits than this one.
  for (const [name, more] of [
    ['drops', 1],
    ['event_limits', -1],
  ] as const) {
    const { bpffs } = kernelFixture(t)
    mkdirSync(mapsOf(bpffs), { recursive: true })
    const left = { path: join(mapsOf(bpffs), name), maxEntries: mapShapes[name].maxEntries + more }
    assert.ok(await makeMapsAside(buildBpf(), new Map([[name, left]])))
    const datapath = await openKernelDatapathAside({
      bpffs,
      objectFile: buildBpf(),
      attach: 'auto',
      maxEntries: smallMaps,
    })
    assert.deepEqual([datapath.status.kind, datapath.status.adopted], ['ebpf', false])
    datapath.close()
    const fd = openPinned(left.path) ?? assert.fail(`${name} is not pinned`)
    assert.equal(mapInfo(fd).maxEntries, mapShapes[name].maxEntries)
    closeFd(fd)
  }
})

test('why the kernel refuses is said alike, whichever thread it was asked in, and by whom it is asked next', {
  skip,
}, async (t) => {
  const { bpffs } = kernelFixture(t)
  const asked: KernelDatapathOptions = {
    ...{ bpffs, objectFile: refusedPast(t), attach: 'auto', mode: 'redirect', maxEntries: smallMaps },
  }
  const here = messageOf(thrownBy(() => openKernelDatapath(asked))).split('\n')[0] ?? ''
  assert.match(here, /^load .*refused\.bpf\.o: .*: refused_past: /)
  for (const _ of [1, 2])
    await assert.rejects(openKernelDatapathAside(asked), (error) => messageOf(error).startsWith(here))
  const datapath = await openKernelDatapathAside({ ...asked, mode: 'auto' })
  t.after(() => datapath.close())
  assert.equal(datapath.status.mode, 'stack')
  assert.match(datapath.status.modeReason ?? '', /takes no programs past netfilter: load .*: refused_past: /)
  assert.throws(() => datapath.attach(['no-such-if']), { errno: 'ENODEV' })
})

test('an unknown interface is an error, and keeps no other one from its programs', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  const wrong = { code: 'ERR_SYSCALL', errno: 'ENODEV', message: /no-such-if: ENODEV/ }
  assert.throws(() => datapath.attach(['no-such-if', 'lo']), wrong)
  assert.deepEqual(datapath.status.interfaces, ['lo'])
  assert.throws(() => datapath.attach(['no-such-if']), wrong)
  assert.deepEqual(datapath.status.interfaces, [])
})

test('a closed datapath refuses instead of touching memory that is gone', { skip }, (t) => {
  const datapath = kernelFixture(t).open()
  datapath.upsert(frontendOf('192.0.2.1', 80, []))
  datapath.close()
  datapath.close()
  assert.throws(() => datapath.readAll(), { code: 'ERR_SYSCALL' })
  assert.throws(() => datapath.reasons(), { code: 'ERR_SYSCALL' })
})

test('a pattern chooses interfaces by name, never the loopback', () => {
  assert.ok(listLinks().some(({ name, index }) => name === 'lo' && index === 1))
  assert.equal(lookAtLinks([], /./).uplinks.length, listLinks().length - 1)
  assert.deepEqual(lookAtLinks([], /^no-such-if$/).uplinks, [])
  const reaches = ['127.0.0.1', '::1', 'not an address'].map((address) => ({ address }))
  assert.ok(!lookAtLinks(reaches).links.some(({ name }) => name === 'lo'))
})

test('the datapath that serves nothing holds nothing and never fails', () => {
  const datapath = createNoneDatapath()
  datapath.upsert(frontendOf('192.0.2.1', 80, []))
  datapath.remove('x')
  datapath.attach(['eth0'])
  assert.deepEqual(
    [datapath.status.kind, datapath.readAll(), datapath.read('192.0.2.1:80/TCP'), datapath.usage()],
    ['none', [], undefined, []],
  )
})

const mapsOf = (bpffs: string): string => join(bpffs, 'herald', `v${schema}`, 'maps')

function thrownBy(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  return assert.fail('nothing was thrown')
}
