/** Configurations of the documentation of MetalLB and Cilium give what is written beside them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kinds } from '../../src/k8s/kinds/table.ts'
import { examples, outcomeOf } from './examples.ts'

const all = examples()

for (const example of all)
  test(`${example.name} gives the sessions, addresses and routes that it says, and what is wrong with it`, () => {
    assert.ok(example.outcome.length > 0, 'it says nothing')
    assert.deepEqual(outcomeOf(example), example.outcome)
  })

test('every kind of configuration is in some example, and what has no effect is told in each that has it', () => {
  const text = all.map(({ manifests }) => manifests).join('\n')
  const ours = Object.entries(kinds)
    .filter(([kind, { versions }]) => /^(cilium|metallb)\.io\//.test(versions[0]) && kind !== 'CiliumBGPNodeConfig')
    .map(([kind]) => kind)
  assert.deepEqual(
    ours.filter((kind) => !text.includes(`kind: ${kind}\n`)),
    [],
  )
  for (const kind of ['L2Advertisement'])
    for (const { name, manifests, outcome } of all.filter((each) => each.manifests.includes(`kind: ${kind}\n`)))
      assert.ok(
        outcome.some((line) => line.startsWith(`warning NotServed ${kind}/`)),
        `${name}: ${manifests}`,
      )
})
