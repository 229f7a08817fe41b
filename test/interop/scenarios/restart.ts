/** RFC 4724: one side goes away and its routes stay until it has said all of them again. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { bothFamilies, peering } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const endOfRib =
  'bgp.type == 2 && ip.src == 10.90.0.1 && bgp.update.withdrawn_routes.length == 0 && ' +
  'bgp.update.path_attributes.length == 0 && bgp.length == 23'
const keepsNothing = { ExaBGP: 'it keeps no routes of a session that has ended' } as const

/** Follows a route that must never be missing. */
function watch(rig: Rig, prefix: string): () => Promise<true> {
  return async () => {
    assert.notEqual(await rig.router.route('ipv4', prefix), undefined, `${prefix} is never missing`)
    return true
  }
}

const lost = '198.51.100.0/24'

export const restart: readonly Scenario[] = [
  {
    row: 'End-of-RIB',
    title: 'End-of-RIB is sent when all is synced and not before (RFC 4724 2)',
    setup: () => ({ peerings: [peering({ restartTimeSec: 60 })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      assert.deepEqual(await rig.capture.frames(endOfRib), [])
      rig.synced()
      await waitFor('End-of-RIB', async () => (await rig.capture.frames(endOfRib)).length === 1, deadline)
    },
  },
  {
    row: 'graceful restart of Herald',
    title:
      'routes of a killed Herald stay, come back without loss, and its End-of-RIB removes what is gone (RFC 4724 4.2)',
    lacking: keepsNothing,
    setup: () => ({ peerings: [peering({ restartTimeSec: 60, families: bothFamilies })] }),
    run: async (rig) => {
      const present = watch(rig, '192.0.2.1/32')
      for (const prefix of ['192.0.2.1/32', '192.0.2.3/32', '2001:db8:1::1/128']) rig.announce(prefix)
      rig.synced()
      for (const prefix of ['192.0.2.1/32', '192.0.2.3/32', '2001:db8:1::1/128']) await rig.routed('ipv4', prefix)
      await rig.speaker.kill()
      await waitFor('the session lost', async () => !(await rig.router.isEstablished('ipv4')), deadline)
      await rig.routed('ipv4', '192.0.2.1/32', ({ isStale }) => isStale !== false)
      await rig.routed('ipv4', '2001:db8:1::1/128', ({ isStale }) => isStale !== false)
      rig.restartSpeaker()
      await waitFor('the session again', async () => (await present()) && (await rig.isEstablished()), deadline)
      rig.announce('192.0.2.1/32')
      rig.announce('2001:db8:1::1/128')
      await waitFor(
        'the route is fresh',
        async () => (await present()) && (await rig.router.route('ipv4', '192.0.2.1/32'))?.isStale !== true,
        deadline,
      )
      assert.notEqual(await rig.router.route('ipv4', '192.0.2.3/32'), undefined, 'nothing is removed before End-of-RIB')
      rig.synced()
      await waitFor(
        'what is gone is removed',
        async () => (await present()) && (await rig.router.route('ipv4', '192.0.2.3/32')) === undefined,
        deadline,
      )
      await rig.routed('ipv4', '2001:db8:1::1/128', ({ isStale }) => isStale !== true)
    },
  },
  {
    row: 'planned restart of Herald',
    title: 'a Herald that ends for a restart says nothing, and its routes stay (RFC 4724 4)',
    lacking: keepsNothing,
    setup: () => ({ peerings: [peering({ restartTimeSec: 60 })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32')
      await rig.speaker.stop('restart', 'upgrade')
      await rig.routed('ipv4', '192.0.2.1/32', ({ isStale }) => isStale !== false)
      rig.restartSpeaker()
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.established()
      await rig.routed('ipv4', '192.0.2.1/32', ({ isStale }) => isStale !== true)
      assert.deepEqual(await rig.capture.frames('bgp.type == 3 && ip.src == 10.90.0.1'), [])
    },
  },
  {
    row: 'graceful restart of the router',
    title:
      'routes of a killed router stay, marked stale, and its End-of-RIB removes what it no longer has (RFC 4724 4.2)',
    lacking: { OpenBGPD: 'version 7.7 has no restarting role' },
    setup: () => ({ peerings: [peering({ restartTimeSec: 60 })], networks: [lost] }),
    run: async (rig) => {
      const routes = async (): Promise<string> =>
        (await rig.speaker.received())
          .map(({ prefix, stale }) => `${prefix}${stale === true ? ' stale' : ''}`)
          .sort()
          .join()
      const { ipv4 } = rig.router.ownNetworks
      rig.synced()
      await waitFor('both routes', async () => (await routes()) === `${ipv4},${lost}`, deadline)
      // Its End-of-RIB is out, and it has ours.
      await waitFor(
        'its End-of-RIB',
        async () => (await rig.capture.frames(endOfRib.replace('10.90.0.1', '10.90.0.2'))).length > 0,
        deadline,
      )
      await rig.router.kill()
      await waitFor('both routes stale', async () => (await routes()) === `${ipv4} stale,${lost} stale`, deadline)
      await rig.router.start({ peerings: [peering({ restartTimeSec: 60 })], isRestart: true })
      await waitFor(
        'the route is fresh and the other one gone',
        async () => {
          const now = await routes()
          assert.match(now, new RegExp(ipv4), 'its route is never missing')
          return now === ipv4
        },
        deadline,
      )
      assert.ok(await rig.isEstablished())
    },
  },
  {
    row: 'restart by NOTIFICATION',
    title:
      'where both sides agreed on it, the routes of a router whose hold timer expired stay, and a real shutdown ' +
      'is a Hard Reset (RFC 8538 4)',
    lacking: {
      BIRD: 'version 2.0 has no RFC 8538',
      OpenBGPD: 'version 7.7 has no RFC 8538',
      ExaBGP: 'it has no RFC 8538',
    },
    setup: () => ({ peerings: [peering({ restartTimeSec: 60, isNotificationRestart: true, holdTimeSec: 3 })] }),
    run: async (rig) => {
      const { ipv4 } = rig.router.ownNetworks
      const route = async (): Promise<{ readonly stale?: boolean } | undefined> =>
        (await rig.speaker.received()).find(({ prefix }) => prefix === ipv4)
      assert.ok((await rig.peer()).capabilities.includes('graceful-restart-notification'))
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32')
      await waitFor('its route', async () => (await route()) !== undefined, deadline)
      rig.router.signal('SIGSTOP')
      await rig.reset('the expiry', ({ code, direction }) => code === 4 && direction === 'sent')
      assert.equal((await route())?.stale, true)
      rig.router.signal('SIGCONT')
      await rig.established()
      await waitFor(
        'its route, fresh',
        async () => (await route())?.stale !== true && (await route()) !== undefined,
        deadline,
      )
      await rig.speaker.stop('shutdown', 'node is drained')
      await rig.gone('ipv4', '192.0.2.1/32')
      const said = await waitFor(
        'a Hard Reset',
        async () =>
          (await rig.capture.frames('bgp.type == 3 && ip.src == 10.90.0.1', 'tcp.payload')).find((frame) =>
            frame.includes('0306090602'),
          ),
        deadline,
      )
      assert.ok(said.includes(Buffer.from('node is drained').toString('hex')))
    },
  },
]
