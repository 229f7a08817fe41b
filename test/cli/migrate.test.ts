/** `herald migrate` as a process, on folders. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { migrationParts } from '../../src/api/migration.ts'
import { movingCodes } from '../../src/k8s/dialects/moving/report.ts'
import { node, service } from '../k8s/manifests.ts'
import { everywhere, production, tor } from '../k8s/metallb-manifests.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-migrate-'))
after(() => rmSync(folder, { recursive: true }))
const run = (...words: string[]) => spawnSync(herald, ['migrate', ...words], { encoding: 'utf8', timeout: 60_000 })
const file = join(folder, 'all.yaml')
const held = `${service('web')}status: {loadBalancer: {ingress: [{ip: 192.168.10.7}]}}\n`
writeFileSync(file, tor + production + everywhere + node + held)

test('nothing that needs a decision is exit 0, and every format says the same', () => {
  const table = run('metallb', folder)
  assert.equal(table.status, 0, table.stdout + table.stderr)
  assert.match(table.stdout, /^node-a {3}BGPPeer\/metallb-system\/tor {3}before {3}192\.168\.1\.1 {3}64512-64513/m)
  assert.match(table.stdout, /^Services: 1 of 1 with an address keep it, 1 in all$/m)
  assert.match(table.stdout, /nothing needs a decision\n$/)
  const json: unknown = JSON.parse(run('metallb', file, '-o', 'json').stdout)
  const report = migrationParts.Migration.strict().parse(json)
  assert.equal(report.sessions.length, 1)
  assert.deepEqual(parse(run('metallb', file, '-o', 'yaml').stdout), json)
})

test('a difference that needs one is exit 1, marked, with its field, reason and remedy', () => {
  const other = join(folder, '.other.yaml')
  writeFileSync(
    other,
    (tor + production + everywhere + node).replace('spec: {', 'spec: {sourceAddress: 192.168.1.10, '),
  )
  const { status, stdout } = run('metallb', other)
  assert.equal(status, 1)
  assert.match(
    stdout,
    /^! SourceAddressInForce {2}BGPPeer\/metallb-system\/tor on node-a sourceAddress none -> 192.168.1.10$/m,
  )
  assert.match(stdout, /^ {4}-> Make sure that the router/m)
  assert.equal(run('metallb', other, '--backend', 'frr').status, 0)
})

test('a document that cannot be read needs a decision, and the rest is shown', () => {
  const broken = join(folder, '.broken.yaml')
  writeFileSync(broken, `${tor}${node}---\nkind: [\n`)
  const { status, stdout } = run('metallb', broken)
  assert.equal(status, 1)
  assert.match(stdout, /^! Unreadable {2}.*broken\.yaml:\d+/m)
  assert.match(stdout, /64512-64513/)
})

test('wrong words are exit 2: no family, no source, two sources, a node or a file that is not there', () => {
  for (const words of [
    [],
    ['calico', file],
    ['metallb'],
    ['metallb', file, '--kubeconfig', '/nonexistent'],
    ['metallb', file, '--node', 'node-z'],
    ['metallb', '/nonexistent'],
    ['metallb', '--kubeconfig', '/nonexistent'],
    ['metallb', file, '-o', 'wide'],
    ['metallb', file, '--backend', 'bird'],
  ])
    assert.equal(run(...words).status, 2, words.join(' '))
})

test('an API server that is not there is exit 3, and no difference', () => {
  const config = join(folder, 'kubeconfig')
  writeFileSync(
    config,
    'apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]\n' +
      'users: [{name: a, user: {token: x}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n',
  )
  const { status, stdout, stderr } = run('metallb', '--kubeconfig', config)
  assert.deepEqual([status, stdout], [3, ''])
  assert.match(stderr, /127\.0\.0\.1:1/)
})

test('what an object says reaches no terminal raw', () => {
  const hostile = join(folder, '.hostile.yaml')
  const label =
    'metadata: {name: all, namespace: metallb-system}\nspec: {serviceSelectors: [{matchLabels: {a: "\\e]0;x"}}]}'
  writeFileSync(
    hostile,
    `${tor}${production}${node}---\napiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\n${label}\n`,
  )
  for (const format of ['table', 'json', 'yaml'])
    assert.doesNotMatch(run('metallb', hostile, '-o', format).stdout, /\u001b/, format)
})

test('docs/migrate.md lists exactly the codes, and which need a decision', () => {
  const page = readFileSync(new URL('../../docs/migrate.md', import.meta.url), 'utf8')
  const rows = [...page.matchAll(/^\| `([A-Z]\w+)` \| (yes|no) \| ./gm)].map(([, code, word]) => [code, word === 'yes'])
  assert.deepEqual(rows, Object.entries(movingCodes))
})
