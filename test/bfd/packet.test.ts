import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ControlPacket, decodeControl, diagnosticText, encodeControl } from '../../src/bfd/packet.ts'

const packet: ControlPacket = {
  diagnostic: 3,
  state: 'Up',
  poll: true,
  final: false,
  controlPlaneIndependent: true,
  demand: false,
  detectMultiplier: 3,
  myDiscriminator: 0x01020304,
  yourDiscriminator: 0xfffefdfc,
  desiredMinTxUs: 100_000,
  requiredMinRxUs: 300_000,
  requiredMinEchoRxUs: 0,
}

const changed = (change: (octets: Uint8Array) => void): ReturnType<typeof decodeControl> => {
  const octets = encodeControl(packet)
  change(octets)
  return decodeControl(octets)
}

test('a Control packet lies on the wire as RFC 5880 4.1 draws it', () => {
  assert.equal(Buffer.from(encodeControl(packet)).toString('hex'), '23e8031801020304fffefdfc000186a0000493e000000000')
})

const hostile: readonly (readonly [string, (octets: Uint8Array) => void, string])[] = [
  ['version 0', (o) => (o[0] = 0x03), 'version'],
  ['version 2', (o) => (o[0] = 0x43), 'version'],
  ['a length below 24', (o) => (o[3] = 23), 'length'],
  ['a length beyond the datagram', (o) => (o[3] = 25), 'length'],
  ['a length of 255', (o) => (o[3] = 255), 'length'],
  ['detect multiplier 0', (o) => (o[2] = 0), 'detectMultiplier'],
  ['the multipoint bit', (o) => (o[1] = 0xe9), 'multipoint'],
  ['my discriminator 0', (o) => o.fill(0, 4, 8), 'myDiscriminator'],
  ['your discriminator 0 in state Up', (o) => o.fill(0, 8, 12), 'yourDiscriminator'],
  ['the authentication bit without room for a section', (o) => (o[1] = 0xec), 'length'],
]

for (const [what, change, reason] of hostile)
  test(`RFC 5880 6.8.6: a packet with ${what} is dropped and says why`, () => {
    assert.equal(changed(change), reason)
  })

test('RFC 5880 6.8.6: your discriminator may be 0 in Down and AdminDown, and in no other state', () => {
  const answers = (['AdminDown', 'Down', 'Init', 'Up'] as const).map((state) =>
    decodeControl(encodeControl({ ...packet, state, yourDiscriminator: 0 })),
  )
  assert.deepEqual(
    answers.map((one) => (typeof one === 'string' ? one : one.state)),
    ['AdminDown', 'Down', 'yourDiscriminator', 'yourDiscriminator'],
  )
})

test('RFC 5880 6.8.6: an authenticated packet is dropped, since no session of ours has a key', () => {
  const octets = new Uint8Array(28)
  octets.set(encodeControl(packet))
  octets[1] = (octets[1] ?? 0) | 0x04
  octets[3] = 28
  assert.equal(decodeControl(octets), 'authentication')
})

test('RFC 5880 4.1: octets behind the length are of nobody, and do no harm', () => {
  const octets = new Uint8Array(60).fill(0xff)
  octets.set(encodeControl(packet))
  assert.deepEqual(decodeControl(octets), packet)
})

test('whatever comes is a packet or one of the reasons, and only its own octets are looked at', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(8), (octets, offset) => {
      const within = new Uint8Array(octets.length + offset + 16).fill(0x20)
      within.set(octets, offset)
      const read = decodeControl(within.subarray(offset, offset + octets.length))
      assert.deepEqual(read, decodeControl(octets))
      if (typeof read === 'string') return
      assert.ok(octets.length >= 24 && read.detectMultiplier > 0 && read.myDiscriminator > 0)
      assert.deepEqual(decodeControl(encodeControl(read)), read)
    }),
    { numRuns: 2_000 },
  )
})

test('a packet that was written is read as it was', () => {
  const u32 = fc.integer({ min: 1, max: 0xffff_ffff })
  const any = fc.record({
    diagnostic: fc.nat(31),
    state: fc.constantFrom('AdminDown' as const, 'Down' as const, 'Init' as const, 'Up' as const),
    poll: fc.boolean(),
    final: fc.boolean(),
    controlPlaneIndependent: fc.boolean(),
    demand: fc.boolean(),
    detectMultiplier: fc.integer({ min: 1, max: 255 }),
    myDiscriminator: u32,
    yourDiscriminator: u32,
    desiredMinTxUs: fc.nat(0xffff_ffff),
    requiredMinRxUs: fc.nat(0xffff_ffff),
    requiredMinEchoRxUs: fc.nat(0xffff_ffff),
  })
  fc.assert(fc.property(any, (one) => assert.deepEqual(decodeControl(encodeControl(one)), { ...one })))
})

test('diagnostic codes are told in words, also those that nobody has named (RFC 5880 4.1)', () => {
  assert.equal(diagnosticText(1), 'control detection time expired')
  assert.equal(diagnosticText(7), 'administratively down')
  assert.equal(diagnosticText(31), 'diagnostic 31')
})
