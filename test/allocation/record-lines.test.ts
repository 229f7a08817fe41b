import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parse } from 'yaml'
import { formatLine, type ParsedRecord, parseRecord, type RecordLine } from '../../src/allocation/record-lines.ts'
import { allOf } from '../../src/allocation/work.ts'
import { type Tenure, termsOf } from '../../src/allocation/tenure.ts'

const read = (text: string): ParsedRecord => allOf(parseRecord(text))

const address = fc.oneof(
  fc.ipV4(),
  fc.nat(0xffff).map((low) => (low === 0 ? '2001:db8::' : `2001:db8::${low.toString(16)}`)),
)
/** Whatever stands on both sides of the slash; the API server allows much less, and people write what they like. */
const word = fc.string({ minLength: 1, unit: 'binary' }).filter((text) => !text.includes('/') && text.isWellFormed())
/** Whatever keys and selectors people write. */
const terms = fc
  .record({ key: fc.string({ unit: 'binary' }), traffic: fc.string({ unit: 'binary' }) })
  .map(({ key, traffic }) => termsOf({ key, namespace: 'default', sharedWith: ['*'], trafficKey: traffic, ports: [] }))
const port = fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.constantFrom('TCP', 'UDP', 'SCTP'))
const portsOfAddress = fc.tuple(address, fc.array(port.map(([number, protocol]) => `${number}/${protocol}`)))
const tenure: fc.Arbitrary<Tenure> = fc.record(
  {
    terms,
    ports: fc
      .uniqueArray(portsOfAddress, { minLength: 1, maxLength: 3, selector: ([each]) => each })
      .map((list) => new Map<string, readonly string[]>(list)),
  },
  { noNullPrototype: true },
)
const line: fc.Arbitrary<RecordLine> = fc.record(
  {
    key: fc.tuple(word, word).map(([namespace, name]) => `${namespace}/${name}`),
    addresses: fc.array(address, { maxLength: 3 }),
    lost: fc.array(address, { minLength: 1, maxLength: 2 }),
    tenure,
  },
  { noNullPrototype: true, requiredKeys: ['key', 'addresses'] },
)

test('every line is read back as it was written, whatever the names, and the text is YAML', () => {
  fc.assert(
    fc.property(fc.uniqueArray(line, { selector: ({ key }) => key, maxLength: 8 }), (lines) => {
      const text = lines.map(formatLine).join('')
      assert.deepEqual(read(text), { lines, damaged: [], rest: '' })
      const asYaml: unknown = parse(text) ?? {}
      assert.deepEqual(asYaml, Object.fromEntries(lines.map(({ key, addresses }) => [key, addresses])))
    }),
    { numRuns: 200 },
  )
})

test('names that the API server allows or that people write are keys', () => {
  for (const key of ['default/Web_1', 'default/web.v2', 'default/1', 'Kube-System/x', 'default/web:blue', "a/o'b"])
    assert.deepEqual(read(formatLine({ key, addresses: ['10.0.0.1'] })).lines, [{ key, addresses: ['10.0.0.1'] }])
})

test('a person may leave out quotes, write another form of an address, and add notes', () => {
  const text = [
    "default/web: [198.51.100.9, '2001:DB8:0::1']  # fixed",
    "'default/it''s': [10.0.0.1]",
    '  # a note',
    '"default/none": []',
    '',
  ].join('\n')
  assert.deepEqual(read(text).lines, [
    { key: 'default/web', addresses: ['198.51.100.9', '2001:db8::1'] },
    { key: "default/it's", addresses: ['10.0.0.1'] },
    { key: 'default/none', addresses: [] },
  ])
})

test('a released line says when its Service went', () => {
  const released = { key: 'default/web', addresses: ['10.0.0.1'], releasedMs: Date.UTC(2026, 0, 31, 12) }
  assert.match(formatLine(released), /# released 2026-01-31T12:00:00.000Z\n$/)
  assert.deepEqual(read(formatLine(released)).lines, [released])
  assert.deepEqual(read('"a/b": ["10.0.0.1"]  # released some day\n').lines, [{ key: 'a/b', addresses: ['10.0.0.1'] }])
})

test('what a Service lost to another is in its line, beside all else that is noted there', () => {
  const was = { key: 'default/web', addresses: ['10.0.0.2'], lost: ['10.0.0.1', '2001:db8::1'] }
  assert.equal(formatLine(was), '"default/web": ["10.0.0.2"]  # was 10.0.0.1, 2001:db8::1\n')
  const kept = {
    ...was,
    releasedMs: Date.UTC(2026, 0, 31, 12),
    tenure: { terms: 'was ports', ports: new Map([['10.0.0.2', ['80/TCP']]]) },
  }
  assert.deepEqual(read(formatLine(was) + formatLine(kept)).lines, [was, kept])
  assert.deepEqual(read('"a/b": ["10.0.0.1"]  # was mine\n').lines, [{ key: 'a/b', addresses: ['10.0.0.1'] }])
})

test('of a line that is no allocation the name and the addresses are made out where they can be', () => {
  const cases: readonly (readonly [string, string | undefined, readonly string[]])[] = [
    ['nonsense', undefined, []],
    ['"default/web": [198.51.100.300, 198.51.100.4]', 'default/web', ['198.51.100.4']],
    ['default/web: 198.51.100.4', 'default/web', ['198.51.100.4']],
    ['"default/web: ["198.51.100.4"]', undefined, ['198.51.100.4']],
    ['web: [198.51.100.4]', undefined, ['198.51.100.4']],
    ['"default/\\x": [2001:db8::4]', undefined, ['2001:db8::4']],
  ]
  for (const [text, key, addresses] of cases)
    assert.deepEqual(read(`${text}\n`), { lines: [], damaged: [{ text, key, addresses }], rest: '' })
})

test('what follows the last line end is the rest, and no line', () => {
  const whole = formatLine({ key: 'default/web', addresses: ['198.51.100.4'] })
  for (let cut = 1; cut < whole.length; cut++)
    assert.deepEqual(read(whole + whole.slice(0, cut)), {
      lines: [{ key: 'default/web', addresses: ['198.51.100.4'] }],
      damaged: [],
      rest: whole.slice(0, cut),
    })
})
