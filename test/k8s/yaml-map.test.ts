/** YAML text of annotations: bounded, and with names as they are written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { weightsIn } from '../../src/k8s/kinds/weights.ts'
import { readMap } from '../../src/k8s/kinds/yaml-map.ts'

const weightsOf = (text: string) => weightsIn({ 'herald.dev/weights': text }, undefined)

test('a text that is longer than any list of nodes is not read at all', () => {
  const padding = '#'.padEnd(65_536 - 'nodes: {a: 4}\n'.length, 'x')
  assert.deepEqual(readMap(`nodes: {a: 4}\n${padding}`), { nodes: { a: 4 } })
  assert.equal(readMap(`nodes: {a: 4}\n${padding}#`), 'it is longer than 65536 characters')
  const { weights, faults } = weightsOf(`nodes: {a: 4}\n${padding}#`)
  assert.deepEqual([weights, faults.length, faults[0]?.code], [undefined, 1, 'InvalidAnnotation'])
})

test('a thousand names are read however they are written, and a text of nothing but signs is not', () => {
  const names = Array.from({ length: 1_000 }, (_, n) => `node-${n}.rack-1.example.com`)
  const wanted = { nodes: Object.fromEntries(names.map((name) => [name, 4])) }
  assert.deepEqual(readMap(JSON.stringify(wanted, null, 1)), wanted)
  assert.deepEqual(readMap(`nodes:\n${names.map((name) => `  ${name}: 4\n`).join('')}`), wanted)
  for (const text of [']', 'a: ]\n', '- ', '! ', '{,', '"\\x" ', '%a\n', '<<: *a\n', 'a: 1\n', '#\n', '[', 'é: '])
    assert.equal(readMap(text.repeat(65_000 / text.length)), 'it has more than 10000 signs beside names', text)
})

test('a name that looks like a number or a truth is the name that is written', () => {
  const names = ['00012', '1e3', '0x10', '1.10', 'true', 'null', '7', '.5e1']
  const wanted = Object.fromEntries(names.map((name) => [name, 2]))
  assert.deepEqual(readMap(`{zones: {${names.map((name) => `${name}: 2`).join(', ')}}}`), { zones: wanted })
  assert.deepEqual(weightsOf('{nodes: {00012: 4, 5e3: 2}}').weights?.nodes, { '00012': 4, '5e3': 2 })
})

test('a name that is there twice is an error at its place, however it is written, and a merge key is none', () => {
  for (const text of ['{nodes: {a: 4, a: 2}}', '{nodes: {a: 4,"a": 2}}', '{nodes: {1: 4, "1": 2}}'])
    assert.match(String(readMap(text)), /^it has a name twice at its line 1, column 1[56]$/)
  assert.match(String(readMap('a: 1\nb: 1\na: 2\n')), /line 3, column 1$/)
  assert.deepEqual(readMap('x: &x {a: 1, b: 1}\ny: {<<: *x, a: 2}\nz: {<<: *x, <<: {c: 3}}'), {
    x: { a: 1, b: 1 },
    y: { a: 2, b: 1 },
    z: { a: 1, b: 1, c: 3 },
  })
})

test('what is no YAML is said with its place, and what grows by aliases is not unfolded', () => {
  assert.equal(readMap('{a: 1'), 'it cannot be read at its line 1, column 6')
  assert.equal(readMap('[a]'), 'it is something else')
  assert.match(String(readMap('['.repeat(9_000))), /^it cannot be read/)
  const bomb = ['a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]']
  for (const [before, name] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg'])
    bomb.push(`${name}: &${name} [${`*${before}, `.repeat(9)}]`)
  assert.equal(readMap(bomb.join('\n')), 'it cannot be read')
})
