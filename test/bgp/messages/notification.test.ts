/** What operators read about the end of a session, and that a peer cannot write anything else there. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  decodeNotification,
  encodeNotification,
  encodeShutdownText,
  notificationText,
  shutdownText,
} from '../../../src/bgp/messages/notification.ts'

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))
const none = new Uint8Array(0)
/** Length octet and octets of a communication, whatever they are. */
const communication = (text: string): Uint8Array => Uint8Array.from([Buffer.byteLength(text), ...Buffer.from(text)])

test('an administrative shutdown with a text has the octets that FRR, BIRD and OpenBGPD send (RFC 9003 2)', () => {
  const bytes = encodeNotification({ code: 6, subcode: 2, data: encodeShutdownText('maintenance window 42') })
  assert.equal(
    Buffer.from(bytes).toString('hex'),
    `${'ff'.repeat(16)}002b03060215${Buffer.from('maintenance window 42').toString('hex')}`,
  )
  const { code, subcode, data } = decodeNotification(bytes.subarray(19))
  assert.equal(notificationText(code, subcode, data), 'Cease/Administrative Shutdown "maintenance window 42"')
})

test('a text is read from a shutdown and from a reset, and from nothing else', () => {
  assert.equal(notificationText(6, 4, communication('new address')), 'Cease/Administrative Reset "new address"')
  for (const subcode of [0, 1, 3, 5, 6, 7, 8, 10])
    assert.doesNotMatch(notificationText(6, subcode, communication('new address')), /new address/)
  assert.doesNotMatch(notificationText(4, 2, communication('new address')), /new address/)
})

test('codes and subcodes are named as in the RFCs, unknown ones keep their number', () => {
  const cases: readonly (readonly [number, number, string])[] = [
    [1, 1, 'Message Header Error/Connection Not Synchronized'],
    [2, 2, 'OPEN Message Error/Bad Peer AS'],
    [2, 7, 'OPEN Message Error/Unsupported Capability'],
    [2, 0, 'OPEN Message Error'],
    [3, 11, 'UPDATE Message Error/Malformed AS_PATH'],
    [4, 0, 'Hold Timer Expired'],
    [5, 3, 'Finite State Machine Error/Unexpected Message in Established'],
    [6, 7, 'Cease/Connection Collision Resolution'],
    [6, 10, 'Cease/BFD Down'],
    [6, 200, 'Cease/subcode 200'],
    [7, 1, 'ROUTE-REFRESH Message Error/Invalid Message Length'],
    [8, 0, 'Send Hold Timer Expired'],
    [0, 0, 'code 0'],
    [255, 255, 'code 255/subcode 255'],
  ]
  for (const [code, subcode, text] of cases) assert.equal(notificationText(code, subcode, none), text)
})

test('a communication of exactly 255 octets is sent whole, a longer one cut at a character (RFC 9003 2)', () => {
  const exact = `${'é'.repeat(127)}x`
  assert.equal(Buffer.byteLength(exact), 255)
  assert.equal(shutdownText(encodeShutdownText(exact)), exact)
  assert.equal(encodeShutdownText(exact).length, 256)
  const cases = [
    ['a'.repeat(256), 255],
    ['é'.repeat(128), 254],
    [`${'a'.repeat(254)}é`, 254],
    [`${'a'.repeat(253)}€`, 253],
    [`${'a'.repeat(252)}🚧`, 252],
    [`${'a'.repeat(251)}🚧`, 255],
  ] as const
  for (const [text, octets] of cases) {
    const data = encodeShutdownText(text)
    assert.equal(data[0], octets)
    assert.equal(data.length, 1 + octets)
    assert.ok(text.startsWith(new TextDecoder('utf-8', { fatal: true }).decode(data.subarray(1))))
  }
})

test('whatever an operator types is sent as at most 255 octets of valid UTF-8', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      const data = encodeShutdownText(text)
      assert.ok(data.length <= 256 && data[0] === data.length - 1)
      assert.ok(text.startsWith(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data.subarray(1))))
    }),
  )
  assert.equal(
    Buffer.from(encodeShutdownText('\ud800')).toString('hex'),
    '03efbfbd',
    'half a surrogate pair becomes U+FFFD',
  )
})

test('a length past the end of the message shows no text and does nothing else (vector C23)', () => {
  assert.equal(shutdownText(bytesOf('80616263')), undefined)
  assert.equal(shutdownText(bytesOf('04616263')), undefined, 'by one octet')
  assert.equal(shutdownText(none), undefined)
  assert.equal(notificationText(6, 2, bytesOf('80616263')), 'Cease/Administrative Shutdown')
  assert.equal(notificationText(6, 4, none), 'Cease/Administrative Reset')
  assert.equal(notificationText(6, 2, bytesOf('00')), 'Cease/Administrative Shutdown')
  assert.equal(
    notificationText(6, 2, bytesOf('0261626363')),
    'Cease/Administrative Shutdown "ab"',
    'octets after the text are not its part',
  )
})

test('what a terminal would act on is escaped: control sequences, directions, line ends, quotes (vector C24)', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['\u001b[2Jgone', '\\u001b[2Jgone'],
    ['two\r\nlines', 'two\\u000d\\u000alines'],
    ['a\u0000b\u007fc\u0085d\u009be', 'a\\u0000b\\u007fc\\u0085d\\u009be'],
    ['\u202egnp.exe\u2066\u200f', '\\u202egnp.exe\\u2066\\u200f'],
    ['\u2028\u2029', '\\u2028\\u2029'],
    ['zero\u200bwidth\u2060\u00ad', 'zero\\u200bwidth\\u2060\\u00ad'],
    ['tag\u{e0041}', 'tag\\u{e0041}'],
    ['say "no" \\ yes', 'say \\u0022no\\u0022 \\u005c yes'],
    ['Wartung bis 18:00, größer 🚧', 'Wartung bis 18:00, größer 🚧'],
  ]
  for (const [text, shown] of cases) assert.equal(shutdownText(communication(text)), shown)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 258 }), fc.constantFrom(2, 4, 9), (data, subcode) => {
      assert.match(
        notificationText(6, subcode, data),
        /^[^\p{C}\p{Zl}\p{Zp}\\]*(\\u([0-9a-f]{4}|\{[0-9a-f]{5,6}\})[^\p{C}\p{Zl}\p{Zp}\\]*)*$/u,
      )
    }),
  )
})

test('octets that are no UTF-8 become U+FFFD', () => {
  assert.equal(shutdownText(bytesOf('04ff61c328')), '\ufffda\ufffd(')
  assert.equal(shutdownText(bytesOf('02f09f')), '\ufffd')
})

test('a hard reset names what it wraps, once, and its longest text arrives whole (RFC 8538 3)', () => {
  const text = 'x'.repeat(255)
  const wrapped = Uint8Array.from([6, 2, ...encodeShutdownText(text)])
  const { code, subcode, data } = decodeNotification(
    encodeNotification({ code: 6, subcode: 9, data: wrapped }).subarray(19),
  )
  assert.equal(notificationText(code, subcode, data), `Cease/Hard Reset: Cease/Administrative Shutdown "${text}"`)
  assert.equal(notificationText(6, 9, bytesOf('0400')), 'Cease/Hard Reset: Hold Timer Expired')
  assert.equal(notificationText(6, 9, bytesOf('06')), 'Cease/Hard Reset')
  assert.equal(notificationText(6, 9, none), 'Cease/Hard Reset')
  assert.equal(notificationText(6, 9, bytesOf('0609060906090609')), 'Cease/Hard Reset: Cease/Hard Reset')
})

test('a NOTIFICATION of the largest message is kept to what an RFC can put there', () => {
  const body = new Uint8Array(4096 - 19).fill(0x41)
  assert.equal(decodeNotification(body).data.length, 258)
})
