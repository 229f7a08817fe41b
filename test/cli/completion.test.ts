/** The completion scripts in the shells that they are for. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inFolder } from '../k8s/manifests.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const scriptFor = (shell: string): string => spawnSync(herald, ['completion', shell], { encoding: 'utf8' }).stdout
const missing = (shell: string): string | false => !existsSync(`/usr/bin/${shell}`) && `needs ${shell}`

test('fish completes verbs, verbs below verbs, flags, and files where files are taken', { skip: missing('fish') }, () =>
  inFolder((folder) => {
    writeFileSync(join(folder, 'herald.fish'), scriptFor('fish'))
    writeFileSync(join(folder, 'policy.yaml'), '')
    const complete = (line: string): readonly string[] => {
      const command = 'source herald.fish; complete -C $argv[1]'
      const { stdout, stderr } = spawnSync('fish', ['--no-config', '-c', command, line], {
        cwd: folder,
        env: { ...process.env, HOME: folder },
        encoding: 'utf8',
      })
      assert.equal(stderr, '')
      return stdout.split('\n').filter(Boolean)
    }
    assert.deepEqual(complete('herald bgp '), ['peers', 'refresh', 'reset', 'routes'])
    assert.deepEqual(complete('herald bgp routes '), ['--output', '--server', '--socket', '--watch'])
    assert.deepEqual(complete('herald bgp peers --w'), ['--watch'])
    assert.deepEqual(complete('herald bgp reset 192.0.2.1 --so'), ['--socket', '--soft'].sort())
    assert.deepEqual(complete('herald explain service default/web --ser'), ['--server'])
    assert.deepEqual(complete('herald explain r'), ['route'])
    assert.ok(!complete('herald explain service r').includes('route'))
    assert.ok(complete('herald ').includes('explain'))
    assert.ok(!complete('herald ').includes('policy.yaml'))
    assert.deepEqual(complete('herald validate pol'), ['policy.yaml'])
  }),
)

/** Types one line into an interactive zsh, with a tab at its end, and prints what the program was called with. */
const typed = `
zmodload zsh/zpty
zpty shell 'TERM=dumb zsh -f -i'
zpty -w shell "autoload -U compinit; compinit -u -D; source $1; zstyle ':completion:*' insert-tab false"
zpty -w shell 'herald() { print -r -- "called"":$*:" }; print "rea""dy"'
zpty -r -m shell line '*ready*'
zpty -w -n shell "herald $2"$'\\t\\n'
zpty -r -m shell line '*called:*:*'
print -r -- "\${\${line##*called:}%%:*}"
zpty -d shell
`

test('zsh completes verbs, verbs below verbs, and flags', { skip: missing('zsh') }, () =>
  inFolder((folder) => {
    const [script, program] = [join(folder, 'herald.zsh'), join(folder, 'typed.zsh')]
    writeFileSync(script, scriptFor('zsh'))
    writeFileSync(program, typed)
    const complete = (line: string): string =>
      spawnSync('zsh', ['-f', program, script, line], {
        cwd: folder,
        env: { ...process.env, HOME: folder },
        encoding: 'utf8',
        timeout: 60_000,
      }).stdout.trim()
    assert.equal(complete('vali'), 'validate')
    assert.equal(complete('bgp pe'), 'bgp peers')
    assert.equal(complete('explain ser'), 'explain service')
    assert.equal(complete('status --output y'), 'status --output yaml')
    assert.equal(complete('bgp reset 192.0.2.1 --sof'), 'bgp reset 192.0.2.1 --soft')
    assert.equal(complete('explain service default/web --ser'), 'explain service default/web --server')
  }),
)
