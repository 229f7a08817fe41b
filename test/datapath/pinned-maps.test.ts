/** `herald lb maps` beside a datapath that runs: what another process sees of its pins. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { pinnedMapSchema, rawEntrySchema } from '../../src/api/datapath-types.ts'
import { schema } from '../../src/datapath/layout.ts'
import { listPinnedMaps, rawEntries } from '../../src/datapath/pinned-maps.ts'
import { BpfMap, closeFd, openPinned, pin } from '../../src/sys/bpf.ts'
import { frontendOf, ingress, kernelFixture, smallMaps, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel() ?? false
const program = fileURLToPath(new URL('../../src/cli/herald.ts', import.meta.url))
const syn = (sourcePort: number): Uint8Array =>
  tcpFrame({
    source: '198.18.0.1',
    destination: '203.0.113.1',
    sourcePort,
    destinationPort: 80,
    flags: tcpFlag.SYN,
  })

function run(...words: readonly string[]): {
  readonly code: number | null
  readonly out: string
  readonly err: string
} {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, 'lb', 'maps', ...words], {
    encoding: 'utf8',
  })
  return { code: status, out: stdout, err: stderr }
}

test('every pinned map is listed with what is in it, and raw entries are those of the kernel', { skip }, (t) => {
  const { bpffs, open } = kernelFixture(t)
  assert.deepEqual(listPinnedMaps(bpffs), [])
  const datapath = open()
  datapath.upsert(frontendOf('203.0.113.1', 80, [{ address: '10.1.1.5', port: 8080 }]))
  for (const port of [40_000, 40_001, 40_002]) ingress(datapath, syn(port))
  const maps = z.array(pinnedMapSchema.strict()).parse(listPinnedMaps(bpffs))
  const found = new Map(maps.map((map) => [map.name, map]))
  const openings = found.get('openings')
  assert.deepEqual(
    [openings?.schema, openings?.type, openings?.entries, openings?.maxEntries],
    [schema, 'lru_hash', 6, smallMaps.openings],
  )
  assert.ok((openings?.memoryBytes ?? 0) >= smallMaps.openings * (openings?.valueBytes ?? Infinity))
  for (const { name, entries } of datapath.usage()) {
    const listed = found.get(name)
    if (listed?.entries !== undefined) assert.equal(listed.entries, entries, name)
  }
  // The address that clients ask for is the key of its frontend, IPv4 mapped.
  const frontends = z.array(rawEntrySchema.strict()).parse([...rawEntries(bpffs, 'frontends')].flat())
  assert.equal(frontends.length, 1)
  assert.match(frontends[0]?.key ?? '', /^0{20}ffffcb007101/)
  assert.equal([...rawEntries(bpffs, 'openings')].flat().length, 6)
  // Of an array what was written: two slots of zeros are passed over.
  const written = [...rawEntries(bpffs, 'backends')].flat()
  assert.deepEqual(
    written.map(({ value }) => value.includes('0a010105')),
    [true],
  )
})

test('maps of another schema are listed too, and what has no entries is refused by name', { skip }, (t) => {
  const { bpffs, open } = kernelFixture(t)
  open()
  const other = join(bpffs, 'herald', 'v1', 'maps')
  mkdirSync(other, { recursive: true })
  const fd = openPinned(join(bpffs, 'herald', `v${schema}`, 'maps', 'backends')) ?? -1
  pin(fd, join(other, 'backends'))
  closeFd(fd)
  assert.ok(listPinnedMaps(bpffs).some((map) => map.schema === 1 && map.name === 'backends'))
  assert.throws(() => [...rawEntries(bpffs, 'nonsense')], /no map nonsense: there are .*openings/)
  assert.throws(() => [...rawEntries(bpffs, '../maps/openings')], /no map/)
  const ring = listPinnedMaps(bpffs).find(({ type }) => type === 'ringbuf')
  assert.throws(() => [...rawEntries(bpffs, ring?.name ?? '')], /has no entries to show: it is a ringbuf/)
})

test('the verb prints a table, JSON and raw entries, and its exit codes can be trusted', { skip }, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const empty = run('--bpffs', bpffs)
  assert.deepEqual([empty.code, empty.out.trimEnd().split('\n').length], [0, 1])
  const datapath = open()
  datapath.upsert(frontendOf('203.0.113.1', 80, [{ address: '10.1.1.5', port: 8080 }]))
  ingress(datapath, syn(40_000))
  const { code, out } = run('--bpffs', bpffs)
  assert.equal(code, 0)
  assert.match(out, /^Map +Schema +Type +Key +Value +Entries +Capacity +Memory\n/)
  assert.match(out, new RegExp(`^openings +v${schema} +lru_hash +40 +\\d+ +2 +4096 +\\d+ KiB$`, 'm'))
  const listed = z.array(pinnedMapSchema).parse(JSON.parse(run('--bpffs', bpffs, '-o', 'json').out))
  assert.deepEqual(
    listed.map(({ name }) => name),
    listPinnedMaps(bpffs).map(({ name }) => name),
  )
  assert.equal(JSON.parse(run('frontends', '--bpffs', bpffs, '-o', 'json').out).length, 1)
  assert.match(run('frontends', '--bpffs', bpffs).out, /^Key +Value\n0{20}ffffcb007101[0-9a-f]{8} +[0-9a-f]+\n$/)
  const wrong = run('frontend', '--bpffs', bpffs)
  assert.deepEqual([wrong.code, wrong.out], [2, ''])
  assert.match(wrong.err, /no map frontend: there are/)
  assert.equal(run('--bpffs', '/nonexistent').code, 3)
})

test('entries that go before they are read are not shown', { skip }, (t) => {
  const { bpffs, open } = kernelFixture(t)
  const datapath = open()
  datapath.upsert(frontendOf('203.0.113.1', 80, [{ address: '10.1.1.5', port: 8080 }]))
  const parts = rawEntries(bpffs, 'frontends')
  const fd = openPinned(join(bpffs, 'herald', `v${schema}`, 'maps', 'frontends')) ?? -1
  const map = new BpfMap('frontends', fd)
  for (const [key] of map.entries()) map.delete(key)
  closeFd(fd)
  assert.deepEqual([...parts].flat(), [])
})
