/** Maps that fill: made larger in time, or named with the reason; also after a crash in between. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { Growth } from '../../src/datapath/growth.ts'
import { schema } from '../../src/datapath/layout.ts'
import { HeraldError } from '../../src/errors.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, verdict, whyNoKernel } from './fixture.ts'
import { parse, tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const vip = '192.0.2.10'
const pod = { address: '10.1.0.5', port: 8080 }

test('a map is made larger at three quarters, and before what is written then', () => {
  let size = 8
  let entries = 0
  const steps: string[] = []
  const growth = new Growth(
    () => 64,
    (message) => steps.push(message),
  )
  for (let n = 0; n < 20; n++)
    growth.withRoom(
      () => [{ name: 'frontends', entries, maxEntries: size }],
      (sizes) => void (size = sizes.get('frontends') ?? 0),
      () => {
        entries++
        assert.ok(entries <= size)
      },
    )
  assert.deepEqual([size, growth.problems], [32, []])
  assert.deepEqual(
    steps.map((step) => /to \d+/.exec(step)?.[0]),
    ['to 16', 'to 32'],
  )
})

test(
  'one that cannot be made larger is named with fill and reason, counted, and tried again after a minute; what ' +
    'fits is written all the same',
  () => {
    let nowMs = 0
    let tries = 0
    let entries = 6
    let written = 0
    const growth = new Growth(
      () => 64,
      () => {},
      () => nowMs,
    )
    const write = (): void =>
      growth.withRoom(
        () => [{ name: 'tables', entries, maxEntries: 8 }],
        () => {
          tries++
          throw new HeraldError('ERR_BPF_LOAD', 'load herald.bpf.o: ENOMEM\nmany words')
        },
        () => void written++,
      )
    for (let n = 0; n < 5; n++) write()
    assert.deepEqual([tries, written], [1, 5])
    assert.deepEqual(growth.problems, [
      {
        subject: 'tables',
        text: 'map tables is 75 % full (6 of 8) and cannot be made larger: load herald.bpf.o: ENOMEM',
        times: 1,
      },
    ])
    nowMs += 60_000
    write()
    assert.deepEqual([tries, growth.problems[0]?.times], [2, 2])
    entries = 2
    growth.judge([{ name: 'tables', entries, maxEntries: 8 }])
    assert.deepEqual(growth.problems, [])
  },
)

function request(datapath: Parameters<typeof ingress>[0], flags: number, sourcePort: number): string {
  const run = ingress(
    datapath,
    tcpFrame({ source: '198.51.100.7', destination: vip, sourcePort, destinationPort: 80, flags, ack: 7 }),
  )
  return run.verdict === verdict.pass ? parse(run.packet).destination : 'refused'
}

test('a hand-over that fails leaves the maps that were there, and everything is served on; the next one succeeds', {
  skip,
}, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const objectFile = join(folder, 'herald.bpf.o')
  copyFileSync(buildBpf(), objectFile)
  const fixture = kernelFixture(t)
  const mostEntries = { frontends: 256, counters: 256 }
  const datapath = fixture.open({ objectFile, mostEntries })
  for (let n = 0; n < 48; n++) datapath.upsert(frontendOf(vip, 80 + n, [pod]))
  assert.equal(request(datapath, tcpFlag.SYN, 40_000), pod.address)
  writeFileSync(objectFile, 'not an object')
  datapath.upsert(frontendOf(vip, 200, [pod]))
  assert.match(
    datapath.status.problems?.find(({ subject }) => subject === 'frontends')?.text ?? '',
    /map frontends is 75 % full \(48 of 64\) and cannot be made larger: open .*herald.bpf.o/,
  )
  assert.equal(request(datapath, tcpFlag.ACK, 40_000), pod.address)
  const pins = join(fixture.bpffs, 'herald', `v${schema}`)
  assert.deepEqual(readdirSync(pins).sort(), ['links', 'maps', 'programs'])
  datapath.close()
  copyFileSync(buildBpf(), objectFile)
  const next = fixture.open({ objectFile, mostEntries })
  next.upsert(frontendOf(vip, 201, [pod]))
  assert.equal(next.usage().find(({ name }) => name === 'frontends')?.maxEntries, 128)
  assert.deepEqual([next.readAll().length, next.status.problems], [50, []])
  assert.equal(request(next, tcpFlag.ACK, 40_000), pod.address)
})

for (const isCopied of [false, true])
  test(`a crash while maps were made larger, ${isCopied ? 'after' : 'before'} the new ones were there, is made good by ` +
    'the next start', { skip }, (t) => {
    const fixture = kernelFixture(t)
    const former = fixture.open()
    former.upsert(frontendOf(vip, 80, [pod, { address: '10.1.0.6', port: 8080 }]))
    const served = request(former, tcpFlag.SYN, 40_001)
    const all = former.readAll()
    former.close()
    const pins = join(fixture.bpffs, 'herald', `v${schema}`)
    mkdirSync(join(pins, 'aside'))
    for (const name of ['openings', 'frontends', 'tables', 'backends'])
      renameSync(join(pins, 'maps', name), join(pins, 'aside', name))
    if (isCopied) {
      // As far as a first try came: maps that are there, and empty.
      renameSync(join(pins, 'aside'), join(pins, 'kept'))
      fixture.open({ maxEntries: { ...smallMaps, openings: 8192, frontends: 128 } }).close()
      renameSync(join(pins, 'kept'), join(pins, 'aside'))
    }
    const next = fixture.open({ maxEntries: { ...smallMaps, openings: 8192, frontends: 128 } })
    assert.deepEqual(next.readAll(), all)
    assert.equal(request(next, tcpFlag.ACK, 40_001), served)
    assert.ok(!existsSync(join(pins, 'aside')))
    assert.equal(next.usage().find(({ name }) => name === 'openings')?.maxEntries, 8192)
  })

test('a crash after programs were replaced, while what came meanwhile was still copied: flows of the new maps stay', {
  skip,
}, (t) => {
  const fixture = kernelFixture(t)
  const pins = join(fixture.bpffs, 'herald', `v${schema}`)
  const larger = { ...smallMaps, openings: 8192 }
  const former = fixture.open()
  former.upsert(frontendOf(vip, 80, [pod]))
  assert.equal(request(former, tcpFlag.SYN, 40_001), pod.address)
  assert.equal(request(former, tcpFlag.SYN, 40_002), pod.address)
  former.close()
  // What a first try left: the former openings aside, larger ones that serve, and the mark of it.
  mkdirSync(join(pins, 'kept'))
  renameSync(join(pins, 'maps', 'openings'), join(pins, 'kept', 'openings'))
  const serving = fixture.open({ maxEntries: larger })
  const other = { address: '10.1.0.6', port: 8080 }
  serving.upsert({ ...frontendOf(vip, 80, [other]), resting: [pod] })
  assert.equal(request(serving, tcpFlag.SYN, 40_001), other.address)
  serving.upsert(frontendOf(vip, 80, [pod, other]))
  serving.close()
  renameSync(join(pins, 'kept'), join(pins, 'aside'))
  mkdirSync(join(pins, 'swapped'))
  const next = fixture.open({ maxEntries: larger })
  assert.equal(request(next, tcpFlag.ACK, 40_001), other.address, 'it began in the new maps')
  assert.equal(request(next, tcpFlag.ACK, 40_002), pod.address, 'it was in the former ones alone')
  assert.deepEqual(readdirSync(pins).sort(), ['links', 'maps', 'programs'])
})

test('the mark of a swap that was over all but for itself goes with the next start', { skip }, (t) => {
  const fixture = kernelFixture(t)
  fixture.open().close()
  const pins = join(fixture.bpffs, 'herald', `v${schema}`)
  mkdirSync(join(pins, 'swapped'))
  fixture.open()
  assert.deepEqual(readdirSync(pins).sort(), ['links', 'maps', 'programs'])
})
