/** The CustomResourceDefinitions of the chart are those that the schemas make. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'yaml'
import * as z from 'zod'
import { crdFiles, crdOf, presentCrdFiles } from '../../scripts/crds.ts'
import { structuralOf } from '../../scripts/crds/structural.ts'
import { interfaceName } from '../../src/k8s/kinds/neighbor-annotation.ts'
import { kinds, parseObject } from '../../src/k8s/kinds/table.ts'

const chart = new URL('../../charts/herald/', import.meta.url)

test('the CRDs in the chart are what the schemas make: write them anew with node scripts/crds.ts', () => {
  const files = crdFiles()
  assert.deepEqual([...presentCrdFiles()].sort(), [...files.keys()].sort())
  for (const [path, text] of files) assert.equal(readFileSync(new URL(path, chart), 'utf8'), text, path)
})

test('every kind of the table that Kubernetes does not bring has a CRD', () => {
  const names = [...crdFiles().keys()].map((path) => path.replace(/.*\/|\.yaml$/g, ''))
  // A CiliumNode is written by Cilium alone, which brings its kind.
  const custom = Object.values(kinds)
    .filter(({ versions: [first] }) => /^(?!.*\.k8s\.io\/).*\..*\//.test(first))
    .filter(({ resource }) => resource !== 'ciliumnodes')
  assert.ok(custom.length >= 12)
  assert.deepEqual(names.sort(), custom.map(({ resource }) => resource).sort())
})

test('CiliumBGPPeeringPolicy is among the files that helm installs by itself', () => {
  assert.ok([...crdFiles().keys()].includes('crds/ciliumbgppeeringpolicies.yaml'))
})

/** Regular expressions below a value, with where they are. */
function* patternsIn(value: unknown, at = ''): Generator<readonly [string, string]> {
  if (typeof value !== 'object' || value === null) return
  for (const [name, each] of Object.entries(value)) {
    if (name === 'pattern' && typeof each === 'string') yield [`${at}.pattern`, each]
    else yield* patternsIn(each, `${at}.${name}`)
  }
}

test('an API server can compile each pattern: Go looks neither ahead nor behind, and refers to nothing before', () => {
  const all = [...crdFiles()].flatMap(([path, text]) => [...patternsIn(parse(text), path)])
  assert.ok(all.length > 5, 'there are some')
  for (const [at, pattern] of all) assert.doesNotMatch(pattern, /\(\?(?!:)|\\[1-9kpP]/, at)
})

test('a name of an interface is one that a kernel takes', () => {
  for (const name of [
    'eth0',
    '.',
    '..',
    '...',
    '.a',
    '..a',
    'a'.repeat(15),
    'a'.repeat(16),
    'br_lan',
    'a:b',
    'a/b',
    '',
    ' ',
  ])
    assert.equal(interfaceName.test(name), /^(?!\.{1,2}$)[^\s/:]{1,15}$/.test(name), name)
})

test('a field without a text and a text without its field are no CRD', () => {
  const schema = z.strictObject({ port: z.number().int() })
  assert.throws(() => structuralOf(schema, 'spec', { spec: 'a' }), /spec\.port has no text/)
  const texts = { spec: 'a', 'spec.port': 'b', 'spec.prot': 'c' }
  assert.throws(() => structuralOf(schema, 'spec', texts), /texts of no field: spec\.prot/)
})

/** What a structural schema fills in, as the API server does. */
function defaulted(schema: unknown, value: unknown): unknown {
  const { properties, items } = schema as { properties?: Record<string, { default?: unknown }>; items?: unknown }
  if (Array.isArray(value)) return value.map((each) => defaulted(items, each))
  if (properties === undefined || typeof value !== 'object' || value === null) return value
  const filled = Object.entries(properties).flatMap(([name, each]): [string, unknown][] => {
    const written: unknown = Reflect.get(value, name) ?? each.default
    return written === undefined ? [] : [[name, defaulted(each, written)]]
  })
  return Object.fromEntries(filled)
}

test('what the API server fills in changes nothing of what the agent reads', () => {
  const neighbor = { peerAddress: '192.168.1.1/32', peerASN: 65000, gracefulRestart: { enabled: true } }
  const spec = { nodeSelector: {}, virtualRouters: [{ localASN: 65001, serviceSelector: {}, neighbors: [neighbor] }] }
  const { spec: definition } = crdOf('CiliumBGPPeeringPolicy') as {
    spec: { versions: { schema: { openAPIV3Schema: { properties: { spec: unknown } } } }[] }
  }
  const filled = defaulted(definition.versions[0]?.schema.openAPIV3Schema.properties.spec, spec)
  assert.notDeepEqual(filled, spec)
  const parsed = [spec, filled].map((each) => {
    const raw = {
      apiVersion: 'cilium.io/v2alpha1',
      kind: 'CiliumBGPPeeringPolicy',
      metadata: { name: 'a' },
      spec: each,
    }
    const { value, faults } = parseObject('CiliumBGPPeeringPolicy', raw, undefined)
    assert.deepEqual(faults, [])
    return value?.virtualRouters.flatMap(({ neighbors, exportPodCIDR }) => [exportPodCIDR, neighbors])
  })
  assert.deepEqual(parsed[1], parsed[0])
})

interface Schema {
  readonly description?: string
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly additionalProperties?: Schema | boolean
}

/** Fields that `kubectl explain` would say nothing of, below this one. */
function untold(schema: Schema, at: string): readonly string[] {
  const { properties = {}, items, additionalProperties: rest } = schema
  return [
    ...Object.entries(properties).flatMap(([name, each]) => [
      ...(each.description === undefined || each.description.length < 5 ? [`${at}.${name}`] : []),
      ...untold(each, `${at}.${name}`),
    ]),
    ...(items === undefined ? [] : untold(items, `${at}[]`)),
    ...(typeof rest === 'object' ? untold(rest, `${at}{}`) : []),
  ]
}

/** Whether a path as `.spec.peers[0].name` ends at a field of the schema. */
function leads(schema: Schema | undefined, path: string): boolean {
  const steps = path
    .replaceAll(/\[(\d+|\*|\?\([^)]*\))\]/g, '.[]')
    .split('.')
    .filter((step) => step !== '')
  let at = schema
  for (const step of steps) at = step === '[]' ? at?.items : at?.properties?.[step]
  return at !== undefined
}

interface Version {
  readonly name: string
  readonly schema: { readonly openAPIV3Schema: Schema }
  readonly subresources?: object
  readonly additionalPrinterColumns?: readonly {
    readonly name: string
    readonly jsonPath: string
    readonly description?: string
  }[]
}

test('kubectl explain has words for every field of every version, and kubectl get columns that are fields', () => {
  let fields = 0
  for (const [path, text] of crdFiles()) {
    const { spec } = parse(text) as { readonly spec: { readonly versions: readonly Version[] } }
    for (const { name, schema, subresources, additionalPrinterColumns: columns = [] } of spec.versions) {
      const { openAPIV3Schema: whole } = schema
      assert.ok((whole.description ?? '').length > 10, path)
      assert.deepEqual(
        untold(whole, '').filter((field) => field !== '.metadata'),
        [],
        `${path} ${name}`,
      )
      assert.ok(subresources !== undefined && 'status' in subresources, path)
      assert.equal(columns.at(-1)?.name, 'Age', path)
      for (const { name: column, jsonPath } of columns)
        assert.ok(
          jsonPath === '.metadata.creationTimestamp' || leads(whole, jsonPath.split('?(')[0]?.replace(/\[$/, '') ?? ''),
          `${path} ${column}: ${jsonPath}`,
        )
      fields += JSON.stringify(whole).split('"description"').length
    }
  }
  assert.ok(fields > 500, String(fields))
})

test('kubectl get of a BGPPeer has a column for each field that may say which AS it has', () => {
  const [, text = ''] = [...crdFiles()].find(([path]) => path.endsWith('/bgppeers.yaml')) ?? []
  const { spec } = parse(text) as { readonly spec: { readonly versions: readonly Version[] } }
  for (const { name, additionalPrinterColumns: columns = [] } of spec.versions) {
    const paths = columns.map(({ jsonPath }) => jsonPath)
    for (const field of ['peerASN', 'dynamicASN']) assert.ok(paths.includes(`.spec.${field}`), `${name} ${field}`)
  }
})
