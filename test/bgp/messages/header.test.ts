/** Framing decides from the header alone: before a body has come, and whatever is in it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  defaultMaxMessageBytes,
  extendedMaxMessageBytes,
  type Frame,
  frameMessage,
} from '../../../src/bgp/messages/header.ts'

function header(type: number, length: number): Uint8Array {
  const bytes = new Uint8Array(19).fill(0xff)
  bytes.set([length >>> 8, length & 0xff, type], 16)
  return bytes
}

const frame = (bytes: Uint8Array, maximum = defaultMaxMessageBytes): Frame =>
  frameMessage(bytes, 0, bytes.length, maximum)

/** `more`, `frame`, or the NOTIFICATION as `code/subcode:data`. */
function verdict(bytes: Uint8Array, maximum?: number): string {
  const found = frame(bytes, maximum)
  return found.kind === 'fault'
    ? `${found.fault.code}/${found.fault.subcode}:${Buffer.from(found.fault.data).toString('hex')}`
    : found.kind
}

test('each type has its least and its greatest length (RFC 4271 4.1 and 6.1, RFC 2918, RFC 8654 4)', () => {
  const bounds: readonly (readonly [number, number, number, number])[] = [
    [1, 29, 4096, 4096],
    [2, 23, 4096, 65535],
    [3, 21, 4096, 65535],
    [4, 19, 19, 19],
    [5, 23, 4096, 65535],
  ]
  for (const [type, least, greatest, extended] of bounds) {
    const isWhole = (length: number): string => (length === 19 ? 'frame' : 'more')
    for (const [maximum, most] of [
      [defaultMaxMessageBytes, greatest],
      [extendedMaxMessageBytes, extended],
    ] as const) {
      assert.equal(verdict(header(type, least - 1), maximum), `1/2:${(least - 1).toString(16).padStart(4, '0')}`)
      assert.equal(verdict(header(type, least), maximum), isWhole(least))
      assert.equal(verdict(header(type, most), maximum), isWhole(most))
      if (most < 65535)
        assert.equal(verdict(header(type, most + 1), maximum), `1/2:${(most + 1).toString(16).padStart(4, '0')}`)
    }
  }
})

test('an unknown type is refused with itself, a length that no message has before that (RFC 4271 6.1)', () => {
  for (const type of [0, 6, 7, 255]) {
    assert.equal(verdict(header(type, 19)), `1/3:${type.toString(16).padStart(2, '0')}`)
    assert.equal(verdict(header(type, 4096)), `1/3:${type.toString(16).padStart(2, '0')}`)
    assert.equal(verdict(header(type, 18)), '1/2:0012')
    assert.equal(verdict(header(type, 4097)), '1/2:1001')
  }
})

test('a wrong marker is refused with its first wrong octet, a right one waits (RFC 4271 6.1)', () => {
  for (let at = 0; at < 16; at++) {
    const bytes = header(4, 19)
    bytes[at] = 0xfe
    assert.equal(verdict(bytes.subarray(0, at)), 'more')
    assert.equal(verdict(bytes.subarray(0, at + 1)), '1/1:')
    assert.equal(verdict(bytes), '1/1:')
  }
})

test('a frame begins where it is told and ends where its length says', () => {
  const bytes = Uint8Array.from([1, 2, 3, ...header(2, 24), 0, 0, 0, 0, 9, ...header(4, 19)])
  const update = frameMessage(bytes, 3, bytes.length, defaultMaxMessageBytes)
  assert.deepEqual(update, { kind: 'frame', type: 2, body: Uint8Array.of(0, 0, 0, 0, 9), length: 24 })
  assert.deepEqual(frameMessage(bytes, 27, bytes.length, defaultMaxMessageBytes), {
    kind: 'frame',
    type: 4,
    body: new Uint8Array(0),
    length: 19,
  })
  assert.deepEqual(frameMessage(bytes, 46, bytes.length, defaultMaxMessageBytes), { kind: 'more' })
})
