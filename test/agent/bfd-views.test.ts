import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bfdNotes, bfdView } from '../../src/agent/bfd-views.ts'
import { peerVerdicts } from '../../src/agent/explain.ts'
import { type BfdReport, idleReport } from '../../src/bfd/path.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'
import { settings } from '../bfd/stand.ts'

function watched(more: Partial<BfdReport>, state: PeerSnapshot['state'] = 'Established'): PeerSnapshot {
  const { problem: _problem, ...report } = idleReport('')
  return {
    id: '65001/192.0.2.1',
    virtualRouter: '65001',
    localAsn: 65_001,
    peerAsn: 65_000,
    peerAddress: '192.0.2.1',
    peerPort: 179,
    state,
    since: '2026-01-01T00:00:00.000Z',
    routerId: '192.0.2.9',
    capabilities: [],
    gracefulRestart: false,
    families: [],
    messagesIn: 0,
    messagesOut: 0,
    updatesIn: 0,
    updatesOut: 0,
    flaps: 0,
    transitions: [],
    bfdSession: {
      settings: settings({ transmitIntervalMs: 50 }),
      since: '2026-01-01T00:00:00.000Z',
      report: { ...report, state: 'Up', remoteDiscriminator: 7, source: '192.0.2.9', ...more },
      counts: { packetsIn: 4, packetsOut: 5, upEvents: 2, downEvents: 1 },
    },
  }
}

const viewOf = (more: Partial<BfdReport>) => {
  const { bfdSession } = watched(more)
  assert.ok(bfdSession !== undefined)
  return bfdView(bfdSession)
}

test('a BFD session is shown in the words of FRR, with the timers of both sides', () => {
  const view = viewOf({ detectionTimeMs: 300, remoteDetectMultiplier: 5, remoteReceiveIntervalMs: 200 })
  assert.deepEqual(view.local, { detectMultiplier: 3, receiveIntervalMs: 100, transmitIntervalMs: 50 })
  assert.deepEqual([view.remote.detectMultiplier, view.remote.receiveIntervalMs], [5, 200])
  assert.deepEqual([view.packetsIn, view.upEvents, view.localAddress, view.detectionTimeMs], [4, 2, '192.0.2.9', 300])
  assert.deepEqual(
    (['AdminDown', 'Down', 'Init', 'Up'] as const).map((state) => viewOf({ state }).status),
    ['shutdown', 'down', 'init', 'up'],
  )
})

for (const [what, more, expected] of [
  [
    'nothing is heard',
    { state: 'Down', remoteDiscriminator: 0 },
    /BFD is down .*nothing is heard of the peer; asked for: 100\/50 ms x 3/,
  ],
  [
    'the peer took it down',
    { state: 'Down', remoteState: 'AdminDown', diagnostic: 3 },
    /neighbor signaled .*the peer says shutdown/,
  ],
  ['the port is taken', { state: 'Down', problem: 'UDP port 3784 is taken' }, /BFD is down: UDP port 3784 is taken/],
] as const)
  test(`a session that is up while its path is not watched is warned of and explained: ${what}`, () => {
    const [note = ''] = bfdNotes([watched(more)])
    assert.match(note, expected)
    assert.match(note, /^peer 192\.0\.2\.1: .*; its path is not watched$/)
    const verdict = peerVerdicts(watched(more), undefined).find(({ code }) => code === 'PathWatched')
    assert.match(verdict?.message ?? '', expected)
    assert.deepEqual(bfdNotes([watched(more, 'Idle')]), [], 'a session that is down says that already')
  })

test('a path that is watched is no warning, and explain says what ends the session', () => {
  const up = watched({ detectionTimeMs: 300 })
  assert.deepEqual(bfdNotes([up]), [])
  const verdict = peerVerdicts(up, undefined).find(({ code }) => code === 'PathWatched')
  assert.match(verdict?.message ?? '', /BFD is up since .*silence of 300 ms ends the session/)
  const { bfdSession: _none, ...without } = up
  assert.deepEqual(
    [bfdNotes([without]), peerVerdicts(without, undefined).some(({ code }) => code === 'PathWatched')],
    [[], false],
  )
})
