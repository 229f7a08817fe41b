/** docs/configure.md and the source name the same codes, fields and annotations. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { validateManifests } from '../../src/k8s/validate.ts'

const page = readFileSync(new URL('../../docs/configure.md', import.meta.url), 'utf8')
const room = new URL('../../src/k8s/', import.meta.url)
const sources = [room, new URL('../../src/allocation/', import.meta.url)].flatMap((folder) =>
  readdirSync(fileURLToPath(folder), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8')),
)
const found = (pattern: RegExp, text: string): readonly string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] ?? '')
const unique = (list: readonly string[]): readonly string[] => [...new Set(list)].sort()

test('docs/configure.md lists exactly the codes of problems and verdicts', () => {
  const used = sources.flatMap((text) => [
    ...found(/fault\(\s*'(?:error|warning)',\s*(?:\[[^\]]*\]|\w+),\s*'(\w+)'/g, text),
    ...found(/(?:yes|no)\(\s*'\w+',\s*'(\w+)'/g, text),
    ...found(/code: '([A-Z]\w+)'/g, text),
  ])
  const documented = found(/`([A-Z]\w+)`/g, page.slice(page.indexOf('## Codes')))
  assert.deepEqual(unique(used), unique(documented))
})

test('docs/configure.md names every field of the policy and the pool, and every annotation', () => {
  const files = ['cilium-bgp-peering-policy', 'cilium-load-balancer-ip-pool'].map((name) =>
    readFileSync(new URL(`kinds/${name}.ts`, room), 'utf8'),
  )
  const schemas = files.map((text) => text.slice(0, text.indexOf('export type'))).join('')
  const fields = [...found(/^\s+(\w+): (?:z\.|asn|\w+\.)/gm, schemas), ...found(/[{,] (\w+): z\./g, schemas)]
  const annotations = sources.flatMap((text) =>
    found(/'((?:lbipam\.cilium\.io|io\.cilium|herald\.dev)\/[\w-]+)'/g, text),
  )
  assert.ok(fields.length > 20 && annotations.length > 3)
  assert.deepEqual(
    unique([...fields, ...annotations]).filter(
      (name) => !page.includes(name) && !['metadata', 'spec', 'afi', 'safi'].includes(name),
    ),
    [],
  )
})

test('the smallest set-up of docs/configure.md is valid as printed', () => {
  const text = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
  assert.match(text, /CiliumLoadBalancerIPPool/)
  assert.deepEqual(validateManifests([{ name: 'configure.md', text }]), [])
})
