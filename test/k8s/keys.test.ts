/** TCP-MD5 keys: what is wrong with one is told of its Secret, and no key is ever shown. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { change, node, policyWith, translatorWith } from './manifests.ts'

const policy = policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, authSecretRef: tor}')
const secret = (data: string, name = 'tor'): string =>
  `---\napiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: kube-system}\n${data}\n`
const base64 = (...octets: readonly (string | number)[]): string =>
  Buffer.concat(octets.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part)))).toString(
    'base64',
  )
const encoded = (...octets: readonly (string | number)[]): string => `data: {password: ${base64(...octets)}}`

const cases: readonly (readonly [data: string, code: string, message: RegExp, remedy: RegExp])[] = [
  [encoded('s3cret', 10), 'OddKey', /ends in a line end/, /echo -n/],
  [encoded('s3cret', 13, 10), 'OddKey', /ends in a line end/, /echo -n/],
  [encoded(' s3cret'), 'OddKey', /begins or ends with a blank/, /echo -n/],
  ['stringData:\n  password: |\n    s3cret', 'OddKey', /ends in a line end, which a block of text/, /in quotes/],
  ['stringData: {password: "s3cret "}', 'OddKey', /begins or ends with a blank/, /in quotes/],
  [encoded('k'.repeat(80), 10), 'KeyTooLong', /81 octets.*ends in a line end, which `echo`/, /echo -n/],
  [encoded('k'.repeat(81), 10), 'KeyTooLong', /82 octets, and the kernel takes at most 80 \(TCP-MD5\)$/, /at most 80/],
  [`stringData: {password: "${'k'.repeat(79)}\\r\\n"}`, 'KeyTooLong', /81 octets.*a block of text/, /in quotes/],
  [encoded('s3cretà'), 'OddKey', /not ASCII/, /ASCII/],
  [encoded('s3cret', 0, 'x'), 'OddKey', /control character/, /printable/],
  [encoded('s3crèt'), 'OddKey', /not ASCII/, /ASCII/],
  [encoded('s3cr', 0xe8, 't'), 'OddKey', /not ASCII/, /ASCII/],
  [encoded('s3cret'.repeat(14)), 'KeyTooLong', /84 octets.*at most 80/, /at most 80/],
  [`stringData: {password: ${'ü'.repeat(41)}}`, 'KeyTooLong', /82 octets/, /at most 80/],
  ['data: {password: ""}', 'InvalidKey', /is empty/, /router has/],
  ['data: {password: s3cret!!}', 'InvalidKey', /not base64/, /base64/],
  ['data: {password: abcde}', 'InvalidKey', /not base64/, /base64/],
  ['data: {passwort: czNjcmV0}', 'InvalidKey', /no field password/, /password/],
  ['stringData: {password: 12345678}', 'InvalidKey', /no text/, /quotes/],
  ['type: Opaque', 'InvalidKey', /no field password/, /password/],
]

test('every kind of bad key is named on its Secret, by the agent and offline, and never printed', () => {
  for (const [data, code, message, remedy] of cases) {
    const offline = validateManifests([{ name: 'f.yaml', text: policy + node + secret(data) }])
    const agent = translatorWith(policy + node + secret(data)).flush().problems ?? []
    for (const problems of [offline, agent]) {
      const found = problems.find((problem) => problem.code === code)
      assert.deepEqual([found?.object.kind, found?.object.name], ['Secret', 'tor'], data)
      assert.match(found?.message ?? '', message, data)
      assert.match(found?.remedy ?? '', remedy, data)
      assert.equal(found?.severity, code === 'OddKey' ? 'warning' : 'error')
      assert.doesNotMatch(JSON.stringify(problems), /s3cr|czNj|12345678|ü/)
    }
  }
})

test('a key that nobody names is nobody’s problem, until a file without any policy is looked at', () => {
  const other = secret(encoded('x'.repeat(200)), 'database')
  const good = secret(encoded('s3cret'))
  assert.deepEqual(validateManifests([{ name: 'f.yaml', text: policy + node + good + other }]), [])
  const codes = (text: string): readonly string[] =>
    validateManifests([{ name: 'f.yaml', text }]).map(({ code }: Problem) => code)
  assert.deepEqual(codes(secret(encoded('s3cret', 10))), ['OddKey'])
  assert.deepEqual(codes(secret('data: {tls.crt: eA==}')), [])
  assert.deepEqual(codes(policy), [], 'the Secret is elsewhere')
})

test('80 octets are a key, and its octets are what the kernel gets', () => {
  const keyOf = (data: string): string | undefined =>
    translatorWith(policy + node + secret(data)).flush().speaker?.neighbors[0]?.password
  const octets = (data: string): readonly number[] => [...Buffer.from(keyOf(data) ?? '', 'latin1')]
  assert.equal(keyOf(encoded('k'.repeat(80)))?.length, 80)
  assert.deepEqual(octets(encoded('é')), [0xc3, 0xa9])
  assert.deepEqual(octets(encoded(0xe9, 0xff)), [0xe9, 0xff])
  assert.deepEqual(octets('stringData: {password: é}'), [0xc3, 0xa9])
  assert.deepEqual(octets(encoded(0xef, 0xbb, 0xbf, 'a')), [0xef, 0xbb, 0xbf, 0x61])
  const folded = base64('k'.repeat(60)).replace(/(.{76})/, '$1\\n')
  assert.equal(keyOf(`data: {password: "${folded}"}`), 'k'.repeat(60), 'base64 folds its lines')
  assert.equal(keyOf('data: {password: czNjcmV0}\nstringData: {password: plain}'), 'plain')
})

test('the warning goes with its cause', () => {
  const translator = translatorWith(policy + node + secret(encoded('s3cret', 10)))
  assert.equal(translator.flush().problems?.length, 1)
  const delta = change(translator, secret(encoded('s3cret')))
  assert.deepEqual([delta.problems, delta.speaker?.neighbors[0]?.password], [[], 's3cret'])
})
