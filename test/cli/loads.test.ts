/** What a verb loads decides how long a person waits for it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const herald = fileURLToPath(new URL('../../src/cli/herald.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-loads-'))
const hook = join(folder, 'hook.mjs')
after(() => rmSync(folder, { recursive: true }))
writeFileSync(
  hook,
  `import { registerHooks } from 'node:module'
registerHooks({ load(url, context, next) { process.stderr.write('loaded ' + url + '\\n'); return next(url, context) } })
`,
)

function loadedBy(...words: string[]): string[] {
  const { stderr } = spawnSync(process.execPath, ['--import', hook, herald, ...words], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return [...stderr.matchAll(/^loaded (.+)$/gm)].map((match) => match[1] ?? '')
}

test('reading verbs load the command line, its client with its clock, commander, and nothing of the daemon', () => {
  const nowhere = ['--socket', '/nonexistent/herald.sock']
  for (const words of [
    ['version'],
    ['status', ...nowhere],
    ['bgp', 'peers', ...nowhere],
    ['lb', 'list', ...nowhere],
    ['explain', 'peer', '192.0.2.1', ...nowhere],
  ]) {
    const loaded = loadedBy(...words)
    assert.ok(loaded.some((url) => url.endsWith('/src/cli/status.ts')))
    const foreign = loaded.filter(
      (url) =>
        url.startsWith('file:') &&
        !/\/src\/(cli|api|clock)\/[\w-]+\.ts$|\/src\/errors\.ts$|\/node_modules\/commander\/|\/hook\.mjs$/.test(url),
    )
    assert.deepEqual(foreign, [], words.join(' '))
    // As an ES module it has WebSocket and its events looked up, and with them all of Node's HTTP client loaded.
    assert.ok(!loaded.includes('node:http'), words.join(' '))
  }
})
