/** An OPEN that cannot be accepted is answered with what RFC 4271 6.2 asks for, octet for octet. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeOpen } from '../../../src/bgp/messages/open.ts'

interface Fields {
  readonly version?: string
  readonly myAs?: string
  readonly holdTime?: string
  readonly bgpId?: string
  /** Optional parameters with their length. */
  readonly parameters?: string
}

/** `accept`, or the NOTIFICATION as `code/subcode:data`, for an OPEN of these hexadecimal fields. */
function verdict({
  version = '04',
  myAs = 'fde8',
  holdTime = '005a',
  bgpId = '0a000001',
  parameters = '00',
}: Fields): string {
  const decoded = decodeOpen(Uint8Array.from(Buffer.from(version + myAs + holdTime + bgpId + parameters, 'hex')))
  return decoded.ok
    ? 'accept'
    : `${decoded.fault.code}/${decoded.fault.subcode}:${Buffer.from(decoded.fault.data).toString('hex')}`
}

test('a version other than 4 is answered with the version spoken here', () => {
  assert.equal(verdict({ version: '03' }), '2/1:0004')
  assert.equal(verdict({ version: '05', parameters: 'ff' }), '2/1:0004', 'before anything else is looked at')
})

test('AS 0 is refused in the header and in the capability (RFC 7607)', () => {
  assert.equal(verdict({ myAs: '0000' }), '2/2:')
  assert.equal(verdict({ parameters: '08' + '0206' + '410400000000' }), '2/2:')
  assert.equal(verdict({ parameters: '08' + '0206' + '410400000001' }), 'accept')
})

test('hold times of 1 and 2 seconds are answered with themselves; 0, 3 and 65535 are fine (RFC 4271 4.2)', () => {
  assert.equal(verdict({ holdTime: '0001' }), '2/6:0001')
  assert.equal(verdict({ holdTime: '0002' }), '2/6:0002')
  for (const holdTime of ['0000', '0003', 'ffff']) assert.equal(verdict({ holdTime }), 'accept')
})

test('the BGP Identifier is any number but 0 (RFC 6286 2.1)', () => {
  assert.equal(verdict({ bgpId: '00000000' }), '2/3:')
  for (const bgpId of ['00000001', 'e0000001', 'ffffffff']) assert.equal(verdict({ bgpId }), 'accept')
})

test('an optional parameter that is no capabilities is refused without data (RFC 4271 6.2, RFC 5492 4)', () => {
  assert.equal(verdict({ parameters: '02' + '0100' }), '2/4:')
  assert.equal(verdict({ parameters: '04' + '0200' + 'ff00' }), '2/4:', '255 means something in the first place only')
})

test('lengths that do not agree are malformed parameters (RFC 4271 6.2)', () => {
  const malformed = [
    '01',
    '03' + '0206',
    '0402024104',
    '020203',
    '0300' + '02',
    '0003',
    '05' + '0203' + '410400',
    '08' + '0206' + '410500000001',
    '07' + '0205' + '4103000001',
  ]
  for (const parameters of malformed) assert.equal(verdict({ parameters }), '2/0:', parameters)
})

test('extended parameters count their own length only, whatever the first octet says (RFC 9072 2)', () => {
  const parameters = '02' + '0006' + '41040000fde8'
  for (const first of ['ff', '01', '80']) assert.equal(verdict({ parameters: `${first}ff0009${parameters}` }), 'accept')
  for (const length of ['0008', '000a', 'ffff', '0000'])
    assert.equal(verdict({ parameters: `ffff${length}${parameters}` }), '2/0:', length)
  for (const cut of ['ff', 'ffff', 'ffff00', 'ffff000102', 'ffff00020200'])
    assert.equal(verdict({ parameters: cut }), '2/0:', cut)
})
