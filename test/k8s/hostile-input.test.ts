import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { validateManifests } from '../../src/k8s/validate.ts'
import { change, node, pool, service, serviceOf, slice, smallestPolicy, translatorWith } from './manifests.ts'

const all =
  smallestPolicy +
  node +
  pool +
  service('web', ', ipFamilyPolicy: PreferDualStack', '{lbipam.cilium.io/ips: 198.51.100.1}') +
  slice('web')

test('objects of any content are answered with problems, never with an exception, and cost no other object anything', () => {
  const kind = fc.constantFrom(
    ['v1', 'Service'],
    ['v1', 'Node'],
    ['v1', 'Secret'],
    ['discovery.k8s.io/v1', 'EndpointSlice'],
    ['cilium.io/v2alpha1', 'CiliumBGPPeeringPolicy'],
    ['cilium.io/v2', 'CiliumLoadBalancerIPPool'],
  )
  const translator = translatorWith(all)
  translator.flush()
  fc.assert(
    fc.property(
      kind,
      fc.jsonValue(),
      fc.jsonValue(),
      fc.jsonValue(),
      ([apiVersion, name], spec, labels, annotations) => {
        const text = JSON.stringify({
          apiVersion,
          kind: name,
          metadata: { name: 'hostile', namespace: 'other', labels, annotations },
          spec,
          endpoints: spec,
          data: spec,
        })
        validateManifests([{ name: 'f.json', text }])
        change(translator, text)
      },
    ),
    { numRuns: 300 },
  )
  assert.equal(serviceOf(change(translator, slice('web').replace('10.244.1.5', '10.244.1.6')), 'web').routes.length, 1)
})

test('a manifest with any piece replaced by anything is read without an exception', () => {
  fc.assert(
    fc.property(
      fc.nat(all.length),
      fc.nat(40),
      fc.oneof(
        fc.string(),
        fc.constantFrom('&a [*a]', '*a', '\t', '---', '{{', '!!js/x ', '__proto__: ', '\u0000', '\ufeff'),
      ),
      (start, length, text) => {
        const mangled = all.slice(0, start) + text + all.slice(start + length)
        validateManifests([{ name: 'f.yaml', text: mangled }])
        translatorWith(mangled).flush()
      },
    ),
    { numRuns: 300 },
  )
})

test('aliases that multiply without end are refused', () => {
  const levels = Array.from(
    { length: 12 },
    (_, i) => `  l${i + 1}: &l${i + 1} [${Array.from({ length: 9 }, () => `*l${i}`).join(', ')}]\n`,
  ).join('')
  const [problem] = validateManifests([
    { name: 'f.yaml', text: `apiVersion: v1\nkind: Service\nmetadata: {name: bomb}\nspec:\n  l0: &l0 [x]\n${levels}` },
  ])
  assert.equal(problem?.code, 'InvalidYaml')
})

test('of a key that is given twice the last one counts, as with kubectl, and a warning says where it stands', () => {
  const text = smallestPolicy.replace('  - localASN: 65001\n', '  - localASN: 65001\n    localASN: 65002\n')
  const [problem, ...others] = validateManifests([{ name: 'f.yaml', text }])
  assert.deepEqual([problem?.code, problem?.severity, problem?.object.line], ['DuplicateKey', 'warning', 8])
  assert.equal(others.length, 0)
})
