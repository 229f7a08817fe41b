import assert from 'node:assert/strict'
import { test } from 'node:test'
import { announcedVerdicts, peerVerdicts } from '../../src/agent/explain.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'

const peer: PeerSnapshot = {
  id: '65001/192.0.2.1',
  virtualRouter: '65001',
  localAsn: 65001,
  peerAsn: 65000,
  peerAddress: '192.0.2.1',
  peerPort: 179,
  state: 'Established',
  since: '2026-01-01T00:00:00.000Z',
  routerId: '192.0.2.9',
  capabilities: [],
  gracefulRestart: false,
  families: [{ family: 'ipv4-unicast', received: 2, advertised: 1 }],
  messagesIn: 9,
  messagesOut: 9,
  updatesIn: 1,
  updatesOut: 2,
  flaps: 0,
  transitions: [],
}

test('what was wrong with UPDATEs is told while the session lives, and nothing when nothing was', () => {
  const messageOf = (more: Partial<PeerSnapshot>): string =>
    peerVerdicts({ ...peer, ...more }, undefined).at(-1)?.message ?? ''
  assert.equal(messageOf({}), 'Established since 2026-01-01T00:00:00.000Z, ipv4-unicast 1 sent, 2 received')
  assert.equal(
    messageOf({
      updateErrors: {
        treatedAsWithdraw: 3,
        attributeDiscarded: 0,
        ownAsInPath: 2,
        last: { at: '2026-01-02T00:00:00.000Z', text: 'ORIGIN: value 7' },
      },
    }),
    'Established since 2026-01-01T00:00:00.000Z, ipv4-unicast 1 sent, 2 received; routes of 3 UPDATEs count as ' +
      'withdrawn for an error; last error 2026-01-02T00:00:00.000Z: ORIGIN: value 7; 2 UPDATEs not used, our ' +
      'own AS is in the path (allowAsIn)',
  )
})

test('what several Services that share an address want of one neighbor is told once', () => {
  const route = { prefix: '203.0.113.5/32', neighbors: ['65001/192.0.2.1', '65001/192.0.2.2'], attributes: {} }
  const around = { peers: [peer], neighbors: [], isDraining: false }
  const verdicts = announcedVerdicts([route, route], [{ peer: '65001/192.0.2.1', prefix: route.prefix }], around)
  assert.deepEqual(
    verdicts.map(({ message }) => message),
    ['Sent to 192.0.2.1 only', '203.0.113.5/32 is not sent to 192.0.2.2: it is no neighbor of this node'],
  )
})
