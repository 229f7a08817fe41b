import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { readPlainYaml } from '../../src/k8s/plain-yaml.ts'
import { readAnyYaml } from '../../src/k8s/yaml.ts'

/** Where the short way reads a text it reads what the whole language says; answers whether it did. */
function agrees(text: string): boolean {
  const plain = readPlainYaml(text)
  if (plain === undefined) return false
  const whole = readAnyYaml(text)
  assert.ok('value' in whole, `only the short way reads ${JSON.stringify(text)}`)
  assert.deepStrictEqual({ ...plain, doubledKeys: [], isOwn: false }, whole, JSON.stringify(text))
  return true
}

const scalar = fc.constantFrom(
  ...['a', 'web-1', 'v1', '80', '-1', '0', '-0', '1.5', '1e3', '0x1F', '017', 'yes', 'null', '~', 'y', '.inf', '1_000'],
  ...[
    '10.0.0.1',
    'fd00::1',
    '::1',
    'fd00::',
    'a:b',
    'a b',
    'a  b',
    'a#b',
    'a #b',
    'a: b',
    'a:',
    '- a',
    '-',
    '-a',
    '--- a',
  ],
  ...[
    '"q"',
    "'q'",
    '"a\\n"',
    "'a''b'",
    '"a',
    "'a",
    '"a" b',
    '"10"',
    "''",
    '""',
    '<<',
    '*a',
    '&a b',
    '!t b',
    '|',
    '>-',
    '%a',
  ],
  ...[
    '[]',
    '{}',
    '[a]',
    '[a, b]',
    '[a,b]',
    '[a, ]',
    '[a b]',
    '{a: b}',
    '{a: b, c: [d, {e: f}]}',
    '{a: b, a: c}',
    '[a: b]',
  ],
  ...[
    '{a}',
    '{a:}',
    '{a:b}',
    '{"a": b}',
    '[ ]',
    '{ }',
    '[ a , b ]',
    '[fd00::1, ::1]',
    '[a, b',
    '{a: b',
    '[a] b',
    '[-1, - 1]',
  ],
  ...[
    '[[a], []]',
    '[a]#c',
    '[a] # c',
    'a # c',
    '=',
    '@a',
    '`a`',
    '?',
    '? a',
    ',',
    'é',
    'true',
    'False',
    '',
    ' ',
    '__proto__',
  ],
)
const key = fc.constantFrom(
  ...[
    'a',
    'b',
    'c',
    'name',
    'y',
    'null',
    '1',
    '1.0',
    'a/b.c',
    '-a',
    '"a"',
    "'a'",
    'a b',
    '<<',
    '__proto__',
    'constructor',
  ],
)
const line = fc.tuple(
  fc.oneof({ weight: 6, arbitrary: fc.constantFrom(0, 0, 2, 2, 4) }, fc.constantFrom(1, 6)),
  fc.oneof({ weight: 4, arbitrary: fc.constantFrom('', '', '- ') }, fc.constantFrom('-   ', '- - ', '# ', '-')),
  fc.option(fc.oneof({ weight: 4, arbitrary: fc.constantFrom('a', 'b', 'c', 'd') }, key), { nil: undefined, freq: 5 }),
  fc.oneof({ weight: 6, arbitrary: fc.constant(': ') }, fc.constantFrom(':', ':  ')),
  fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('a', '80', '[a, b]', '{a: b}') },
    { weight: 2, arbitrary: scalar },
    fc.constant(''),
  ),
  fc.oneof({ weight: 9, arbitrary: fc.constant('') }, fc.constantFrom(' ', '\t', '\r', '   # c')),
)
const text = fc
  .array(
    line.map(([indent, dash, name, colon, value, end]) =>
      [' '.repeat(indent), dash, name === undefined ? '' : name + colon, value, end].join(''),
    ),
    { maxLength: 6 },
  )
  .chain((lines) => fc.constantFrom(lines.join('\n'), `${lines.join('\n')}\n`, `\n${lines.join('\n')}\n\n`))

test('what the short way reads the whole language reads alike', () => {
  let taken = 0
  fc.assert(
    fc.property(text, (each) => {
      if (agrees(each)) taken++
    }),
    { numRuns: 20_000 },
  )
  // Else nothing was compared.
  assert.ok(taken > 1000, `${taken}`)
})

const service = `
apiVersion: v1
kind: Service
# Its pods answer on 8080.
metadata:
  name: web
  labels: {expose-via-bgp: "true", app: web}
spec:
  type: LoadBalancer
  loadBalancerSourceRanges: [10.0.0.0/8, 'fd00::/8']
  ports:
  - name: http
    port: 80

  - name: https
    port: 443
status:
  loadBalancer: {}
`

test('the short way reads the manifests that people and kubectl write', () => {
  assert.ok(agrees(service))
  assert.deepEqual(readPlainYaml(service)?.openPath, ['status', 'loadBalancer'])
  assert.ok(agrees(`- ${service.trim().replaceAll('\n', '\n  ')}\n`), 'an item of a List')
  assert.ok(
    agrees('endpoints:\n- addresses:\n  - 10.1.1.5\n  conditions:\n    ready: true\n  nodeName: node1\nports: []'),
  )
})

test('a text that ends anywhere in a manifest is read as the whole language reads it, or not here', () => {
  for (let end = 0; end <= service.length; end++) agrees(service.slice(0, end))
})

test('a manifest with any one character replaced is read as the whole language reads it, or not here', () => {
  for (let at = 0; at < service.length; at++)
    for (const character of [' ', '\n', ':', '-', '#', '"', ',', '}', 'x', '<', '&', '\u00e9', '\t'])
      agrees(service.slice(0, at) + character + service.slice(at + 1))
})
