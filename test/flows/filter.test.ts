/** What an observer may ask for, with values that mean little or nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatFlowQuery, parseFlowQuery } from '../../src/api/flow-query.ts'
import type { FlowFilterKey, FlowQuery } from '../../src/api/flow-types.ts'
import { compileFilter } from '../../src/flows/filter.ts'
import type { NamedEvent } from '../../src/flows/named-event.ts'
import { connection, ledSocket } from './event.ts'

const event: NamedEvent = {
  timeNs: 0n,
  timeMs: 0,
  type: 'new',
  detail: 'by_client',
  protocol: 6,
  source: { address: '198.51.100.7', port: 40_000 },
  destination: { address: '192.0.2.10', port: 80 },
  backend: { address: 'fd00::5', port: 8080 },
  tcpFlags: 2,
  length: 60,
  service: 'shop/web',
  pod: 'shop/web-0',
}

const refused: readonly (readonly [FlowFilterKey, string])[] = [
  ...['99999', '65536', '0', '-1', '80.0', '0x50', '8e1', '', ' 80', '１２'].map((text) => ['port', text] as const),
  ...['nobody', '192.0.2.0/33', '192.0.2.0/', '/24', '192.0.2', '192.0.2.010', 'fe80::1%eth0', '::/129', ''].map(
    (text) => ['ip', text] as const,
  ),
  ...['l7', '__proto__', 'constructor', 'new,close', ''].map((text) => ['type', text] as const),
  ...['http', '6', 'toString', ''].map((text) => ['protocol', text] as const),
  ...['SYN|ACK', 'SYN,', ',', 'NS', ''].map((text) => ['tcp-flags', text] as const),
  ...['a/b/c', '../x', '/web', 'a b', '*', '\u001b[2J', ''].map((text) => ['service', text] as const),
  ...['shop/', '*', ''].map((text) => ['namespace', text] as const),
  ...['5', '46', ''].map((text) => ['ip-version', text] as const),
]
for (const [key, value] of refused)
  test(`--${key} ${JSON.stringify(value)} is refused by the name of the filter, also behind --not`, () => {
    for (const filter of [
      { allow: { [key]: [value] }, deny: {} },
      { allow: {}, deny: { [key]: [value] } },
    ])
      assert.throws(() => compileFilter(filter), { code: 'ERR_USAGE', message: new RegExp(`--${key} `) })
  })

const taken: readonly (readonly [FlowFilterKey, string, boolean])[] = [
  ['ip', '::ffff:192.0.2.10', true],
  ['ip', '::FFFF:c000:20a', true],
  ['ip', '192.0.2.99/24', true],
  ['ip', '0.0.0.0/0', true],
  ['ip', '::/0', true],
  ['to-ip', 'FD00:0::5', true],
  ['from-ip', 'fd00::5', false],
  ['port', '00080', true],
  ['type', 'TRACE', false],
  ['type', 'trace', true],
  ['service', 'shop/', true],
  ['service', 'web', false],
  ['tcp-flags', 'syn', true],
  ['tcp-flags', 'SYN,ACK', false],
]
for (const [key, value, isWanted] of taken)
  test(`--${key} ${value} ${isWanted ? 'finds' : 'does not find'} the event`, () => {
    const filter = { allow: { [key]: [value] }, deny: {} }
    if (key === 'type' && !isWanted) assert.throws(() => compileFilter(filter), { code: 'ERR_USAGE' })
    else assert.equal(compileFilter(filter)(event), isWanted)
  })

test('sockets are found by what Hubble calls them, and by all that is known of them, and are no packets', () => {
  const refused: NamedEvent = { ...ledSocket, type: 'drop', detail: 'no_backend', backend: undefined }
  const found = (key: FlowFilterKey, value: string): readonly boolean[] =>
    [ledSocket, refused, connection].map(compileFilter({ allow: { [key]: [value] }, deny: {} }))
  assert.deepEqual(found('type', 'trace-sock'), [true, true, false])
  assert.deepEqual(found('type', 'trace'), [false, false, true])
  assert.deepEqual(found('type', 'led'), [true, false, false])
  assert.deepEqual(found('type', 'drop'), [false, true, false])
  assert.deepEqual(found('verdict', 'translated'), [true, false, false])
  assert.deepEqual(found('verdict', 'DROPPED'), [false, true, false])
  assert.deepEqual(found('drop-reason-desc', 'no_backend'), [false, true, false])
  assert.deepEqual(found('service', 'default/web'), [true, true, true])
  assert.deepEqual(found('to-ip', '10.1.1.5'), [true, false, true])
  assert.deepEqual(found('from-ip', '198.51.100.7'), [false, false, true])
})

test('what is no query is refused, and every query is read as it was written', () => {
  for (const text of [
    'follow=1',
    'follow=true&follow=true',
    'last=-1',
    'last=1e3',
    'last=1000001',
    'since=99999999999999999999',
    'since=nonsense',
    '__proto__=x',
    'constructor=x',
    'not.not.ip=192.0.2.1',
    'not.=x',
    'ips=192.0.2.1',
  ])
    assert.throws(() => parseFlowQuery(new URLSearchParams(text)), { code: 'ERR_USAGE' }, text)
  const query: FlowQuery = {
    follow: true,
    last: 0,
    sinceMs: 0,
    untilMs: 1,
    allow: { ip: ['a&b=c', '\u202e'], port: [] },
    deny: { pod: ['+ %'] },
  }
  const { port: _, ...allow } = query.allow
  assert.deepEqual(parseFlowQuery(new URLSearchParams(formatFlowQuery(query))), { ...query, allow })
})
