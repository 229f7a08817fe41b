import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { startSpeakerThread } from '../../src/speaker/speaker-thread.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { neighborOf, nextHop, nodeAddress, nodeAsn, Recorded } from './pair.ts'

const noRestart = { isRestart: false, isForwardingPreserved: false }

test('the thread announces, answers questions, tells of its peers and ends when asked', async () => {
  const router = new Recorded('127.0.0.31')
  await router.speaker.start()
  router.speaker.handle({
    type: 'configure',
    neighbors: [neighborOf(65_031, nodeAsn, nodeAddress, { passive: true, routerId: '127.0.0.31' })],
  })
  const thread = startSpeakerThread(noRestart)
  const states: PeerSnapshot['state'][] = []
  const ends: string[] = []
  thread.onPeer((peer) => states.push(peer.state))
  thread.onExit((error) => ends.push(error.code))
  const neighbor = neighborOf(nodeAsn, 65_031, '127.0.0.31', {
    peerPort: router.speaker.port ?? 0,
    sourceAddress: nodeAddress,
    routerId: nodeAddress,
  })
  thread.post({ type: 'configure', neighbors: [neighbor] })
  thread.post({
    type: 'routes',
    prefixes: [{ prefix: '192.0.2.1/32', routes: [{ neighbors: [neighbor.id], attributes: {} }] }],
  })
  thread.post({ type: 'synced' })
  await waitFor('announced', async () => (await thread.route('192.0.2.1/32')).length === 1)
  const [route] = await thread.route('192.0.2.1/32')
  assert.deepEqual(
    [route?.peer, route?.nextHop, route?.origin, route?.asPath],
    [neighbor.id, nextHop, 'IGP', String(nodeAsn)],
  )
  assert.deepEqual(await thread.route('192.0.2.2/32'), [])
  for (const table of ['available', 'advertised'] as const) {
    const { routes, next } = await thread.routes({ table, family: 'ipv4-unicast', peer: '127.0.0.31' }, 500)
    assert.deepEqual([routes.length, next], [1, undefined], table)
  }
  assert.equal((await thread.peers())[0]?.state, 'Established')
  assert.equal(states.at(-1), 'Established')
  await thread.stop('shutdown', 'enough')
  await assert.rejects(thread.peers(), { code: 'ERR_SPEAKER_EXITED' })
  await waitFor('the Cease', () => router.peers[0]?.lastReset?.text.includes('enough'))
  assert.deepEqual(ends, [], 'an end that was asked for is no failure')
  await router.stop()
})

test('a question is given up after its time, and not for time in which the process stood still', async () => {
  const clock = new VirtualClock()
  const thread = startSpeakerThread(noRestart, clock)
  await thread.peers()
  // Both are told within this turn of the loop, in which no answer can be read.
  const answered = thread.route('192.0.2.1/32')
  clock.standStill(3_600_000)
  assert.deepEqual(await answered, [])
  const late = assert.rejects(thread.route('192.0.2.1/32'), {
    code: 'ERR_SPEAKER_EXITED',
    message: /did not answer within 5000 ms/,
  })
  clock.advance(5_000)
  await late
  // The speaker has answered what was given up meanwhile, and is asked the next one.
  assert.deepEqual(await thread.route('192.0.2.2/32'), [])
  assert.equal(clock.pending, 0)
  await thread.stop('shutdown', '')
})

test('an error that nobody handles ends the thread, and whoever waits is told', async () => {
  const thread = startSpeakerThread(noRestart)
  const ended = new Promise<string>((resolve) => thread.onExit((error) => resolve(error.code)))
  await thread.peers()
  const broken = neighborOf(nodeAsn, 65_031, '127.0.0.31')
  Object.assign(broken, { families: undefined })
  thread.post({ type: 'configure', neighbors: [broken] })
  await assert.rejects(thread.peers(), { code: 'ERR_SPEAKER_EXITED' })
  assert.equal(await ended, 'ERR_SPEAKER_EXITED')
})
