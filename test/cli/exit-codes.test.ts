/** The program as a process: what it answers with when nothing runs or the line is wrong. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const run = (...words: string[]) => spawnSync(herald, words, { encoding: 'utf8', timeout: 20_000 })

test('an unknown verb, format, argument or a bad flag value is a usage error: exit 2 and nothing on stdout', () => {
  for (const words of [['nope'], ['status', '-o', 'xml'], ['bgp', 'routes', 'all'], ['agent', '--bgp-listen', 'foo'], ['agent', '--manifests', '.', '--kubeconfig', 'x']]) {
    const { status, stdout, stderr } = run(...words)
    assert.deepEqual([status, stdout], [2, ''], words.join(' '))
    assert.notEqual(stderr, '')
  }
})

test('a reading verb without an agent exits 3 and says what to do', () => {
  const { status, stderr } = run('bgp', 'peers', '--socket', '/nonexistent/herald.sock')
  assert.equal(status, 3)
  assert.match(stderr, /herald agent/)
})

test('version answers without an agent', () => {
  assert.match(run('version').stdout, /^herald \d+\.\d+\.\d+ /)
})
