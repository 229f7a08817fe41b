/**
 * Dispositions that the vectors leave open: which errors the session survives, and what nobody knows how to withdraw.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeMessage } from '../../../src/bgp/messages/decode.ts'
import { type CodecContext, ipv6Unicast } from '../../../src/bgp/messages/types.ts'
import { ctxOf } from './arbitraries.ts'

const origin = '40010100'
const badOrigin = '40010103'
const asPath = '4002060201' + '0000fde9'
const nextHop = '4003040a000001'
const badNextHop = '40030400000000'
const nlri = '180a0a0a'
const mpReach = '800e1e' + '00020110' + '20010db8000000000000000000000001' + '00' + '4020010db800000001'
const mpUnreach = '800f0c' + '000201' + '4020010db800000001'

interface Parts {
  readonly withdrawn?: string
  readonly attributes?: readonly string[]
  readonly nlri?: string
}

/** `accept`, the actions taken, or `reset code/subcode:data` for an UPDATE of these hexadecimal parts. */
function outcome({ withdrawn = '', attributes = [], nlri: routes = '' }: Parts, ctx: CodecContext = ctxOf()): string {
  const block = attributes.join('')
  const u16 = (value: number): string => value.toString(16).padStart(4, '0')
  return outcomeOf(2, u16(withdrawn.length / 2) + withdrawn + u16(block.length / 2) + block + routes, ctx)
}

function outcomeOf(type: number, body: string, ctx: CodecContext = ctxOf()): string {
  const decoded = decodeMessage(type, Uint8Array.from(Buffer.from(body, 'hex')), ctx)
  if (!decoded.ok)
    return `reset ${decoded.fault.code}/${decoded.fault.subcode}:${Buffer.from(decoded.fault.data).toString('hex')}`
  return [...new Set(decoded.value.problems.map(({ action }) => action))].join(' ') || 'accept'
}

test('the parts of these tests are right where nothing is meant to be wrong', () => {
  assert.equal(outcome({ attributes: [origin, asPath, nextHop], nlri }), 'accept')
  assert.equal(outcome({ attributes: [mpReach, origin, asPath] }), 'accept')
  assert.equal(outcome({ withdrawn: nlri, attributes: [mpUnreach] }), 'accept')
})

test(
  'an error beyond attribute-discard in an UPDATE that announces nothing resets, withdrawals beside it or ' +
    'not (RFC 7606 5.2)',
  () => {
    assert.equal(outcome({ attributes: [badOrigin, asPath, nextHop] }), 'reset 3/6:')
    assert.equal(outcome({ withdrawn: nlri, attributes: [badOrigin, asPath, nextHop] }), 'reset 3/6:')
    assert.equal(outcome({ attributes: [mpUnreach, badOrigin] }), 'reset 3/6:')
    assert.equal(outcome({ withdrawn: nlri, attributes: [badNextHop] }), 'reset 3/8:')
    assert.equal(outcome({ withdrawn: nlri, attributes: [badOrigin, asPath, nextHop], nlri }), 'treat-as-withdraw')
    assert.equal(outcome({ attributes: [mpUnreach, mpReach, badOrigin, asPath] }), 'treat-as-withdraw')
    assert.equal(outcome({ withdrawn: nlri, attributes: ['40060100'] }), 'attribute-discard')
  },
)

test(
  'an MP_REACH_NLRI or MP_UNREACH_NLRI that runs past the attributes resets: its prefixes are unknown (RFC ' +
    '7606 3 j)',
  () => {
    for (const cut of [mpReach, mpUnreach]) {
      assert.equal(outcome({ attributes: [origin, asPath, nextHop, cut.slice(0, -2)], nlri }), 'reset 3/1:')
      assert.equal(outcome({ attributes: [cut.slice(0, 6)], nlri }), 'reset 3/1:')
    }
    assert.equal(
      outcome({ attributes: [origin, asPath, nextHop, '800404000000'], nlri }),
      'treat-as-withdraw',
      'another attribute does not',
    )
  },
)

test('a NEXT_HOP beside MP_REACH_NLRI alone is ignored, before it or behind it (RFC 4760 3)', () => {
  assert.equal(outcome({ attributes: [origin, asPath, badNextHop, mpReach] }), 'attribute-discard')
  assert.equal(outcome({ attributes: [mpReach, origin, asPath, badNextHop] }), 'attribute-discard')
  assert.equal(outcome({ attributes: [mpReach, origin, asPath, nextHop] }), 'accept')
  assert.equal(outcome({ attributes: [mpReach, origin, asPath, badNextHop], nlri }), 'treat-as-withdraw')
})

test('a NEXT_HOP that no host can have withdraws the routes (RFC 4271 6.3, RFC 7606 7.3)', () => {
  const hosts: Readonly<Record<string, boolean>> = {
    '00000000': false,
    '00ffffff': false,
    '01000000': true,
    '7effffff': true,
    '7f000001': false,
    '80000000': true,
    dfffffff: true,
    e0000000: false,
    f0000001: false,
    ffffffff: false,
  }
  for (const [address, isHost] of Object.entries(hosts))
    assert.equal(
      outcome({ attributes: [origin, asPath, `400304${address}`], nlri }),
      isHost ? 'accept' : 'treat-as-withdraw',
      address,
    )
})

test('an IPv6 next hop that no host can have withdraws the routes (RFC 4760 3, RFC 7606 7.11)', () => {
  const hosts: Readonly<Record<string, boolean>> = {
    ['0'.repeat(32)]: false,
    [`${'0'.repeat(31)}1`]: false,
    [`${'0'.repeat(31)}2`]: true,
    [`ff02${'0'.repeat(27)}1`]: false,
    [`fe80${'0'.repeat(27)}1`]: true,
    [`${'0'.repeat(20)}ffff0a000001`]: false,
    [`${'0'.repeat(20)}fffe0a000001`]: true,
  }
  for (const [address, isHost] of Object.entries(hosts))
    assert.equal(
      outcome({ attributes: [origin, asPath, `800e1e00020110${address}004020010db800000001`] }),
      isHost ? 'accept' : 'treat-as-withdraw',
      address,
    )
})

test(
  'an MP_REACH_NLRI without prefixes announces nothing and is no error; without its reserved octet it is one ' +
    '(RFC 4760 3)',
  () => {
    const head = '00020110' + '20010db8000000000000000000000001'
    assert.equal(outcome({ attributes: [`800e15${head}00`, origin, asPath] }), 'accept')
    assert.equal(outcome({ attributes: [`800e14${head}`, origin, asPath] }), 'reset 3/9:')
  },
)

test('a header that is cut short after good attributes withdraws the routes, it does not reset (RFC 7606 4)', () => {
  for (const rest of ['80', '8004', '9004', '900400', '50']) {
    assert.equal(outcome({ attributes: [origin, asPath, nextHop, rest], nlri }), 'treat-as-withdraw', rest)
    assert.equal(outcome({ attributes: [mpReach, origin, asPath, rest] }), 'treat-as-withdraw', rest)
    assert.equal(outcome({ attributes: [rest] }), 'reset 3/1:', rest)
  }
})

test('an unknown well-known attribute is answered with itself, in at most 64 octets (RFC 4271 6.3)', () => {
  assert.equal(outcome({ attributes: [origin, asPath, nextHop, '40c8020102'], nlri }), 'reset 3/2:40c8020102')
  const long = `50c80fa0${'ab'.repeat(4000)}`
  assert.equal(outcome({ attributes: [long], nlri }), `reset 3/2:${long.slice(0, 128)}`)
})

test(
  'thousands of faulty attributes in one message are told as a few problems, and the one that withdraws is ' +
    'among them',
  () => {
    const attributes = [origin, asPath, nextHop, ...Array.from({ length: 900 }, () => '40010100'), '80040100']
    const decoded = decodeMessage(
      2,
      Uint8Array.from(
        Buffer.from(
          `0000${(attributes.join('').length / 2).toString(16).padStart(4, '0')}${attributes.join('')}${nlri}`,
          'hex',
        ),
      ),
      ctxOf(),
    )
    assert.ok(decoded.ok)
    assert.deepEqual(
      decoded.value.problems.map(({ action }) => action),
      [...Array.from({ length: 32 }, () => 'attribute-discard'), 'treat-as-withdraw'],
    )
  },
)

test('End-of-RIB is one only when there is nothing else in it, not when the rest was ignored (RFC 4724 2)', () => {
  const familyOf = (body: string, ctx: CodecContext = ctxOf()): unknown => {
    const decoded = decodeMessage(2, Uint8Array.from(Buffer.from(body, 'hex')), ctx)
    return decoded.ok ? decoded.value.endOfRib : decoded.fault
  }
  assert.deepEqual(familyOf('00000000'), { afi: 1, safi: 1 })
  assert.deepEqual(familyOf('00000006800f03000201'), { afi: 2, safi: 1 })
  assert.deepEqual(familyOf('00000007900f0003000201'), { afi: 2, safi: 1 }, 'as ExaBGP sends it')
  assert.deepEqual(familyOf('00000006800f03000101'), { afi: 1, safi: 1 }, 'IPv4 unicast in the form of the others')
  assert.equal(familyOf('00000006800f03000180'), undefined, 'of a family that was not negotiated')
  assert.equal(familyOf('0000000380c800'), undefined, 'an unknown attribute that is dropped')
  assert.equal(familyOf('0000000a800f0300020140060100'), undefined, 'another attribute beside it')
  assert.equal(familyOf('0004180a0a0a0000'), undefined, 'a withdrawal')
  assert.equal(familyOf('00000008800f050002010820'), undefined, 'an IPv6 withdrawal')
})

test('a BoRR or EoRR of another length is answered with the whole message (RFC 7313 5)', () => {
  for (const subtype of ['01', '02'])
    assert.equal(outcomeOf(5, `0001${subtype}01ab`), `reset 7/1:${'ff'.repeat(16)}0018050001${subtype}01ab`)
  assert.equal(
    outcomeOf(5, `00010101${'cd'.repeat(100)}`),
    `reset 7/1:${'ff'.repeat(16)}007b0500010101${'cd'.repeat(41)}`,
  )
  for (const subtype of ['00', '03', 'ff'])
    assert.equal(outcomeOf(5, `0001${subtype}01ab`), 'accept', 'a request with ORF entries, an unknown subtype')
})

test('attributes of the inside of an AS are discarded from outside, whatever is in them (RFC 7606 7.5, 7.9, 7.10)', () => {
  const outside = ['40050300012c', '400504ffffffff', '800903010101', '800a00', '800a0401010101']
  for (const attribute of outside)
    assert.equal(outcome({ attributes: [origin, asPath, nextHop, attribute], nlri }), 'attribute-discard', attribute)
  const inside = ctxOf({ isExternal: false })
  for (const attribute of ['40050300012c', '800903010101', '800a00', '800a050101010101'])
    assert.equal(
      outcome({ attributes: [origin, asPath, nextHop, '40050400000064', attribute], nlri }, inside),
      attribute.startsWith('4005') ? 'attribute-discard' : 'treat-as-withdraw',
      attribute,
    )
  assert.equal(outcome({ attributes: [origin, asPath, nextHop, '40050300012c'], nlri }, inside), 'treat-as-withdraw')
  assert.equal(
    outcome({ attributes: [origin, asPath, nextHop], nlri }, inside),
    'treat-as-withdraw',
    'LOCAL_PREF is mandatory inside',
  )
})

test('IPv4 routes of a session that has IPv6 only are ignored as those of any other family (RFC 4760 8)', () => {
  const ctx = ctxOf({ families: [ipv6Unicast] })
  const attributes = [origin, asPath, nextHop]
  assert.equal(outcome({ attributes, nlri }, ctx), 'ignore')
  assert.equal(outcome({ withdrawn: nlri }, ctx), 'ignore')
  assert.equal(outcome({ attributes: [mpReach, origin, asPath] }, ctx), 'accept')
  const mixed = `0004${nlri}${'0035'}${mpReach}${origin}${asPath}${nextHop}${nlri}`
  const decoded = decodeMessage(2, Uint8Array.from(Buffer.from(mixed, 'hex')), ctx)
  if (!decoded.ok || decoded.value.message.type !== 'update') return assert.fail('an UPDATE')
  const { withdrawn, nlri: announced, mpReach: reach } = decoded.value.message
  assert.deepEqual([withdrawn, announced, reach?.prefixes.length], [[], [], 1], 'what was negotiated is taken')
  assert.equal(decoded.value.problems.length, 1)
})
