/** `herald agent` with a path that no file or folder can be made at: it ends, names the option, and never hangs. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-paths-'))
const manifests = join(folder, 'manifests')
mkdirSync(manifests)
writeFileSync(join(folder, 'file'), '')
after(() => rmSync(folder, { recursive: true }))

interface Ended {
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
}

function agent(changed: Readonly<Record<string, string>>): Ended {
  const options = {
    '--node-name': 'node1',
    '--manifests': manifests,
    '--datapath': 'ebpf',
    '--bgp-listen': 'none',
    '--http': 'none',
    '--state-dir': join(folder, 'state'),
    '--socket': join(folder, 'herald.sock'),
    // Where another option were taken, this one would end it all the same.
    '--bpffs': join(folder, 'file'),
    ...changed,
  }
  const { status, signal, stdout, stderr } = spawnSync(herald, ['agent', ...Object.entries(options).flat()], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { status, signal, output: stdout + stderr }
}

for (const [option, path, says] of [
  ['--state-dir', '/proc/none', /--state-dir \/proc\/none cannot be used: ENOENT/],
  ['--state-dir', '/proc/none/below', /--state-dir \/proc\/none\/below cannot be used: ENOENT/],
  ['--state-dir', join(folder, 'file'), /--state-dir \S+\/file cannot be used: EEXIST/],
  ['--bpffs', '/proc/none', /\/proc\/none cannot be made: ENOENT/],
  ['--bpffs', join(folder, 'file', 'below'), /below cannot be made: ENOTDIR/],
  ['--manifests', '/proc/none', /--manifests \/proc\/none is not a folder/],
  ['--config', '/proc/none', /--config \/proc\/none: ENOENT/],
] as const)
  test(`${option} ${path.replace(folder, 'DIR')} ends the agent with a word on it`, () => {
    const { status, signal, output } = agent({ [option]: path })
    assert.deepEqual([signal, status === 0], [null, false], output)
    assert.match(output, says)
  })

test('--socket below procfs ends the agent, with a datapath that is none', () => {
  const { status, signal, output } = agent({ '--socket': '/proc/none/herald.sock', '--datapath': 'none' })
  assert.deepEqual([signal, status === 0], [null, false], output)
  assert.match(output, /--socket \/proc\/none\/herald\.sock: ENOENT/)
})
