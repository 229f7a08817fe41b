import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../../src/sys/network-namespace.ts', import.meta.url))

test('a pipe in the place of a network namespace is refused, and nobody waits for who writes into it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'herald-networks-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const script = `
    const { withinNetwork } = await import(${JSON.stringify(file)})
    try { withinNetwork(${JSON.stringify(pipe)}, () => console.log('within')) } catch ({ errno }) { console.log(errno) }`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  // EPERM where this is not root.
  assert.match(stdout, /^E(INVAL|PERM)$/m, stderr)
})
