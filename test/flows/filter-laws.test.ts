/** Filters of events against the rules in words: alone, behind --not, and many at once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type FlowFilter, type FlowFilterKey, flowResponseSchema } from '../../src/api/flow-types.ts'
import { compileFilter } from '../../src/flows/filter.ts'
import { flowOf, type NamedEvent } from '../../src/flows/named-event.ts'
import { formatFlowQuery, parseFlowQuery } from '../../src/api/flow-query.ts'
import { anyEvent, connection } from './event.ts'

const fits = (allow: FlowFilter, deny: FlowFilter = {}, event = connection): boolean =>
  compileFilter({ allow, deny })(event)
const reply: NamedEvent = {
  ...connection,
  type: 'drop',
  detail: 'reply_unmatched',
  source: { address: '10.1.1.5', port: 8080 },
  destination: { address: '198.51.100.7', port: 40_000 },
}
const dropped: NamedEvent = { ...connection, type: 'drop', detail: 'no_backend', backend: undefined }

const yes: readonly (readonly [FlowFilterKey, string, NamedEvent])[] = [
  ['type', 'new', connection],
  ['type', 'NEW', connection],
  ['type', 'trace', connection],
  ['verdict', 'forwarded', connection],
  ['verdict', 'DROPPED', dropped],
  ['drop-reason-desc', 'NO_BACKEND', dropped],
  ['protocol', 'tcp', connection],
  ['protocol', 'icmp', { ...connection, protocol: 58 }],
  ['protocol', 'icmpv4', { ...connection, protocol: 1 }],
  ['tcp-flags', 'SYN', connection],
  ['tcp-flags', 'syn,ack', { ...connection, tcpFlags: 0x12 }],
  ['ip', '198.51.100.7', connection],
  ['ip', '10.0.0.0/8', connection],
  ['ip', '::ffff:198.51.100.7', connection],
  ['from-ip', '198.51.100.0/24', connection],
  ['to-ip', '203.0.113.10', connection],
  ['to-ip', '10.1.1.5', connection],
  ['port', '40000', connection],
  ['from-port', '40000', connection],
  ['to-port', '8080', connection],
  ['service', 'web', connection],
  ['service', 'default/w', connection],
  ['service', 'default/', connection],
  ['pod', 'web-5', connection],
  ['to-pod', 'default/web', connection],
  ['from-pod', 'web-5', reply],
  ['namespace', 'default', connection],
  ['ip-version', '4', connection],
  ['ip-version', '6', { ...connection, source: { address: '2001:db8::7', port: 1 } }],
]
const no: readonly (readonly [FlowFilterKey, string, NamedEvent])[] = [
  ['type', 'trace', dropped],
  ['type', 'close', connection],
  ['verdict', 'DROPPED', connection],
  ['drop-reason-desc', 'no_backend', connection],
  ['protocol', 'udp', connection],
  ['protocol', 'icmpv4', { ...connection, protocol: 58 }],
  ['tcp-flags', 'SYN,ACK', connection],
  ['from-ip', '203.0.113.10', connection],
  ['from-ip', '10.1.1.5', connection],
  ['to-ip', '198.51.100.7', connection],
  ['to-ip', '10.1.1.5', dropped],
  ['ip', '::/0', connection],
  ['from-port', '80', connection],
  ['to-port', '40000', connection],
  ['service', 'shop/web', connection],
  ['service', 'eb', connection],
  ['from-pod', 'web-5', connection],
  ['to-pod', 'web-5', reply],
  ['namespace', 'def', connection],
  ['ip-version', '6', connection],
]

test('each filter fits what it says and nothing else', () => {
  for (const [key, value, event] of yes) {
    assert.ok(fits({ [key]: [value] }, {}, event), `${key} ${value}`)
    assert.ok(!fits({}, { [key]: [value] }, event), `--not ${key} ${value}`)
  }
  for (const [key, value, event] of no) {
    assert.ok(!fits({ [key]: [value] }, {}, event), `${key} ${value}`)
    assert.ok(fits({}, { [key]: [value] }, event), `--not ${key} ${value}`)
  }
})

const anyFilter = fc
  .uniqueArray(fc.constantFrom(...[...yes, ...no].map(([key, value]) => [key, value] as const)), { maxLength: 5 })
  .map((pairs): FlowFilter => {
    const filter: Partial<Record<FlowFilterKey, string[]>> = {}
    for (const [key, value] of pairs) filter[key] = [...(filter[key] ?? []), value]
    return filter
  })

test('values of one key are alternatives, keys must all fit, and one denied value leaves out', () => {
  fc.assert(
    fc.property(anyFilter, anyFilter, anyEvent, (allow, deny, event) => {
      const one = (key: string, value: string): boolean => fits({ [key]: [value] }, {}, event)
      const isWanted = Object.entries(allow).every(([key, values]) => values.some((value) => one(key, value)))
      const isDenied = Object.entries(deny).some(([key, values]) => values.some((value) => one(key, value)))
      assert.equal(fits(allow, deny, event), isWanted && !isDenied)
      assert.equal(fits({}, {}, event), true)
    }),
    { numRuns: 500 },
  )
})

test('a question comes out of its text as it went in, and a text that is none is refused', () => {
  const count = fc.option(fc.nat(1_000_000), { nil: undefined })
  fc.assert(
    fc.property(
      fc.boolean(),
      count,
      count,
      count,
      anyFilter,
      anyFilter,
      (follow, last, sinceMs, untilMs, allow, deny) => {
        const query = {
          follow,
          ...(last === undefined ? {} : { last }),
          ...(sinceMs === undefined ? {} : { sinceMs }),
          ...(untilMs === undefined ? {} : { untilMs }),
          allow,
          deny,
        }
        assert.deepEqual(parseFlowQuery(new URLSearchParams(formatFlowQuery(query))), query)
      },
    ),
  )
  for (const text of [
    ...[
      'follow=yes',
      'follow=true&follow=true',
      'last=-1',
      'last=1000001',
      'last=1e3',
      'last=',
      'since=now',
      'since=1.5',
    ],
    ...['nope=1', 'not.nope=1', 'not.=1', 'not.follow=true', 'toString=1', '__proto__=1', 'until=1&until=2'],
  ])
    assert.throws(() => parseFlowQuery(new URLSearchParams(text)), { code: 'ERR_USAGE' }, text)
})

test('whatever an event is, what is shown of it has the form of the API, with ports and flags where there are any', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const { flow } = flowResponseSchema.parse(flowOf(event, 'node1'))
      assert.ok(flow)
      assert.deepEqual([flow.IP.source, flow.IP.destination], [event.source.address, event.destination.address])
      const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP
      const hasPorts = [6, 17, 132].includes(event.protocol)
      assert.deepEqual(ports?.destination_port, hasPorts ? event.destination.port : undefined)
      assert.equal(flow.verdict === 'DROPPED', event.type === 'drop')
      assert.equal(flow.drop_reason_desc?.toLowerCase(), event.type === 'drop' ? event.detail : undefined)
      assert.equal(flow.is_reply, event.detail === 'reply_unmatched')
      assert.equal(flow.is_reply ? flow.source.pod_name : flow.destination.pod_name, event.pod?.split('/')[1])
      const flags = Object.keys(flow.l4?.TCP?.flags ?? {}).length
      assert.equal(flags, event.protocol === 6 ? event.tcpFlags.toString(2).replaceAll('0', '').length : 0)
    }),
  )
})
