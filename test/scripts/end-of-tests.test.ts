/** A file whose tests are over ends, whatever they left open: the runner would wait for it for ever. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'node:test'

const overseer = pathToFileURL(join(import.meta.dirname, '../../scripts/setup/end-of-tests.ts')).href

/** As `npm test` runs a file of tests, in a process of its own. */
function run(file: string, graceMs: number): { readonly status: number | null; readonly stderr: string } {
  const env = { ...process.env, HERALD_TESTS_GRACE_MS: String(graceMs), NODE_TEST_CONTEXT: undefined }
  return spawnSync(process.execPath, ['--import', overseer, file], { env, encoding: 'utf8', timeout: 60_000 })
}

test('a file that left a socket open fails a while after its tests and says so, and one that did not ends at once', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'end-of-tests-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [fine, open] = [join(folder, 'fine.mjs'), join(folder, 'open.mjs')]
  writeFileSync(fine, `import { test } from 'node:test'\ntest('passes', () => {})\n`)
  writeFileSync(
    open,
    `import net from 'node:net'\nimport { test } from 'node:test'
    test('passes', () => new Promise((resolve) => net.createServer().listen(0, '127.0.0.1', resolve)))\n`,
  )
  // Longer than the process may take: it has to end by itself.
  assert.equal(run(fine, 600_000).status, 0)
  const { status, stderr } = run(open, 100)
  assert.equal(status, 1)
  assert.match(stderr, /the tests are over, and this is still open: .*TCPServerWrap/)
})
