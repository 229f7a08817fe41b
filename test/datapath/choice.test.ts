/** Which datapath a node has when the kernel's cannot be opened: none only where nothing of ours serves. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { openDatapath, type DatapathChoice } from '../../src/datapath/open.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { frontendOf, kernelFixture, whyNoKernel } from './fixture.ts'

const skip = whyNoKernel()
const said: string[] = []
const choice = (bpffs: string, objectFile: string, kind: DatapathChoice['kind'] = 'auto'): DatapathChoice => ({
  kind,
  bpffs,
  objectFile,
  attach: 'auto',
  mode: 'stack',
  log: (level, message) => said.push(`${level} ${message}`),
})

function garbage(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'garbage.o'), 'not an object')
  return join(folder, 'garbage.o')
}

test('where nothing of ours serves, auto is none, with the reason and what to do; ebpf is an error', {
  skip,
}, async (t) => {
  const { bpffs } = kernelFixture(t)
  const opened = await openDatapath(choice(bpffs, garbage(t)))
  assert.equal(opened.datapath.status.kind, 'none')
  assert.match(
    opened.problem ?? '',
    /^no eBPF datapath: .*garbage\.o.*Routes are announced; addresses are served only if/s,
  )
  assert.doesNotMatch(opened.problem ?? '', /\n/, 'pages of libbpf are for the log')
  assert.match(said.join('\n'), /warn no eBPF datapath: .*\nlibbpf: /)
  await assert.rejects(openDatapath(choice(bpffs, garbage(t), 'ebpf')), { code: 'ERR_BPF_LOAD' })
  // It holds no lock on what it does not use.
  await openDatapath(choice(bpffs, garbage(t)))
})

test('while programs of an earlier agent serve auto never is none: it refuses, until they are unloaded', {
  skip,
}, async (t) => {
  const fixture = kernelFixture(t)
  const former = fixture.open()
  former.upsert(frontendOf('192.0.2.10', 80, [{ address: '10.1.0.5', port: 8080 }]))
  former.close()
  for (const objectFile of [garbage(t), '/nowhere/herald.bpf.o']) {
    said.length = 0
    await assert.rejects(openDatapath(choice(fixture.bpffs, objectFile)), { name: 'HeraldError' })
    assert.match(
      said.join('\n'),
      /error programs of an earlier agent serve and cannot be taken over; `herald lb unload`/,
    )
  }
  unloadDatapath(fixture.bpffs)
  assert.equal((await openDatapath(choice(fixture.bpffs, garbage(t)))).datapath.status.kind, 'none')
})

test('a second agent on a node is refused whatever was asked for, and the first one serves on', { skip }, async (t) => {
  const { bpffs } = kernelFixture(t)
  const first = await openDatapath(choice(bpffs, buildBpf()))
  try {
    first.datapath.upsert(frontendOf('192.0.2.10', 80, []))
    for (const kind of ['auto', 'ebpf'] as const)
      await assert.rejects(openDatapath(choice(bpffs, buildBpf(), kind)), { code: 'ERR_ALREADY_RUNNING' })
    assert.equal(first.datapath.readAll().length, 1)
  } finally {
    first.datapath.close()
    first.releaseBpffs()
  }
})

test('without capabilities auto is none and says which call was refused', { skip }, async (t) => {
  const { bpffs } = kernelFixture(t)
  const module = new URL('../../src/datapath/open.ts', import.meta.url).href
  const script =
    `import { openDatapath } from ${JSON.stringify(module)}\n` +
    `const choice = ${JSON.stringify({ kind: 'auto', bpffs, objectFile: buildBpf(), attach: 'auto', mode: 'stack' })}\n` +
    'const { datapath, problem } = await openDatapath({ ...choice, log: () => {} })\n' +
    'console.log(JSON.stringify([datapath.status.kind, problem]))'
  const node = ['--input-type=module', '-e', script]
  const { stdout, stderr } = spawnSync(
    'setpriv',
    ['--bounding-set=-all', '--inh-caps=-all', process.execPath, ...node],
    {
      encoding: 'utf8',
    },
  )
  assert.match(stdout, /^\["none","no eBPF datapath: .*EPERM/, stderr)
})
