/** Where herald_xdp is and where not: asked for, taken over, refused, beside programs of others, and gone again. */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { Acceleration, AcceleratedInterface } from '../../src/datapath/datapath.ts'
import { converters } from '../../src/datapath/converters.ts'
import type { KernelDatapath } from '../../src/datapath/kernel.ts'
import { mapNames, schema } from '../../src/datapath/layout.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { isBefore } from '../../src/datapath/refusal.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { programInfo } from '../../src/sys/bpf.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { xdpProgramIds } from '../../src/sys/xdp.ts'
import { familyOf } from './family.ts'
import { type Fixture, frontendOf, kernelFixture, smallMaps, whyNoKernel } from './fixture.ts'
import { enterNetwork, ip, layCable } from './network.ts'

const skip = whyNoKernel()
const { vip, podAt, nodeAt } = familyOf('')
const frontend = frontendOf(vip, 80, [{ address: podAt(5), port: 8080 }])
/** The kernel behind the second one shows TC everything, see acceleration.ts. */
const modes = isBefore(release(), [6, 9]) ? (['native', 'generic'] as const) : (['native'] as const)

function layUplink(t: TestContext): number {
  enterNetwork()
  layCable('up0', [nodeAt(250)])
  t.after(() => {
    for (const name of ['up0', 'up9', 'br0']) if (ip('link').includes(` ${name}`)) ip('link', 'delete', name)
  })
  return ifnameToIndex('up0')
}

function serving(fixture: Fixture, acceleration: Acceleration, names: readonly string[] = ['up0']): KernelDatapath {
  const datapath = fixture.open({ acceleration })
  datapath.upsert(frontend)
  datapath.attach(names)
  return datapath
}

const idOf = (datapath: KernelDatapath): number => programInfo(datapath.earlyProgram ?? -1).id
const found = ({ status }: KernelDatapath): readonly Pick<AcceleratedInterface, 'interface' | 'mode'>[] =>
  (status.acceleration?.interfaces ?? []).map(({ interface: name, mode }) => ({ interface: name, mode }))

for (const mode of modes)
  test(`${mode}: it comes with the setting, is taken over without a gap, and goes with the setting`, { skip }, (t) => {
    const uplink = layUplink(t)
    const fixture = kernelFixture(t)
    const first = serving(fixture, mode)
    assert.deepEqual(found(first), [{ interface: 'up0', mode }])
    assert.deepEqual(xdpProgramIds(uplink), [idOf(first)])
    first.attach(['up0'])
    assert.deepEqual(xdpProgramIds(uplink), [idOf(first)], 'attached once')
    const before = idOf(first)
    first.close()
    assert.deepEqual(xdpProgramIds(uplink), [before], 'it outlives its agent')
    const next = fixture.open({ acceleration: mode })
    assert.notEqual(idOf(next), before)
    assert.deepEqual(
      xdpProgramIds(uplink),
      [idOf(next)],
      'the link is the one of before, also before anything is attached',
    )
    assert.deepEqual(found(next), [{ interface: 'up0', mode }])
    next.close()
    const said: string[] = []
    const last = fixture.open({ acceleration: 'disabled', log: (text) => said.push(text) })
    const ofXdp = said.filter((text) => /XDP|accelerated/.test(text))
    assert.deepEqual(ofXdp, [`removed XDP link of interface ${uplink} (${mode})`])
    assert.deepEqual([xdpProgramIds(uplink), last.status.acceleration, last.earlyProgram], [[], undefined, undefined])
    assert.ok(!existsSync(new Pins(fixture.bpffs).xdpLink(uplink, mode)))
  })

test('from one kind to the other, and to no uplink any more', { skip }, (t) => {
  const uplink = layUplink(t)
  const fixture = kernelFixture(t)
  for (const mode of ['native', 'generic', 'native'] as const) {
    const datapath = serving(fixture, mode)
    const isTaken = modes.some((each) => each === mode)
    const { acceleration, interfaces, problems = [] } = datapath.status
    assert.deepEqual(found(datapath), [{ interface: 'up0', mode: isTaken ? mode : 'none' }])
    assert.deepEqual(xdpProgramIds(uplink), isTaken ? [idOf(datapath)] : [], 'none of the other kind stays')
    assert.deepEqual([interfaces, problems.length], [['up0'], isTaken ? 0 : 1])
    if (!isTaken) assert.match(acceleration?.problem ?? '', /hides from TC the headers of what generic XDP has passed/)
    if (mode === 'native') datapath.attach([])
    if (mode === 'native') assert.deepEqual([found(datapath), xdpProgramIds(uplink)], [[], []])
    datapath.close()
  }
})

test('larger maps, and a version with another schema, have a program over their own', { skip }, (t) => {
  const uplink = layUplink(t)
  const fixture = kernelFixture(t)
  const first = serving(fixture, 'native')
  const former = idOf(first)
  first.close()
  const larger = fixture.open({
    acceleration: 'native',
    maxEntries: { ...smallMaps, openings: 2 * smallMaps.openings },
  })
  const grown = idOf(larger)
  assert.deepEqual([xdpProgramIds(uplink), grown === former], [[grown], false])
  larger.close()
  const same = { from: schema, maps: Object.fromEntries(mapNames.map((name) => [name, 'same' as const])) }
  const version = { schema: schema + 1, converters: [same] }
  const upgraded = fixture.open({ acceleration: 'native', version })
  assert.deepEqual([xdpProgramIds(uplink), found(upgraded)], [[idOf(upgraded)], [{ interface: 'up0', mode: 'native' }]])
  upgraded.attach(['up0'])
  upgraded.close()
  // Whose maps a version cannot read goes once that one is attached, as the programs of TC do.
  const foreign = { schema: schema + 2, converters: converters.filter(({ from }) => from > schema + 2) }
  const unlike = fixture.open({ acceleration: 'native', version: foreign })
  unlike.upsert(frontend)
  unlike.attach(['up0'])
  assert.deepEqual([xdpProgramIds(uplink), found(unlike)], [[idOf(unlike)], [{ interface: 'up0', mode: 'native' }]])
  assert.deepEqual(new Pins(fixture.bpffs).xdpLinks(), [])
})

test('a program of somebody else, also of another agent, stays and is named, and TC serves', { skip }, (t) => {
  const uplink = layUplink(t)
  const theirs = serving(kernelFixture(t), 'native')
  for (const acceleration of [...modes, 'best-effort'] as const) {
    const ours = serving(kernelFixture(t), acceleration)
    assert.deepEqual(xdpProgramIds(uplink), [idOf(theirs)])
    const { interfaces, acceleration: status, problems = [] } = ours.status
    const reason = `program herald_xdp (id ${idOf(theirs)}) of somebody else is there`
    assert.deepEqual(status?.interfaces, [{ interface: 'up0', mode: 'none', reason }])
    assert.deepEqual(interfaces, ['up0'])
    assert.deepEqual(
      problems.map(({ kind, subject }) => [kind, subject]),
      acceleration === 'best-effort' ? [] : [['acceleration', 'up0']],
      'whoever asks for what there is has what there is',
    )
    ours.attach([])
  }
  theirs.attach([])
  const ours = serving(kernelFixture(t), 'native')
  assert.deepEqual([found(ours), ours.status.problems], [[{ interface: 'up0', mode: 'native' }], []], 'once it is gone')
})

test('an interface whose driver takes none: refused by name, or left to TC', { skip }, (t) => {
  layUplink(t)
  ip('link', 'add', 'br0', 'type', 'bridge')
  const problemsOf = ({ status: { problems = [] } }: KernelDatapath): readonly string[] =>
    problems.map(({ text }) => text)
  const reason = 'its driver takes no XDP program (EOPNOTSUPP)'
  const none = { interface: 'br0', mode: 'none', reason }
  const fixture = kernelFixture(t)
  const native = serving(fixture, 'native', ['br0', 'up0'])
  assert.deepEqual(native.status.acceleration?.interfaces[0], none)
  assert.deepEqual(problemsOf(native), [`--lb-acceleration native: ${reason}; TC serves there all the same`])
  assert.deepEqual(found(native)[1], { interface: 'up0', mode: 'native' }, 'one that cannot keeps no other from it')
  native.close()
  const asked = serving(fixture, 'best-effort', ['br0', 'up0'])
  assert.deepEqual(asked.status.acceleration?.interfaces[0], none)
  assert.deepEqual([problemsOf(asked), found(asked)[1]?.mode], [[], 'native'])
})

test('an interface that is renamed keeps it, one that is made anew gets it, one that is gone leaves nothing', {
  skip,
}, (t) => {
  const uplink = layUplink(t)
  const fixture = kernelFixture(t)
  const datapath = serving(fixture, 'native')
  ip('link', 'set', 'up0', 'down')
  ip('link', 'set', 'up0', 'name', 'up9')
  ip('link', 'set', 'up9', 'up')
  datapath.attach(['up9'])
  assert.deepEqual([found(datapath), xdpProgramIds(uplink)], [[{ interface: 'up9', mode: 'native' }], [idOf(datapath)]])
  ip('link', 'delete', 'up9')
  datapath.follow()
  layCable('up0', [nodeAt(250)])
  datapath.attach(['up0'])
  const anew = ifnameToIndex('up0')
  assert.deepEqual([found(datapath), xdpProgramIds(anew)], [[{ interface: 'up0', mode: 'native' }], [idOf(datapath)]])
  assert.deepEqual(new Pins(fixture.bpffs).xdpLinks(), [{ ifindex: anew, mode: 'native' }])
  datapath.close()
  ip('link', 'delete', 'up0')
  const next = fixture.open({ acceleration: 'native' })
  assert.deepEqual([found(next), new Pins(fixture.bpffs).xdpLinks()], [[], []])
})

test('a pin that somebody removes is there again, and nothing was detached meanwhile', { skip }, (t) => {
  const uplink = layUplink(t)
  const fixture = kernelFixture(t)
  const datapath = serving(fixture, 'native')
  const path = new Pins(fixture.bpffs).xdpLink(uplink, 'native')
  rmSync(path)
  assert.deepEqual(xdpProgramIds(uplink), [idOf(datapath)])
  datapath.attach(['up0'])
  assert.deepEqual([existsSync(path), xdpProgramIds(uplink)], [true, [idOf(datapath)]])
})

test('unloading takes it off, of every schema', { skip }, (t) => {
  const uplink = layUplink(t)
  for (const version of [{}, { version: { schema: schema + 1, converters: [] } }]) {
    const fixture = kernelFixture(t)
    const datapath = fixture.open({ acceleration: 'native', ...version })
    datapath.attach(['up0'])
    assert.equal(xdpProgramIds(uplink).length, 1)
    datapath.close()
    assert.ok(unloadDatapath(fixture.bpffs).includes(`XDP link of interface ${uplink} (native)`))
    assert.deepEqual(xdpProgramIds(uplink), [])
  }
})

test('what cannot be loaded is said, costs nothing but the speed, and leaves no program of before', { skip }, (t) => {
  const uplink = layUplink(t)
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  copyFileSync(buildBpf(), join(folder, 'herald.bpf.o'))
  const fixture = kernelFixture(t)
  serving(fixture, 'native').close()
  assert.equal(xdpProgramIds(uplink).length, 1)
  const without = fixture.open({ acceleration: 'native', objectFile: join(folder, 'herald.bpf.o') })
  assert.deepEqual(xdpProgramIds(uplink), [], 'its maps would be written by nobody once these are made larger')
  without.attach(['up0'])
  const { interfaces, acceleration, problems = [] } = without.status
  assert.match(acceleration?.problem ?? '', /xdp\.bpf\.o/)
  assert.deepEqual([interfaces, problems.map(({ subject }) => subject)], [['up0'], ['up0']])
  assert.equal(without.upsert(frontend).id, frontend.id)
})
