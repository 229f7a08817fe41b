/**
 * herald.dev/neighbors: each key with what it takes and what it does not, and how several annotations lie on another.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { overridesFor, parseNeighborAnnotation } from '../../src/k8s/kinds/neighbor-annotation.ts'

const name = 'herald.dev/neighbors'
const parse = (text: string): ReturnType<typeof parseNeighborAnnotation> => parseNeighborAnnotation({ [name]: text })

/** What is taken as which value, and what is refused. */
const keys: Readonly<
  Record<string, { readonly good: readonly (readonly [string, unknown])[]; readonly bad: readonly string[] }>
> = {
  passive: {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['"true"', '1', 'yes', 'null', '[]'],
  },
  ttlSecurity: {
    good: [
      ['1', 1],
      ['254', 254],
    ],
    bad: ['0', '255', '-1', '1.5', '"1"', '[1]', 'null'],
  },
  sourceAddress: {
    good: [
      ['192.0.2.1', '192.0.2.1'],
      ['"2001:DB8::0:1"', '2001:db8::1'],
      ['"::ffff:192.0.2.1"', '192.0.2.1'],
    ],
    bad: ['192.0.2', '192.0.2.1/32', '192.0.2.256', '7', '"fe80::1%eth0"', '""'],
  },
  notification: { good: [['true', true]], bad: ['on', '0'] },
  nextHop: {
    good: [
      ['192.0.2.1', { ipv4: '192.0.2.1' }],
      ['"FD00::1"', { ipv6: 'fd00::1' }],
      ['{ipv4: 192.0.2.1, ipv6: "fd00::1"}', { ipv4: '192.0.2.1', ipv6: 'fd00::1' }],
      ['{ipv4: "fd00::1"}', { ipv4: 'fd00::1' }],
      ['{ipv6: "::ffff:192.0.2.1"}', { ipv6: '::ffff:192.0.2.1' }],
    ],
    bad: [
      ...['self', '{ipv6: 192.0.2.1}', '{ipv4: 1}', '[192.0.2.1]', '192.0.2.1/24'],
      // RFC 4271 5.1.3, RFC 7606 7.3: what no router could send to.
      ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '"::"', '"::1"', '"ff02::1"', '{ipv6: "::1"}'],
    ],
  },
  med: {
    good: [
      ['0', { ipv4: 0, ipv6: 0 }],
      ['4294967295', { ipv4: 4294967295, ipv6: 4294967295 }],
      ['{ipv6: 3}', { ipv6: 3 }],
    ],
    bad: ['-1', '4294967296', '"5"', '{ipv4: low}'],
  },
  asPathPrepend: {
    good: [
      ['16', { ipv4: 16, ipv6: 16 }],
      ['{ipv4: 2}', { ipv4: 2 }],
    ],
    bad: ['17', '-1', '1.5'],
  },
  extendedCommunities: {
    good: [
      ['["rt:65000:1"]', { ipv4: ['0002fde800000001'], ipv6: ['0002fde800000001'] }],
      ['[]', { ipv4: [], ipv6: [] }],
    ],
    bad: ['["rt:1"]', 'rt:65000:1', '[7]'],
  },
  role: {
    good: [
      ['customer', 'customer'],
      ['rs-client', 'rs-client'],
    ],
    bad: ['client', 'Customer', '""', '1'],
  },
  interface: {
    good: [
      ['eth0', 'eth0'],
      ['bond0.100', 'bond0.100'],
    ],
    bad: ['"eth 0"', 'a/b', 'abcdefghijklmnop', '""', '7'],
  },
  importPrefixes: {
    good: [
      ['[10.0.0.0/8]', [{ prefix: '10.0.0.0/8' }]],
      ['["10.0.0.0/8 ge 16 le 24"]', [{ prefix: '10.0.0.0/8', ge: 16, le: 24 }]],
      ['["2001:DB8::/32 le 48"]', [{ prefix: '2001:db8::/32', le: 48 }]],
      ['[]', []],
    ],
    bad: ['[10.0.0.1/8]', '["10.0.0.0/8 ge 4"]', '["10.0.0.0/8 le 33"]', '["10.0.0.0/8 ge 24 le 16"]', '10.0.0.0/8'],
  },
  enforceFirstAs: { good: [['false', false]], bad: ['no'] },
  rejectAsSets: { good: [['false', false]], bad: ['0'] },
  allowAsIn: {
    good: [
      ['0', 0],
      ['10', 10],
    ],
    bad: ['11', '-1'],
  },
  maxPrefixes: {
    good: [
      ['1', 1],
      ['4294967295', 4294967295],
    ],
    bad: ['0', 'none'],
  },
  maxPrefixesOut: { good: [['1', 1]], bad: ['0'] },
  tcpUserTimeout: {
    good: [
      ['1', 1],
      ['3600', 3600],
    ],
    bad: ['0', '3601', '20s'],
  },
  localAs: {
    good: [
      ['1', 1],
      ['4294967295', 4294967295],
    ],
    bad: ['0', '4294967296', '"64999"', 'AS1'],
  },
  addPathReceive: { good: [['true', true]], bad: ['both'] },
  delayOpen: {
    good: [
      ['0', 0],
      ['240', 240],
    ],
    bad: ['241', '-1'],
  },
}

test('each key takes what it takes, in canonical form', () => {
  for (const [key, { good }] of Object.entries(keys))
    for (const [written, value] of good) {
      const { keys: found, faults } = parse(`{"192.0.2.1": {${key}: ${written}}}`)
      assert.deepEqual([found[0]?.keys, faults], [{ [key]: value }, []], `${key}: ${written}`)
    }
})

test('each key refuses the rest at its own place, costs the others nothing, and keeps what it was', () => {
  for (const [key, { good, bad }] of Object.entries(keys))
    for (const written of bad) {
      const other =
        key === 'localAs'
          ? { text: 'passive: true', value: { passive: true } }
          : { text: 'localAs: 7', value: { localAs: 7 } }
      const text = `{"192.0.2.1": {${key}: ${written}, ${other.text}}}`
      const { keys: found, faults } = parse(text)
      assert.deepEqual([found[0]?.keys, faults.length], [other.value, 1], `${key}: ${written}`)
      const [fault] = faults
      assert.deepEqual(fault?.path.slice(0, 5), ['metadata', 'annotations', name, '192.0.2.1', key])
      assert.match(fault?.remedy ?? '', /this key is left out until then\.$/, `${key}: ${written}`)
      const [[before, value] = ['', undefined]] = good
      const earlier = parse(`{"192.0.2.1": {${key}: ${before}}}`).keys
      const kept = parseNeighborAnnotation({ [name]: text }, earlier)
      assert.deepEqual(kept.keys[0]?.keys, { [key]: value, ...other.value }, `${key}: ${written} keeps ${before}`)
      assert.match(kept.faults[0]?.remedy ?? '', /the last good version of this key stays in force\.$/)
    }
})

test('of a prefix to import that cannot be is said what is wrong with it, and what to write', () => {
  for (const [written, told] of [
    ['10.0.0.1/8', '10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8'],
    ['2001:db8::1/32 le 64', '2001:db8::1/32 has bits beyond its length: write 2001:db8::/32'],
    ['172.16.0.0/12 ge 8', '172.16.0.0/12 ge 8: ge 8 is shorter than 172.16.0.0/12 itself'],
    ['172.16.0.0/12 le 8', '172.16.0.0/12 le 8: le 8 is shorter than 172.16.0.0/12 itself'],
    ['172.16.0.0/12 ge 24 le 20', '172.16.0.0/12 ge 24 le 20: le 20 is shorter than ge 24'],
    ['172.16.0.0/12 le 48', '172.16.0.0/12 le 48: no prefix of this family is longer than 32'],
    ['fd00::/8 ge 129', 'fd00::/8 ge 129: no prefix of this family is longer than 128'],
    ['172.16.0.0', /^172\.16\.0\.0 is not a prefix such as /],
    ['any', /^any is not a prefix such as /],
  ] as const) {
    const [fault] = parse(`{"192.0.2.1": {importPrefixes: ["${written}"]}}`).faults
    assert.match(fault?.message ?? '', typeof told === 'string' ? new RegExp(`^${told.replaceAll('.', '\\.')}$`) : told)
  }
})

test('a key that is not known is said with the one it may stand for', () => {
  for (const [written, code, remedy] of [
    ['passiv: true', 'UnknownField', /Did you mean passive/],
    ['ttlSecurty: 1', 'UnknownField', /Did you mean ttlSecurity/],
    ['maxprefixes: 1', 'UnknownField', /Did you mean maxPrefixes/],
    ['password: x', 'UnknownField', /Remove the field/],
  ] as const) {
    const { keys: found, faults } = parse(`{"*": {${written}}}`)
    assert.deepEqual([found[0]?.keys, faults.map((fault) => [fault.severity, fault.code])], [{}, [['warning', code]]])
    assert.match(faults[0]?.remedy ?? '', remedy)
  }
})

test('what is no entry is said: an address with a mask, a name, a list, a scalar; nothing is nothing', () => {
  for (const text of [
    '{"192.0.2.1/32": {}}',
    '{tor: {}}',
    '{"192.0.2.1%eth0/1": {}}',
    '{"": {}}',
    '{"192.0.2.1": []}',
    '{"*": }',
  ])
    assert.deepEqual(
      parse(text).faults.map(({ code, severity }) => [code, severity]),
      [['InvalidAnnotation', 'error']],
      text,
    )
  for (const text of ['just words', '[1]', '7', '{"a": ', '"', '{a: &x {}, b: *y}'])
    assert.deepEqual(
      parse(text).faults.map(({ code }) => code),
      ['InvalidAnnotation'],
      text,
    )
  for (const text of ['', '  \n', '{}']) assert.deepEqual(parse(text), { keys: [], faults: [] }, JSON.stringify(text))
})

test('one address is one entry however it is written: the first one counts, the second is said', () => {
  const { keys: found, faults } = parse(
    '{"2001:db8::1": {med: 1}, "2001:DB8:0::1": {med: 2}, "::ffff:10.0.0.1": {}, 10.0.0.1: {}}',
  )
  assert.deepEqual(
    found.map(({ address }) => address),
    ['2001:db8::1', '10.0.0.1'],
  )
  assert.deepEqual(
    faults.map(({ code }) => code),
    ['DuplicateNeighbor', 'DuplicateNeighbor'],
  )
})

test('merge keys are merged, as in the manifest around it: what an entry says itself goes before', () => {
  const { keys: merged, faults } = parse(
    '{"*": &all {med: 5, passive: true}, 10.0.0.1: {<<: *all, med: 7}, 10.0.0.2: {<<: [*all, {localAs: 9, med: 1}]}}',
  )
  assert.deepEqual(faults, [])
  const seven = { ipv4: 7, ipv6: 7 }
  const five = { ipv4: 5, ipv6: 5 }
  assert.deepEqual(overridesFor('10.0.0.1', [merged]), [{ med: seven, passive: true }])
  assert.deepEqual(overridesFor('10.0.0.2', [merged]), [{ med: five, passive: true, localAs: 9 }])
  assert.deepEqual(
    parse('{10.0.0.1: {<<: 5}}').faults.map(({ code }) => code),
    ['InvalidAnnotation'],
  )
})

test('layers: the address before "*", the Node before the policy, a zone before its address', () => {
  const policy = parse('{"*": {med: 1, localAs: 1}, "10.0.0.1": {med: 2, passive: true}}').keys
  const own = parse('{"*": {localAs: 9}, "10.0.0.1": {allowAsIn: 3}}').keys
  const both = { ipv4: 2, ipv6: 2 }
  assert.deepEqual(overridesFor('10.0.0.1', []), [{}])
  assert.deepEqual(overridesFor('10.0.0.1', [policy]), [{ med: both, localAs: 1, passive: true }])
  assert.deepEqual(overridesFor('10.0.0.1', [policy, own]), [{ med: both, localAs: 9, passive: true, allowAsIn: 3 }])
  assert.deepEqual(overridesFor('10.0.0.2', [policy, own]), [{ med: { ipv4: 1, ipv6: 1 }, localAs: 9 }])
  const zones = parse('{"fe80::1": {allowAsIn: 1}, "fe80::1%eth0": {localAs: 5}, "fe80::1%eth1": {}}').keys
  assert.deepEqual(overridesFor('fe80::1', [zones]), [
    { allowAsIn: 1, localAs: 5, interface: 'eth0' },
    { allowAsIn: 1, interface: 'eth1' },
  ])
  const more = parse('{"fe80::1": {interface: eno1}}').keys
  assert.deepEqual(
    overridesFor('fe80::1', [zones, more]).map((each) => each.interface),
    ['eno1', 'eth0', 'eth1'],
  )
})
