/** BFD beside BGP: what falls silent is noticed in the time of BFD, long before the hold time of 90 s. */
import assert from 'node:assert/strict'
import type { PeerSnapshot } from '../../../src/speaker/protocol.ts'
import { waitFor } from '../../wait.ts'
import { type Peering, peering, type Transport, watchSettings } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import { Frr } from '../routers/frr.ts'
import type { Scenario } from '../scenario.ts'

const none = 'it has no BFD'
const lacking = { GoBGP: none, OpenBGPD: none, ExaBGP: none } as const
const watched = (more: Partial<Peering> = {}): Peering => peering({ holdTimeSec: 90, bfd: 'plain', ...more })

/** Both sides see the other one, and agree on 100 ms x 30. */
async function up(rig: Rig, transport: Transport): Promise<PeerSnapshot> {
  await waitFor('BFD up at the router', () => rig.router.isBfdUp(transport), deadline)
  return waitFor(
    'BFD up at Herald',
    async () => {
      const peer = await rig.peer()
      const { state, detectionTimeMs } = peer.bfdSession?.report ?? {}
      return state === 'Up' && detectionTimeMs === 3_000 && peer
    },
    deadline,
  )
}

/** A route at the router, and BFD up: what a restart may cost. */
async function watchedRoute(rig: Rig): Promise<void> {
  rig.announce('192.0.2.1/32')
  rig.synced()
  await rig.routed('ipv4', '192.0.2.1/32')
  await up(rig, 'ipv4')
}

const over = (transport: Transport): Scenario => ({
  row: `BFD over ${transport}`,
  title: `BFD comes up over ${transport} with the timers of both, and a router that falls silent ends it (RFC 5882 10.2)`,
  lacking,
  setup: () => ({
    peerings: [watched({ transport, families: [transport === 'ipv4' ? 'ipv4-unicast' : 'ipv6-unicast'] })],
  }),
  run: async (rig) => {
    const peer = await up(rig, transport)
    assert.deepEqual(peer.bfdSession?.report.remoteDetectMultiplier, 30)
    rig.router.signal('SIGSTOP')
    const reset = await rig.reset('the loss', ({ subcode }) => subcode === 10)
    assert.deepEqual([reset.code, reset.direction], [6, 'sent'])
    assert.deepEqual(await rig.speaker.received(), [])
    rig.router.signal('SIGCONT')
    await rig.established()
    await up(rig, transport)
  },
})

export const bfd: readonly Scenario[] = [
  over('ipv4'),
  over('ipv6'),
  over('link-local'),
  {
    row: 'BFD: Herald falls silent',
    title: 'a Herald that falls silent loses its routes at a router that watches, and gets them back (RFC 5882 4.2)',
    lacking,
    setup: () => ({ peerings: [watched()] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      await up(rig, 'ipv4')
      rig.speaker.signal('SIGSTOP')
      await rig.gone('ipv4', '192.0.2.1/32')
      rig.speaker.signal('SIGCONT')
      await rig.established()
      await rig.routed('ipv4', '192.0.2.1/32')
      await up(rig, 'ipv4')
    },
  },
  {
    row: 'BFD: taken down by the router',
    title: 'BFD that the router takes down (AdminDown) ends no session, and comes back (RFC 5882 3.2)',
    lacking: { ...lacking, BIRD: 'it says nothing when its BFD is disabled' },
    setup: () => ({ peerings: [watched()] }),
    run: async (rig) => {
      assert.ok(rig.router instanceof Frr)
      await up(rig, 'ipv4')
      await rig.router.shutdownBfd(true)
      await waitFor(
        'AdminDown',
        async () => (await rig.peer()).bfdSession?.report.remoteState === 'AdminDown',
        deadline,
      )
      assert.deepEqual([(await rig.peer()).state, (await rig.peer()).flaps], ['Established', 0])
      await rig.router.shutdownBfd(false)
      await up(rig, 'ipv4')
      assert.equal((await rig.peer()).flaps, 0)
    },
  },
  {
    row: 'BFD: other timers, and taken off',
    title: 'other timers touch no session (RFC 5880 6.8.3); without BFD the router ends it once, and has it back',
    lacking,
    setup: () => ({ peerings: [watched()] }),
    run: async (rig) => {
      await up(rig, 'ipv4')
      rig.configure({ bfd: { ...watchSettings, receiveIntervalMs: 400, transmitIntervalMs: 400 } })
      await waitFor('400 ms', async () => (await rig.peer()).bfdSession?.report.detectionTimeMs === 12_000, deadline)
      assert.deepEqual([(await rig.peer()).state, (await rig.peer()).flaps], ['Established', 0])
      const [neighbor] = rig.neighbors
      assert.ok(neighbor !== undefined)
      const { bfd: _bfd, ...without } = neighbor
      rig.speaker.post({ type: 'configure', neighbors: [without] })
      // RFC 5882 3.2 would have it go on; these routers take AdminDown for a path that is lost.
      await waitFor('the end by the router', async () => (await rig.peer()).flaps === 1, deadline)
      await rig.established()
      assert.equal((await rig.peer()).bfdSession, undefined)
    },
  },
  {
    row: 'BFD: planned restart of Herald',
    title:
      'a Herald that is restarted on purpose says AdminDown, and its routes stay where they are kept (RFC 5882 4.3)',
    lacking,
    setup: () => ({ peerings: [watched({ restartTimeSec: 60, bfd: 'graceful' })] }),
    run: async (rig) => {
      await watchedRoute(rig)
      await rig.speaker.stop('restart', '')
      await waitFor('the session lost', async () => !(await rig.router.isEstablished('ipv4')), deadline)
      const stays = async (): Promise<true> => {
        assert.notEqual(await rig.router.route('ipv4', '192.0.2.1/32'), undefined, 'the route is never missing')
        return true
      }
      await stays()
      rig.restartSpeaker()
      await waitFor('the session again', async () => (await stays()) && (await rig.isEstablished()), deadline)
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32', ({ isStale }) => isStale !== true)
      await up(rig, 'ipv4')
    },
  },
  {
    row: 'BFD: Herald killed',
    title:
      'a Herald that is killed loses its session by BFD, and a router that is told so keeps its routes (RFC 5882 4.3)',
    lacking,
    setup: () => ({ peerings: [watched({ restartTimeSec: 60, bfd: 'graceful' })] }),
    run: async (rig) => {
      await watchedRoute(rig)
      await rig.speaker.kill()
      await waitFor('BFD down at the router', async () => (await rig.router.isBfdUp('ipv4')) !== true, deadline)
      await waitFor('the session lost', async () => !(await rig.router.isEstablished('ipv4')), deadline)
      assert.notEqual(await rig.router.route('ipv4', '192.0.2.1/32'), undefined, 'the route is kept')
      rig.restartSpeaker()
      await rig.established()
    },
  },
]
