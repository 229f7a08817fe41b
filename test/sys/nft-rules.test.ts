/** What a rule of nftables does, read from its expressions; one that cannot be read never lets anything pass. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { effectOfTarget, type Effect } from '../../src/sys/filter-rules.ts'
import { effectOfRule } from '../../src/sys/nft-rules.ts'
import { attributesOf, big, expression, verdict } from '../datapath/netfilter.ts'

const effectOf = (...expressions: readonly Uint8Array[]): Effect => effectOfRule(Buffer.concat(expressions))

test('a rule is what its verdict says, unless it changes something, asks a map, or has a word that is not known', () => {
  const reads = [expression('meta', [2, big(1)], [1, big(1)]), expression('cmp', [1, big(1)])]
  for (const [rule, effect] of [
    [[...reads, expression('counter'), verdict(1)], { does: 'accept' }],
    [[...reads, verdict(-5)], { does: 'return' }],
    [[verdict(-3, 'next')], { does: 'ask', chain: 'next', isGoto: false }],
    [[verdict(-4, 'next')], { does: 'ask', chain: 'next', isGoto: true }],
    [[...reads, verdict(0)], { does: 'other', what: 'the verdict drop' }],
    [[verdict(3)], { does: 'other', what: 'the verdict queue' }],
    [[...reads, expression('counter')], { does: 'other', what: 'no verdict, which counts packets' }],
    [[expression('meta', [2, big(3)], [3, big(1)]), verdict(1)], { does: 'other', what: 'the statement meta set' }],
    [[expression('lookup', [1, 'services'], [3, big(0)])], { does: 'other', what: 'a map of verdicts' }],
    [[expression('lookup', [1, 'services'], [3, big(1)]), verdict(1)], { does: 'accept' }],
    [[expression('wonder'), verdict(1)], { does: 'other', what: 'the statement wonder' }],
    [[expression('notrack')], { does: 'nothing' }],
    [[expression('masq')], { does: 'other', what: 'the statement masq' }],
  ] as const)
    assert.deepEqual(effectOf(...rule), effect)
})

test('a target of iptables is idle where it speaks to conntrack alone, and else named', () => {
  for (const name of ['CT', 'NOTRACK']) assert.deepEqual(effectOfTarget(name), { does: 'nothing' })
  for (const name of ['DROP', 'REJECT', 'MARK', 'ct', ''])
    assert.deepEqual(effectOfTarget(name), { does: 'other', what: `the target ${name}` })
  const target = (name: string): Uint8Array => expression('target', [1, name], [2, big(0)])
  assert.deepEqual(effectOf(target('CT')), { does: 'nothing' })
  assert.deepEqual(effectOf(target('TCPMSS')), { does: 'other', what: 'the target TCPMSS' })
})

test('what a rule writes counts wherever it stands before the verdict, and what it only reads does not', () => {
  for (const [name, sourceRegister] of [
    ['meta', 3],
    ['ct', 4],
    ['payload', 5],
    ['exthdr', 7],
  ] as const) {
    const reads = expression(name, [1, big(1)], [2, big(1)])
    const writes = expression(name, [2, big(1)], [sourceRegister, big(1)])
    assert.deepEqual(effectOf(reads, verdict(1)), { does: 'accept' }, name)
    for (const rule of [
      [writes, verdict(1)],
      [reads, writes, verdict(1)],
      [verdict(1), writes],
    ])
      assert.deepEqual(effectOf(...rule), { does: 'other', what: `the statement ${name} set` })
  }
  for (const name of ['log', 'reject', 'nat', 'dynset', 'objref', 'synproxy', 'fwd', 'queue'])
    assert.deepEqual(effectOf(expression(name), verdict(1)), { does: 'other', what: `the statement ${name}` })
})

test('every verdict of the kernel has one reading, and one that nobody knows drops', () => {
  for (const code of [-1, -2]) assert.deepEqual(effectOf(verdict(code)), { does: 'nothing' }, String(code))
  // To queue 1, and with NF_VERDICT_FLAG_QUEUE_BYPASS.
  for (const code of [3, 0x10003, 0x18003])
    assert.deepEqual(effectOf(verdict(code)), { does: 'other', what: 'the verdict queue' })
  for (const code of [0, 2, 4, 5, -6, 0x7fff_ffff])
    assert.deepEqual(effectOf(verdict(code)), { does: 'other', what: 'the verdict drop' }, String(code))
  const withoutCode = expression('immediate', [1, big(0)], [2, attributesOf([[2, attributesOf([])]])])
  assert.deepEqual(effectOf(withoutCode), { does: 'other', what: 'the verdict drop' })
})

test('a rule that drops lets nothing pass where it is cut, at whatever octet', () => {
  const rules = [
    [expression('meta', [2, big(1)], [1, big(1)]), expression('cmp', [1, big(1)]), verdict(0)],
    [expression('counter'), expression('log'), verdict(1)],
    [expression('target', [1, 'DROP'])],
    [expression('lookup', [1, 'services'], [3, big(0)])],
  ]
  for (const [i, rule] of rules.entries()) {
    const whole = Buffer.concat(rule)
    for (let length = 0; length < whole.length; length++)
      assert.equal(effectOfRule(whole.subarray(0, length)).does, 'other', `rule ${i} cut at ${length}`)
  }
})

test('any octets are an effect, and none of them throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => {
      assert.ok(['accept', 'nothing', 'return', 'ask', 'other'].includes(effectOfRule(octets).does))
    }),
  )
})
