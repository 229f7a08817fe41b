/** Every field that Kubernetes has in the spec of a Service stands in docs/configure.md, with what is done with it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { V1ServicePort, V1ServiceSpec, V1SessionAffinityConfig } from '@kubernetes/client-node'
import { serviceSchema } from '../../src/k8s/kinds/service.ts'
import { node, pool, service, serviceOf, slice, smallestPolicy, translatorWith } from './manifests.ts'

const base = smallestPolicy + node + pool
const page = readFileSync(new URL('../../docs/configure.md', import.meta.url), 'utf8')
const [, section = ''] = page.split('### Every field of a Service')
const rows = new Map(
  [...section.slice(0, section.indexOf('\n### ')).matchAll(/^\| `([^`]+)` \| (.+) \|$/gm)].map((match) => [
    match[1] ?? '',
    match[2] ?? '',
  ]),
)
const namesOf = (type: { getAttributeTypeMap(): readonly { readonly baseName: string }[] }): readonly string[] =>
  type.getAttributeTypeMap().map(({ baseName }) => baseName)
const ofSpec = namesOf(V1ServiceSpec)
const ofPorts = namesOf(V1ServicePort)

test('the table has exactly the fields that the API of Kubernetes has', () => {
  assert.ok(ofSpec.length >= 20 && ofPorts.length >= 6)
  assert.deepEqual([...rows.keys()].sort(), [...ofSpec, ...ofPorts.map((name) => `ports[].${name}`)].sort())
  assert.deepEqual(namesOf(V1SessionAffinityConfig), ['clientIP'])
})

test('what the table says is read or enforced is a field of the schema, and nothing else is', () => {
  const { shape } = serviceSchema.shape.spec
  const isRead = (text: string): boolean => /^(read|enforced)|; read /.test(text)
  assert.deepEqual(
    ofSpec.filter((name) => isRead(rows.get(name) ?? '')).sort(),
    Object.keys(shape)
      .filter((name) => ofSpec.includes(name))
      .sort(),
  )
  for (const name of ['name', 'port', 'protocol']) assert.ok(isRead(rows.get(`ports[].${name}`) ?? ''), name)
})

test('what is of others changes nothing, whatever it says', () => {
  const others: Readonly<Record<string, string>> = {
    allocateLoadBalancerNodePorts: 'false',
    externalName: 'web.example',
    publishNotReadyAddresses: 'true',
    trafficDistribution: 'PreferSameZone',
    selector: '{app: web}',
  }
  const plain = serviceOf(translatorWith(base + service('web') + slice('web')).flush(), 'web')
  for (const [name, text] of Object.entries(others)) {
    assert.match(rows.get(name) ?? '', /^(of others|arrives)/, name)
    const more = serviceOf(translatorWith(base + service('web', `, ${name}: ${text}`) + slice('web')).flush(), 'web')
    assert.deepEqual([more.frontends, more.routes], [plain.frontends, plain.routes], name)
  }
  const claimed = [...rows].filter(([name, text]) => !name.startsWith('ports') && /^(of others|arrives)/.test(text))
  assert.deepEqual(claimed.map(([name]) => name).sort(), Object.keys(others).sort())
})
