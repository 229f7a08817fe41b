/** How a file is taken apart, and what is said of documents that are no objects. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'yaml'
import { readDocuments } from '../../src/k8s/documents.ts'
import { longDocument, piecesOf } from '../../src/k8s/pieces.ts'
import { lossOf, shapeOf } from '../../src/k8s/shape.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { service } from './manifests.ts'

const names = (text: string): readonly string[] =>
  readDocuments('f.yaml', text).flatMap(({ objects }) => objects.map(({ key }) => key.name))
const codes = (text: string): readonly string[] =>
  readDocuments('f.yaml', text).flatMap(({ problems }) =>
    problems.map(({ code, object, column }) => `${code} ${object.line}:${column}`),
  )

test('lines of --- and ... separate documents wherever a comment, a mark or a carriage return stands', () => {
  const text = `# nothing\n---\n# c\n--- # c\n\ufeff${service('one').slice(4)}...\n${service('two').slice(4)}---\t\n%YAML 1.1\n---\n`
  assert.deepEqual(names(text), ['one', 'two'])
  assert.deepEqual(names(text.replaceAll('\n', '\r\n')), ['one', 'two'])
  assert.deepEqual(codes(text), [])
  assert.deepEqual(names('--- {apiVersion: v1, kind: Service, metadata: {name: one}}\n'), ['one'])
  assert.deepEqual([...piecesOf('a: "x\u2028--- y"\n')].length, 1)
})

test('a List without items, with null or with none at all is no problem and holds nothing', () => {
  for (const items of ['items: []', 'items: null', 'items:', '']) {
    assert.deepEqual(
      [names(`apiVersion: v1\nkind: List\n${items}\n`), codes(`apiVersion: v1\nkind: List\n${items}\n`)],
      [[], []],
    )
  }
  assert.deepEqual(codes('apiVersion: v1\nkind: ServiceList\nitems: null\n'), [])
})

test('the items of a list of one kind need not repeat it, a list in a list is taken apart', () => {
  const nested = { kind: 'List', items: [{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'two' } }] }
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'ServiceList',
    items: [{ metadata: { name: 'one' } }, nested],
  })
  const [document] = readDocuments('f.json', text)
  assert.deepEqual(
    document?.objects.map(({ key: { apiVersion, kind, name } }) => [apiVersion, kind, name]),
    [
      ['v1', 'Service', 'one'],
      ['v1', 'Service', 'two'],
    ],
  )
})

test('what is no object is told by what it lacks, each item of a List by itself', () => {
  assert.deepEqual(codes('foo\n'), ['NoObject 1:1'])
  assert.deepEqual(codes('apiVersion: v1\nkind: Service\nmetadata:\n  name: 123\n'), ['NoObject 4:9'])
  const list =
    'apiVersion: v1\nkind: List\nitems:\n- {kind: Service}\n- {apiVersion: v1, kind: Service, metadata: {name: one}}\n'
  assert.deepEqual([names(list), codes(list)], [['one'], ['NoObject 4:3']])
  const [problem] = validateManifests([{ name: 'f', text: 'apiVersion: v1\nkind: Service\n' }])
  assert.match(problem?.message ?? '', /it has no metadata\.name$/)
})

test('a name that the API server refuses is an error of that object that names the rule (RFC 1123)', () => {
  const wrong = ['Web_1', 'web.1', '-web', 'web-', 'a'.repeat(64)]
  for (const name of wrong) assert.deepEqual(codes(service(`"${name}"`)), ['InvalidName 4:18'], name)
  assert.match(JSON.stringify(validateManifests([{ name: 'f', text: service('Web_1') }])), /RFC 1123 label/)
  assert.deepEqual(codes(service('web').replace('namespace: default', 'namespace: a.b')), ['InvalidName 4:34'])
  assert.deepEqual(codes('apiVersion: v1\nkind: Node\nmetadata: {name: node.example.org}\n'), [])
  assert.deepEqual(codes('apiVersion: v1\nkind: Node\nmetadata: {name: node..org}\n'), ['InvalidName 3:18'])
  assert.deepEqual(codes('apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: "system:x"}\n'), [])
})

test('a long List is taken apart in YAML of any indentation and in JSON, and finds its fields', () => {
  const items = Array.from({ length: 900 }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `s-${i}`, namespace: 'default', labels: { text: 'a "b" {[\n- c' } },
    spec: { type: 'LoadBalancer', ports: [{ port: 80 }] },
  }))
  const list = { apiVersion: 'v1', items, kind: 'List', metadata: { resourceVersion: '' } }
  const texts = [
    stringify(list, { indentSeq: false }),
    stringify(list, { indentSeq: true }).replace('items:', 'items: # all\n\n  # of them'),
    JSON.stringify(list),
    JSON.stringify(list, undefined, 4),
  ]
  for (const text of texts) {
    assert.ok(text.length > longDocument)
    assert.equal([...piecesOf(text)].length, 900, text.slice(0, 60))
    const documents = readDocuments('f', text)
    assert.deepEqual(
      documents.flatMap(({ objects }) => objects.map(({ object }) => object)),
      items,
    )
    const last = documents.at(-1)?.objects[0]
    const at = last?.origin.locate(['spec', 'ports', 0, 'port'])
    const line = text.split('\n')[(at?.line ?? 0) - 1] ?? ''
    assert.equal(line.slice((at?.column ?? 0) - 1).slice(0, 2), '80')
  }
  const anchored = texts[0]?.replace('name: s-0', 'name: &n s-0') ?? ''
  assert.equal([...piecesOf(anchored)].length, 1)
  assert.equal(names(anchored).length, 900)
})

test('a document that is too long is refused, one of a kind that nobody reads is passed over', () => {
  const long = `apiVersion: v1\nkind: Service\nmetadata: {name: one}\nx: ${'y'.repeat(1_600_000)}\n`
  assert.deepEqual(codes(long), ['LimitExceeded 1:1'])
  assert.deepEqual(codes(long.replace('kind: Service', 'kind: ConfigMap')), [])
  const lists = `${'{"kind":"List","items":['.repeat(2000)}${']}'.repeat(2000)}`
  assert.match(codes(lists).join(), /LimitExceeded|InvalidYaml/)
})

test('a version is without loss when every key and every item is still there, whatever their order and values', () => {
  const loses = (before: unknown, after: unknown): unknown => lossOf(shapeOf(before), shapeOf(after))
  assert.equal(
    loses({ a: 1, b: [{ name: 'x', v: 1 }] }, { b: [{ name: 'new' }, { v: 2, name: 'x' }], a: 2 }),
    undefined,
  )
  assert.deepEqual(loses({ a: { b: 1, c: 2 } }, { a: { b: 1 } }), ['a'])
  assert.deepEqual(loses({ a: [1, 2] }, { a: [1] }), ['a'])
  assert.deepEqual(loses({ a: [{ name: 'x' }] }, { a: [{ name: 'y' }] }), ['a'])
  assert.deepEqual(loses({ a: { b: 1 } }, { a: null }), ['a'])
  assert.deepEqual(loses({ a: 'x\ny\n' }, { a: 'x\n' }), ['a'])
  assert.equal(loses({ a: null }, {}), undefined)
  assert.equal(loses({ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.2'] }), undefined)
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(loses(value, value), undefined)
      assert.equal(loses({ value }, { value, more: 1 }), undefined)
      if (value !== null) assert.deepEqual(loses({ value }, {}), [])
    }),
  )
})
