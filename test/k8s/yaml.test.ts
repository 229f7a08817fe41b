/**
 * YAML as kubectl reads it. The values on the right were taken from the decoder of k8s.io/apimachinery 0.36 over
 * sigs.k8s.io/yaml 1.6, which kubectl reads files with.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parse, stringify } from 'yaml'
import { fingerprintOf } from '../../src/k8s/fingerprint.ts'
import { readYaml, yamlLocator, type YamlFault } from '../../src/k8s/yaml.ts'

function read(text: string): unknown {
  const found = readYaml(text)
  assert.ok('value' in found, 'message' in found ? found.message : '')
  return found.value
}

function faultOf(text: string): YamlFault {
  const read = readYaml(text)
  assert.ok('message' in read, 'it was read')
  return read
}

test('words are booleans and null as YAML 1.1 has them, unless they stand in quotes', () => {
  assert.deepEqual(
    read('a: [yes, no, on, off, y, n, Y, true, True, TRUE, tRue, ~, null, Null, "yes", !!str yes, False]\n'),
    {
      a: [true, false, true, false, true, false, true, true, true, true, 'tRue', null, null, null, 'yes', 'yes', false],
    },
  )
})

test('numbers are read in every base but 60, and what is none is text', () => {
  const numbers: readonly (readonly [string, unknown])[] = [
    ['0777', 511],
    ['0o777', 511],
    ['0x1F', 31],
    ['0b101', 5],
    ['1_000', 1000],
    ['010', 8],
    ['08', 8],
    ['-0777', -511],
    ['+5', 5],
    ['1e3', 1000],
    ['1.5', 1.5],
    ['.5', 0.5],
    ['5.', 5],
    ['1_0.5', 10.5],
    ['1:30', '1:30'],
    ['65000:100', '65000:100'],
    ['190:20:30', '190:20:30'],
    ['2001-01-01', '2001-01-01'],
    ['00', 0],
    ['-.5', -0.5],
    ['12e03', 12000],
    ['1_', 1],
    ['_1', '_1'],
    ['0x', '0x'],
    ['0b2', '0b2'],
    ['0o8', '0o8'],
    ['192.0.2.1', '192.0.2.1'],
  ]
  for (const [text, value] of numbers) assert.deepEqual(read(`a: ${text}\n`), { a: value }, text)
  assert.deepEqual(read('a: !!binary aGVsbG8=\nb: !!str 5\nc: !!int "5"\nd: !foo x\n'), {
    a: 'hello',
    b: '5',
    c: 5,
    d: 'x',
  })
})

test('merge keys are merged in the order of writing, of a list the first one wins', () => {
  assert.deepEqual(
    read('x: &x {a: 1, b: 2}\nb1: {a: 9, <<: *x}\nb2: {<<: *x, a: 9}\nb3:\n  <<: [*x, {a: 7, c: 8}]\n'),
    { x: { a: 1, b: 2 }, b1: { a: 1, b: 2 }, b2: { a: 9, b: 2 }, b3: { a: 1, b: 2, c: 8 } },
  )
  assert.deepEqual(read('x: {"<<": {a: 1}}\n'), { x: { '<<': { a: 1 } } })
  assert.match(faultOf('x: &x [1]\nb1: {<<: *x}\n').message, /merge key/)
})

test('keys are text, and none is empty; the last of two equal ones counts, with its place', () => {
  assert.deepEqual(read('y: 1\n1: 2\n1.5: 3\n'), { true: 1, 1: 2, '1.5': 3 })
  assert.match(faultOf('null: 5\n').message, /key of a mapping is empty/)
  assert.match(faultOf('[a, b]: 5\n').message, /key of a mapping is empty, a list/)
  assert.deepEqual(readYaml('a: 1\nb: 2\na: 3\n'), {
    value: { a: 3, b: 2 },
    doubledKeys: [10],
    openPath: ['a'],
    isOwn: false,
  })
  assert.deepEqual(Object.keys(read('__proto__: {a: 1}\n') as object), ['__proto__'])
})

test('anchors, texts of every style, CRLF and tabs between values are read', () => {
  assert.deepEqual(read('a: &a x\nb: *a\nc: {*a : 1}\n'), { a: 'x', b: 'x', c: { x: 1 } })
  assert.deepEqual(read("a: \"x\\ty\\x41\\u0041\"\nb: 'it''s'\nc: >-\n  a\n  b\nd: |+\n  x\n\n"), {
    a: 'x\tyAA',
    b: "it's",
    c: 'a b',
    d: 'x\n\n',
  })
  assert.deepEqual(read('a:\t1\r\nb: |\r\n  x\r\n  y\r\n'), { a: 1, b: 'x\ny\n' })
})

test('what is no YAML is refused in words that quote nothing of it, at its place', () => {
  const secret = 'hunter2'
  const wrong = [
    `password: *${secret}\n`,
    `password: !<tag:${secret}> x\npassword: *x`,
    `password: [${secret}\n`,
    `password: "${secret}\n`,
    `password: ${secret}: ${secret}\n`,
    `a:\n\tpassword: ${secret}\n`,
    `password: |${secret}\n  x\n`,
    `? [${secret}]\n: 1\n`,
    `a: @${secret}\n`,
    `${secret}\npassword: x\n`,
    `a: ${secret}\u0000\n`,
    `a: &${secret} [*${secret}]\n`,
    `!e!${secret} a: 1\n`,
  ]
  for (const text of wrong) {
    const { message, offset } = faultOf(text)
    assert.doesNotMatch(message, /hunter2|password/, text)
    assert.ok(offset >= 0 && offset <= text.length && message.length > 10, text)
  }
  assert.equal(faultOf('a: 1\nb: *x\n').offset, 8)
})

test('nesting, aliases that multiply, merges without end and numbers that JSON lacks are refused', () => {
  assert.match(faultOf('a: '.concat('['.repeat(3500), ']'.repeat(3500))).message, /64 collections/)
  assert.match(faultOf(`${'- '.repeat(3500)}a\n`).message, /64 collections/)
  const bomb = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(9)}]\n`).join('')
  const deep = fingerprintOf(read(`l0: &l0 [x]\n${bomb}`))
  assert.ok(typeof deep === 'object' && /aliases/.test(deep.message))
  for (const text of ['.inf', '-.Inf', '.nan']) assert.equal(typeof fingerprintOf(read(`a: ${text}\n`)), 'object')
})

test('a field is found where it is written: also merged, behind an alias, and the last of two', () => {
  const text = 'x: &x {a: 1, b: {c: 2}}\nl:\n- <<: *x\n  d: "3"\n- *x\nd: 1\nd: 2\n'
  const locate = yamlLocator(text)
  const at = (...path: (string | number)[]): string | undefined => {
    const offset = locate(path)
    return offset === undefined ? undefined : text.slice(offset, offset + 4)
  }
  assert.equal(at('l', 0, 'a'), '1, b')
  assert.equal(at('l', 0, 'b', 'c'), '2}}\n')
  assert.equal(at('l', 0, 'd'), '"3"\n')
  assert.equal(at('l', 1, 'a'), '1, b')
  assert.equal(at('l', 0, 'missing'), '<<: ')
  assert.equal(at('d'), '2\n')
  assert.equal(at('nothing'), undefined)
  assert.equal(yamlLocator('a: [')(['a']), undefined)
})

test('what a longer text could go on with ends before a collection in flow style', () => {
  const open = (text: string): unknown => {
    const found = readYaml(text)
    return 'value' in found ? found.openPath : found
  }
  assert.deepEqual(open('a:\n- b: 1\n  c:\n  - x\n'), ['a', 0, 'c', 0])
  assert.deepEqual(open('a:\n- {b: 1}\nc: [1, 2]\n'), ['c'])
  assert.deepEqual(open('{a: 1}'), [])
})

/** Of what YAML lets stand as it is. */
function isPrintable(text: string): boolean {
  return [...text].every((each) => each === '\n' || (each >= ' ' && each <= '~'))
}

test('JSON, and YAML 1.1 that another program wrote, are read as what was written; every node is found', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const plain: unknown = JSON.parse(JSON.stringify(value))
      assert.deepEqual(read(JSON.stringify({ value: plain })), { value: plain })
      const written = stringify({ value: plain }, { version: '1.1', lineWidth: 0 })
      // A second parser, where it reads its own text back.
      if (JSON.stringify(parse(written, { version: '1.1' })) !== JSON.stringify({ value: plain })) return
      if (!isPrintable(written)) return
      const again = readYaml(written)
      if ('value' in again) assert.deepEqual(again.value, { value: plain })
      const locate = yamlLocator(written)
      if (Array.isArray(plain)) for (const index of plain.keys()) assert.notEqual(locate(['value', index]), undefined)
    }),
  )
})
