/** The alerts that the chart renders, judged by promtool. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { only, render, skip as noHelm } from './helm.ts'

const skip = existsSync('/usr/bin/promtool') ? noHelm : 'no promtool here (Debian package prometheus)'
const cases = fileURLToPath(new URL('alerts.yaml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-alerts-'))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string }[] }[]
}
let rules: Rules

before(async () => {
  if (skip !== false) return
  const enabled = ['--set', 'prometheus.prometheusRule.enabled=true']
  const { spec } = only(await render(...enabled), 'PrometheusRule') as unknown as { readonly spec: Rules }
  rules = spec
  writeFileSync(join(folder, 'rules.yaml'), stringify(rules, { version: '1.1' }))
  copyFileSync(cases, join(folder, 'alerts.yaml'))
})

const promtool = (...args: readonly string[]): string =>
  execFileSync('/usr/bin/promtool', [...args], { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

test('promtool takes the rules', { skip }, () => {
  assert.match(promtool('check', 'rules', 'rules.yaml'), new RegExp(`SUCCESS: ${rules.groups[0]?.rules.length} rules`))
})

test('each alert is raised by what it is for, and by nothing else', { skip }, () => {
  assert.match(promtool('test', 'rules', 'alerts.yaml'), /SUCCESS/)
})

test('every alert has a case that raises it', { skip }, () => {
  const text = readFileSync(cases, 'utf8')
  const raised = rules.groups.flatMap(({ rules: all }) => all.map(({ alert }) => alert))
  assert.deepEqual(
    raised.filter((alert) => !text.includes(`- alertname: ${alert}\n`)),
    [],
  )
})
