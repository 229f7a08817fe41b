/** docs/configure.md and the source name the same codes, fields and annotations. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { problemCodes, verdictCodes } from '../../src/desired/codes.ts'
import { validateManifests } from '../../src/k8s/validate.ts'

const page = readFileSync(new URL('../../docs/configure.md', import.meta.url), 'utf8')
const room = new URL('../../src/k8s/', import.meta.url)
const sources = [
  room,
  ...['allocation', 'agent', 'operator'].map((name) => new URL(`../../src/${name}/`, import.meta.url)),
].flatMap((folder) =>
  readdirSync(fileURLToPath(folder), { recursive: true })
    .map(String)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8')),
)
const found = (pattern: RegExp, text: string): readonly string[] =>
  [...text.matchAll(pattern)].map((match) => match[1] ?? '')
const unique = (list: readonly string[]): readonly string[] => [...new Set(list)].sort()

test('docs/configure.md lists exactly the codes of problems, and of verdicts by their step', () => {
  const [problems = '', verdicts = ''] = page.slice(page.indexOf('## Codes')).split('An answer on the chain')
  const codes = found(/`([A-Z]\w+)`/g, problems)
  assert.deepEqual(unique(codes), unique(Object.keys(problemCodes)))
  assert.equal(codes.length, unique(codes).length, 'each code stands in one row')
  const rows = [...verdicts.matchAll(/^\| (\w+) \| (.*?) \| (.*?) \|$/gm)].filter(([, step]) => step !== 'step')
  const documented = rows.map(([, step = '', yes = '', no = '']) => [
    step,
    { yes: found(/`(\w+)`/g, yes), no: found(/`(\w+)`/g, no) },
  ])
  const known = Object.entries(verdictCodes).filter(([, { yes, no }]) => yes.length + no.length > 0)
  assert.deepEqual(documented, known)
})

test('every code of the tables is used', () => {
  const all = [...Object.keys(problemCodes), ...Object.values(verdictCodes).flatMap(({ yes, no }) => [...yes, ...no])]
  assert.deepEqual(
    all.filter((code) => !sources.some((text) => text.includes(`'${code}'`))),
    [],
  )
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
