/** Sessions of all nodes as a table: each row tells its node, and what a silent node said last is no state of now. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ClusterPeerView } from '../../src/api/types.ts'
import { clusterTable } from '../../src/cli/bgp.ts'
import { formatDuration, isPrintable, silenceText } from '../../src/cli/text.ts'

const view = (more: Partial<ClusterPeerView> = {}): ClusterPeerView => ({
  node: 'node1',
  instance: 'rack',
  peer: 'tor',
  localAs: 65001,
  peerAs: 65000,
  peerAddress: '192.0.2.1',
  sessionState: 'Established',
  uptimeSeconds: 3700,
  holdTimeSeconds: 9,
  keepaliveSeconds: 3,
  families: [
    { family: 'ipv4-unicast', received: 1, advertised: 3 },
    { family: 'ipv6-unicast', received: 0, advertised: 2 },
  ],
  ...more,
})
const cellsOf = (text: string): readonly (readonly string[])[] =>
  text
    .trimEnd()
    .split('\n')
    .map((row) => row.split(/ {3,}/))

test('a session has a row for each of its families, and is named once', () => {
  assert.deepEqual(cellsOf(clusterTable([view()], true)), [
    [
      ...['Node', 'Local AS', 'Peer AS', 'Peer Address', 'Session State', 'Uptime', 'Family', 'Received', 'Advertised'],
      ...['Hold/Keepalive', 'Instance', 'Peer'],
    ],
    ['node1', '65001', '65000', '192.0.2.1', 'Established', '1h1m', 'ipv4/unicast', '1', '3', '9s/3s', 'rack', 'tor'],
    ['', 'ipv6/unicast', '0', '2'],
  ])
  assert.equal(cellsOf(clusterTable([view()], false))[0]?.length, 9)
})

test('without families, uptime or timers a session has its row all the same', () => {
  const { uptimeSeconds: _uptime, holdTimeSeconds: _hold, keepaliveSeconds: _keepalive, ...rest } = view()
  const [, row] = cellsOf(clusterTable([{ ...rest, sessionState: 'Idle', families: [] }], true))
  assert.deepEqual(row, ['node1', '65001', '65000', '192.0.2.1', 'Idle', '-', '-', '0', '0', '-', 'rack', 'tor'])
})

test('of a node that says nothing any more neither state nor uptime is shown, but for how long', () => {
  for (const [silentSeconds, said] of [
    [47, 'no word for 47 s'],
    [119, 'no word for 119 s'],
    [120, 'no word for 2m'],
    [90_061, 'no word for 1d1h'],
  ] as const) {
    const [, row] = cellsOf(clusterTable([view({ silentSeconds })], false))
    assert.deepEqual(row?.slice(4, 6), [said, '-'])
  }
})

test('no session is a head alone, and rows stay in the order that they are given', () => {
  assert.equal(clusterTable([], false).split('\n').length, 2)
  const nodes = ['b', 'a', 'c'].map((node) => view({ node, families: [] }))
  assert.deepEqual(
    cellsOf(clusterTable(nodes, false))
      .slice(1)
      .map(([node]) => node),
    ['b', 'a', 'c'],
  )
})

test('whatever an object says of a session, it is text on its row', () => {
  const hostile = fc.string({ unit: fc.constantFrom('a', '\n', '\u001b', '\u202e', '東', '\r'), maxLength: 6 })
  fc.assert(
    fc.property(hostile, hostile, hostile, (node, peer, sessionState) => {
      const text = clusterTable([view({ node, peer, sessionState: sessionState as 'Idle', families: [] })], true)
      assert.ok(isPrintable(text))
      assert.equal(text.split('\n').length, 3)
    }),
  )
})

test('a duration has at most two units, never more than it is, and less than the next step below it', () => {
  const size: Readonly<Record<string, number>> = { d: 86_400, h: 3_600, m: 60, s: 1 }
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000_000 }), (seconds) => {
      const parts = [...formatDuration(seconds).matchAll(/(\d+)([dhms])/g)]
      const shown = parts.reduce((sum, [, count, unit = 's']) => sum + Number(count) * (size[unit] ?? 0), 0)
      assert.ok(parts.length <= 2 && parts.map(([all]) => all).join('') === formatDuration(seconds))
      const smallest = parts[0]?.[2] === 'd' ? 3_600 : parts[0]?.[2] === 'h' ? 60 : 1
      assert.ok(shown <= seconds && seconds - shown < smallest, `${seconds}: ${formatDuration(seconds)}`)
      if (seconds < 120) assert.equal(silenceText(seconds), `${seconds} s`)
      else assert.equal(silenceText(seconds), formatDuration(seconds))
    }),
  )
})
