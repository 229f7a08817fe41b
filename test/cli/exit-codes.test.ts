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
  ['status', '--server', 'http://127.0.0.1/node1'],
  ['bgp', 'peers', '--server', 'http://127.0.0.1:9472/?node=node1'],
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
  ['explain', 'service', ''],
  ['explain', 'service', 'default/'],
  ['explain', 'service', '/web', '--cluster'],
  ['explain', 'service', 'a/b/c', '--cluster'],
  ['explain', 'service', 'web', '-n', ''],
  ['status', '--context', ''],
  ['status', '--kubeconfig', '/nonexistent'],
  ['bgp', 'peers', '--kubeconfig', '/nonexistent'],
  ['explain', 'service', 'default/web', '--kubeconfig', '/nonexistent'],
  ['migrate', 'metallb', '--kubeconfig', '/nonexistent'],
]
const run = (...words: string[]) => spawnSync(herald, words, { encoding: 'utf8', timeout: 60_000 })

test('an unknown verb, format, argument or a bad flag value is a usage error: exit 2 and nothing on stdout', () => {
  for (const words of usageErrors) {
    const { status, stdout, stderr } = run(...words)
    assert.deepEqual([status, stdout], [2, ''], words.join(' '))
    // Without a verb the help is what is wanted.
    if (['', 'bgp'].includes(words.join(' '))) assert.match(stderr, /^Usage: herald /)
    else assert.match(stderr, /^herald: .+\n(?:\(Did .+\n)?[^\n]+\n$/, words.join(' '))
  }
})

test('help of a verb below a verb is its own page, in either order of words', () => {
  for (const verb of ['bgp peers', 'bgp reset', 'lb list', 'status']) {
    const { stdout } = run('help', ...verb.split(' '))
    assert.equal(stdout, run(...verb.split(' '), '--help').stdout)
    assert.match(stdout, new RegExp(`^Usage: herald ${verb} `))
  }
})

test('what a person says of the cluster may stand before the verb, as with kubectl', () => {
  for (const before of [
    ['--kubeconfig', '/nonexistent/one', '--context', 'a', '-n', 'b'],
    ['--kubeconfig=/nonexistent/one', '--namespace=b'],
  ])
    for (const verb of [
      ['status'],
      ['bgp', 'peers'],
      ['explain', 'service', 'web', '--'],
      ['explain', 'service', 'web'],
    ]) {
      const { status, stderr } = run(...before, ...verb)
      assert.deepEqual([status, stderr.includes('/nonexistent/one')], [2, true], stderr)
    }
  // Of a verb that takes no such thing it is none either.
  assert.match(run('--context', 'a', 'version').stderr, /unknown option '--context'/)
  assert.match(run('--context').stderr, /unknown option '--context'/)
})

test('--version is the verb version', () => {
  assert.equal(run('--version').stdout, run('version').stdout)
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

/** What bash offers behind these words. */
function completed(words: readonly string[]): string {
  const script =
    `eval "$1"; COMP_WORDS=(herald ${words.join(' ')} ""); COMP_CWORD=${words.length + 1}; _herald; ` +
    `echo "\${COMPREPLY[@]}"`
  const shell = spawnSync('bash', ['-c', script, 'bash', run('completion', 'bash').stdout], { encoding: 'utf8' })
  return shell.stdout.trim()
}

test('bash completes verbs below verbs, and flags', () => {
  const complete = (...words: string[]): string => completed(words)
  assert.equal(complete('bgp'), 'peers routes reset refresh')
  assert.match(complete('bgp', 'peers'), /--output .*--watch/)
  assert.match(complete(), /^status bgp bfd lb observe explain /)
  // Arguments and the values of flags lead nowhere else.
  assert.match(complete('status', '-o', 'json'), /--output .*--wait/)
  assert.match(complete('explain', 'service', 'default/web'), /--output/)
  assert.match(complete('bgp', 'reset', '192.0.2.1'), /--soft/)
})

test('bash completes what an argument or a flag may be, and files where the value of a flag may be one', () => {
  const complete = (...words: string[]): string => completed(words)
  assert.match(complete('explain'), /^service route peer --output /)
  assert.doesNotMatch(complete('explain', 'service'), /route/)
  assert.match(complete('migrate'), /^metallb cilium /)
  assert.equal(complete('status', '-o'), 'table wide json yaml')
  assert.equal(complete('bgp', 'reset', '192.0.2.1', '--soft'), 'in out')
  assert.equal(complete('status', '--kubeconfig'), '')
})

test('kubectl is told the same by its plugin', () => {
  const told = (...words: string[]): string => run('completion', 'kubectl', '--', ...words).stdout
  assert.match(told('explain', ''), /^service\nroute\npeer\n--output\n/)
  assert.equal(told('explain', 'r'), 'route\n:4\n')
  assert.doesNotMatch(told('explain', 'service', ''), /route/)
  assert.equal(told('status', '-o', 'j'), 'json\n:4\n')
  assert.equal(told('status', '--kubeconfig', ''), ':0\n')
  assert.equal(told('bgp', 'pe'), 'peers\n:4\n')
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
