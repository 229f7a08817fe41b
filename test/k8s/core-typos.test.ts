/** Fields of Service, EndpointSlice and Node that are misspelt: what was meant must not be missing without a word. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readDocuments } from '../../src/k8s/documents.ts'
import { coreFields } from '../../src/k8s/kinds/core-fields.ts'
import { outlineFaults } from '../../src/k8s/kinds/outline.ts'
import { parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { node, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const slipsOf = (key: string): readonly string[] =>
  [
    key.slice(0, -1),
    `${key}${key.at(-1)}`,
    key.toLowerCase(),
    key.charAt(0).toUpperCase() + key.slice(1),
    key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
  ].filter((slip) => slip !== key)

/** An object with one value at a place such as `spec.ports[]`. */
function objectWith(kind: string, place: string, value: object): Record<string, unknown> {
  const inner = place
    .replaceAll('[]', '.[]')
    .split('.')
    .reduceRight<unknown>((below, step) => (step === '[]' ? [below] : { [step]: below }), value)
  return { apiVersion: 'v1', kind, metadata: { name: 'x', namespace: 'y' }, ...(inner as object) }
}

const slipFaults = (kind: ServedKind, object: Record<string, unknown>): readonly string[] =>
  parseObject(kind, object, undefined).faults.flatMap(({ message, remedy, severity }) =>
    message.includes('not a field of this kind') ? [`${severity} ${remedy}`] : [],
  )

for (const [kind, places] of Object.entries(coreFields))
  test(`a misspelt field of a ${kind} is an error that says what was meant, at every place`, () => {
    for (const [place, known] of Object.entries(places))
      for (const key of known)
        for (const slip of slipsOf(key)) {
          // Another field in its own right.
          if (known.includes(slip)) continue
          const said = slipFaults(kind as ServedKind, objectWith(kind, place, { [slip]: 'x' }))
          assert.equal(said.length, 1, `${kind} ${place} ${slip}`)
          const [, meant = ''] = /^error Write (\w+);/.exec(said[0] ?? '') ?? []
          assert.ok(known.includes(meant), `${slip}: ${said[0]}`)
        }
  })

test('fields that are none of ours, or that the next release brings, are nobody’s slip, and neither is what is there twice', () => {
  for (const [kind, places] of Object.entries(coreFields))
    for (const [place, known] of Object.entries(places)) {
      const all = Object.fromEntries(known.map((key) => [key, undefined]))
      const more = { frobnicate: 1, loadBalancerPolicy: 2, nodeSelector: 3, clusterIPRange: 4, weight: 5, x: 6 }
      assert.deepEqual(slipFaults(kind as ServedKind, objectWith(kind, place, all)), [], place)
      assert.deepEqual(slipFaults(kind as ServedKind, objectWith(kind, place, more)), [], place)
      const twice = Object.fromEntries(known.flatMap((key) => [key, ...slipsOf(key)].map((each) => [each, undefined])))
      assert.deepEqual(slipFaults(kind as ServedKind, objectWith(kind, place, twice)), [], place)
    }
})

test('a field that an API server delivers is one of a newer Kubernetes, however near it is to one that is known', () => {
  // As clusterIPs came beside clusterIP.
  const newer = service('web', ', loadBalancerIPs: [198.51.100.9], selectors: [{app: web}]') + slice('web')
  const objects = readDocuments('a.yaml', smallestPolicy + node + pool + newer).flatMap((each) => each.objects)
  for (const from of ['server', 'folder']) {
    const translator = translatorWith('')
    for (const { key, object, origin } of objects)
      translator.upsert(key, object, from === 'server' ? undefined : origin)
    const { services, problems = [] } = translator.flush()
    const frontends = services.get('default/web')?.frontends.length ?? 0
    const slips = problems.filter(({ message }) => message.includes('not a field of this kind'))
    assert.deepEqual([frontends, slips.length], from === 'server' ? [1, 0] : [0, 2], from)
  }
})

test('a thousand endpoints with one slip are one error', () => {
  const endpoints = Array.from({ length: 1_000 }, () => ({ adresses: ['10.0.0.1'], nodename: 'n1' }))
  const slice = { ...objectWith('EndpointSlice', 'ports[]', {}), endpoints }
  assert.equal(slipFaults('EndpointSlice', slice).length, 2)
})

test('of an object with tens of thousands of fields that are none the first thousands are looked at', () => {
  const fields = (from: number, to: number): readonly (readonly [string, number])[] =>
    Array.from({ length: to - from }, (_, i) => [`externalTraffic${from + i}`, 1] as const)
  for (const [place, kind] of [
    ['spec', 'Service'],
    ['metadata', 'Service'],
    ['endpoints[]', 'EndpointSlice'],
  ] as const) {
    const slip = place === 'metadata' ? 'anotations' : place === 'spec' ? 'typ' : 'adresses'
    const saidOf = (before: number): number => {
      const value = Object.fromEntries([...fields(0, before), [slip, 'x'], ...fields(before, 20_000)])
      return outlineFaults(kind, objectWith(kind, place, value), undefined).length
    }
    assert.deepEqual([saidOf(4_000), saidOf(5_000)], [1, 0], place)
  }
})

test('a Service whose source ranges are misspelt is open to nobody: it stays as it was, or is not served', () => {
  const web = service('web', ', loadBalancerSourceRange: [10.0.0.0/8]')
  const errors = validateManifests([{ name: 'a.yaml', text: smallestPolicy + web }]).filter(
    ({ severity }) => severity === 'error',
  )
  assert.match(errors[0]?.remedy ?? '', /^Write loadBalancerSourceRanges;/)
  assert.equal(
    translatorWith(smallestPolicy + web)
      .flush()
      .services.get('default/web')?.frontends.length ?? 0,
    0,
  )
})
