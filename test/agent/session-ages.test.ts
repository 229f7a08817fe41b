import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SessionAges } from '../../src/agent/session-ages.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'

test('a session is up for as long as it is, whatever the clock of the node is set to meanwhile', () => {
  let tell = (_peer: Pick<PeerSnapshot, 'id' | 'state'>): void => assert.fail('nobody listens')
  const clock = new VirtualClock()
  const ages = new SessionAges({ onPeer: (listener) => void (tell = listener) }, clock)
  assert.equal(ages.secondsOf('first'), undefined)
  tell({ id: 'first', state: 'Established' })
  clock.advance(30_000)
  tell({ id: 'second', state: 'Established' })
  clock.advance(60_000)
  assert.deepEqual([ages.secondsOf('first'), ages.secondsOf('second')], [90, 60])
  tell({ id: 'first', state: 'Idle' })
  assert.deepEqual([ages.secondsOf('first'), ages.secondsOf('second')], [undefined, 60])
  tell({ id: 'first', state: 'Established' })
  assert.equal(ages.secondsOf('first'), 0)
})
