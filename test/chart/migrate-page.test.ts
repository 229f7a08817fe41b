/** Every command of helm in docs/migrate.md that installs is one that the chart takes. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { only, render, skip } from './helm.ts'

const page = readFileSync(new URL('../../docs/migrate.md', import.meta.url), 'utf8')
const commands = [...page.matchAll(/^helm (?:install|upgrade --install) herald charts\/herald((?:.*\\\n)*.*)$/gm)]

/** As a shell cuts them. */
const wordsOf = (text: string): readonly string[] =>
  execFileSync('bash', ['-c', `printf '%s\\n' ${text}`], { encoding: 'utf8' })
    .trimEnd()
    .split('\n')

test('the flags of docs/migrate.md are values of the chart', { skip }, async () => {
  assert.equal(commands.length, 3)
  for (const [, flags = ''] of commands) {
    const agent = JSON.stringify(only(await render(...wordsOf(flags)), 'DaemonSet', 'agent'))
    assert.match(agent, /"nodeSelector":\{[^}]*"herald.dev\/speaker":"true"/)
    assert.equal(/require-load-balancer-class/.test(agent), flags.includes('requireLoadBalancerClass=true'))
    assert.match(agent, flags.includes('datapath=none') ? /--datapath[=",]+none/ : /--datapath[=",]+auto/)
  }
})
