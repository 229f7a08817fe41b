/** What is made of values.yaml is what is committed, and the chart and its pages name what exists. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'yaml'
import { valueFiles } from '../../scripts/chart.ts'
import { describeValues, schemaOf } from '../../scripts/chart/values.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8')

test('schema and table are what values.yaml makes: write them anew with node scripts/chart.ts', () => {
  for (const [path, text] of valueFiles()) assert.equal(read(path), text, path)
})

test('a value without a text, or of no type that can be told, is refused', () => {
  assert.throws(() => describeValues('a: true\n'), /a has no text above it/)
  assert.throws(() => describeValues('# Text.\na: []\n'), /a has no type/)
  assert.throws(() => describeValues('# Text.\n# @lables\na: {}\n'), /@lables is none/)
})

test('every map of the schema refuses keys that it does not know', () => {
  const values = describeValues('m:\n  # Text.\n  n: true\n# Text.\n# @enum a b\nw: a\n')
  assert.deepEqual(
    values.map(({ path, default: fallback }) => [path, fallback]),
    [
      ['m.n', true],
      ['w', 'a'],
    ],
  )
  const schema = schemaOf(values, ['speaker'])
  assert.equal(schema['additionalProperties'], false)
  const { m, w, speaker } = schema['properties'] as Record<string, Record<string, unknown>>
  assert.equal(m?.['additionalProperties'], false)
  assert.deepEqual(w, { description: 'Text.', type: 'string', enum: ['a', 'b'] })
  assert.deepEqual(speaker, {})
})

test('every value is used by a template, and every value that a template uses exists', () => {
  const templates = readdirSync(new URL('charts/herald/templates', root), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(yaml|tpl|txt)$/.test(name))
    .map((name) => read(`charts/herald/templates/${name}`))
    .join('\n')
  const last = (path: string): string => path.split('.').at(-1) ?? ''
  const values = describeValues(read('charts/herald/values.yaml'))
  // Templates go down with `with`: the last word of a path is what can be looked for.
  assert.deepEqual(
    values.map(({ path }) => path).filter((path) => !new RegExp(`\\.${last(path)}\\b`).test(templates)),
    [],
  )
  const known = values.map(({ path }) => `${path}.`)
  const used = [...templates.matchAll(/\.Values\.([A-Za-z0-9.]+)/g)].map((match) => `${match[1]}.`)
  assert.deepEqual(
    used.filter((path) => !known.some((each) => each.startsWith(path) || path.startsWith(each))),
    [],
  )
})

/** Names of metrics in an expression, without those of recording rules and functions. */
const metricsIn = (text: string): readonly string[] => [
  ...new Set([...text.matchAll(/\b((?:herald|cilium|process)_[a-z0-9_]+)/g)].map((match) => match[1] ?? '')),
]
const documented = new Set([...read('docs/metrics.md').matchAll(/^\| `([a-z0-9_]+)` \|/gm)].map((match) => match[1]))

test('every metric of the dashboard is in docs/metrics.md, and every panel says what it shows', () => {
  const text = read('charts/herald/dashboards/herald.json')
  const { panels } = JSON.parse(text) as { panels: { title: string; type: string; description?: string }[] }
  const metrics = metricsIn(text)
  assert.ok(metrics.length > 15)
  assert.deepEqual(
    metrics.filter((name) => !documented.has(name)),
    [],
  )
  assert.deepEqual(
    panels.filter(({ type, description }) => type !== 'row' && !description).map(({ title }) => title),
    [],
  )
})

test('every metric of an alert is in docs/metrics.md, and every alert says what to look at', () => {
  const alerts = parse(read('charts/herald/files/alerts.yaml')) as Record<string, Record<string, string>>[]
  for (const { alert, expr, labels, annotations } of alerts) {
    const name = String(alert)
    assert.match(name, /^Herald[A-Z]\w+$/)
    assert.deepEqual(
      metricsIn(String(expr)).filter((metric) => !documented.has(metric)),
      [],
      name,
    )
    assert.match(String(labels?.['severity']), /^(critical|warning|info)$/, name)
    assert.ok(annotations?.['summary'] && annotations['description'], name)
  }
  assert.ok(alerts.length >= 10)
})
