/** AS_PATH and AS4_PATH of a two-octet speaker become one path (RFC 6793 4.2.3). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeUpdate } from '../../../src/bgp/messages/update.ts'
import { formatAsPath } from '../../../src/bgp/messages/format.ts'
import { ctxOf } from './arbitraries.ts'

const attribute = (flags: string, type: string, value: string): string =>
  `${flags}${type}${(value.length / 2).toString(16).padStart(2, '0')}${value}`

/** The path of a route with these values, and its aggregator. */
function merged(asPath: string, as4Path?: string, aggregator?: string, as4Aggregator?: string): string {
  const attributes = [
    '40010100',
    attribute('40', '02', asPath),
    '4003040a000001',
    ...(aggregator === undefined ? [] : [attribute('c0', '07', aggregator)]),
    ...(as4Path === undefined ? [] : [attribute('c0', '11', as4Path)]),
    ...(as4Aggregator === undefined ? [] : [attribute('c0', '12', as4Aggregator)]),
  ].join('')
  const body = Buffer.from(`0000${(attributes.length / 2).toString(16).padStart(4, '0')}${attributes}180a0a0a`, 'hex')
  const decoded = decodeUpdate(body, ctxOf({ fourOctetAs: false }))
  if (!decoded.ok) return assert.fail(decoded.fault.reason)
  const { asPath: path = [], aggregator: from, unknown } = decoded.value.message.attributes
  assert.equal(unknown, undefined, 'nothing of it is left as octets')
  return `${formatAsPath(path)}${from === undefined ? '' : ` from ${from.asn}`}`
}

test('the ASes that only the old path has come first, then the new path', () => {
  assert.equal(
    merged('0203 fde9 5ba0 fdea'.replaceAll(' ', ''), '0202 fa56ea01 0000fdea'.replaceAll(' ', '')),
    '65001 4200000001 65002',
  )
  assert.equal(merged('02025ba05ba0', '0202fa56ea01fa56ea02'), '4200000001 4200000002')
})

test('a set counts as one AS', () => {
  assert.equal(merged('0201fde9' + '01025ba0fdea', '0102fa56ea010000fdea'), '65001 {4200000001 65002}')
})

test('a new path that is longer than the old one is ignored', () => {
  assert.equal(merged('0201fde9', '02020000fde9fa56ea01'), '65001')
  assert.equal(merged('', '02010000fde9'), '')
})

test('confederations in the new path are dropped, and a malformed one is discarded (RFC 6793 6)', () => {
  assert.equal(merged('02025ba0fdea', '0301fa56ea09' + '0202fa56ea010000fdea'), '4200000001 65002')
  for (const broken of ['0203fa56ea01', '0202fa56ea010000', '0900', '0201', '02010000000000', '020100000000', '02'])
    assert.equal(merged('02025ba0fdea', broken), '23456 65002', broken)
})

test('AGGREGATOR takes the new AS where it is AS_TRANS; where it is not, both new attributes are out of date', () => {
  assert.equal(merged('02015ba0', '0201fa56ea01', '5ba00a000001', 'fa56ea010a000001'), '4200000001 from 4200000001')
  assert.equal(merged('02015ba0', '0201fa56ea01', 'fde90a000001', 'fa56ea010a000001'), '23456 from 65001')
  assert.equal(merged('02015ba0', undefined, '5ba00a000001', '000000000a000001'), '23456 from 23456')
})
