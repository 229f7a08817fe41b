/**
 * Events of flows as lines: the formats of `hubble observe`, what they say of each event, and that they say it safely.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type FlowResponse, flowResponseSchema } from '../../src/api/flow-types.ts'
import { flowFormats, flowWriter, type FlowFormat, type FlowTextOptions } from '../../src/cli/flow-text.ts'
import { displayWidth, isPrintable } from '../../src/cli/text.ts'
import { ledFlow, type Flow, newFlow } from './flows.ts'

const drop: Flow = {
  ...newFlow,
  verdict: 'DROPPED',
  drop_reason_desc: 'NO_BACKEND',
  herald: { type: 'drop', detail: 'no_backend', fate: 'refused' },
}
const reply: Flow = {
  ...newFlow,
  is_reply: true,
  IP: { source: '10.1.1.5', destination: '198.51.100.7', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 8080, destination_port: 40_000 } },
  source: { namespace: 'default', pod_name: 'web-5' },
  traffic_direction: 'EGRESS',
}
const said = (flow: Flow): FlowResponse => ({ flow, node_name: flow.node_name, time: flow.time })
const lost = (source: 'PERF_EVENT_RING_BUFFER' | 'OBSERVER_EVENTS_QUEUE', count: number): FlowResponse => ({
  lost_events: { source, num_events_lost: count },
  node_name: 'node1',
  time: newFlow.time,
})
const text = (flow: Flow, format: FlowFormat = 'compact', options: Partial<FlowTextOptions> = {}): string =>
  flowWriter(format, { timeFormat: 'RFC3339', ...options })(said(flow))

test('a line says when, from whom to whom, what happened and why', () => {
  assert.equal(
    text(newFlow),
    '2026-01-02T03:04:05Z: 198.51.100.7:40000 -> default/web:80 (203.0.113.10) new FORWARDED ' +
      '(TCP Flags: SYN; backend default/web-5 10.1.1.5:8080)\n',
  )
  assert.equal(
    text(drop),
    '2026-01-02T03:04:05Z: 198.51.100.7:40000 -> default/web:80 (203.0.113.10) no_backend DROPPED ' +
      '(TCP Flags: SYN; refused)\n',
  )
  assert.equal(
    text({ ...newFlow, herald: { type: 'close', detail: 'reset_by_pod' } }),
    '2026-01-02T03:04:05Z: 198.51.100.7:40000 -> default/web:80 (203.0.113.10) close FORWARDED ' +
      '(TCP Flags: SYN; reset by pod)\n',
  )
})

test('the arrow of a reply points to who gets it, as Hubble has it: the client stands on the left', () => {
  const { destination_service: _service, ...withoutService } = reply
  assert.match(text(withoutService), /: 198\.51\.100\.7:40000 <- 10\.1\.1\.5:8080 new /)
})

test('whom a socket was led to looks as with Hubble, with the process that asked and both ends', () => {
  const start = '2026-01-02T03:04:05Z: curl (process 1234) <> default/web:80 (203.0.113.10) '
  assert.equal(text(ledFlow), `${start}post-xlate-fwd TRANSLATED (TCP; backend default/web-5 10.1.1.5:8080)\n`)
  const { backend: _backend, ...herald } = ledFlow.herald
  const sent: Flow = { ...ledFlow, herald: { ...ledFlow.herald, detail: 'by_send' } }
  assert.match(text(sent), /post-xlate-fwd TRANSLATED \(TCP; by send; backend /)
  const refused: Flow = {
    ...ledFlow,
    verdict: 'DROPPED',
    herald: { ...herald, type: 'drop', detail: 'no_backend', fate: 'refused' },
  }
  assert.equal(text(refused), `${start}no_backend DROPPED (TCP; refused)\n`)
  assert.match(text(ledFlow, 'dict'), /^ {5}SOURCE: curl \(process 1234\)$/m)
  assert.match(
    text(ledFlow, 'table'),
    /^\S+ +curl \(process 1234\) +default\/web:80 \S+ +post-xlate-fwd +TRANSLATED +TCP/m,
  )
  assert.deepEqual(JSON.parse(text(ledFlow, 'json')), said(ledFlow))
})

test('numbers in place of names, the node beside the time, and the time in three forms', () => {
  assert.equal(
    text(newFlow, 'compact', { numeric: true, printNodeName: true, timeFormat: 'RFC3339Milli' }),
    '2026-01-02T03:04:05.678Z [node1]: 198.51.100.7:40000 -> 203.0.113.10:80 new FORWARDED ' +
      '(TCP Flags: SYN; backend 10.1.1.5:8080)\n',
  )
  // Of the clock of who looks.
  const at = new Date(newFlow.time)
  const day = String(at.getDate()).padStart(2)
  const two = (number: number): string => String(number).padStart(2, '0')
  assert.ok(
    text(newFlow, 'compact', { timeFormat: 'StampMilli' }).startsWith(
      `Jan ${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.678: `,
    ),
  )
})

test('an IPv6 address with a port stands in brackets, without one it does not (RFC 5952 6)', () => {
  const IP = { source: '2001:db8::7', destination: '2001:db8:77::1', ipVersion: 'IPv6' as const }
  const { destination_service: _service, l4: _l4, ...rest } = newFlow
  const herald = { ...newFlow.herald, backend: { address: 'fd00::5', port: 8080 } }
  assert.match(
    text({ ...rest, IP, herald, l4: { UDP: { source_port: 53, destination_port: 5353 } } }),
    /\[2001:db8::7\]:53 -> \[2001:db8:77::1\]:5353 .*default\/web-5 \[fd00::5\]:8080/,
  )
  assert.match(text({ ...rest, IP, l4: { ICMPv6: {} } }), / 2001:db8::7 -> 2001:db8:77::1 /)
  assert.match(text({ ...rest, l4: { SCTP: { source_port: 1, destination_port: 2 } } }), /\.7:1 -> 203\.0\.113\.10:2 /)
})

test('what is lost is said in every format for people, with who was too slow', () => {
  for (const format of ['compact', 'dict', 'table'] as const) {
    const write = flowWriter(format, { timeFormat: 'RFC3339' })
    assert.match(write(lost('OBSERVER_EVENTS_QUEUE', 7)), /^2026-01-02T03:04:05Z: LOST 7 events \(this observer/)
    assert.match(write(lost('PERF_EVENT_RING_BUFFER', 1)), /LOST 1 events \(more than the kernel tells/)
  }
})

test('dict parts events by a line, and its names end in one column', () => {
  const write = flowWriter('dict', { timeFormat: 'RFC3339', printNodeName: true })
  const [first, second] = [write(said(newFlow)), write(said(drop))]
  const names = first
    .split('\n')
    .slice(0, -1)
    .map((row) => row.slice(0, 13))
  assert.deepEqual(
    names.map((name) => name.trim()),
    ['TIMESTAMP:', 'NODE:', 'SOURCE:', 'DESTINATION:', 'TYPE:', 'VERDICT:', 'SUMMARY:'],
  )
  for (const name of names) assert.equal(name.indexOf(':'), 11)
  assert.ok(!first.includes('---') && second.startsWith('------------\n'))
})

test('table has one head, and a column never becomes narrower', () => {
  const write = flowWriter('table', { timeFormat: 'RFC3339' })
  const rows = [write(said(newFlow)), write(said({ ...newFlow, IP: { ...newFlow.IP, source: '1.2.3.4' } }))]
    .join('')
    .split('\n')
  assert.equal(rows.length, 4)
  assert.match(rows[0] ?? '', /^TIMESTAMP +SOURCE +DESTINATION +TYPE +VERDICT +SUMMARY$/)
  const at = rows.slice(0, 3).map((row) => row.search(/DESTINATION|default\/web:80/))
  assert.equal(new Set(at).size, 1, rows.join('\n'))
})

const hostile = fc.string({
  unit: fc.constantFrom(
    'a',
    '/',
    '-',
    ' ',
    '東',
    '🙂',
    '\u001b',
    '\n',
    '\r',
    '\t',
    '\u202e',
    '\u0000',
    '\u009b',
    '\ud800',
  ),
  maxLength: 8,
})
const anyFlow: fc.Arbitrary<Flow> = fc
  .record({
    name: hostile,
    namespace: hostile,
    pod: hostile,
    node: hostile,
    summary: hostile,
    detail: hostile,
    isReply: fc.boolean(),
    kind: fc.constantFrom('new' as const, 'close' as const, 'rehash' as const, 'drop' as const, 'led' as const),
    l4: fc.constantFrom<NonNullable<Flow['l4']> | undefined>(newFlow.l4, undefined, { ICMPv4: {} }, {}),
  })
  .map(({ name, namespace, pod, node, summary, detail, isReply, kind, l4 }): Flow => {
    const { l4: _l4, ...rest } = newFlow
    return {
      ...rest,
      ...(l4 === undefined ? {} : { l4 }),
      node_name: node,
      is_reply: isReply,
      destination: { namespace, pod_name: pod },
      destination_service: { namespace, name },
      Summary: summary,
      herald: { ...newFlow.herald, type: kind, detail },
    }
  })

test('whatever an event says, each is one line, or the lines of its format, and none moves the cursor', () => {
  fc.assert(
    fc.property(anyFlow, fc.boolean(), fc.boolean(), (flow, numeric, printNodeName) => {
      flowResponseSchema.parse(said(flow))
      for (const format of flowFormats) {
        const line = text(flow, format, { numeric, printNodeName })
        assert.ok(isPrintable(line) && line.endsWith('\n'), format)
        const count = line.split('\n').length - 1
        const expected = { compact: 1, json: 1, jsonpb: 1, table: 2, dict: printNodeName ? 7 : 6 }[format]
        assert.equal(count, expected, `${format}: ${JSON.stringify(line)}`)
        if (format === 'json') assert.deepEqual(JSON.parse(line), said(flow))
        if (format === 'table') {
          const [head = '', row = ''] = line.split('\n')
          const verdicts = [head.indexOf('VERDICT'), row.lastIndexOf('FORWARDED')]
          const columns = [head.slice(0, verdicts[0]), row.slice(0, verdicts[1])].map(displayWidth)
          assert.equal(columns[0], columns[1], line)
        }
      }
    }),
    { numRuns: 200 },
  )
})
