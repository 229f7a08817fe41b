/** The program as a process: what it answers with when nothing runs or the line is wrong. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { laterVerbs } from '../../src/cli/later-verbs.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const usageErrors = [
  ['nope'],
  [],
  ['status', '-o', 'xml'],
  ['status', 'word'],
  ['status', '--nope'],
  ['status', '--timeout', '0'],
  ['status', '--server', 'https://127.0.0.1'],
  ['status', '--socket', ''],
  ['status', '--socket', 'x'.repeat(108)],
  ['bgp'],
  ['bgp', 'routes', 'all'],
  ['bgp', 'routes', 'advertised', 'ipv4', 'unicast', 'peer'],
  ['bgp', 'reset', ''],
  ['bgp', 'refresh', ''],
  ['explain', 'pod', 'x'],
  ['explain', 'service'],
  ['validate', '/nonexistent'],
  ['completion', 'csh'],
  ['agent', '--bgp-listen', 'foo'],
  ['agent', '--http', '1.2.3.400:80'],
  ['agent'],
  ['agent', '--manifests', '.', '--kubeconfig', 'x'],
]
const run = (...words: string[]) => spawnSync(herald, words, { encoding: 'utf8', timeout: 20_000 })

test('an unknown verb, format, argument or a bad flag value is a usage error: exit 2 and nothing on stdout', () => {
  for (const words of usageErrors) {
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

test('a verb that this version lacks is refused in one line, with whatever it is given', () => {
  for (const verb of laterVerbs) {
    const { status, stdout, stderr } = run(...verb.split(' '), 'metallb', '--follow', '--help')
    assert.deepEqual([status, stdout, stderr], [2, '', `herald: ${verb} is not in this version\n`])
  }
  assert.doesNotMatch(run('--help').stdout, /doctor/)
})

test('an agent that cannot open its socket ends, and leaves nothing running', () => {
  const folder = mkdtempSync(join(tmpdir(), 'herald-half-'))
  try {
    writeFileSync(join(folder, 'socket'), 'precious')
    const { status, stderr } = run(
      'agent',
      '--manifests',
      folder,
      '--datapath',
      'none',
      '--bgp-listen',
      'none',
      '--http',
      'none',
      '--state-dir',
      join(folder, 'state'),
      '--socket',
      join(folder, 'socket'),
    )
    assert.equal(status, 2)
    assert.match(stderr, /is not a socket/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('bash completes verbs below verbs, and flags', () => {
  const complete = (...words: string[]): string =>
    spawnSync(
      'bash',
      [
        '-c',
        `eval "$1"; COMP_WORDS=(herald ${words.join(' ')} ""); COMP_CWORD=${words.length + 1}; _herald; echo ` +
          `"\${COMPREPLY[@]}"`,
        'bash',
        run('completion', 'bash').stdout,
      ],
      { encoding: 'utf8' },
    ).stdout.trim()
  assert.equal(complete('bgp'), 'peers routes reset refresh')
  assert.match(complete('bgp', 'peers'), /--output .*--watch/)
  assert.match(complete(), /^status bgp lb observe explain /)
  // Arguments and the values of flags lead nowhere else.
  assert.match(complete('status', '-o', 'json'), /--output .*--wait/)
  assert.match(complete('explain', 'service', 'default/web'), /--output/)
  assert.match(complete('bgp', 'reset', '192.0.2.1'), /--soft/)
})

test('help is no error', () => {
  for (const words of [['help'], ['--help'], ['help', 'status'], ['bgp', 'routes', '--help']])
    assert.deepEqual([run(...words).status, run(...words).stderr], [0, ''], words.join(' '))
})

test('completion knows every verb there is and none that is not', () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout } = run('completion', shell)
    assert.match(stdout, /explain/)
    assert.doesNotMatch(stdout, /doctor/)
  }
})

test('an answer that stdout does not take is one line on stderr and exit 1, help too', () => {
  const full = openSync('/dev/full', 'w')
  try {
    for (const words of [
      ['version'],
      ['completion', 'bash'],
      ['--help'],
      ['validate', fileURLToPath(import.meta.url)],
    ]) {
      const { status, stderr } = spawnSync(herald, words, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' })
      assert.equal(status, 1, words.join(' '))
      assert.match(stderr, /^herald: cannot write the answer: ENOSPC[^\n]*\n[^\n]+\n$/, words.join(' '))
    }
  } finally {
    closeSync(full)
  }
})
